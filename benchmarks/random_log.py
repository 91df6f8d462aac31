"""Sessions of random items and feedback, for benchmarks that depend only on sizes."""

import dataclasses

import numpy as np

from tfrec import types

FEEDBACK = (
    types.FeedbackColumn("click", "binary", "clicks"),
    types.FeedbackColumn("watch_seconds", "amount", "seconds", 10.0),
)
# 20 columns of 100 values: 10 categories, 5 multi-valued ones of 4 values, 5 numbers.
FEATURES = types.FeatureSpec(values=20 * 100, slots=10 + 5 * 4 + 5)
# Two of the categories and one of the multi-valued columns, sketched. `features` draws the
# values of a column from all of them, so each cross counts all.
CROSSED = dataclasses.replace(
    FEATURES,
    crosses=tuple(
        types.CrossSpec(slot, slots, first=1, size=FEATURES.values, width=64)
        for slot, slots in ((0, 1), (1, 1), (10, 4))
    ),
)


def episodes(spec: types.DataSpec, sessions: int, seed: int) -> types.Episodes:
    """Random sessions of 1 to T steps after 0 to H earlier events, numpy.

    Args:
      spec: sizes; the first feedback column is binary, the others amounts.
      sessions: B.
      seed: seed of the draws.
    """
    rng = np.random.default_rng(seed)
    h, t, f = spec.history_length, spec.max_steps, len(spec.feedback)
    length = rng.integers(1, t, sessions, endpoint=True)
    past = rng.integers(0, h, sessions, endpoint=True)  # events before the session
    live = np.arange(-h, t) < length[:, None]  # [B, H + T]
    live &= np.arange(-h, t) >= -past[:, None]
    clicked = rng.random((sessions, h + t, 1)) < 0.3
    feedback = clicked * rng.lognormal(2.0, 0.5, (sessions, h + t, f))
    feedback[..., :1] = clicked
    feedback = (feedback * live[..., None]).astype(np.float32)
    item = rng.integers(1, spec.num_items, (sessions, h + t), endpoint=True)
    item = (item * live).astype(np.int32)
    return types.Episodes(
        user=np.arange(1, sessions + 1, dtype=np.int32),
        history_item=item[:, :h],
        history_feedback=feedback[:, :h],
        item=item[:, h:],
        feedback=feedback[:, h:],
        length=length.astype(np.int32),
        exited=rng.random(sessions) < 0.9,
    )


def features(num_items: int, seed: int) -> types.Features:
    """Random values of the 20 columns of `FEATURES` for each item."""
    rng = np.random.default_rng(seed)
    shape = [num_items + 1, FEATURES.slots]
    values = rng.integers(1, FEATURES.values, shape, endpoint=True, dtype=np.int32)
    values[0] = 0
    return types.Features(values, np.zeros([num_items + 1, 0], np.float32))
