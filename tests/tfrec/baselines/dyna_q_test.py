"""Deep Dyna-Q by hand numbers: targets, shares, planning, what an update moves."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec.baselines import dyna_q, simulated_replay
from tfrec.environments import contract
from tfrec.ops import q_targets
from tfrec.training import checkpoint, finite

VECTORS = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)


def config(**changes):
    narrow = {
        "embedding": 4, "units": 5, "state": 6, "hidden": 8, "batch": 32, "warm_up": 0,
        "replay_sessions": 64, "sessions_per_round": 32, "planning_replay": 64,
        "planning_steps": 4, "planning_depth": 3, "log_rounds": 2, "play_rounds": 2,
        "updates_per_round": 2,
    }  # fmt: skip
    return dyna_q.DynaQConfig(**(narrow | changes))


def log(repeats=True):
    return scripted.random_log(scripted.ScriptedWorld(small.SPEC, repeats), 60)


def learner(seed=0, repeats=True, **changes):
    """A learner whose target differs from its network, in a scripted world."""
    world = scripted.ScriptedWorld(small.SPEC, repeats)
    made = dyna_q.DynaQLearner(
        config(**changes), small.SPEC, log(repeats), world, VECTORS, seed
    )
    noise = np.random.default_rng(seed + 1)
    for variable in made.target.trainable_variables:
        variable.assign_add(noise.normal(scale=0.3, size=variable.shape))
    return made


def steps_of(made, count, seed=(3, 4)):
    return simulated_replay.real_steps(made.replay.sample(count, tf.constant(seed)))


def weights(module):
    return {v.ref(): v.numpy().copy() for v in module.trainable_variables}


# Targets.

FOLLOWING = tf.constant([[1.0, 5.0, 3.0], [4.0, 2.0, 0.0], [-3.0, -1.0, -2.0]])
REWARD, DISCOUNT = tf.constant([1.0, 0.0, 2.0]), tf.constant([0.5, 0.0, 1.0])


def test_a_target_is_the_reward_and_the_best_next_value():
    target = q_targets.td_target(REWARD, DISCOUNT, FOLLOWING, FOLLOWING, None)
    np.testing.assert_allclose(target, [1 + 0.5 * 5, 0.0, 2 - 1])


def test_an_item_that_may_not_follow_is_left_out_of_the_best():
    blocked = tf.constant([[False, True, False], [True, True, False], [False, True, True]])
    target = q_targets.td_target(REWARD, DISCOUNT, FOLLOWING, FOLLOWING, blocked)
    np.testing.assert_allclose(target, [1 + 0.5 * 3, 0.0, 2 - 3])
    nothing = q_targets.td_target(REWARD, DISCOUNT, FOLLOWING, FOLLOWING, tf.fill([3, 3], True))
    np.testing.assert_allclose(nothing, REWARD)


def test_double_q_chooses_by_one_network_and_values_by_the_other():
    choosing = tf.constant([[9.0, 0.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 9.0]])
    target = q_targets.td_target(REWARD, DISCOUNT, FOLLOWING, choosing, None)
    np.testing.assert_allclose(target, [1 + 0.5 * 1, 0.0, 2 - 2])


@pytest.mark.parametrize("double_q", [False, True])
def test_the_loss_takes_the_networks_it_should(double_q):
    made = learner(double_q=double_q, discount=0.9)
    steps = steps_of(made, 16)
    loss, _, report = made.td_loss(steps, tf.constant([5, 6]))

    # The replay's sessions, spelled out item by item.
    def values(network, observation):
        state = network.encode(observation).state
        items = [tf.fill([16], item) for item in range(1, 7)]
        return np.stack([network.values(state, item)[:, 0] for item in items], axis=1)

    target = values(made.target, steps.next_observation)
    chooser = values(made.network if double_q else made.target, steps.next_observation)
    best = target[np.arange(16), chooser.argmax(axis=1)]
    expected = steps.reward.numpy() + 0.9 * steps.stays.numpy() * best
    own = values(made.network, steps.observation)[np.arange(16), steps.item.numpy() - 1]
    np.testing.assert_allclose(report["td_loss"], loss)
    np.testing.assert_allclose(loss, 0.5 * np.mean((own - expected) ** 2), rtol=1e-4)
    assert 0 < steps.stays.numpy().mean() < 1


# Shares and planning.


@pytest.mark.parametrize(
    ("batch", "steps", "depth", "simulated"),
    [(256, 5, 1, 205), (256, 5, 4, 204), (256, 1, 4, 0), (128, 2, 4, 64), (256, 10, 4, 232)],
)
def test_k_shares_a_batch(batch, steps, depth, simulated):
    made = config(batch=batch, planning_steps=steps, planning_depth=depth, planning_replay=512)
    assert made.simulated == simulated
    assert made.real == batch - simulated


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"planning_steps": 0}, "planning_steps is 0"),
        ({"planning_depth": 0}, "planning_depth is 0"),
        ({"discount": 1.5}, "discount is 1.5"),
        ({"batch": 4, "planning_steps": 10, "planning_depth": 4}, "batch is 4"),
        ({"planning_replay": 8}, "planning_replay is 8"),
    ],
)
def test_numbers_that_cannot_be_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        config(**changes)


def test_planning_adds_its_share_in_each_update_once_warm():
    made = learner(warm_up=3)
    assert made.config.simulated == 24 and made.config.real == 8
    for update in range(6):
        assert int(made.simulated.ring.added) == 24 * max(0, update - 3)
        _, bad, _ = made.update()
        assert int(bad) == -1
    assert int(made.simulated.size) == 64  # 72 were added


def test_simulated_steps_follow_real_states_and_each_other():
    made = learner(planning_replay=24, planning_epsilon=1.0)
    real = steps_of(made, 32)
    made.plan(real, tf.constant([7, 8]))
    columns = {name: column.numpy() for name, column in made.simulated.ring.columns.items()}
    step = columns["step"].reshape(3, 8)  # [depth, session]
    events = columns["history_item"].reshape(3, 8, -1)  # [depth, session, H + 1]
    feedback = columns["history_feedback"].reshape(3, 8, 5, 2)
    stays = columns["stays"].reshape(3, 8)
    started = real.observation.history_item.numpy()[:8]
    np.testing.assert_array_equal(events[0, :, :-1], started)
    np.testing.assert_array_equal(step[0], real.observation.step[:8])
    for depth in (1, 2):
        over = (stays[depth - 1] == 0) | (step[depth - 1] + 1 >= small.SPEC.max_steps)
        expected = np.where(over[:, None], started, events[depth - 1, :, 1:])
        np.testing.assert_array_equal(events[depth, :, :-1], expected)
        expected = np.where(over, step[0], step[depth - 1] + 1)
        np.testing.assert_array_equal(step[depth], expected)
        on = ~over
        np.testing.assert_array_equal(feedback[depth, on, :-1], feedback[depth - 1, on, 1:])
        assert 0 < over.sum() < 8
    assert ((events[..., -1] >= 1) & (events[..., -1] <= 6)).all()
    assert len(np.unique(events[..., -1])) == 6  # all random
    assert set(np.unique(feedback[..., -1, 0])) == {0.0, 1.0}  # clicks
    drawn = made.simulated.sample(400, tf.constant([1, 2]))
    np.testing.assert_array_equal(
        drawn.next_observation.history_item[:, :-1], drawn.observation.history_item[:, 1:]
    )
    np.testing.assert_array_equal(drawn.next_observation.history_item[:, -1], drawn.item)
    np.testing.assert_array_equal(drawn.next_observation.step, drawn.observation.step + 1)
    assert {row.tobytes() for row in drawn.observation.history_item.numpy()} <= {
        row.tobytes() for row in events[..., :-1].reshape(24, -1)
    }


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_planning_shows_nothing_twice_where_the_world_does_not(epsilon):
    made = learner(repeats=False, planning_replay=24, planning_epsilon=epsilon)
    real = steps_of(made, 32)
    made.plan(real, tf.constant([7, 8]))
    columns = {name: column.numpy() for name, column in made.simulated.ring.columns.items()}
    for row, taken, blocked in zip(
        columns["history_item"], columns["step"], columns["blocked"], strict=True
    ):
        shown = row[len(row) - 1 - min(taken, 4) :]  # of this session, with the new item
        assert len(set(shown)) == len(shown)
        assert blocked[shown - 1].all()
        assert blocked.sum() == taken + 1
    assert "blocked" not in learner(repeats=True).simulated.ring.columns
    drawn = made.simulated.sample(16, tf.constant([1, 2]))
    result = np.take_along_axis(drawn.next_blocked.numpy(), drawn.item.numpy()[:, None] - 1, 1)
    assert result.all()


def test_without_a_world_the_log_tells_whether_items_repeat():
    def blocks(repeats):
        made = dyna_q.DynaQLearner(config(), small.SPEC, log(repeats), None, VECTORS, 0)
        return made.replay.sample(4, tf.constant([1, 2])).next_blocked is not None

    assert blocks(False) and not blocks(True)


def test_k_1_is_the_plain_dqn():
    made = learner(planning_steps=1)
    assert made.user is None and not hasattr(made, "simulated")
    assert all("user" not in v.name for v in made.trainable_variables)
    twin = learner(planning_steps=1)
    report, _, _ = made.update()
    assert set(report) == {"td_loss", "value"}
    # The same update written out: one batch of real steps, one loss, one step of Adam.
    seeds = tf.cast(tf.transpose(twin.generator.make_seeds(5)), tf.int32)
    steps = simulated_replay.real_steps(twin.replay.sample(32, seeds[0]))
    network, target = twin.network, twin.target
    following = target.all_values(target.encode(steps.next_observation).state)[..., 0]
    expected = steps.reward + 0.95 * steps.stays * tf.reduce_max(following, axis=1)
    variables = network.trainable_variables
    with tf.GradientTape() as tape:
        history = network.encode(steps.observation)
        error = network.values(history.state, steps.item)[:, 0] - expected
        auxiliary = network.tower.auxiliary_loss(steps.observation, history, seeds[3])
        loss = 0.5 * tf.reduce_mean(error**2) + 0.1 * auxiliary
    twin.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    for mine, other in zip(made.network.trainable_variables, variables, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


# An update.


def test_every_trainable_variable_moves():
    made = learner(batch=256, planning_replay=256)
    before = {v.ref(): v.numpy().copy() for v in made.variables_to_train}
    target = weights(made.target)
    networks = {
        v.ref() for v in (*made.network.trainable_variables, *made.user.trainable_variables)
    }
    assert set(before) == networks
    _, bad, _ = made.update()
    assert int(bad) == -1
    still = [r.deref().name for r, old in before.items() if (r.deref().numpy() == old).all()]
    assert still == []
    for table in (made.network.item_embedding, made.user.network.item_embedding):
        moved = (table.numpy() != before[table.ref()]).any(axis=1)
        assert moved[1:].all() and not moved[0]
    for own, average in zip(
        made.network.trainable_variables, made.target.trainable_variables, strict=True
    ):
        expected = 0.98 * target[average.ref()] + 0.02 * own.numpy()
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)


def spoil_reward(made):
    made.replay.sessions.label.assign(np.nan * made.replay.sessions.label)


def spoil_user(made):
    bias = made.user.network.head[-1].bias
    bias.assign(bias + np.nan)


@pytest.mark.parametrize(
    ("spoil", "warm_up", "named"),
    [
        (spoil_reward, 9, "TD loss"),
        (spoil_user, 9, "user model loss"),
        (spoil_user, 0, "TD loss"),  # once it is planned with, its rewards reach the DQN
    ],
)
def test_a_number_that_is_not_finite_is_named_and_moves_nothing(spoil, warm_up, named):
    made = learner(warm_up=warm_up)
    made.update()
    spoil(made)
    before = {v.ref(): v.numpy().copy() for v in made.variables_to_train}
    before |= weights(made.target)
    _, bad, _ = made.update()
    assert made.checked[int(bad)] == named
    for ref, old in before.items():
        np.testing.assert_array_equal(ref.deref(), old)
    assert int(made.updates) == 1


def test_a_restored_learner_goes_on_as_it_would_have(tmp_path):
    made = learner()
    for _ in range(2):
        made.update()
    checkpoint.write(tmp_path / "saved", made, made.config)
    made.update()
    other = learner(seed=5)
    checkpoint.read(tmp_path / "saved", other)
    other.update()
    named = checkpoint.named_variables(other)
    for name, variable in checkpoint.named_variables(made).items():
        np.testing.assert_array_equal(variable, named[name], name)
    # What is kept when a run is over suffices to choose.
    checkpoint.write(tmp_path / "acting", made.acting, {})
    fresh = learner(seed=6)
    checkpoint.read(tmp_path / "acting", fresh.acting)
    timestep = contract.history_timestep(small.observations(40), tf.constant([1, 2]))
    selected = made.policy()(timestep).numpy()
    np.testing.assert_array_equal(fresh.policy()(timestep), selected)
    assert len(np.unique(selected)) > 1


@pytest.mark.slow
def test_rounds_learn_from_the_log_and_then_from_play():
    made = learner(warm_up=1, log_rounds=1, play_rounds=1)
    assert made.total_iterations == 2
    held = int(made.replay.size)
    logs = made.advance()
    assert {"td_loss", "value", "user/click", "user/exit", "user/reward"} <= set(logs)
    assert "play/reward_clicks" not in logs
    assert int(made.replay.size) == held and int(made.simulated.ring.added) == 24
    logs = made.advance()
    assert logs["play/reward_clicks"] > 0
    assert int(made.replay.size) != held and int(made.simulated.ring.added) == 3 * 24
    spoil_reward(made)
    with pytest.raises(finite.NonFiniteError, match="TD loss"):
        made.advance()
