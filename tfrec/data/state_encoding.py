"""Features of the user and of the context of a session as one row of numbers.

A state has the numbers of the user's values, then those of the context's, which follow the V
numbers of users: `context_values` in `tfrec.types`. The context of a session is that of its
first event: columns of the log, and the hour and the weekday of its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrec import types
from tfrec.data import feature_schema
from tfrec.data.feature_encoding import FeatureEncoder
from tfrec.errors import UserError

OWNERS = ("user", "context")
_HOUR_MS = 3_600_000


class StateEncoder(NamedTuple):
    """Encoders of the features of states.

    Attributes:
      user: encoder of the features of users; None if states have none.
      context: encoder of the features of contexts; None if states have none.
    """

    user: FeatureEncoder | None = None
    context: FeatureEncoder | None = None

    def of(self, spec: types.DataSpec) -> StateEncoder:
        """The encoders of the features that an agent with this spec reads."""
        return StateEncoder(
            None if spec.user_features is None else self.user,
            None if spec.context_features is None else self.context,
        )

    @property
    def slots(self) -> int:
        """K, the numbers of a state."""
        return sum(encoder.spec.slots for encoder in self if encoder is not None)

    def hour_code(self) -> tuple[int, int] | None:
        """Where a state holds the hour of UTC: its column, and the number of hour 0 in it.

        A missing hour has the number before that of hour 0. None if there is no such column of
        the context.
        """
        user = self.user.spec if self.user is not None else None
        column, before = (user.slots, user.values) if user is not None else (0, 0)
        for code in self.context.codes if self.context is not None else ():
            if code.column.kind == "hour" and not code.column.utc_offset:
                return column, before + code.fitted.start
            column += code.column.most_values
        return None

    def encode_one(
        self,
        user: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> tuple[int, ...]:
        """Numbers of the values of a request, K of them; () if both arguments are None.

        Args:
          user: column -> value of the user's features; None if they are missing.
          context: column -> value of the context's features; None if they are missing.

        Raises:
          UserError: naming the column, the value and what was expected.
        """
        if user is None and context is None:
            return ()
        given = (
            (self.user, "user", user, "features of users"),
            (self.context, "context", context, "context"),
        )
        rows = [_row(*part) for part in given]
        return tuple(self.joined(*rows)[0].tolist())

    def joined(
        self, user: np.ndarray | None = None, context: np.ndarray | None = None
    ) -> np.ndarray:
        """Numbers of states from those of B users and those of B contexts, int32 [B, K].

        Args:
          user: int32 [B, K_u]; None for no value of any user.
          context: int32 [B, K_c], as its encoder numbers values; None for no value.
        """
        rows = max(len(part) for part in (user, context) if part is not None)
        parts, before = [np.zeros([rows, 0], np.int32)], 0
        for encoder, values in ((self.user, user), (self.context, context)):
            if encoder is None:
                continue
            if values is None:
                values = np.tile(np.array(encoder.spec.missing, np.int32), (rows, 1))
            parts.append(np.where(values > 0, values + before, 0).astype(np.int32))
            before += encoder.spec.values
        return np.concatenate(parts, axis=1)  # [B, K]


def _row(
    encoder: FeatureEncoder | None,
    argument: str,
    values: Mapping[str, Any] | None,
    read: str,
) -> np.ndarray:
    """Numbers of one user or context, [1, K]; [1, 0] if the agent reads none."""
    if values is not None and not isinstance(values, Mapping):
        raise UserError(f"{argument} is {str(values)[:80]}; expected a dict of column -> value")
    if encoder is None:
        if values is not None:
            raise UserError(
                f"{argument} is {str(values)[:80]}; expected none: the agent reads no {read}"
            )
        return np.zeros([1, 0], np.int32)
    return encoder.encode_one(values or {})[None]


def context_table(
    columns: Sequence[feature_schema.FeatureColumn], start_ms: np.ndarray, log: pl.DataFrame
) -> pl.DataFrame:
    """The declared columns of the contexts of S sessions.

    Args:
      columns: the declaration.
      start_ms: int64 [S], unix milliseconds of the first event of each session.
      log: columns of the log at that event, S rows; the first column identifies the session
        in messages.
    """
    derived = [
        pl.Series(column.name, _of_time(column, start_ms))
        for column in columns
        if column.derived
    ]
    return log.with_columns(derived)


def _of_time(column: feature_schema.FeatureColumn, start_ms: np.ndarray) -> np.ndarray:
    """The hour or the weekday of local time, int64 [S]."""
    local = start_ms + round(column.utc_offset * _HOUR_MS)
    if column.kind == "hour":
        return local // _HOUR_MS % 24
    return (local // (24 * _HOUR_MS) + 3) % 7  # 1970-01-01 was a Thursday
