import numpy as np
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec.environments import contract, player, users


def test_the_order_of_the_starts_is_kept_across_blocks(monkeypatch):
    monkeypatch.setattr(player, "AT_ONCE", 4)
    environment = users.UserEnvironment(scripted.ScriptedWorld(small.SPEC, repeats=False))
    runner = player.Player(environment, contract.random_policy(environment))
    starts = scripted.starts(10)  # blocks of 4, 4 and 2
    episodes = runner.play(starts, seed=5)
    assert all(isinstance(part, np.ndarray) for part in tf.nest.flatten(episodes))
    np.testing.assert_array_equal(episodes.user, starts.user)
    np.testing.assert_array_equal(episodes.length, np.minimum(starts.user, 5))
    np.testing.assert_array_equal(runner.play(starts, seed=5).item, episodes.item)
    assert (runner.play(starts, seed=6).item != episodes.item).any()
    # Each block has draws of its own: the first items of user 7 + 1 are not user 1's again.
    first = episodes.item[:8, 0]
    assert (first[:4] != first[4:]).any()


def test_a_goal_in_a_variable_may_change_between_plays():
    environment = users.UserEnvironment(scripted.ScriptedWorld(small.SPEC, repeats=True))
    expected = tf.Variable(2)
    runner = player.Player(
        environment, lambda timestep: tf.zeros_like(timestep.history.step)[:, None] + expected
    )
    starts = scripted.starts(3)
    assert set(runner.play(starts, seed=0).item[:, 0]) == {3}
    expected.assign(4)
    assert set(runner.play(starts, seed=0).item[:, 0]) == {5}
