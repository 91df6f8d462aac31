"""A log in which a feature of the state alone decides which items are clicked.

Sessions of one kind click the items of one parity. Test states have no history, so only the
feature tells which items to rank first. One kind is more frequent: in a log with as many of
each, no item is clicked more than another, and learning takes several times as many updates.
"""

import dataclasses

import numpy as np
import tensorflow as tf

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from tests.tfrec.baselines import click_log
from tfrec import types
from tfrec.methods import registry
from tfrec.training import run as runs

SPEC = click_log.SPEC
SESSIONS, LISTED = 600, 5
SIZES = {
    "embedding": 8, "frozen_embedding": 2, "units": 8, "state": 16, "goal_units": 8,
    "stream": 16, "hidden": 16, "batch": 64, "replay_sessions": SESSIONS, "log_rounds": 4,
    "sessions_per_round": 16, "updates_per_round": 100, "learning_rate": 3e-3, "atoms": 11,
    "planning_steps": 1,
}  # fmt: skip


def planted(values, parity):
    """Sessions whose clicks are decided by the parity alone.

    Args:
      values: int [S, K], `context_values` of the sessions.
      parity: int [S], parity of the items that each session clicks.
    """
    log = click_log.planted(SESSIONS, seed=1)
    click = (log.item % 2 == parity[:, None]).astype(np.float32)
    return log._replace(
        history_item=np.zeros_like(log.history_item),
        history_feedback=np.zeros_like(log.history_feedback),
        feedback=np.stack([click, 7.0 * click], axis=-1),
        context_values=values.astype(np.int32),
    )


def share_right(name, spec, log, values, parity, **changes):
    """Share of the listed items of new sessions that have the parity of their feature.

    Args:
      name: the method.
      spec: the log's spec.
      log: training sessions.
      values: int [B, K], `context_values` of the new sessions.
      parity: int [B], parity of the items that they click.
      **changes: options of the method.
    """
    method = registry.get(name)
    fields = {field.name for field in dataclasses.fields(method.config)}
    config = method.config(**{k: v for k, v in SIZES.items() if k in fields} | changes)
    learner = runs.seeded(3, lambda: method.make(config, spec, log, None, None, 3))
    for _ in range(learner.total_iterations):
        learner.advance()
    states = len(values)
    observation = types.Observation(
        tf.zeros([states, spec.history_length], tf.int32),
        tf.zeros([states, spec.history_length, len(spec.feedback)]),
        tf.zeros([states], tf.int32),
        tf.constant(values, tf.int32),
    )
    blocked = np.zeros([states, spec.num_candidates], bool)
    agent = method.trained(config, spec, learner, None, {})
    item, _ = agent.lists(observation, blocked, LISTED)
    return (item % 2 == parity[:, None]).mean()
