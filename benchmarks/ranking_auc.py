"""Compares the AUC of the click rankers with a reference implementation on the same rows.

    python -m benchmarks.ranking_auc --data=runs/data --reference_python=REFERENCE/bin/python

Ours: `wide_and_deep`, `dien_candidate` (attention for the candidate, as in the paper) and
`dien_latest` (the form for play). The reference: DeepCTR's `WDL` and `DIEN`, if the named
interpreter can import them (see `ranking_reference.py`); without it, only ours.

Both have the same training rows (each step of each training session: history, item, click), the
same widths and the same tuning: every setting of `SETTINGS` with the first seed and equally
many epochs, and the best setting, by AUC on the validation rows, for the other seeds too. The
validation rows also select the epoch. Item embeddings start at random, so that both sides have
the same information.

Printed: AUC and user-mean AUC (GAUC: within users, weighted by their rows) on the test
rows, mean and standard deviation over the seeds.
"""

import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks import command_line, ranking_rows, timing
from tfrec import types
from tfrec.baselines.click_ranker import ClickRanker
from tfrec.baselines.dien_ranker import DienConfig, DienLearner
from tfrec.baselines.wide_and_deep import WideAndDeepConfig, WideAndDeepLearner
from tfrec.data import storage
from tfrec.metrics import ranking

SETTINGS: tuple[dict[str, Any], ...] = (
    {"learning_rate": 1e-3, "embedding": 16},
    {"learning_rate": 3e-4, "embedding": 16},
    {"learning_rate": 1e-3, "embedding": 32},
)
BATCH = 256
# Settings of the reference for a size equal to ours.
REFERENCE: dict[str, dict[str, Any]] = {
    "deepctr_wdl": {"model": "wdl", "crosses": 2**18, "events": 10},
    "deepctr_dien": {"model": "dien", "auxiliary": 0.5},
}
OURS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "wide_and_deep": (WideAndDeepConfig, WideAndDeepLearner, {}),
    "dien_candidate": (DienConfig, DienLearner, {"query": "candidate"}),
    "dien_latest": (DienConfig, DienLearner, {"query": "latest"}),
}

Parts = Mapping[str, dict[str, np.ndarray]]


class Scores(NamedTuple):
    """Scores of the rows after each epoch.

    Attributes:
      validation: float [epochs, rows].
      test: float [epochs, rows].
    """

    validation: np.ndarray
    test: np.ndarray


class Quality(NamedTuple):
    """AUC of a model at its best epoch by validation.

    Attributes:
      epoch: the best epoch, from 1.
      validation: AUC on the validation rows.
      auc: AUC on the test rows.
      user_auc: AUC within users, on the test rows.
    """

    epoch: int
    validation: float
    auc: float
    user_auc: float


# Trains settings, each with a seed, and yields their scores.
Trainer = Callable[[Sequence[tuple[dict[str, Any], int]]], Iterable[Scores]]


def quality(scores: Scores, parts: Parts) -> Quality:
    """AUCs at the epoch with the highest validation AUC."""
    by_epoch = [ranking.auc(s, parts["validation"]["click"]) for s in scores.validation]
    best = int(np.argmax(by_epoch))
    test, score = parts["test"], scores.test[best]
    return Quality(
        best + 1,
        by_epoch[best],
        ranking.auc(score, test["click"]),
        ranking.grouped_auc(score, test["click"], test["user"]),
    )


def ours(
    name: str, spec: types.DataSpec, log: types.Episodes, parts: Parts, epochs: int
) -> Trainer:
    """Makes the trainer of one of our models.

    Args:
      name: a key of OURS.
      spec: spec of the log, with the click as the only feedback column.
      log: training sessions.
      parts: rows of each split.
      epochs: passes over the training rows.
    """
    config_class, learner_class, options = OURS[name]

    def train(setting: dict[str, Any], seed: int) -> Scores:
        config = config_class(
            **options,
            **setting,
            batch=BATCH,
            replay_sessions=len(log.length),
            sessions_per_round=len(log.length),  # unused, but limited by the replay
            updates_per_round=max(1, int(log.length.sum()) // BATCH),
            log_rounds=epochs,
        )
        none = np.zeros([spec.num_items + 1, config.embedding], np.float32)
        learner = learner_class(config, spec, log, None, none, seed)
        scores_by_split: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
        predict = _predictor(learner)
        for _ in range(epochs):
            learner.advance()
            for split, scores in scores_by_split.items():
                scores.append(predict(parts[split]))
        return Scores(**{split: np.stack(scores) for split, scores in scores_by_split.items()})

    return lambda jobs: (train(setting, seed) for setting, seed in jobs)


def _predictor(
    learner: ClickRanker, block: int = 4096
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    predict = tf.function(learner.predict, reduce_retracing=True)

    def scores(part: dict[str, np.ndarray]) -> np.ndarray:
        observation = ranking_rows.observation(part)
        batches = []
        for start in range(0, len(part["item"]), block):
            rows = slice(start, start + block)
            batch = types.constants(types.rows(observation, rows))
            batches.append(predict(batch, tf.constant(part["item"][rows])).numpy())
        return np.concatenate(batches)

    return scores


def reference(
    name: str, python: str, num_items: int, parts: Parts, epochs: int, layers: Sequence[int]
) -> Trainer:
    """Makes the trainer of a DeepCTR model, which runs in a separate process.

    Args:
      name: a key of REFERENCE.
      python: an interpreter that imports deepctr.
      num_items: N.
      parts: rows of each split.
      epochs: passes over the training rows.
      layers: widths of its dense layers.
    """
    script = pathlib.Path(__file__).with_name("ranking_reference.py")

    def train(jobs: Sequence[tuple[dict[str, Any], int]]) -> Iterable[Scores]:
        common = {"epochs": epochs, "batch": BATCH, "layers": list(layers)}
        common |= {"l2": 1e-5, "dropout": 0.0} | REFERENCE[name]
        job_list = [
            common | setting | {"name": str(index), "seed": seed}
            for index, (setting, seed) in enumerate(jobs)
        ]
        flat: dict[str, Any] = {
            f"{s}/{k}": v for s, part in parts.items() for k, v in part.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / f for f in ("rows.npz", "jobs.json", "scores.npz")]
            np.savez(paths[0], num_items=num_items, **flat)
            paths[1].write_text(json.dumps(job_list))
            # DeepCTR needs the Keras of its TensorFlow.
            environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
            subprocess.run([python, script, *paths], check=True, env=environment)
            with np.load(paths[2]) as file:
                scores = dict(file)
        for index in range(len(jobs)):
            yield Scores(scores[f"{index}/validation"], scores[f"{index}/test"])

    return train


def compare(trainers: Mapping[str, Trainer], parts: Parts, seeds: int) -> dict[str, list]:
    """Tunes each model with the first seed and trains the best setting with all seeds.

    Returns:
      The test quality of each seed, by name; prints the table.
    """
    qualities: dict[str, list[Quality]] = {}
    for name, train in trainers.items():
        tried = _run(name, train, [(setting, 0) for setting in SETTINGS], parts)
        best = max(range(len(SETTINGS)), key=lambda i: tried[i].validation)
        more = [(SETTINGS[best], seed) for seed in range(1, seeds)]
        qualities[name] = [tried[best], *_run(name, train, more, parts)]
    print(f"\n{'':18}{'AUC':>16}{'user-mean AUC':>20}   ({seeds} seeds)")
    for name, results in qualities.items():
        columns = np.array([(q.auc, q.user_auc) for q in results])
        mean, std = columns.mean(axis=0), columns.std(axis=0, ddof=min(1, seeds - 1))
        print(f"{name:18}{mean[0]:9.4f} ±{std[0]:.4f}{mean[1]:13.4f} ±{std[1]:.4f}", flush=True)
    return qualities


def _run(
    name: str, train: Trainer, jobs: Sequence[tuple[dict[str, Any], int]], parts: Parts
) -> list[Quality]:
    """The quality of each job; a line is printed for each."""
    results = []
    for (setting, seed), scores in zip(jobs, train(jobs) if jobs else (), strict=True):
        result = quality(scores, parts)
        print(
            f"{name}, {setting}, seed {seed}: epoch {result.epoch}, "
            f"AUC {result.validation:.4f} on validation, {result.auc:.4f} on test",
            flush=True,
        )
        results.append(result)
    return results


def main(
    data: str,
    reference_python: str = "",
    methods: Sequence[str] = (*OURS, *REFERENCE),
    seeds: int = 3,
    epochs: int = 2,
) -> dict[str, list]:
    """Compares the models; see the module's docstring.

    Args:
      data: folder of prepared data.
      reference_python: an interpreter that imports deepctr; empty for only ours.
      methods: keys of OURS and REFERENCE.
      seeds: runs of the best setting.
      epochs: passes over the training rows.
    """
    prepared = storage.PreparedData.open(data)
    spec = ranking_rows.clicks_only(prepared.spec)
    sessions = {s: ranking_rows.clicks_of(prepared.episodes(s)) for s in ranking_rows.SPLITS}
    parts = {split: ranking_rows.rows(part) for split, part in sessions.items()}
    for split, part in parts.items():
        clicked = part["click"].mean() if len(part["click"]) else 0.0
        print(f"{split}: {len(part['click']):,} rows, {clicked:.3f} clicked")
    trainers: dict[str, Trainer] = {}
    for name in methods:
        if name in OURS:
            trainers[name] = ours(name, spec, sessions["train"], parts, epochs)
        elif reference_python:
            trainers[name] = reference(
                name, reference_python, spec.num_items, parts, epochs, (128, 64)
            )
    return compare(trainers, parts, seeds)


if __name__ == "__main__":
    timing.one_thread()
    parser = command_line.parser(__doc__)
    parser.add_argument("--data", type=command_line.folder, required=True)
    parser.add_argument("--reference_python", default="")
    parser.add_argument(
        "--methods",
        type=command_line.separated(command_line.one_of(*OURS, *REFERENCE)),
        default=(*OURS, *REFERENCE),
    )
    parser.add_argument("--seeds", type=command_line.at_least(1), default=3)
    parser.add_argument("--epochs", type=command_line.at_least(1), default=2)
    main(**vars(parser.parse_args()))
