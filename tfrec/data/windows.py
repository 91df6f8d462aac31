"""What a policy sees at steps of logged sessions, cut out of numpy arrays."""

import numpy as np

from tfrec import types


def observations(
    episodes: types.Episodes, session: np.ndarray, step: np.ndarray
) -> types.Observation:
    """Observations at steps of sessions: the H latest events before each step.

    Args:
      episodes: sessions, numpy arrays.
      session: which session, int [L].
      step: which step of it, int [L], from 0 to the session's length.

    Returns:
      Numpy arrays [L, ...]; `step` is int32.
    """
    # History and session side by side: step t sees the slice [t, t + H).
    window = step[:, None] + np.arange(episodes.history_item.shape[1])  # [L, H]
    item = np.concatenate([episodes.history_item, episodes.item], axis=1)
    feedback = np.concatenate([episodes.history_feedback, episodes.feedback], axis=1)
    values = episodes.context_values
    return types.Observation(
        history_item=item[session[:, None], window],
        history_feedback=feedback[session[:, None], window],
        step=step.astype(np.int32),
        context_values=values if isinstance(values, tuple) else values[session],
    )
