"""What GoalRec-off learns from the log of a stochastic myopic policy, and what it must not.

The log (tests/learning/truth.py) comes from users whose true responses are known: bait wins
the next click and drives them away, calm items keep them. One model is trained on the log
as it is. A second one, the control, sees the same states and items with the measurements
of other steps: whatever it does cannot come from what items cause.
"""

import math

import numpy as np
import pytest

from tests.learning import truth
from tfgoalrec import acting, leak
from tfrec import types
from tfrec.data import synthetic
from tfrec.environments import player, policies, user_models, users

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return truth.prepare(tmp_path_factory.mktemp("truth") / "data")


@pytest.fixture(scope="module")
def learned(data):
    learner = truth.learner(data, data.episodes("train"))
    truth.train(learner)
    return learner.agent


@pytest.fixture(scope="module")
def bootstrapped(data):
    learner = truth.learner(data, data.episodes("train"), bootstrap_steps=4)
    truth.train(learner)
    return learner.agent


@pytest.fixture(scope="module")
def shuffled(data):
    log = data.episodes("train")
    learner, draw = truth.learner(data, log), np.random.default_rng(0)
    # The sessions that calibrate tell what items cause, too.
    for replay in (learner.replay, learner.held_out):
        label = replay.label.numpy()
        live = np.arange(label.shape[1]) < replay.length.numpy()[:, None]  # [B, T]
        label[live] = draw.permutation(label[live])
        replay.label.assign(label)
    truth.train(learner)
    return learner.agent


def starts(data):
    """Test users, each session three times over."""
    found = user_models.starts_of(data.episodes("test"))
    return types.rows(found, np.repeat(np.arange(len(found.user)), 3))


def play(data, agent):
    policy = acting.greedy(agent.averaged, agent.named_goals["click"])
    environment = users.UserEnvironment(truth.world(data))
    return player.Player(environment, policy).play(starts(data), seed=3)


def lead(one, other):
    """Difference of the mean clicks, in standard errors."""
    variance = one.var() / len(one) + other.var() / len(other)
    return (one.mean() - other.mean()) / math.sqrt(variance)


def test_it_beats_the_policy_that_wrote_the_log(data, learned):
    episodes = play(data, learned)
    logged = truth.clicks(data.episodes("test"))
    assert lead(truth.clicks(episodes), logged) > 5
    # Not by luck with clicks: it found what keeps users, which its teacher did not prefer.
    kind = truth.world(data).truth.kind
    shown = kind[episodes.item[episodes.item > 0] - 1]
    assert (shown == synthetic.CALM).mean() > 0.8
    logged_items = data.episodes("test").item
    assert (kind[logged_items[logged_items > 0] - 1] == synthetic.CALM).mean() < 0.5


@pytest.mark.parametrize("trained", ["learned", "bootstrapped"])
def test_it_beats_even_the_best_myopic_policy(request, data, trained):
    agent = request.getfixturevalue(trained)
    world = truth.world(data)
    policy = policies.greedy(world, np.array([1.0, 0.0]))
    myopic = player.Player(users.UserEnvironment(world), policy)
    earned = truth.clicks(myopic.play(starts(data), 3))
    assert lead(truth.clicks(play(data, agent)), earned) > 5


def test_measurements_of_other_steps_teach_nothing(data, shuffled):
    logged = truth.clicks(data.episodes("test"))
    assert lead(truth.clicks(play(data, shuffled)), logged) < 2


def test_advantages_are_centred_on_held_out_steps(data, learned):
    held = leak.held_out(data.episodes("test"), learned.measurements, count=5000, seed=1)
    share = learned.config.hindsight_share
    goal = leak.mixed_goals(held, learned.measurements, share, seed=2)
    found = leak.predict(learned.averaged, held, goal)
    bias = np.abs(found.advantage.mean(axis=0)) / held.measurement.std(axis=0)
    names = learned.measurements.columns
    assert {n: b for n, b in zip(names, bias, strict=True) if b >= 0.05} == {}
    # Centred because V took the mean, and not because A is nothing.
    size = dict(zip(names, found.advantage.std(axis=0), strict=True))
    assert size["click@0"] > 0.15 and size["exit@0"] > 0.02
