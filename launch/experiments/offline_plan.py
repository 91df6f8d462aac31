"""The plan of IMRL's Table II: data sets, filters, scales and methods, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from launch.experiments.offline_settings import OfflineConfig
from tfrec.data.sources import (
    amazon,
    book_crossing,
    goodreads,
    librarything,
    movielens,
    netflix,
)
from tfrec.evaluation import rankers

GENERATED = "embedded"  # the data set of a run without logs


class LogForm(NamedTuple):
    """A form in which a data set is published.

    Attributes:
      patterns: names of its files.
      prepare: flags of `launch.prepare_data` for this form.
    """

    patterns: tuple[str, ...]
    prepare: tuple[str, ...]


class OfflineSet(NamedTuple):
    """A data set of Table II.

    Attributes:
      title: title in tables.
      forms: forms of its log; the first form in a folder is read. Empty for a generated log.
      prepare: further flags of `launch.prepare_data`.
    """

    title: str
    forms: tuple[LogForm, ...]
    prepare: tuple[str, ...]


# Every event is positive, whatever its rating, as in the paper's Table I. The reward of
# reinforcement learning is the click, so that it matches the held-out events.
_RATINGS = ("--positive_rating=0",)
_TABLE = ("--source=table", "--feedback=")
# The paper states no filter; see the numbers of held-out items in `tfimrl.published`.
LEAST_EVENTS = 5  # of an item
_FILTER = ("--min_user_events=20", f"--k_core={LEAST_EVENTS}")
# All events of all users are prepared; the users of play are split by the training events.
_WHOLE = (
    "--max_sessions_per_user=0",
    "--test_fraction=0",
    "--validation_fraction=0",
    "--history_length=20",
)
_ACTIVE = (*_FILTER, *_WHOLE)
# Steps of a session: a log without times has one session a user.
_SESSIONS = ("--max_steps=1000",)
_ONE_SESSION = ("--max_steps=3000",)

DATA_SETS = {
    "amazon_cds": OfflineSet(
        "Amazon CD",
        (
            LogForm(
                ("CDs_user_asin_order.csv",),
                (*_TABLE, "--user=reviewerID", "--item=asin", "--time=order",
                 "--time_unit=order", *_ONE_SESSION),
            ),
            LogForm(amazon.PATTERNS, ("--source=amazon", *_RATINGS, *_SESSIONS)),
        ),
        _ACTIVE,
    ),
    "librarything": OfflineSet(
        "LibraryThing",
        (
            LogForm(("ratings.tsv",), (*_TABLE, "--time_unit=random", *_ONE_SESSION)),
            LogForm(
                librarything.PATTERNS,
                ("--source=librarything", "--on_bad_row=skip", *_RATINGS, *_SESSIONS),
            ),
        ),
        _ACTIVE,
    ),
    "book_crossing": OfflineSet(
        "Book-Crossing",
        (
            LogForm(
                book_crossing.PATTERNS,
                ("--source=book_crossing", "--on_bad_row=skip", *_RATINGS, *_ONE_SESSION),
            ),
        ),
        _ACTIVE,
    ),
    "goodreads": OfflineSet(
        "GoodReads",
        (LogForm(goodreads.PATTERNS, ("--source=goodreads", *_RATINGS, *_SESSIONS)),),
        _ACTIVE,
    ),
    "movielens": OfflineSet(
        "MovieLens",
        (
            LogForm(
                ("interactions.csv",),
                (*_TABLE, "--time=order", "--time_unit=order", *_ONE_SESSION),
            ),
            LogForm(movielens.PATTERNS, ("--source=movielens", *_RATINGS, *_SESSIONS)),
        ),
        _ACTIVE,
    ),
    "netflix": OfflineSet(
        "Netflix",
        (LogForm(netflix.PATTERNS, ("--source=netflix", *_RATINGS, *_SESSIONS)),),
        _ACTIVE,
    ),
    GENERATED: OfflineSet(
        "Generated log",
        (),
        ("--source=embedded", "--embedded_num_users=200", "--max_steps=60", "--positive_only",
         "--min_user_events=5", *_WHOLE),
    ),
}  # fmt: skip

SEQUENTIAL = ("stamp", "sasrec", "casr_stamp", "casr_sasrec", "causerec", "cocorec")
REINFORCEMENT = ("deers", "kgrl", "tpgr", "pgpr", "imrl")
ROWS = (*SEQUENTIAL, *REINFORCEMENT)
# Rows if --methods has them.
ABLATIONS = (*rankers.ABLATIONS, "imrl_e", "imrl_a", "imrl_kl")


@dataclasses.dataclass(frozen=True)
class OfflineScale:
    """Sizes of data, training and tests, the same for every method.

    Attributes:
      seeds: runs of each method.
      trials: settings tried for each method on each data set.
      users: largest number of users of a log, drawn at random; 0 for all.
      samples: data set -> the same for a log of which this scale takes a sample. Items with
        fewer than `LEAST_EVENTS` of the sample's events are left out.
      settings: how methods are trained and evaluated.
      play: fields of the play of reinforcement learning that differ from the preset.
      numbers: fields of methods of reinforcement learning that differ from the preset.
      one_process: whether all methods of a data set share a process, for cells that take less
        time than imports.
    """

    seeds: int
    trials: int
    users: int
    settings: OfflineConfig
    samples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    play: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    one_process: bool = False


SCALES = {
    "smoke": OfflineScale(
        seeds=1,
        trials=0,
        users=200,
        settings=OfflineConfig(epochs=1, batch=64, total_iterations=2),
        play={
            "sessions": 16, "rollout_steps": 4, "updates": 2, "warm_up": 64, "test_every": 2,
            "test_sessions": 16,
        },
        numbers={
            "hidden": (32,), "batch": 32, "mask_units": 8, "mask_batch": 32, "mask_warm_up": 1,
        },
        one_process=True,
    ),
    "sample": OfflineScale(
        seeds=3,
        trials=8,
        users=0,
        samples={"amazon_cds": 2_000, "goodreads": 2_000, "movielens": 600, "netflix": 600},
        settings=OfflineConfig(epochs=60),
    ),
    "full": OfflineScale(seeds=5, trials=20, users=0, settings=OfflineConfig()),
}  # fmt: skip
