import numpy as np
import polars as pl
import pytest

from tfrec.data import vocabulary
from tfrec.errors import UserError

INTEGERS = vocabulary.Ids(np.array([3, 7, 20]))
TEXTS = vocabulary.Ids(np.array(["a", "b", "zebra"]))


def test_integers_both_ways():
    raw = np.array([[7, 4, 20], [3, -1, 99]])
    dense = INTEGERS.encode(raw)
    assert dense.tolist() == [[2, 0, 3], [1, 0, 0]]
    assert dense.dtype == np.int32
    assert INTEGERS.decode(dense).tolist() == [[7, -1, 20], [3, -1, -1]]


def test_text_both_ways():
    assert TEXTS.encode(["zebra", "", "a", "none"]).tolist() == [3, 0, 1, 0]
    assert TEXTS.decode(np.array([3, 0, 1])).tolist() == ["zebra", "", "a"]


@pytest.mark.parametrize("dtype", [pl.Int32, pl.Int64])
def test_ids_at_the_ends_of_their_type(dtype):
    low, high = pl.select(low=dtype.min(), high=dtype.max()).row(0)
    raw = pl.Series([low, low + 5, high - 5, high], dtype=dtype)
    assert vocabulary.ids_of(raw).encode(raw).tolist() == [1, 2, 3, 4]
    assert vocabulary.ids_of(raw.head(2)).encode(raw).tolist() == [1, 2, 0, 0]
    assert vocabulary.ids_of(raw.tail(2)).encode(raw).tolist() == [0, 0, 1, 2]


def test_decode_rejects_ids_that_do_not_exist():
    with pytest.raises(ValueError, match="within 0..3"):
        INTEGERS.decode(np.array([4]))


def test_text_where_numbers_are_expected():
    with pytest.raises(UserError, match="the ids of this log are numbers, but 'x' is not"):
        INTEGERS.encode(["x"])


def test_all_values_ascending():
    assert vocabulary.ids_of(pl.Series([9, 2, 9, 4])).raw.tolist() == [2, 4, 9]


@pytest.mark.parametrize("items", [INTEGERS, TEXTS])
def test_saved_and_loaded(tmp_path, items):
    saved = vocabulary.Vocabulary(item_ids=items, user_ids=TEXTS)
    saved.save(tmp_path)
    loaded = vocabulary.load(tmp_path)
    assert loaded.items.tolist() == items.raw.tolist()
    assert loaded.items.dtype.kind == items.raw.dtype.kind
    assert loaded.users.tolist() == TEXTS.raw.tolist()
    assert len(loaded.category_ids) == 0
    assert loaded.encode(loaded.items).tolist() == [1, 2, 3]
    assert loaded.decode(np.array([2]))[0] == items.raw[1]


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(UserError, match="vocabulary_items.parquet: no readable vocabulary"):
        vocabulary.load(tmp_path)
