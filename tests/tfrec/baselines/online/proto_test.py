"""SAC, TD3 and DDPG: the toy is solved, targets by hand, bad numbers move nothing."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.online import toy
from tfrec.baselines.online import ddpg, sac, td3
from tfrec.environments import contract
from tfrec.training import checkpoint

EVERY = [(sac, sac.Sac), (td3, td3.Td3), (ddpg, ddpg.Ddpg)]
CONFIGS = {sac: sac.SacConfig, td3: td3.OnlineTd3Config, ddpg: ddpg.DdpgConfig}
SMALL = {
    "hidden": (32,), "batch": 64, "replay_size": 5000, "learning_rate": 3e-3, "tau": 0.05,
    "random_steps": 600, "discount": 0.5,
}  # fmt: skip


def made(module, method, simulator, **changes):
    if module is sac:
        changes = {"initial_temperature": 0.1, **changes}
    return method(CONFIGS[module](**{**SMALL, **changes}), simulator, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "method", "kind", "least"),
    [
        (sac, sac.Sac, "continuous", 0.9),
        (sac, sac.Sac, "catalogue", 0.9),
        (td3, td3.Td3, "continuous", 0.9),
        # An actor without a spread stops at corners of the box, where products are equal.
        (td3, td3.Td3, "catalogue", 0.45),
        (ddpg, ddpg.Ddpg, "continuous", 0.9),
    ],
)
def test_it_finds_what_the_user_wants(module, method, kind, least):
    simulator = toy.Toy(kind)
    random = toy.earned(simulator, contract.random_policy(simulator))
    learner = made(module, method, simulator)
    toy.trained(simulator, learner, rounds=40, updates=10)
    assert random < 0.3
    assert toy.earned(simulator, learner.greedy) > least


@pytest.mark.parametrize(("module", "method"), EVERY)
def test_bad_numbers_move_no_weight(module, method):
    simulator = toy.Toy("changing", slate=2)
    learner = made(module, method, simulator)
    rollout = toy.played(simulator, learner, tf.constant([0, 1]))
    assert rollout.info.shape == (6, 32, 4)
    reward = rollout.reward * np.nan
    learner.observe(rollout._replace(reward=reward), tf.constant(0.0))
    moving = [v for n, v in checkpoint.named_variables(learner).items() if "generator" not in n]
    before = [v.numpy() for v in moving]
    _, bad, _ = learner.learn(tf.constant(2))
    assert learner.checked[int(bad)] == "critic loss"
    for variable, value in zip(moving, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_nothing_is_learned_from_no_updates():
    learner = made(sac, sac.Sac, toy.Toy("continuous"))
    before = [v.numpy() for v in learner.critics[0].variables]
    report, bad, _ = learner.learn(tf.constant(0))
    assert int(bad) == -1
    assert set(report) == {"critic_loss", "actor_loss", "temperature_loss", "temperature"}
    for variable, value in zip(learner.critics[0].variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_critic_regresses_on_the_reward_where_the_session_ends():
    simulator = toy.Toy("continuous")
    learner = made(ddpg, ddpg.Ddpg, simulator, discount=0.9, reward_scale=0.1)
    rollout = toy.played(simulator, learner, tf.constant([0, 1]), sessions=1, steps=3)
    assert rollout.done.numpy()[:, 0].tolist() == [False, False, True]
    learner.observe(rollout, tf.constant(0.0))
    # Every row, with its own target, by hand.
    rows = learner.replay.rows(tf.range(3, dtype=tf.int64))
    after, _ = learner.target_actor(rows.next_state)
    value = learner.target_critics[0]((rows.next_state, after))[0]
    target = 0.1 * rows.reward + 0.9 * value * [1.0, 1.0, 0.0]
    q = learner.critics[0]((rows.state, rows.action))[0]
    learner.replay.sample = lambda batch, seed: learner.replay.rows(tf.range(3, dtype=tf.int64))
    learner.config = dataclasses.replace(learner.config, batch=3)
    result, _ = learner.gradients(learner.sample(tf.constant(0)))
    assert float(result["critic"].loss) == pytest.approx(
        float(tf.reduce_mean((q - target) ** 2)), rel=1e-5
    )


def test_the_target_of_td3_stays_within_its_noise_and_the_bounds():
    learner = made(td3, td3.Td3, toy.Toy("continuous"), target_noise=10.0)
    observation = tf.eye(4)
    action, _ = learner.target_actor(observation)
    moved = learner.next_action(observation, tf.constant([1, 2]))
    assert np.abs(moved - action).max() == pytest.approx(0.5, abs=1e-6)
    assert np.abs(learner.next_action(observation + 1e3, tf.constant([1, 2]))).max() <= 1.0


def test_td3_moves_its_actor_every_other_update():
    simulator = toy.Toy("continuous")
    learner = made(td3, td3.Td3, simulator)
    learner.observe(toy.played(simulator, learner, tf.constant([0, 1])), tf.constant(0.0))
    weights = learner.online_actor.variables[0]
    seen = [weights.numpy()]
    for _ in range(3):
        learner.learn(tf.constant(1))
        seen.append(weights.numpy())
    moved = [(a != b).any() for a, b in zip(seen, seen[1:], strict=False)]
    assert moved == [True, False, True]


def test_numbers_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"discount is 1.5; expected 0 to 1"):
        sac.SacConfig(discount=1.5)
    with pytest.raises(ValueError, match=r"batch is 0; expected at least 1"):
        ddpg.DdpgConfig(batch=0)
    with pytest.raises(ValueError, match=r"actor_update_period is 0; expected at least 1"):
        td3.OnlineTd3Config(actor_update_period=0)
