import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import time_step

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec.baselines import rainbow, rainbow_network
from tfrec.environments import contract
from tfrec.training import checkpoint

NARROW = rainbow.RainbowConfig(
    embedding=4,
    units=5,
    state=6,
    hidden=8,
    batch=64,
    atoms=5,
    discount=0.5,
    replay_sessions=20,
    sessions_per_round=10,
    updates_per_round=2,
    log_rounds=1,
    play_rounds=1,
)
VECTORS = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
DQN = dict.fromkeys(("double_q", "dueling", "noisy", "prioritized"), False) | {
    "n_steps": 1,
    "atoms": 1,
}


def learner(repeats=True, **changes):
    world = scripted.ScriptedWorld(small.SPEC, repeats)
    config = dataclasses.replace(NARROW, **changes)
    return rainbow.RainbowLearner(config, small.SPEC, small.sessions(), world, VECTORS, 1)


def timestep(batch=50, seed=(1, 2), blocked=None):
    return contract.history_timestep(small.observations(batch), tf.constant(seed), blocked)


# Values of three items in two states, and what the target knows of the first item's return.
SUPPORT = np.linspace(0.0, 8.0, 5)
ONLINE = tf.constant([[5.0, 1.0, 2.0], [0.0, 3.0, 9.0]])
TARGET = tf.constant([[1.0, 8.0, 2.0], [7.0, 3.0, 4.0]])
# A distribution of the return for each state and item: item i of state s on one atom.
ATOM = np.array([[1, 4, 2], [3, 0, 2]])


def with_fixed_values(monkeypatch, **changes):
    """An agent whose networks have the values above."""
    made = learner(v_max=8.0, noisy=False, **changes).agent
    monkeypatch.setattr(made.online, "scores", lambda *_: ONLINE)
    monkeypatch.setattr(made.target, "scores", lambda *_: TARGET)

    def logits(state, item, noise):
        atom = ATOM[np.arange(2), item.numpy() - 1]
        return tf.where(tf.one_hot(atom, 5) > 0, 100.0, 0.0)

    monkeypatch.setattr(made.target, "logits", logits)
    return made


def following(blocked=None):
    return time_step.TimeStep(
        (),
        tf.constant([1.0, 0.0]),
        tf.constant([0.5, 0.5]),
        (small.observations(2), blocked),
    )


@pytest.mark.parametrize(
    ("double_q", "blocked", "atoms"),
    [
        # The learning network prefers items 1 and 3, the target 2 and 1.
        (True, None, [1, 2]),
        (False, None, [4, 3]),
        # With those blocked, its next best: 3 and 2; and the target's: 3 and 3.
        (True, [[True, False, False], [False, False, True]], [2, 0]),
        (False, [[False, True, False], [True, False, False]], [2, 2]),
    ],
)
def test_the_next_distribution_by_hand(monkeypatch, double_q, blocked, atoms):
    agent = with_fixed_values(monkeypatch, double_q=double_q)
    mask = None if blocked is None else tf.constant(blocked)
    result = agent._next_q_distribution(following(mask), {})
    np.testing.assert_allclose(result, np.eye(5)[atoms], atol=1e-6)


def test_the_target_distribution_by_hand(monkeypatch):
    """Support 0 2 4 6 8. State 0: all on 1 + 0.5 * 2 = 2; state 1: all on 0.5 * 4 = 2."""
    agent = with_fixed_values(monkeypatch)
    np.testing.assert_allclose(
        agent._next_target(following(), {}), np.eye(5)[[1, 1]], atol=1e-6
    )
    none_left = tf.constant([[True] * 3] * 2)
    halves = [[0.5, 0.5, 0, 0, 0], [1, 0, 0, 0, 0]]  # the reward alone: 1 and 0
    np.testing.assert_allclose(agent._next_target(following(none_left), {}), halves, atol=1e-6)


@pytest.mark.parametrize(("double_q", "value"), [(True, [1, 4]), (False, [8, 7])])
def test_the_target_value_by_hand(monkeypatch, double_q, value):
    agent = with_fixed_values(monkeypatch, double_q=double_q, atoms=1)
    expected = np.array([1.0, 0.0]) + 0.5 * np.array(value)
    np.testing.assert_allclose(agent._next_target(following(), {}), expected)


@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("block", [1, 6 * 5 * 3, 1 << 19])
def test_scores_are_the_means_of_all_distributions(monkeypatch, dueling, block):
    """However many states are worked on at once."""
    monkeypatch.setattr(rainbow_network, "_BLOCK", block)
    network = learner(dueling=dueling, tilted=False, v_max=8.0).online
    state = network.encode(small.observations(7)).state
    logits = network.all_values(state).numpy()  # [7, 6, 5]
    weight = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(network.scores(state), weight @ SUPPORT, rtol=1e-5)
    item = tf.constant([1, 2, 3, 4, 5, 6, 1])
    of_item = network.logits(state, item)
    np.testing.assert_allclose(of_item, logits[np.arange(7), item - 1], atol=1e-5)


def test_a_tilted_network_ranks_as_its_means_do():
    network = learner(v_max=8.0).online
    state = network.encode(small.observations(50)).state
    logits = network.all_values(state).numpy().astype(np.float64)  # [50, 6, 5]
    mean = (np.exp(logits) @ SUPPORT) / np.exp(logits).sum(axis=-1)
    assert np.std(mean, axis=1).min() > 1e-3
    np.testing.assert_array_equal(np.argsort(network.scores(state)), np.argsort(mean))
    item = tf.constant(np.arange(50) % 6 + 1)
    np.testing.assert_allclose(
        network.logits(state, item), logits[np.arange(50), item - 1], atol=1e-5
    )


@pytest.mark.parametrize("tilted", [True, False])
def test_duelling_advantages_have_mean_zero(tilted):
    network = learner(tilted=tilted).online
    state = network.encode(small.observations(7)).state
    first, second = network.value_head
    value = second(tf.nn.leaky_relu(first(state)))  # [7, 5]
    mean = tf.reduce_mean(network.all_values(state), axis=1)
    np.testing.assert_allclose(mean, value, atol=1e-5)
    assert np.std(network.all_values(state), axis=1).max(axis=-1).min() > 1e-4


def test_switches_change_what_they_say():
    full, plain = learner(), learner(**DQN)
    names = {v.name.split("/")[0] for v in full.online.trainable_variables}
    assert {"value_head", "advantage"} <= names
    assert not any("noise" in v.name for v in plain.online.trainable_variables)
    assert plain.online.value_head == [] and len(full.online.value_head) == 2
    assert full.replay.n_steps == 3 and plain.replay.n_steps == 1
    assert full.replay.priorities is not None and plain.replay.priorities is None
    assert full.online.outputs == 5 and plain.online.outputs == 1
    # Noisy networks play differently from draw to draw, but are evaluated without noise.
    evaluated = full.policy()(timestep()).numpy()
    np.testing.assert_array_equal(evaluated, full.policy()(timestep(seed=(8, 9))))
    played = full.playing()(timestep()).numpy()
    assert (played != full.playing()(timestep(seed=(8, 9))).numpy()).any()
    np.testing.assert_array_equal(plain.playing()(timestep()), plain.policy()(timestep()))


def test_the_best_item_that_may_be_shown_is_chosen():
    made = learner()
    state = made.online.encode(small.observations(50)).state
    best = np.argmax(made.online.scores(state), axis=1)
    np.testing.assert_array_equal(made.policy()(timestep()), best[:, None])
    blocked = tf.one_hot(best, 6, True, False)
    assert (made.policy()(timestep(blocked=blocked)).numpy() != best[:, None]).all()


def test_the_support_reaches_the_best_session_of_the_log():
    # Session 0 clicks 1 0 1 1, at discount 1/2: 1 + 1/4 + 1/8 or, from its third step, 1.5.
    np.testing.assert_allclose(learner().online.support, np.linspace(0, 1.5, 5))
    np.testing.assert_allclose(learner(v_min=-2.0, v_max=6.0).online.support, [-2, 0, 2, 4, 6])
    # It is kept with the weights that act: a checkpoint of them is all that is left of a run.
    assert "support" in checkpoint.named_variables(learner().acting)


@pytest.mark.parametrize(
    "switches", [{}, {"tilted": False}, DQN], ids=["rainbow", "advantage of atoms", "dqn"]
)
def test_every_trainable_variable_moves(switches):
    made = learner(repeats=False, **switches)
    before = {v.ref(): v.numpy().copy() for v in made.online.trainable_variables}
    _, bad, _ = made.update()
    assert int(bad) == -1
    still = [v.deref().name for v, old in before.items() if (v.deref() == old).numpy().all()]
    assert still == []


def test_priorities_follow_the_errors():
    made = learner(repeats=False)
    before = made.replay.priorities.step.numpy().copy()
    made.update()
    after = made.replay.priorities.step.numpy()
    seen = after != before
    assert seen.sum() == 10, "64 draws of 10 steps, all of which had the same priority"
    assert len(np.unique(after[seen])) == 10


def test_weights_scale_the_loss():
    made = learner(noisy=False)
    batch = rainbow.Batch(made.replay.sample(8, tf.constant([1, 2])), made.agent.seeds())
    loss = made.agent._loss(batch, weights=tf.constant([1.0] + [0.0] * 7))
    auxiliary = made.config.auxiliary_weight * loss.extra.auxiliary
    np.testing.assert_allclose(loss.loss - auxiliary, loss.extra.td_loss[0] / 8, rtol=1e-5)


@pytest.mark.parametrize(
    ("tau", "period", "moves"), [(1.0, 2, [0, 1]), (0.25, 1, [0.25, None])]
)
def test_the_target_follows(tau, period, moves):
    made = learner(tau=tau, target_period=period)
    watched = made.online.head[0].kernel, made.target.head[0].kernel
    first = watched[0].numpy()
    np.testing.assert_array_equal(first, watched[1])
    made.update()
    step = watched[0].numpy() - first
    np.testing.assert_allclose(watched[1] - first, moves[0] * step, atol=1e-7)
    made.update()
    if moves[1] is not None:
        np.testing.assert_array_equal(watched[1], watched[0])


def test_what_is_not_finite_is_named_and_nothing_moves():
    made = learner()
    label = made.replay.sessions.label
    label.assign(tf.fill(label.shape, np.nan))
    before = [v.numpy().copy() for v in made.online.variables]
    _, bad, _ = made.update()
    assert made.checked[int(bad)] == "TD loss"
    for variable, old in zip(made.online.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    assert np.isfinite(made.replay.priorities.step).all()


def test_it_resumes_exactly(tmp_path):
    first = learner(repeats=False, target_period=3, tau=1.0)
    for _ in range(2):
        first.update()
    checkpoint.write(tmp_path / "ckpt-1", first, first.config)
    second = learner(repeats=False, target_period=3, tau=1.0)
    checkpoint.read(tmp_path / "ckpt-1", second, second.config)
    for made in (first, second):
        made.update()
    variables = checkpoint.named_variables(second)
    assert len(variables) == len({id(v) for v in variables.values()})
    for name, variable in checkpoint.named_variables(first).items():
        np.testing.assert_array_equal(variable, variables[name], err_msg=name)


def test_impossible_numbers_are_rejected():
    with pytest.raises(ValueError, match="n_steps is 0; expected at least 1"):
        dataclasses.replace(NARROW, n_steps=0)
    with pytest.raises(ValueError, match="discount is 1.5; expected 0 to 1"):
        dataclasses.replace(NARROW, discount=1.5)
    with pytest.raises(ValueError, match="v_max is 1.0; expected more than v_min 2.0"):
        dataclasses.replace(NARROW, v_min=2.0, v_max=1.0)
