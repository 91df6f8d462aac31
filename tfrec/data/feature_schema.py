"""Declaration of the features that models read: which columns, and of what kind.

A TOML file names columns of the feature tables of items and users:

    [item.genres]
    kind = "categories"        # several values, separated by "|"
    [item.year]
    kind = "number"            # 16 bins with equally many items
    [item.title]
    kind = "text"
    buckets = 2000             # words are hashed to 2000 numbers
    [item.shop]
    kind = "category"
    cross = 64                 # scores count events of the candidate's shop in the history
    [user.region]
    kind = "category"

Kinds:

- `category`: one value, text or an integer.
- `categories`: several values in one text, or a list in a Parquet file.
- `number`: a number, replaced by the bin that holds it. Values outside the range of the
  training table fall into the first or the last bin.
- `text`: lower-case words, hashed.
- `vector`: a list of numbers in a Parquet file, such as an embedding of a text or a picture;
  of items only.
"""

import dataclasses
import os
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tfrec.errors import UserError
from tfrec.options import Options, option

KINDS = ("category", "categories", "number", "text", "vector")
_TABLES = {"item": KINDS, "user": KINDS[:-1]}  # owner of a column -> its kinds
_WORDS = 1000  # buckets of a text column by default
_NARROWEST = 8  # numbers that a cross adds to an item's vector at least


@dataclasses.dataclass(frozen=True)
class FeatureColumn(Options):
    """A column of a feature table and how it is read."""

    name: str = option("", "name of the column in the table")
    kind: Literal["category", "categories", "number", "text", "vector"] = option(
        "category", "kind of its values"
    )
    separator: str = option("|", "between the values of a text of categories")
    slots: int = option(
        8,
        "values of one row that are read, the first ones: of categories and text",
        at_least=1,
    )
    min_items: int = option(
        2,
        "categories of fewer items (or users) in the training table are one value, `rare`",
        at_least=1,
    )
    buckets: int = option(
        0,
        "hash values to so many numbers instead of a list of values; 0 for a list",
        at_least=0,
    )
    bins: int = option(16, "bins of a number, with equally many rows each", at_least=2)
    cross: int = option(
        0,
        "cross the column of the items with the history, by so many numbers of an item's "
        "vector at most; 0 for no cross",
        at_least=0,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.name:
            raise ValueError("name is ''; expected the name of a column")
        if not self.separator:
            raise ValueError("separator is ''; expected at least one character")
        if self.cross and self.kind == "vector":
            raise ValueError(f"cross is {self.cross}; expected 0 for a vector")
        if 0 < self.cross < _NARROWEST:
            raise ValueError(f"cross is {self.cross}; expected 0 or at least {_NARROWEST}")

    @property
    def hashed(self) -> int:
        """Buckets that its values are hashed to; 0 if its values are listed."""
        return self.buckets or (_WORDS if self.kind == "text" else 0)

    @property
    def most_values(self) -> int:
        """Values that one row has at most."""
        return {"categories": self.slots, "text": self.slots, "vector": 0}.get(self.kind, 1)


class Declaration(NamedTuple):
    """The declared columns.

    Attributes:
      item: columns of the table of the items.
      user: columns of the table of the users.
    """

    item: tuple[FeatureColumn, ...] = ()
    user: tuple[FeatureColumn, ...] = ()


def declared(
    declaration: str | os.PathLike[str] | Mapping[str, Any], given: str, owner: str = "item"
) -> Declaration:
    """The columns of a declaration.

    Args:
      declaration: path of a TOML file, empty for no columns; or name -> kind or the fields of
        a column of the owner.
      given: the option with the declaration, for messages.
      owner: `item` or `user`, whose table has the columns of a mapping.

    Raises:
      UserError: naming the file or the option, the column, the field and the value.
    """
    if not isinstance(declaration, Mapping):
        return read(declaration) if os.fspath(declaration) else Declaration()
    fields_of = {
        name: {"kind": fields} if isinstance(fields, str) else fields
        for name, fields in declaration.items()
    }
    columns = tuple(
        _column(f"{given}: {name}", name, x, owner) for name, x in fields_of.items()
    )
    return Declaration(**{owner: columns})


def read(path: str | os.PathLike[str]) -> Declaration:
    """Reads the declaration of the columns of items and users.

    Raises:
      UserError: naming the file, the table, the field and the value.
    """
    path = pathlib.Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not TOML ({error})") from error
    for owner, columns in content.items():
        if owner not in _TABLES:
            expected = " or ".join(f"[{table}.<column>]" for table in _TABLES)
            raise UserError(f"{path}: table [{owner}]; expected {expected}")
        if not isinstance(columns, dict) or not columns:
            raise UserError(f"{path}: [{owner}] has no columns; expected [{owner}.<column>]")
    if not content:
        raise UserError(f"{path}: no features; expected tables such as [item.genres]")
    return Declaration(
        **{
            owner: tuple(
                _column(f"{path}: [{owner}.{name}]", name, fields, owner)
                for name, fields in columns.items()
            )
            for owner, columns in content.items()
        }
    )


def _column(place: str, name: str, fields: Any, owner: str) -> FeatureColumn:
    kinds = _TABLES[owner]
    permitted = [field.name for field in dataclasses.fields(FeatureColumn)][1:]
    if not isinstance(fields, Mapping):
        raise UserError(f"{place} is {fields!r}; expected a table with a kind")
    for field in fields:
        if field not in permitted:
            raise UserError(f"{place}: field {field!r}; expected {', '.join(permitted)}")
    if "kind" not in fields:
        raise UserError(f"{place} has no kind; expected one of {', '.join(kinds)}")
    try:
        column = FeatureColumn(name=name, **fields)
    except ValueError as error:
        raise UserError(f"{place}: {error}") from error
    if column.kind not in kinds:
        raise UserError(f"{place}: kind is {column.kind!r}; expected one of {', '.join(kinds)}")
    if column.cross and owner != "item":
        raise UserError(
            f"{place}: cross is {column.cross}; expected 0: only columns of items are crossed"
        )
    return column


def check_columns(
    columns: Sequence[FeatureColumn], table: Mapping[str, Any], path: str | pathlib.Path
) -> None:
    """Checks that a feature table has the declared columns.

    Raises:
      UserError: naming the table's file and the absent column.
    """
    for column in columns:
        if column.name not in table:
            raise UserError(
                f"{path}: no column {column.name!r}, which the declaration of features names; "
                f"it has {', '.join(map(repr, table))}"
            )
