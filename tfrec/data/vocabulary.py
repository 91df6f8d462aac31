"""Raw ids of the log <-> dense ids of the models, and feature values <-> their numbers."""

import dataclasses
import pathlib

import numpy as np
import polars as pl

from tfrec import types
from tfrec.data import feature_encoding, parquet, state_encoding
from tfrec.errors import UserError

MAX_ID_LENGTH = 256  # bytes
PADDING = -1  # "no item" among integer ids; among text ids it is ""

_MAX_TABLE_SPAN = 1 << 24  # ids that span at most this many values are looked up in a table


# One id is one line of an exported vocabulary. TensorFlow's reader of such files drops
# carriage returns, and numpy the zero bytes at the end of a text.
_BREAKS_A_LINE = r"[\p{Cc}\p{Zl}\p{Zp}]"


def is_text(dtype: pl.DataType) -> bool:
    """Whether a column of ids holds text, as it is or as a `pl.Enum`."""
    return dtype == pl.String or isinstance(dtype, pl.Enum)


def id_rules(name: str, dtype: pl.DataType) -> list[tuple[pl.Expr, str]]:
    """Rules for an id, which is stored, exported and part of requests.

    Args:
      name: `user`, `item` or `category`, also the name of the column.
      dtype: type of the column, integers or text.

    Returns:
      Expressions that are true for a valid id, each with the expected values.
    """
    column = pl.col(name)
    if is_text(dtype):
        column = column.cast(pl.String)
        return [
            (
                column.str.len_bytes().is_between(1, MAX_ID_LENGTH),
                f"an id of 1 to {MAX_ID_LENGTH} bytes",
            ),
            (
                ~column.str.contains(_BREAKS_A_LINE),
                "an id without line breaks and control characters",
            ),
        ]
    rules = [(column.is_not_null(), "an id")]
    if name == "item":
        expected = f"an item id other than {PADDING}, which stands for no item in requests"
        rules.append((column != PADDING, expected))
    return rules


@dataclasses.dataclass(frozen=True)
class Ids:
    """One kind of id. Dense id d stands for `raw[d - 1]`; 0 for any unknown id.

    Attributes:
      raw: the log's ids, all different: int64 or str. Users and categories ascend;
        items come most frequent first, so that the first A are the A most frequent.
    """

    raw: np.ndarray

    def __len__(self) -> int:
        return len(self.raw)

    def encode(self, raw: np.ndarray | pl.Series | list) -> np.ndarray:
        """Dense ids, int32 of the same shape; 0 where the id is unknown.

        Raises:
          UserError: if the ids are of the other kind (text for numbers or the reverse).
        """
        if isinstance(raw, pl.Series):
            return self._encode_series(raw)
        values = np.asarray(raw)
        dense = self._encode_series(pl.Series(values.ravel()))
        return dense.reshape(values.shape)

    def decode(self, dense: np.ndarray) -> np.ndarray:
        """Raw ids of the same shape; 0 decodes to -1, or to "" where ids are text.

        Raises:
          ValueError: if a dense id is outside 0..len(self).
        """
        dense = np.asarray(dense)
        if dense.size and not (0 <= dense.min() and dense.max() <= len(self.raw)):
            raise ValueError(f"dense ids must be within 0..{len(self.raw)}")
        nothing = PADDING if self.raw.dtype.kind == "i" else ""
        return np.concatenate([np.array([nothing], self.raw.dtype), self.raw])[dense]

    def _encode_series(self, raw: pl.Series) -> np.ndarray:
        numbers = self.raw.dtype.kind == "i"
        if len(raw) == 0:
            return np.zeros(0, np.int32)
        if len(self.raw) == 0:
            return np.full(len(raw), types.PAD, np.int32)
        if raw.dtype.is_integer() != numbers:
            kind = "numbers" if numbers else "text"
            raise UserError(f"the ids of this log are {kind}, but {raw[0]!r} is not")
        if not numbers:
            # An Enum's codes are positions in `raw`; unknown values become null.
            enum = pl.Enum(pl.Series(self.raw.tolist(), dtype=pl.String))
            codes = raw.cast(enum, strict=False).to_physical().cast(pl.Int32)
            return (codes + 1).fill_null(types.PAD).to_numpy()
        values = raw.to_numpy()
        low, high = int(self.raw.min()), int(self.raw.max())
        if high - low < _MAX_TABLE_SPAN:
            table = np.zeros(high - low + 1, np.int32)
            table[self.raw - low] = np.arange(1, len(self.raw) + 1, dtype=np.int32)
            within = (values >= low) & (values <= high)
            return np.where(within, table[np.where(within, values, low) - low], types.PAD)
        order = np.argsort(self.raw)
        place = np.searchsorted(self.raw, values, sorter=order).clip(max=len(self.raw) - 1)
        place = order[place]
        return np.where(self.raw[place] == values, place + 1, types.PAD).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The ids of a prepared log; saved with the data and with each exported model.

    Attributes:
      item_ids: items 1..num_items.
      user_ids: users 1..num_users.
      category_ids: categories, where the log has them (or empty).
      item_features: encoder of the features of items that models read; None if they read the
        ids of items alone.
      user_features: encoder of the features of users that models read; None without them.
      context_features: encoder of the features of contexts that models read; None without them.
    """

    item_ids: Ids
    user_ids: Ids
    category_ids: Ids = dataclasses.field(default_factory=lambda: Ids(np.zeros(0, np.int64)))
    item_features: feature_encoding.FeatureEncoder | None = None
    user_features: feature_encoding.FeatureEncoder | None = None
    context_features: feature_encoding.FeatureEncoder | None = None

    @property
    def state_encoder(self) -> state_encoding.StateEncoder:
        """Encoders of the features of users and contexts."""
        return state_encoding.StateEncoder(self.user_features, self.context_features)

    @property
    def items(self) -> np.ndarray:
        """Raw item ids; dense id = index + 1."""
        return self.item_ids.raw

    @property
    def users(self) -> np.ndarray:
        """Raw user ids; dense id = index + 1."""
        return self.user_ids.raw

    def encode(self, items: np.ndarray | pl.Series | list) -> np.ndarray:
        """Dense item ids, int32; 0 where the item is unknown. See `Ids.encode`."""
        return self.item_ids.encode(items)

    def decode(self, dense: np.ndarray) -> np.ndarray:
        """Raw item ids. See `Ids.decode`."""
        return self.item_ids.decode(dense)

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes vocabulary_{items,users,categories}.parquet, and the encoders of features."""
        for name, ids in self._parts().items():
            frame = pl.DataFrame({"raw": pl.Series(ids.raw.tolist(), dtype=_dtype(ids.raw))})
            parquet.write(frame, pathlib.Path(directory) / f"vocabulary_{name}.parquet")
        for encoder in (self.item_features, *self.state_encoder):
            if encoder is not None:
                encoder.save(directory)

    def _parts(self) -> dict[str, Ids]:
        return {"items": self.item_ids, "users": self.user_ids, "categories": self.category_ids}


def load(directory: str | pathlib.Path) -> Vocabulary:
    """Reads the files of `Vocabulary.save`.

    Raises:
      UserError: if a file is absent or cannot be read.
    """
    parts: list[Ids] = []
    for name in ("items", "users", "categories"):
        path = pathlib.Path(directory) / f"vocabulary_{name}.parquet"
        try:
            raw = parquet.read(path)["raw"]
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"{path}: no readable vocabulary ({error})") from error
        parts.append(Ids(as_array(raw)))
    items, users, categories = parts
    encoders = (
        feature_encoding.load(directory, owner) for owner in ("item", "user", "context")
    )
    return Vocabulary(items, users, categories, *encoders)


def ids_of(raw: pl.Series) -> Ids:
    """Ids of the distinct values of a column; raw ids ascending."""
    return Ids(as_array(raw.unique().sort()))


def as_array(raw: pl.Series) -> np.ndarray:
    """A column of ids as `Ids` holds it: int64 or str."""
    if is_text(raw.dtype):
        return np.array(raw.to_list(), dtype=np.str_)
    return raw.cast(pl.Int64).to_numpy()


def _dtype(raw: np.ndarray) -> type[pl.DataType]:
    return pl.Int64 if raw.dtype.kind == "i" else pl.String
