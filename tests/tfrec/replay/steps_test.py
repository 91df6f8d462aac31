import numpy as np
import pytest
import tensorflow as tf

from tfrec.replay import steps
from tfrec.training import checkpoint


def numbered(numbers, synthetic=False):
    """Rows whose every field tells their number."""
    number = tf.constant(numbers, tf.float32)
    return steps.Steps(
        state=tf.stack([number, -number], axis=1),
        action=number[:, None] + 0.25,
        reward=number + 0.5,
        next_state=tf.stack([number + 1, -number - 1], axis=1),
        discount=number / 100,
        user=tf.cast(number, tf.int32) * 10,
        own_next=number % 2 == 0,
        synthetic=tf.fill([len(numbers)], synthetic),
    )


def replay(capacity=4, synthetic_capacity=3):
    return steps.StepReplay(2, 1, capacity, synthetic_capacity)


def held(drawn):
    """Numbers of the drawn rows."""
    return sorted(set(drawn.state[:, 0].numpy().astype(int)))


def test_a_row_comes_back_whole():
    ring = replay()
    ring.add(numbered([3, 4]))
    ring.add_synthetic(numbered([7], synthetic=True), tf.constant([True]))
    rows = ring.rows(tf.constant([1, 4], tf.int64))  # synthetic rows start at the capacity
    expected = tf.nest.map_structure(
        lambda *parts: tf.concat(parts, 0), numbered([4]), numbered([7], synthetic=True)
    )
    for name, value in rows._asdict().items():
        np.testing.assert_array_equal(value, getattr(expected, name), err_msg=name)


def test_the_oldest_rows_give_way():
    ring = replay()
    add = tf.function(ring.add)
    add(numbered([1, 2, 3]))
    assert ring.size == 3
    add(numbered([4, 5, 6]))
    assert ring.size == 4
    assert held(ring.sample(200, tf.constant([0, 1]))) == [3, 4, 5, 6]


def test_synthetic_rows_push_out_only_synthetic_rows():
    ring = replay()
    ring.add(numbered([1, 2]))
    for first in (10, 12):
        made = numbered([first, first + 1], synthetic=True)
        ring.add_synthetic(made, tf.constant([True, True]))
    assert (ring.size, ring.synthetic_size) == (2, 3)
    drawn = ring.sample(400, tf.constant([0, 1]))
    assert held(drawn) == [1, 2, 11, 12, 13]
    assert held(ring.sample_real(400, tf.constant([0, 1]))) == [1, 2]
    np.testing.assert_array_equal(drawn.synthetic, drawn.state[:, 0].numpy() >= 10)


def test_only_valid_rows_are_kept():
    ring = replay()
    ring.add(numbered([1]))
    made = numbered([10, 11, 12, 13, 14], synthetic=True)
    ring.add_synthetic(made, tf.constant([False, True, False, False, True]))
    assert ring.synthetic_size == 2
    assert held(ring.sample(400, tf.constant([0, 1]))) == [1, 11, 14]


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_at_most_half_of_a_batch_is_synthetic(batch):
    ring = replay(synthetic_capacity=40)  # 1 real row, 40 synthetic ones
    ring.add(numbered([1]))
    ring.add_synthetic(numbered(range(100, 140), synthetic=True), tf.fill([40], True))
    sample = tf.function(ring.sample)
    shares = [
        int(tf.reduce_sum(tf.cast(sample(batch, seed).synthetic, tf.int32)))
        for seed in tf.constant([[i, 0] for i in range(20)])
    ]
    assert max(shares) == batch // 2


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_limit_holds_for_each_of_several_batches(batch):
    ring = replay(synthetic_capacity=40)
    ring.add(numbered([1]))
    ring.add_synthetic(numbered(range(100, 140), synthetic=True), tf.fill([40], True))
    sample = tf.function(lambda number: ring.sample([number, batch], tf.constant([0, 1])))
    drawn = sample(tf.constant(30))
    assert drawn.state.shape == (30, batch, 2) and drawn.reward.shape == (30, batch)
    # 40 of 41 rows are synthetic, so nearly every batch takes all that it may.
    shares = drawn.synthetic.numpy().sum(axis=1)
    assert shares.max() == batch // 2
    assert shares.mean() >= 0.9 * (batch // 2)
    np.testing.assert_array_equal(drawn.state[..., 0].numpy() >= 100, drawn.synthetic)


def test_below_half_every_row_is_as_likely():
    ring = replay(capacity=30, synthetic_capacity=10)
    ring.add(numbered(range(30)))
    ring.add_synthetic(numbered(range(100, 110), synthetic=True), tf.fill([10], True))
    draws = 80_000
    numbers = ring.sample(draws, tf.constant([0, 1])).state[:, 0].numpy().astype(int)
    counts = np.bincount(numbers, minlength=110)[[*range(30), *range(100, 110)]]
    assert counts.sum() == draws
    # 2,000 each with a standard deviation of 44: five of them.
    assert np.abs(counts - draws / 40).max() < 220


def test_without_synthetic_rows_all_are_real():
    ring = steps.StepReplay(2, 1, 4)
    ring.add(numbered([1, 2]))
    drawn = ring.sample(100, tf.constant([0, 1]))
    assert held(drawn) == [1, 2]
    assert not drawn.synthetic.numpy().any()


def test_the_same_seed_draws_the_same_rows():
    ring = replay(capacity=20)
    ring.add(numbered(range(20)))
    once, again, other = (ring.sample(16, tf.constant([0, s])).reward for s in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once.numpy() != other.numpy()).any()


def test_rows_in_the_wrong_ring_are_rejected():
    ring = replay()
    with pytest.raises(tf.errors.InvalidArgumentError, match="go to add_synthetic"):
        ring.add(numbered([1], synthetic=True))
    with pytest.raises(tf.errors.InvalidArgumentError, match="go to add"):
        ring.add_synthetic(numbered([1]), tf.constant([True]))
    assert (ring.size, ring.synthetic_size) == (0, 0)


def test_more_rows_than_it_holds_are_rejected():
    ring = replay()
    with pytest.raises(tf.errors.InvalidArgumentError, match="more rows at once"):
        ring.add(numbered(range(5)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="more rows at once"):
        ring.add_synthetic(numbered(range(4), synthetic=True), tf.fill([4], True))


def test_an_empty_replay_draws_nothing():
    with pytest.raises(tf.errors.InvalidArgumentError):
        replay().sample(2, tf.constant([0, 1]))


def test_a_checkpoint_draws_on(tmp_path):
    before, after = replay(), replay()
    before.add(numbered([1, 2, 3]))
    before.add_synthetic(numbered([10, 11], synthetic=True), tf.constant([True, True]))
    checkpoint.write(tmp_path / "saved", before, {})
    checkpoint.read(tmp_path / "saved", after, {})
    for ring in (before, after):
        ring.add(numbered([4, 5]))
    drawn = [ring.sample(64, tf.constant([0, 1])) for ring in (before, after)]
    for name, *values in zip(drawn[0]._fields, *drawn, strict=True):
        np.testing.assert_array_equal(*values, err_msg=name)
