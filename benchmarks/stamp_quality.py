r"""Ranking quality of our STAMP beside RecBole's, on the same sessions with the same tuning.

    python -m benchmarks.stamp_quality --data=runs/yoochoose/data --form=prepared \
        --reference_python=REFERENCE/bin/python

The protocol is leave-one-out: the last click of each session with at least three is the test,
the last but one the validation. Both sides learn from every prefix of the training clicks, with
a softmax over the catalogue, and stop early by validation nDCG@10. Each side tries six settings
with seed 0, and all seeds run the best one by validation. The lists of both are compared with
the held-out clicks by the same code (`tfrec/evaluation/next_items.py`); items of the session
are left out.

The named interpreter must import recbole 1.2 (see `stamp_reference.py`); without it, only ours.
Printed: nDCG@10 and recall@20, mean and standard deviation over seeds, and the paired
difference with its 95% interval over sessions and seeds.
"""

from typing import Any, NamedTuple

import numpy as np

from benchmarks import timing, tuned_ranking
from tfrec.data import protocols, sequence_logs, sequences
from tfrec.evaluation import next_items

LEARNING_RATES = (1e-3, 3e-3, 1e-2)
OUR_SETTINGS: tuple[dict[str, Any], ...] = tuple(
    {"learning_rate": rate, "own_negatives": own}
    for rate in LEARNING_RATES
    for own in (True, False)
)
REFERENCE_SETTINGS: tuple[dict[str, Any], ...] = tuple(
    {"learning_rate": rate, "batch": batch} for rate in LEARNING_RATES for batch in (512, 2048)
)


class Budget(NamedTuple):
    """What both sides share.

    Attributes:
      width: width of embeddings and layers.
      length: latest clicks of a session that are read.
      epochs: passes over the training clicks, at most.
      patience: validations without a better one before training stops.
    """

    width: int = 100
    length: int = 50
    epochs: int = 100
    patience: int = 10


def reference(python: str, split: protocols.Split, budget: Budget) -> tuned_ranking.Trainer:
    """Makes the trainer of RecBole's STAMP, which runs in a separate process.

    Args:
      python: an interpreter that imports recbole.
      split: events of the log.
      budget: what both sides share.
    """
    arrays = prefixes(split, budget.length)
    return tuned_ranking.in_another_interpreter(
        python, "stamp_reference.py", arrays, budget._asdict()
    )


def prefixes(split: protocols.Split, length: int) -> dict[str, np.ndarray]:
    """Every prefix of the training events and each held-out event with its history.

    Args:
      split: events of the log, one held-out event a row.
      length: L, latest events of a prefix.

    Returns:
      `<part>_items` int32 [rows, L], oldest first, padded with 0 at the end, and
      `<part>_target` int32 [rows], for the parts train, validation and test; `num_items`.
    """
    train = split.train
    place = np.arange(len(train.items)) - train.offsets[train.rows]  # within the row
    follows = np.flatnonzero(place > 0)
    arrays: dict[str, np.ndarray] = {
        "train_items": padded(train.items, follows, place[follows], length),
        "train_target": train.items[follows],
        "num_items": np.array(train.num_items),
    }
    for name, held_out in (("validation", split.validation), ("test", split.test)):
        history: sequences.Sequences = held_out.history
        arrays[f"{name}_items"] = padded(
            history.items, history.offsets[1:], history.lengths, length
        )
        arrays[f"{name}_target"] = held_out.targets.items
    return arrays


def padded(items: np.ndarray, end: np.ndarray, count: np.ndarray, length: int) -> np.ndarray:
    """The last `count` items before each `end`, at most L of them; int32 [rows, L]."""
    count = np.minimum(count, length)[:, None]
    offset = np.arange(length)[None]
    place = np.minimum(end[:, None] - count + offset, len(items) - 1)
    return np.where(offset < count, items[place], 0).astype(np.int32)


def main(
    data: str,
    form: sequence_logs.Format = "prepared",
    reference_python: str = "",
    seeds: int = 3,
    budget: Budget | None = None,
) -> dict[str, list[next_items.Evaluation]]:
    """Compares both sides; see the module's docstring.

    Args:
      data: the log.
      form: format of the log.
      reference_python: an interpreter that imports recbole; empty for only ours.
      seeds: runs of the best setting.
      budget: what both sides share.
    """
    budget = budget or Budget()
    log = sequence_logs.open_log(data, form)
    split = protocols.leave_one_out(log.sequences)
    print(f"{len(split.test.users):,} test sessions, {log.sequences.num_items:,} items")
    side = tuned_ranking.ours("stamp", log, split, "leave_one_out", budget._asdict())
    trainers = {"ours": (side, OUR_SETTINGS)}
    if reference_python:
        trainers["recbole"] = (reference(reference_python, split, budget), REFERENCE_SETTINGS)
    return tuned_ranking.compare(trainers, split, seeds)


if __name__ == "__main__":
    timing.one_thread()
    main(**vars(tuned_ranking.parser(__doc__, "prepared").parse_args()))
