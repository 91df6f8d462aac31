"""The wide state of the high-dimensional setting: crosses of discretised features.

The state is "expanded through the discretization and intersection of features" (GoalRec,
experiments): numbers become one of ten bins, and each feature, and each pair of features,
is hashed to one of `buckets` columns. A state is K of these columns set to 1, kept as
their numbers; the bag of their embeddings is a linear layer on the wide state.

Bins, all fixed:

  share    of events with a 1, 0..1: bin ceil(9 x), so that "none" stands alone
  count    of steps or events: 0, 1, 2.., 4.., 8.., doubling up to 256 and more
  amount   mean amount over its scale: none, then doubling from 1/32 to 4 and more
"""

import numpy as np
import tensorflow as tf

from tfrec import types

BINS = 10
_COUNTS = 2.0 ** np.arange(BINS - 1)  # lower edges of bins 1..9
_AMOUNTS = np.concatenate([[1e-6], 2.0 ** np.arange(-5, 3)])
_CLICK_WINDOWS = (4, 8, 16)  # latest events; a further window has all events of the history
_OTHER_WINDOW = 4
_RECENT = 4  # latest items, and a flag for each whether it was clicked
_CLICKED = 3  # latest clicked items


class CrossedFeatures(tf.Module):
    """Hashed crosses of an observation and the bag of their embeddings.

    Args:
      spec: the log's spec.
      buckets: columns of the wide state.
      width: W, of an embedding.

    Raises:
      ValueError: if `buckets` is not positive.
    """

    def __init__(self, spec: types.DataSpec, buckets: int, width: int):
        super().__init__(name="crossed")
        if buckets < 1:
            raise ValueError(f"crossed is {buckets} buckets; expected at least 1")
        self.spec, self.buckets, self.width = spec, buckets, width
        # Zeros, so that a cross without training data has no effect.
        self.table = tf.Variable(tf.zeros([buckets, width]), name="table")
        first, second = np.triu_indices(len(self.names))  # i = j is the feature itself
        self._first = tf.constant(first, tf.int32)
        self._second = tf.constant(second, tf.int32)
        # Multiply-shift: each cross has a separate hash function, which is the same in every
        # process and strongly universal for keys below 2^32.
        factors = np.random.default_rng(30_000).integers(
            -(2**63), 2**63 - 1, [3, len(first)], np.int64
        )
        self._factors = tf.constant(factors)

    @property
    def hashed_id_tables(self) -> list[tf.Variable]:
        """The variables whose rows are hashes of dense ids, among other values."""
        return [self.table]

    @property
    def names(self) -> list[str]:
        """The features before crossing, in order."""
        names = ["step", "known", "since_click", "session_clicks", "session_click_share"]
        names += [f"clicks_of_{window}" for window in (*_CLICK_WINDOWS, "all")]
        for column in self.spec.feedback[1:]:
            names += [f"{column.name}_of_{window}" for window in (_OTHER_WINDOW, "all")]
        names += ["recent_clicks"]
        names += [f"item_{k}" for k in range(1, _RECENT + 1)]
        return names + [f"clicked_item_{k}" for k in range(1, _CLICKED + 1)]

    @property
    def crosses(self) -> int:
        """K, columns that are 1 in each state (some may fall together)."""
        return len(self._first)

    def features(self, observation: types.Observation) -> tf.Tensor:
        """The discretised features, int32 [B, len(names)].

        Items are represented by their ids; 0 is "none" in all features.
        """
        item = observation.history_item
        length = self.spec.history_length
        is_event = tf.cast(item != types.PAD, tf.float32)  # [B, H]
        raw = observation.history_feedback
        clicked = tf.cast(raw[..., 0] > 0.0, tf.float32) * is_event  # [B, H]
        age = tf.range(length, 0, -1)[None, :]  # [1, H] 1 is the latest event
        session = is_event * tf.cast(age <= observation.step[:, None], tf.float32)
        # Number of clicks from here to now; k at the k-th latest click.
        rank = tf.cumsum(clicked, axis=1, reverse=True) * clicked  # [B, H]
        latest = tf.reduce_max(tf.where(rank == 1.0, length + 1 - age, 0), axis=1)  # 0: none
        step = tf.cast(observation.step, tf.float32)
        session_clicks = tf.reduce_sum(clicked * session, axis=1)

        def within(window: int | str) -> tf.Tensor:
            if window == "all":
                return is_event
            return is_event * tf.cast(age <= window, tf.float32)

        columns = [
            _bins(step, _COUNTS),
            _bins(tf.reduce_sum(is_event, axis=1), _COUNTS),
            _bins(tf.cast(length - latest, tf.float32), _COUNTS),
            _bins(session_clicks, _COUNTS),
            _share(_mean(clicked, session)),
        ]
        columns += [_share(_mean(clicked, within(w))) for w in (*_CLICK_WINDOWS, "all")]
        for k, column in enumerate(self.spec.feedback[1:], start=1):
            value = tf.maximum(raw[..., k], 0.0) / column.scale
            for window in (_OTHER_WINDOW, "all"):
                mean = _mean(value, within(window))
                binary = column.kind == "binary"
                columns.append(_share(mean) if binary else _bins(mean, _AMOUNTS))
        shown = range(min(_RECENT, length))
        # For each of the latest items: none, not clicked, clicked.
        state = tf.cast(is_event + clicked, tf.int32)
        columns.append(tf.add_n([state[:, length - 1 - k] * 3**k for k in shown]))
        zeros = tf.zeros_like(observation.step)
        columns += [item[:, length - 1 - k] if k in shown else zeros for k in range(_RECENT)]
        columns += [
            tf.reduce_max(tf.where(rank == float(k), item, 0), axis=1)
            for k in range(1, _CLICKED + 1)
        ]
        return tf.stack(columns, axis=1)

    def ids(self, observation: types.Observation) -> tf.Tensor:
        """The columns of the wide state that are 1, int32 [B, K] in [0, buckets)."""
        level = tf.cast(self.features(observation), tf.int64)  # [B, n]
        first = tf.gather(level, self._first, axis=1)  # [B, K]
        second = tf.gather(level, self._second, axis=1)
        mixed = first * self._factors[0] + second * self._factors[1] + self._factors[2]
        # The upper half, as a number in [0, 2^32), scaled to [0, buckets).
        upper = tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, 32), 2**32 - 1)
        return tf.cast(tf.bitwise.right_shift(upper * self.buckets, 32), tf.int32)

    def __call__(self, observation: types.Observation) -> tf.Tensor:
        """The sum of the K embeddings over sqrt(K), float [B, W].

        Neither the states nor the [B, K, W] embeddings are ever spread out, and the
        gradient is one row for each cross that the batch holds.
        """
        ids = self.ids(observation)
        row = tf.repeat(tf.range(tf.shape(ids)[0]), self.crosses)  # [B * K]
        return tf.ensure_shape(
            tf.sparse.segment_sqrt_n(
                self.table, tf.reshape(ids, [-1]), row, sparse_gradient=True
            ),
            [None, self.width],
        )


def _mean(value: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Mean over the events with weight 1, 0 if there is none: [B, H] x 2 -> [B]."""
    total = tf.reduce_sum(value * weight, axis=1)
    return total / tf.maximum(tf.reduce_sum(weight, axis=1), 1.0)


def _share(value: tf.Tensor) -> tf.Tensor:
    # The margin makes 3 of 9 bin 3 in spite of rounding.
    return tf.cast(tf.math.ceil(tf.clip_by_value(value, 0.0, 1.0) * 9.0 - 1e-4), tf.int32)


def _bins(value: tf.Tensor, edges: np.ndarray) -> tf.Tensor:
    """Number of edges that a value has reached, int32 [B]."""
    reached = value[:, None] >= tf.constant(edges, tf.float32)
    return tf.reduce_sum(tf.cast(reached, tf.int32), axis=1)
