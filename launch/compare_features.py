"""Compares agents that read features of items with agents that read ids alone.

    python -m launch.compare_features --out=runs/features --seeds=3

The embedded world is generated with attributes of its items, some of which its log never
shows. Each method learns from the log alone, once with the attributes and once with ids alone.
Then it plays with test users, restricted to the items of the log, to the new items (which an
agent of ids alone cannot rank), and without restriction. Exact values of the optimum, of random
items and of the best plan by attributes stand beside. With --embedded_day_parts above 1,
tastes depend on the hour of the session: features then include the hour, each method learns
once more from the attributes without the hour, and exact bounds of what can be earned without
it stand beside. Writes features.json, report.md, report.html and features.png; the same command
continues after an interruption.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import tfgoalrec  # noqa: F401  registers GoalRec
from launch import flags
from launch.experiments import feature_agents
from tfrec import options, outputs
from tfrec.data import (
    episodes,
    feature_schema,
    preparing,
    storage,
    synthetic,
    synthetic_attributes,
)
from tfrec.errors import UserError
from tfrec.evaluation import feature_worlds
from tfrec.methods import catalogue
from tfrec.options import MAX_SEED, option
from tfrec.report import feature_report


@dataclasses.dataclass(frozen=True)
class CompareFeaturesConfig(feature_agents.SeedsConfig):
    """What is compared, and how much of everything."""

    out: str = option("runs/features", "folder of the report and of all agents")
    methods: tuple[str, ...] = option(
        ("goalrec_off", "dien", "rainbow"),
        "methods that learn from a log and rank by embeddings of items",
        distinct=True,
        min_length=1,
    )
    log_rounds: int = option(30, "rounds on the log, of each method", at_least=1)
    new_share: float = option(
        0.2, "share of the items that the log never shows", above=0, below=1
    )
    max_users: int = option(500, "test users who play, at most", at_least=2)
    sessions_per_user: int = option(4, "sessions that each of them plays", at_least=1)


flags.define(CompareFeaturesConfig)
flags.define(synthetic.SyntheticConfig, "embedded_")


def main(_):
    config = flags.read(CompareFeaturesConfig)
    truth = flags.read(synthetic.SyntheticConfig, "embedded_")
    outputs.check_folder(config.out)
    feature_agents.check(config.methods)
    out = pathlib.Path(config.out)
    values: dict[str, list[feature_report.ByUser]] = {}
    has_hour = truth.day_parts > 1
    for seed in config.each:
        folder = out / f"seed_{seed}"
        world = _world(truth, config.new_share, seed)
        data, table = _data(folder, "data", world)
        place = feature_worlds.setting(data, config.max_users, config.sessions_per_user)
        for row, kind in feature_report.EXACT.items():
            exact = {name: getattr(part, kind) for name, part in place.parts.items()}
            if all(value is not None for value in exact.values()):
                values.setdefault(row, []).append(exact)
        popularity = dict.fromkeys((feature_worlds.KNOWN, feature_worlds.ALL), place.popularity)
        values.setdefault(feature_report.POPULARITY, []).append(popularity)
        for arm in _arms(config.methods, has_hour):
            source = data if arm.hour == has_hour else _data(folder, "data_no_hour", world)[0]
            agent = feature_agents.trained_on_log(
                folder / arm.folder, source, arm.method, arm.features, seed, config.log_rounds
            )
            played = {
                feature_worlds.KNOWN: feature_worlds.play(place, agent, feature_worlds.KNOWN)
            }
            if arm.features:
                changed = agent.with_items(catalogue.plan(agent, table))
                for part in (feature_worlds.NEW, feature_worlds.ALL):
                    played[part] = feature_worlds.play(place, changed, part)
            values.setdefault(arm.row, []).append(played)
            clicks = ", ".join(f"{part} {x.mean():.2f}" for part, x in played.items())
            print(f"seed {seed}, {arm.row}: clicks with {clicks}")
    document = {
        "settings": options.resolved(config) | {"embedded": options.resolved(truth)},
        "seeds": config.seeds,
        **feature_report.summarise(values),
        **feature_report.gains(values, config.methods, feature_worlds.KNOWN),
    }
    outputs.write_json(out / "features.json", document)
    parts = (feature_worlds.KNOWN, feature_worlds.NEW, feature_worlds.ALL)
    feature_report.write(out, document, parts)
    print(f"{out / 'report.html'}: the report")


class _Arm(NamedTuple):
    """One agent of a seed.

    Attributes:
      method: name of the method.
      row: its row in the report.
      folder: name of the folder of its run.
      features: whether it reads features.
      hour: whether the hour is among the features of its data.
    """

    method: str
    row: str
    folder: str
    features: bool
    hour: bool


def _arms(methods: Sequence[str], has_hour: bool) -> list[_Arm]:
    """The agents of each method; one more where tastes depend on the hour."""
    arms = []
    for name in methods:
        arms.append(
            _Arm(name, feature_report.with_features(name), f"{name}_features", True, has_hour)
        )
        if has_hour:
            row = feature_report.without_hour(name)
            arms.append(_Arm(name, row, f"{name}_no_hour", True, False))
        arms.append(_Arm(name, feature_report.ids_alone(name), f"{name}_ids", False, has_hour))
    return arms


def _world(
    truth: synthetic.SyntheticConfig, new_share: float, seed: int
) -> synthetic.SyntheticConfig:
    """The world of a seed."""
    new_items = max(1, round(new_share * truth.num_items))
    seed = (truth.seed + seed) % (MAX_SEED + 1)
    return dataclasses.replace(truth, seed=seed, new_items=new_items)


def _data(
    folder: pathlib.Path, name: str, truth: synthetic.SyntheticConfig
) -> tuple[storage.PreparedData, pathlib.Path]:
    """The log of a world, prepared unless it was, and the table of all items.

    Args:
      folder: of the seed.
      name: `data`, with the hour where tastes depend on it, or `data_no_hour`.
      truth: the world.
    """
    table = folder / "item_features.csv"
    if (folder / name).exists():
        data = storage.PreparedData.open(folder / name)
        if options.restored(synthetic.SyntheticConfig, data.manifest["generator"]) != truth:
            raise UserError(
                f"{folder / name}: holds the log of another world; choose another folder"
            )
        return data, table
    folder.mkdir(parents=True, exist_ok=True)
    attributes = synthetic_attributes.attributes(truth, synthetic.truth(truth))
    with outputs.replacing_file(table) as temporary:
        attributes["item"].write_csv(temporary)
    declared = feature_schema.declared(synthetic_attributes.COLUMNS, "columns")
    if name == "data":
        declared = synthetic_attributes.with_hour(declared, truth)
    prepared = preparing.prepare(
        functools.partial(synthetic.read_validated, truth),
        folder / name,
        episodes.PrepareConfig(),
        source="embedded",
        features_of={"item": str(table)},
        feature_columns=declared,
        generator=dataclasses.asdict(truth),
    )
    return prepared.data, table


if __name__ == "__main__":
    flags.run(main)
