"""A simulator as a Gymnasium vector environment: spaces, autoreset, masks and seeds."""

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("gymnasium", reason="the optional package gymnasium is not installed")

import gymnasium
from gymnasium.utils import env_checker

from tfrec.environments import contract
from tfrec.environments.adapters import gymnasium_vector_env
from tfrec.environments.ports import recsim


class Counting(contract.Simulator):
    """Items 0 to 3 pay 10 times their number; session n ends after n = 1, 2, ... steps.

    No item is shown twice: the last two columns of an observation hold 1 + the items shown.
    """

    observation_size = 4
    slate_size = 1
    action_size = 4
    catalogue = tf.eye(4)
    shown_columns = np.array([2, 3])

    def __init__(self):
        self.drawn = tf.Variable(0)

    def reset(self, batch, seed):
        last = self.drawn.assign_add(batch)
        number = last - batch + 1 + tf.range(batch)
        zeros = tf.zeros_like(number)
        return tf.stack([number, zeros, zeros, zeros], axis=1)

    def observation(self, state):
        return tf.cast(state, tf.float32)

    def candidates(self, state):
        return contract.for_each(self.catalogue, tf.shape(state)[0])

    def step(self, state, action, seed):
        item = action[:, 0]
        number, steps, *shown = tf.unstack(state, axis=1)
        shown = [tf.where(steps == place, item + 1, shown[place]) for place in range(2)]
        reward = 10.0 * tf.cast(item, tf.float32)
        after = tf.stack([number, steps + 1, *shown], axis=1)
        clicks = tf.cast(item > 0, tf.float32)
        done = steps + 1 >= number
        return contract.Outcome(after, reward, clicks, tf.ones_like(reward), done)


def test_autoreset_masks_and_rewards():
    envs = gymnasium_vector_env.SimulatorVectorEnv(Counting(), num_envs=2)
    assert envs.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP
    assert envs.single_action_space == gymnasium.spaces.MultiDiscrete([4])
    assert envs.action_space.shape == (2, 1)
    np.testing.assert_array_equal(envs.catalogue, np.eye(4))
    seen, info = envs.reset(seed=0)
    # The first sessions are drawn when the environments are made.
    np.testing.assert_array_equal(seen["user"], [[3, 0], [4, 0]])
    np.testing.assert_array_equal(seen["action_mask"], np.ones([2, 4]))
    np.testing.assert_array_equal(info["_clicks"], [False, False])
    seen, reward, terminated, truncated, info = envs.step(np.array([[0], [3]]))
    np.testing.assert_array_equal(seen["user"], [[3, 1], [4, 1]])
    np.testing.assert_array_equal(seen["action_mask"], [[0, 1, 1, 1], [1, 1, 1, 0]])
    np.testing.assert_array_equal(reward, [0, 30])
    np.testing.assert_array_equal(info["clicks"], [0, 1])
    np.testing.assert_array_equal(info["shown"], [1, 1])
    assert not terminated.any() and not truncated.any()
    envs.step(np.array([[1], [2]]))
    seen, _, terminated, *_ = envs.step(np.array([[2], [1]]))
    np.testing.assert_array_equal(terminated, [True, False])
    np.testing.assert_array_equal(seen["user"], [[3, 2], [4, 3]])  # row 0: the step before
    # Row 0 ignores its action, which its mask excludes, and begins session 5.
    seen, reward, terminated, _, info = envs.step(np.array([[0], [0]]))
    np.testing.assert_array_equal(seen["user"], [[5, 0], [4, 3]])
    np.testing.assert_array_equal(seen["action_mask"][0], [1, 1, 1, 1])
    np.testing.assert_array_equal(reward, [0, 0])
    np.testing.assert_array_equal(terminated, [False, True])
    np.testing.assert_array_equal(info["_clicks"], [False, True])


def test_an_item_that_was_shown_is_rejected():
    envs = gymnasium_vector_env.SimulatorVectorEnv(Counting(), num_envs=2)
    envs.reset()
    envs.step(np.array([[0], [3]]))
    with pytest.raises(ValueError, match=r"actions\[1, 0\] is 3, an item that was shown"):
        envs.step(np.array([[1], [3]]))


def test_a_session_is_truncated_with_its_own_observation():
    simulator = Counting()
    simulator.drawn.assign(10)
    envs = gymnasium_vector_env.SimulatorVectorEnv(simulator, num_envs=1, max_steps=2)
    envs.reset(seed=0)
    envs.step(np.array([[0]]))
    seen, _, terminated, truncated, _ = envs.step(np.array([[1]]))
    assert not terminated.any() and truncated.all()
    np.testing.assert_array_equal(seen["user"], [[12, 2]])
    seen, _, terminated, truncated, _ = envs.step(np.array([[1]]))
    assert not terminated.any() and not truncated.any()
    np.testing.assert_array_equal(seen["user"], [[13, 0]])


@pytest.fixture(scope="module")
def documents():
    config = recsim.InterestEvolutionConfig(candidates=5, slate=2)
    return gymnasium_vector_env.SimulatorVectorEnv(recsim.InterestEvolution(config), num_envs=3)


def _played(envs, seed):
    envs.action_space.seed(7)
    return [envs.reset(seed=seed), *(envs.step(envs.action_space.sample()) for _ in range(4))]


def test_spaces_and_seeds(documents):
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(documents)
    assert envs.single_action_space == gymnasium.spaces.MultiDiscrete([5, 5])
    one, same, other = (_played(documents, seed) for seed in (1, 1, 2))
    for seen, *_ in one:
        assert documents.observation_space.contains(seen)
        assert seen["candidates"].shape == (3, 5, 20) and seen["user"].shape == (3, 20)
    assert env_checker.data_equivalence(one, same, exact=True)
    assert not env_checker.data_equivalence(one, other)
    later, _ = documents.reset()  # without a seed the draws go on
    assert not env_checker.data_equivalence(later, other[0][0])
    envs.reset(seed=0)
    for _ in range(3):
        _, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    assert reward.dtype.kind == "f" and terminated.dtype == truncated.dtype == bool


class Continuous(Counting):
    """Takes two numbers and pays their sum; items may repeat."""

    observation_size = 4
    slate_size = 0
    action_size = 2
    catalogue = None
    shown_columns = None

    def candidates(self, state):
        return None

    def step(self, state, action, seed):
        reward = tf.reduce_sum(action, axis=1)
        done = tf.zeros_like(reward, tf.bool)
        return contract.Outcome(state, reward, reward, tf.ones_like(reward), done)


def test_continuous_actions():
    envs = gymnasium_vector_env.SimulatorVectorEnv(Continuous(), num_envs=2)
    assert envs.single_action_space == gymnasium.spaces.Box(-1.0, 1.0, (2,))
    seen, _ = envs.reset(seed=3)
    assert seen.shape == (2, 4) and envs.observation_space.contains(seen)
    _, reward, *_ = envs.step(np.array([[0.5, 0.25], [-1.0, 1.0]]))
    np.testing.assert_allclose(reward, [0.75, 0.0])
    with pytest.raises(ValueError, match="expected an element of Box"):
        envs.step(np.array([[0.5, 1.25], [-1.0, 1.0]]))


def test_mistakes(documents):
    fresh = gymnasium_vector_env.SimulatorVectorEnv(Continuous(), num_envs=1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        fresh.step(np.zeros([1, 2]))
    documents.reset()
    for actions in ([[0, 5], [0, 1], [0, 1]], [[0, 1]], [[0.0, 1.0]] * 3):
        with pytest.raises(ValueError, match="expected an element of Box"):
            documents.step(np.array(actions))
    with pytest.raises(ValueError, match="expected one whole number"):
        documents.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="options"):
        documents.reset(options={"reset_mask": np.ones([3], bool)})
