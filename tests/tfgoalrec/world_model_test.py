import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfgoalrec import streams, world_model
from tfrec import types
from tfrec.nn import item_embedding

HEADS = ("bilinear", "mlp")
DIM, BATCH = 11, 7
CROSSES = (
    types.CrossSpec(slot=0, slots=1, first=1, size=3, width=8),
    types.CrossSpec(slot=1, slots=2, first=4, size=12, width=8),
)
CROSSED = dataclasses.replace(
    small.SPEC, item_features=types.FeatureSpec(values=15, slots=3, crosses=CROSSES)
)
FEATURES = types.Features(
    np.array(
        [[0, 0, 0], [1, 4, 5], [2, 4, 0], [1, 0, 0], [3, 15, 6], [0, 7, 8], [2, 15, 5]],
        np.int32,
    ),
    np.zeros([7, 0], np.float32),
)


@functools.cache
def made(head, spec=small.SPEC, **changes):
    """Returns a model with noise in its weights, so that items differ."""
    config = small.config(advantage=head, **changes)
    noise = np.random.default_rng(1)
    vectors = noise.normal(size=(7, 4)).astype(np.float32)
    tf_keras.utils.set_random_seed(0)
    model = world_model.WorldModel(config, spec, np.ones(DIM, int), vectors)
    item_embedding.set_features(model, FEATURES)
    for variable in model.trainable_variables:
        variable.assign_add(noise.normal(scale=0.3, size=variable.shape))
    return model


def encoded(model):
    goal = small.unit_goals(BATCH, DIM)
    return model.encode(small.observations(BATCH), goal), goal


@pytest.mark.parametrize("head", HEADS)
def test_shapes_of_value_and_advantage(head):
    model = made(head)
    code, goal = encoded(model)
    item = tf.constant(np.tile([2, 5, 1], (BATCH, 1)), tf.int32)
    assert model.value(code).shape == (BATCH, DIM)
    assert model.advantage(code, item).shape == (BATCH, 3, DIM)
    assert model.scores(code, goal).shape == (BATCH, 6)


@pytest.mark.parametrize("spec", [small.SPEC, CROSSED], ids=["plain", "crossed"])
@pytest.mark.parametrize("effect", [0.0, 2.0])
@pytest.mark.parametrize("head", HEADS)
def test_scores_are_goal_times_value_plus_advantage_of_each_item(head, effect, spec):
    model = made(head, spec, item_effect=effect)
    code, goal = encoded(model)
    scores = model.scores(code, goal).numpy()
    value = model.value(code).numpy()
    for item in range(1, 7):
        advantage = model.advantage(code, tf.fill([BATCH, 1], item)).numpy()[:, 0]
        by_hand = ((value + advantage) * goal.numpy()).sum(axis=1)
        np.testing.assert_allclose(scores[:, item - 1], by_hand, atol=1e-5)
    assert scores.std(axis=1).min() > 1e-3  # items differ, so that the test above can fail


def test_the_mlp_head_scores_chunks_as_one(monkeypatch):
    model = made("mlp")
    code, goal = encoded(model)
    whole = model.scores(code, goal).numpy()
    for chunk in (1, 4, 5, 6):  # 6 items: some chunks are cut off by the end
        monkeypatch.setattr(streams, "_CHUNK", chunk)
        np.testing.assert_allclose(model.scores(code, goal), whole, atol=1e-6)


def test_bilinear_ranking_is_an_inner_product_search():
    model = made("bilinear")
    code, goal = encoded(model)
    vectors = model.item_vectors().numpy()  # [N, D + 1]
    assert vectors.shape == (6, 4)
    np.testing.assert_array_equal(vectors[:, -1], 1.0)
    products = model.query(code, goal).numpy() @ vectors.T  # [B, N]
    every = tf.constant(np.tile(np.arange(1, 7), (BATCH, 1)), tf.int32)
    advantage = model.advantage(code, every).numpy()  # [B, N, M]
    np.testing.assert_allclose(products, np.einsum("bam,bm->ba", advantage, goal), atol=1e-5)
    scores = model.scores(code, goal).numpy()
    assert (products.argsort(axis=1) == scores.argsort(axis=1)).all()


def test_an_items_own_advantage_is_part_of_the_inner_product():
    model, plain = made("bilinear", item_effect=2.0), made("bilinear")
    code, goal = encoded(model)
    model.slope.assign(tf.linspace(0.0, 1.0, DIM))
    products = model.query(code, goal) @ tf.transpose(model.item_vectors())  # [B, N]
    scores = model.scores(code, goal)
    base = scores[:, :1] - products[:, :1]
    np.testing.assert_allclose(products + base, scores, atol=1e-5)
    # Other learning-rate factors only scale the per-item part.
    assert model.item_vectors().shape[1] == plain.item_vectors().shape[1] + DIM
    np.testing.assert_allclose(model.item_vectors()[:, 4:], 2.0 * model.item_effect[1:])


@pytest.mark.parametrize("head", HEADS)
def test_crosses_are_an_inner_product_and_linear_terms_of_the_advantage(head):
    model = made(head, CROSSED, item_effect=2.0)
    code, _ = encoded(model)
    vectors = model.item_vectors()
    width = model.config.item_vector + 1 + DIM
    assert vectors.shape == (6, width + 3 + 8)
    every = tf.repeat(vectors[None], BATCH, axis=0)
    without = tf.concat([every[..., :width], tf.zeros_like(every[..., width:])], axis=-1)
    terms = model.learned_advantage(code, every) - model.learned_advantage(code, without)
    crosses = model.crosses
    query = crosses.query(code.crosses, crosses.weights(code.joint))  # [B, M, C]
    expected = tf.einsum("bmc,ac->bam", query, vectors[:, width:])
    np.testing.assert_allclose(terms, expected, atol=1e-5)
    assert expected.numpy().std(axis=1).max() > 0.1
    items = tf.constant([[1, 4]])
    few = model.item_vectors(items)[0]
    np.testing.assert_allclose(few, tf.gather(vectors, [0, 3]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_crosses_change_nothing_before_training(head):
    scores = []
    for spec in (CROSSED, dataclasses.replace(CROSSED, item_features=types.FeatureSpec(15, 3))):
        tf_keras.utils.set_random_seed(0)
        model = world_model.WorldModel(
            small.config(advantage=head), spec, np.ones(DIM, int), np.zeros([7, 4])
        )
        item_embedding.set_features(model, FEATURES)
        code, goal = encoded(model)
        scores.append(model.scores(code, goal))
    np.testing.assert_allclose(*scores, atol=1e-6)


def test_items_told_apart_by_the_log_alone_stay_as_the_log_says():
    model = made("bilinear", item_input="log")
    before = model.item_input.numpy()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.item_vectors() ** 2)
    assert tape.gradient(loss, model.item_embedding) is None
    assert all(v is not model.item_input for v in model.trainable_variables)
    np.testing.assert_array_equal(model.item_input, before)


@pytest.mark.parametrize("head", HEADS)
def test_candidate_order_changes_nothing(head):
    model = made(head)
    code, _ = encoded(model)
    item = np.tile(np.arange(1, 7), (BATCH, 1))
    order = np.random.default_rng(0).permuted(np.tile(np.arange(6), (BATCH, 1)), axis=1)
    shuffled = np.take_along_axis(item, order, axis=1)
    straight = model.advantage(code, tf.constant(item, tf.int32)).numpy()
    mixed = model.advantage(code, tf.constant(shuffled, tf.int32)).numpy()
    np.testing.assert_allclose(
        mixed, np.take_along_axis(straight, order[..., None], axis=1), atol=1e-6
    )


@pytest.mark.parametrize("head", HEADS)
def test_other_rows_of_the_batch_change_nothing(head):
    model = made(head)
    code, goal = encoded(model)
    scores = model.scores(code, goal).numpy()
    observation = small.observations(BATCH)
    for row in (0, 3):
        alone = types.rows(observation, np.s_[row : row + 1])
        one = goal[row : row + 1]
        alone_scores = model.scores(model.encode(alone, one), one).numpy()[0]
        np.testing.assert_allclose(alone_scores, scores[row], atol=1e-5)


def test_the_goal_reaches_the_prediction_unless_it_is_switched_off():
    observation = small.observations(BATCH)
    one, other = small.unit_goals(BATCH, DIM, 1), small.unit_goals(BATCH, DIM, 2)
    model = made("bilinear")
    first, second = (model.value(model.encode(observation, g)).numpy() for g in (one, other))
    assert (first != second).any(axis=1).all()
    blind = made("bilinear", use_goal=False)
    np.testing.assert_array_equal(
        blind.encode(observation, one).joint, blind.encode(observation, other).joint
    )


def test_dropout_acts_in_training_only():
    model = made("bilinear", dropout=0.5)
    observation, goal = small.observations(BATCH), small.unit_goals(BATCH, DIM)
    still = model.encode(observation, goal).joint.numpy()
    np.testing.assert_array_equal(model.encode(observation, goal).joint, still)
    dropped = model.encode(observation, goal, dropout_seed=tf.constant([1, 2])).joint.numpy()
    state = small.config().state
    share = (dropped[:, :state][still[:, :state] != 0] == 0).mean()
    assert 0.2 < share < 0.8
    np.testing.assert_array_equal(
        dropped[:, state:], still[:, state:]
    )  # no dropout on the goal
