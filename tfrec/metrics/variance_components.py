"""Variance components of a table of users, states within users, and items.

A simulator with feedback that depends only on the item cannot distinguish a personalised
recommender from popularity. These components measure how much the feedback depends on user and
state.
"""

from typing import NamedTuple

import numpy as np


class Components(NamedTuple):
    """Variances of the random effects of y_usi = m + a_u + b_i + c_us + d_ui + e_usi.

    Attributes:
      user: variance of a_u, the level of a user.
      item: variance of b_i, the level of an item.
      state: variance of c_us, the level of a state relative to its user.
      user_item: variance of d_ui, the preference of a user for an item.
      state_item: variance of e_usi, the effect of a state on the preference.
    """

    user: float
    item: float
    state: float
    user_item: float
    state_item: float

    def shares(self) -> dict[str, float]:
        """Each component's share of their sum; all 0 if nothing varies."""
        total = sum(self)
        return {name: part / total if total else 0.0 for name, part in self._asdict().items()}

    @property
    def interaction(self) -> float:
        """Share of the interactions of item and user and of item and state, 0 to 1."""
        shares = self.shares()
        return shares["user_item"] + shares["state_item"]


def components(values: np.ndarray) -> Components:
    """Estimates variance components by the analysis of variance (method of moments).

    The expected mean squares of the balanced design, with S states nested in U users, crossed
    with I items (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4):

        state_item  e
        user_item   e + S d
        state       e + I c
        item        e + S d + U S b
        user        e + S d + I c + S I a

    Negative estimates become 0.

    Args:
      values: float [U, S, I], at least two of each.

    Raises:
      ValueError: if an axis has fewer than two entries or a value is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 3 or min(values.shape) < 2:
        raise ValueError(f"values have shape {values.shape}; expected [U, S, I], each >= 2")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    if values.min() == values.max():  # means of equal numbers may differ in the last digit
        return Components(0.0, 0.0, 0.0, 0.0, 0.0)
    users, states, items = values.shape
    by_state_item = values
    by_user_item = values.mean(axis=1)  # [U, I]
    by_state = values.mean(axis=2)  # [U, S]
    by_user = by_user_item.mean(axis=1)  # [U]
    by_item = by_user_item.mean(axis=0)  # [I]
    mean = by_user.mean()

    def mean_square(effect: np.ndarray, repeated: int, freedom: int) -> float:
        return repeated * float(np.square(effect).sum()) / freedom

    state_item = mean_square(
        by_state_item - by_state[:, :, None] - by_user_item[:, None] + by_user[:, None, None],
        1,
        users * (states - 1) * (items - 1),
    )
    user_item = mean_square(
        by_user_item - by_user[:, None] - by_item + mean,
        states,
        (users - 1) * (items - 1),
    )
    state = mean_square(by_state - by_user[:, None], items, users * (states - 1))
    item = mean_square(by_item - mean, users * states, items - 1)
    user = mean_square(by_user - mean, states * items, users - 1)
    return Components(
        user=max(user - user_item - state + state_item, 0.0) / (states * items),
        item=max(item - user_item, 0.0) / (users * states),
        state=max(state - state_item, 0.0) / items,
        user_item=max(user_item - state_item, 0.0) / states,
        state_item=state_item,
    )
