"""The model: states, rollouts, rewards, beam search and ranking, by hand or by enumeration."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.paths import village
from tfrec.baselines.paths import pgpr, walking_graph
from tfrec.baselines.paths.config import PgprKgConfig

SMALL = {"width": 3, "hidden": (6,), "keys": 2, "beam": (3, 3, 3), "max_acts": 5}


@pytest.fixture(scope="module")
def model():
    """A model of the small graph at random weights."""
    config = PgprKgConfig(**SMALL)
    model = pgpr.PathModel(config, walking_graph.joined(*village.small()), seed=1)
    rng = np.random.default_rng(0)
    for variable in (*model.translations.variables, *model.policy.variables):
        variable.assign(rng.normal(size=variable.shape))
    model.translations.node.assign(tf.tensor_scatter_nd_update(
        model.translations.node, [[0]], [[0.0, 0, 0]]
    ))  # fmt: skip
    model.score_edges()
    return model


def test_the_state_is_user_node_and_last_hop(model):
    node, relation = model.translations.node.numpy(), model.translations.relation.numpy()
    nodes = [tf.constant([7]), tf.constant([1]), tf.constant([8])]
    result = model.state(nodes, [tf.constant([1]), tf.constant([4])]).numpy()[0]
    assert result == pytest.approx([*node[7], *node[8], *node[1], *-relation[0]])
    first = model.state(nodes[:1], []).numpy()[0]
    assert first == pytest.approx([*node[7], *node[7], 0, 0, 0, 0, 0, 0])


def test_the_reward_is_soft_and_0_at_own_items_and_elsewhere(model):
    scores = tf.constant([[9, 1, 2, 4, 3, 9, 9, 9, 9]] * 5, tf.float32)
    user, end = tf.constant([7] * 5), tf.constant([1, 2, 3, 5, 7])
    assert model.reward(scores, user, end).numpy() == pytest.approx([0, 0.5, 1, 0, 0])


def walks_of(model, user):
    """All paths of a user with their log probabilities: one path and one step at a time."""
    edges = model.edges
    offsets, relation, tail = (x.numpy() for x in (edges.offsets, edges.relation, edges.tail))
    scores = model.user_scores(tf.constant([user])).numpy()[0]
    result = [([user], [], 0.0)]
    for _ in range(3):
        longer = []
        for nodes, relations, total in result:
            here = nodes[-1]
            actions = [(0, here, scores[here])]
            for edge in range(offsets[here], offsets[here + 1]):
                if tail[edge] not in nodes:
                    score = scores[tail[edge]] + edges.score.numpy()[edge]
                    actions.append((relation[edge], tail[edge], score))
            given = [tf.constant([x]) for x in nodes], [tf.constant([x]) for x in relations]
            hidden = model.policy.hidden(model.state(*given), None)
            query = model.policy.head(hidden).numpy()[0]
            keys = model.policy.keys(model.translations.node).numpy()
            logits = np.array([
                query[:2] @ (keys[v] + model.policy.relation_key.numpy()[r]) + query[2] * s
                for r, v, s in actions
            ])  # fmt: skip
            share = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            for (r, v, _), own in zip(actions, share, strict=True):
                longer.append(([*nodes, v], [*relations, r], total + own))
        result = longer
    return result


def test_a_wide_beam_finds_every_path_with_its_probability(model):
    user = tf.constant([7, 8, 0])
    paths = model.search(user, model.user_scores(user))
    assert paths.node.shape == (3, 27, 4)
    for row in (0, 1):
        expected = {
            (tuple(map(int, nodes)), tuple(map(int, relations))): total
            for nodes, relations, total in walks_of(model, int(user[row]))
        }
        real = np.isfinite(paths.log_prob[row])
        by_name = {
            (tuple(nodes), tuple(relations)): float(value)
            for nodes, relations, value in zip(
                paths.node.numpy()[row][real].tolist(),
                paths.relation.numpy()[row][real].tolist(),
                paths.log_prob.numpy()[row][real],
                strict=True,
            )
        }
        assert by_name.keys() == expected.keys()
        for path, total in by_name.items():
            assert total == pytest.approx(expected[path], abs=1e-4)
        assert sum(map(math.exp, by_name.values())) == pytest.approx(1.0, abs=1e-4)
    # Node 0 stands for unknown users and can only be stayed at.
    real = np.isfinite(paths.log_prob[2])
    assert paths.node[2].numpy()[real].tolist() == [[0, 0, 0, 0]]


def test_a_narrow_beam_follows_the_most_probable_action_of_each_step(model):
    config = PgprKgConfig(**SMALL | {"beam": (1, 1, 1)})
    narrow = pgpr.PathModel(config, walking_graph.joined(*village.small()), seed=1)
    for one, other in zip(narrow.variables, model.variables, strict=True):
        one.assign(other)
    user = tf.constant([7])
    result = narrow.search(user, narrow.user_scores(user)).node.numpy()[0, 0].tolist()
    walks = walks_of(model, 7)
    for step in range(3):
        prefixes = {}
        for nodes, _, total in walks:
            if nodes[: step + 1] == result[: step + 1]:
                key = nodes[step + 1]
                prefixes[key] = prefixes.get(key, 0) + math.exp(total)
        assert max(prefixes, key=prefixes.get) == result[step + 1]


def test_rollouts_draw_paths_by_the_probability_of_the_policy(model):
    config = PgprKgConfig(**SMALL | {"action_dropout": 0.0, "dropout": 0.0})
    sure = pgpr.PathModel(config, walking_graph.joined(*village.small()), seed=1)
    for one, other in zip(sure.variables, model.variables, strict=True):
        one.assign(other)
    walked = sure.rollouts(tf.fill([4000], 7), tf.constant([1, 2]))
    totals = walked.log_prob.numpy().sum(axis=1)
    for _, _, total in walks_of(model, 7):
        drawn = np.isclose(totals, total, atol=1e-4).mean()
        same = sum(math.exp(t) for _, _, t in walks_of(model, 7) if abs(t - total) < 1e-4)
        assert drawn == pytest.approx(same, abs=0.03)
    assert walked.entropy.shape == walked.value.shape == (4000, 3)


def test_items_with_paths_come_first_each_with_its_most_probable_path():
    scores = tf.constant([[5.0, 1.0, 4.0, 3.0, -math.inf]])
    node = tf.constant([[[9, 2, 7, 2], [9, 4, 8, 4], [9, 1, 6, 4], [9, 1, 1, 5], [9, 9, 9, 7]]])
    relation = node[..., 1:] * 0 + tf.constant([1, 2, 3, 4, 5])[:, None]
    log_prob = tf.constant([[-1.0, -3.0, -2.0, -0.1, -0.1]])
    ranked = pgpr.ranked(scores, pgpr.Paths(node, relation, log_prob), tf.constant(5))
    # Items 2 and 4 have paths, 1 and 3 none, and item 5 may not be listed.
    assert ranked.items.numpy().tolist() == [[4, 2, 1, 3, 0]]
    assert ranked.with_path.numpy().tolist() == [[True, True, False, False, False]]
    assert ranked.scores.numpy()[0, :4].tolist() == [3, 1, 5, 4]
    assert ranked.node.numpy()[0, :3].tolist() == [[9, 1, 6, 4], [9, 2, 7, 2], [0, 0, 0, 0]]
    assert ranked.relation.numpy()[0, :2].tolist() == [[3, 3, 3], [1, 1, 1]]
    assert ranked.log_prob.numpy()[0].tolist() == [-2, -1, -math.inf, -math.inf, -math.inf]


def test_an_impossible_path_explains_nothing():
    node = tf.constant([[[9, 2, 7, 2]]])
    paths = pgpr.Paths(node, node[..., 1:], tf.constant([[-math.inf]]))
    ranked = pgpr.ranked(tf.constant([[5.0, 1.0]]), paths, tf.constant(2))
    assert ranked.items.numpy().tolist() == [[1, 2]]
    assert not ranked.with_path.numpy().any()


def test_lists_do_not_depend_on_the_batch_and_leave_the_history_out(model, monkeypatch):
    train, _ = village.small()
    whole = model.lists(np.array([0, 1]), train, 3)
    assert not np.isin(whole.items[0], [1, 4]).any()
    assert not np.isin(whole.items[1], [3, 4]).any()
    assert (whole.items[:, 2:] == 0).all()
    monkeypatch.setattr(pgpr, "_SCORES_AT_ONCE", 1)
    for one, other in zip(whole, model.lists(np.array([0, 1]), train, 3), strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_memory_bounds_the_users_of_a_batch(model):
    parts = model.parts_of(100_000)
    each = math.prod(model.config.beam[:-1]) * model.config.max_degree
    assert (parts[0].stop - parts[0].start) * each <= pgpr._SCORES_AT_ONCE
    assert sum(1 for _ in itertools.chain(parts)) == -(-100_000 // parts[0].stop)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": (25, 5)}, r"beam is \(25, 5\); expected 3 numbers"),
        ({"beam": (25, 5, 1), "max_acts": 23}, "expected at most max_acts . 1 = 24"),
        ({"max_degree": 100}, "max_acts is 250; expected at most max_degree, 100"),
        ({"path_length": 1}, "path_length is 1"),
        ({"action_dropout": 1.0}, "action_dropout is 1.0"),
    ],
)
def test_sizes_that_do_not_fit_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        PgprKgConfig(**options)
