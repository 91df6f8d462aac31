"""Users who click the category of their latest click, also one that the log never had.

The log shows the first 16 of 24 categories. A user clicks the items of the category that he
clicked last; what he clicked before is of any category. Test users clicked one of the other 8
categories last, and are to find it among the 40 items that the log never shows. The weights of
the crosses are those of all values together, so that the category need not be known. The
controls are the same learners without crosses, which have embeddings of the categories.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec import types
from tfrec.methods import registry
from tfrec.training import run as runs

CATEGORIES, SHOWN, ITEMS_OF_EACH = 24, 16, 5
ITEMS = CATEGORIES * ITEMS_OF_EACH
WITHOUT = types.FeatureSpec(values=CATEGORIES, slots=1)
SPEC = types.DataSpec(
    feedback=(types.FeedbackColumn("click", "binary", "clicks"),),
    num_items=ITEMS,
    num_users=1,
    history_length=6,
    max_steps=5,
)
CATEGORY = np.concatenate([[0], 1 + np.arange(ITEMS) // ITEMS_OF_EACH])  # 1..24, 0 for padding
FEATURES = types.Features(
    CATEGORY[:, None].astype(np.int32), np.zeros([ITEMS + 1, 0], np.float32)
)
SIZES = {
    "embedding": 8, "frozen_embedding": 2, "units": 8, "state": 16, "goal_units": 8,
    "stream": 16, "hidden": 16, "batch": 64, "replay_sessions": 600, "log_rounds": 4,
    "sessions_per_round": 16, "updates_per_round": 100, "learning_rate": 3e-3, "atoms": 11,
    "planning_steps": 1,
}  # fmt: skip
STATES = 80

pytestmark = pytest.mark.slow


def items_of(rng, category):
    """Random items of categories 1..24."""
    return (category - 1) * ITEMS_OF_EACH + rng.integers(1, ITEMS_OF_EACH + 1, category.shape)


def histories(rng, states, first, last):
    """Histories of items of the categories first..last - 1, some clicked; the latest click."""
    item = items_of(rng, rng.integers(first, last, [states, SPEC.history_length]))
    click = rng.random(item.shape) < 0.5
    click[:, 2] = True  # someone who never clicked has no latest click
    latest = SPEC.history_length - 1 - click[:, ::-1].argmax(axis=1)
    return item, click, CATEGORY[item[np.arange(states), latest]]


def log(sessions=600):
    rng = np.random.default_rng(1)
    history, history_click, latest = histories(rng, sessions, 1, SHOWN + 1)
    steps = SPEC.max_steps
    category = rng.integers(1, SHOWN + 1, [sessions, steps])
    category = np.where(rng.random(category.shape) < 0.4, latest[:, None], category)
    return types.Episodes(
        user=np.ones(sessions, np.int32),
        history_item=history.astype(np.int32),
        history_feedback=history_click[..., None].astype(np.float32),
        item=items_of(rng, category).astype(np.int32),
        feedback=(category == latest[:, None])[..., None].astype(np.float32),
        length=np.full(sessions, steps, np.int32),
        exited=np.zeros(sessions, bool),
    )


def share_right(name, width):
    """Share of the lists of test users that is of their category; 1/8 by chance.

    Args:
      name: of the method.
      width: of the cross; 0 for none, and less than the 24 categories for a sketch.
    """
    cross = types.CrossSpec(slot=0, slots=1, first=1, size=CATEGORIES, width=width)
    features = dataclasses.replace(WITHOUT, crosses=(cross,) if width else ())
    spec = dataclasses.replace(SPEC, item_features=features)
    method = registry.get(name)
    fields = {field.name for field in dataclasses.fields(method.config)}
    config = method.config(**{k: v for k, v in SIZES.items() if k in fields})
    learner = runs.seeded(3, lambda: method.make(config, spec, log(), None, None, 3, FEATURES))
    for _ in range(learner.total_iterations):
        learner.advance()
    item, click, latest = histories(np.random.default_rng(2), STATES, SHOWN + 1, CATEGORIES + 1)
    observation = types.Observation(
        tf.constant(item, tf.int32),
        tf.constant(click[..., None], tf.float32),
        tf.zeros([STATES], tf.int32),
    )
    agent = method.trained(config, spec, learner, None, {})
    blocked = np.tile(CATEGORY[1:] <= SHOWN, (STATES, 1))
    listed, _ = agent.lists(observation, blocked, ITEMS_OF_EACH)
    return (CATEGORY[listed] == latest[:, None]).mean()


METHODS = ("goalrec", "dien", "wide_and_deep", "rainbow", "dyna_q")


@pytest.mark.parametrize("name", METHODS)
def test_the_category_of_the_latest_click_decides_the_list(name):
    assert share_right(name, width=CATEGORIES) > 0.9


def test_a_sketch_decides_it_as_well():
    assert share_right("dien", width=16) > 0.9


@pytest.mark.parametrize("name", METHODS)
def test_without_crosses_a_category_that_was_never_shown_is_not_found(name):
    assert share_right(name, width=0) < 0.3
