"""Ranked lists: checked requests in raw ids, and their results."""

from __future__ import annotations

import dataclasses
import difflib
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfrec import types
from tfrec.data import text_columns
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.data.observations import RawId
from tfrec.errors import UserError


@dataclasses.dataclass(frozen=True)
class RankingRequest:
    """A checked request for a ranked list.

    Attributes:
      history: raw ids of the user's last events, oldest first.
      feedback: F raw values for each event.
      step: number of last events that belong to the current session.
      candidates: raw ids of the candidates; empty for the whole catalogue.
      exclude: raw ids that are not ranked.
      k: length of the list.
      unknown: raw ids of the request that are not in the log.
      context_values: numbers of the values of the features of user and context; empty if they
        are missing.
    """

    history: tuple[RawId, ...]
    feedback: tuple[tuple[float, ...], ...]
    step: int
    candidates: tuple[RawId, ...]
    exclude: tuple[RawId, ...]
    k: int
    unknown: tuple[RawId, ...]
    context_values: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A ranked list, best first.

    Attributes:
      items: raw ids, at most k.
      scores: one for each item, in the method's unit; only their order is comparable across
        methods.
      measurements: predicted measurements of each item by name, raw units; empty for methods
        without predictions.
      units: the unit of each measurement.
      unknown: raw ids of the request that are not in the log; they were ignored.
    """

    items: tuple[RawId, ...]
    scores: tuple[float, ...]
    measurements: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unknown: tuple[RawId, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RawId]:
        return iter(self.items)

    def _rows(self) -> list[list[str]]:
        shown = [name for name in self.measurements if not name.endswith("]")]
        head = ["", "item", "score", *(f"{name} ({self.units[name]})" for name in shown)]
        return [
            head,
            *(
                [
                    str(place + 1),
                    str(item),
                    f"{self.scores[place]:.4g}",
                    *(f"{self.measurements[name][place]:.3g}" for name in shown),
                ]
                for place, item in enumerate(self.items)
            ),
        ]

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
        lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def checked_request(
    vocabulary: vocabulary_lib.Vocabulary,
    spec: types.DataSpec,
    history: Sequence[RawId],
    feedback: Mapping[str, Sequence[float]] | None = None,
    step: int = 0,
    candidates: Sequence[RawId] | None = None,
    exclude: Sequence[RawId] | None = None,
    k: int = 10,
    user: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> RankingRequest:
    """Checks a request for a ranked list.

    Args:
      vocabulary: raw ids of the log.
      spec: the log's spec.
      history: raw ids of the user's last events, oldest first.
      feedback: column -> one raw value for each event; missing columns are 0.
      step: number of last events that belong to the current session.
      candidates: raw ids of the candidates; None or empty for the whole catalogue.
      exclude: raw ids that are not ranked.
      k: length of the list.
      user: column -> value of the user's features; absent columns are missing.
      context: column -> value of the context's features; absent columns are missing.

    Raises:
      UserError: naming the argument, the value and what was expected. An unknown id is no
        error: it is ignored and listed.
    """
    request = {
        name: _ids(vocabulary, name, values)
        for name, values in (
            ("history", history),
            ("candidates", candidates or ()),
            ("exclude", exclude or ()),
        )
    }
    raw_ids = tuple(dict.fromkeys(item for ids in request.values() for item in ids))
    dense = vocabulary.encode(list(raw_ids))
    return RankingRequest(
        **request,
        feedback=_feedback(spec, feedback or {}, len(request["history"])),
        step=_whole("step", step, 0),
        k=_whole("k", k, 1),
        unknown=tuple(item for item, number in zip(raw_ids, dense, strict=True) if not number),
        context_values=vocabulary.state_encoder.of(spec).encode_one(user, context),
    )


def allowed(
    request: RankingRequest, vocabulary: vocabulary_lib.Vocabulary, count: int
) -> np.ndarray:
    """Mask of the items 1..count that a request allows, bool [count]."""
    mask = np.ones(count + 1, bool)
    if request.candidates:
        mask[:] = False
        dense = vocabulary.encode(list(request.candidates))
        mask[dense[dense <= count]] = True
    dense = vocabulary.encode(list(request.exclude))
    mask[dense[dense <= count]] = False
    return mask[1:]


def _ids(
    vocabulary: vocabulary_lib.Vocabulary, name: str, values: Sequence[RawId]
) -> tuple[RawId, ...]:
    if isinstance(values, str | bytes | int) or not hasattr(values, "__iter__"):
        raise UserError(f"{name} is {values!r}; expected a list of item ids")
    numbers = vocabulary.items.dtype.kind == "i"
    ids: list[RawId] = []
    for value in values:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if numbers and whole and -(2**63) <= int(value) < 2**63:
            ids.append(int(value))
        elif not numbers and isinstance(value, str) and text_columns.strip(value):
            ids.append(text_columns.strip(str(value)))
        else:
            kind = "whole numbers" if numbers else "text"
            raise UserError(f"{name}: {value!r} is no item id; the ids of this log are {kind}")
    return tuple(ids)


def _feedback(
    spec: types.DataSpec, feedback: Mapping[str, Sequence[float]], events: int
) -> tuple[tuple[float, ...], ...]:
    if not isinstance(feedback, Mapping):
        raise UserError(f"feedback is {feedback!r}; expected a dict of column -> values")
    rows = np.zeros((events, len(spec.feedback)))
    for name, values in feedback.items():
        if name not in spec.feedback_names:
            columns = ", ".join(spec.feedback_names)
            raise UserError(f"feedback: {name!r} is not a column; there are {columns}")
        if len(values) != events:
            raise UserError(
                f"feedback: {name} has {len(values)} values for {events} events of history"
            )
        for value in values:
            if not _is_amount(value):
                raise UserError(
                    f"feedback: {name} is {value!r}; expected a finite number of at least 0"
                )
        rows[:, spec.feedback_names.index(name)] = values
    return tuple(tuple(row) for row in rows.tolist())


def _is_amount(value: Any) -> bool:
    try:
        return math.isfinite(float(value)) and float(value) >= 0
    except (TypeError, ValueError):
        return False


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise UserError(f"{name} is {value!r}; expected a whole number of at least {least}")
    return int(value)


def similar(name: str, options: Sequence[str]) -> str:
    """The options that resemble a name, else all of them; for messages."""
    return ", ".join(difflib.get_close_matches(name, options, 3, 0.5) or options) or "none"
