"""GoalRec as a method of the registry; importing the package registers it."""

import pathlib
from typing import Any

import numpy as np

import tfrec.baselines  # noqa: F401  registered before GoalRec: the order of tables
from tfrec.methods import registry


def parts() -> registry.Parts:
    """Imports GoalRec's modules: its configuration, learner, check and trained agent."""
    from tfgoalrec import agent as agent_lib
    from tfgoalrec import config as config_lib
    from tfgoalrec import learner as learner_lib
    from tfgoalrec import measurements as measurements_lib

    def measured(config, spec, frozen):
        try:
            return measurements_lib.Measurements(config.measurements, spec, frozen)
        except ValueError as error:
            raise ValueError(f"measurements: {error}") from error

    def check(config, spec, measurements=None):
        if measurements is None:
            frozen = np.zeros([1, config.frozen_embedding], np.float32)
            measurements = measured(config, spec, frozen)
        try:
            agent_lib.default_goals(config, spec, measurements)
        except ValueError as error:
            raise ValueError(f"goals: {error}") from error

    def learner(config, spec, log, world, item_vectors, seed):
        measurements = measured(config, spec, item_vectors[:, : config.frozen_embedding])
        measurements.fit(log)
        check(config, spec, measurements)
        agent = agent_lib.GoalRecAgent(config, spec, measurements, item_vectors, seed)
        return learner_lib.GoalRecLearner(agent, log, world)

    def trained(learner, vocabulary, about):
        return learner.agent.trained(vocabulary, about)

    return registry.Parts(config_lib.GoalRecConfig, config_lib.SPACE, learner, check, trained)


def online() -> registry.Online:
    """Imports the form of GoalRec that learns step by step."""
    from tfgoalrec import online as module

    return registry.Online(module.CONFIG, module.OnlineGoalRec)


def load(directory: str | pathlib.Path) -> Any:
    """Opens an agent's folder; see `tfgoalrec.trained.load`."""
    from tfgoalrec import trained

    return trained.load(directory)


def register() -> None:
    """Registers GoalRec, GoalRec-off and the format of their agents."""
    registry.register(registry.Method("goalrec", "GoalRec", parts, online, needs_items=True))
    registry.register(registry.Method("goalrec_off", "GoalRec-off", parts, plays=False))
    registry.register_format(registry.GOALREC, load)
