"""A ranker with numbers that can be checked by hand: 7 items, 2 measurements.

The state s is the item vectors of the clicked events, the last one counting fully, the
one before half, and so on. A_j(s, a) = e_j(a) (1 + s_j) and V_j(s) = s_0 + step / 10, so
with an empty history the two columns of ITEMS are the two advantages themselves.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfrec import types

# Under the first measurement i1 i2 i3 i4 i5 i6 i7; under the second i6 i4 i7 i2 i3 i5 i1,
# with i3 and i5 exactly alike.
ITEMS = np.array(
    [[0.7, 0.0], [0.6, 0.3], [0.5, 0.2], [0.4, 0.8], [0.3, 0.2], [0.2, 2.0], [0.1, 0.45]],
    np.float32,
)
STRING_IDS = np.array([f"i{i}" for i in range(1, 8)], dtype=object)
INT_IDS = np.array([101, 102, 103, 104, 105, 106, 107])


class LinearWorldModel(tf.Module):
    def __init__(self, bilinear: bool):
        super().__init__()
        self.bilinear = bilinear
        self.table = tf.Variable(np.vstack([np.zeros((1, 2), np.float32), ITEMS]))

    def encode(self, observation, goal):
        del goal  # the state is all there is to encode
        horizon = observation.history_item.shape[1]
        fading = 0.5 ** np.arange(horizon - 1, -1, -1, dtype=np.float32)  # [H]
        clicked = observation.history_feedback[..., 0] * fading  # [B, H]
        events = tf.gather(self.table, observation.history_item)  # [B, H, 2]
        state = tf.einsum("bh,bhd->bd", clicked, events)
        return state, tf.cast(observation.step, tf.float32)

    def value(self, code):
        state, step = code
        return tf.repeat(state[:, :1] + step[:, None] / 10, 2, axis=1)  # [B, 2]

    def advantage(self, code, item):
        return tf.gather(self.table, item) * (1 + code[0])[:, None, :]  # [B, A, 2]

    def scores(self, code, goal):
        value = tf.reduce_sum(goal * self.value(code), axis=1, keepdims=True)
        advantage = self.table[1:] * (1 + code[0])[:, None, :]  # [B, N, 2]
        return value + tf.einsum("bm,bnm->bn", goal, advantage)

    def query(self, code, goal):
        return goal * (1 + code[0])

    def item_vectors(self):
        return self.table[1:]


@dataclasses.dataclass(frozen=True)
class Measurements:
    columns: tuple[str, ...] = ("click@0", "watch@1..")
    size: tuple[int, ...] = (1, 1)
    units: tuple[str, ...] = ("clicks", "seconds")
    mean: tuple[float, ...] = (2.0, 30.0)
    std: tuple[float, ...] = (0.5, 10.0)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    items: np.ndarray


class FakeRanker:
    def __init__(self, bilinear: bool = True, items: np.ndarray = STRING_IDS):
        self.spec = types.DataSpec(
            feedback=(
                types.FeedbackColumn("click", "binary", "clicks"),
                types.FeedbackColumn("watch", "amount", "seconds", scale=20.0),
            ),
            num_items=7,
            num_users=3,
            history_length=4,
            max_steps=6,
        )
        self.vocabulary = Vocabulary(items)
        self.measurements = Measurements()
        self.named_goals = {"clicks": np.array([1.0, 0.0]), "watch": np.array([0.0, 1.0])}
        self.world_model = LinearWorldModel(bilinear)
        self.discarded: dict[str, str] = {}
