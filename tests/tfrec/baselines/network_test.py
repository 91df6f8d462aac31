"""Crosses of the history in the networks of the baselines."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfrec import types
from tfrec.baselines import click_ranker, network, rainbow_network
from tfrec.nn import item_embedding

CROSS = types.CrossSpec(slot=0, slots=2, first=1, size=5, width=8)
SIZES = {"embedding": 3, "units": 4, "state": 5, "hidden": 4}
FEATURES = types.Features(
    np.array([[0, 0], [1, 2], [3, 0], [1, 5], [0, 0], [4, 2], [3, 1]], np.int32),
    np.zeros([7, 0], np.float32),
)
SEEN = small.observations(9)


def made(kind, crosses=(CROSS,), spread=0.0):
    """A network; its trainable variables get noise of a spread."""
    spec = dataclasses.replace(
        small.SPEC, item_features=types.FeatureSpec(values=5, slots=2, crosses=crosses)
    )
    tf_keras.utils.set_random_seed(0)
    vectors = np.zeros([7, 3], np.float32)
    if kind == "halves":
        result = click_ranker.Halves(spec, vectors, **SIZES)
    elif kind == "plain":
        result = network.StateItemNetwork(spec, vectors, **SIZES, outputs=2)
    else:
        result = rainbow_network.RainbowNetwork(
            spec, vectors, SIZES, np.linspace(0, 4, 5),
            dueling=kind != "rainbow", tilted=kind == "tilted", noise=0.0, name=kind,
        )  # fmt: skip
    item_embedding.set_features(result, FEATURES)
    noise = np.random.default_rng(1)
    for variable in result.trainable_variables:
        variable.assign_add(noise.normal(scale=spread, size=variable.shape))
    return result


def of_each_item(module, state):
    """Outputs by look-ups of one item at a time, [B, A, K]."""
    items = [tf.fill([len(state)], item) for item in range(1, 7)]
    if isinstance(module, click_ranker.Halves):
        return np.stack([module.logit(state, item)[:, None] for item in items], axis=1)
    return np.stack([module.values(state, item) for item in items], axis=1)


def of_all(module, state):
    if isinstance(module, click_ranker.Halves):
        return module.all_logits(state).numpy()[..., None]
    return module.all_values(state).numpy()


KINDS = pytest.mark.parametrize("kind", ["plain", "halves", "rainbow", "dueling", "tilted"])


@KINDS
def test_one_item_and_all_items_have_the_same_outputs(kind):
    module = made(kind, spread=0.3)
    state = module.encode(SEEN).state
    np.testing.assert_allclose(of_all(module, state), of_each_item(module, state), atol=1e-5)


@KINDS
def test_crosses_add_their_terms(kind):
    module = made(kind, spread=0.3)
    state = module.encode(SEEN).state
    crosses, history = module.crosses, module.crosses.history(SEEN)
    vectors = crosses.vectors(tf.range(1, 7))
    weight = crosses.weights(state[:, : SIZES["state"]])
    terms = crosses.terms(history, weight, tf.repeat(vectors[None], 9, axis=0)).numpy()
    if kind in ("dueling", "tilted"):
        terms -= terms.mean(axis=1, keepdims=True)  # advantages against their mean
    if kind == "tilted":
        terms = terms * np.linspace(-3, 3, 5)
    with_terms = of_all(module, state)
    for variable in crosses.weight_net.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    np.testing.assert_allclose(with_terms - of_all(module, state), terms, atol=1e-4)
    assert np.abs(terms).max() > 0.1


@KINDS
def test_crosses_change_nothing_before_training(kind):
    crossed, plain = made(kind), made(kind, crosses=())
    assert plain.crosses is None
    outputs = [of_all(module, module.encode(SEEN).state) for module in (crossed, plain)]
    np.testing.assert_allclose(*outputs, atol=1e-6)
    shapes = [[v.shape for v in m.trainable_variables] for m in (crossed, plain)]
    assert len(shapes[0]) == len(shapes[1]) + 2  # a kernel and a bias


def test_scores_of_a_tilted_network_order_items_by_their_means():
    module = made("tilted", spread=0.3)
    state = module.encode(SEEN).state
    means = (tf.nn.softmax(module.all_values(state)) * module.support).numpy().sum(axis=-1)
    np.testing.assert_array_equal(
        means.argsort(axis=1), module.scores(state).numpy().argsort(axis=1)
    )
