"""Every method that learns from a log reads declared features of items, users and contexts."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts import cases
from tfrec import types
from tfrec.data import vocabulary
from tfrec.methods import registry
from tfrec.nn import item_embedding
from tfrec.training import checkpoint
from tfrec.training import run as runs

METHODS = [name for name in registry.names(registry.LOG) if name != "item_counts"]
# The values 3 to 7 of the second slot are crossed with the history.
CROSS = types.CrossSpec(slot=1, slots=1, first=3, size=5, width=8)
SIZES = types.FeatureSpec(values=7, slots=2, crosses=(CROSS,))
USER_SIZES = types.FeatureSpec(values=3, slots=1, missing=(1,))
CONTEXT_SIZES = types.FeatureSpec(values=2, slots=1, missing=(1,))  # in states 4 or 5
SPEC = dataclasses.replace(
    cases.SPEC,
    item_features=SIZES,
    user_features=USER_SIZES,
    context_features=CONTEXT_SIZES,
)
FEATURES = types.Features(
    np.random.default_rng(1).integers(0, 8, [SPEC.num_items + 1, 2]).astype(np.int32),
    np.zeros([SPEC.num_items + 1, 0], np.float32),
)
SEED = 5
LOG = cases.log()
LOG = LOG._replace(
    context_values=np.stack([LOG.user % 3 + 1, LOG.user % 2 + 4], axis=1).astype(np.int32)
)

pytestmark = pytest.mark.slow


def learner(name, spec=SPEC, features=FEATURES, log=LOG, world=None, **changes):
    config = cases.catalogue(name, "log", **changes).config
    vectors = registry.item_vectors(registry.get(name), config, log, spec)
    return config, runs.seeded(
        SEED,
        lambda: registry.get(name).make(config, spec, log, world, vectors, SEED, features),
    )


def observation(context_values, states=3):
    """The same history for users and contexts with these values."""
    return types.Observation(
        tf.ones([states, SPEC.history_length], tf.int32),
        tf.zeros([states, SPEC.history_length, len(SPEC.feedback)]),
        tf.zeros([states], tf.int32),
        tf.constant(context_values, tf.int32),
    )


def values(module):
    return {
        name: np.asarray(variable.numpy())
        for name, variable in checkpoint.named_variables(module).items()
    }


@pytest.fixture(scope="module", params=METHODS)
def advanced(request):
    config, made = learner(request.param)
    before = values(made.acting)
    made.advance()
    return request.param, config, made, before


def test_embeddings_of_values_learn(advanced):
    _, _, made, before = advanced
    after = values(made.acting)
    for kind in ("value_embedding", "context_embedding"):
        tables = [name for name in before if name.endswith(kind)]
        assert tables
        for name in tables:
            assert (before[name] != after[name]).any()
    for name in before:
        if name.endswith("feature_values"):
            np.testing.assert_array_equal(after[name], FEATURES.values)


def test_an_agent_keeps_the_features(advanced, tmp_path):
    name, config, made, _ = advanced
    items, users = (
        vocabulary.Ids(np.arange(count) + 100) for count in (SPEC.num_items, SPEC.num_users)
    )
    ids = vocabulary.Vocabulary(items, users)
    agent = registry.get(name).trained(config, SPEC, made, ids, {})
    agent.save(tmp_path / "agent")
    opened = registry.load(tmp_path / "agent")
    assert opened.spec == SPEC
    seen = observation([[1, 4], [2, 5], [2, 5]])._replace(
        history_item=tf.ones([3, SPEC.history_length], tf.int32) * [[1], [2], [0]]
    )
    blocked = np.zeros([3, SPEC.num_candidates], bool)
    lists, scores = opened.lists(seen, blocked, 4)
    expected, expected_scores = agent.lists(seen, blocked, 4)
    np.testing.assert_array_equal(lists, expected)
    np.testing.assert_array_equal(scores, expected_scores)
    embeddings = [
        part
        for part in opened.weights().submodules
        if isinstance(part, item_embedding.ItemEmbedding)
    ]
    assert embeddings
    for part in embeddings:
        np.testing.assert_array_equal(part.values, FEATURES.values)


@pytest.mark.parametrize("name", METHODS)
def test_ids_alone_are_as_without_features(name):
    without = learner(name, spec=cases.SPEC, features=None, log=cases.log())[1]
    switched_off = learner(name, use_features=False)[1]
    for made in (without, switched_off):
        made.advance()
    expected, found = values(without), values(switched_off)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_scores_depend_on_user_and_context(advanced):
    name, config, made, _ = advanced
    blocked = np.zeros([4, SPEC.num_candidates], bool)
    agent = registry.get(name).trained(config, SPEC, made, None, {})
    states = observation([[1, 4], [1, 4], [2, 4], [1, 5]], states=4)
    _, [first, same, other_user, other_context] = agent.lists(states, blocked, 4)
    np.testing.assert_array_equal(first, same)
    assert (first != other_user).any() and (first != other_context).any()


def test_an_observation_without_their_values_is_rejected(advanced):
    name, config, made, _ = advanced
    agent = registry.get(name).trained(config, SPEC, made, None, {})
    unknown = observation([[1, 4]] * 3)._replace(context_values=())
    with pytest.raises(ValueError, match=r"context_values of Observation is \(\), but"):
        agent.lists(unknown, np.zeros([3, SPEC.num_candidates], bool), 4)


@pytest.mark.parametrize("name", METHODS)
def test_play_stores_the_values_of_the_users_who_play(name):
    made = learner(name, world=cases.click_log.ParityWorld(), keep_log=False)[1]
    stored = {}
    for _ in range(2):  # a round on the log, and one of play
        made.advance()
        stored = {
            key: value for key, value in values(made).items() if key.endswith("context_values")
        }
    rows = np.unique(LOG.context_values, axis=0).tolist()
    assert stored
    for value in stored.values():
        assert all(row in rows for row in value[value.any(axis=1)].tolist())


@pytest.mark.parametrize("name", ["goalrec", "rainbow", "dyna_q"])
def test_a_resumed_run_with_features_ends_as_one_that_was_not_stopped(name, tmp_path):
    _, made = learner(name, world=cases.click_log.ParityWorld())
    for _ in range(2):  # a round on the log, and one of play
        made.advance()
    checkpoint.write(tmp_path / "middle", made, {})
    made.advance()
    _, resumed = learner(name, world=cases.click_log.ParityWorld())
    checkpoint.read(tmp_path / "middle", resumed)
    resumed.advance()
    expected, found = values(made), values(resumed)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
