"""Reads a large ratings log into sessions, beside plain polars doing a read, sort and group.

    python -m benchmarks.read_log --rows=25000000 --repeats=3

Both read the same generated file in the format of MovieLens, each time in a separate process,
in turn. Printed: median seconds, the ratio of the medians, and the highest peak of
memory (resident set of the whole process, TensorFlow's libraries included; Linux only).

Ours reads, checks every value, orders, looks for repeated rows, cuts sessions, splits users
and numbers the items. Plain polars reads with inferred types, sorts and groups by user.
"""

import pathlib
import sys
import tempfile

import numpy as np
import polars as pl

from benchmarks import command_line, isolated

_MODULE = "benchmarks.read_log"
LONG_PAUSES = 0.02  # share of pauses that separate sessions


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
        """Running sums within each user."""
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
    """Reads the log with plain polars; returns the number of users."""
    frame = pl.read_csv(path, glob=False).sort("userId", "timestamp")
    users = frame.group_by("userId", maintain_order=True).agg("movieId", "rating", "timestamp")
    return users.height


def ours(path: pathlib.Path) -> int:
    """Reads the log with this project; returns the number of users."""
    frame, schema = movielens.read(path)
    columns = {series.name: series for series in frame}
    del frame
    return episodes.prepare(columns, schema, episodes.PrepareConfig()).spec.num_users


def main(rows: int, repeats: int) -> None:
    """Measures both in turn and prints a table."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ratings.csv"
        isolated.child(_MODULE, "generate", path, rows)
        isolated.in_turn(f"{rows:,} rows", _MODULE, ("plain", "ours"), repeats, path)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate", path, rows]:
            generate(pathlib.Path(path), int(rows))
        case ["measure", "plain" | "ours" as name, path]:
            if name == "ours":  # plain polars does not carry TensorFlow's libraries
                from tfrec.data import episodes
                from tfrec.data.sources import movielens
            work = {"plain": plain, "ours": ours}[name]
            isolated.measure(lambda: work(pathlib.Path(path)))
        case options:
            parser = command_line.parser(__doc__)
            parser.add_argument("--rows", type=command_line.at_least(1), default=25_000_000)
            parser.add_argument("--repeats", type=command_line.at_least(1), default=3)
            main(**vars(parser.parse_args(options)))
