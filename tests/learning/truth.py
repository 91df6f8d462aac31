"""A small embedded log with a strong trade-off, prepared as any log is."""

import pathlib

import numpy as np

from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config as goalrec_config
from tfgoalrec import learner as goalrec_learner
from tfgoalrec import measurements
from tfrec import types
from tfrec.data import episodes, item_vectors, storage, synthetic
from tfrec.environments import embedded

CONFIG = synthetic.SyntheticConfig(
    num_users=1200, sessions_per_user=3, num_items=30, num_tastes=2, max_steps=16
)


def prepare(directory: pathlib.Path) -> storage.PreparedData:
    table, schema = synthetic.read(CONFIG)
    cut = episodes.PrepareConfig(max_steps=CONFIG.max_steps, history_length=12)
    prepared = episodes.prepare(table, schema, cut)
    return storage.write(directory, prepared, schema, cut, source="embedded")


def world(data: storage.PreparedData) -> embedded.EmbeddedWorld:
    return embedded.EmbeddedWorld(CONFIG, data.spec, data.vocabulary)


def learner(
    data: storage.PreparedData, log: types.Episodes, seed: int = 0, **changes
) -> goalrec_learner.GoalRecLearner:
    """GoalRec-off on the log, narrow enough for a test."""
    narrow = {
        "embedding": 8, "units": 16, "state": 32, "goal_units": 16, "stream": 64,
        "item_vector": 8, "replay_sessions": len(log.length), "log_rounds": 5,
        "updates_per_round": 60,
    }  # fmt: skip
    config = goalrec_config.GoalRecConfig(**(narrow | changes))
    vectors = item_vectors.co_click_vectors(log, data.spec.num_items, 8)
    measured = measurements.Measurements(config.measurements, data.spec, vectors)
    measured.fit(log)
    agent = goalrec_agent.GoalRecAgent(config, data.spec, measured, vectors, seed)
    return goalrec_learner.GoalRecLearner(agent, log)


def train(made: goalrec_learner.GoalRecLearner) -> None:
    for _ in range(made.total_iterations):
        made.advance()


def clicks(sessions: types.Episodes) -> np.ndarray:
    """Clicks of each session, [B]."""
    return np.asarray(sessions.feedback)[..., 0].sum(axis=1)
