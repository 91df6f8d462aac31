"""Which world answers? A fitted user model's folder, or the truth behind the embedded log."""

import pathlib

import numpy as np

from tfrec import types
from tfrec.data import storage, synthetic
from tfrec.errors import UserError
from tfrec.simulators import embedded, session, user_model
from tfrec.training import options

TRUTH = "truth"
HELP = (
    "who answers: a folder that fit_simulator wrote, or `truth` for the ground truth of "
    "the embedded log"
)


def load(name: str, data: storage.PreparedData) -> session.World:
    """Opens a world for prepared data.

    Raises:
      UserError: if the world was not made for this data.
    """
    if name != TRUTH:
        world = user_model.load(pathlib.Path(name) / "model")
        if world.spec != data.spec:
            raise UserError(
                f"{name}: fitted on another log than {data.directory}: "
                f"{world.spec} is not {data.spec}"
            )
        return world
    generator = data.manifest.get("generator")
    if not generator:
        raise UserError(
            f"{data.directory}: its log ({data.manifest['source']}) has no known ground truth; "
            "expected the embedded log, or a folder that fit_simulator wrote"
        )
    config = options.restored(synthetic.SyntheticConfig, generator)
    return embedded.EmbeddedWorld(config, data.spec, data.vocabulary)


def last_sessions(episodes: types.Episodes) -> types.Episodes:
    """The last session of each user, whose history is the longest: where to judge from."""
    user = np.asarray(episodes.user)
    last = np.append(user[1:] != user[:-1], True)
    return types.Episodes(*(np.asarray(part)[last] for part in episodes))
