"""hopwise's PGPR on the events of `pgpr_quality`: the reference of the comparison.

    <python with hopwise> benchmarks/pgpr_reference.py EVENTS.npz JOBS.json LISTS.npz

It runs in a separate interpreter and imports nothing of the project. EVENTS holds pairs
`train`, `validation`, `test` and `checked`, int [E, 2] of user and item, where `checked` are
the validation pairs of the users by whom epochs are chosen; `triples`, int [T, 3] of head,
relation and tail, where an item is its number in the pairs; and `relations`, their names, which
must be those of hopwise's ml-100k, whose paths of the reward are taken. A job is
{"embedding_rate", "learning_rate", "width", "embedding_epochs", "epochs", "validate_every",
"seed"}.

hopwise trains TransE first, and its PGPR walks with the embeddings. Both keep the epoch of the
best nDCG@10 on the checked pairs. LISTS gets "<job>/validation" and "<job>/test" of the users
of these pairs in ascending order: items to which a path of its beam search leads by its score,
then the others by the same. They are made here: the scores that hopwise gives have the worst
items where a user has fewer paths than places, and other users' rows after one without a path.
For the second its validation is of one user at a time. An item that no triple has is given one,
because hopwise reads no embedding of others.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from hopwise.config import Config
from hopwise.data import create_dataset, data_preparation
from hopwise.model.knowledge_aware_recommender import PGPR
from hopwise.model.knowledge_graph_embedding_recommender import TransE
from hopwise.trainer import KGTrainer, PGPRTrainer
from hopwise.utils import init_seed

NAME = "ml-100k"  # by its name hopwise finds the paths of the reward
LISTED = 20
COLUMNS = {
    "inter": ["user_id", "item_id"],
    "kg": ["head_id", "relation_id", "tail_id"],
    "link": ["item_id", "entity_id"],
}
EMBEDDINGS = ("user", "entity", "relation")


def write_lines(folder, ending, header, rows):
    """Writes one of hopwise's files."""
    lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
    (folder / NAME / f"{NAME}.{ending}").write_text("\n".join(lines) + "\n")


def write_files(folder, events):
    """Writes the log and the graph."""
    inter = [f"{column}:token" for column in COLUMNS["inter"]]
    for part, pairs in (("train", "train"), ("validation", "checked"), ("test", "test")):
        write_lines(folder, f"{part}.inter", inter, events[pairs])
    relations = events["relations"]
    triples = [(f"n{h}", relations[r], f"n{t}") for h, r, t in events["triples"]]
    # hopwise links items that have both an event and a triple.
    items = np.unique(
        np.concatenate([events[part][:, 1] for part in ("train", "checked", "test")])
    )
    alone = np.setdiff1d(items, events["triples"][:, [0, 2]])
    triples += [(f"n{item}", relations[0], f"nothing{item}") for item in alone]
    write_lines(folder, "kg", [f"{column}:token" for column in COLUMNS["kg"]], triples)
    link = [f"{column}:token" for column in COLUMNS["link"]]
    write_lines(folder, "link", link, ((i, f"n{i}") for i in items))


def fit(folder, model_class, trainer_class, job, epochs, rate, more):
    """Trains a model and restores its best epoch; returns it and its data set.

    Args:
      folder: of the files.
      model_class: hopwise's model.
      trainer_class: its trainer.
      job: the job.
      epochs: passes over the training data.
      rate: learning rate.
      more: further settings.
    """
    config = Config(
        model=model_class.__name__,
        dataset=NAME,
        config_dict={
            "data_path": str(folder),
            "checkpoint_dir": str(folder / "saved"),
            "benchmark_filename": ["train", "validation", "test"],
            "val_interval": None,
            "learning_rate": rate,
            "epochs": epochs,
            "eval_step": job["validate_every"],
            "stopping_step": epochs,
            "metrics": ["NDCG"],
            "metrics_lp": None,
            "topk": [10],
            "valid_metric": "NDCG@10",
            "eval_args": {
                "order": "RO",
                "group_by": "user",
                "mode": {"valid": "full", "test": "full"},
            },
            "repeatable": False,
            "seed": job["seed"],
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            **more,
        },
    )
    init_seed(job["seed"], True)
    dataset = create_dataset(config)
    train, validation, _ = data_preparation(config, dataset)
    init_seed(job["seed"], True)
    model = model_class(config, train.dataset)
    trainer = trainer_class(config, model)
    trainer.fit(train, validation, verbose=False, show_progress=False)
    saved = torch.load(trainer.saved_model_file, weights_only=False)
    model.load_state_dict(saved["state_dict"])
    return model, dataset


def embed(folder, job):
    """Trains TransE and writes its embeddings for PGPR."""
    more = {"embedding_size": job["width"], "load_col": COLUMNS, "train_batch_size": 512}
    epochs, rate = job["embedding_epochs"], job["embedding_rate"]
    model, dataset = fit(folder, TransE, KGTrainer, job, epochs, rate, more)
    for name in EMBEDDINGS:
        weight = getattr(model, f"{name}_embedding").weight.detach().numpy()
        tokens = dataset.field2id_token[f"{name}_id"]
        rows = (
            (token, " ".join(f"{x:.6g}" for x in weight[i]))
            for i, token in enumerate(tokens)
            if i
        )
        header = [f"{name}_embedding_id:token", f"{name}_embedding:float_seq"]
        write_lines(folder, f"{name}emb", header, rows)


def walk(folder, job):
    """Trains PGPR; returns the model and its data set."""
    embedded = {f"{n}emb": [f"{n}_embedding_id", f"{n}_embedding"] for n in EMBEDDINGS}
    more = {"load_col": COLUMNS | embedded, "train_batch_size": 128, "eval_batch_size": 1}
    return fit(folder, PGPR, PGPRTrainer, job, job["epochs"], job["learning_rate"], more)


def lists(model, dataset, users, left_out):
    """The first items of each user, int32 [V, LISTED].

    Args:
      model: PGPR.
      dataset: its data.
      users: [V].
      left_out: int [E, 2], pairs that may not be listed.
    """
    user_of, item_of = (dataset.field2token_id[f"{kind}_id"] for kind in ("user", "item"))
    tokens = dataset.field2id_token["item_id"]
    result = np.zeros([len(users), LISTED], np.int32)
    relation = model.relation_embedding[model.ui_relation_id]
    items = model.entity_embedding[: len(tokens)]
    for row, user in enumerate(users):
        known = user_of[str(user)]
        with torch.no_grad():
            paths, _ = model.beam_search(torch.tensor([known]))
        ends = [
            path[-1][2]
            for path in paths
            if path[-1][1] == "entity" and "self_loop" not in [hop[0] for hop in path[1:]]
        ]
        score = ((model.user_embedding[known] + relation) @ items.T).astype(np.float64)
        score[[end for end in ends if end < len(tokens)]] += 1e6
        score[0] = -np.inf
        gone = [item_of.get(str(i), 0) for i in left_out[left_out[:, 0] == user, 1]]
        score[gone] = -np.inf
        first = np.argsort(-score, kind="stable")[:LISTED]
        result[row] = [int(tokens[i]) for i in first]
    return result


def main(events_path, jobs_path, lists_path):
    """Trains every job and writes its lists."""
    with np.load(events_path) as file:
        events = dict(file)
    jobs = json.loads(pathlib.Path(jobs_path).read_text())
    result = {}
    for index, job in enumerate(jobs):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / NAME).mkdir()
            write_files(folder, events)
            embed(folder, job)
            model, dataset = walk(folder, job)
            known = events["train"]
            for part in ("validation", "test"):
                users = np.unique(events[part][:, 0])
                result[f"{index}/{part}"] = lists(model, dataset, users, known)
                known = np.concatenate([known, events["validation"]])
    np.savez(lists_path, **result)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
