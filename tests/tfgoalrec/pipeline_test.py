import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import pipeline
from tfrec.replay import episodes as replay

NAMES = ("click@0", "watch@1..")
STEPS = 4 + 5 + 1


def stored(batch=3, repeat=1):
    return tf.data.Dataset.from_tensor_slices(small.sessions()).repeat(repeat).batch(batch)


def rows(dataset):
    """All rows of a dataset of transitions, numpy."""
    parts = list(dataset.as_numpy_iterator())
    return tf.nest.map_structure(lambda *x: np.concatenate(x), *parts)


def raw(measured, values):
    return values * measured.std.numpy() + measured.mean.numpy()


def key(observation, item):
    """(history, step, item): differs for every step of the three sessions."""
    return [
        (*history, step, shown)
        for history, step, shown in zip(
            observation.history_item.tolist(),
            observation.step.tolist(),
            item.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_rows_written_out_by_hand(batch):
    measured = small.fitted(NAMES)
    batch_rows = rows(pipeline.transitions(stored(batch), measured, 0.5, 0, 4))
    # history, step, item -> click@0 and watch@1.. from here, and from the session's start
    expected = {
        (0, 0, 5, 6, 0, 1): ([1, 10], [1, 10]),
        (0, 5, 6, 1, 1, 2): ([0, 10], [1, 10]),
        (5, 6, 1, 2, 2, 3): ([1, 6], [1, 10]),
        (6, 1, 2, 3, 3, 4): ([1, 0], [1, 10]),
        (0, 0, 0, 0, 0, 5): ([0, 10], [0, 10]),
        (0, 0, 0, 5, 1, 1): ([1, 8], [0, 10]),
        (0, 0, 5, 1, 2, 2): ([0, 8], [0, 10]),
        (0, 5, 1, 2, 3, 2): ([0, 8], [0, 10]),
        (5, 1, 2, 2, 4, 3): ([1, 0], [0, 10]),
        (1, 2, 3, 1, 0, 4): ([0, 0], [0, 0]),
    }
    keys = key(batch_rows.observation, batch_rows.item)
    assert sorted(keys) == sorted(expected)
    measurement, outcome = (
        raw(measured, batch_rows.measurement),
        raw(measured, batch_rows.outcome),
    )
    for row, which in enumerate(keys):
        now, start = expected[which]
        np.testing.assert_allclose(measurement[row], now, atol=1e-4)
        np.testing.assert_allclose(outcome[row], start, atol=1e-4)
    third = keys.index((5, 6, 1, 2, 2, 3))
    np.testing.assert_array_equal(
        batch_rows.observation.history_feedback[third], [[1, 3], [0, 0], [1, 10], [0, 0]]
    )


def test_windows_and_labels_equal_the_replays():
    measured = small.fitted()
    ring = replay.EpisodeReplay(small.SPEC, capacity=3, label_size=measured.dim)
    episodes = small.tensors(small.sessions())
    ring.add(episodes, measured.standardised(episodes), tf.zeros([3, measured.dim]))
    drawn = ring.sample(500, tf.constant([1, 2]))
    observation = tf.nest.map_structure(lambda x: x.numpy(), drawn.observation)
    row_of_key = {k: i for i, k in enumerate(key(observation, drawn.item.numpy()))}
    batch_rows = rows(pipeline.transitions(stored(), measured, 0.3, 0, 4))
    keys = key(batch_rows.observation, batch_rows.item)
    assert sorted(keys) == sorted(row_of_key)
    index = [row_of_key[k] for k in keys]
    np.testing.assert_array_equal(
        batch_rows.observation.history_feedback, observation.history_feedback[index]
    )
    np.testing.assert_allclose(batch_rows.measurement, drawn.label.numpy()[index], atol=1e-5)
    np.testing.assert_allclose(batch_rows.outcome, drawn.first_label.numpy()[index], atol=1e-5)


def test_hindsight_goal_is_the_outcome_and_other_goals_are_one_for_each_session():
    measured = small.fitted()
    reached = rows(pipeline.transitions(stored(), measured, 1.0, 0, STEPS))
    length = np.linalg.norm(reached.outcome, axis=1, keepdims=True)
    np.testing.assert_allclose(reached.goal, reached.outcome / length, rtol=1e-5)
    drawn = rows(pipeline.transitions(stored(), measured, 0.0, 0, STEPS))
    np.testing.assert_allclose(np.linalg.norm(drawn.goal, axis=1), 1.0, rtol=1e-5)
    goals, counts = np.unique(drawn.goal.round(5), axis=0, return_counts=True)
    assert sorted(counts) == [1, 4, 5]
    assert len(goals) == 3


def test_batches_are_full_but_for_the_last():
    sizes = [
        len(batch.item)
        for batch in pipeline.transitions(stored(batch=1), small.fitted(), 0.3, 0, 4)
    ]
    assert sizes == [4, 4, 2]


def test_the_seed_decides_order_and_goals_and_each_pass_draws_anew():
    measured = small.fitted()

    def of(seed, repeat=1):
        return rows(pipeline.transitions(stored(repeat=repeat), measured, 0.3, seed, STEPS))

    first, again, other = of(0), of(0), of(1)
    tf.nest.map_structure(np.testing.assert_array_equal, first, again)
    assert (first.item != other.item).any()
    twice = of(0, repeat=2)
    np.testing.assert_array_equal(twice.goal[:STEPS], first.goal)
    later = key(twice.observation, twice.item)[STEPS:]
    second = dict(zip(later, twice.goal[STEPS:], strict=True))
    moved = [
        (second[k] != g).any()
        for k, g in zip(key(first.observation, first.item), first.goal, strict=True)
    ]
    assert sum(moved) >= STEPS // 2  # hindsight goals may repeat, random ones do not
