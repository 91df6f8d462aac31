"""The one rule for outer whitespace: ids, values and column names lose it, in every file.

Whitespace means ASCII whitespace. Text inside a value is left as it is.
"""

import polars as pl

WHITESPACE = " \t\n\r\v\f"


def strip(text: str) -> str:
    """Removes leading and trailing ASCII whitespace."""
    return text.strip(WHITESPACE)


def stripped(column: pl.Expr) -> pl.Expr:
    """A text column without outer whitespace; null where nothing remains."""
    inner = column.str.strip_chars(WHITESPACE)
    return pl.when(inner.str.len_bytes() > 0).then(inner).otherwise(None)
