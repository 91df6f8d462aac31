"""A tiny log with a planted rule for the tests of the click rankers, and such a world."""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import user_models
from tfrec.metrics import ranking

SPEC = types.DataSpec(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("seconds", "amount", "seconds", 10.0),
    ),
    num_items=21,
    num_users=5,
    history_length=6,
    max_steps=5,
    candidates=18,
)


def planted(sessions: int, seed: int, shuffled: bool = False) -> types.Episodes:
    """Users like the items of one parity; what they clicked before tells which.

    Args:
      sessions: B.
      seed: of the draws.
      shuffled: whether a click of the session itself is a coin instead.
    """
    rng = np.random.default_rng(seed)
    h, t = SPEC.history_length, SPEC.max_steps
    item = rng.integers(1, SPEC.num_items, (sessions, h + t), endpoint=True)
    item[: sessions // 4, :2] = types.PAD  # some histories are short
    parity = rng.integers(0, 2, (sessions, 1))
    click = ((item % 2 == parity) & (item > 0)).astype(np.float32)
    if shuffled:
        click[:, h:] = rng.integers(0, 2, (sessions, t))
    feedback = np.stack([click, 7.0 * click], axis=-1).astype(np.float32)
    return types.Episodes(
        user=rng.integers(1, SPEC.num_users, sessions, endpoint=True).astype(np.int32),
        history_item=item[:, :h].astype(np.int32),
        history_feedback=feedback[:, :h],
        item=item[:, h:].astype(np.int32),
        feedback=feedback[:, h:],
        length=np.full(sessions, t, np.int32),
        exited=np.zeros(sessions, bool),
    )


def first_steps(log: types.Episodes) -> tuple[types.Observation, np.ndarray, np.ndarray]:
    """What was seen, shown and clicked at the first step of each session."""
    step = np.zeros(len(log.length), np.int32)
    seen = types.Observation(log.history_item, log.history_feedback, step)
    return seen, log.item[:, 0], log.feedback[:, 0, 0]


class ParityWorld:
    """Users who click items of their parity and leave after a step in five."""

    spec = SPEC
    repeats = False

    def reset(self, starts: types.Starts) -> tf.Tensor:
        """The parity of each user's first click; 0 for those who never clicked."""
        clicked = tf.cast(starts.history_feedback[..., 0] > 0, tf.int32)  # [B, H]
        first = tf.argmax(clicked, axis=1, output_type=tf.int32)
        return tf.gather(starts.history_item, first, batch_dims=1) % 2

    def responses(self, state: tf.Tensor, candidates: tf.Tensor) -> user_models.Responses:
        click = tf.cast(state[:, None] == candidates[None, :] % 2, tf.float32)
        return user_models.Responses(
            tf.stack([click, 7.0 * click], -1), 0.2 * tf.ones_like(click)
        )

    def step(
        self, state: tf.Tensor, item: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        click = tf.cast(state == item % 2, tf.float32)
        left = tf.random.stateless_uniform(tf.shape(item), seed) < 0.2
        return state, tf.stack([click, 7.0 * click], axis=-1), left


def held_out_auc(learner, shuffled: bool = False) -> float:
    """AUC on the first steps of sessions that it never saw."""
    seen, item, clicked = first_steps(planted(400, 99, shuffled))
    scores = learner.predict(types.constants(seen), tf.constant(item))
    return ranking.auc(scores.numpy(), clicked)


def moved(learner, updates: int = 3) -> dict[str, bool]:
    """Whether each variable of the network moved within a few updates."""
    before = {v.ref(): v.numpy() for v in learner.network.trainable_variables}
    learner._learn(tf.constant(updates))
    return {r.deref().name: bool((r.deref().numpy() != x).any()) for r, x in before.items()}
