"""Reproduces the tables of GoalRec's paper: every method, data set and environment.

    python -m launch.reproduce --table=1,2,3 --scale=smoke
    python -m launch.reproduce --table=1 --scale=sample --movielens=... --taobao=... \
        --yoochoose=... --out=runs/sample

Prepares the logs, fits the users, tunes every method with the same number of trials,
trains and judges every cell, and writes tables, plots and a page. Stop it whenever you
like: the same command goes on, and what is done stays done. A data set whose log is not
given is not run; with none given, the embedded log stands in.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import rich
import rich.progress

from launch import experiments, flags, reproduction
from tfrec.errors import UserError
from tfrec.training import loop
from tfrec.training.options import option


@dataclasses.dataclass(frozen=True)
class ReproduceConfig:
    """Which tables, at what scale, from which logs."""

    table: tuple[int, ...] = option((1, 2, 3), "tables of the paper: 1, 2, 3")
    scale: Literal["smoke", "sample", "full"] = option("smoke", "how much of everything")
    movielens: str = option("", "MovieLens-25M: folder or archive with its ratings")
    taobao: str = option("", "Taobao UserBehavior: file, folder or archive")
    yoochoose: str = option("", "YooChoose: folder or file of its clicks")
    out: str = option("", "folder of all cells; runs/reproduction-<scale> if empty")
    methods: tuple[str, ...] = option((), "only these methods; empty for all of a table")
    trials: int = option(-1, "settings tried for each method; -1 for the scale's number")
    seeds: int = option(-1, "seeds of each cell; -1 for the scale's number")
    jobs: int = option(0, "processes at once; 0 for one for each core")
    report_only: bool = option(False, "run nothing; write the tables of what is there")


flags.define(ReproduceConfig)


def main(_):
    config = flags.read(ReproduceConfig)
    unknown = sorted(set(config.table) - set(experiments.ENVIRONMENTS))
    if unknown:
        raise UserError(f"--table={unknown[0]}: expected 1, 2 or 3")
    scale = experiments.SCALES[config.scale]
    if config.trials >= 0:
        scale = dataclasses.replace(scale, trials=config.trials)
    if config.seeds >= 0:
        scale = dataclasses.replace(scale, seeds=config.seeds)
    out = pathlib.Path(config.out or f"runs/reproduction-{config.scale}")
    logs = {name: getattr(config, name) for name in ("movielens", "taobao", "yoochoose")}
    logs = {name: path for name, path in logs.items() if path} or {"embedded": ""}
    plan = reproduction.plan(config.table, list(logs), config.methods, scale)
    jobs = config.jobs or os.cpu_count() or 1
    rich.print(reproduction.budget(plan, scale, jobs))

    if not config.report_only:
        out.mkdir(parents=True, exist_ok=True)
        common = (f"--out={out}", f"--scale={config.scale}")
        prepare = [
            Job(
                f"{name}/prepare",
                ("--method=prepare", f"--data_set={name}", f"--source={path}"),
            )
            for name, path in logs.items()
        ]
        tune = [
            Job(
                f"{name}/tune {method}",
                (f"--data_set={name}", f"--method={method}", f"--trials={scale.trials}"),
            )
            for name, method in reproduction.to_tune(plan, scale)
            if not reproduction.tuned(out, name, method, scale.trials)
        ]
        cells = [
            _cells(found)
            for found in reproduction.together(
                [cell for cell in plan if not cell.result(out).exists()], scale
            )
        ]
        failed = []
        with _Pool(jobs, common, out / "logs") as pool:
            for title, stage in (("prepare", prepare), ("tune", tune), ("cells", cells)):
                failed += pool.run(title, stage)
                if failed and title == "prepare":
                    break
        for job in failed:
            print(f"failed: {job.name}; see {pool.log(job)}", file=sys.stderr)
    done = reproduction.write(out, plan, list(logs), scale)
    print(f"{done} of {len(plan)} cells are done; report: {out / 'report.html'}")
    return 1 if not config.report_only and failed else 0


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of `launch.run_cell`."""

    name: str
    arguments: tuple[str, ...]


def _cells(cells: Sequence[experiments.Cell]) -> Job:
    """One process for cells that differ in their method alone."""
    first = cells[0]._replace(method=",".join(cell.method for cell in cells))
    name = "/".join(
        str(part) for part in first._replace(method="+".join(first.method.split(",")))
    )
    return Job(name, tuple(f"--{field}={value}" for field, value in first._asdict().items()))


class _Pool:
    """Runs jobs in processes of their own, some at once; stops them all when asked to."""

    def __init__(self, size: int, common: tuple[str, ...], logs: pathlib.Path):
        self._size, self._common, self._logs = size, common, logs
        self._running: set[subprocess.Popen] = set()
        self._lock, self._stopping = threading.Lock(), False

    def __enter__(self) -> "_Pool":
        self._logs.mkdir(parents=True, exist_ok=True)
        self._before = {
            number: signal.signal(number, self._stop)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def log(self, job: Job) -> pathlib.Path:
        """Where a job's output goes."""
        return self._logs / f"{job.name.replace('/', '-').replace(' ', '-')}.txt"

    def run(self, title: str, jobs: Iterable[Job]) -> list[Job]:
        """Runs jobs to their end.

        Returns:
          Those that failed.

        Raises:
          SystemExit: if asked to stop; every running job has saved and ended then.
        """
        jobs, failed = list(jobs), []
        with (
            rich.progress.Progress(transient=not jobs) as progress,
            concurrent.futures.ThreadPoolExecutor(self._size) as executor,
        ):
            task = progress.add_task(title, total=len(jobs))
            waiting = {executor.submit(self._one, job): job for job in jobs}
            for future in concurrent.futures.as_completed(waiting):
                code, seconds = future.result()
                job = waiting[future]
                if not self._stopping:
                    words = "done" if code == 0 else f"exit code {code}"
                    progress.print(f"{job.name}: {words}, {seconds:.0f} s")
                    if code:
                        failed.append(job)
                progress.advance(task)
        if self._stopping:
            print("stopped; the same command goes on", flush=True)
            raise SystemExit(loop.EXIT_STOPPED)
        return failed

    def _one(self, job: Job) -> tuple[int, float]:
        began = time.monotonic()
        command = [sys.executable, "-m", "launch.run_cell", *self._common, *job.arguments]
        # A core for each process: more threads would only get into each other's way.
        threads = {f"TF_NUM_{kind}_THREADS": "1" for kind in ("INTRAOP", "INTEROP")}
        with self.log(job).open("ab") as log, self._lock:
            if self._stopping:
                return loop.EXIT_STOPPED, 0.0
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | threads,
                start_new_session=True,  # Ctrl-C reaches it through us, once
            )
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code, time.monotonic() - began

    def _stop(self, *_: Any) -> None:
        self._stopping = True
        for process in list(self._running):
            process.terminate()


if __name__ == "__main__":
    flags.run(main)
