"""REINFORCE with a baseline, action dropout, and both forms of the actor, by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfrec.baselines.paths import environment, policy


def test_the_loss_by_hand():
    log_prob = tf.constant([[-1.0, -2.0], [-0.5, -0.1]])
    value = tf.constant([[0.2, 0.4], [0.0, 0.1]])
    entropy = tf.constant([[1.0, 0.5], [0.2, 0.3]])
    with tf.GradientTape() as tape:
        tape.watch([log_prob, value])
        actor, critic, total = policy.policy_loss(
            log_prob, entropy, value, tf.constant([1.0, 0.0]), 0.5, 0.1
        )
    # Returns of the first path are .5 and 1, of the second 0: advantages .3, .6, 0, -.1.
    assert float(actor) == pytest.approx(-(-1 * 0.3 - 2 * 0.6 + 0.1 * 0.1) / 2)
    assert float(critic) == pytest.approx((0.09 + 0.36 + 0 + 0.01) / 2)
    assert float(total) == pytest.approx(float(actor) + float(critic) - 0.1 * (1.5 + 0.5) / 2)
    # The actor's loss does not move the critic.
    by_prob, by_value = tape.gradient(total, [log_prob, value])
    assert by_prob.numpy().ravel() == pytest.approx([-0.15, -0.3, 0.0, 0.05])
    assert by_value.numpy().ravel() == pytest.approx([-0.3, -0.6, 0.0, 0.1])


def test_entropy_of_a_softmax():
    log_share = tf.math.log(tf.constant([[0.5, 0.5], [1.0 - 1e-7, 1e-7]]))
    assert policy.entropy_of(log_share).numpy() == pytest.approx([np.log(2), 0.0], abs=1e-5)


def test_action_dropout_keeps_staying_and_no_missing_action():
    real = tf.constant(np.arange(40) < 30)[None] & tf.ones([500, 1], tf.bool)
    retained = policy.retained_actions(real, 0.25, tf.constant([1, 2])).numpy()
    assert retained[:, 0].all() and not retained[:, 30:].any()
    assert retained[:, 1:30].mean() == pytest.approx(0.75, abs=0.02)
    assert policy.retained_actions(real, 0.0, tf.constant([1, 2])).numpy()[:, :30].all()


def make(actor):
    return policy.Policy(6, 3, 5, 4, (8, 7), 0.5, actor, 2, itertools.count(1))


ACTIONS = environment.Actions(
    tf.constant([[0, 1, 4], [0, 2, 0]]),
    tf.constant([[3, 1, 2], [1, 2, 0]]),
    tf.constant([[0.5, 2.0, -1.0], [0.1, 0.2, environment.GONE]]),
)


def test_logits_of_edges_by_hand():
    net, rng = make("edges"), np.random.default_rng(0)
    node, hidden = rng.normal(size=[4, 3]).astype("f"), rng.normal(size=[2, 7]).astype("f")
    key = net.keys(tf.gather(node, ACTIONS.node))
    result = net.logits(tf.constant(hidden), ACTIONS, key).numpy()
    out = hidden @ net.head.kernel.numpy() + net.head.bias.numpy()
    keys = node @ net.node_key.kernel.numpy()
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 1)):
        k = keys[ACTIONS.node[row, column]]
        k = k + net.relation_key.numpy()[ACTIONS.relation[row, column]]
        expected = out[row, :2] @ k + out[row, 2] * ACTIONS.score.numpy()[row, column]
        assert result[row, column] == pytest.approx(expected, abs=1e-5)
    assert result[1, 2] == environment.GONE


def test_logits_of_positions_read_no_edge():
    net = make("positions")
    hidden = tf.ones([2, 7])
    key = net.keys(tf.zeros([2, 3, 3]))
    other = ACTIONS._replace(node=ACTIONS.node * 0, relation=ACTIONS.relation * 0)
    one, two = (net.logits(hidden, actions, key).numpy() for actions in (ACTIONS, other))
    assert np.array_equal(one, two) and one.shape == (2, 3)
    assert one[1, 2] == environment.GONE and len(set(one[0])) == 3


def test_dropout_is_of_training_alone():
    net, state = make("edges"), tf.ones([1, 6])
    assert np.array_equal(net.hidden(state, None), net.hidden(state, None))
    assert not np.array_equal(net.hidden(state, tf.constant([1, 2])), net.hidden(state, None))
