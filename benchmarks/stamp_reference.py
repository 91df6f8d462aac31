"""RecBole's STAMP on the sessions of `stamp_quality`: the reference of the comparison.

    <python with recbole> benchmarks/stamp_reference.py SESSIONS.npz JOBS.json LISTS.npz

It runs in a separate interpreter and imports nothing of the project. SESSIONS holds padded
prefixes and the item that follows each: `train_items`, `train_target`, `validation_items`, ...,
`test_target`, items 1 to N, and `num_items`. A job is {"learning_rate", "batch", "width",
"length", "epochs", "patience", "seed"}. RecBole's own trainer stops early, by nDCG@10 of the
validation prefixes.

LISTS gets "<job>/validation" and "<job>/test": the first items outside each prefix, best first.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import STAMP
from recbole.trainer import Trainer
from recbole.utils import init_seed

PARTS = ("train", "validation", "test")
LISTED = 20


def write_files(folder, sessions):
    """Writes the prefixes in RecBole's format, a file for each part."""
    for part in PARTS:
        lines = ["session_id:token\titem_id_list:token_seq\titem_id:token"]
        items, target = sessions[f"{part}_items"], sessions[f"{part}_target"]
        for row, (prefix, follows) in enumerate(zip(items, target, strict=True)):
            words = " ".join(map(str, prefix[prefix > 0]))
            lines.append(f"{part}{row}\t{words}\t{follows}")
        (folder / "log" / f"log.{part}.inter").write_text("\n".join(lines) + "\n")


def config_of(folder, job, length):
    """RecBole's configuration of one job."""
    return Config(
        model="STAMP",
        dataset="log",
        config_dict={
            "data_path": str(folder),
            "checkpoint_dir": str(folder / "saved"),
            "benchmark_filename": list(PARTS),
            "alias_of_item_id": ["item_id_list"],
            "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
            "USER_ID_FIELD": "session_id",
            "MAX_ITEM_LIST_LENGTH": length,
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "embedding_size": job["width"],
            "learning_rate": job["learning_rate"],
            "train_batch_size": job["batch"],
            "eval_batch_size": 2048,
            "epochs": job["epochs"],
            "stopping_step": job["patience"],
            "metrics": ["NDCG"],
            "topk": [10],
            "valid_metric": "NDCG@10",
            "repeatable": True,
            "seed": job["seed"],
            "use_gpu": False,
            "show_progress": False,
            "state": "WARNING",
        },
    )


def lists(model, tokens, items, length):
    """The first items outside each prefix, int32 [rows, LISTED].

    Args:
      model: the trained model.
      tokens: RecBole's number of item i at [i], 0 for an item it has not seen.
      items: padded prefixes.
      length: L, items that the model reads.
    """
    batches = []
    for start in range(0, len(items), 1024):
        part = items[start : start + 1024]
        counts = np.minimum((part > 0).sum(axis=1), length)
        read = np.zeros([len(part), length], np.int64)
        for row, count in enumerate(counts):
            read[row, :count] = tokens[part[row][part[row] > 0][-count:]]
        with torch.no_grad():
            state = model.forward(torch.as_tensor(read), torch.as_tensor(counts))
            scores = (state @ model.item_embedding.weight.T).numpy()[:, tokens]
        scores[:, tokens == 0] = -np.inf  # the padding at 0, and items without an event
        np.put_along_axis(scores, part, -np.inf, axis=1)
        batches.append(np.argsort(-scores, axis=1, kind="stable")[:, :LISTED])
    return np.concatenate(batches).astype(np.int32)


def main(sessions_path, jobs_path, lists_path):
    """Trains every job and writes its lists."""
    with np.load(sessions_path) as file:
        sessions = dict(file)
    jobs = json.loads(pathlib.Path(jobs_path).read_text())
    length = sessions["test_items"].shape[1]
    result = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "log").mkdir()
        write_files(folder, sessions)
        for index, job in enumerate(jobs):
            config = config_of(folder, job, length)
            init_seed(job["seed"], True)
            dataset = create_dataset(config)
            train, validation, _ = data_preparation(config, dataset)
            init_seed(job["seed"], True)
            model = STAMP(config, train.dataset)
            trainer = Trainer(config, model)
            trainer.fit(train, validation, verbose=False, show_progress=False)
            saved = torch.load(trainer.saved_model_file, weights_only=False)
            model.load_state_dict(saved["state_dict"])
            model.eval()
            known = dataset.field2token_id["item_id"]
            names = map(str, range(int(sessions["num_items"]) + 1))
            tokens = np.array([known.get(name, 0) for name in names])
            for part in PARTS[1:]:
                result[f"{index}/{part}"] = lists(
                    model, tokens, sessions[f"{part}_items"], length
                )
    np.savez(lists_path, **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
