"""Exact empowerment of channels with known capacity, and learned estimates of it."""

import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfimrl import empowerment, losses
from tfrec.nn import networks

LOG_2 = math.log(2)


def binary_entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_capacity_of_channels_known_in_closed_form():
    assert empowerment.capacity(np.eye(4))[0] == pytest.approx(math.log(4))
    flips = [[0.9, 0.1], [0.1, 0.9]]  # binary symmetric: ln 2 - H(.1)
    assert empowerment.capacity(flips)[0] == pytest.approx(LOG_2 - binary_entropy(0.1))
    erased = [[0.7, 0.3, 0], [0, 0.3, 0.7]]  # binary erasure: .7 ln 2
    assert empowerment.capacity(erased)[0] == pytest.approx(0.7 * LOG_2)
    z = [[1, 0], [0.5, 0.5]]  # Z channel: ln(1 + .5 * .5), the second input 2/5 of the time
    capacity, source = empowerment.capacity(z)
    assert capacity == pytest.approx(math.log(1.25))
    np.testing.assert_allclose(source, [0.6, 0.4], atol=1e-3)


def test_a_channel_without_information_has_no_capacity():
    deaf = np.tile([0.2, 0.5, 0.3], [4, 1])
    assert empowerment.capacity(deaf)[0] == pytest.approx(0, abs=1e-12)
    assert empowerment.mutual_information(deaf, np.full(4, 0.25)) == pytest.approx(0, abs=1e-12)


def test_capacity_is_the_maximum_over_sources():
    draw = np.random.default_rng(0)
    channel = draw.dirichlet(np.ones(5), size=4)
    capacity, best = empowerment.capacity(channel)
    assert empowerment.mutual_information(channel, best) == pytest.approx(capacity, abs=1e-6)
    for source in draw.dirichlet(np.ones(4), size=50):
        assert empowerment.mutual_information(channel, source) <= capacity + 1e-9


def test_rows_that_are_not_probabilities_are_rejected():
    with pytest.raises(ValueError, match="adding up to 1"):
        empowerment.capacity([[0.5, 0.2], [0.5, 0.5]])


def learned(channels, steps=600):
    """g of eq 12 after eqs 13 and 14 (Q = 0, beta = 1), for channels [S, A, S'].

    Tables replace the networks, and all (s, a, s') are enumerated with their probabilities,
    so that the test is of the objective, not of an approximator.
    """
    channels = tf.constant(channels, tf.float32)
    states, actions, _ = channels.shape
    start = tf.random.stateless_normal([states, actions], [0, 1])
    policy = tf.Variable(start)
    inverse = tf.Variable(tf.zeros([states, channels.shape[2], actions]))
    optimizer = tf_keras.optimizers.Adam(0.05)

    @tf.function
    def update():
        with tf.GradientTape(persistent=True) as tape:
            log_policy = tf.nn.log_softmax(policy)[:, :, None]  # [S, A, 1]
            log_inverse = tf.transpose(tf.nn.log_softmax(inverse), [0, 2, 1])  # [S, A, S']
            share = tf.exp(log_policy) * channels  # P(a, s'|s)
            weight = share * float(np.prod(channels.shape[1:]))
            g = losses.gain(log_inverse, log_policy, 1.0, 1.0)
            policy_loss = losses.policy_loss(0.0, g, weight)
            inverse_loss = losses.inverse_loss(log_inverse, tf.stop_gradient(weight))
        optimizer.apply_gradients([
            (tape.gradient(policy_loss, policy), policy),
            (tape.gradient(inverse_loss, inverse), inverse),
        ])  # fmt: skip
        return tf.reduce_sum(share * g, axis=[1, 2])  # [S]

    for _ in range(steps):
        objective = update()
    return objective.numpy()


def test_the_losses_learn_the_value_of_blahut_arimoto():
    """A 3 x 3 grid with noisy moves, random channels, and one without information."""
    cells = list(itertools.product(range(3), repeat=2))
    grid = np.zeros((9, 4, 9))
    for (i, (row, column)), (a, (down, right)) in itertools.product(
        enumerate(cells), enumerate([(1, 0), (-1, 0), (0, 1), (0, -1)])
    ):
        target = (min(max(row + down, 0), 2), min(max(column + right, 0), 2))
        grid[i, a, cells.index(target)] += 0.9
        grid[i, a, i] += 0.1
    noisy = np.random.default_rng(1).dirichlet(np.full(9, 0.5), size=(3, 4))
    deaf = np.broadcast_to(noisy[:1, :1], [1, 4, 9])
    channels = np.concatenate([grid, noisy, deaf])
    exact = np.array([empowerment.capacity(channel)[0] for channel in channels])
    learned_values = learned(channels)
    np.testing.assert_allclose(learned_values, exact, atol=0.01)
    assert exact[4] > exact[0] > 0.5  # the middle of the grid against its corner
    assert learned_values[-1] == pytest.approx(0, abs=0.01)


def trained_inverse(world, action_size, observation_size, std, steps=900, rows=256):
    """p_xi by eq 14 on actions tanh(N(0, std^2)) in the world's states.

    Args:
      world: (number of rows, u, draw) -> s, s', numpy.

    Returns:
      A function of a batch of the world: g of its rows, numpy [B].
    """
    inverse = empowerment.InverseDynamics(
        observation_size, action_size, (32, 32), itertools.count(1)
    )
    optimizer = tf_keras.optimizers.Adam(5e-3)
    optimizer.build(inverse.trainable_variables)
    draw = np.random.default_rng(0)

    @tf.function
    def update(before, after, u):
        with tf.GradientTape() as tape:
            loss = losses.inverse_loss(inverse.log_prob(before, after, u))
        gradients = tape.gradient(loss, inverse.trainable_variables)
        optimizer.apply_gradients(zip(gradients, inverse.trainable_variables, strict=True))

    for _ in range(steps):
        u = draw.normal(0, std, [rows, action_size]).astype(np.float32)
        update(*world(u, draw), u)

    def g(before, after, u):
        zero, log_std = tf.zeros_like(u), tf.fill(u.shape, math.log(std))
        log_policy = networks.squashed_log_prob(zero, log_std, u)
        log_inverse = inverse.log_prob(before, after, u)
        return losses.gain(log_inverse, log_policy, 1.0, 1.0).numpy()

    return g


CELLS = np.eye(9, dtype=np.float32)


def quadrant_world(u, draw, state=None, deaf=False):
    """A 3 x 3 grid; the signs of two action axes move it up or down and left or right."""
    place = draw.integers(0, 3, u.shape) if state is None else np.tile(state, [len(u), 1])
    move = draw.normal(size=u.shape) if deaf else u
    after = np.clip(place + np.where(move > 0, 1, -1), 0, 2)
    return CELLS[place @ [3, 1]], CELLS[after @ [3, 1]]


def test_estimate_on_a_grid_of_cells_against_the_exact_value():
    """Up and down lead to different cells everywhere, also at a wall, where one of them does
    not move: ln 2 for each axis. The posterior is half a Gaussian, so a Gaussian p_xi misses
    .187 nats of each ln 2, KL(half-normal || its Gaussian fit).
    """
    g = trained_inverse(quadrant_world, 2, 9, std=0.8)
    draw = np.random.default_rng(5)
    u = draw.normal(0, 0.8, [4000, 2]).astype(np.float32)
    channel = np.zeros((4, 9))
    for i, (down, right) in enumerate(itertools.product((-1, 1), repeat=2)):
        channel[i] = quadrant_world(np.array([[down, right]]), draw, state=(1, 1))[1][0]
    exact, _ = empowerment.capacity(channel)
    assert exact == pytest.approx(2 * LOG_2)
    estimate = g(*quadrant_world(u, draw, state=(1, 1)), u).mean()
    assert estimate < exact
    assert estimate == pytest.approx(exact - 2 * 0.187, abs=0.08)


def test_estimate_is_0_where_actions_have_no_effect():
    deaf = functools.partial(quadrant_world, deaf=True)
    g = trained_inverse(deaf, 2, 9, std=0.8)
    draw = np.random.default_rng(6)
    u = draw.normal(0, 0.8, [4000, 2]).astype(np.float32)
    assert g(*deaf(u, draw), u).mean() == pytest.approx(0, abs=0.03)


def test_estimate_is_exact_where_the_posterior_is_gaussian():
    """s' = u + noise of half its size: I = ln(1 + 1 / .25) / 2."""

    def world(u, draw):
        noise = draw.normal(0, 0.25, u.shape)
        return np.zeros_like(u), (u + noise).astype(np.float32)

    g = trained_inverse(world, 1, 1, std=0.5)
    draw = np.random.default_rng(7)
    u = draw.normal(0, 0.5, [8000, 1]).astype(np.float32)
    assert g(*world(u, draw), u).mean() == pytest.approx(math.log(5) / 2, abs=0.04)


def test_squashed_density_is_a_density():
    """It sums to 1 on a grid over (-1, 1), and is correct at u = 0."""
    action = np.linspace(-1, 1, 20001)[1:-1, None].astype(np.float32)
    u = networks.unsquashed(tf.constant(action))
    mean, log_std = tf.fill(u.shape, 0.4), tf.fill(u.shape, -0.5)
    density = np.exp(networks.squashed_log_prob(mean, log_std, u))
    assert density.sum() * 1e-4 == pytest.approx(1, abs=1e-3)
    # By hand at u = 0: N(0; .4, e^-.5), slope 1.
    expected = -0.5 * (0.4 / math.exp(-0.5)) ** 2 + 0.5 - 0.5 * math.log(2 * math.pi)
    middle = networks.squashed_log_prob(mean[:1], log_std[:1], tf.zeros([1, 1]))
    assert float(middle[0]) == pytest.approx(expected, rel=1e-5)


def test_actions_on_the_bounds_are_finite():
    u = networks.unsquashed(tf.constant([[1.0, -1.0]]))
    log_prob = networks.squashed_log_prob(tf.zeros([1, 2]), tf.zeros([1, 2]), u)
    assert np.isfinite(log_prob).all()


def test_an_unknown_next_state_gets_the_mean_of_the_others():
    log_inverse = empowerment.replay_log_inverse(
        tf.constant([-1.0, -3.0, 50.0]), tf.constant([True, True, False])
    )
    np.testing.assert_allclose(log_inverse, [-1, -3, -2])
    none = empowerment.replay_log_inverse(tf.constant([5.0]), tf.constant([False]))
    np.testing.assert_allclose(none, [0])


def test_only_the_forward_reading_has_a_gradient():
    inverse = empowerment.InverseDynamics(3, 2, (8,), itertools.count(1))
    forward = empowerment.ForwardModel(3, 2, (8,), itertools.count(10))
    observation, u = tf.ones([4, 3]), tf.fill([4, 2], 0.3)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(u)
        fresh = empowerment.forward_log_inverse(
            inverse, forward, observation, u, tf.zeros([4, 3])
        )
        stored = inverse.log_prob(observation, observation, u)
        stored = empowerment.replay_log_inverse(stored, tf.ones([4], tf.bool))
    assert np.abs(tape.gradient(fresh, u)).min() > 0
    assert tape.gradient(stored, u) is None
