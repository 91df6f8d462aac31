"""Ranking quality of two implementations of a method: equal tuning, seeds, paired difference.

`compare` tunes each side on validation events and trains its best setting with all seeds.
`ours` makes the side of one of the project's methods; `in_another_interpreter` runs a side
whose packages do not go together with the project's.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import command_line
from tfrec.data import knowledge_graph, protocols, sequence_logs
from tfrec.evaluation import next_items, rankers
from tfrec.metrics import intervals

LISTED = 20
METRICS = ("ndcg@10", "recall@20")


class Job(NamedTuple):
    """A setting of one side and a seed."""

    setting: dict[str, Any]
    seed: int


class Lists(NamedTuple):
    """Lists of a trained model, int32 [V, LISTED] each."""

    validation: np.ndarray
    test: np.ndarray


Trainer = Callable[[Sequence[Job]], Iterable[Lists]]


def ours(
    method: str,
    log: sequence_logs.SequenceLog,
    split: protocols.Split,
    protocol: str,
    common: Mapping[str, Any],
    graph: knowledge_graph.KnowledgeGraph | None = None,
) -> Trainer:
    """Makes the trainer of one of the project's methods.

    Args:
      method: its name among the rankers.
      log: the log.
      split: its events.
      protocol: name of the protocol of the split.
      common: fields of every job's configuration, `epochs` among them.
      graph: of methods that walk one.
    """
    ranker = rankers.get(method)

    def train(job: Job) -> Lists:
        config = ranker.config(**common, **job.setting)
        with tempfile.TemporaryDirectory() as folder:
            task = rankers.Task(
                split=split,
                protocol=protocol,
                vocabulary=log.vocabulary,
                source=log.source,
                folder=pathlib.Path(folder),
                seed=job.seed,
                save_every=common["epochs"],
                graph=graph,
            )
            trained = ranker.train(config, task)
            parts = (split.validation, split.test)
            return Lists(*(trained.lists(part, LISTED).items for part in parts))

    return lambda jobs: map(train, jobs)


def in_another_interpreter(
    python: str, script: str, arrays: Mapping[str, Any], common: Mapping[str, Any]
) -> Trainer:
    """Makes the trainer of a side that runs in a separate process.

    Args:
      python: an interpreter that imports the side's packages.
      script: name of a file beside this one, called with the paths of ARRAYS.npz, JOBS.json
        and LISTS.npz. A job is `common` with its setting and `seed`; LISTS gets
        "<job>/validation" and "<job>/test".
      arrays: the events.
      common: settings of every job.
    """
    path = pathlib.Path(__file__).with_name(script)

    def train(jobs: Sequence[Job]) -> Iterable[Lists]:
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / f for f in ("log.npz", "jobs.json", "lists.npz")]
            np.savez(paths[0], **arrays)
            paths[1].write_text(
                json.dumps([dict(common) | j.setting | {"seed": j.seed} for j in jobs])
            )
            subprocess.run([python, "-W", "ignore", path, *paths], check=True, cwd=folder)
            with np.load(paths[2]) as file:
                lists = dict(file)
        for index in range(len(jobs)):
            yield Lists(lists[f"{index}/validation"], lists[f"{index}/test"])

    return train


def compare(
    trainers: Mapping[str, tuple[Trainer, Sequence[dict[str, Any]]]],
    split: protocols.Split,
    seeds: int,
) -> dict[str, list[next_items.Evaluation]]:
    """Tunes each side with seed 0 and trains its best setting with all seeds.

    Args:
      trainers: side -> trainer and settings.
      split: events of the log.
      seeds: runs of the best setting.

    Returns:
      Side -> the test evaluation of each seed; prints the table.
    """
    results: dict[str, list[next_items.Evaluation]] = {}
    for name, (train, settings) in trainers.items():
        tried = list(train([Job(setting, 0) for setting in settings]))
        scores = [
            next_items.evaluate_lists(lists.validation, split.validation, split.train)
            .by_user["ndcg@10"]
            .mean()
            for lists in tried
        ]
        for setting, score in zip(settings, scores, strict=True):
            print(f"{name}, {setting}: validation ndcg@10 {score:.4f}", flush=True)
        best = int(np.argmax(scores))
        more = [Job(settings[best], seed) for seed in range(1, seeds)]
        results[name] = [
            next_items.evaluate_lists(lists.test, split.test, split.train)
            for lists in (tried[best], *(train(more) if more else ()))
        ]
        print(f"{name}: {settings[best]} for seeds 0 to {seeds - 1}", flush=True)
    _print_table(results, seeds)
    return results


def _print_table(results: Mapping[str, list[next_items.Evaluation]], seeds: int) -> None:
    print(f"\n{'':10}" + "".join(f"{metric:>18}" for metric in METRICS) + f"   ({seeds} seeds)")
    tables = {
        name: {metric: np.stack([run.by_user[metric] for run in runs], 1) for metric in METRICS}
        for name, runs in results.items()
    }  # [users, seeds]
    for name, by_metric in tables.items():
        cells = []
        for metric in METRICS:
            means = by_metric[metric].mean(axis=0)
            cells.append(f"{means.mean():9.4f} ± {means.std(ddof=min(1, seeds - 1)):.4f}")
        print(f"{name:10}" + "".join(f"{cell:>18}" for cell in cells))
    if len(tables) == 2:
        first, second = tables.values()
        for metric in METRICS:
            interval = intervals.of_table(first[metric] - second[metric])
            print(
                f"{' - '.join(tables)}, {metric}: "
                f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
            )


def parser(doc: str, form: str) -> argparse.ArgumentParser:
    """The arguments that the comparisons share.

    Args:
      doc: docstring of the script.
      form: default format of the log.
    """
    arguments = command_line.parser(doc)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--form", default=form)
    arguments.add_argument("--reference_python", default="")
    arguments.add_argument("--seeds", type=command_line.at_least(1), default=3)
    return arguments
