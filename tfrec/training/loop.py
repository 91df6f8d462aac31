"""The training loop: restores, iterates, logs, saves, and stops on request."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
import rich.console
import rich.progress

from tfrec import outputs, weights
from tfrec.training import checkpoint, finite, summaries
from tfrec.training import run as runs

if TYPE_CHECKING:
    import tensorflow as tf

EXIT_NON_FINITE = 3
EXIT_STOPPED = 42

_METRICS = "metrics.jsonl"
_LINE_SECONDS = 10.0  # between progress lines without a terminal


class DivergedExit(SystemExit):
    """A run that ended because a loss, a gradient or a variable was not finite; exit code 3."""


class Learner(Protocol):
    """A `tf.Module` that learns in iterations.

    Its whole state is in variables reachable from it: weights, optimiser, replay, random
    generator, counters. All of them exist after `__init__`.

    Attributes:
      iteration: int64 scalar variable, number of finished iterations.
    """

    iteration: tf.Variable

    def advance(self) -> dict[str, Any]:
        """Does one iteration and adds one to `iteration`.

        Returns:
          Numbers to log; arrays for histograms under `hist/...`.

        Raises:
          NonFiniteError: if a loss or gradient is not finite.
        """


def train(
    learner: Learner,
    run: runs.Run,
    total_iterations: int,
    save_every: int,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    evaluate_every: int | None = None,
    finished: Callable[[], bool] = lambda: False,
) -> None:
    """Trains a learner up to `total_iterations`, from the latest checkpoint of the run.

    The loop writes `metrics.jsonl` (one line an iteration, without wall time, so that equal
    runs have equal files), `tensorboard/` and `checkpoints/` to the run's folder.

    SIGTERM and Ctrl-C finish the iteration, save and exit with code 42; a second Ctrl-C
    stops at once. A non-finite loss or gradient saves its batch and exits with code 3;
    variables that are not finite after an update are not saved and cause the same code.

    Args:
      learner: a tf.Module that is a Learner.
      run: the run, new or resumed.
      total_iterations: iterations in the whole run.
      save_every: iterations between checkpoints.
      evaluate: called after the last iteration; its numbers are logged as `evaluate/...`.
        Its draws from the learner's generator are part of the run's state.
      evaluate_every: iterations between further calls of `evaluate`.
      finished: called after each iteration; True ends the run early. It must depend only
        on the learner's variables, so that a resumed run has the same result.

    Raises:
      UserError: if the checkpoint does not fit, or cannot be written.
      RuntimeError: if `advance` does not add one to the learner's iteration.
      SystemExit: with the codes above; `DivergedExit` with code 3.
    """
    manager = checkpoint.CheckpointManager(
        run.directory / "checkpoints", _module(learner), run.identity
    )
    iteration = manager.restore_latest() or 0
    if iteration:
        print(f"going on from {manager.path(iteration)}", flush=True)
    with (
        _Metrics(run.directory / _METRICS, iteration) as metrics,
        _stop_requests() as stop,
        _Progress(total_iterations, iteration) as progress,
    ):
        while iteration < total_iterations and not (iteration and finished()):
            results = _advance(learner, run, iteration + 1, manager)
            iteration += 1
            if int(learner.iteration) != iteration:
                now = int(learner.iteration)
                raise RuntimeError(f"after iteration {iteration}, learner.iteration is {now}")
            last, stopping = iteration == total_iterations or finished(), bool(stop)
            if evaluate and (last or (evaluate_every and iteration % evaluate_every == 0)):
                results |= {f"evaluate/{name}": value for name, value in evaluate().items()}
            metrics.append(iteration, results)
            summaries.write(run.writer, results, iteration)
            progress.show(iteration, results)
            if last:
                summaries.write_hparams(run.writer, run.config, run.directory.name)
            if last or stopping or iteration % save_every == 0:
                metrics.flush()
                run.writer.flush()
                _save(manager, iteration)
            if stopping:  # not `stop`: after a later signal, this iteration may be unsaved
                break
    if stop:
        print(
            f"stopped by {stop[0]} after iteration {iteration}; saved. Run it again to go on",
            flush=True,
        )
        raise SystemExit(EXIT_STOPPED)


def _module(learner: Learner) -> tf.Module:
    import tensorflow as tf

    if not isinstance(learner, tf.Module):
        raise TypeError(
            f"{type(learner).__name__} must be a tf.Module: its variables are saved"
        )
    return learner


def _advance(
    learner: Learner, run: runs.Run, iteration: int, manager: checkpoint.CheckpointManager
) -> dict[str, Any]:
    try:
        return dict(learner.advance())
    except finite.NonFiniteError as error:
        path = run.directory / f"non_finite-{iteration}.npz"
        with outputs.replacing_file(path) as temporary:
            np.savez(temporary, allow_pickle=False, **error.batch)
        _end_diverged(f"iteration {iteration}: {error}. Its batch is in {path}", manager, error)


def _save(manager: checkpoint.CheckpointManager, iteration: int) -> None:
    try:
        manager.save(iteration)
    except weights.NonFiniteWeightsError as error:
        _end_diverged(f"iteration {iteration}: {error}", manager, error)


def _end_diverged(
    message: str, manager: checkpoint.CheckpointManager, error: Exception
) -> NoReturn:
    saved = manager.iterations()
    last = str(manager.path(saved[-1])) if saved else "none"
    print(f"error: {message}; the last good checkpoint is {last}", file=sys.stderr)
    raise DivergedExit(EXIT_NON_FINITE) from error


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[str]]:
    """Collects the names of received SIGTERM and SIGINT in a list, instead of exiting."""
    received: list[str] = []

    def on_signal(number: int, _: Any) -> None:
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals
        return
    before = {n: signal.signal(n, on_signal) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Metrics:
    """The run's numbers, one JSON line for each iteration, also after a resume."""

    def __init__(self, path: pathlib.Path, iteration: int):
        """Drops the lines after `iteration`, which will be repeated."""
        lines = []
        if path.exists():
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = list(_lines_until(file, iteration))
        with outputs.replacing_file(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed in __exit__

    def append(self, iteration: int, results: Mapping[str, Any]) -> None:
        row: dict[str, Any] = {"iteration": iteration}
        for name, value in results.items():
            if not name.startswith(summaries.HISTOGRAM):
                number = float(value)
                row[name] = number if math.isfinite(number) else None  # JSON has no NaN
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Flushes the lines to disk, before the checkpoint that depends on them."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> _Metrics:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()


def _lines_until(lines: Iterator[str], iteration: int) -> Iterator[str]:
    for line in lines:
        try:
            if json.loads(line)["iteration"] > iteration:
                return
        except (ValueError, TypeError, KeyError):  # truncated by a kill
            return
        yield line


class _Progress:
    """A progress bar on a terminal, or lines at intervals elsewhere."""

    def __init__(self, total: int, iteration: int):
        self._total = total
        self._first = iteration
        self._began = self._printed = time.monotonic()
        console = rich.console.Console()
        self._bar = None
        if console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeRemainingColumn(),
                rich.progress.TextColumn("{task.description}"),
                console=console,
            )
            self._task = self._bar.add_task("", total=total, completed=iteration)

    def show(self, iteration: int, results: Mapping[str, Any]) -> None:
        scalars = [(k, v) for k, v in results.items() if not k.startswith(summaries.HISTOGRAM)]
        text = "  ".join(f"{name} {float(value):.4g}" for name, value in scalars[:3])
        if self._bar:
            self._bar.update(self._task, completed=iteration, description=text)
            return
        now = time.monotonic()
        first_or_last = iteration in (self._first + 1, self._total)
        if first_or_last or now - self._printed >= _LINE_SECONDS:
            rate = (iteration - self._first) / max(now - self._began, 1e-9)
            print(
                f"iteration {iteration}/{self._total}  {text}  {rate:.3g} iterations/s",
                flush=True,
            )
            self._printed = now

    def __enter__(self) -> _Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar:
            self._bar.stop()
