"""Seven simulated days: a warm start on each new day beside training from nothing.

    python -m benchmarks.warm_start

A log of the embedded world has one session of each user a day, and each day new items, which
are described by attributes. On each day, GoalRec-off learns in four ways:

    from nothing             from random weights, on the log of all days so far
    warm start               from the agent of the day before, on the sessions of the new day
    warm start, low rate     the same with 0.3 of the learning rate
    first day, new items     the first day's agent, with the items of the day and no training

The warm starts have fewer rounds. Every agent then plays with test users, restricted to the
items of the day. Printed, for each day: the share of the way from random items to the exact
optimum in clicks of a session, and the processor time of learning, summed over the days; means
with 95% intervals over seeds, each with a world, logs and weights of its own. Writes
runs/warm_start/warm_start.json, with the numbers of each seed, and the curves, warm_start.png.
"""

import dataclasses
import multiprocessing
import pathlib
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import tfgoalrec
from benchmarks import timing
from tfrec import options, outputs
from tfrec.data import (
    episodes,
    feature_schema,
    preparing,
    schema,
    storage,
    synthetic,
    synthetic_attributes,
)
from tfrec.evaluation import feature_worlds
from tfrec.methods import catalogue
from tfrec.metrics import intervals
from tfrec.report import plots

NOTHING, WARM, LOW, STALE = (
    "from nothing",
    "warm start",
    "warm start, low rate",
    "first day, new items",
)
_LOW = 0.3  # of the learning rate
_DAY_MS = 86_400_000


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The simulated days, and the learning of each.

    Attributes:
      days: number of days.
      users: users, each with one session a day.
      items: items of the world; those of the day after the last are never shown.
      new_items: items that each day after the first adds.
      rounds: rounds from nothing.
      warm_rounds: rounds of a warm start.
      max_users: test users who play, at most.
      options: further options of GoalRec.
    """

    days: int = 7
    users: int = 5000
    items: int = 120
    new_items: int = 6
    rounds: int = 20
    warm_rounds: int = 4
    max_users: int = 300
    options: tuple[tuple[str, Any], ...] = ()


class Result(NamedTuple):
    """One seed.

    Attributes:
      shares: way -> float [D], share of the way from random items to the optimum.
      seconds: way -> float [D], processor time of learning on each day.
    """

    shares: dict[str, np.ndarray]
    seconds: dict[str, np.ndarray]


def measure(sizes: Sizes, seed: int, folder: pathlib.Path) -> Result:
    """Learns and plays on all days of one seed.

    Args:
      sizes: the days.
      seed: of the world, the logs and the weights.
      folder: for prepared data; empty.
    """
    truth = synthetic.SyntheticConfig(
        num_users=sizes.users, sessions_per_user=sizes.days, num_items=sizes.items, seed=seed
    )
    agents: dict[str, Any] = {}
    shares: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}

    def fitted(name: str, data: storage.PreparedData, rounds: int, **changes: Any) -> None:
        options = {"log_rounds": rounds, **dict(sizes.options), **changes}
        agent, began = tfgoalrec.GoalRec(seed=seed, **options), time.process_time()
        agents[name] = agent.fit(data, start=agents.get(name))
        seconds.setdefault(name, []).append(time.process_time() - began)

    logs: list[pl.DataFrame] = []
    for day in range(sizes.days):
        today = dataclasses.replace(truth, new_items=sizes.new_items * (sizes.days - day))
        table = _items(folder, truth)
        logs.append(_sessions(today, day))
        whole = _prepared(folder / f"{day}_all", pl.concat(logs), today, table)
        # The sessions of today, after the events of yesterday.
        latest = _prepared(folder / f"{day}", pl.concat(logs[-2:]), today, table, latest=1)
        agents.pop(NOTHING, None)
        fitted(NOTHING, whole, sizes.rounds)
        if day == 0:
            agents |= dict.fromkeys((WARM, LOW, STALE), agents[NOTHING])
            for name in (WARM, LOW, STALE):
                seconds[name] = list(seconds[NOTHING])
        else:
            fitted(WARM, latest, sizes.warm_rounds)
            rate = agents[WARM].config.learning_rate
            fitted(LOW, latest, sizes.warm_rounds, learning_rate=_LOW * rate)
            seconds[STALE].append(0.0)
        place = feature_worlds.setting(whole, sizes.max_users, 2)
        part = place.parts[feature_worlds.KNOWN]
        for name, fitted_agent in agents.items():
            agent = fitted_agent.agent
            if name == STALE:
                agent = agent.with_items(catalogue.plan(agent, table))
            clicks = feature_worlds.play(place, agent, feature_worlds.KNOWN).mean()
            low, high = part.random.mean(), part.optimum.mean()
            shares.setdefault(name, []).append(float((clicks - low) / (high - low)))
    return Result(
        {name: np.array(values) for name, values in shares.items()},
        {name: np.array(values) for name, values in seconds.items()},
    )


def main(
    sizes: Sizes | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    out: str | pathlib.Path = "runs/warm_start",
) -> None:
    """Measures all seeds, prints the table, and writes the numbers and the figure."""
    sizes, results, out = sizes or Sizes(), [], pathlib.Path(out)
    outputs.check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    # A seed has 25 learners, whose graphs a process keeps.
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, spawn, max_tasks_per_child=1) as processes:
        for seed in seeds:
            results.append(processes.submit(_measured, sizes, seed).result())
            print(f"seed {seed}", flush=True)
    names = (NOTHING, WARM, LOW, STALE)
    shares = {name: np.stack([x.shares[name] for x in results]) for name in names}  # [S, D]
    spent = {
        name: np.stack([x.seconds[name].cumsum() for x in results]) for name in names
    }  # [S, D]
    outputs.write_json(
        out / "warm_start.json",
        {
            "sizes": options.resolved(sizes),
            "seeds": list(seeds),
            "share of the way": {name: x.tolist() for name, x in shares.items()},
            "processor seconds": {name: x.tolist() for name, x in spent.items()},
        },
    )
    print(f"\nshare of the way\n{_rows(shares, 3)}\n\nprocessor seconds\n{_rows(spent, 0)}")
    figure = plots.learning_curve(
        np.arange(1, sizes.days + 1),
        shares,
        xlabel="day",
        title="Learning on from the agent of the day before",
        ylabel="share of the way to the optimum",
    )
    print(f"\n{plots.save(figure, out / 'warm_start.png')}")


def _measured(sizes: Sizes, seed: int) -> Result:
    """Measures one seed with one thread, in a process of its own."""
    timing.one_thread()
    with tempfile.TemporaryDirectory() as folder:
        return measure(sizes, seed, pathlib.Path(folder))


def _rows(values: dict[str, np.ndarray], places: int) -> str:
    """A Markdown table, a row for each day, of [S, D] by name."""
    rows = [["day", *values], ["---", *["---:"] * len(values)]]
    for day in range(len(next(iter(values.values()))[0])):
        cells = []
        for by_seed in values.values():
            interval = intervals.of_mean(by_seed[:, day])
            cells.append(
                "{:.{n}f} [{:.{n}f}, {:.{n}f}]".format(
                    interval.mean, interval.low, interval.high, n=places
                )
            )
        rows.append([str(day + 1), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _items(folder: pathlib.Path, truth: synthetic.SyntheticConfig) -> pathlib.Path:
    """The table of all items with their attributes, also of later days."""
    path = folder / "items.csv"
    synthetic_attributes.attributes(truth, synthetic.truth(truth))["item"].write_csv(path)
    return path


def _sessions(today: synthetic.SyntheticConfig, day: int) -> pl.DataFrame:
    """The sessions of one day, with the items of that day."""
    frame, _ = synthetic.read(today)
    first = pl.col("time_ms").min()
    return frame.filter((pl.col("time_ms") - first) // _DAY_MS == day)


def _prepared(
    folder: pathlib.Path,
    frame: pl.DataFrame,
    today: synthetic.SyntheticConfig,
    table: pathlib.Path,
    latest: int = 0,
) -> storage.PreparedData:
    """Prepared sessions of some days, with at most `latest` sessions of each user."""

    def read(bad_rows: schema.BadRows) -> tuple[pl.DataFrame, schema.Schema]:
        log_schema = schema.Schema(feedback=synthetic.FEEDBACK, category=False, propensity=True)
        rows = frame.sort("user", "time_ms", maintain_order=True)
        return schema.validate(rows, log_schema, "embedded log", bad_rows), log_schema

    return preparing.prepare(
        read,
        folder,
        episodes.PrepareConfig(
            max_steps=today.max_steps, history_length=20, max_sessions_per_user=latest
        ),
        source="embedded",
        features_of={"item": str(table)},
        feature_columns=feature_schema.declared(synthetic_attributes.COLUMNS, "columns"),
        generator=dataclasses.asdict(today),
    ).data


if __name__ == "__main__":
    main()
