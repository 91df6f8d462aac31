"""Values of a feature table as people read them."""

import polars as pl
import pytest

from tfrec.data import declared_values
from tfrec.data.feature_schema import FeatureColumn


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("number", [1, None, 3], [1.0, None, 3.0]),
        ("number", ["7.5", None], [7.5, None]),
        ("category", [1995, None], ["1995", None]),
        ("category", [" Drama ", "", None], ["Drama", None, None]),
        ("text", ["  The Lamp", " "], ["The Lamp", None]),
        ("categories", ["a; b", "", None, ";"], [["a", "b"], None, None, None]),
        ("categories", [3, None], [["3"], None]),
        ("categories", [["a", " "], [], None], [["a"], None, None]),
        ("categories", [[1, 2]], [["1", "2"]]),
    ],
)
def test_each_kind_has_one_type(kind, values, expected):
    column = FeatureColumn(name="x", kind=kind, separator=";")
    converted = declared_values.as_declared(column, pl.Series("x", values))
    assert (converted.name, converted.to_list()) == ("x", expected)
    types = {"number": pl.Float64, "categories": pl.List(pl.String)}
    assert converted.dtype == types.get(kind, pl.String)
