"""A small GoalRec that was never trained, its weights far enough from the start to prefer."""

import numpy as np

from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config, measurements
from tfrec import types
from tfrec.data import vocabulary

HORIZON, STEPS = 6, 8


def make(advantage="bilinear", items=40, candidates=0):
    """A TrainedAgent; ids are `film 0`, `film 1` and so on, sorted as strings."""
    spec = types.DataSpec(
        (
            types.FeedbackColumn("click", "binary", "clicks"),
            types.FeedbackColumn("watch", "amount", "seconds", 30.0),
        ),
        items,
        num_users=5,
        history_length=HORIZON,
        max_steps=STEPS,
        candidates=candidates,
    )
    random = np.random.default_rng(0)
    vectors = random.normal(size=(items + 1, 16)).astype(np.float32)
    measured = measurements.Measurements((), spec, vectors[:, :2])
    measured.mean.assign(random.uniform(0, 5, measured.dim))
    measured.std.assign(random.uniform(0.5, 5, measured.dim))
    method = config.GoalRecConfig(
        advantage=advantage,
        embedding=8,
        units=8,
        state=16,
        goal_units=8,
        stream=16,
        item_vector=8,
    )
    agent = goalrec_agent.GoalRecAgent(method, spec, measured, vectors, seed=1)
    for variable in agent.averaged.trainable_variables:
        variable.assign(1.5 * variable)
    ids = vocabulary.Vocabulary(
        vocabulary.Ids(np.array(sorted(f"film {i}" for i in range(items)))),
        vocabulary.Ids(np.arange(5)),
    )
    return agent.trained(ids, {"data": "none"})
