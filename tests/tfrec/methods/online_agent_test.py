"""Saved agents of methods that learn step by step."""

import numpy as np
import tensorflow as tf

from tests.tfgoalrec import small
from tfrec import types
from tfrec.environments import contract
from tfrec.methods import online_agent


class Lowest(tf.Module):
    """Returns the lowest item that is not blocked; reads the events of a history alone."""

    weights = ()

    def act(self, history_item, history_feedback, step, blocked):
        assert history_item.shape[0] == history_feedback.shape[0] == step.shape[0]
        return tf.argmin(tf.cast(blocked, tf.int32), axis=1, output_type=tf.int32) + 1


def test_features_of_users_are_left_out():
    history, columns = small.SPEC.history_length, len(small.SPEC.feedback)
    observation = types.Observation(
        tf.zeros([2, history], tf.int32),
        tf.zeros([2, history, columns]),
        tf.zeros([2], tf.int32),
        tf.ones([2, 3], tf.int32),
    )
    agent = online_agent.OnlineAgent("lowest", {}, small.SPEC, None, {}, Lowest())
    blocked = np.zeros([2, small.SPEC.num_candidates], bool)
    item, score = agent.lists(observation, blocked, 2)
    assert item.tolist() == [[1, 2], [1, 2]] and score.tolist() == [[2, 1], [2, 1]]
    timestep = contract.history_timestep(observation, tf.zeros([2], tf.int32))
    assert agent.policy()(timestep).numpy().tolist() == [[0], [0]]


def test_variables_are_in_the_order_in_which_they_are_read():
    variables = [tf.Variable(float(number)) for number in range(30)]
    order = np.random.default_rng(0).permutation(30)
    constant = tf.constant(2.0)

    @tf.function(autograph=False)
    def read():
        return tf.add_n([constant, *(variables[number] + 0.0 for number in order)])

    found = online_agent.variables_in_order(read.get_concrete_function())
    assert [int(variable) for variable in found] == order.tolist()
