"""The loop that plays: whose step is whose, what follows what, and resuming exactly."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments import contract
from tfrec.methods import online_learner
from tfrec.methods.online import PolicyStep
from tfrec.methods.online_learner import OnlineConfig, OnlineLearner
from tfrec.training import checkpoint, finite


class Count(NamedTuple):
    step: tf.Tensor  # taken in this session
    length: tf.Tensor  # of this session
    luck: tf.Tensor


class Counting(contract.Simulator):
    """Sessions of 1 to 4 steps; the observation says which step of how many this is.

    Afterwards it shows -99, as the state after a session's end has no meaning.
    """

    observation_size = 2
    slate_size = 0
    action_size = 1
    catalogue = None

    def reset(self, batch, seed):
        length = tf.random.stateless_uniform([batch], seed, 1, 5, tf.int32)
        return Count(tf.zeros_like(length), length, tf.zeros([batch, 0]))

    def observation(self, state):
        seen = tf.cast(tf.stack([state.step, state.length], axis=1), tf.float32)
        return tf.where((state.step >= state.length)[:, None], -99.0, seen)

    def candidates(self, state):
        return None

    def step(self, state, action, seed):
        step = state.step + 1
        ones = tf.ones_like(step, tf.float32)
        return contract.Outcome(
            state._replace(step=step),
            action[:, 0],
            ones,
            2.0 * ones,
            step >= state.length,
        )


class Listing(Counting):
    """Chooses one of three items, which are others in every step of a session."""

    slate_size = 1
    action_size = 2

    def candidates(self, state):
        item = tf.range(3)[None, :] + 10 * state.step[:, None]  # [B, 3]
        return tf.cast(tf.stack([item, item], axis=2), tf.float32)

    def step(self, state, action, seed):
        return super().step(state, tf.cast(action, tf.float32), seed)


class Remembering(tf.Module):
    """Does the same everywhere and keeps what it is told."""

    info_size = 1
    steps_before = sessions_before = 0
    checked = ("this", "that")

    def __init__(self, items=False, bad=-1):
        super().__init__()
        self.items, self.bad = items, bad
        self.updates = tf.Variable(0)
        self.progress = tf.Variable(0.0)
        self.told = []
        self.annealed = tf.Variable(0.0)

    def explore(self, timestep):
        batch = tf.shape(timestep.observation)[0]
        info = tf.random.stateless_uniform([batch, 1], timestep.seed)
        return PolicyStep(tf.fill([batch, 1], 1) if self.items else tf.ones([batch, 1]), info)

    def greedy(self, timestep):
        return self.explore(timestep).action

    def set_learning_rate(self, progress):
        self.annealed.assign(progress)

    def observe(self, rollout, progress):
        self.progress.assign(progress)

    def learn(self, updates):
        self.updates.assign_add(updates)
        return {"made": updates}, tf.constant(self.bad), {"rows": {"reward": tf.ones([3, 2])}}


def learner(simulator=None, method=None, seed=3, **sizes):
    sizes = {
        "sessions": 5,
        "rollout_steps": 7,
        "total_iterations": 10,
        "warm_up": 70,
        "updates": 4,
    } | sizes
    config = OnlineConfig(**sizes)
    return OnlineLearner(config, simulator or Counting(), method or Remembering(), seed)


def rollouts(learning, iterations):
    played = []
    for _ in range(iterations):
        numbers, *_, rollout = learning._iterate()
        played.append(rollout)
    columns = zip(*played, strict=True)
    return type(played[0])(*(None if c[0] is None else np.concatenate(c) for c in columns))


def test_sessions_follow_each_other_in_their_columns():
    played = rollouts(learner(), 3)
    step, length = played.observation[..., 0], played.observation[..., 1]
    assert played.user.shape == (21, 5)
    np.testing.assert_array_equal(played.done, step + 1 == length)
    for column in range(5):
        for t in range(20):
            ended = played.done[t, column]
            assert (played.user[t + 1, column] != played.user[t, column]) == ended
            assert step[t + 1, column] == (0 if ended else step[t, column] + 1)
    # Numbers are given once, without a gap.
    assert sorted(set(played.user.ravel())) == list(range(played.user.max() + 1))


def test_what_follows_is_the_same_users_or_nothing_new():
    played = rollouts(learner(), 3)
    done = played.done
    assert done.any() and (played.next_observation > -99).all()
    np.testing.assert_array_equal(played.next_observation[done], played.observation[done])
    going = played.next_observation[:-1][~done[:-1]]
    np.testing.assert_array_equal(going, played.observation[1:][~done[:-1]])
    assert played.candidates is None and played.next_candidates is None


def test_candidates_of_this_step_and_the_next():
    played = rollouts(learner(Listing(), Remembering(items=True)), 2)
    assert played.candidates.shape == (14, 5, 3, 2) and played.action.dtype == np.int32
    step = played.observation[..., 0]
    np.testing.assert_array_equal(played.candidates[..., 0, 0], 10 * step)
    following = np.where(played.done, 10 * step, 10 * (step + 1))
    np.testing.assert_array_equal(played.next_candidates[..., 0, 1], following)


def test_counts_and_when_learning_begins():
    learning = learner()
    rows = [learning.advance() for _ in range(3)]
    assert [row["steps"] for row in rows] == [35, 70, 105]
    assert [row["made"] for row in rows] == [0, 4, 4]  # from 70 steps on
    assert rows[0]["play/ctr"] == 0.5 and rows[0]["play/reward_per_step"] == 1.0
    assert int(learning.iteration) == 3 and learning.method.progress.numpy() == np.float32(0.3)
    assert learning.method.annealed.numpy() == np.float32(0.3)
    again = learner()
    ended = [rollouts(again, 1).done.sum() for _ in range(3)]
    np.testing.assert_array_equal([row["sessions"] for row in rows], np.cumsum(ended))


def test_sessions_before_the_first_unit_count():
    method = Remembering()
    method.sessions_before, method.steps_before = 100, 1000
    row = learner(method=method).advance()
    assert row["steps"] == 1035 and row["sessions"] >= 100
    assert row["made"] == 4


def test_a_test_plays_whole_sessions_and_always_the_same():
    learning = learner()
    evaluation = learning.evaluate(400)
    assert evaluation["ctr"] == 0.5 and evaluation["ctr_error"] == 0.0
    assert evaluation["reward"] == evaluation["steps"] == pytest.approx(2.5, abs=0.25)
    learning.advance()
    assert learning.evaluate(400) == evaluation == learner(seed=9).evaluate(400)
    anyone = online_learner.tested(Counting(), learning.method.greedy, 400)
    assert anyone == evaluation, "a control is tested on the same sessions"


def test_resumes_exactly(tmp_path):
    whole = learner()
    expected = rollouts(whole, 4)
    first = learner()
    rollouts(first, 2)
    checkpoint.write(tmp_path / "at2", first, {})
    second = learner()
    checkpoint.read(tmp_path / "at2", second)
    after = rollouts(second, 2)
    for ours, theirs in zip(after, expected, strict=True):
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs[14:])
    assert int(second.method.updates) == int(whole.method.updates)
    assert (rollouts(learner(seed=4), 1).info != expected.info[:7]).any()


def test_a_bad_tensor_is_named():
    with pytest.raises(finite.NonFiniteError, match="that is not finite") as raised:
        learner(method=Remembering(bad=1)).advance()
    assert raised.value.batch["rows.reward"].shape == (3, 2)


@pytest.mark.parametrize(
    "field", ["sessions", "rollout_steps", "total_iterations", "test_every"]
)
def test_sizes_are_checked(field):
    with pytest.raises(ValueError, match=field):
        OnlineConfig(**{field: 0})
