"""Prepares a log of GoodReads' shape from its CSV file, beside plain polars.

    python -m benchmarks.prepare_scale --rows=25000000 --repeats=1
    python -m benchmarks.prepare_scale --rows=100000000 --repeats=1 --ways=ours

The log is generated, with 280 rows a user on average and the rows of all users mixed throughout
the file, which is the hardest case for memory. Each implementation runs in a separate process,
in turn, with one thread. Printed: seconds, seconds of the processor, and the highest peak of
memory (resident set of the whole process, TensorFlow's libraries included; Linux only).

`ours` is all that `launch.prepare_data` does: it reads and checks every value, partitions the
rows by user on disk, orders them, takes the 5-core, cuts sessions, splits users, numbers the
items, and writes the shards. `plain` reads with inferred types, takes the same 5-core by joins,
sorts and groups by user in memory, and writes Parquet. Temporary files are in TMPDIR:
about 60 bytes a row.
"""

import os
import pathlib
import sys
import tempfile

import numpy as np
import polars as pl

from benchmarks import command_line, isolated

_MODULE = "benchmarks.prepare_scale"
_ROWS_AT_ONCE = 5_000_000
_ROWS_OF_A_USER = 280
_ITEMS = 1_560_000
_CORE = 5
_ONE_THREAD = (
    "POLARS_MAX_THREADS",
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def generate(path: pathlib.Path, rows: int, seed: int = 0) -> None:
    """Writes the log: no item of a user twice, users of geometrically different activity."""
    rng = np.random.default_rng(seed)
    activity = rng.exponential(1.0, rows // _ROWS_OF_A_USER + 1)
    users = np.cumsum(activity / activity.sum())
    chunks = -(-rows // _ROWS_AT_ONCE)
    with path.open("wb") as file:
        for chunk in range(chunks):
            size = min(_ROWS_AT_ONCE, rows - chunk * _ROWS_AT_ONCE)
            user = np.searchsorted(users, rng.random(size)).clip(max=len(users) - 1)
            user.sort()
            place = np.arange(size)
            first = np.maximum.accumulate(np.where(np.diff(user, prepend=-1) > 0, place, 0))
            # Chunks have disjoint items, so that no item of a user repeats.
            span = _ITEMS // chunks
            item = (
                chunk * span
                + (place - first + rng.integers(span, size=len(users))[user]) % span
            )
            order = rng.permutation(size)
            block = pl.DataFrame(
                {
                    "user_id": user[order],
                    "book_id": item[order],
                    "is_read": rng.integers(0, 2, size),
                    "rating": rng.integers(0, 6, size),
                    "is_reviewed": np.zeros(size, np.int8),
                }
            )
            block.write_csv(file, include_header=chunk == 0)


def plain(path: pathlib.Path) -> int:
    """Prepares the log with plain polars; returns the number of remaining events."""
    rows = pl.read_csv(path, glob=False)
    while True:
        before = rows.height
        for ids in ("user_id", "book_id"):
            frequent = rows.group_by(ids).len().filter(pl.col("len") >= _CORE)
            rows = rows.join(frequent.select(ids), on=ids, how="semi")
        if rows.height == before:
            break
    users = rows.sort("user_id").group_by("user_id", maintain_order=True)
    lists = users.agg("book_id", "rating", "is_read")
    lists.write_parquet(path.with_suffix(".parquet"))
    return rows.height


def ours(path: pathlib.Path) -> int:
    """Prepares the log with this project; returns the number of remaining events."""
    prepared = preparing.prepare(
        lambda bad_rows: goodreads.read(path, bad_rows=bad_rows),
        path.with_suffix(".prepared"),
        episodes.PrepareConfig(max_steps=2000),
        source="generated",
        overwrite=True,
        filter_config=filters.FilterConfig(k_core=_CORE),
    )
    dropped = prepared.data.manifest["dropped"]
    return prepared.rows - dropped.get("events_outside_the_k_core", 0)


def main(rows: int, repeats: int, ways: tuple[str, ...]) -> None:
    """Measures the implementations in turn and prints a table."""
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "goodreads_interactions.csv"
        isolated.child(_MODULE, "generate", path, rows)
        isolated.in_turn(f"{rows:,} rows", _MODULE, ways, repeats, path)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate", path, rows]:
            generate(pathlib.Path(path), int(rows))
        case ["measure", "plain" | "ours" as name, path]:
            if name == "ours":  # plain polars does not carry TensorFlow's libraries
                from tfrec.data import episodes, filters, preparing
                from tfrec.data.sources import goodreads
            work = {"plain": plain, "ours": ours}[name]
            isolated.measure(lambda: work(pathlib.Path(path)))
        case options:
            parser = command_line.parser(__doc__)
            parser.add_argument("--rows", type=command_line.at_least(1), default=25_000_000)
            parser.add_argument("--repeats", type=command_line.at_least(1), default=1)
            parser.add_argument(
                "--ways",
                type=command_line.separated(command_line.one_of("plain", "ours")),
                default=("plain", "ours"),
            )
            main(**vars(parser.parse_args(options)))
