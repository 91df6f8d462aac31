"""IMRL equals its reference: losses, gradients, updates, augmentation and the learned graph.

Tolerance: the agent computes in float32 (unit roundoff 6e-8), the reference in float64. The
inverse of tanh at a stored action a loses a factor of 1 / (1 - a^2) in accuracy, and densities
are sums of squares of such numbers. The largest observed error is 2e-6 of a gradient's largest
entry, and 5e-6 for the graph, whose softmaxes follow each other; 3e-5 leaves room for other
processors' order of summation. A wrong sign, factor or a missing term changes entries by much
more.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import compare, imrl
from tests.tfrec.baselines.online import toy
from tfimrl import causal_graph, counterfactual, empowerment, knowledge, threshold
from tfimrl.agent import ImrlInfo
from tfimrl.imrl_method import ImrlMethod, OnlineImrlConfig
from tfrec.environments.ports import recogym, recsim
from tfrec.replay.steps import Steps
from tfrec.training import checkpoint

TOLERANCE = 3e-5
ROWS = 6
SIMULATORS = {
    "continuous": lambda: toy.Toy("continuous"),
    "recsim": recsim.InterestEvolution,
    "recogym": lambda: recogym.RecoGymV1(recogym.RecoGymV1Config(products=6, flips=2)),
}
CONFIGS = {
    "continuous": ("continuous", {}),
    "faithful": ("continuous", {"mode": "faithful"}),
    "forward model": ("continuous", {"successor": "forward", "hidden": (7,)}),
    "faithful, forward model": ("continuous", {"mode": "faithful", "successor": "forward"}),
    "entropy, mean of critics": (
        "continuous",
        {"exploration": "entropy", "target_q": "mean", "critic_decay": 0.02},
    ),
    "kl": ("continuous", {"exploration": "kl"}),
    "slates": ("recsim", {"augmentation": "true", "softness": 0.7}),
    "proto-actions": ("recsim", {"critic_input": "proto", "target_q": "mean"}),
    "bilinear critics": (
        "recogym",
        {
            "critic": "bilinear",
            "critic_decay": 0.01,
            "successor": "forward",
        },
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _eager():
    """Tracing takes longer than the few calls of these tests."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class Case:
    """A method built as `launch.train` builds it, with steps that it played."""

    def __init__(self, simulator: str, **changes):
        small = {
            "hidden": (8, 6),
            "batch": ROWS,
            "learning_rate": 1e-2,
            "beta": 0.3,
            "discount": 0.9,
            "tau": 0.05,
            "reward_scale": 0.5,
            "target_entropy": -0.7,
            "initial_temperature": 0.4,
            "replay_size": 400,
            "synthetic_size": 200,
            "augmentation": "none",
            "threshold_start": 0.5,
            "threshold_max": 4.0,
            "pool": 32,
            "neighbours": 4,
        }
        self.config = OnlineImrlConfig(**(small | changes))
        self.simulator = SIMULATORS[simulator]()
        self.method = ImrlMethod(self.config, self.simulator, 1)
        self.agent = self.method.agent
        rollout = toy.played(self.simulator, self.method, tf.constant([1, 2]))
        self.method.observe(rollout, tf.constant(0.25))
        # Biases and bilinear critics start at zero and V' equals V, which would hide errors.
        noise = np.random.default_rng(1)
        for variable in self.agent.networks.variables:
            variable.assign_add(noise.normal(scale=0.3, size=variable.shape))

    def weights(self) -> dict[str, np.ndarray]:
        named = checkpoint.named_variables(self.agent.networks)
        return {name: variable.numpy().astype(np.float64) for name, variable in named.items()}

    def batch(self, seed: int) -> tuple[Steps, tf.Tensor, tf.Tensor]:
        """Rows of the replay, some with an s' of another user; their weights and noise.

        Next states are moved, since some users never change.
        """
        steps = tf.nest.map_structure(lambda x: x[0], self.method.batches(1))
        random = np.random.default_rng(seed)
        steps = steps._replace(
            next_state=steps.next_state + random.normal(size=steps.next_state.shape),
            own_next=tf.constant([True, True, False, True, True, False]),
            discount=tf.constant([1.0, 0.0, 1.0, 1.0, 1.0, 0.0]),
        )
        sizes = self.agent.action_spec.shape[0], steps.state.shape[1]
        width = sizes[0] + sizes[1] * (self.agent.networks.forward is not None)
        weight = tf.constant(random.uniform(0.2, 1.0, ROWS), tf.float32)
        return steps, weight, tf.constant(random.normal(size=[ROWS, width]), tf.float32)

    def reference_batch(
        self, steps: Steps, weight: tf.Tensor, noise: tf.Tensor
    ) -> list[imrl.Row]:
        steps, weight, noise = tf.nest.map_structure(
            lambda x: x.numpy().astype(np.float64), (steps, weight, noise)
        )
        size = self.agent.action_spec.shape[0]
        slate, width = self.simulator.slate_size, self.simulator.action_size
        rows = []
        for k in range(ROWS):
            action, critic_input, items = steps.action[k, :size], steps.action[k, :size], None
            if slate and self.config.critic_input == "shown":
                critic_input = steps.action[k, size : size + slate * width]
                items = steps.action[k, size + slate * width :].reshape(-1, width)
                if self.simulator.catalogue is not None:
                    items = self.simulator.catalogue.numpy().astype(np.float64)
            rows.append(
                imrl.Row(
                    state=steps.state[k],
                    action=action,
                    critic_input=critic_input,
                    reward=steps.reward[k],
                    next_state=steps.next_state[k],
                    discount=steps.discount[k],
                    own_next=bool(steps.own_next[k]),
                    weight=weight[k],
                    noise=noise[k, :size],
                    next_noise=noise[k, size:],
                    items=items,
                )
            )
        return rows

    def gradients(self, *batch) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """The agent's losses and gradients, by name."""
        bad, gradients, means = self.agent._gradients(*batch)
        assert int(bad) == -1
        named = checkpoint.named_variables(self.agent.networks)
        name_of = {id(variable): name for name, variable in named.items()}
        return dict(zip(ImrlInfo._fields, means.numpy(), strict=False)), {
            name_of[id(variable)]: gradient.numpy()
            for variable, gradient in zip(self.agent.networks.trained(), gradients, strict=True)
        }


@pytest.fixture(params=CONFIGS, scope="module")
def case(request):
    simulator, changes = CONFIGS[request.param]
    return Case(simulator, **changes)


def test_losses_and_gradients(case):
    batch = case.batch(seed=5)
    agent_losses, agent_gradients = case.gradients(*batch)
    losses, expected = imrl.gradients(
        case.weights(),
        case.reference_batch(*batch),
        case.config,
        case.simulator.slate_size,
        case.config.softness,
    )
    for part, loss in losses._asdict().items():
        expected_loss = 0.0 if loss is None else float(loss)
        assert agent_losses[f"{part}_loss"] == pytest.approx(
            expected_loss, rel=1e-5, abs=1e-5
        ), part
    compare.assert_all_close(agent_gradients, expected, TOLERANCE)
    # The compared gradients are not zero.
    assert all(gradient.any() for gradient in expected.values())


@pytest.mark.parametrize("case", ["faithful", "slates", "bilinear critics"], indirect=True)
def test_updates(case):
    """Two updates: Adam and the target network.

    The step is checked on the agent's gradients, because Adam divides by their size, and a
    tiny entry has few digits.
    """
    before = case.weights()
    adam = imrl.Adam(before, case.config.learning_rate)
    for seed in (6, 7):
        steps, weight, _ = case.batch(seed)
        one = tf.nest.map_structure(lambda x: x[None], steps)
        before = case.weights()
        copies = [(v, v.numpy()) for v in case.agent.networks.variables]
        _, batch = case.agent.learn(one, weight[None])
        after = case.weights()
        moved = [(v, v.numpy()) for v in case.agent.networks.variables]
        for variable, value in copies:
            variable.assign(value)
        _, gradient = case.gradients(*batch)
        for variable, value in moved:
            variable.assign(value)
        expected = adam.update({name: before[name] for name in gradient}, gradient)
        for name in before:
            if name.startswith("target_value"):
                online = after[name.replace("target_value", "value")]
                expected[name] = imrl.soft_update(before[name], online, case.config.tau)
        assert set(expected) == set(after)
        for name, x in expected.items():
            step = np.abs(x - before[name]).max()
            np.testing.assert_allclose(
                after[name], x, rtol=2e-7, atol=1e-4 * step, err_msg=name
            )


def test_actions(case):
    """The mean action, and an action drawn with the noise of a seed."""
    state, seed = case.batch(seed=8)[0].state, tf.constant([9, 1])
    noise = tf.random.stateless_normal([ROWS, case.agent.action_spec.shape[0]], seed)
    drawn = (tf.zeros_like(noise), case.agent.act(state)), (noise, case.agent.act(state, seed))
    w = {name: tf.constant(x) for name, x in case.weights().items()}
    for numbers, actual in drawn:
        expected = [
            imrl.act(w, s, z)
            for s, z in zip(
                state.numpy().astype(np.float64),
                numbers.numpy().astype(np.float64),
                strict=True,
            )
        ]
        compare.assert_close(actual, expected, TOLERANCE)


@pytest.mark.parametrize("case", ["slates"], indirect=True)
def test_synthetic_steps_are_exchanges_of_algorithm_1(case):
    """Each is an informative step with slots of another step that Algorithm 1 allows."""
    structure = knowledge.of(case.simulator)
    slots = structure.slots
    whole = frozenset(range(len(slots.state)))
    actions = set(range(slots.count)) - whole
    graph = structure.graphs[case.config.augmentation]
    size = case.agent.action_spec.shape[0]
    shown = slice(size, size + case.simulator.slate_size * case.simulator.action_size)

    def links(state, action):
        """The links of B steps, bool [N, N] each."""
        influences = graph(tf.constant(state), tf.constant(action[:, shown])).numpy()
        return [imrl.adjacency(x, actions, case.config.mask_threshold) for x in influences]

    replay = case.method.replay
    row_ranges = tf.range(replay.size), replay.capacity + tf.range(replay.synthetic_size)
    real, synthetic = (
        tf.nest.map_structure(np.asarray, replay.rows(rows)) for rows in row_ranges
    )
    graphs, synthetic_graphs = (
        links(real.state, real.action),
        links(synthetic.state, synthetic.action),
    )
    limit = imrl.threshold(0.25, case.config)
    informative = [imrl.is_informative(reward, limit) for reward in real.reward]
    assert 0 < len(synthetic.reward) <= sum(informative)

    def differing(first, row):
        return {
            n
            for n, slot_columns in enumerate(slots.state)
            for x, y in ((real.state, synthetic.state), (real.next_state, synthetic.next_state))
            if (x[first][list(slot_columns)] != y[row][list(slot_columns)]).any()
        }

    def explains(first, second, row):
        """Whether a row is the first step with a minimal set of slots of the second."""
        parts = imrl.components(graphs[first] | graphs[second])
        different = differing(first, row)
        exchanged_slots = frozenset().union(*(part for part in parts if part & different))
        if exchanged_slots & actions or exchanged_slots == whole:
            return False
        state, next_state = (
            imrl.exchanged(x[first], x[second], exchanged_slots, slots.state)
            for x in (real.state, real.next_state)
        )
        return (
            (state == synthetic.state[row]).all()
            and (next_state == synthetic.next_state[row]).all()
            and imrl.is_union(exchanged_slots, imrl.components(synthetic_graphs[row]))
        )

    exchanges = 0
    for row in range(len(synthetic.reward)):
        [first] = np.flatnonzero((real.action == synthetic.action[row]).all(axis=1))
        assert informative[first] and real.own_next[first]
        assert (
            real.reward[first] == synthetic.reward[row]
            and real.user[first] == synthetic.user[row]
        )
        assert any(explains(first, second, row) for second in np.flatnonzero(real.own_next))
        exchanges += bool(differing(first, row))
    assert exchanges > 0


SLOTS = causal_graph.Slots.of_sizes([1, 2, 1, 1, 2], [2, 1])
COLUMNS = [*SLOTS.state, *(tuple(7 + c for c in slot) for slot in SLOTS.action)]
ACTIONS = {5, 6}


def random_steps(rows: int, seed: int) -> Steps:
    random = np.random.default_rng(seed)
    state, next_state = random.normal(size=[2, rows, 7]).astype(np.float32)
    return Steps(
        state=tf.constant(state),
        action=tf.constant(random.uniform(-1, 1, [rows, 3]), tf.float32),
        reward=tf.constant(random.uniform(size=rows), tf.float32),
        next_state=tf.constant(next_state),
        discount=tf.ones([rows]),
        user=tf.range(rows),
        own_next=tf.constant(random.uniform(size=rows) < 0.8),
        synthetic=tf.zeros([rows], tf.bool),
    )


def attention_net(seed: int = 3) -> causal_graph.SetAttention:
    """A network with noise in its weights and biases, so that steps differ."""
    config = causal_graph.SetAttentionConfig(
        blocks=2, heads=3, hidden_layers=1, units=5, learning_rate=0.01, sparsity=0.4
    )
    net = causal_graph.SetAttention(config, SLOTS, seed)
    noise = np.random.default_rng(seed)
    for variable in net.trainable_variables:
        variable.assign_add(noise.normal(scale=0.4, size=variable.shape))
    return net


def test_exchanges_of_random_graphs():
    """For every pair of steps, the exchanged sets of slots and the synthetic steps."""
    pairs, draws, limit = 40, 30, 12.0
    first, second = random_steps(pairs, 1), random_steps(pairs, 2)
    random = np.random.default_rng(3)
    kernel = tf.constant(random.normal(size=[10, SLOTS.count**2]), tf.float32)

    def influence(state, action):
        """Graphs with a few links, which differ between steps."""
        strength = (tf.concat([state, action], axis=1) @ kernel) ** 2
        return tf.reshape(strength, [-1, SLOTS.count, SLOTS.count])  # [B, N, N]

    both = influence(first.state, first.action), influence(second.state, second.action)
    one, other = (tf.nest.map_structure(np.asarray, steps) for steps in (first, second))

    def links(matrix):
        return imrl.adjacency(matrix.numpy(), ACTIONS, limit)

    expected = [
        imrl.exchangeable(*map(links, matrices), ACTIONS)
        for matrices in zip(*both, strict=True)
    ]
    sizes = {len(sets) for sets in expected}
    assert {0, 1, 2} < sizes and max(sizes) > 2
    drawn_sets = [set() for _ in range(pairs)]
    rejected = 0
    for draw in range(draws):
        made = counterfactual.augment(
            first, second, influence, SLOTS, tf.constant([4, draw]), threshold=limit
        )
        after = influence(made.steps.state, first.action)
        made = tf.nest.map_structure(np.asarray, made)
        for k in range(pairs):
            exchanged_slots = frozenset(np.flatnonzero(made.slots[k]).tolist())
            if not expected[k]:
                assert not exchanged_slots and not made.valid[k]
                continue
            assert exchanged_slots in expected[k]
            drawn_sets[k].add(exchanged_slots)
            separate = imrl.is_union(exchanged_slots, imrl.components(links(after[k])))
            rejected += not separate
            own_next = bool(one.own_next[k] and other.own_next[k])
            assert bool(made.valid[k]) == (own_next and separate)
            if draw < 3:
                for name in ("state", "next_state"):
                    x, y = (getattr(steps, name)[k] for steps in (one, other))
                    expected_state = imrl.exchanged(x, y, exchanged_slots, COLUMNS)
                    np.testing.assert_array_equal(getattr(made.steps, name)[k], expected_state)
                for name in ("action", "reward", "discount", "user", "own_next"):
                    original = getattr(one, name)[k]
                    np.testing.assert_array_equal(getattr(made.steps, name)[k], original)
    assert rejected > 0
    # All sets are equally likely; 30 draws miss one of up to 3 sets in a pair in 60,000.
    few = [k for k in range(pairs) if len(expected[k]) <= 3]
    assert [drawn_sets[k] for k in few] == [expected[k] for k in few]


def test_the_network_that_learns_the_graph():
    """Its influences, prediction, loss and gradients."""
    net, steps = attention_net(), random_steps(5, 8)
    weight = np.array([1.0, 0.0, 1.0, 0.5, 1.0])
    named = checkpoint.named_variables(net)
    named = {name: named[name] for name in named if not name.startswith("optimizer/")}
    w = {name: tf.cast(variable, tf.float64) for name, variable in named.items()}
    rows = [
        imrl.AttentionRow(*(x[k].numpy().astype(np.float64) for x in arrays), weight[k])
        for arrays in [(steps.state, steps.action, steps.next_state)]
        for k in range(5)
    ]
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = imrl.attention_loss(w, rows, COLUMNS, net.sparsity)
    expected = {name: g.numpy() for name, g in tape.gradient(loss, w).items()}
    influences, prediction = (f(steps.state, steps.action) for f in (net, net.predict))
    for k, row in enumerate(rows):
        predicted, maps = imrl.attend(w, row, COLUMNS)
        compare.assert_close(prediction[k], predicted, TOLERANCE)
        compare.assert_close(influences[k], imrl.influence(maps), TOLERANCE)
    net_loss, bad = net.update(
        causal_graph.Batch(
            steps.state, steps.action, steps.next_state, tf.constant(weight, tf.float32)
        )
    )
    assert int(bad) == -1 and float(net_loss) == pytest.approx(float(loss), rel=1e-5)
    # After one step Adam's first moment is a tenth of the gradient.
    name_of = {id(variable): name for name, variable in named.items()}
    moments = zip(net.trainable_variables, net.optimizer._momentums, strict=True)
    gradients = {name_of[id(variable)]: 10.0 * moment.numpy() for variable, moment in moments}
    # A key's last bias adds the same to all scores of a softmax: its gradient is zero.
    for name in [name for name in expected if name.endswith("key/biases/1")]:
        assert np.abs([gradients.pop(name), expected.pop(name)]).max() < 1e-7
    compare.assert_all_close(gradients, expected, TOLERANCE)


def test_the_threshold_of_augmentation():
    for start, maximum, ramp in ((1.0, 10.0, 0.5), (0.5, 4.0, 1.0), (1.0, 1.0, 0.5)):
        config = OnlineImrlConfig(
            threshold_start=start, threshold_max=maximum, threshold_ramp=ramp
        )
        limits = []
        for progress in np.linspace(0.0, 1.0, 9):
            expected = imrl.threshold(progress, config)
            limit = threshold.threshold(progress, 1, start, maximum, ramp)
            assert float(limit) == pytest.approx(expected, rel=1e-6)
            limits.append(expected)
            for reward in (0.0, start, expected, maximum):
                ready = threshold.informative(tf.constant([reward]), expected)[0]
                assert bool(ready) == imrl.is_informative(reward, expected)
        assert limits[0] == start and limits[-1] == maximum


def test_empowerment_of_a_discrete_state():
    """The capacity is the mutual information of the best source, and no source has more."""
    random = np.random.default_rng(0)
    channel = random.dirichlet(np.ones(4), size=3)
    capacity, best = empowerment.capacity(channel)
    assert imrl.mutual_information(channel, best) == pytest.approx(capacity, abs=1e-6)
    for source in random.dirichlet(np.ones(3), size=200):
        information = imrl.mutual_information(channel, source)
        assert information <= capacity + 1e-9
        actual = empowerment.mutual_information(channel, source)
        assert actual == pytest.approx(information, rel=1e-9)
