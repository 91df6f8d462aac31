"""Session starts of evaluations, and the score of a policy in them."""

import numpy as np

from tfrec import types
from tfrec.data import storage
from tfrec.environments import contract, player, user_models, worlds
from tfrec.environments import users as users_lib
from tfrec.errors import UserError

_SEED = 29  # of the validation sessions, the same for every policy


def starts(data: storage.PreparedData, split: str, users: int, repeats: int) -> types.Starts:
    """Starts of the last sessions of a split's users, as arrays.

    Args:
      data: the prepared data.
      split: `train`, `validation` or `test`.
      users: number of users at most; the first ones of the split are used.
      repeats: number of sessions of each user.

    Raises:
      UserError: if the split has no session.
    """
    if not data.num_sessions(split):
        raise UserError(
            f"{data.directory}: no {split} session is left; prepare it with more users, more "
            "items, or a lower min_steps"
        )
    episodes = worlds.last_sessions(data.episodes(split))
    once = user_models.starts_of(types.rows(episodes, slice(users)))
    return types.rows(once, np.repeat(np.arange(len(once.user)), repeats))


def validation_starts(
    data: storage.PreparedData, max_users: int = 500, sessions_per_user: int = 4
) -> types.Starts:
    """Starts of validation users; test users are not used.

    Raises:
      UserError: if the data has no validation users.
    """
    if not data.num_sessions("validation"):
        raise UserError(f"{data.directory}: no validation users to score on; prepare it again")
    return starts(data, "validation", max_users, sessions_per_user)


class Score:
    """Mean reward of a policy's played sessions, in clicks.

    Args:
      environment: the simulated users, without delay or noise.
      policy: the policy. It reads its weights from variables, so that one trace suffices.
      starts: starts of the sessions.
    """

    def __init__(
        self,
        environment: users_lib.UserEnvironment,
        policy: contract.Policy,
        starts: types.Starts,
    ):
        self._player, self._starts = player.Player(environment, policy), starts

    def __call__(self) -> float:
        episodes = self._player.play(self._starts, _SEED)
        return float(np.asarray(episodes.feedback)[..., 0].sum(axis=1).mean())
