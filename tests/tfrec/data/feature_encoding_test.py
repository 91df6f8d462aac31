import json

import numpy as np
import polars as pl
import pytest

from tfrec import types
from tfrec.data import feature_encoding
from tfrec.data.feature_schema import FeatureColumn
from tfrec.errors import UserError

PATH = "items.csv"
TABLE = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d"],
        "genres": ["Drama|War", " War |Drama|War", "", None],
        "year": [1990, None, 2000, 2010],
        "shop": [7, 7, 8, None],
        "vector": [[1.0, 2.0], None, [3.0, 4.0], [0.0, 0.5]],
    }
)
GENRES = FeatureColumn(name="genres", kind="categories", slots=3)
YEAR = FeatureColumn(name="year", kind="number", bins=2)
SHOP = FeatureColumn(name="shop")
VECTOR = FeatureColumn(name="vector", kind="vector")


def fitted(*columns):
    return feature_encoding.fit(columns, TABLE, PATH)


def test_numbers_by_hand():
    # genres: 1 missing, 2 rare, 3 Drama, 4 War; year: 5 missing, 6 below 2000, 7 from 2000;
    # shop: 8 missing, 9 rare, 10 the shop 7. The shop 8 has one item: rare.
    encoder = fitted(GENRES, YEAR, SHOP, VECTOR)
    assert encoder.spec == types.FeatureSpec(values=10, slots=5, width=2)
    values, vectors = encoder.encode(TABLE, PATH)
    assert values.tolist() == [
        [0, 0, 0, 0, 0],
        [3, 4, 0, 6, 10],
        [4, 3, 0, 5, 10],
        [1, 0, 0, 7, 9],
        [1, 0, 0, 7, 8],
    ]
    assert vectors.tolist() == [[0, 0], [1, 2], [0, 0], [3, 4], [0, 0.5]]
    assert encoder.names(values[1]) == ["genres=Drama", "genres=War", "year=..2000", "shop=7"]
    assert encoder.names(values[4]) == ["genres missing", "year=2000..", "shop missing"]


def test_another_table_has_unknown_values_and_numbers_out_of_range():
    later = pl.DataFrame(
        {"id": ["z"], "genres": ["Opera|War|A|B"], "year": [3000], "shop": [99]}
    )
    encoder = fitted(GENRES, YEAR, SHOP)
    values = encoder.encode(later, "new.csv").values[1]
    assert encoder.names(values) == [
        "genres=rare", "genres=War", "genres=rare", "year=2000..", "shop=rare",
    ]  # fmt: skip


def test_text_is_hashed_to_the_same_numbers_in_every_process():
    title = FeatureColumn(name="title", kind="text", buckets=50, slots=2)
    table = pl.DataFrame({"id": [1, 2, 3], "title": ["The Sea, the sea", "SEA air", None]})
    encoder = feature_encoding.fit([title], table, PATH)
    assert encoder.spec == types.FeatureSpec(values=51, slots=2)
    values = encoder.encode(table, PATH).values
    # crc32 of "the", "sea" and "air", modulo 50: 28, 23, 19; after the one for missing.
    assert values.tolist() == [[0, 0], [30, 25], [25, 21], [1, 0]]


def test_bins_hold_equally_many_items():
    numbers = np.random.default_rng(0).lognormal(size=1000)
    column = FeatureColumn(name="price", kind="number", bins=4)
    table = pl.DataFrame({"id": np.arange(1000), "price": numbers})
    values = feature_encoding.fit([column], table, PATH).encode(table, PATH).values[1:, 0]
    assert np.bincount(values)[2:].tolist() == [250, 250, 250, 250]


def test_a_constant_number_has_one_bin():
    column = FeatureColumn(name="n", kind="number")
    table = pl.DataFrame({"id": [1, 2], "n": [5.0, 5.0]})
    encoder = feature_encoding.fit([column], table, PATH)
    assert encoder.encode(table, PATH).values[1:].tolist() == [[2], [2]]


def test_what_is_saved_encodes_the_same(tmp_path):
    encoder = fitted(GENRES, YEAR, SHOP, VECTOR)
    encoder.save(tmp_path)
    assert feature_encoding.load(tmp_path) == encoder
    (tmp_path / feature_encoding.FILE).write_text(json.dumps([{"column": {}}]))
    with pytest.raises(UserError, match="item_feature_values.json: no readable feature values"):
        feature_encoding.load(tmp_path)
    assert feature_encoding.load(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            FeatureColumn(name="price"),
            "items.csv: no column 'price'.*; it has 'id', 'genres', 'year'",
        ),
        (
            FeatureColumn(name="genres", kind="number"),
            r"items.csv: item 'a', column 'genres': 'Drama\|War'; expected a number",
        ),
        (FeatureColumn(name="year", kind="text"), "column 'year' holds Int64; expected text"),
        (
            FeatureColumn(name="genres", kind="vector"),
            "column 'genres' holds String; expected vectors: lists of numbers",
        ),
    ],
)
def test_a_bad_column_is_named(column, message):
    with pytest.raises(UserError, match=message):
        fitted(column)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([1.0], r"\[1.0\]; expected 2 numbers"),
        ([1.0, np.inf], "inf.*; expected finite numbers"),
    ],
)
def test_a_bad_vector_is_named(cell, message):
    later = TABLE.head(1).with_columns(vector=pl.Series([cell]))
    with pytest.raises(UserError, match=f"items.csv: item 'a', column 'vector': .*{message}"):
        fitted(VECTOR).encode(later, PATH)


def test_a_column_without_values_is_named():
    empty = TABLE.with_columns(shop=pl.lit(None, pl.Int64))
    with pytest.raises(UserError, match="items.csv: column 'shop' has no value for items"):
        feature_encoding.fit([SHOP], empty, PATH)
