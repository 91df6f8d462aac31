"""Observations of raw events: what a policy sees of a request for a ranked list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfrec import types

RawId = str | int


class Events(Protocol):
    """A user's last events, as a request names them.

    Attributes:
      history: raw item ids, oldest first.
      feedback: F raw values for each event.
      step: how many of the last events belong to the running session.
    """

    @property
    def history(self) -> Sequence[RawId]: ...

    @property
    def feedback(self) -> Sequence[Sequence[float]]: ...

    @property
    def step(self) -> int: ...


def of_events(
    spec: types.DataSpec, asked: Sequence[Events], dense: Mapping[RawId, int]
) -> types.Observation:
    """The states behind a batch of requests; events of unknown items are left out.

    Args:
      spec: the log's spec.
      asked: B requests.
      dense: raw item id -> dense id; unknown items are absent.

    Returns:
      Tensors, right-aligned: [B, H], [B, H, F] and [B].
    """
    import tensorflow as tf

    horizon = spec.history_length
    item = np.zeros((len(asked), horizon), np.int32)
    feedback = np.zeros((len(asked), horizon, len(spec.feedback)), np.float32)
    step = np.zeros(len(asked), np.int32)
    for row, request in enumerate(asked):
        known = [place for place, raw in enumerate(request.history) if raw in dense]
        before = len(request.history) - request.step  # events before this session
        lost = len(request.history[max(before, 0) :]) - sum(place >= before for place in known)
        step[row] = min(request.step - lost, spec.max_steps - 1)
        for column, place in enumerate(known[-horizon:], horizon - len(known[-horizon:])):
            item[row, column] = dense[request.history[place]]
            feedback[row, column] = request.feedback[place]
    return types.Observation(*map(tf.constant, (item, feedback, step)))
