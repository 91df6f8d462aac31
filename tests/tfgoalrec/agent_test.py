"""One update of the agent: changed and unchanged weights, and values that are not finite."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import agent as goalrec_agent
from tfgoalrec import learner, measurements, relabel
from tfrec import types
from tfrec.data import item_vectors
from tfrec.errors import UserError
from tfrec.replay import episodes as replay

M = 11


def batch(rows=16):
    random = np.random.default_rng(0)
    return relabel.Transition(
        observation=small.observations(rows),
        item=tf.constant(random.integers(1, 7, rows), tf.int32),
        measurement=tf.constant(random.normal(size=(rows, M)), tf.float32),
        outcome=tf.constant(random.normal(size=(rows, M)), tf.float32),
        goal=small.unit_goals(rows, M),
    )


def weights(agent):
    both = [*agent.world_model.variables, *agent.averaged.variables]
    return [(v.name, v.numpy().copy()) for v in both]


def test_the_model_loss_teaches_the_advantage_and_the_value_loss_the_value():
    agent = small.agent(value_weight=0.0, auxiliary_weight=0.0)
    model = agent.world_model
    with tf.GradientTape() as tape:
        loss, report = model.loss_of(batch(), tf.constant([[1, 2], [3, 4]]))
    value_net = [v for layer in model.value_net for v in layer.trainable_variables]
    projection = [v for layer in model.projection for v in layer.trainable_variables]
    gradients = tape.gradient(loss, value_net + projection)
    # Without the value loss V has no gradient, because it is stopped in M = V + A.
    assert all(g is None or not np.any(g) for g in gradients[: len(value_net)])
    assert all(np.any(g) for g in gradients[len(value_net) :])
    assert report["loss"] == report["model_loss"]


def test_losses_add_up_by_their_weights():
    agent = small.agent(value_weight=2.0, auxiliary_weight=0.25)
    loss, report = agent.world_model.loss_of(batch(), tf.constant([[1, 2], [3, 4]]))
    expected = (
        report["model_loss"] + 2.0 * report["value_loss"] + 0.25 * report["auxiliary_loss"]
    )
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert float(report["auxiliary_loss"]) > 0


def test_the_variance_stays_within_its_bound():
    agent = small.agent(log_variance_bound=2.0)
    for start in (5.0, -5.0):
        agent.world_model.log_variance.assign(tf.fill([10], start))
        agent.update(batch(), agent.seeds())
        np.testing.assert_allclose(agent.world_model.log_variance, np.sign(start) * 2.0)


def test_a_variance_beyond_its_bound_comes_back_when_the_error_grows():
    # exp(6.01) times a squared error of about 100^2 outweighs the 1 of log sigma^2, so every
    # measurement's variance has to rise above its bound.
    agent = small.agent(log_variance_bound=6.0, learning_rate=0.01)
    agent.world_model.log_variance.assign(tf.fill([10], -6.01))
    far = batch()
    far = far._replace(measurement=100.0 * far.measurement)
    for _ in range(3):
        agent.update(far, agent.seeds())
    assert (agent.world_model.log_variance.numpy() > -5.99).all()


def test_a_number_that_is_not_finite_is_named_and_changes_nothing():
    agent = small.agent()
    good = batch()
    before = weights(agent)
    spoiled = good.measurement.numpy()
    spoiled[3, 2] = np.nan
    spoiled_batch = good._replace(measurement=tf.constant(spoiled))
    _, first_bad = agent.update(spoiled_batch, agent.seeds())
    assert agent.checked[int(first_bad)] == "measurement loss"
    for (name, old), (_, new) in zip(before, weights(agent), strict=True):
        np.testing.assert_array_equal(new, old, name)
    assert int(agent.updates) == 0
    _, first_bad = agent.update(good, agent.seeds())
    assert int(first_bad) == -1
    assert int(agent.updates) == 1


def test_the_average_follows_the_weights():
    agent = small.agent(averaging=0.995)
    bias = agent.world_model.value_net[0].bias
    average = agent.averaged.value_net[0].bias
    before = average.numpy().copy()
    agent.update(batch(), agent.seeds())
    # After the first update its memory is (1 + 1) / (10 + 1).
    expected = before + (1 - 2 / 11) * (bias.numpy() - before)
    np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)


def test_the_same_seed_learns_the_same():
    ends = []
    for seed in (3, 3, 4):
        agent = small.agent(seed)
        for _ in range(2):
            agent.update(agent.transition(small_rows()), agent.seeds())
        ends.append(agent.world_model.item_embedding.numpy())
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0] != ends[2]).any()


def small_rows():
    transitions = batch()
    return replay.Rows(
        transitions.observation,
        transitions.item,
        transitions.measurement,
        transitions.outcome,
        tf.zeros([16, M]),
        tf.range(16, dtype=tf.int64),
    )


def test_default_goals_discount_the_windows_of_each_column():
    measured = small.fitted()
    named_goals = goalrec_agent.default_goals(small.config(discount=0.5), small.SPEC, measured)
    assert list(named_goals) == ["click", "watch"]
    std = dict(zip(measured.columns, measured.std.numpy(), strict=True))
    weights_of = {"click@0": 1.0, "click@1..3": 0.5, "click@4..": 0.25}
    raw = np.array([weights_of.get(name, 0.0) * std[name] for name in measured.columns])
    np.testing.assert_allclose(named_goals["click"], raw / np.linalg.norm(raw), rtol=1e-5)


def test_a_name_of_two_goals_is_rejected():
    measured = small.fitted()
    twice = ("a = 1*click@0", "a = 1*watch@0")
    with pytest.raises(UserError, match="goal 'a' is given twice"):
        goalrec_agent.default_goals(small.config(goals=twice), small.SPEC, measured)


def test_a_goal_column_without_a_measured_window_is_rejected():
    measured = small.fitted(("click@0", "mean(watch)"))
    config = small.config(goal_columns=("click", "watch"))
    with pytest.raises(ValueError, match="goal_columns names 'watch', but no window"):
        goalrec_agent.default_goals(config, small.SPEC, measured)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [2.0**-27, 2.0**30])
def test_the_unit_of_an_amount_changes_nothing_that_is_learned(unit):
    """Scaling the unit changes no weight or score, and scales the predictions."""
    ends = []
    for factor in (1.0, unit):
        watch = dataclasses.replace(small.SPEC.feedback[1], scale=4.0 * factor)
        spec = dataclasses.replace(small.SPEC, feedback=(small.SPEC.feedback[0], watch))
        factors = np.array([1.0, factor], np.float32)
        log = small.sessions()
        log = log._replace(
            feedback=log.feedback * factors, history_feedback=log.history_feedback * factors
        )
        vectors = item_vectors.log_vectors(log, spec.num_items, 4)
        measured = measurements.Measurements((), spec, small.VECTORS)
        measured.fit(log)
        agent = goalrec_agent.GoalRecAgent(
            small.config(updates_per_round=2, log_rounds=1), spec, measured, vectors, seed=3
        )
        learner.GoalRecLearner(agent, log).advance()
        observation = types.Observation(
            log.history_item, log.history_feedback, np.zeros(3, np.int32)
        )
        goal = tf.repeat(agent.named_goals["watch"][None], 3, axis=0)
        model = agent.averaged
        code = model.encode(types.constants(observation), goal)
        expected = model.value(code) * measured.std + measured.mean
        watched = measured.columns.index("watch@0")
        ends.append(
            (
                goal.numpy(),
                model.scores(code, goal).numpy(),
                expected.numpy()[:, watched] / factor,
            )
        )
    for plain, scaled in zip(*ends, strict=True):
        np.testing.assert_array_equal(plain, scaled)
