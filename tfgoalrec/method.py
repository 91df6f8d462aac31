"""GoalRec as a method of the registry; importing the package registers it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import tfrec.baselines  # noqa: F401  registered before GoalRec: the order of tables
from tfgoalrec.config import SPACE, GoalRecConfig
from tfgoalrec.online_config import OnlineGoalRecConfig
from tfrec import types
from tfrec.methods import registry, trained

if TYPE_CHECKING:
    from tfgoalrec.measurements import Measurements
    from tfrec.data import vocabulary as vocabulary_lib
    from tfrec.environments import user_models


def check(config: GoalRecConfig, spec: types.DataSpec) -> None:
    """Rejects a configuration with measurements or goals that a log cannot give.

    Raises:
      ValueError: naming the field.
    """
    frozen = np.zeros([1, config.frozen_embedding], np.float32)
    _check_fits(config, spec, _measurements(config, spec, frozen))


def learner(
    config: GoalRecConfig,
    spec: types.DataSpec,
    log: types.Episodes,
    world: "user_models.UserModel | None",
    item_vectors: np.ndarray,
    seed: int,
) -> registry.Learner:
    """Returns GoalRec's untrained learner; see `tfrec.methods.registry.Method.make`."""
    from tfgoalrec import agent as agent_lib
    from tfgoalrec import learner as learner_lib

    measurements = _measurements(config, spec, item_vectors[:, : config.frozen_embedding])
    measurements.fit(log)
    _check_fits(config, spec, measurements)
    agent = agent_lib.GoalRecAgent(config, spec, measurements, item_vectors, seed)
    return learner_lib.GoalRecLearner(agent, log, world)


def trained_agent(
    learner: Any, vocabulary: "vocabulary_lib.Vocabulary", about: Mapping[str, Any]
) -> trained.SavedAgent:
    """Returns the trained agent of a learner; see `tfrec.methods.registry.Method.trained`."""
    return learner.agent.trained(vocabulary, about)


def register() -> None:
    """Registers GoalRec, GoalRec-off and the format of their agents."""
    log_form = registry.LogForm(
        GoalRecConfig,
        SPACE,
        learner,
        check,
        trained_agent,
        vector_width=lambda config: max(config.embedding, config.frozen_embedding),
        updates=lambda config: config.updates_per_round,
        session_fields=("sessions_per_round", "replay_sessions"),
    )
    online = registry.Online(
        OnlineGoalRecConfig, registry.deferred("tfgoalrec.online", "OnlineGoalRec")
    )
    registry.register(registry.Method("goalrec", "GoalRec", log_form, online, needs_items=True))
    registry.register(registry.Method("goalrec_off", "GoalRec-off", log_form, plays=False))
    registry.register_format(registry.GOALREC, registry.deferred("tfgoalrec.trained", "load"))


def _measurements(
    config: GoalRecConfig, spec: types.DataSpec, frozen: np.ndarray
) -> "Measurements":
    from tfgoalrec import measurements as measurements_lib

    try:
        return measurements_lib.Measurements(config.measurements, spec, frozen)
    except ValueError as error:
        raise ValueError(f"measurements: {error}") from error


def _check_fits(
    config: GoalRecConfig, spec: types.DataSpec, measurements: "Measurements"
) -> None:
    from tfgoalrec import agent as agent_lib
    from tfgoalrec import bootstrap

    if config.bootstrap_steps:
        bootstrap.carried(measurements.parts, config.bootstrap_steps)
    try:
        agent_lib.default_goals(config, spec, measurements)
    except ValueError as error:
        raise ValueError(f"goals: {error}") from error
