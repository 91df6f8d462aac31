"""Values of declared columns as people read them, of one type for each kind.

| kind | type |
|---|---|
| category, text | String |
| categories | List(String) |
| number | Float64 |
"""

import polars as pl

from tfrec.data.feature_schema import FeatureColumn


def as_declared(column: FeatureColumn, series: pl.Series) -> pl.Series:
    """Converts a column of a feature table; empty values become null.

    Args:
      column: its declaration, of any kind but `vector`.
      series: values that `FeatureEncoder.encode` accepts.

    Returns:
      The values in the type of their kind.
    """
    if column.kind == "number":
        return series.cast(pl.Float64)
    if column.kind != "categories":
        return as_text(series)
    if series.dtype == pl.String:
        series = series.str.split(column.separator)
    elif not series.dtype.is_nested():
        series = series.cast(pl.String).to_frame().select(pl.concat_list(pl.all())).to_series()
    name = pl.element().str.strip_chars()
    lists = series.cast(pl.List(pl.String)).list.eval(name.filter(name.str.len_bytes() > 0))
    return lists.set(lists.list.len() == 0, None).alias(column.name)


def as_text(series: pl.Series) -> pl.Series:
    """Converts single values to text without outer whitespace; empty ones become null."""
    text = series.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)
