"""A Gymnasium environment as a simulator: known returns, seeds, ends and mistakes."""

import collections
import importlib
import logging
import sys

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("gymnasium", reason="the optional package gymnasium is not installed")

import gymnasium
from gymnasium.utils import env_checker

import tfrec.baselines  # noqa: F401  registers SAC
from tests.tfrec.environments.adapters import gym_envs  # noqa: F401  registers them
from tfrec.environments import contract, playing, registry
from tfrec.environments.adapters import gymnasium_package, gymnasium_simulator
from tfrec.errors import UserError
from tfrec.methods import online_run, presets

SEED = tf.constant([1, 2])


def make(name, **changes):
    return gymnasium_simulator.GymnasiumSimulator(f"{name}-v0", **changes)


def play(simulator, policy=None, sessions=6, seed=SEED, **changes):
    policy = policy or contract.random_policy(simulator)
    return tf.function(playing.play, autograph=False)(
        simulator, policy, sessions, seed, **changes
    )


def constant(action):
    def policy(timestep):
        return tf.repeat(tf.constant([action]), tf.shape(timestep.observation)[0], axis=0)

    return policy


@pytest.mark.parametrize("name", ["SumBox", "SumOne", "SumSlate", "Endless"])
def test_the_environments_of_these_tests_are_sound(name):
    env_checker.check_env(gymnasium.make(f"{name}-v0").unwrapped)


@pytest.mark.parametrize(
    ("name", "action", "paid", "slate", "width"),
    [
        # [-1, 1] is stretched to [0, 10]: 0 + 7.5.
        ("SumBox", [-1.0, 0.5], 7.5, 0, 2),
        ("SumOne", [3], 8.0, 1, 4),  # the first of its actions is 5
        ("SumSlate", [3, 1], 4.0, 2, 4),
    ],
)
def test_returns_are_the_environment_s(name, action, paid, slate, width):
    simulator = make(name)
    assert (simulator.slate_size, simulator.action_size) == (slate, width)
    assert simulator.observation_size == 6
    # The sessions that `play` begins with.
    state = simulator.reset(6, tf.random.experimental.stateless_fold_in(SEED, 0))
    seen = simulator.observation(state).numpy()  # [6, 3 one-hot + number, steps, sum]
    number = seen[:, 3]
    assert len(set(number)) > 1 and set(number) <= {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(seen[:, :3], np.eye(3)[number.astype(int)])
    np.testing.assert_array_equal(seen[:, 4:], np.zeros([6, 2]))
    outcome = simulator.step(state, tf.constant([action] * 6), SEED)
    np.testing.assert_allclose(outcome.reward, paid + number)
    np.testing.assert_array_equal(outcome.clicks, [1] * 6)
    np.testing.assert_array_equal(outcome.shown, [4] * 6)
    assert not outcome.done.numpy().any()
    seen = simulator.observation(outcome.state).numpy()
    np.testing.assert_allclose(seen[:, 3:], np.stack([number, [1] * 6, [paid] * 6], axis=1))
    played = play(simulator, constant(action))  # from their beginning
    np.testing.assert_allclose(played.reward, 3 * (paid + number))
    np.testing.assert_array_equal(played.steps, [3] * 6)


def test_items_are_given_by_one_hot_vectors():
    simulator = make("SumSlate")
    np.testing.assert_array_equal(simulator.catalogue, np.eye(4))
    candidates = simulator.candidates(simulator.reset(3, SEED))
    np.testing.assert_array_equal(candidates, [np.eye(4)] * 3)


def test_a_session_without_end_is_cut():
    assert set(play(make("Endless", gym_steps=7)).steps.numpy()) == {7}
    assert set(play(make("Limited", gym_steps=7)).steps.numpy()) == {4}  # its own limit


def test_clicks_are_none_and_shown_is_the_slate_where_nothing_is_said():
    played = play(make("Endless", gym_steps=5))
    assert set(played.clicks.numpy()) == {0.0} and set(played.shown.numpy()) == {5.0}


def test_the_same_seed_plays_the_same_sessions_and_environments_are_used_again():
    simulator = make("SumBox")
    one, other = play(simulator, at_once=4), play(simulator, seed=tf.constant([3, 4]))
    again = play(simulator, at_once=4)
    np.testing.assert_array_equal(again.reward, one.reward)
    np.testing.assert_array_equal(play(make("SumBox"), at_once=4).reward, one.reward)
    assert (other.reward.numpy() != one.reward.numpy()).any()
    assert not simulator._live and len(simulator._idle) == 6


def test_a_session_that_is_over_stays_so_and_others_are_left_alone():
    simulator = make("SumBox")
    state = simulator.reset(2, SEED)
    action = tf.zeros([2, 2])
    for _ in range(2):
        state = simulator.step(state, action, SEED).state
    mixed = contract.restarted(
        simulator, state, tf.constant([True, False]), tf.constant([5, 6])
    )
    outcome = simulator.step(mixed, action, SEED)
    np.testing.assert_array_equal(outcome.done, [False, True])
    np.testing.assert_array_equal(simulator.observation(outcome.state)[:, 4], [1, 0])
    after = simulator.step(outcome.state, action, SEED)
    np.testing.assert_array_equal(after.reward[1], 0)
    np.testing.assert_array_equal(after.done, [False, True])


def test_abandoned_sessions_do_not_pile_up():
    simulator = make("Endless")
    for number in range(20):
        simulator.observation(simulator.reset(3, tf.constant([number, 0])))
    assert len(simulator._live) + len(simulator._idle) <= 4 * 3 + 1


def test_sessions_that_are_stepped_without_a_look_keep_their_environments():
    simulator = make("SumBox")
    state, action = simulator.reset(9, SEED), tf.zeros([9, 2])
    done = []
    for _ in range(3):
        outcome = simulator.step(state, action, SEED)
        state = outcome.state
        done.append(outcome.done.numpy().tolist())
    assert done == [[False] * 9, [False] * 9, [True] * 9]


def test_sessions_of_another_process_begin_anew_with_one_warning(caplog):
    first = make("SumBox")
    state = first.step(first.reset(3, SEED), tf.zeros([3, 2]), SEED).state
    simulator = make("SumBox")  # it knows nothing of the sessions under way
    with caplog.at_level(logging.WARNING, logger="absl"):
        seen = simulator.observation(state).numpy()
        done = []
        for _ in range(3):
            outcome = simulator.step(state, tf.zeros([3, 2]), SEED)
            state = outcome.state
            done.append(outcome.done.numpy().all())
    np.testing.assert_array_equal(seen[:, 4], [0, 0, 0])
    assert done == [False, False, True]
    assert collections.Counter("begin anew" in r.message for r in caplog.records)[True] == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SumMixed", r"MultiDiscrete\(\[5 4\]\); expected k times the same number n of items"),
        ("SumCrowded", r"MultiDiscrete\(\[2 2 2\]\); expected k times .* k at most n"),
        ("SumUnbounded", "Box.*inf.*; expected finite bounds"),
        ("SumSwitches", r"MultiBinary\(3\); expected a Box of floats, Discrete or Multi"),
        ("FailingReset", "OSError: the table is closed .*gym_envs.py, line"),
        ("Nothing", "gym_id=Nothing-v0: .*expected the id of a registered environment"),
    ],
)
def test_mistakes(name, message):
    with pytest.raises(UserError, match=message):
        make(name)


def test_a_module_that_cannot_be_imported():
    with pytest.raises(UserError, match="gym_module=no_such: .*ModuleNotFoundError|cannot be"):
        make("SumBox", gym_module="no_such")
    config = registry.get("gymnasium").config
    with pytest.raises(ValueError, match="gym_id is empty"):
        config()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FailingRaises", "gym_id=FailingRaises-v0: ZeroDivisionError: no dealer .*line"),
        ("FailingShape", "observation of 4 numbers; expected 1, as in"),
    ],
)
def test_an_environment_that_goes_wrong_is_the_user_s_mistake(name, message):
    simulator = make(name)
    with pytest.raises(UserError, match=message), contract.failures(simulator):
        play(simulator)


def test_the_package_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(UserError, match="install it: pip install 'gymnasium"):
        importlib.reload(gymnasium_package)


@pytest.mark.slow
def test_sac_makes_two_updates_and_leaves_a_policy(tmp_path):
    place = "gymnasium"
    small = {"hidden": (4,), "batch": 8, "replay_size": 64}
    task = online_run.Task(
        environment=place,
        method="sac",
        seed=0,
        form=registry.get(place).config(gym_id="SumBox-v0"),
        play=presets.play_config_class(place)(
            sessions=4, rollout_steps=4, updates=1, warm_up=16, total_iterations=2,
            test_every=2, test_sessions=4,
        ),
        numbers=presets.config_class("sac", place)(**small),
        final_sessions=5,
        controls=True,
    )  # fmt: skip
    result = online_run.run(tmp_path / "run", task)
    assert result["steps"] == 32
    assert result["tests"]["port"]["steps"] == result["tests"]["random"]["steps"] == 3
    policy = tf.saved_model.load(str(tmp_path / "run" / "policy"))
    assert policy.act(tf.zeros([2, 6])).shape == [2, 2]
