"""What can be earned in the embedded world without the hour, where tastes depend on it.

    bounds = without_hour(world, reward)

gives two exact values of sessions of known users at an unknown hour. The lower one is the value
of the best plan that learns nothing from the answers in the session. The upper one is the best
value if the hour becomes known after the first item. The best agent that knows the user and
infers the hour from answers earns a value between them; one that must also infer the user may
earn less than the lower one.

Axes: P parts of the day, S own segments of users; else as in `embedded`.
"""

from typing import NamedTuple

import numpy as np

from tfrec import types
from tfrec.environments import embedded, exact_values
from tfrec.errors import UserError


class WithoutHour(NamedTuple):
    """Expected reward of a session by the part of the day and the user's own segment.

    The means over the parts are the bounds.

    Attributes:
      low: float [P, S], of the best plan that reads neither the hour nor the answers.
      high: float [P, S], of the best first item without the hour, and the optimum afterwards.
    """

    low: np.ndarray
    high: np.ndarray


def without_hour(
    world: embedded.EmbeddedWorld, reward: np.ndarray, items: np.ndarray | None = None
) -> WithoutHour:
    """Exact bounds of the best expected reward without the hour.

    Args:
      world: the true world.
      reward: float [F], weight of one unit of each feedback column.
      items: int [K], dense ids of the items that may be shown; all candidates by default.

    Raises:
      UserError: if fatigue or exits depend on the hour, and would tell it.
      ValueError: if an item is not a candidate, or there is none.
    """
    parts = world.session_segment  # [P, S]
    stays = 1.0 - exact_values.exit_probability(world)  # [S, L, Z * 3]
    if (stays[parts] != stays).any() or (world.after[parts] != world.after).any():
        raise UserError(
            "fatigue and exits depend on the hour; expected suited_fatigue 0, exit_match 0, "
            "and type_by_taste False or one type of users"
        )
    truth = exact_values.true_model(world)
    by_part = [
        truth._replace(click=truth.click[of_own], seconds=truth.seconds[of_own])
        for of_own in parts
    ]
    mean = truth._replace(
        click=np.mean([model.click for model in by_part], axis=0),
        seconds=np.mean([model.seconds for model in by_part], axis=0),
    )
    plan = exact_values.solve(world, reward, items, mean).item  # [T, S, L]
    low = [exact_values.plan_value(world, reward, plan, model)[0, :, 0] for model in by_part]

    first = exact_values.first_values(world, reward, items)[parts]  # [P, S, K]
    best = first.mean(axis=0).argmax(axis=-1)  # [S]
    high = first[:, np.arange(len(best)), best]
    return WithoutHour(np.stack(low), high)


def of_starts(
    world: embedded.EmbeddedWorld, value: np.ndarray, starts: types.Starts
) -> np.ndarray:
    """Values of the sessions that begin with given starts, in their hours.

    Args:
      world: the true world.
      value: float [P, S], a field of `WithoutHour`.
      starts: B starts, numpy arrays.

    Returns:
      float [B].
    """
    part = world.part(types.constants(starts)).numpy()
    return value[part, world.user_segment[np.asarray(starts.user) - 1]]
