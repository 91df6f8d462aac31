"""Time and memory of alternative implementations, each in a separate process, in turn."""

import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import rich
from rich import table as rich_table


def measure(work: Callable[[], object]) -> None:
    """Runs the work in a child process and prints time and memory as JSON.

    Args:
      work: returns a result that must be equal for all implementations.
    """
    begin, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps({"result": result, "seconds": seconds, "cpu": cpu, "peak": peak()}))


def peak() -> float:
    """The highest memory of this process so far, in GB (resident set; Linux only)."""
    # Not getrusage: its peak is inherited from the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1e6  # from kB


def child(module: str, *arguments: object) -> str:
    """Runs a module of the benchmarks in a separate process and returns its output."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def in_turn(title: str, module: str, ways: Iterable[str], repeats: int, path: object) -> None:
    """Runs `module measure <way> <path>` for each way in turn, and prints the medians.

    Args:
      title: title of the printed table.
      module: module that calls `measure` for these arguments.
      ways: names of the implementations; the first is the baseline.
      repeats: runs of each.
      path: path of the input.
    """
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, runs in measured.items():
            runs.append(json.loads(child(module, "measure", way, path)))
    assert len({run["result"] for runs in measured.values() for run in runs}) == 1

    def median(way: str, key: str) -> float:
        return statistics.median(run[key] for run in measured[way])

    table = rich_table.Table(title=f"{title}, median of {repeats}")
    for heading in ("", "seconds", "CPU seconds", "peak memory, GB", "ratio (CPU)"):
        table.add_column(heading, justify="right")
    first = next(iter(measured))
    for way, runs in measured.items():
        ratio = median(way, "seconds") / median(first, "seconds")
        of_cpu = median(way, "cpu") / median(first, "cpu")
        table.add_row(
            way,
            f"{median(way, 'seconds'):.2f}",
            f"{median(way, 'cpu'):.2f}",
            f"{max(run['peak'] for run in runs):.2f}",
            f"{ratio:.2f} ({of_cpu:.2f})",
        )
    rich.print(table)
