import numpy as np
import tensorflow as tf
import tf_keras

from tests.tfgoalrec import small
from tfgoalrec import actor as actors
from tfrec.environments import contract


def box(size, bound):
    return -bound * tf.ones([size]), bound * tf.ones([size])


def train(actor, measure, joint, goal, steps, rate=0.05):
    optimizer = tf_keras.optimizers.Adam(rate)
    optimizer.build(actor.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = actors.loss(measure, actor(joint), goal)
        gradients = tape.gradient(loss, actor.trainable_variables)
        optimizer.apply_gradients(zip(gradients, actor.trainable_variables, strict=True))

    for _ in range(steps):
        step()


def test_gradient_is_the_product_of_eq_6():
    random = np.random.default_rng(0)
    joint = random.normal(size=(3, 4)).astype(np.float32)
    slope = random.normal(size=(3, 5, 2)).astype(np.float32)  # M(s, a) = slope_s a, [B, M, D]
    goal = random.normal(size=(3, 5)).astype(np.float32)
    actor = actors.Actor(4, tf.constant([-1.0, 0.0]), tf.constant([1.0, 4.0]), hidden=())
    kernel, bias = actor.trainable_variables
    with tf.GradientTape() as tape:
        loss = actors.loss(
            lambda a: tf.linalg.matvec(slope, a), actor(tf.constant(joint)), tf.constant(goal)
        )
    gradients = tape.gradient(loss, [kernel, bias])
    squashed = np.tanh(joint @ kernel.numpy() + bias.numpy())  # [B, D]
    by_action = np.einsum("bmd,bm->bd", slope, goal)  # grad_a M . grad_m U, [B, D]
    inner = by_action * (1.0 - squashed**2) * [1.0, 2.0]  # half the box's sides
    np.testing.assert_allclose(
        gradients[0], -np.einsum("bi,bd->id", joint, inner) / 3, rtol=1e-4
    )
    np.testing.assert_allclose(gradients[1], -inner.mean(axis=0), rtol=1e-4)


def test_actor_finds_the_peak_of_a_quadratic_for_each_goal():
    # M_j(s, a) = -(a_j - s_j)^2 peaks at a = s under any positive weights. A third
    # measurement, -(a_0 + s_0)^2, pulls a_0 to the weighted mean of s_0 and -s_0.
    state = np.array([[1.0, -0.5], [-1.5, 0.5]] * 2, np.float32)
    goal = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 3, 3]], np.float32)

    def measure(action):
        at_state = -tf.math.squared_difference(action, state)
        at_opposite = -tf.square(action[:, :1] + state[:, :1])
        return tf.concat([at_state, at_opposite], axis=-1)

    actor = actors.Actor(5, *box(2, 3.0), hidden=(64,))
    joint = tf.concat([state, goal], axis=-1)
    for rate in (0.02, 0.005, 0.001):  # falling, because one network has to fit all rows
        train(actor, measure, joint, tf.constant(goal), steps=2000, rate=rate)
    peak = state.copy()
    peak[2, 0] = 0.0  # equal pulls to 1 and -1
    peak[3, 0] = (1 * -1.5 + 3 * 1.5) / 4
    np.testing.assert_allclose(actor(joint), peak, atol=0.05)


def test_a_linear_measurement_takes_the_actor_to_the_corner_of_the_box():
    actor = actors.Actor(1, tf.constant([-1.0, -2.0]), tf.constant([3.0, 5.0]), hidden=())
    goal = tf.constant([[1.0, -1.0]])
    train(actor, lambda action: action, tf.ones([1, 1]), goal, steps=300)
    np.testing.assert_allclose(actor(tf.ones([1, 1])), [[3.0, -2.0]], atol=0.05)


def test_improve_beats_every_item_and_leaves_the_world_model_alone():
    model = small.agent(advantage="bilinear").averaged
    observation, goal = small.observations(4), small.unit_goals(4, model.dim)
    code = model.encode(observation, goal)
    actor = actors.for_model(model, hidden=(32,))
    optimizer = tf_keras.optimizers.Adam(0.02)
    optimizer.build(actor.trainable_variables)
    before = [variable.numpy() for variable in model.variables]
    step = tf.function(lambda: actors.improve(actor, optimizer, model, code, goal))
    losses = [float(step()) for _ in range(400)]
    items = tf.tile(tf.range(1, 7)[None], [4, 1])
    value = tf.einsum("bm,bam->ba", goal, model.advantage(code, items))
    best = tf.reduce_mean(tf.reduce_max(value, axis=1))
    assert losses[0] > -best  # the untrained actor does not
    assert losses[-1] < -best + 0.02 * abs(best)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_closeness_ranks_by_distance():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(9, 3)).astype(np.float32)
    action = random.normal(size=(4, 3)).astype(np.float32)
    distance = np.linalg.norm(vectors[None] - action[:, None], axis=-1)
    scores = actors.closeness(tf.constant(vectors), tf.constant(action)).numpy()
    np.testing.assert_array_equal(np.argsort(-scores, axis=1), np.argsort(distance, axis=1))


def test_policy_shows_the_nearest_item_that_is_not_blocked():
    model = small.agent().averaged
    actor = actors.for_model(model)
    goal = small.unit_goals(1, model.dim)[0]
    observation = small.observations(3)
    goals = tf.tile(goal[None], [3, 1])
    action = actor(model.encode(observation, goals).joint).numpy()
    vectors = model.item_vectors().numpy()[:, :-1]
    distance = np.linalg.norm(vectors[None] - action[:, None], axis=-1)  # [3, 6]
    order = np.argsort(distance, axis=1)
    blocked = np.zeros((3, 6), bool)
    blocked[0, order[0, 0]] = True
    timestep = contract.history_timestep(observation, tf.constant([0, 0]), tf.constant(blocked))
    action = actors.policy(model, actor, goal)(timestep).numpy()
    np.testing.assert_array_equal(action[:, 0], [order[0, 1], order[1, 0], order[2, 0]])
