import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from tfrec import types
from tfrec.data import feature_encoding, state_encoding
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


def test_crossed_columns_by_hand():
    # The numbers of `test_numbers_by_hand`; then title: 11 missing, 12 to 61 hashed.
    columns = [
        dataclasses.replace(GENRES, cross=8), VECTOR, dataclasses.replace(YEAR, cross=9), SHOP,
        FeatureColumn(name="title", kind="text", buckets=50, slots=2, cross=16),
    ]  # fmt: skip
    table = TABLE.with_columns(title=pl.lit("x"))
    encoder = feature_encoding.fit(columns, table, PATH)
    assert encoder.spec.crosses == (
        types.CrossSpec(slot=0, slots=3, first=3, size=2, width=8),
        types.CrossSpec(slot=3, slots=1, first=6, size=2, width=9),
        types.CrossSpec(slot=5, slots=2, first=12, size=50, width=16),
    )
    spec = types.DataSpec(
        (types.FeedbackColumn("click", "binary", "clicks"),), 4, 1, 5, 5,
        item_features=encoder.spec,
    )  # fmt: skip
    assert types.DataSpec.restored(json.loads(json.dumps(spec.described()))) == spec
    described = json.loads(json.dumps(encoder.described()))
    assert feature_encoding.restored(described, "item") == encoder
    # A declaration without crosses is described as before there were any.
    assert [column["column"].get("cross") for column in described] == [8, None, 9, None, 16]


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
    users = feature_encoding.fit([YEAR], TABLE, PATH, "user")
    users.save(tmp_path)
    assert feature_encoding.load(tmp_path, "item") == encoder
    assert feature_encoding.load(tmp_path, "user") == users
    (tmp_path / "item_feature_values.json").write_text(json.dumps([{"column": {}}]))
    with pytest.raises(UserError, match="item_feature_values.json: no readable feature values"):
        feature_encoding.load(tmp_path, "item")
    assert feature_encoding.load(tmp_path / "nowhere", "item") is None


USERS = feature_encoding.fit(
    [GENRES, YEAR, SHOP, FeatureColumn(name="title", kind="text", buckets=50, slots=2)],
    TABLE.with_columns(title=pl.lit("x")),
    "users.csv",
    "user",
)


def test_a_user_of_a_request_by_hand():
    # The numbers of `test_numbers_by_hand`; then title: 11 missing, 12 to 61 hashed.
    assert USERS.spec.missing == (1, 0, 0, 5, 8, 11, 0)
    user = {"genres": ["War", "Opera"], "year": 1995, "shop": 7, "title": "Sea air"}
    # crc32 of "sea" and "air", modulo 50: 23 and 19.
    assert USERS.encode_one(user).tolist() == [4, 2, 0, 6, 10, 35, 31]
    assert USERS.encode_one({"genres": "Drama|War", "shop": "7", "year": 2e9}).tolist() == [
        3, 4, 0, 7, 10, 11, 0,
    ]  # fmt: skip
    nothing = {"genres": [], "year": None, "shop": "", "title": " "}
    assert tuple(USERS.encode_one(nothing)) == tuple(USERS.encode_one({})) == USERS.spec.missing
    assert state_encoding.StateEncoder(USERS).encode_one(None) == ()


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"ages": 3}, "user: 'ages' is not a column; there are genres, year, shop, title"),
        ({"year": "old"}, "user: year is 'old'; expected a finite number"),
        ({"year": float("nan")}, "user: year is nan; expected a finite number"),
        ({"year": True}, "user: year is True; expected a finite number"),
        ({"shop": 1.5}, "user: shop is 1.5; expected text or an integer"),
        ({"shop": ["7"]}, r"user: shop is \['7'\]; expected text or an integer"),
        ({"genres": [None]}, r"genres is \[None\]; expected text or an integer or a list"),
        ({"genres": ["a"] * 1001}, "genres has 1,001 values; expected at most 1,000"),
        ({"title": "a" * 10_001}, "title has a text of 10,001 characters; expected at most"),
        ({"title": 3}, "user: title is 3; expected text"),
        ([3], r"user is \[3\]; expected a dict of column -> value"),
    ],
)
def test_a_bad_value_of_a_request_is_named(user, message):
    with pytest.raises(UserError, match=message):
        state_encoding.StateEncoder(USERS).encode_one(user)


def test_a_user_for_an_agent_that_reads_none():
    with pytest.raises(
        UserError, match="user is {'age': 3}; expected none: the agent reads no"
    ):
        state_encoding.StateEncoder().encode_one({"age": 3})


def test_messages_about_users_name_users():
    with pytest.raises(UserError, match="users.csv: user 'a', column 'genres': .*a number"):
        column = FeatureColumn(name="genres", kind="number")
        feature_encoding.fit([column], TABLE, "users.csv", "user")
    empty = TABLE.with_columns(shop=pl.lit(None, pl.Int64))
    with pytest.raises(UserError, match="column 'shop' has no value for users of the log"):
        feature_encoding.fit([SHOP], empty, "users.csv", "user")


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
