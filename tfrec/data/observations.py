"""Observations of raw events: the input of a policy for a request of a ranked list."""

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
      step: number of the last events that belong to the running session.
      context_values: numbers of the values of the features of user and context; empty if they
        are missing.
    """

    @property
    def history(self) -> Sequence[RawId]: ...

    @property
    def feedback(self) -> Sequence[Sequence[float]]: ...

    @property
    def step(self) -> int: ...

    @property
    def context_values(self) -> Sequence[int]: ...


def of_events(
    spec: types.DataSpec, requests: Sequence[Events], dense: Mapping[RawId, int]
) -> types.Observation:
    """Makes the observations of a batch of requests; events of unknown items are left out.

    Args:
      spec: the log's spec.
      requests: B requests.
      dense: raw item id -> dense id; unknown items are absent.

    Returns:
      Tensors, right-aligned: [B, H], [B, H, F], [B], and with features of users or contexts
      [B, K].
    """
    import tensorflow as tf

    horizon = spec.history_length
    item = np.zeros((len(requests), horizon), np.int32)
    feedback = np.zeros((len(requests), horizon, len(spec.feedback)), np.float32)
    step = np.zeros(len(requests), np.int32)
    for row, request in enumerate(requests):
        places = [place for place, raw in enumerate(request.history) if raw in dense]
        before = len(request.history) - request.step  # events before this session
        lost = len(request.history[max(before, 0) :]) - sum(place >= before for place in places)
        step[row] = min(request.step - lost, spec.max_steps - 1)
        for column, place in enumerate(places[-horizon:], horizon - len(places[-horizon:])):
            item[row, column] = dense[request.history[place]]
            feedback[row, column] = request.feedback[place]
    observation = types.Observation(*map(tf.constant, (item, feedback, step)))
    sizes = spec.state_features
    if sizes is None:
        return observation
    values = [x.context_values if any(x.context_values) else sizes.missing for x in requests]
    return observation._replace(
        context_values=tf.constant(values, tf.int32, [len(values), sizes.slots])
    )
