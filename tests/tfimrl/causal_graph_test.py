import dataclasses

import numpy as np
import pytest
import scipy.sparse.csgraph
import tensorflow as tf

from tfimrl import causal_graph
from tfrec.training import checkpoint

# Three state slots of one column, one action slot.
FOUR = causal_graph.Slots.of_sizes([1, 1, 1], [1])


def linked(*pairs, slots=4):
    """A graph from its links, [1, N, N]."""
    graph = np.eye(slots, dtype=bool)
    for i, j in pairs:
        graph[i, j] = graph[j, i] = True
    return tf.constant(graph[None])


def test_slots_number_the_state_first():
    slots = causal_graph.Slots(state=((0, 3), (1, 2)), action=((1,), (0, 2)))
    assert slots.count == 4
    np.testing.assert_array_equal(slots.of_state_column, [0, 1, 1, 0])
    np.testing.assert_array_equal(slots.of_action_column, [3, 2, 3])
    np.testing.assert_array_equal(slots.is_action, [False, False, True, True])


def test_slots_of_sizes_lie_side_by_side():
    slots = causal_graph.Slots.of_sizes([3, 2], [4])
    assert slots == causal_graph.Slots(((0, 1, 2), (3, 4)), ((0, 1, 2, 3),))


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (((0, 1), (1, 2)), ((0,),)),  # column 1 twice
        (((0,), (2,)), ((0,),)),  # column 1 nowhere
        (((0,), ()), ((0,),)),  # a slot of nothing
        (((0,),), ()),  # no action
    ],
)
def test_columns_belong_to_one_slot(state, action):
    with pytest.raises(ValueError, match="each column from 0 on exactly once"):
        causal_graph.Slots(state, action)


def test_adjacency_by_hand():
    influence = [
        [0.0, 0.05, 0.0, 0.9],  # column 3 is onto the action and is ignored
        [0.0, 0.0, 0.039, 0.0],
        [0.0, 0.0, 0.5, 0.0],
        [0.0, 0.0, 0.041, 0.0],
    ]
    graph = causal_graph.adjacency(tf.constant([influence]), FOUR)
    # Means of both directions: 0-1 .025, 1-2 .0195 (not above .02), 3-2 .0205.
    np.testing.assert_array_equal(graph, linked((0, 1), (2, 3)))


def test_a_higher_threshold_cuts_links():
    influence = tf.fill([1, 4, 4], 0.1)
    assert causal_graph.adjacency(influence, FOUR, 0.06).numpy().sum() == 10  # state slots
    assert causal_graph.adjacency(influence, FOUR, 0.2).numpy().sum() == 4


@pytest.mark.parametrize(
    ("graph", "component", "independent"),
    [
        (linked(), [0, 1, 2, 3], [True, True, True, False]),
        (linked((0, 1)), [0, 0, 2, 3], [True, True, True, False]),
        (linked((1, 3)), [0, 1, 2, 1], [True, False, True, False]),
        (linked((0, 1), (1, 2)), [0, 0, 0, 3], [True, True, True, False]),
        (linked((0, 2), (2, 3)), [0, 1, 0, 0], [False, True, False, False]),
        (linked((0, 1), (1, 2), (2, 3)), [0, 0, 0, 0], [False] * 4),
    ],
    ids=["isolated", "pair", "with the action", "chain", "chain to the action", "all"],
)
def test_components_by_hand(graph, component, independent):
    components = causal_graph.components(graph)
    np.testing.assert_array_equal(components, [component])
    np.testing.assert_array_equal(causal_graph.independent(components, FOUR), [independent])


@pytest.mark.parametrize("slots", [1, 2, 5, 8, 9, 14, 33])
def test_the_longest_chain_is_one_component(slots):
    chain = linked(*((i, i + 1) for i in range(slots - 1)), slots=slots)
    np.testing.assert_array_equal(causal_graph.components(chain), np.zeros([1, slots]))


def test_components_of_random_graphs_are_scipys():
    random = np.random.default_rng(0)
    graphs = np.triu(random.random([200, 12, 12]) < 0.1)
    graphs = graphs | graphs.transpose(0, 2, 1) | np.eye(12, dtype=bool)
    ours = tf.function(causal_graph.components)(tf.constant(graphs)).numpy()
    for graph, component in zip(graphs, ours, strict=True):
        _, theirs = scipy.sparse.csgraph.connected_components(graph)
        first = [int(np.argmax(theirs == name)) for name in theirs]  # the first slot's name
        np.testing.assert_array_equal(component, first)


def test_two_action_slots_both_count():
    slots = causal_graph.Slots.of_sizes([1, 1], [1, 1])
    components = causal_graph.components(linked((1, 3)))
    np.testing.assert_array_equal(
        causal_graph.independent(components, slots), [[True, False, False, False]]
    )


def test_a_constant_influence_is_that_of_every_step():
    influence = causal_graph.constant(np.arange(16).reshape(4, 4))
    influences = influence(tf.zeros([2, 3]), tf.zeros([2, 1]))
    np.testing.assert_array_equal(
        influences, np.tile(np.arange(16).reshape(1, 4, 4), (2, 1, 1))
    )


def test_features_that_are_not_shown_have_no_influence():
    # Columns 0-2 of the action are topics, each with an interest; they are two slots.
    slots = causal_graph.Slots(((0,), (1,), (2,)), ((0, 1), (2,)))
    influence = causal_graph.heuristic(slots, [(0, 0), (1, 1), (2, 2)])
    action = tf.constant([[0.0, 0.7, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    graph = causal_graph.adjacency(influence(tf.ones([3, 3]), action), slots)
    independent = causal_graph.independent(causal_graph.components(graph), slots)
    expected = [[True, False, True], [True, True, False], [True, True, True]]
    np.testing.assert_array_equal(independent[:, :3], expected)


SMALL = causal_graph.SetAttentionConfig(
    blocks=2, heads=2, hidden_layers=1, units=32, learning_rate=3e-3
)


def test_attention_maps_multiply_to_a_distribution():
    slots = causal_graph.Slots.of_sizes([2, 1, 3], [2])
    model = causal_graph.SetAttention(SMALL, slots)
    state, action = tf.random.normal([5, 6]), tf.random.normal([5, 2])
    influence = model(state, action)
    assert influence.shape == [5, 4, 4]
    # The attention of a slot's prediction sums to 1, over two blocks as over one.
    np.testing.assert_allclose(tf.reduce_sum(influence, axis=1), np.ones([5, 4]), rtol=1e-5)
    assert model.predict(state, action).shape == [5, 6]


def test_the_influence_is_the_product_of_the_maps_by_hand():
    slots = causal_graph.Slots.of_sizes([1], [1])
    model = causal_graph.SetAttention(SMALL, slots)
    # Rows are outputs, columns are inputs.
    below, above = [[0.9, 0.1], [0.4, 0.6]], [[0.7, 0.3], [0.2, 0.8]]
    model._forward = lambda state, action: (None, [tf.constant([below]), tf.constant([above])])
    # Output 0 above has weight .7 on output 0 below, with .9 on slot 0, and .3 on output 1.
    expected = [
        [0.7 * 0.9 + 0.3 * 0.4, 0.2 * 0.9 + 0.8 * 0.4],
        [0.7 * 0.1 + 0.3 * 0.6, 0.2 * 0.1 + 0.8 * 0.6],
    ]
    np.testing.assert_allclose(model(tf.zeros([1, 1]), tf.zeros([1, 1])), [expected], rtol=1e-6)


def test_the_attention_maps_are_the_only_way_between_slots(monkeypatch):
    slots = causal_graph.Slots.of_sizes([1, 1], [1])
    model = causal_graph.SetAttention(SMALL, slots)
    state, action = tf.constant([[0.3, -0.2]]), tf.constant([[0.5]])
    other = tf.constant([[0.3, 0.9]])
    assert model.predict(state, action)[0, 0] != model.predict(other, action)[0, 0]
    # Each slot attends to itself alone:
    monkeypatch.setattr(tf.nn, "softmax", lambda x: tf.eye(3, batch_shape=tf.shape(x)[:2]))
    one, two = (model.predict(s, action) for s in (state, other))
    assert one[0, 0] == two[0, 0]
    assert one[0, 1] != two[0, 1]


def step(state, action):
    """Slot 0 is independent, slots 1 and 2 drive each other, slot 3 follows the action."""
    free, one, two, driven = (state[:, i] for i in range(4))
    return np.stack(
        [np.sin(3 * free), 1.5 * two, -1.5 * one, 0.3 * driven + 1.5 * action[:, 0]], axis=1
    )


@pytest.fixture(scope="module")
def trained():
    slots = causal_graph.Slots.of_sizes([1, 1, 1, 1], [1])
    config = dataclasses.replace(SMALL, blocks=1, learning_rate=5e-3, sparsity=0.4)
    model = causal_graph.SetAttention(config, slots, seed=1)
    update = tf.function(model.update)
    random = np.random.default_rng(0)
    losses = []
    for _ in range(600):
        state = random.uniform(-1, 1, [128, 4]).astype(np.float32)
        action = random.uniform(-1, 1, [128, 1]).astype(np.float32)
        arrays = (state, action, step(state, action), np.ones(128))
        batch = causal_graph.Batch(*(tf.constant(x, tf.float32) for x in arrays))
        loss, bad = update(batch)
        assert int(bad) == -1
        losses.append(float(loss))
    return model, losses


def test_the_network_learns_the_next_state(trained):
    _, losses = trained
    assert np.mean(losses[-20:]) < 0.1 * losses[0]


def test_attention_finds_the_influences(trained):
    model, _ = trained
    random = np.random.default_rng(1)
    state = tf.constant(random.uniform(-1, 1, [500, 4]), tf.float32)
    action = tf.constant(random.uniform(-1, 1, [500, 1]), tf.float32)
    influence = tf.reduce_mean(model(state, action), axis=0).numpy()
    influence[:, 4] = 0.0  # no slot influences an action
    strength = (influence + influence.T) / 2
    linked = np.zeros([5, 5], bool)
    linked[[1, 3], [2, 4]] = True
    apart = np.triu(np.ones([5, 5], bool), 1) & ~linked
    assert strength[linked].min() > 1.3 * strength[apart].max(), influence.round(3)
    assert strength[linked].min() > 0.02


def test_rows_of_weight_0_have_no_effect():
    slots = causal_graph.Slots.of_sizes([1], [1])
    batches = []
    for wild in (5.0, 1000.0):
        model = causal_graph.SetAttention(SMALL, slots, seed=3)
        following = tf.constant([[1.0], [wild]])
        ones = tf.ones([2, 1])
        batch = causal_graph.Batch(ones, ones, following, tf.constant([1.0, 0]))
        loss, _ = model.update(batch)
        batches.append((float(loss), model.trainable_variables))
    assert batches[0][0] == batches[1][0]
    for one, other in zip(batches[0][1], batches[1][1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_bad_numbers_change_no_weight():
    slots = causal_graph.Slots.of_sizes([1], [1])
    model = causal_graph.SetAttention(SMALL, slots, seed=3)
    before = [v.numpy() for v in model.variables]
    ones = tf.ones([2, 1])
    batch = causal_graph.Batch(ones, ones, ones, tf.ones([2]))
    _, bad = model.update(batch._replace(next_state=ones * np.inf))
    assert model.checked[int(bad)] == "graph loss"
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    loss, bad = model.update(batch)
    assert np.isfinite(loss) and int(bad) == -1


def test_a_checkpoint_resumes_exactly(tmp_path):
    slots = causal_graph.Slots.of_sizes([2], [1])
    before, after = (causal_graph.SetAttention(SMALL, slots, seed=s) for s in (1, 2))
    batch = causal_graph.Batch(tf.ones([4, 2]), tf.ones([4, 1]), tf.zeros([4, 2]), tf.ones([4]))
    before.update(batch)
    checkpoint.write(tmp_path / "saved", before, SMALL)
    checkpoint.read(tmp_path / "saved", after, SMALL)
    losses = [[float(model.update(batch)[0]) for _ in range(2)] for model in (before, after)]
    assert losses[0] == losses[1]
