"""Cells of an offline comparison: a method and a seed, trained and evaluated in its folder."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from tfrec import options, outputs
from tfrec.baselines.sequential import learner
from tfrec.baselines.sequential import methods as sequential
from tfrec.data import item_categories, protocols, storage
from tfrec.environments import registry as environments
from tfrec.errors import UserError
from tfrec.evaluation import next_items, offline
from tfrec.methods import online_run, presets, registry


class Comparison(NamedTuple):
    """What the cells of a comparison have in common.

    Attributes:
      out: the folder of all cells.
      data: the prepared log.
      split: its events.
      settings: the other flags by name, see `launch.compare_offline`.
    """

    out: pathlib.Path
    data: storage.PreparedData
    split: protocols.Split
    settings: Mapping[str, Any]


def check_same(comparison: Comparison) -> None:
    """Records what the cells of a folder have in common, or compares it with the record.

    Raises:
      UserError: if they were made from another log or with other settings; names them.
    """
    path = comparison.out / "comparison.json"
    settings = options.resolved(dict(comparison.settings))
    now = {"settings": settings, "data": comparison.data.fingerprint}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_json(path, now)
    elif different := options.differences(json.loads(path.read_text(encoding="utf-8")), now):
        listed = "\n  ".join(different)
        raise UserError(
            f"{comparison.out} holds runs of another log or with other settings:\n  {listed}\n"
            "Choose another --out"
        )


def run(comparison: Comparison, method: str, seed: int) -> next_items.Evaluation:
    """Trains and evaluates one cell; continues an interrupted one, keeps a finished one."""
    folder = comparison.out / method / f"seed{seed}"
    path = folder / "evaluation.npz"
    if not path.exists():
        print(f"{method}, seed {seed}", flush=True)
        train = _sequential if method in sequential.METHODS else _online
        evaluation = train(comparison, method, seed, folder)
        with outputs.replacing_file(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **offline.saved(evaluation))
    with np.load(path) as arrays:
        return offline.restored(dict(arrays))


def _sequential(
    comparison: Comparison, method: str, seed: int, folder: pathlib.Path
) -> next_items.Evaluation:
    data, split, settings = comparison.data, comparison.split, comparison.settings
    parts = sequential.METHODS[method]()
    numbers = parts.config(epochs=settings["epochs"], batch=settings["batch"])
    num_items = split.train.num_items
    extra = {"method": method, "protocol": settings["protocol"]}
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
    return next_items.evaluate(fitted.model, split.test, split.train, (settings["cutoff"],))


def _online(
    comparison: Comparison, method: str, seed: int, folder: pathlib.Path
) -> next_items.Evaluation:
    out, split, settings = comparison.out, comparison.split, comparison.settings
    train = offline.training_data(
        comparison.data,
        split.train,
        out / "training",
        settings["max_steps"],
        settings["history_length"],
    )
    world = settings["world"]
    if world == "fitted":
        world = str(out / "users")
        if not (out / "users" / "simulator.json").exists():
            arguments = (f"--data={train.directory}", f"--out={world}", "--overwrite")
            if code := flags.call("launch.fit_simulator", arguments):
                raise UserError(f"launch.fit_simulator ended with exit code {code}")
    play = presets.play_config_class("users")()
    if settings["total_iterations"] is not None:
        play = dataclasses.replace(play, total_iterations=settings["total_iterations"])
    online_run.run(
        folder,
        online_run.Task(
            environment="users",
            method=method,
            seed=seed,
            form=environments.get("users").config(data=str(train.directory), world=world),
            play=play,
            numbers=presets.config_class(method, "users")(),
        ),
    )
    agent = registry.load(folder / online_run.AGENT)
    items = offline.lists(agent, comparison.data, split.test, settings["cutoff"])
    return next_items.evaluate_lists(items, split.test, split.train, (settings["cutoff"],))
