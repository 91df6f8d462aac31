"""Parquet files at a path that is read literally.

Polars expands `~` and patterns such as `[1]` or `*` in the paths it is given. These functions
open the file first, so that a path names one file and nothing else.
"""

import pathlib
from collections.abc import Sequence

import polars as pl


def read(path: pathlib.Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Reads a Parquet file.

    Args:
      path: the file.
      columns: the columns to read; all by default.

    Raises:
      OSError, polars.exceptions.PolarsError: if it cannot be read.
    """
    with path.open("rb") as file:
        return pl.read_parquet(file, columns=None if columns is None else list(columns))


def column_types(path: pathlib.Path) -> dict[str, pl.DataType]:
    """Returns the name and type of each column, without reading the rows.

    Args:
      path: the file.

    Raises:
      OSError, polars.exceptions.PolarsError: if it cannot be read.
    """
    with path.open("rb") as file:
        return dict(pl.read_parquet_schema(file))


def write(frame: pl.DataFrame, path: pathlib.Path) -> None:
    """Writes a Parquet file."""
    with path.open("wb") as file:
        frame.write_parquet(file)


def is_parquet(path: pathlib.Path) -> bool:
    """Returns whether a file begins as Parquet files do."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"
