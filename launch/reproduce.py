r"""Reproduces the tables of GoalRec's paper, and Table II and the figures of IMRL's.

    python -m launch.reproduce --table=1,2,3 --scale=smoke
    python -m launch.reproduce --table=1 --scale=sample --movielens=... --taobao=... \
        --yoochoose=... --out=runs/sample
    python -m launch.reproduce --figure=2,3 --scale=sample --virtualtb_path=VirtualTaobao

Prepares the logs, fits the users, tunes every method with the same number of trials,
trains and evaluates every cell, and writes tables, plots and a page. It may be stopped at any
time: the same command continues, and finished cells are not run again. A data set without a
path to its log is not run. Named worlds (--worlds) need no log; without any log or world, the
embedded log is used.

`--table=II` reproduces IMRL's Table II alone: sequential methods and reinforcement learning
rank the held-out events of up to six logs, --amazon_cds, --librarything, --book_crossing,
--goodreads, --movielens and --netflix; without any of them, a generated log is used.

`--figure` reproduces the figures alone: every method's learning curve in VirtualTB, RecoGym
and RecSim (2), IMRL's ablations (3). VirtualTB is not run without its folder.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import rich

from launch import flags
from launch.experiments import (
    figure_plan,
    figures,
    offline_plan,
    offline_table,
    table_plan,
    table_report,
    table_results,
    table_settings,
)
from launch.experiments.pool import Job, Pool
from tfrec import outputs
from tfrec.data import synthetic_worlds
from tfrec.options import Options, option

IMRL_TABLE = "II"
# Whether the table is IMRL's -> its logs.
_LOGS = {
    False: ("movielens", "taobao", "yoochoose"),
    True: (
        "amazon_cds",
        "librarything",
        "book_crossing",
        "goodreads",
        "movielens",
        "netflix",
    ),
}
_ALL_LOGS = tuple(dict.fromkeys((*_LOGS[False], *_LOGS[True])))


@dataclasses.dataclass(frozen=True)
class ReproduceConfig(Options):
    """The tables or figures, their scale and their logs."""

    table: tuple[Literal["1", "2", "3", "II"], ...] = option(
        ("1", "2", "3"),
        "tables of GoalRec's paper, 1 to 3; or II alone, of IMRL's paper",
        distinct=True,
        min_length=1,
    )
    scale: Literal["smoke", "sample", "full"] = option(
        "smoke", "sizes of data, training and tests"
    )
    movielens: str = option(
        "", "MovieLens, 25M for tables 1 to 3 and 20M for II: folder or archive of its ratings"
    )
    taobao: str = option("", "Taobao UserBehavior: file, folder or archive")
    yoochoose: str = option("", "YooChoose: folder or file of its clicks")
    worlds: tuple[str, ...] = option(
        (),
        "tables 1 to 3: named worlds of the embedded log, beside the logs: "
        f"{', '.join(table_plan.WORLDS)}",
        distinct=True,
    )
    amazon_cds: str = option("", "table II: Amazon's CDs, folder or file of the ratings")
    librarything: str = option("", "table II: LibraryThing, folder or archive of its reviews")
    book_crossing: str = option("", "table II: Book-Crossing, folder or archive of its ratings")
    goodreads: str = option("", "table II: GoodReads, folder or file of its interactions")
    netflix: str = option("", "table II: Netflix, folder or archive of its ratings")
    figure: tuple[int, ...] = option(
        (),
        "figures of IMRL's paper, instead of tables: 2, 3",
        at_least=2,
        at_most=3,
        distinct=True,
    )
    environments: tuple[str, ...] = option(
        (),
        "environments of the figures: recsim, recogym, virtualtb; empty for all of a figure",
        distinct=True,
    )
    virtualtb_path: str = option("", "for figures: folder of a clone of VirtualTaobao")
    out: str = option("", "folder of all cells; runs/reproduction-<scale> if empty")
    methods: tuple[str, ...] = option(
        (), "methods of the tables or figures; empty for all", distinct=True
    )
    trials: int | None = option(
        None, "settings tried for each method; by default the number of the scale", at_least=0
    )
    seeds: int | None = option(
        None, "seeds of each cell; by default the number of the scale", at_least=1
    )
    jobs: int = option(0, "number of parallel processes; 0 for one per core", at_least=0)
    report_only: bool = option(False, "run nothing, and write the tables of finished cells")

    def __post_init__(self):
        super().__post_init__()
        if IMRL_TABLE in self.table and len(self.table) > 1:
            raise ValueError(f"table is {self.table}; expected II alone, or some of 1 to 3")
        if self.worlds and (self.figure or self.table == (IMRL_TABLE,)):
            raise ValueError(
                f"worlds are {self.worlds}; expected none: tables 1 to 3 have them"
            )
        logs = () if self.figure else _LOGS[self.table == (IMRL_TABLE,)]
        for name in _ALL_LOGS:
            if getattr(self, name) and name not in logs:
                expected = ", ".join(logs) or "none: the figures read no log"
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; the logs read here are {expected}"
                )


flags.define(ReproduceConfig)


def main(_):
    config = flags.read(ReproduceConfig)
    for world in config.worlds:
        synthetic_worlds.check(world, "--worlds")
    out = pathlib.Path(config.out or f"runs/reproduction-{config.scale}")
    outputs.check_folder(out)
    jobs = config.jobs or os.cpu_count() or 1
    if config.figure:
        return figures.reproduce(
            figure_plan.FiguresRequest(
                out=out,
                figures=config.figure,
                scale=config.scale,
                environments=config.environments,
                methods=config.methods,
                seeds=config.seeds,
                trials=config.trials,
                virtualtb_path=config.virtualtb_path,
            ),
            jobs,
            config.report_only,
        )
    if config.table == (IMRL_TABLE,):
        return _reproduce_table_two(config, out, jobs)
    return _reproduce_tables(config, out, jobs)


def _reproduce_tables(config: ReproduceConfig, out: pathlib.Path, jobs: int) -> int:
    scale = _changed(config, table_plan.SCALES[config.scale])
    logs = {name: getattr(config, name) for name in _LOGS[False]}
    logs = {name: path for name, path in logs.items() if path} | dict.fromkeys(
        config.worlds, ""
    )
    logs = logs or {"embedded": ""}
    plan = table_report.plan(
        [int(number) for number in config.table], list(logs), config.methods, scale
    )
    if not config.report_only:
        for name, path in logs.items():
            if (out / name).exists():
                table_settings.check_prepared(out, name, path, scale)
    else:
        table_results.check_done(out, plan, scale)
    rich.print(table_report.budget(plan, scale, jobs))
    failed: list[Job] = []
    if not config.report_only:
        out.mkdir(parents=True, exist_ok=True)
        common = (f"--out={out}", f"--scale={config.scale}")
        with Pool("launch.run_cell", jobs, common, out / "logs") as pool:
            for title, stage in _stages(out, logs, plan, scale):
                failed += pool.run(title, stage)
                if title == "prepare":
                    if failed:
                        break
                    table_results.check_done(out, plan, scale)
        for job in failed:
            print(f"failed: {job.name}; see {pool.log(job)}", file=sys.stderr)
    done = table_report.write(out, plan, list(logs), scale)
    print(f"{done} of {len(plan)} cells are done; report: {out / 'report.html'}")
    return 1 if failed else 0


def _stages(
    out: pathlib.Path,
    logs: Mapping[str, str],
    plan: Sequence[table_plan.Cell],
    scale: table_plan.Scale,
) -> Iterator[tuple[str, list[Job]]]:
    """Yields each stage with its unfinished jobs, when the stages before it have run."""
    yield (
        "prepare",
        [
            Job(
                f"{name}/prepare",
                ("--method=prepare", f"--data_set={name}", f"--source={path}"),
            )
            for name, path in logs.items()
        ],
    )
    yield (
        "tune",
        [
            Job(
                f"{name}/tune {method}",
                (f"--data_set={name}", f"--method={method}", f"--trials={scale.trials}"),
            )
            for name, method in table_report.untuned(out, plan, scale)
        ],
    )
    untuned = table_report.untuned(out, plan, scale)  # where tuning failed
    ready = [
        cell
        for cell in plan
        if not cell.result(out).exists() and (cell.data_set, cell.method) not in untuned
    ]
    yield "cells", [_job(group) for group in table_report.together(ready, scale)]


def _changed(config: ReproduceConfig, scale: Any) -> Any:
    """Returns a scale with the trials and seeds of the flags."""
    flag_values = {"trials": config.trials, "seeds": config.seeds}
    changes = {name: value for name, value in flag_values.items() if value is not None}
    return dataclasses.replace(scale, **changes)


def _reproduce_table_two(config: ReproduceConfig, out: pathlib.Path, jobs: int) -> int:
    table = offline_table.TableTwo(
        out=out,
        logs=offline_table.logs_of({name: getattr(config, name) for name in _LOGS[True]}),
        methods=config.methods,
        name=config.scale,
        scale=_changed(config, offline_plan.SCALES[config.scale]),
    )
    return offline_table.reproduce(table, jobs, config.report_only)


def _job(cells: Sequence[table_plan.Cell]) -> Job:
    """Returns the process of cells that differ in their method alone."""
    first = cells[0]._replace(method=",".join(cell.method for cell in cells))
    name = "/".join(
        str(part) for part in first._replace(method="+".join(first.method.split(",")))
    )
    return Job(name, tuple(f"--{field}={value}" for field, value in first._asdict().items()))


if __name__ == "__main__":
    flags.run(main)
