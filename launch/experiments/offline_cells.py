"""Cells of an offline comparison: a method and a seed, trained and evaluated in its folder.

<out>/comparison.json                          the common settings of all cells
<out>/training, users                          training events, and users fitted on them
<out>/tuning/<method>/best.json                the tuned fields
<out>/<method>/seed0/evaluation.npz            the lists and metrics of a finished cell
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from launch.experiments.offline_settings import OfflineConfig
from tfrec import options, outputs
from tfrec.baselines.paths import config as paths_config
from tfrec.baselines.paths import learner as path_learner
from tfrec.baselines.paths import walking_graph
from tfrec.baselines.sequential import fitting
from tfrec.baselines.sequential import methods as sequential
from tfrec.data import identity, item_categories, knowledge_graph, protocols, storage
from tfrec.environments import registry as environments
from tfrec.environments.fitted import kinds
from tfrec.errors import UserError
from tfrec.evaluation import next_items, offline, path_lists
from tfrec.methods import online_run, presets, registry, studies
from tfrec.methods import trials as trials_lib
from tfrec.training import finite, tuning

# Lists of the users of held-out events: (held_out, k) -> dense ids, int32 [V, k].
Lists = Callable[[protocols.HeldOut, int], np.ndarray]

_TUNING_SEED = 1000  # seed of tuning's runs; the seeds of cells count from 0
_SCORED = 10  # length of the lists that score epochs and settings
# Fields that are not tuned, so that the amount of computation is the same for all methods.
_COMPUTATION = ("batch", "update_factor")
# World -> its user model of launch.fit_simulator.
_USER_MODELS = {"fitted": kinds.RECURRENT, "adversarial": kinds.ADVERSARIAL}


class Comparison(NamedTuple):
    """The log, settings and folder that the cells of a comparison share.

    Attributes:
      out: the folder of all cells.
      data: the prepared log.
      split: its events.
      settings: how methods are trained and evaluated.
      play: fields of `online_learner.OnlineConfig` that differ from the preset.
      numbers: fields of methods of reinforcement learning that differ from the preset, for
        the methods that have them.
      graph: the knowledge graph of methods that walk one.
      save_every: iterations of reinforcement learning between checkpoints; the result of a
        cell does not depend on it.
    """

    out: pathlib.Path
    data: storage.PreparedData
    split: protocols.Split
    settings: OfflineConfig
    play: Mapping[str, Any] = {}
    numbers: Mapping[str, Any] = {}
    graph: knowledge_graph.KnowledgeGraph | None = None
    save_every: int = 100

    def evaluation(self, method: str, seed: int) -> pathlib.Path:
        """The file of a finished cell."""
        return self.out / method / f"seed{seed}" / "evaluation.npz"


def check_same(comparison: Comparison) -> None:
    """Records the common settings of a folder's cells, or compares them with the record.

    Raises:
      UserError: if the cells have another log or other settings; it names them.
    """
    path = comparison.out / "comparison.json"
    settings = options.resolved(comparison.settings)
    settings |= {"play": dict(comparison.play), "numbers": dict(comparison.numbers)}
    record = {"settings": options.resolved(settings), "data": comparison.data.fingerprint}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_json(path, record)
    elif different := options.differences(json.loads(path.read_text(encoding="utf-8")), record):
        listed = "\n  ".join(different)
        raise UserError(
            f"{comparison.out} holds runs of another log or with other settings:\n  {listed}\n"
            "Choose another --out"
        )
    if comparison.graph is not None:
        _check_graph(comparison.out / "graph.json", comparison.graph.source)


def _check_graph(path: pathlib.Path, source: identity.Source) -> None:
    """Records the knowledge graph of a folder's cells, or compares it with the record."""
    inputs = {"graph": source}
    if not path.exists():
        outputs.write_json(path, identity.recorded(inputs))
    elif different := identity.changes(json.loads(path.read_text(encoding="utf-8")), inputs):
        raise UserError(
            f"{path.parent} holds runs with another knowledge graph: {different[0]}. Choose "
            "another --out"
        )


def run(
    comparison: Comparison, method: str, seed: int, overrides: Mapping[str, Any] | None = None
) -> next_items.Evaluation:
    """Trains and evaluates one cell; continues an interrupted cell, reads a finished one.

    Args:
      comparison: log, settings and folder of the cells.
      method: a sequential method, or one that learns step by step.
      seed: seed of weights, batches and play.
      overrides: tuned fields of the method's configuration.
    """
    path = comparison.evaluation(method, seed)
    if not path.exists():
        print(f"{method}, seed {seed}", flush=True)
        config = dataclasses.replace(configuration(comparison, method), **(overrides or {}))
        lists = _train(comparison, method, config, seed, path.parent)
        cutoff, split = comparison.settings.cutoff, comparison.split
        items = lists(split.test, cutoff)
        save(path, next_items.evaluate_lists(items, split.test, split.train, (cutoff,)))
        # The checkpoints with their replay are not needed any more.
        shutil.rmtree(path.parent / "checkpoints", ignore_errors=True)
    return load(path)


def save(path: pathlib.Path, evaluation: next_items.Evaluation) -> None:
    """Writes an evaluation atomically, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with outputs.replacing_file(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **offline.saved(evaluation))


def load(path: pathlib.Path) -> next_items.Evaluation:
    """Reads an evaluation that `save` wrote."""
    with np.load(path) as arrays:
        return offline.restored(dict(arrays))


def tune(comparison: Comparison, method: str, trials: int) -> None:
    """Tunes a method by nDCG@10 of the validation events.

    A trial trains as a cell does. Test events are not used.

    Args:
      comparison: log, settings and folder of the cells.
      method: the method, tuned over `space`.
      trials: total number of trials, including finished ones.

    Raises:
      UserError: if no trial ends with finite numbers, or the study is of other data.
    """
    folder = comparison.out / "tuning" / method
    base, fields = configuration(comparison, method), space(method)

    def evaluate(overrides: dict[str, Any], trial: tuning.Trial) -> float:
        trials_lib.free_models()
        run_folder = folder / "trials" / identity.fingerprint(overrides)
        config = dataclasses.replace(base, **overrides)
        try:
            lists = _train(comparison, method, config, _TUNING_SEED, run_folder)
        except finite.NonFiniteError as error:
            raise tuning.DivergedError(str(error)) from error
        score = _validation_ndcg(comparison, lists)
        trial.report(1, score, 0)
        shutil.rmtree(run_folder)
        return score

    plain = options.resolved(base)
    result = tuning.tune(
        method,
        fields,
        {field: plain[field] for field in fields},
        evaluate,
        trials=trials,
        iterations=1,
        storage=str(_created(folder) / "study.log"),
        pruner="none",
        about={
            "base": {name: value for name, value in plain.items() if name not in fields},
            "play": options.resolved(dict(comparison.play)),
            "seed": _TUNING_SEED,
        },
        inputs={"log": comparison.data.source},
        seed=_TUNING_SEED,
    )
    title = registry.METHODS[method].title if method in registry.METHODS else method
    scored = f"nDCG@{_SCORED} of validation events"
    study = studies.Study(method, title, base, scored, {"log": comparison.data.source})
    studies.write(folder, study, result)


def space(method: str) -> dict[str, tuple]:
    """Returns the choices of tuning: field -> values."""
    if method == paths_config.METHOD:
        return dict(paths_config.SPACE)
    if method in sequential.METHODS:
        return dict(sequential.METHODS[method]().space)
    return {
        field: choices
        for field, choices in presets.space(method, "users").items()
        if field not in _COMPUTATION
    }


def configuration(comparison: Comparison, method: str) -> Any:
    """Returns a method's configuration in a comparison, before tuning."""
    settings = comparison.settings
    if method == paths_config.METHOD:
        plain, epochs = paths_config.PgprKgConfig(), settings.epochs
        return dataclasses.replace(
            plain,
            embedding_epochs=min(plain.embedding_epochs, epochs),
            epochs=min(plain.epochs, epochs),
        )
    if method in sequential.METHODS:
        config = sequential.METHODS[method]().config
        return config(epochs=settings.epochs, batch=settings.batch)
    config = presets.config_class(method, "users")
    names = {field.name for field in dataclasses.fields(config)}
    return config(**{name: x for name, x in comparison.numbers.items() if name in names})


def _train(
    comparison: Comparison, method: str, config: Any, seed: int, folder: pathlib.Path
) -> Lists:
    train = _sequential if method in sequential.METHODS else _online
    if method == paths_config.METHOD:
        train = _paths
    return train(comparison, method, config, seed, folder)


def _sequential(
    comparison: Comparison, method: str, config: Any, seed: int, folder: pathlib.Path
) -> Lists:
    data, split = comparison.data, comparison.split
    fitted = fitting.fit(
        method,
        config,
        split.train,
        lambda model: next_items.ndcg_at_10(model, split.validation),
        folder,
        seed,
        source=data.source,
        protocol=comparison.settings.protocol,
        categories=item_categories.of_prepared(data),
        warn=flags.warn,
    )
    return lambda held_out, k: next_items.rank(fitted.model, held_out.history, k)


def _paths(
    comparison: Comparison, method: str, config: Any, seed: int, folder: pathlib.Path
) -> Lists:
    data, split, graph = comparison.data, comparison.split, comparison.graph
    assert graph is not None, f"{method} walks a graph"
    fitted = path_learner.fit(
        config,
        walking_graph.joined(split.train, graph),
        path_lists.validation(split.validation, config.validation_users, seed),
        folder,
        seed,
        save_every=1,
        inputs={"log": data.source, "graph": graph.source},
        extra={"method": method, "protocol": comparison.settings.protocol},
    )

    def lists(held_out: protocols.HeldOut, k: int) -> np.ndarray:
        ranked = fitted.model.lists(held_out.users, held_out.history, k)
        completed = path_lists.completed(ranked)
        print(
            f"{method}, seed {seed}: {completed.users:.1%} of the lists were completed with "
            f"items without a path, {completed.places:.1%} of their places",
            flush=True,
        )
        return ranked.items

    return lists


def _online(
    comparison: Comparison, method: str, config: Any, seed: int, folder: pathlib.Path
) -> Lists:
    settings = comparison.settings
    train = training_data(comparison)
    world = settings.world if settings.world == "lookup" else str(_fitted(comparison, train))
    play = dict(comparison.play)
    if settings.total_iterations is not None:
        play["total_iterations"] = settings.total_iterations
    online_run.run(
        folder,
        online_run.Task(
            environment="users",
            method=method,
            seed=seed,
            form=environments.get("users").config(data=str(train.directory), world=world),
            play=presets.play_config_class("users")(**play),
            numbers=config,
            save_every=comparison.save_every,
        ),
    )
    agent = registry.load(folder / online_run.AGENT)
    return lambda held_out, k: offline.lists(agent, comparison.data, held_out, k)


def training_data(comparison: Comparison) -> storage.PreparedData:
    """Returns the training events as prepared data for the users of play."""
    settings, out = comparison.settings, comparison.out / "training"
    return offline.training_data(
        comparison.data,
        offline.training_events(comparison.data, comparison.split.train),
        out,
        settings.max_steps,
        settings.history_length,
    )


def _fitted(comparison: Comparison, train: storage.PreparedData) -> pathlib.Path:
    """Returns the folder of users fitted on the training events."""
    users = comparison.out / "users"
    if not (users / "simulator.json").exists():
        model = _USER_MODELS[comparison.settings.world]
        arguments = [f"--data={train.directory}", f"--out={users}", f"--model={model}"]
        arguments.append("--overwrite")
        if code := flags.call("launch.fit_simulator", arguments):
            raise UserError(f"launch.fit_simulator ended with exit code {code}")
    return users


def _validation_ndcg(comparison: Comparison, lists: Lists) -> float:
    held_out = comparison.split.validation
    k = min(_SCORED, held_out.history.num_items)
    split = comparison.split
    evaluation = next_items.evaluate_lists(lists(held_out, k), held_out, split.train, (k,))
    return float(np.mean(evaluation.by_user[f"ndcg@{k}"]))


def _created(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
