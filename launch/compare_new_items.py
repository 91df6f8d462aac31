r"""Compares rankings of items that training never showed, on the held-out events of a log.

    python -m launch.prepare_data --source=table --path=ratings.csv \
        --feedback=liked:binary:likes --item_features=movies.csv \
        --feature_columns=features.toml --out=runs/ml/data
    python -m launch.compare_new_items --data=runs/ml/data --out=runs/ml/new_items --seeds=3

Each seed withholds items of its own from training. Methods learn from the events of the other
items, once with features of the items and once with ids alone, and rank the held-out clicks of
each user beside content-kNN, item-kNN, popularity and a random order. Writes new_items.json,
report.md, report.html and new_items.png; the same command continues after an interruption.
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

import tfgoalrec  # noqa: F401  registers GoalRec
from launch import flags
from launch.experiments import feature_agents
from tfrec import options, outputs
from tfrec.baselines.sequential import methods as sequential
from tfrec.data import storage
from tfrec.evaluation import new_items
from tfrec.methods import catalogue
from tfrec.metrics import intervals
from tfrec.options import option, required
from tfrec.report import new_items_report, style


@dataclasses.dataclass(frozen=True)
class CompareNewItemsConfig(feature_agents.SeedsConfig):
    """What is compared, and how much of everything."""

    data: str = required("folder of prepared data whose items have features that models read")
    out: str = required("folder of the report and of all agents")
    methods: tuple[str, ...] = option(
        ("sasrec", "goalrec_off"),
        "methods that learn from a log and rank by embeddings of items: sequential ones read "
        "which items follow others, the others what was clicked of what was shown",
        distinct=True,
        min_length=1,
    )
    log_rounds: int = option(10, "rounds on the log, of each method", at_least=1)
    epochs: int = option(60, "epochs of each sequential method, at most", at_least=1)
    new_share: float = option(
        0.1, "share of the items that training never shows", above=0, below=1
    )
    cutoff: int = option(10, "length of the lists", at_least=1)
    max_users: int = option(2000, "users of each task, at most", at_least=2)
    max_steps: int = option(
        50, "steps of a session in training; a longer one becomes several", at_least=2
    )
    history_length: int = option(50, "events in the history of an agent", at_least=1)


flags.define(CompareNewItemsConfig)


def main(_):
    config = flags.read(CompareNewItemsConfig)
    outputs.check_folder(config.out)
    feature_agents.check([name for name in config.methods if name not in sequential.METHODS])
    data = storage.PreparedData.open(config.data)
    out = pathlib.Path(config.out)
    values: dict[str, dict[str, list[float]]] = {}  # ranker -> metric of a task -> by seed
    for seed in config.each:
        folder = out / f"seed_{seed}"
        place = new_items.setting(
            data,
            folder,
            share=config.new_share,
            seed=seed,
            max_users=config.max_users,
            max_steps=config.max_steps,
            history_length=config.history_length,
        )
        rankers = new_items.lists_of_controls(place, seed)
        for name in config.methods:
            rankers |= _agents(folder, place, config, name, seed)
        for ranker, by_task in rankers.items():
            for task, lists in by_task.items():
                for metric, value in new_items.evaluate(
                    place, task, lists, config.cutoff
                ).items():
                    by_metric = values.setdefault(ranker, {})
                    by_metric.setdefault(f"{metric}, {task}", []).append(value)
                    print(f"seed {seed}, {ranker}: {metric} of {task} {value:.4f}")
    pairs = [(_title(name, True), _title(name, False)) for name in config.methods]
    document = {
        "settings": options.resolved(config),
        "log": data.manifest["source"],
        "seeds": config.seeds,
        "rankers": {
            ranker: {
                metric: intervals.of_mean(np.array(x)).bounds for metric, x in by_metric.items()
            }
            for ranker, by_metric in values.items()
        },
        "gain of features": {
            features: {
                metric: intervals.of_mean(np.subtract(values[features][metric], x)).bounds
                for metric, x in values[ids_alone].items()
            }
            for features, ids_alone in pairs
        },
    }
    outputs.write_json(out / "new_items.json", document)
    new_items_report.write(out, document, config.cutoff)
    print(f"{out / 'report.html'}: the report")


def _agents(
    folder: pathlib.Path,
    place: new_items.Setting,
    config: CompareNewItemsConfig,
    name: str,
    seed: int,
) -> dict[str, dict[str, new_items.Lists]]:
    """A method with features, which then has all items, and with ids alone; lists by task."""
    rankers: dict[str, dict[str, new_items.Lists]] = {}
    for features in (True, False):
        run = folder / f"{name}_{'features' if features else 'ids'}"
        if name in sequential.METHODS:
            agent = feature_agents.trained_sequence(
                run, place.training, name, features, seed, config.epochs, config.history_length
            )
        else:
            agent = feature_agents.trained_on_log(
                run, place.training, name, features, seed, config.log_rounds
            )
        if features:
            agent = agent.with_items(catalogue.plan(agent, place.table))
            tasks = tuple(place.tasks)
        else:
            tasks = new_items.WITH_EVENTS
        lists = new_items.of_agent(place, agent)
        rankers[_title(name, features)] = dict.fromkeys(tasks, lists)
    return rankers


def _title(name: str, features: bool) -> str:
    return style.policy_name(name) + (" with features" if features else ", ids alone")


if __name__ == "__main__":
    flags.run(main)
