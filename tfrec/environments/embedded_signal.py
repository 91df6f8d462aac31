"""How loud the effect of one item on later clicks is in the log of an embedded world, exactly.

A method that learns values from logged sessions, without a model of the users, sees the clicks
that follow an item: their mean depends on the item, and they vary. In few sessions a small
effect beside a large variation cannot be learned by any such method.

Axes: T steps, S segments, L fatigue levels, N items, C cells, which decide what follows an
item.
"""

from typing import NamedTuple

import numpy as np

from tfrec.environments import embedded, exact_values


class FarEffect(NamedTuple):
    """Clicks after a step under a policy, over the states and items that it meets.

    Attributes:
      effect: root mean variance, over the items shown in a state, of the expected clicks that
        follow.
      noise: root mean variance of the clicks that follow an item in a state.
    """

    effect: float
    noise: float

    @property
    def ratio(self) -> float:
        """The effect divided by the noise."""
        return self.effect / self.noise if self.noise else 0.0

    @property
    def document(self) -> dict[str, float]:
        """The numbers by name."""
        return {**self._asdict(), "ratio": self.ratio}


def far_effect(world: embedded.EmbeddedWorld, policy: np.ndarray) -> FarEffect:
    """Returns the effect of items on the clicks that follow, and its noise.

    Args:
      world: the true world.
      policy: float [S, L, N], probability of each item, as `logging_policy` gives it.
    """
    clicks = np.eye(len(world.spec.feedback))[0]
    now = exact_values.expected_reward(clicks, exact_values.true_model(world))  # [S, L, N]
    cells = np.eye(world.after.shape[-1])
    to_come, horizon = exact_values.values_to_come(world, cells), world.spec.max_steps
    of_item = cells[world.item_cell]  # [N, C]
    shown, clicked = policy @ of_item, (policy * now) @ of_item  # probabilities, [S, L, C]
    value, square = np.zeros(now.shape[:2]), np.zeros(now.shape[:2])  # moments of the return
    between, within = np.zeros((2, horizon, *now.shape[:2]))
    for step in reversed(range(horizon)):
        far, far_square = to_come(value), to_come(square)  # [S, L, C]
        mean = (shown * far).sum(axis=-1)
        between[step] = (shown * far**2).sum(axis=-1) - mean**2
        within[step] = (shown * (far_square - far**2)).sum(axis=-1)
        # The click and the rest of the session are independent, given the state and the item.
        square = (clicked + 2.0 * clicked * far + shown * far_square).sum(axis=-1)
        value = clicked.sum(axis=-1) + mean
    visits = _visits(world, shown)
    total = visits.sum()
    return FarEffect(
        float(np.sqrt(max(0.0, (visits * between).sum() / total))),
        float(np.sqrt((visits * within).sum() / total)),
    )


def _visits(world: embedded.EmbeddedWorld, shown: np.ndarray) -> np.ndarray:
    """Probability that a session of a random user is at a step in a state, float [T, S, L].

    Args:
      world: the true world.
      shown: float [S, L, C], probability of each cell.
    """
    segments, levels, _ = world.after.shape
    stays = shown * (1.0 - exact_values.exit_probability(world))  # [S, L, C]
    visits = np.zeros((world.spec.max_steps, segments, levels))
    starts = np.zeros((1, segments, levels))
    for segment in range(segments):
        starts[:] = 0.0
        starts[0, segment, 0] = 1.0
        visits[0, segment, 0] = exact_values.session_values(world, starts).mean()
    row = np.broadcast_to(np.arange(segments)[:, None, None], world.after.shape)
    for step in range(1, len(visits)):
        moved = visits[step - 1][..., None] * stays
        np.add.at(visits[step], (row, world.after), moved)
    return visits
