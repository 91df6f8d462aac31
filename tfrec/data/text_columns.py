"""Columns of text from files: outer whitespace, ids and numbers.

Ids, values and column names lose outer ASCII whitespace, in every file. Text inside a value
is left as it is. A column becomes numbers only where the numbers stand for the same text.
"""

import polars as pl

WHITESPACE = " \t\n\r\v\f"
# Text such as a postal code, a telephone number, or an integer that a float would round.
_NOT_A_NUMBER = r"^(\+|-?0[0-9]|-?[0-9]{16,}$)"


def strip(text: str) -> str:
    """Removes leading and trailing ASCII whitespace."""
    return text.strip(WHITESPACE)


def stripped(column: pl.Expr) -> pl.Expr:
    """A text column without outer whitespace; null for an empty one."""
    inner = column.str.strip_chars(WHITESPACE)
    return pl.when(inner.str.len_bytes() > 0).then(inner).otherwise(None)


def as_ids(text: pl.Series) -> pl.Series:
    """Int64 if each value is the decimal text of such an integer; otherwise the text itself.

    Nulls are left out of account. `007`, `+7`, `1e3` and integers beyond 64 bits are text.
    """
    integers = text.cast(pl.Int64, strict=False)
    same = text.is_null() | (integers.cast(pl.String) == text)
    return integers if same.all(ignore_nulls=False) else text


def as_values(text: pl.Series) -> pl.Series:
    """Int64 or Float64 if each value is a number; otherwise the text itself.

    Nulls are left out of account. Text with leading zeros or a plus sign is no number.
    """
    integers = as_ids(text)
    if integers.dtype == pl.Int64:
        return text if text.null_count() == len(text) else integers
    numbers = text.cast(pl.Float64, strict=False)
    numeric = numbers.null_count() == text.null_count()
    return numbers if numeric and not text.str.contains(_NOT_A_NUMBER).any() else text
