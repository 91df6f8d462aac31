"""Requests in Python, and their conversion to the model's named arrays."""

import dataclasses
from collections.abc import Sequence

import numpy as np

RawId = str | int


@dataclasses.dataclass(frozen=True)
class Request:
    """One request to an exported model.

    Attributes:
      history: raw ids of the user's last events, oldest first.
      feedback: one row of F raw values for each event; empty means no feedback.
      step: steps already taken in this session; the last `step` events belong to it.
      goal: M standardised weights, or empty.
      goal_name: a named goal, or "" to use `goal`.
      weights: M weights in raw units, for `rank_weights`; or empty.
      candidates: raw ids to choose from; empty for the whole catalogue.
      exclude: raw ids to leave out of the answer.
      k: number of items in the answer.
      context_values: numbers of the values of the features of user and context, from the
        contract of a model that reads them; empty if they are missing.
    """

    history: tuple[RawId, ...] = ()
    feedback: tuple[tuple[float, ...], ...] = ()
    step: int = 0
    goal: tuple[float, ...] = ()
    goal_name: str = ""
    weights: tuple[float, ...] = ()
    candidates: tuple[RawId, ...] = ()
    exclude: tuple[RawId, ...] = ()
    k: int = 10
    context_values: tuple[int, ...] = ()


# The inputs of each signature, in this order; then `context_values`, if the model reads
# features of users or of the context.
SIGNATURES: dict[str, tuple[str, ...]] = {
    "rank": (
        "history_item",
        "history_feedback",
        "step",
        "goal",
        "goal_name",
        "candidates",
        "exclude",
        "k",
    ),
    "rank_weights": (
        "history_item",
        "history_feedback",
        "step",
        "weights",
        "candidates",
        "exclude",
        "k",
    ),
    "predict_measurements": (
        "history_item",
        "history_feedback",
        "step",
        "goal",
        "goal_name",
        "candidates",
    ),
}


def arrays(
    requests: Sequence[Request],
    signature: str,
    item_dtype: str,
    num_feedback: int,
    context_slots: int = 0,
) -> dict[str, np.ndarray]:
    """Converts a batch of requests to the named inputs of one signature.

    Rows of different length are padded on the left with "" or -1, which the model ignores.

    Args:
      requests: B requests.
      signature: a key of `SIGNATURES`.
      item_dtype: `string` or `int64`, the type of the model's item ids.
      num_feedback: F, feedback columns of the model.
      context_slots: K, numbers of the features of a user and a context; 0 if the model reads
        none.

    Returns:
      Arrays by input name. Strings are bytes, as in TensorFlow.

    Raises:
      ValueError: if a history and its feedback differ in length, or the features of a
        request have another number of values.
    """
    longest = max((len(request.history) for request in requests), default=0)
    feedback = np.zeros((len(requests), longest, num_feedback), np.float32)
    for row, request in enumerate(requests):
        if request.feedback:
            if len(request.feedback) != len(request.history):
                raise ValueError(
                    f"request {row}: {len(request.history)} events in the history, "
                    f"feedback for {len(request.feedback)}"
                )
            feedback[row, longest - len(request.history) :] = request.feedback
    # Goals in a batch have one width: a row without a goal gets zeros.
    named = {
        "history_item": _ids([request.history for request in requests], item_dtype),
        "history_feedback": feedback,
        "step": np.array([request.step for request in requests], np.int32),
        "goal": _floats([request.goal for request in requests]),
        "goal_name": np.array([request.goal_name.encode() for request in requests], np.bytes_),
        "weights": _floats([request.weights for request in requests]),
        "candidates": _ids([request.candidates for request in requests], item_dtype),
        "exclude": _ids([request.exclude for request in requests], item_dtype),
        "k": np.array([request.k for request in requests], np.int32),
    }
    inputs = {name: named[name] for name in SIGNATURES[signature]}
    if context_slots:
        inputs["context_values"] = _context_values(requests, context_slots)
    elif any(request.context_values for request in requests):
        raise ValueError("context_values are given; expected none: the model reads no features")
    return inputs


def _ids(rows: Sequence[Sequence[RawId]], item_dtype: str) -> np.ndarray:
    """Raw ids, right-aligned, [B, longest]."""
    longest = max(map(len, rows), default=0)
    if not longest:
        return np.zeros((len(rows), 0), "S1" if item_dtype == "string" else np.int64)
    if item_dtype == "string":
        filled = [[""] * (longest - len(row)) + [str(item) for item in row] for row in rows]
        return np.array([[item.encode() for item in row] for row in filled], np.bytes_)
    return np.array([[-1] * (longest - len(row)) + [int(i) for i in row] for row in rows])


def _context_values(requests: Sequence[Request], slots: int) -> np.ndarray:
    """Numbers of the features of requests, int32 [B, K]; zeros where they are missing."""
    rows = np.zeros((len(requests), slots), np.int32)
    for row, request in enumerate(requests):
        if request.context_values:
            if len(request.context_values) != slots:
                raise ValueError(
                    f"request {row}: context_values has {len(request.context_values)} numbers; "
                    f"expected {slots}"
                )
            rows[row] = request.context_values
    return rows


def _floats(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Weights, [B, widest]; zeros for a row without weights."""
    widest = max(map(len, rows), default=0)
    full = np.zeros((len(rows), widest), np.float32)
    for index, row in enumerate(rows):
        full[index, : len(row)] = row
    return full
