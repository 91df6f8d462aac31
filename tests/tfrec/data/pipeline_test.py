import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.data import episodes, schema, storage


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """200 users with one session each, of as many steps as user % 3 + 1."""
    users = np.repeat(np.arange(200), np.arange(200) % 3 + 1)
    frame = pl.DataFrame({"user": users}).with_columns(
        item=pl.col("user") % 5 + 1,
        time_ms=pl.int_range(pl.len(), dtype=pl.Int64).over("user") * 1000,
        click=1,
    )
    log_schema = schema.Schema(feedback=(types.FeedbackColumn("click", "binary", "clicks"),))
    config = episodes.PrepareConfig(
        history_length=2, max_steps=4, test_fraction=0.0, validation_fraction=0.0, shards=3
    )
    prepared = episodes.prepare(
        schema.validate(frame, log_schema, "log.csv"), log_schema, config
    )
    directory = tmp_path_factory.mktemp("pipeline") / "data"
    return storage.write(directory, prepared, log_schema, config, "test")


def users(batches):
    return [user for batch in batches.as_numpy_iterator() for user in batch.user]


def test_order_of_storage_without_a_seed(data):
    dataset = data.dataset("train", batch_size=32)
    assert users(dataset) == list(range(1, 201))
    first = next(dataset.as_numpy_iterator())
    whole = data.episodes("train")
    for part, all_of_it in zip(first, whole, strict=True):
        np.testing.assert_array_equal(part, all_of_it[:32])


def test_a_seed_shuffles_and_repeats_itself(data):
    one = users(data.dataset("train", batch_size=32, seed=1))
    assert sorted(one) == list(range(1, 201))
    assert one != sorted(one)
    assert users(data.dataset("train", batch_size=32, seed=1)) == one
    assert users(data.dataset("train", batch_size=32, seed=2)) != one


def test_another_pass_has_another_order(data):
    dataset = data.dataset("train", batch_size=100, seed=1, repeat=True).take(4)
    seen = users(dataset)
    assert sorted(seen[:200]) == sorted(seen[200:]) == list(range(1, 201))
    assert seen[:200] != seen[200:]


def test_the_last_batch(data):
    sizes = [len(batch.user) for batch in data.dataset("train", batch_size=64)]
    assert sizes == [64, 64, 64, 8]
    whole = data.dataset("train", batch_size=64, drop_remainder=True)
    assert [len(batch.user) for batch in whole] == [64, 64, 64]
    assert whole.element_spec.item.shape == (64, 4)


def test_an_iterator_goes_on_where_it_was_saved(data, tmp_path):
    def iterator():
        return iter(data.dataset("train", batch_size=16, seed=3, repeat=True))

    original = iterator()
    for _ in range(5):
        next(original)
    path = tf.train.Checkpoint(data=original).save(str(tmp_path / "position"))
    expected = [next(original).user.numpy() for _ in range(20)]

    resumed = iterator()
    tf.train.Checkpoint(data=resumed).restore(path).assert_consumed()
    for batch in expected:
        np.testing.assert_array_equal(next(resumed).user.numpy(), batch)


def test_files_of_all_splits(data):
    assert sorted(users(data.dataset("all", batch_size=50))) == list(range(1, 201))
