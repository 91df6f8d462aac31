"""A pool of processes for the cells of `launch.reproduce`."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import rich.progress

from launch import flags
from tfrec.errors import UserError
from tfrec.training import loop

# Folder of the packages: checkout or site-packages.
_ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of a launch script."""

    name: str
    arguments: tuple[str, ...]


class Pool:
    """Runs each job in a process, several at once; a signal stops them all.

    Args:
      module: the launch script of a job.
      size: number of parallel processes.
      common: arguments of every job.
      logs: folder of the jobs' output.
    """

    def __init__(self, module: str, size: int, common: Sequence[str], logs: pathlib.Path):
        self._module, self._size, self._common, self._logs = module, size, common, logs
        self._running: set[subprocess.Popen] = set()
        self._lock, self._stopping = threading.Lock(), False

    def __enter__(self) -> Pool:
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
        """Returns the file of a job's output."""
        return self._logs / f"{job.name.replace('/', '-').replace(' ', '-')}.txt"

    def run(self, title: str, jobs: Iterable[Job]) -> list[Job]:
        """Runs jobs to their end.

        Returns:
          The jobs that failed.

        Raises:
          SystemExit: after a stop signal, when every running job has saved and ended.
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
            print("stopped; the same command continues", flush=True)
            raise SystemExit(loop.EXIT_STOPPED)
        return failed

    def _one(self, job: Job) -> tuple[int, float]:
        began = time.monotonic()
        # -P: files of the working folder must not hide modules of an installed project.
        path = () if _ROOT == pathlib.Path.cwd() else ("-P",)
        command = [sys.executable, *path, "-m", self._module, *self._common, *job.arguments]
        # One core per process: more threads would compete for cores.
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
                start_new_session=True,  # Ctrl-C reaches it through this process, once
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


def each(names: Sequence[str], work: Callable[[str], None]) -> None:
    """Works on names one after the other in this process; a failure does not stop the others.

    Raises:
      UserError: naming those that failed; for a single name, the original error.
    """
    failed = []
    for name in names:
        try:
            work(name)
        except Exception as error:
            if len(names) == 1:
                raise
            if (message := flags.message_of(error)) is not None:
                print(f"error: {name}: {message}", file=sys.stderr)
            else:
                traceback.print_exception(error)
            failed.append(name)
    if failed:
        raise UserError(f"{', '.join(failed)}: failed; see above")
