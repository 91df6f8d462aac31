"""Rankings of items that training never showed, on the held-out events of a log.

A random share of the items is withheld: their events are left out of the training data and
of every history. The held-out events are the last 20% of each user's events. Those with a
click (a 1 in the first feedback column) are to be found, in four tasks:

    all items             all of these events, among all items
    known items           the events of the other items, among all items
    new items among all   the events of the withheld items, among all items
    new items             the same events, among the withheld items

Lists leave out every item of the user's earlier events, also a withheld one. Axes: U users of
the log, V users with a target, N items of the log, A candidates of an agent.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfrec import outputs
from tfrec.baselines.sequential import controls
from tfrec.data import protocols, sequences, storage
from tfrec.errors import UserError
from tfrec.evaluation import next_items, offline
from tfrec.methods import all_users, trained

ALL, KNOWN, NEW_AMONG_ALL, NEW = (
    "all items",
    "known items",
    "new items among all",
    "new items",
)
WITH_EVENTS = (ALL, KNOWN)  # tasks of rankers that cannot rank an item without events
METRICS = ("ndcg", "recall")
_BATCH = 512  # users in a batch of lists

Lists = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


class Task(NamedTuple):
    """Targets of users, and the items among which they are to be found.

    Attributes:
      held_out: the V users with their targets; histories are all earlier events.
      listed: bool [N], items that may be listed; item i at index i - 1.
    """

    held_out: protocols.HeldOut
    listed: np.ndarray


@dataclasses.dataclass(frozen=True)
class Setting:
    """A log without the events of its new items, and what is to be found.

    Attributes:
      data: the whole log.
      training: prepared training events of the other items.
      clicked: U rows, the clicked training events of the other items.
      table: file with the features of all items.
      tasks: by name.
    """

    data: storage.PreparedData
    training: storage.PreparedData
    clicked: sequences.Sequences
    table: pathlib.Path
    tasks: dict[str, Task]


def setting(
    data: storage.PreparedData,
    out: str | pathlib.Path,
    *,
    share: float,
    seed: int,
    max_users: int,
    max_steps: int,
    history_length: int,
) -> Setting:
    """Withholds items and prepares the training events of the others.

    Args:
      data: the whole log, with features of items.
      out: folder of the training data, which is opened if it is there.
      share: of the items that are withheld.
      seed: of their draw, and of the users'.
      max_users: users of each task, at most.
      max_steps: the longest session of the training data, steps.
      history_length: events in a policy's history.

    Raises:
      UserError: if models read no features of the items, there is no click to find, or the
        folder holds other training data.
    """
    out = pathlib.Path(out)
    features = data.features("item")
    if data.vocabulary.item_features is None or features is None:
        raise UserError(
            f"{data.directory}: has no features of items that models read; expected data that "
            "was prepared with --item_features and --feature_columns"
        )
    num_items, num_users = data.spec.num_items, data.spec.num_users
    generator = np.random.default_rng(seed)
    withheld = generator.permutation(num_items)[: max(1, round(share * num_items))]
    is_new = np.zeros(num_items, bool)
    is_new[withheld] = True
    split = protocols.user_ratio(sequences.of_prepared(data))
    events = sequences.events_of(data)
    earlier = events.place < _training_lengths(split)[events.row]
    new, clicked = is_new[events.item - 1], events.feedback[:, 0] > 0
    training = offline.training_data(
        data,
        lambda _: earlier & ~new,
        out / "training",
        max_steps,
        history_length,
        about=f"without {len(withheld)} items drawn with seed {seed}, of",
        with_features=True,
    )

    def rows(of: np.ndarray) -> sequences.Sequences:
        return sequences.of_events(events.row[of], events.item[of], num_users, num_items)

    def task(targets: np.ndarray, listed: np.ndarray) -> Task:
        chosen = rows(~earlier & clicked & targets)
        users = np.flatnonzero((chosen.lengths > 0) & trains)
        if not len(users):
            raise UserError(
                f"{data.directory}: no held-out event with a click on these items; expected a "
                "larger log or share"
            )
        held_out = protocols.HeldOut(users, rows(earlier).select(users), chosen.select(users))
        return Task(protocols.drawn_users(held_out, max_users, seed), listed)

    trains = np.isin(data.vocabulary.users, training.vocabulary.users)
    everything = np.ones(num_items, bool)
    tasks = {
        ALL: task(everything[events.item - 1], everything),
        KNOWN: task(~new, everything),
        NEW_AMONG_ALL: task(new, everything),
        NEW: task(new, is_new),
    }
    table = out / "items.parquet"
    with outputs.replacing_file(table) as temporary:
        features.write_parquet(temporary)
    clicked_rows = rows(earlier & ~new & clicked)
    return Setting(data, training, clicked_rows, table, tasks)


def of_agent(place: Setting, agent: trained.SavedAgent) -> Lists:
    """Lists of an agent for users of the log.

    Args:
      place: the log without its new items.
      agent: trained on its training data, perhaps with the new items.

    Returns:
      Function of rows of the log, int [V], the items that may be listed, bool [V, N], and the
      length K of a list; dense ids of the log, int32 [V, K], padded with 0.
    """
    histories = all_users.of_prepared(place.training, agent)
    row_of = {user: row for row, user in enumerate(histories.users.tolist())}
    candidates = agent.vocabulary.items[: agent.spec.num_candidates]
    dense = place.data.vocabulary.encode(candidates)  # [A], ids of the log
    users = place.data.vocabulary.users

    def lists(rows: np.ndarray, listed: np.ndarray, k: int) -> np.ndarray:
        at = np.array([row_of[user] for user in users[rows].tolist()])
        observation = histories.observation(at, agent.spec.history_length)
        blocked = ~listed[:, dense - 1]
        item, _ = agent.lists_of_users(users[rows], observation, blocked, k)
        return np.where(item > 0, dense[np.maximum(item, 1) - 1], 0).astype(np.int32)

    return lists


def of_control(place: Setting, ranker: next_items.Ranker) -> Lists:
    """Lists of a control, which reads the clicked training events; see `of_agent`."""

    def lists(rows: np.ndarray, listed: np.ndarray, k: int) -> np.ndarray:
        history = place.clicked.select(rows)
        scores = np.where(listed, ranker.scores(history), -np.inf).astype(np.float32)
        return next_items.top(scores, k)

    return lists


class RandomOrder:
    """Ranks items in a random order for each user.

    Args:
      num_items: N.
      seed: of the orders.
    """

    def __init__(self, num_items: int, seed: int):
        self._num_items, self._generator = num_items, np.random.default_rng(seed)

    def scores(self, history: sequences.Sequences) -> np.ndarray:
        """Random scores of the catalogue for each history, float [V, N]."""
        return self._generator.random((len(history), self._num_items))


def lists_of_controls(place: Setting, seed: int) -> dict[str, dict[str, Lists]]:
    """Lists of the controls by task; those that count clicks cannot rank new items.

    Args:
      place: the log without its new items.
      seed: of the random order.
    """
    encoded = place.data.item_features()
    assert encoded is not None
    content = of_control(place, controls.ContentNeighbours(encoded.values))
    popular = of_control(place, controls.Popularity(place.clicked))
    neighbours = of_control(place, controls.ItemNeighbours(place.clicked))
    random = of_control(place, RandomOrder(place.data.spec.num_items, seed))
    return {
        "random order": dict.fromkeys(place.tasks, random),
        "popularity": dict.fromkeys(WITH_EVENTS, popular),
        "item-kNN": dict.fromkeys(WITH_EVENTS, neighbours),
        "content-kNN": dict.fromkeys(place.tasks, content),
    }


def evaluate(place: Setting, name: str, lists: Lists, k: int) -> dict[str, float]:
    """Mean metrics of a ranker's lists in one task.

    Args:
      place: the log without its new items.
      name: of the task.
      lists: of the ranker.
      k: length of the lists.

    Returns:
      `<metric>@<k>` -> mean over users.
    """
    task = place.tasks[name]
    held_out = task.held_out
    items = np.zeros([len(held_out.users), k], np.int32)
    for first in range(0, len(items), _BATCH):
        part = slice(first, first + _BATCH)
        listed = np.tile(task.listed, (len(held_out.users[part]), 1))
        seen = held_out.history.select(np.arange(len(items))[part])
        listed[seen.rows, seen.items - 1] = False
        made = lists(held_out.users[part], listed, k)
        items[part, : made.shape[1]] = made
    hits, relevant = next_items.compared(items, held_out.targets)
    return {
        f"{metric}@{k}": float(np.mean(next_items.METRICS[metric](hits, relevant, k)))
        for metric in METRICS
    }


def _training_lengths(split: protocols.Split) -> np.ndarray:
    """Events of each user before the test events, int64 [U]."""
    lengths = split.train.lengths.copy()
    lengths[split.test.users] = split.test.history.lengths
    return lengths
