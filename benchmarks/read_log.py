"""Reads a large ratings log into sessions, beside plain polars doing a read, sort and group.

    python -m benchmarks.read_log --rows=25000000 --repeats=3

Both read the same generated file in the format of MovieLens, each time in a process of its
own and in turn. Printed: median seconds, the ratio of the medians, and the highest peak of
memory (resident set of the whole process, TensorFlow's libraries included; Linux only).

Ours reads, checks every value, orders, looks for repeated rows, cuts sessions, splits users
and numbers the items. Plain polars reads with inferred types, sorts and groups by user.
"""

import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import polars as pl
import rich
from rich import table as rich_table

LONG_PAUSES = 0.02  # share of pauses that part sessions


def generate(path: pathlib.Path, rows: int, seed: int = 0) -> None:
    """Writes a log with the shape of MovieLens-25M.

    154 ratings a user, grouped by user, each user's in order of movie, many in the same second.
    """
    rng = np.random.default_rng(seed)
    size = 20 + rng.geometric(1 / 134, rows // 150 + 1)
    user = np.repeat(np.arange(1, len(size) + 1), size)[:rows]
    first = np.flatnonzero(np.diff(user, prepend=0))
    begin = np.repeat(first, np.diff(first, append=len(user)))

    def within_user(steps: np.ndarray) -> np.ndarray:
        """Running sums that start anew with each user."""
        total = np.cumsum(steps)
        return total - total[begin] + steps[begin]

    stride = 1 + rng.exponential(49_000 / size[user - 1]).astype(np.int64)
    long_pause = rng.random(len(user)) < LONG_PAUSES
    pause = np.where(long_pause, rng.integers(3600, 3_000_000, len(user)), 0)
    pause += rng.integers(0, 12, len(user))
    start = rng.integers(800_000_000, 1_500_000_000, len(size))
    seconds = start[user - 1] + within_user(pause)
    shuffled = np.lexsort((rng.random(len(user)), user))  # movies are not rated in their order
    pl.DataFrame(
        {
            "userId": user,
            "movieId": within_user(stride),
            "rating": rng.integers(1, 11, len(user)) / 2,
            "timestamp": seconds[shuffled],
        }
    ).write_csv(path)


def plain(path: pathlib.Path) -> int:
    """Plain polars; returns the number of users."""
    frame = pl.read_csv(path, glob=False).sort("userId", "timestamp")
    users = frame.group_by("userId", maintain_order=True).agg("movieId", "rating", "timestamp")
    return users.height


def ours(path: pathlib.Path) -> int:
    """The same log to split sessions; returns the number of users."""
    frame, schema = movielens.read(path)
    columns = {series.name: series for series in frame}
    del frame
    return episodes.prepare(columns, schema, episodes.PrepareConfig()).spec.num_users


def measure(name: str, path: pathlib.Path) -> None:
    """Runs one of them and prints what it took, as JSON; the child's part."""
    begin, cpu = time.perf_counter(), time.process_time()
    users = {"plain": plain, "ours": ours}[name](path)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    # Not getrusage: its peak is inherited from the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1]) / 1e6  # from kB
    print(json.dumps({"users": users, "seconds": seconds, "cpu": cpu, "peak": peak}))


def child(*arguments: object) -> str:
    """Runs this module in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.read_log", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(rows: int, repeats: int) -> None:
    """Measures both in turn and prints a table."""
    taken: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ratings.csv"
        child("generate", path, rows)
        for _ in range(repeats):
            for name, runs in taken.items():
                runs.append(json.loads(child("measure", name, path)))
    assert len({run["users"] for runs in taken.values() for run in runs}) == 1

    def median(name: str, key: str) -> float:
        return statistics.median(run[key] for run in taken[name])

    shown = rich_table.Table(title=f"{rows:,} rows, median of {repeats}")
    for heading in ("", "seconds", "CPU seconds", "peak memory, GB", "ratio (CPU)"):
        shown.add_column(heading, justify="right")
    for name, runs in taken.items():
        ratio = median(name, "seconds") / median("plain", "seconds")
        of_cpu = median(name, "cpu") / median("plain", "cpu")
        shown.add_row(
            name,
            f"{median(name, 'seconds'):.2f}",
            f"{median(name, 'cpu'):.2f}",
            f"{max(run['peak'] for run in runs):.2f}",
            f"{ratio:.2f} ({of_cpu:.2f})",
        )
    rich.print(shown)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate", path, rows]:
            generate(pathlib.Path(path), int(rows))
        case ["measure", "plain" | "ours" as name, path]:
            if name == "ours":  # plain polars does not carry TensorFlow's libraries
                from tfrec.data import episodes
                from tfrec.data.sources import movielens
            measure(name, pathlib.Path(path))
        case options:
            given = {"rows": 25_000_000, "repeats": 3}
            for option in options:
                found = re.fullmatch(r"--(rows|repeats)=(\d+)", option)
                if not found:
                    sys.exit(f"unknown option {option}; expected --rows=N or --repeats=N")
                given[found.group(1)] = int(found.group(2))
            main(**given)
