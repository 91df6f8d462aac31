"""A feature of the user that alone decides the click is learned from the log.

Users of two regions click the items of one parity each. A test user is new and has no history,
so only the region tells which items to rank first. The control is the same learner without
features: it gives both regions the same list, of which half is right.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from tests.tfrec.baselines import click_log
from tfrec import types
from tfrec.methods import registry
from tfrec.training import run as runs

SPEC = dataclasses.replace(
    click_log.SPEC, user_features=types.FeatureSpec(values=3, slots=1, missing=(1,))
)
SIZES = {
    "embedding": 8, "frozen_embedding": 2, "units": 8, "state": 16, "goal_units": 8,
    "stream": 16, "hidden": 16, "batch": 64, "replay_sessions": 600, "log_rounds": 4,
    "sessions_per_round": 16,
    "updates_per_round": 100, "learning_rate": 3e-3, "atoms": 11, "planning_steps": 1,
}  # fmt: skip
STATES, LISTED = 40, 5

pytestmark = pytest.mark.slow


def planted():
    """Sessions of users whose region, 2 or 3, is the parity of the items that they click."""
    log = click_log.planted(600, seed=1)
    region = log.user % 2
    click = (log.item % 2 == region[:, None]).astype(np.float32)
    return log._replace(
        history_item=np.zeros_like(log.history_item),
        history_feedback=np.zeros_like(log.history_feedback),
        feedback=np.stack([click, 7.0 * click], axis=-1),
        context_values=(2 + region[:, None]).astype(np.int32),
    )


def share_right(name, **changes):
    """Share of the listed items of new users that have the parity of their region."""
    method = registry.get(name)
    fields = {field.name for field in dataclasses.fields(method.config)}
    config = method.config(**{k: v for k, v in SIZES.items() if k in fields} | changes)
    log = planted()
    learner = runs.seeded(3, lambda: method.make(config, SPEC, log, None, None, 3))
    for _ in range(learner.total_iterations):
        learner.advance()
    region = np.arange(STATES) % 2
    observation = types.Observation(
        tf.zeros([STATES, SPEC.history_length], tf.int32),
        tf.zeros([STATES, SPEC.history_length, len(SPEC.feedback)]),
        tf.zeros([STATES], tf.int32),
        tf.constant(2 + region[:, None], tf.int32),
    )
    blocked = np.zeros([STATES, SPEC.num_candidates], bool)
    agent = method.trained(config, SPEC, learner, None, {})
    item, _ = agent.lists(observation, blocked, LISTED)
    return (item % 2 == region[:, None]).mean()


@pytest.mark.parametrize("name", ["goalrec", "dien", "wide_and_deep", "rainbow", "dyna_q"])
def test_the_region_decides_the_list(name):
    assert share_right(name) > 0.9


def test_without_features_half_of_the_list_is_right():
    assert share_right("dien", use_features=False) == 0.5
