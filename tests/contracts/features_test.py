"""Every method that learns from a log reads declared features of the items."""

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
SIZES = types.FeatureSpec(values=7, slots=2)
SPEC = dataclasses.replace(cases.SPEC, item_features=SIZES)
FEATURES = types.Features(
    np.random.default_rng(1).integers(0, 8, [SPEC.num_items + 1, 2]).astype(np.int32),
    np.zeros([SPEC.num_items + 1, 0], np.float32),
)
SEED = 5

pytestmark = pytest.mark.slow


def learner(name, spec=SPEC, features=FEATURES, **changes):
    config = cases.catalogue(name, "log", **changes).config
    log = cases.log()
    vectors = registry.item_vectors(registry.get(name), config, log, spec)
    return config, runs.seeded(
        SEED,
        lambda: registry.get(name).make(config, spec, log, None, vectors, SEED, features),
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
    tables = [name for name in before if name.endswith("value_embedding")]
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
    observation = types.Observation(
        tf.ones([3, SPEC.history_length], tf.int32) * [[1], [2], [0]],
        tf.zeros([3, SPEC.history_length, len(SPEC.feedback)]),
        tf.zeros([3], tf.int32),
    )
    blocked = np.zeros([3, SPEC.num_candidates], bool)
    lists, scores = opened.lists(observation, blocked, 4)
    expected, expected_scores = agent.lists(observation, blocked, 4)
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
    without = learner(name, spec=cases.SPEC, features=None)[1]
    switched_off = learner(name, use_features=False)[1]
    for made in (without, switched_off):
        made.advance()
    expected, found = values(without), values(switched_off)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
