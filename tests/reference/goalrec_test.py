"""GoalRec equals its reference: targets, goals, losses, gradients, updates and rankings.

Tolerance: the agent computes in float32 (unit roundoff 6e-8), the reference in float64. An
entry of a gradient is a sum over steps and events of chains of about 30 products, so errors
of some ten roundoffs are expected; the largest observed is 1.3e-6 of a gradient's largest
entry. 1e-5 leaves room for other processors' order of summation. A wrong sign, factor or a
missing term changes entries by much more.
"""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.reference import compare, goalrec
from tfgoalrec import actor, calibration, goals, learner, measurements
from tfgoalrec import agent as goalrec_agent
from tfgoalrec.config import GoalRecConfig
from tfrec import types
from tfrec.data import item_vectors
from tfrec.training import checkpoint

TOLERANCE = 1e-5
ROWS = 5  # of a batch, which the reference takes one by one
SPEC = types.DataSpec(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("watch", "amount", "seconds", scale=3.0),
        types.FeedbackColumn("like", "binary", "likes"),
    ),
    num_items=9,
    num_users=12,
    history_length=4,
    max_steps=6,
    candidates=7,
)
CONFIGS = {
    "default": {},
    "bilinear, every part": {"crossed": 64, "item_effect": 0.5, "item_input": "log"},
    "fully connected": {"advantage": "mlp", "hindsight_share": 1.0},
    "fully connected, every part": {
        "advantage": "mlp",
        "crossed": 64,
        "item_effect": 2.0,
        "item_input": "log",
        "hindsight_share": 0.0,
    },
    "other weights": {
        "value_weight": 0.3,
        "auxiliary_weight": 2.0,
        "dropout": 0.4,
        "weight_decay": 0.1,
        "log_variance_bound": 0.05,
        "averaging": 0.1,
    },
    "parts switched off": {
        "value_weight": 0.0,
        "auxiliary_weight": 0.0,
        "dropout": 0.0,
        "use_goal": False,
        "weight_decay": 0.0,
    },
    "other measurements": {
        "measurements": ("like@1", "exit@0", "click@0..", "step@2..", "embedding(like)"),
        "goals": ("likes = 2*like@1 + 0.5*click@0.. - 1*exit@0",),
    },
}


def make_log(seed: int = 0) -> types.Episodes:
    """Twelve sessions of every length, with histories of every length."""
    random = np.random.default_rng(seed)
    sessions, steps, horizon = 12, SPEC.max_steps, SPEC.history_length
    length = 1 + np.arange(sessions) % steps
    history_length = np.arange(sessions) % (horizon + 1)
    live = np.arange(steps) < length[:, None]
    before = np.arange(horizon) >= horizon - history_length[:, None]

    def events(real):
        click = random.integers(0, 2, real.shape)
        watch = click * random.exponential(4.0, real.shape)
        like = click * random.integers(0, 2, real.shape)
        feedback = np.stack([click, watch, like], axis=-1) * real[..., None]
        item = random.integers(1, SPEC.num_items + 1, real.shape) * real
        return item.astype(np.int32), feedback.astype(np.float32)

    item, feedback = events(live)
    history_item, history_feedback = events(before)
    return types.Episodes(
        user=np.arange(1, sessions + 1, dtype=np.int32),
        history_item=history_item,
        history_feedback=history_feedback,
        item=item,
        feedback=feedback,
        length=length.astype(np.int32),
        exited=np.arange(sessions) % 3 > 0,
    )


def reference_sessions(log: types.Episodes) -> list[goalrec.Session]:
    sessions = []
    for row, length in enumerate(log.length):
        is_event = log.history_item[row] != types.PAD
        before = zip(
            log.history_item[row][is_event], log.history_feedback[row][is_event], strict=True
        )
        sessions.append(
            goalrec.Session(
                log.item[row, :length],
                log.feedback[row, :length].astype(np.float64),
                bool(log.exited[row]),
                [goalrec.Event(int(item), feedback) for item, feedback in before],
            )
        )
    return sessions


class Case:
    """An agent built as `launch.train` builds it, and its inputs for the reference."""

    def __init__(self, noise: float = 0.3, **changes):
        narrow = {
            "embedding": 4,
            "frozen_embedding": 2,
            "units": 5,
            "state": 6,
            "goal_units": 4,
            "stream": 8,
            "item_vector": 3,
            "batch": 16,
            "replay_sessions": 12,
            "sessions_per_round": 1,
            "held_out": 0.0,
        }
        self.config = GoalRecConfig(**(narrow | changes))
        self.log = make_log()
        vectors = item_vectors.log_vectors(self.log, SPEC.num_items, 4)
        self.frozen = vectors[:, :2]
        self.measurements = measurements.Measurements(
            self.config.measurements, SPEC, self.frozen
        )
        self.measurements.fit(self.log)
        self.agent = goalrec_agent.GoalRecAgent(
            self.config, SPEC, self.measurements, vectors, seed=3
        )
        self.learner = learner.GoalRecLearner(self.agent, self.log)
        # Biases, item effects, crosses and log variances start at zero, which would hide them.
        random = np.random.default_rng(1)
        for model in (self.agent.world_model, self.agent.averaged):
            for variable in model.trainable_variables:
                variable.assign_add(random.normal(scale=noise, size=variable.shape))
        self.sizes = [int(size) for size in self.measurements.size]

    def weights(self, model=None) -> dict[str, tf.Tensor]:
        named = checkpoint.named_variables(model or self.agent.world_model)
        return {name: tf.cast(variable, tf.float64) for name, variable in named.items()}

    def trained_weights(self, model=None) -> dict[str, np.ndarray]:
        named = checkpoint.named_variables(model or self.agent.world_model)
        return {
            name: variable.numpy().astype(np.float64)
            for name, variable in named.items()
            if variable.trainable
        }

    def sample(self, rows: int) -> learner.Batch:
        """The first rows of a batch that the learner draws."""
        batch = self.learner.sample()
        first = tf.nest.map_structure(lambda column: column[:rows], batch.transition)
        return batch._replace(transition=first)

    def gradients(self, batch) -> tuple[dict[str, tf.Tensor], dict[str, tuple]]:
        """The agent's losses; its gradients and their variables, by name."""
        named = checkpoint.named_variables(self.agent.world_model)
        named = {name: variable for name, variable in named.items() if variable.trainable}
        with tf.GradientTape() as tape:
            loss, report = self.agent.world_model.loss_of(batch.transition, batch.seeds)
        gradients = tape.gradient(loss, named)
        return report, {name: (gradients[name], variable) for name, variable in named.items()}

    def reference_batch(self, batch) -> list[goalrec.Step]:
        """The batch and its random draws, as input of the reference."""
        rows = batch.transition
        count = len(rows.item)
        dropout_mask = tf.ones([count, self.config.state])
        if self.config.dropout:
            dropout_mask = tf.nn.experimental.stateless_dropout(
                dropout_mask, self.config.dropout, batch.seeds[0]
            )
        negative = tf.random.stateless_uniform(
            [count], batch.seeds[1], 1, SPEC.num_items + 1, tf.int32
        )
        return [
            goalrec.Step(
                state,
                int(rows.item[row]),
                rows.goal[row].numpy().astype(np.float64),
                rows.measurement[row].numpy().astype(np.float64),
                dropout_mask[row].numpy().astype(np.float64),
                int(negative[row]),
            )
            for row, state in enumerate(reference_states(rows.observation))
        ]


def reference_states(observation: types.Observation) -> list[goalrec.State]:
    states = []
    for item, feedback, step in zip(*(np.asarray(x) for x in observation[:3]), strict=True):
        is_event = item != types.PAD
        events = zip(item[is_event], feedback[is_event].astype(np.float64), strict=True)
        states.append(
            goalrec.State([goalrec.Event(int(i), values) for i, values in events], int(step))
        )
    return states


@pytest.fixture(scope="module", autouse=True)
def _eager():
    """Tracing takes longer than the few calls of these tests."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(params=CONFIGS, scope="module")
def case(request):
    return Case(**CONFIGS[request.param])


def test_measurements_and_their_statistics(case):
    """m_t of every step of the log, and its mean and standard deviation."""
    names = case.measurements.names
    raw = [
        goalrec.measurements(names, session, SPEC.feedback_names, case.frozen)
        for session in reference_sessions(case.log)
    ]
    measured = case.measurements.raw(types.constants(case.log))
    for session, length, expected in zip(measured, case.log.length, raw, strict=True):
        np.testing.assert_allclose(session[:length], expected, rtol=1e-5, atol=1e-5)
    mean, std = goalrec.statistics(np.concatenate(raw))
    np.testing.assert_allclose(case.measurements.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(case.measurements.std, std, rtol=1e-5)


def test_batches_of_the_replay(case):
    """States, targets and goals of rows are those of steps of the log."""

    def key(state, item):
        events = tuple((event.item, *map(float, event.feedback)) for event in state.events)
        return events, state.step, int(item)

    expected = {}
    mean, std = case.measurements.mean.numpy(), case.measurements.std.numpy()
    for session in reference_sessions(case.log):
        raw = goalrec.measurements(
            case.measurements.names, session, SPEC.feedback_names, case.frozen
        )
        target = (raw - mean) / std
        for t, item in enumerate(session.item):
            state = goalrec.state_at(session, t, SPEC.history_length)
            expected[key(state, item)] = target[t], target[0]
    hindsight = 0
    for _ in range(4):
        rows = case.learner.sample().transition
        for row, state in enumerate(reference_states(rows.observation)):
            target, outcome = expected[key(state, rows.item[row])]
            np.testing.assert_allclose(rows.measurement[row], target, atol=1e-4)
            goal = rows.goal[row].numpy()
            assert np.linalg.norm(goal) == pytest.approx(1.0, abs=1e-5)
            in_hindsight = goalrec.relabelled(goal, outcome, hindsight=True)
            hindsight += np.allclose(goal, in_hindsight, atol=1e-4)
    share = case.config.hindsight_share
    assert hindsight == 64 * share if share in (0.0, 1.0) else 0 < hindsight < 64


def test_goals(case):
    """Random goals from the same normal numbers, and the named ones."""
    columns, std = case.measurements.columns, case.measurements.std.numpy()
    seed = tf.constant([5, 6])
    random_goals = goals.random(case.measurements, 32, seed)
    seeds = tf.random.experimental.stateless_split(seed, 2)
    normal = tf.random.stateless_normal([32, len(columns)], seeds[0]).numpy()
    amounts = tf.random.stateless_uniform([32], seeds[1]).numpy() < 0.5
    assert 0 < amounts.sum() < 32
    for goal, z, weighs_amounts in zip(random_goals, normal, amounts, strict=True):
        expected = goalrec.random_goal(z, weighs_amounts, columns)
        np.testing.assert_allclose(goal, expected, atol=1e-6)
    if case.config.goals:
        weights = {"likes": {"like@1": 2.0, "click@0..": 0.5, "exit@0": -1.0}}
    else:
        weights = {
            name: {f"{name}@{window}": 0.8**k for k, window in enumerate(("0", "1..3", "4.."))}
            for name in SPEC.feedback_names
        }
    assert set(case.agent.named_goals) == set(weights)
    for name, goal in case.agent.named_goals.items():
        expected = goalrec.goal_of_weights(weights[name], columns, std)
        np.testing.assert_allclose(goal, expected, atol=1e-6)


def test_losses_and_gradients(case):
    batch = case.sample(ROWS)
    report, gradients = case.gradients(batch)
    gradients = {name: compare.dense_gradient(*pair) for name, pair in gradients.items()}
    losses, expected = goalrec.gradients(
        case.weights(), case.reference_batch(batch), case.sizes, case.config, SPEC
    )
    for name, loss in losses._asdict().items():
        assert float(report[name]) == pytest.approx(float(loss), rel=1e-5, abs=1e-5), name
    expected = {name: expected[name] for name in gradients}
    compare.assert_all_close(gradients, expected, TOLERANCE)
    # The compared gradients are not zero, except those of parts that are switched off.
    off = set()
    if not case.config.auxiliary_weight:
        off |= {"tower/next_item/kernel", "tower/next_item/bias"}
    if not case.config.value_weight:
        off |= {name for name in gradients if name.startswith("value_net")}
    if not case.config.use_goal:
        off.add("goal_net/0/kernel")
    assert {name for name, gradient in expected.items() if not gradient.any()} == off


@pytest.mark.parametrize("name", ["bilinear, every part", "other weights"])
def test_updates(name):
    """Three updates: Adam, weight decay, clipping, bounds and the averaged weights.

    The second batch has targets a hundred times as large, so that it alone is clipped. The step
    is checked on the agent's gradients, because Adam divides by their size, and a tiny entry
    has few digits.
    """
    case = Case(noise=0.05, **CONFIGS[name])
    adam = goalrec.Adam(case.trained_weights(), case.config)
    average = case.trained_weights(case.agent.averaged)
    for t, scale in ((1, 1.0), (2, 100.0), (3, 1.0)):
        batch = case.sample(ROWS)
        rows = batch.transition
        batch = batch._replace(transition=rows._replace(measurement=scale * rows.measurement))
        _, gradient = case.gradients(batch)
        before = case.trained_weights()
        case.agent.update(*batch)
        after = case.trained_weights()
        # A row of an embedding that a batch reads several times counts each time separately.
        norm = float(tf.linalg.global_norm([g for g, _ in gradient.values()]))
        assert (norm > adam.CLIP) == (scale > 1.0)
        dense = {name: compare.dense_gradient(*pair) for name, pair in gradient.items()}
        expected = adam.update(before, dense, norm)
        for name, x in expected.items():
            step = np.abs(x - before[name]).max()
            np.testing.assert_allclose(
                after[name], x, rtol=2e-7, atol=1e-4 * step, err_msg=name
            )
        average = goalrec.averaged(average, after, t, case.config.averaging)
    averaged_weights = case.trained_weights(case.agent.averaged)
    for name, x in average.items():
        np.testing.assert_allclose(
            averaged_weights[name], x, rtol=1e-6, atol=1e-7, err_msg=name
        )


def test_rankings(case):
    """Q of every candidate and the greedy item, with calibrated advantages."""
    model, random = case.agent.averaged, np.random.default_rng(8)
    calibration.prepare(model, case.measurements)
    slope = random.uniform(size=model.dim)
    model.slope.assign(slope)
    of = goalrec.Calibration(
        slope,
        case.measurements.columns,
        case.measurements.mean.numpy().astype(np.float64),
        case.measurements.std.numpy().astype(np.float64),
    )
    observation = case.sample(3).transition.observation
    goal = random.normal(size=[3, model.dim])
    goal /= np.linalg.norm(goal, axis=1, keepdims=True)
    goals = tf.constant(goal, tf.float32)
    # V unchanged, and so low and high that the probability of an exit reaches its bounds.
    bias = model.value_net[-1].bias
    start = bias.numpy()
    for shift in (-5.0, 5.0, 0.0):
        bias.assign(start + shift)
        scores = model.scores(model.encode(observation, goals), goals)
        weights = case.weights(model)
        expected = [
            goalrec.q_values(weights, state, g, case.config, SPEC, of)
            for state, g in zip(reference_states(observation), goal, strict=True)
        ]
        compare.assert_close(scores, expected, TOLERANCE)
        greedy_items = tf.argmax(scores, axis=1) + 1
        assert list(greedy_items) == [goalrec.greedy_action(q) for q in expected]


@pytest.mark.parametrize("case", ["bilinear, every part", "fully connected"], indirect=True)
def test_the_actors_gradient(case):
    """Eq 6, read from one step of plain gradient descent with rate 1."""
    model = case.agent.world_model
    pi = actor.for_model(model, hidden=(5,))
    goal = np.random.default_rng(9).normal(size=[3, model.dim])
    goal /= np.linalg.norm(goal, axis=1, keepdims=True)
    goals = tf.constant(goal, tf.float32)
    observation = case.sample(3).transition.observation
    code = model.encode(observation, goals)
    named = checkpoint.named_variables(pi)
    before = {name: tf.cast(variable, tf.float64) for name, variable in named.items()}
    with tf.GradientTape() as tape:
        tape.watch(before)
        states = reference_states(observation)
        loss = goalrec.actor_loss(case.weights(), before, states, goal, case.config, SPEC)
    expected = tape.gradient(loss, before)
    actor_loss = actor.improve(pi, tf_keras.optimizers.SGD(1.0), model, code, goals)
    # V does not depend on the action, and the agent's loss does not have it.
    of_value = tf.reduce_mean(tf.reduce_sum(goals * model.value(code), axis=1))
    assert float(actor_loss - of_value) == pytest.approx(float(loss), rel=1e-5)
    trained = [name for name, variable in named.items() if variable.trainable]
    gradients = {name: before[name].numpy() - named[name].numpy() for name in trained}
    assert len(trained) == 4
    for name in trained:
        compare.assert_close(gradients[name], expected[name], 1e-4, name)
