"""Compares sequential recommenders and reinforcement learning on held-out events of a log.

    python -m launch.prepare_data --source=movielens --path=ml-20m.zip --k_core=10 \
        --max_steps=1000 --max_sessions_per_user=0 --out=runs/ml/data
    python -m launch.compare_offline --data=runs/ml/data --out=runs/ml/offline \
        --methods=sasrec,stamp,imrl --seeds=3

Each method learns from the training events and ranks the test events of every user: the last
20% of the user's events by default. Methods of reinforcement learning play with users of the
training events (`--world`). The folder gets a folder for each method and seed, which an
interrupted run continues, and table.md, .csv, .json and .png with popularity, item-kNN and EASE
beside the methods.
"""

import dataclasses
import json
import pathlib
from typing import Literal

import numpy as np
import rich

from launch import flags, methods
from tfrec import options, outputs
from tfrec.baselines.sequential import learner
from tfrec.baselines.sequential import methods as sequential
from tfrec.data import item_categories, protocols, sequences, storage
from tfrec.errors import UserError
from tfrec.evaluation import next_items, offline, offline_report, rankings
from tfrec.methods import online_run, presets, registry
from tfrec.options import Options, option, required
from tfrec.report import tables

_ONLINE = ("deers", "kgrl", "tpgr", "pgpr", "imrl")
_SEQUENTIAL = ("sasrec", "stamp", "casr_stamp", "causerec", "cocorec")


@dataclasses.dataclass(frozen=True)
class CompareOfflineConfig(Options):
    """The log, the methods, and how much of everything."""

    data: str = required("folder of prepared data; see --max_steps of launch.prepare_data")
    out: str = required("folder of the runs and of the table; an unfinished one is continued")
    methods: tuple[str, ...] = option(
        (*_SEQUENTIAL, *_ONLINE),
        f"sequential methods ({', '.join(sequential.METHODS)}) and those that learn step by "
        "step in the environment `users` (docs/methods.md)",
        distinct=True,
        min_length=1,
    )
    protocol: Literal["leave_one_out", "user_ratio"] = option(
        "user_ratio", "held-out events: each user's last one, or last 20%"
    )
    world: str = option(
        "lookup",
        "users of the training events for reinforcement learning: `lookup`, who click what "
        "the log says that they clicked, or `fitted`",
    )
    seeds: int = option(3, "seeds of each method", at_least=1)
    cutoff: int = option(20, "length of the lists, items", at_least=1)
    epochs: int = option(200, "epochs of a sequential method at most", at_least=1)
    batch: int = option(128, "users of a batch of a sequential method", at_least=1)
    total_iterations: int | None = option(
        None, "iterations of reinforcement learning; by default those of the preset", at_least=1
    )
    max_steps: int = option(20, "steps of a session of reinforcement learning", at_least=1)
    history_length: int = option(
        20, "events that a method of reinforcement learning reads", at_least=1
    )

    def __post_init__(self):
        super().__post_init__()
        if self.world not in ("lookup", "fitted"):
            raise ValueError(f"world is {self.world!r}; expected lookup or fitted")


flags.define(CompareOfflineConfig)


def main(_):
    config = flags.read(CompareOfflineConfig)
    outputs.check_folder(config.out)
    out = pathlib.Path(config.out)
    for method in config.methods:
        if method not in sequential.METHODS:
            registry.get(method, "users")
    data = storage.PreparedData.open(config.data)
    log = sequences.of_prepared(data)
    next_items.check_cutoffs((config.cutoff,), log.num_items)
    split = protocols.PROTOCOLS[config.protocol](log)
    _check_same(config, data)
    controls, left_out = rankings.evaluate_controls(split, (config.cutoff,))
    for name, reason in left_out.items():
        flags.warn(f"{name} is left out: {reason}")
    found = {name: [evaluation] for name, evaluation in controls.items()}
    for method in config.methods:
        found[method] = [
            _cell(config, data, split, method, seed, out / method / f"seed{seed}")
            for seed in range(config.seeds)
        ]
    table = offline_report.write(
        out,
        found,
        config.cutoff,
        {
            "log": data.manifest["source"],
            "protocol": config.protocol,
            "users": len(split.test.users),
            "items": log.num_items,
            "seeds": config.seeds,
            "users of reinforcement learning": config.world,
        },
    )
    shown = [f"{metric}@{config.cutoff}" for metric in ("recall", "precision", "ndcg")]
    title = f"{config.protocol}: {rankings.CONDITIONS} (mean, 95% interval over users)"
    rich.print(tables.rich_table(table, shown, title, "Method"))
    print(f"{out / 'table.md'}: {len(config.methods)} methods, {config.seeds} seeds")


def _check_same(config: CompareOfflineConfig, data: storage.PreparedData) -> None:
    """Records what the runs of a folder have in common, or compares it with the record.

    Raises:
      UserError: if they were made from another log or with other settings; names them.
    """
    path = pathlib.Path(config.out, "comparison.json")
    common = options.resolved(config)
    for name in ("data", "out", "methods", "seeds"):  # the others change every run
        del common[name]
    now = {"settings": common, "data": data.fingerprint}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_json(path, now)
    elif different := options.differences(json.loads(path.read_text(encoding="utf-8")), now):
        listed = "\n  ".join(different)
        raise UserError(
            f"{config.out} holds runs of another log or with other settings:\n  {listed}\n"
            "Choose another --out"
        )


def _cell(
    config: CompareOfflineConfig,
    data: storage.PreparedData,
    split: protocols.Split,
    method: str,
    seed: int,
    folder: pathlib.Path,
) -> next_items.Evaluation:
    """One method from one seed: trained and evaluated, or what it gave before."""
    path = folder / "evaluation.npz"
    if not path.exists():
        print(f"{method}, seed {seed}", flush=True)
        if method in sequential.METHODS:
            evaluation = _train_sequential(config, data, split, method, seed, folder)
        else:
            evaluation = _train_online(config, data, split, method, seed, folder)
        with outputs.replacing_file(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **offline.saved(evaluation))
    with np.load(path) as arrays:
        return offline.restored(dict(arrays))


def _train_sequential(
    config: CompareOfflineConfig,
    data: storage.PreparedData,
    split: protocols.Split,
    method: str,
    seed: int,
    folder: pathlib.Path,
) -> next_items.Evaluation:
    parts = sequential.METHODS[method]()
    numbers = parts.config(epochs=config.epochs, batch=config.batch)
    num_items = split.train.num_items
    extra = {"method": method, "protocol": config.protocol}
    given: tuple[np.ndarray, ...] = ()
    if parts.categories:
        known = item_categories.of_prepared(data)
        if known is None:
            known = item_categories.clusters(split.train, numbers.num_categories, seed)
            extra["categories"] = "clusters of item vectors"
        numbers = dataclasses.replace(numbers, num_categories=known.num_categories)
        given = (known.category,)
    fitted = learner.fit(
        lambda: parts.build(numbers, num_items, seed, *given),
        split.train,
        lambda model: next_items.ndcg_at_10(model, split.validation),
        folder,
        seed,
        save_every=1,
        inputs={"log": data.source},
        extra=extra,
    )
    return next_items.evaluate(fitted.model, split.test, split.train, (config.cutoff,))


def _train_online(
    config: CompareOfflineConfig,
    data: storage.PreparedData,
    split: protocols.Split,
    method: str,
    seed: int,
    folder: pathlib.Path,
) -> next_items.Evaluation:
    out = pathlib.Path(config.out)
    train = offline.training_data(
        data, split.train, out / "training", config.max_steps, config.history_length
    )
    world = "lookup"
    if config.world == "fitted":
        world = str(out / "users")
        if not (out / "users" / "simulator.json").exists():
            arguments = (f"--data={train.directory}", f"--out={world}", "--overwrite")
            if code := flags.call("launch.fit_simulator", arguments):
                raise UserError(f"launch.fit_simulator ended with exit code {code}")
    environment = methods.environments.get("users")
    play = presets.play_config_class("users")()
    if config.total_iterations is not None:
        play = dataclasses.replace(play, total_iterations=config.total_iterations)
    online_run.run(
        folder,
        online_run.Task(
            environment="users",
            method=method,
            seed=seed,
            form=environment.config(data=str(train.directory), world=world),
            play=play,
            numbers=presets.config_class(method, "users")(),
        ),
    )
    agent = registry.load(folder / online_run.AGENT)
    items = offline.lists(agent, data, split.test, config.cutoff)
    return next_items.evaluate_lists(items, split.test, split.train, (config.cutoff,))


if __name__ == "__main__":
    flags.run(main)
