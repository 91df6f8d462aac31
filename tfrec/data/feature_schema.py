"""Declaration of the features that models read: which columns, and of what kind.

A TOML file names columns of the feature tables of items and users, and of the context of a
session, which is that of its first event:

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
    [context.device]
    kind = "category"          # a column of the log
    [context.hour]
    kind = "hour"              # derived from the time of the event
    utc_offset = 8             # local time is UTC+8

Kinds:

- `category`: one value, text or an integer.
- `categories`: several values in one text, or a list in a Parquet file.
- `number`: a number, replaced by the bin that holds it. Values outside the range of the
  training table fall into the first or the last bin.
- `text`: lower-case words, hashed.
- `vector`: a list of numbers in a Parquet file, such as an embedding of a text or a picture;
  of items only.
- `hour`: the hour of local time, 0 to 23; of the context only.
- `weekday`: the day of local time, 0 (Monday) to 6 (Sunday); of the context only.
"""

import dataclasses
import itertools
import os
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tfrec.errors import UserError
from tfrec.options import Options, option

_LISTED = ("category", "categories", "number", "text")
DERIVED = {"hour": 24, "weekday": 7}  # kinds of the time of an event -> number of their values
# Owner of a column -> its kinds.
_TABLES = {
    "item": (*_LISTED, "vector"),
    "user": _LISTED,
    "context": (*_LISTED, *DERIVED),
}
_WORDS = 1000  # buckets of a text column by default
_NARROWEST = 8  # numbers that a cross adds to an item's vector at least


@dataclasses.dataclass(frozen=True)
class FeatureColumn(Options):
    """A column of a feature table or of the context, and how it is read."""

    name: str = option("", "name of the column in the table")
    kind: Literal["category", "categories", "number", "text", "vector", "hour", "weekday"] = (
        option("category", "kind of its values")
    )
    separator: str = option("|", "between the values of a text of categories")
    slots: int = option(
        8,
        "values of one row that are read, the first ones: of categories and text",
        at_least=1,
    )
    min_items: int = option(
        2,
        "categories of fewer items (users, sessions) in the training table are one value, "
        "`rare`",
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
    utc_offset: float = option(
        0.0,
        "local time minus UTC, hours; of hour and weekday",
        at_least=-12.0,
        at_most=14.0,
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
        if self.utc_offset and not self.derived:
            raise ValueError(
                f"utc_offset is {self.utc_offset:g}; expected none: kind is {self.kind}, and "
                f"only {' and '.join(DERIVED)} read the time"
            )

    @property
    def hashed(self) -> int:
        """Buckets that its values are hashed to; 0 if its values are listed."""
        return self.buckets or (_WORDS if self.kind == "text" else 0)

    @property
    def derived(self) -> int:
        """Number of values of a kind that is derived from the time; 0 for other kinds."""
        return DERIVED.get(self.kind, 0)

    @property
    def listed(self) -> bool:
        """Whether its values are categories of the training table."""
        return not self.hashed and not self.derived and self.kind not in ("number", "vector")

    @property
    def most_values(self) -> int:
        """Values that one row has at most."""
        return {"categories": self.slots, "text": self.slots, "vector": 0}.get(self.kind, 1)


class Declaration(NamedTuple):
    """The declared columns.

    Attributes:
      item: columns of the table of the items.
      user: columns of the table of the users.
      context: columns of the context of a session.
    """

    item: tuple[FeatureColumn, ...] = ()
    user: tuple[FeatureColumn, ...] = ()
    context: tuple[FeatureColumn, ...] = ()

    @property
    def log_columns(self) -> tuple[FeatureColumn, ...]:
        """The columns of the context that the log has, and not only its times."""
        return tuple(column for column in self.context if not column.derived)


def declared(
    declaration: str | os.PathLike[str] | Mapping[str, Any], given: str, owner: str = "item"
) -> Declaration:
    """The columns of a declaration.

    Args:
      declaration: path of a TOML file, empty for no columns; or name -> kind or the fields of
        a column of the owner.
      given: the option with the declaration, for messages.
      owner: `item`, `user` or `context`, which has the columns of a mapping.

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
    return _checked(Declaration(**{owner: columns}), given)


def read(path: str | os.PathLike[str]) -> Declaration:
    """Reads the declaration of the columns of items, users and the context.

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
    declaration = Declaration(
        **{
            owner: tuple(
                _column(f"{path}: [{owner}.{name}]", name, fields, owner)
                for name, fields in columns.items()
            )
            for owner, columns in content.items()
        }
    )
    return _checked(declaration, str(path))


def _checked(declaration: Declaration, place: str) -> Declaration:
    """The declaration; raises UserError if two of its columns have different local times."""
    derived = [column for column in declaration.context if column.derived]
    for first, column in itertools.pairwise(derived):
        if column.utc_offset != first.utc_offset:
            raise UserError(
                f"{place}: utc_offset is {first.utc_offset:g} in [context.{first.name}] and "
                f"{column.utc_offset:g} in [context.{column.name}]; expected one local time"
            )
    return declaration


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
