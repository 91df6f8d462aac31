"""A log of three hand-written sessions and a small agent, for tests of GoalRec."""

import numpy as np
import tensorflow as tf

from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config as goalrec_config
from tfgoalrec import measurements
from tfrec import types
from tfrec.data import vocabulary

SPEC = types.DataSpec(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("watch", "amount", "seconds", scale=4.0),
    ),
    num_items=6,
    num_users=3,
    history_length=4,
    max_steps=5,
)

# Frozen item vectors; row 0 is padding.
VECTORS = np.array(
    [[0, 0], [1, 0], [0, 1], [2, 2], [-1, 4], [0, 3], [5, 5]], np.float32
)  # [N + 1, 2]


def sessions() -> types.Episodes:
    """Session 0 exits after four steps, session 1 ends at the cap, session 2 has one step."""
    item = np.array([[1, 2, 3, 4, 0], [5, 1, 2, 2, 3], [4, 0, 0, 0, 0]], np.int32)
    click = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]], np.float32)
    watch = np.array([[10, 0, 4, 6, 0], [0, 2, 0, 0, 8], [0, 0, 0, 0, 0]], np.float32)
    history_item = np.array([[0, 0, 5, 6], [0, 0, 0, 0], [1, 2, 3, 1]], np.int32)
    history_click = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]], np.float32)
    return types.Episodes(
        user=np.array([1, 2, 3], np.int32),
        history_item=history_item,
        history_feedback=np.stack([history_click, 3 * history_click], axis=-1),
        item=item,
        feedback=np.stack([click, watch], axis=-1),
        length=np.array([4, 5, 1], np.int32),
        exited=np.array([True, False, True]),
    )


def tensors(episodes: types.Episodes) -> types.Episodes:
    return types.constants(episodes)


def config(**changes) -> goalrec_config.GoalRecConfig:
    """Narrow networks, so that a test takes seconds."""
    narrow = {
        "embedding": 4,
        "frozen_embedding": 2,
        "units": 5,
        "state": 6,
        "goal_units": 4,
        "stream": 8,
        "item_vector": 3,
        "batch": 16,
    }
    return goalrec_config.GoalRecConfig(**(narrow | changes))


def fitted(names=()) -> measurements.Measurements:
    measured = measurements.Measurements(names, SPEC, VECTORS)
    measured.fit(sessions())
    return measured


def agent(seed=0, **changes) -> goalrec_agent.GoalRecAgent:
    """Returns an agent with averaged weights that differ from those of the world model."""
    vectors = np.random.default_rng(seed).normal(size=(7, 8)).astype(np.float32)
    made = goalrec_agent.GoalRecAgent(config(**changes), SPEC, fitted(), vectors, seed)
    noise = np.random.default_rng(seed + 1)
    for variable in made.averaged.trainable_variables:
        variable.assign_add(noise.normal(scale=0.3, size=variable.shape))
    return made


def ids() -> vocabulary.Vocabulary:
    return vocabulary.Vocabulary(
        vocabulary.Ids(np.array([f"i{n}" for n in range(1, 7)])),
        vocabulary.Ids(np.array(["u1", "u2", "u3"])),
    )


def observations(batch: int, seed: int = 0, spec: types.DataSpec = SPEC) -> types.Observation:
    """Returns observations with histories of every length, including empty ones."""
    random = np.random.default_rng(seed)
    shape = (batch, spec.history_length)
    length = random.integers(0, spec.history_length + 1, batch)
    real = np.arange(spec.history_length) >= spec.history_length - length[:, None]  # [B, H]
    click = random.integers(0, 2, shape) * real
    feedback = np.stack([click, click * random.exponential(4.0, shape)], axis=-1)
    return types.Observation(
        history_item=tf.constant(
            random.integers(1, spec.num_items + 1, shape) * real, tf.int32
        ),
        history_feedback=tf.constant(feedback, tf.float32),
        step=tf.constant(
            random.integers(0, np.minimum(length, spec.max_steps - 1) + 1), tf.int32
        ),
    )


def unit_goals(batch: int, dim: int, seed: int = 0) -> tf.Tensor:
    goal = np.random.default_rng(seed).normal(size=(batch, dim))
    return tf.constant(goal / np.linalg.norm(goal, axis=1, keepdims=True), tf.float32)
