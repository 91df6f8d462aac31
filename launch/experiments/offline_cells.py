"""Cells of an offline comparison: a method and a seed, trained and evaluated in its folder.

<out>/comparison.json                          the common settings of all cells
<out>/training, users                          training events, and users fitted on them
<out>/tuning/<method>/best.json                the tuned fields
<out>/<method>/seed0/cell.json                 the fields with which a cell was begun
<out>/<method>/seed0/evaluation.npz            the lists and metrics of a finished cell
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from launch.experiments.offline_settings import OfflineConfig
from tfrec import options, outputs
from tfrec.data import identity, item_categories, knowledge_graph, protocols, storage
from tfrec.environments import registry as environments
from tfrec.environments import worlds
from tfrec.environments.fitted import kinds
from tfrec.errors import UserError
from tfrec.evaluation import next_items, offline, rankers, user_lists
from tfrec.methods import presets, studies
from tfrec.methods import trials as trials_lib
from tfrec.training import finite, loop, records, tuning

_CELL = "cell.json"
_TUNING_SEED = 1000  # seed of tuning's runs; the seeds of cells count from 0
_ITEM_WIDTH = 32  # of the vectors by which methods of reinforcement learning choose items
# Fields that differ from the preset of simulated users where users never leave, for the methods
# that have them. What these users think of an item is nearly an inner product of the two, which
# IMRL's critics with hidden layers have to learn first. Of thousands of items the best one for
# the critics is seldom the nearest to the proto-action. The graph is in use for most of 200
# iterations. With users who leave, such critics earn less than the preset's.
_NUMBERS = {"critic": "bilinear", "refined": 100, "softness": 0.5, "mask_warm_up": 200}
_SCORED = 10  # length of the lists that score epochs and settings
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
      fixed: method -> fields of its configuration that are given and not tuned.
      graph: the knowledge graph of methods that walk one.
      categories: file of the items' categories; empty for those of the log.
      save_every: iterations of reinforcement learning between checkpoints; the result of a
        cell does not depend on it.
    """

    out: pathlib.Path
    data: storage.PreparedData
    split: protocols.Split
    settings: OfflineConfig
    play: Mapping[str, Any] = {}
    numbers: Mapping[str, Any] = {}
    fixed: Mapping[str, Mapping[str, Any]] = {}
    graph: knowledge_graph.KnowledgeGraph | None = None
    categories: str = ""
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
    if comparison.fixed:
        settings["fixed"] = {name: dict(x) for name, x in comparison.fixed.items()}
    record = {"settings": options.resolved(settings), "data": comparison.data.fingerprint}
    records.keep(
        path,
        record,
        lambda saved: options.differences(saved, record),
        f"{comparison.out} holds runs of another log or with other settings",
        "Choose another --out",
    )
    if comparison.graph is not None:
        _keep_input(comparison.out, "graph", comparison.graph.source, "knowledge graph")
    if file := comparison.categories:
        given = item_categories.read(file, comparison.data.vocabulary)
        source = identity.Source(file, identity.fingerprint({"category": given.category}))
        _keep_input(comparison.out, "categories", source, "file of categories")


def _keep_input(out: pathlib.Path, name: str, source: identity.Source, kind: str) -> None:
    """Records a further input of a folder's cells, or compares it with the record."""
    inputs = {name: source}
    records.keep(
        out / f"{name}.json",
        identity.recorded(inputs),
        lambda saved: identity.changes(saved, inputs),
        f"{out} holds runs with another {kind}",
        "Choose another --out",
    )


def _categories(comparison: Comparison) -> item_categories.Categories | None:
    """Returns the categories of the file, or those of the log; None if there are none."""
    if comparison.categories:
        return item_categories.read(comparison.categories, comparison.data.vocabulary)
    return item_categories.of_prepared(comparison.data)


def run(
    comparison: Comparison, method: str, seed: int, overrides: Mapping[str, Any] | None = None
) -> next_items.Evaluation:
    """Trains and evaluates one cell; continues an interrupted cell, reads a finished one.

    Args:
      comparison: log, settings and folder of the cells.
      method: its name, see `rankers.get`.
      seed: seed of weights, batches and play.
      overrides: tuned fields of the method's configuration.

    Raises:
      UserError: if the cell was begun with other fields.
    """
    overrides = overrides or {}
    check_cell(comparison, method, seed, overrides)
    path = comparison.evaluation(method, seed)
    if not path.exists():
        record = _created(path.parent) / _CELL
        outputs.write_json(record, {"tuned": options.resolved(dict(overrides))})
        print(f"{method}, seed {seed}", flush=True)
        config = dataclasses.replace(configuration(comparison, method), **overrides)
        trained = _train(comparison, method, config, seed, path.parent)
        cutoff, split = comparison.settings.cutoff, comparison.split
        items = _lists(trained, split.test, cutoff, method, seed)
        save(path, next_items.evaluate_lists(items, split.test, split.train, (cutoff,)))
        # The checkpoints with their replay are not needed any more.
        shutil.rmtree(path.parent / "checkpoints", ignore_errors=True)
    return load(path)


def check_cell(
    comparison: Comparison, method: str, seed: int, overrides: Mapping[str, Any]
) -> None:
    """Checks that a cell, if begun, has the tuned fields.

    Raises:
      UserError: naming the fields that differ.
    """
    path = comparison.evaluation(method, seed).with_name(_CELL)
    now = {"tuned": options.resolved(dict(overrides))}
    records.check(
        path,
        lambda saved: options.differences(saved, now),
        f"{path.parent} was begun with other settings than tuning has chosen",
        f"Choose another --out, or remove {path.parent} to run the cell again",
    )


def tuned_fields(comparison: Comparison, method: str) -> dict[str, Any]:
    """Returns the tuned fields of a method; none if it was not tuned.

    Raises:
      UserError: if it was tuned on other data.
    """
    folder = _tuning(comparison, method)
    return options.resolved(studies.tuned_fields(folder, {"log": comparison.data.source}))


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
      method: the method, tuned over the space of its ranker.
      trials: total number of trials, including finished ones.

    Raises:
      UserError: if no trial ends with finite numbers, or the study is of other data.
    """
    folder = _tuning(comparison, method)
    ranker = rankers.get(method)
    base, fixed = configuration(comparison, method), comparison.fixed.get(method, {})
    fields = {field: x for field, x in ranker.space.items() if field not in fixed}

    def evaluate(overrides: dict[str, Any], trial: tuning.Trial) -> float:
        trials_lib.free_models()
        run_folder = folder / "trials" / identity.fingerprint(overrides)
        config = dataclasses.replace(base, **overrides)
        try:
            trained = _train(comparison, method, config, _TUNING_SEED, run_folder)
            score = _validation_ndcg(comparison, trained, method)
        except (finite.NonFiniteError, FloatingPointError, loop.DivergedExit) as error:
            shutil.rmtree(run_folder, ignore_errors=True)
            raise tuning.DivergedError(str(error.__cause__ or error)) from error
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
    scored = f"nDCG@{_SCORED} of validation events"
    study = studies.Study(method, ranker.title, base, scored, {"log": comparison.data.source})
    studies.write(folder, study, result)


def is_tuned(comparison: Comparison, method: str, trials: int) -> bool:
    """Returns whether a method has all its trials."""
    return studies.is_finished(_tuning(comparison, method), trials)


def _tuning(comparison: Comparison, method: str) -> pathlib.Path:
    return comparison.out / "tuning" / method


def configuration(comparison: Comparison, method: str) -> Any:
    """Returns a method's configuration in a comparison, before tuning."""
    settings, ranker = comparison.settings, rankers.get(method)
    numbers = {} if settings.world == "fitted" else _NUMBERS
    config = ranker.configured(
        settings.epochs, settings.batch, {**numbers, **comparison.numbers}
    )
    fixed = comparison.fixed.get(method, {}).items()
    return dataclasses.replace(config, **{k: x for k, x in fixed if k not in ranker.named})


def _train(
    comparison: Comparison, method: str, config: Any, seed: int, folder: pathlib.Path
) -> rankers.Trained:
    data, settings = comparison.data, comparison.settings
    play = dict(comparison.play)
    if settings.total_iterations is not None:
        play["total_iterations"] = settings.total_iterations
    task = rankers.Task(
        split=comparison.split,
        protocol=settings.protocol,
        vocabulary=data.vocabulary,
        source=data.source,
        folder=folder,
        seed=seed,
        categories=lambda: _categories(comparison),
        features=data.item_features(),
        graph=comparison.graph,
        play=rankers.Play(
            data,
            lambda: users_of_play(comparison),
            presets.play_config_class("users")(**play),
            comparison.save_every,
        ),
        warn=flags.warn,
    )
    return rankers.get(method).train(config, task)


def _lists(
    trained: rankers.Trained, held_out: protocols.HeldOut, k: int, method: str, seed: int
) -> np.ndarray:
    """Returns the lists of the users of held-out events, int32 [V, k]."""
    lists = trained.lists(held_out, k)
    if completed := lists.completed:
        print(
            f"{method}, seed {seed}: {completed.users:.1%} of the lists were completed with "
            f"items without a path, {completed.places:.1%} of their places",
            flush=True,
        )
    return lists.items


def users_of_play(comparison: Comparison) -> Any:
    """Returns the configuration of the users with which policies play, after fitting them."""
    train, kind = training_data(comparison), comparison.settings.world
    world = kind if kind == worlds.LOOKUP else str(_fitted(comparison, train))
    return environments.get("users").config(
        data=str(train.directory), world=world, item_width=_ITEM_WIDTH, item_taste="factors"
    )


def evaluate_users_of_play(comparison: Comparison) -> dict[str, next_items.Evaluation]:
    """Ranks the test events by the clicks of the users with which policies play.

    It says what there is to learn from these users. Users who look their clicks up in the
    training events are left out: they click no held-out item.

    Returns:
      `rankers.USERS_OF_PLAY` -> its evaluation; nothing for users with logged clicks.
    """
    if comparison.settings.world == worlds.LOOKUP:
        return {}
    train = training_data(comparison)
    world = worlds.load(str(_fitted(comparison, train)), train)
    cutoff, split = comparison.settings.cutoff, comparison.split
    model = user_lists.UserModelLists(world, train)
    items = offline.lists(model, comparison.data, split.test, cutoff)
    evaluated = next_items.evaluate_lists(items, split.test, split.train, (cutoff,))
    return {rankers.USERS_OF_PLAY: evaluated}


def training_data(comparison: Comparison) -> storage.PreparedData:
    """Returns the training events as prepared data for the users of play."""
    settings, out = comparison.settings, comparison.out / "training"
    return offline.training_data(
        comparison.data,
        offline.first_events(comparison.split.train),
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


def _validation_ndcg(comparison: Comparison, trained: rankers.Trained, method: str) -> float:
    split = comparison.split
    k = min(_SCORED, split.validation.history.num_items)
    items = _lists(trained, split.validation, k, method, _TUNING_SEED)
    evaluation = next_items.evaluate_lists(items, split.validation, split.train, (k,))
    return float(np.mean(evaluation.by_user[f"ndcg@{k}"]))


def _created(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
