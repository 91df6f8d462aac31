"""Graph code that decodes and checks a client's arrays: ids, padding, goals.

An invalid request raises an InvalidArgumentError that says what was expected.
Events of unknown items are left out without an error.
"""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.serving import ranker as ranker_lib

_SMALLEST = 1e-30  # a goal counts as zero if its largest weight is below this
PADDING: dict[tf.DType, str | int] = {tf.string: "", tf.int64: -1}


class Decoder:
    """Decodes requests for one ranker.

    Args:
      ranker: a trained agent.
      vocabulary_file: file of raw ids, one a line, in dense order; an asset of the model.
      item_dtype: tf.string or tf.int64, the type of the raw ids.

    Attributes:
      padding: scalar of item_dtype for positions without an item.
      tables: lookup tables, which the exported object must own.
    """

    def __init__(self, ranker: ranker_lib.Ranker, vocabulary_file: str, item_dtype: tf.DType):
        self._spec = ranker.spec
        self.padding = tf.constant(PADDING[item_dtype], item_dtype)
        self._columns = tuple(ranker.measurements.columns)
        self._std = tf.constant(np.asarray(ranker.measurements.std, np.float32))  # [M]
        self._discarded = dict(ranker.discarded)
        self._goal_names = tuple(ranker.named_goals)
        # Row 0 is for requests without a name, which use their goal vector.
        rows = [ranker.named_goals[name] for name in self._goal_names]
        self._goals = tf.constant([[0.0] * len(self._columns), *rows], tf.float32)
        lines = tf.lookup.TextFileIndex
        self._dense_ids = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                vocabulary_file, item_dtype, lines.WHOLE_LINE, tf.int64, lines.LINE_NUMBER
            ),
            default_value=-1,
        )
        self._goal_ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                ["", *self._goal_names], tf.range(len(rows) + 1, dtype=tf.int64)
            ),
            default_value=-1,
        )
        self.tables = [self._dense_ids, self._goal_ids]

    def observation(
        self,
        item: tf.Tensor,
        feedback: tf.Tensor,
        step: tf.Tensor,
        context_values: tf.Tensor | None = None,
    ) -> types.Observation:
        """The state s_t: the last H events of items in the vocabulary, right-aligned.

        Args:
          item: raw ids [B, L].
          feedback: float32 [B, L, F].
          step: int32 [B].
          context_values: int32 [B, K], zeros where the features of user and context are
            missing, or [B, 0]; None if the model reads none.
        """
        horizon = self._spec.history_length
        batch, length = tf.shape(item)[0], tf.shape(item)[1]
        names = self._spec.feedback_names
        feedback = checked(
            feedback,
            tf.debugging.assert_equal(
                tf.shape(feedback),
                tf.stack([batch, length, len(names)]),
                f"history_feedback must have one row of {len(names)} values "
                f"({', '.join(names)}) for each event of history_item",
            ),
        )
        feedback = tf.debugging.assert_all_finite(feedback, "history_feedback must be finite")
        feedback = checked(
            feedback,
            tf.debugging.assert_non_negative(feedback, "history_feedback must not be negative"),
        )
        step = checked(
            step,
            tf.debugging.assert_equal(
                tf.shape(step), batch[None], "step must have one number a row"
            ),
            tf.debugging.assert_non_negative(step, "step must not be negative"),
        )
        is_item = item != self.padding  # [B, L]
        dense = self.dense(item)
        # As in the preparation of the log, events of unknown items count neither as history
        # nor as steps of the session.
        from_end = tf.cumsum(tf.cast(is_item, tf.int32), axis=1, reverse=True)  # 1 for the last
        unknown = tf.logical_and(is_item, dense == types.PAD)
        counted = tf.logical_and(unknown, from_end <= step[:, None])
        step = step - tf.reduce_sum(tf.cast(counted, tf.int32), axis=1)
        dense = tf.pad(dense, [[0, 0], [horizon, 0]])  # [B, H + L]
        feedback = tf.pad(feedback, [[0, 0], [horizon, 0], [0, 0]])
        # A stable sort moves positions without a known item to the left and keeps the order.
        in_vocabulary = tf.cast(dense != types.PAD, tf.int32)
        order = tf.argsort(in_vocabulary, axis=1, stable=True)[:, length:]  # [B, H]
        dense = tf.gather(dense, order, batch_dims=1)
        feedback = tf.gather(feedback, order, batch_dims=1)  # [B, H, F]
        feedback = tf.where((dense != types.PAD)[..., None], feedback, 0.0)
        return types.Observation(
            history_item=tf.ensure_shape(dense, [None, horizon]),
            history_feedback=tf.ensure_shape(feedback, [None, horizon, len(names)]),
            step=tf.minimum(step, self._spec.max_steps - 1),
            context_values=()
            if context_values is None
            else self._context(context_values, batch),
        )

    def _context(self, values: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """Checked numbers of the features of users and contexts, int32 [B, K]."""
        sizes = self._spec.state_features
        assert sizes is not None  # the model has no such input without features
        values = rows(values, batch, "context_values")
        values = tf.cond(
            tf.shape(values)[1] > 0,
            lambda: values,
            lambda: tf.zeros([batch, sizes.slots], tf.int32),
        )
        values = checked(
            values,
            tf.debugging.assert_equal(
                tf.shape(values)[1],
                sizes.slots,
                f"context_values must have {sizes.slots} numbers a row, or none",
            ),
            tf.debugging.assert_non_negative(values, "context_values must not be negative"),
            tf.debugging.assert_less_equal(
                values, sizes.values, f"context_values must be at most {sizes.values}"
            ),
        )
        given = tf.reduce_any(values > 0, axis=1, keepdims=True)  # [B, 1]
        values = tf.where(given, values, tf.constant([sizes.missing], tf.int32))
        return tf.ensure_shape(values, [None, sizes.slots])

    def goal(self, goal: tf.Tensor, name: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """Unit goals, [B, M], from goal names, or from vectors if there is no name."""
        goal_names = ", ".join(self._goal_names) or "none"
        name = rows(name[:, None], batch, "goal_name")  # [B, 1], or [B, 0] without names
        name = tf.strings.reduce_join(name, axis=1)  # [B], "" without a name
        index = self._goal_ids.lookup(name)
        index = checked(
            index,
            tf.debugging.assert_non_negative(
                index, f"unknown goal_name; the named goals are {goal_names}"
            ),
        )
        goal = tf.cond(
            tf.shape(goal)[1] > 0,
            lambda: rows(self._width(goal, "goal"), batch, "goal"),
            lambda: tf.zeros([batch, len(self._columns)]),
        )
        named = tf.gather(self._goals, index)  # [B, M]
        goal = tf.where((index > 0)[:, None], named, goal)
        return _unit(goal, f"goal (or a goal_name: {goal_names})")

    def weights(self, weights: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """Unit goals from weights of raw units: g_j ~ weight_j x std_j, [B, M]."""
        weights = rows(self._width(weights, "weights"), batch, "weights")
        weights = tf.debugging.assert_all_finite(weights, "weights must be finite")
        return _unit(weights * self._std, "weights")

    def ranking(self, goals: tf.Tensor) -> tf.Tensor:
        """Returns goals, [B, M], unchanged; rejects weights of columns without effect."""
        if not self._discarded:
            return goals
        option = next(iter(self._discarded.values()))
        columns = [self._columns.index(column) for column in self._discarded]
        # Without the index in an embedding: `asserted` cuts a message at a closing bracket.
        names = dict.fromkeys(column.partition("[")[0] for column in self._discarded)
        message = (
            f"goal or weights must be 0 for {', '.join(names)}: {option} gives every item the "
            "same advantage there"
        )
        ignored_weights = tf.gather(goals, columns, axis=1)  # [B, discarded]
        return checked(goals, tf.debugging.assert_equal(ignored_weights, 0.0, message))

    def _width(self, goals: tf.Tensor, name: str) -> tf.Tensor:
        right = tf.debugging.assert_equal(
            tf.shape(goals)[1],
            len(self._columns),
            f"{name} must have {len(self._columns)} columns: {', '.join(self._columns)}",
        )
        return tf.ensure_shape(checked(goals, right), [None, len(self._columns)])

    def dense(self, raw: tf.Tensor) -> tf.Tensor:
        """Dense ids; 0 for padding and for ids outside the vocabulary."""
        return tf.cast(self._dense_ids.lookup(raw) + 1, tf.int32)


def rows(values: tf.Tensor, batch: tf.Tensor, name: str) -> tf.Tensor:
    """Checks that values have B rows, [B, X]; empty values become [B, 0]."""
    empty = tf.equal(tf.size(values), 0)
    shape = tf.where(empty, tf.stack([batch, 0]), tf.shape(values))
    values = tf.reshape(values, shape)
    enough = tf.debugging.assert_equal(
        shape[0], batch, f"{name} must have as many rows as history_item"
    )
    return checked(values, enough)


def _unit(goal: tf.Tensor, name: str) -> tf.Tensor:
    """Scales goals to length 1, [B, M]; rejects NaN, Inf and zero."""
    goal = tf.debugging.assert_all_finite(goal, f"{name} must be finite")
    # Divides by the largest weight first, so that squares do not overflow.
    largest = tf.reduce_max(tf.abs(goal), axis=-1, keepdims=True)  # [B, 1]
    largest = checked(
        largest,
        tf.debugging.assert_greater(
            largest, _SMALLEST, f"{name} must have a weight other than 0"
        ),
    )
    return tf.math.l2_normalize(goal / largest, axis=-1)


def checked(value: tf.Tensor, *checks: tf.Operation) -> tf.Tensor:
    """The value, evaluated after the checks, so that their message precedes other errors."""
    with tf.control_dependencies(checks):
        return tf.identity(value)
