"""Compares agents that read features of items with agents that read ids alone.

    python -m launch.compare_features --out=runs/features --seeds=3

The embedded world is generated with attributes of its items, some of which its log never
shows. Each method learns from the log alone, once with the attributes and once with ids alone.
Then it plays with test users, restricted to the items of the log, to the new items (which an
agent of ids alone cannot rank), and without restriction. Exact values of the optimum, of random
items and of the best plan by attributes stand beside. Writes features.json, report.md,
report.html and features.png; the same command continues after an interruption.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

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
    pairs = [(f"{name} with features", f"{name}, ids alone") for name in config.methods]
    for seed in config.each:
        folder = out / f"seed_{seed}"
        data, table = _data(folder, truth, config.new_share, seed)
        place = feature_worlds.setting(data, config.max_users, config.sessions_per_user)
        for arm, kind in (
            (feature_report.OPTIMUM, "optimum"),
            (feature_report.ATTRIBUTES, "by_attributes"),
            (feature_report.RANDOM, "random"),
        ):
            exact = {name: getattr(part, kind) for name, part in place.parts.items()}
            values.setdefault(arm, []).append(exact)
        popularity = dict.fromkeys((feature_worlds.KNOWN, feature_worlds.ALL), place.popularity)
        values.setdefault(feature_report.POPULARITY, []).append(popularity)
        for name, (with_features, ids_alone) in zip(config.methods, pairs, strict=True):
            for arm, features in ((with_features, True), (ids_alone, False)):
                run = folder / f"{name}_{'features' if features else 'ids'}"
                agent = feature_agents.trained_on_log(
                    run, data, name, features, seed, config.log_rounds
                )
                played = {
                    feature_worlds.KNOWN: feature_worlds.play(
                        place, agent, feature_worlds.KNOWN
                    )
                }
                if features:
                    changed = agent.with_items(catalogue.plan(agent, table))
                    for part in (feature_worlds.NEW, feature_worlds.ALL):
                        played[part] = feature_worlds.play(place, changed, part)
                values.setdefault(arm, []).append(played)
                clicks = ", ".join(f"{part} {x.mean():.2f}" for part, x in played.items())
                print(f"seed {seed}, {arm}: clicks with {clicks}")
    document = {
        "settings": options.resolved(config) | {"embedded": options.resolved(truth)},
        "seeds": config.seeds,
        **feature_report.summarise(values),
        "gains": feature_report.gains(values, pairs, feature_worlds.KNOWN),
    }
    outputs.write_json(out / "features.json", document)
    parts = (feature_worlds.KNOWN, feature_worlds.NEW, feature_worlds.ALL)
    feature_report.write(out, document, parts)
    print(f"{out / 'report.html'}: the report")


def _data(
    folder: pathlib.Path, truth: synthetic.SyntheticConfig, new_share: float, seed: int
) -> tuple[storage.PreparedData, pathlib.Path]:
    """The log of a seed's world, prepared unless it was, and the table of all items."""
    new_items = max(1, round(new_share * truth.num_items))
    truth = dataclasses.replace(
        truth, seed=(truth.seed + seed) % (MAX_SEED + 1), new_items=new_items
    )
    table = folder / "item_features.csv"
    if (folder / "data").exists():
        data = storage.PreparedData.open(folder / "data")
        if data.manifest["generator"] != options.resolved(truth):
            raise UserError(
                f"{folder / 'data'}: holds the log of another world; choose another folder"
            )
        return data, table
    folder.mkdir(parents=True, exist_ok=True)
    attributes = synthetic_attributes.attributes(truth, synthetic.truth(truth))
    with outputs.replacing_file(table) as temporary:
        attributes["item"].write_csv(temporary)
    prepared = preparing.prepare(
        functools.partial(synthetic.read_validated, truth),
        folder / "data",
        episodes.PrepareConfig(),
        source="embedded",
        features_of={"item": str(table)},
        feature_columns=feature_schema.declared(synthetic_attributes.COLUMNS, "columns"),
        generator=dataclasses.asdict(truth),
    )
    return prepared.data, table


if __name__ == "__main__":
    flags.run(main)
