"""Sessions, observations and starts: names, shapes and units.

Axes: B batch, T time, H history, F feedback columns, A candidate items,
M measurement columns, D embedding.

Items are dense ids: 1..num_items are real items, 0 is padding and also stands
for an item outside the vocabulary. Users are dense ids 1..num_users, 0 unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from tfrec import names, options

if TYPE_CHECKING:
    import tensorflow as tf

PAD = 0


def seed_pair(seed: int, number: int) -> tf.Tensor:
    """A seed of TensorFlow's stateless random functions.

    Args:
      seed: 0 to 2**32 - 1; one that an int32 does not hold wraps around.
      number: distinguishes random streams with the same seed.

    Returns:
      int32 [2].
    """
    import tensorflow as tf  # deferred: formats and names need no TensorFlow

    return tf.constant((np.array([seed, number]) & 0xFFFFFFFF).astype(np.uint32).view(np.int32))


@dataclasses.dataclass(frozen=True)
class FeedbackColumn:
    """One kind of user feedback, a column of the log.

    Attributes:
      name: column name, e.g. `click`.
      kind: `binary` (0/1) or `amount` (a non-negative number).
      unit: unit of the values, e.g. `clicks`, `seconds`.
      scale: divide an amount by this before it enters a network; the standard
        deviation over the training rows (1 for binary columns).

    Raises:
      UserError: if the name, the kind or the unit breaks a rule of `tfrec.names`.
    """

    name: str
    kind: str
    unit: str
    scale: float = 1.0

    def __post_init__(self):
        names.check_feedback(self.name, self.kind, self.unit)


@dataclasses.dataclass(frozen=True)
class CrossSpec:
    """A column of the items that is crossed with the history; see `tfrec.nn.history_crosses`.

    Attributes:
      slot: first of its slots among the K of an item.
      slots: its slots.
      first: first of its values among 1..V, without those that stand for a missing or a rare
        value.
      size: its values, numbers first..first + size - 1.
      width: the most numbers that it adds to an item's vector.
    """

    slot: int
    slots: int
    first: int
    size: int
    width: int


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """Sizes of encoded features of items, users or contexts (`tfrec.data.feature_encoding`).

    Attributes:
      values: V, the distinct feature values, numbers 1..V; 0 stands for none.
      slots: K, the most values that one item, user or context has.
      width: P, the length of the given vectors; 0 for none.
      missing: the K numbers of a user or a context without any value; () for items.
      crosses: the columns of the items that are crossed with the history.
    """

    values: int
    slots: int
    width: int = 0
    missing: tuple[int, ...] = ()
    crosses: tuple[CrossSpec, ...] = ()

    def joined(self, other: FeatureSpec) -> FeatureSpec:
        """Sizes of both features side by side; numbers of the other follow these.

        Args:
          other: sizes of a user or a context, as these.
        """
        return FeatureSpec(
            values=self.values + other.values,
            slots=self.slots + other.slots,
            missing=(*self.missing, *(n + self.values if n else 0 for n in other.missing)),
        )


_FEATURES = ("item_features", "user_features", "context_features")  # fields of a DataSpec


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """Feedback columns and sizes of a prepared log; saved with the data and each model.

    Attributes:
      feedback: the feedback columns, in storage order. The first is the click:
        the reward that the papers count.
      num_items: real items, dense ids 1..num_items.
      num_users: real users, dense ids 1..num_users.
      history_length: H, the events before a step that a policy sees.
      max_steps: T, the longest session.
      candidates: only items 1..candidates may be recommended, the most frequent ones;
        0 for all of them. Histories may hold any item.
      item_features: sizes of the features that models read beside the ids of items; None if
        they read ids alone.
      user_features: sizes of the features of users that models read; None if they read none.
      context_features: sizes of the features of the contexts of sessions that models read; None
        if they read none.

    Raises:
      UserError: if two feedback columns have one name.
    """

    feedback: tuple[FeedbackColumn, ...]
    num_items: int
    num_users: int
    history_length: int
    max_steps: int
    candidates: int = 0
    item_features: FeatureSpec | None = None
    user_features: FeatureSpec | None = None
    context_features: FeatureSpec | None = None

    def __post_init__(self):
        names.check_distinct("feedback column", self.feedback_names)

    @property
    def ids_alone(self) -> DataSpec:
        """The same log, read without features."""
        return dataclasses.replace(
            self, item_features=None, user_features=None, context_features=None
        )

    @property
    def unscaled(self) -> DataSpec:
        """The same log with every scale 1: networks divide by scales, data keep raw units."""
        columns = (dataclasses.replace(column, scale=1.0) for column in self.feedback)
        return dataclasses.replace(self, feedback=tuple(columns))

    def described(self) -> dict[str, Any]:
        """The fields as JSON; `restored` reads them. Features that are absent are left out."""
        fields = dataclasses.asdict(self)
        for name in _FEATURES:
            if fields[name] is None:
                del fields[name]
                continue
            for part in ("missing", "crosses"):
                if not fields[name][part]:
                    del fields[name][part]
        return fields

    @property
    def state_features(self) -> FeatureSpec | None:
        """Sizes of the features of users and of contexts together; None if there are none.

        Numbers of contexts follow those of users.
        """
        user, context = self.user_features, self.context_features
        if user is None or context is None:
            return user or context
        return user.joined(context)

    @property
    def context_slots(self) -> int:
        """K, the width of the `context_values` of an observation; 0 without such features."""
        return 0 if self.state_features is None else self.state_features.slots

    @property
    def num_candidates(self) -> int:
        """A, the items that may be recommended."""
        return self.candidates or self.num_items

    @property
    def feedback_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.feedback)

    @classmethod
    def restored(cls, fields: Mapping[str, Any]) -> DataSpec:
        """Rebuilds a spec from `described()`, with lists for tuples as in JSON.

        Raises:
          TypeError: if a field is absent or unknown.
        """
        return options.rebuilt(cls, fields)

    def feedback_index(self, name: str) -> int:
        """Position of a feedback column.

        Raises:
          ValueError: if the log has no such column.
        """
        if name not in self.feedback_names:
            raise ValueError(
                f"no feedback column {name!r}; the log has {', '.join(self.feedback_names)}"
            )
        return self.feedback_names.index(name)


class Features(NamedTuple):
    """Encoded features of items, row d for dense id d; row 0, the padding, is zeros.

    Attributes:
      values: int32 array [N + 1, K], numbers 1..V of their values, 0 where an item has fewer.
      vectors: float32 array [N + 1, P].
    """

    values: np.ndarray
    vectors: np.ndarray


Sessions = TypeVar("Sessions", "Starts", "Episodes", "Observation")


def rows(nest: Sessions, place: slice | np.ndarray) -> Sessions:
    """The same rows of every array; parts that are () stay.

    Args:
      nest: arrays or tensors [B, ...].
      place: slice, positions or mask of the rows.

    Returns:
      Numpy arrays.
    """
    parts = (part if isinstance(part, tuple) else np.asarray(part)[place] for part in nest)
    return type(nest)(*parts)


def constants(nest: Sessions) -> Sessions:
    """Tensors of the arrays; parts that are () stay."""
    import tensorflow as tf  # deferred: formats and names need no TensorFlow

    return tf.nest.map_structure(tf.constant, nest)


def context_values_of(nest: Starts | Episodes | Observation) -> tf.Tensor:
    """Values of the features of users and contexts, for what reads or stores them.

    Raises:
      ValueError: if there are none.
    """
    if isinstance(nest.context_values, tuple):
        raise ValueError(
            f"context_values of {type(nest).__name__} is (), but the spec declares features of "
            "users or of the context; expected int32 [B, K]"
        )
    return nest.context_values


class Starts(NamedTuple):
    """Starts of sessions: users and their earlier events.

    Attributes:
      user: int32 [B], dense user id.
      history_item: int32 [B, H], oldest first, left-padded with 0.
      history_feedback: float32 [B, H, F], raw units, 0 where padded.
      context_values: int32 [B, K], numbers of the values of the features of the user, then of
        the context of the session; 0 for none. () where the spec declares neither.
    """

    user: tf.Tensor
    history_item: tf.Tensor
    history_feedback: tf.Tensor
    context_values: tf.Tensor | tuple[()] = ()


class Episodes(NamedTuple):
    """Sessions, logged or simulated, right-padded to T steps.

    Attributes:
      user: int32 [B].
      history_item: int32 [B, H], the events before the session.
      history_feedback: float32 [B, H, F].
      item: int32 [B, T], the item shown at each step, 0 where padded.
      feedback: float32 [B, T, F], the user's feedback to it, raw units.
      length: int32 [B], steps in the session, 1..T.
      exited: bool [B], whether the user left after the last step; False where
        the session was cut at the cap.
      context_values: int32 [B, K] or (), see `Starts`.
    """

    user: tf.Tensor
    history_item: tf.Tensor
    history_feedback: tf.Tensor
    item: tf.Tensor
    feedback: tf.Tensor
    length: tf.Tensor
    exited: tf.Tensor
    context_values: tf.Tensor | tuple[()] = ()


class Observation(NamedTuple):
    """Input of a policy at one step: the state s_t of the papers.

    Attributes:
      history_item: int32 [B, H], the last H events up to now, oldest first,
        left-padded with 0; it spans the session and what came before it.
      history_feedback: float32 [B, H, F], raw units.
      step: int32 [B], steps already taken in this session; the last `step`
        positions of the history belong to the session.
      context_values: int32 [B, K] or (), see `Starts`.
    """

    history_item: tf.Tensor
    history_feedback: tf.Tensor
    step: tf.Tensor
    context_values: tf.Tensor | tuple[()] = ()
