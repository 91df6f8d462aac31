"""Validation metrics of the model on held-out users, for TensorBoard."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfgoalrec import relabel
from tfgoalrec.agent import GoalRecAgent
from tfrec import types
from tfrec.data import windows

_STEPS = 4096  # held-out steps, drawn once
_TOP = (10, 50)


class Validator:
    """Evaluates an agent's averaged model on a fixed set of held-out steps.

    Args:
      agent: the agent in training.
      episodes: sessions of held-out users; at least one.
    """

    def __init__(self, agent: GoalRecAgent, episodes: types.Episodes):
        self.agent = agent
        live = np.arange(agent.spec.max_steps) < np.asarray(episodes.length)[:, None]  # [S, T]
        row, step = np.nonzero(live)
        drawn = np.random.default_rng(17).permutation(len(row))[:_STEPS]
        row, step = row[drawn], step[drawn]  # [B]
        sessions, session_row = np.unique(row, return_inverse=True)
        held = types.constants(types.rows(episodes, sessions))
        label = agent.measurements.standardised(held).numpy()  # [S, T, M]
        goal = next(iter(agent.named_goals.values()))
        self._batch = relabel.Transition(
            observation=types.constants(windows.observations(episodes, row, step)),
            item=tf.constant(np.asarray(episodes.item)[row, step]),
            measurement=tf.constant(label[session_row, step]),
            outcome=tf.constant(label[session_row, 0]),
            goal=tf.constant(np.repeat(goal[None], len(row), axis=0), tf.float32),
        )
        self._clicked = tf.constant(np.asarray(episodes.feedback)[row, step, 0] > 0, tf.float32)

    def __call__(self) -> dict[str, float]:
        """Returns the loss, each measurement's error, the largest mean A and next-click hits.

        `top<k>_next_click` is the share of clicked items that are among the k best items of
        their state under the target goal. It is a ranking metric on the log, which GoalRec
        does not optimise, but a quick check that the model separates items.
        """
        report, ranks = self._measure()
        names = self.agent.measurements.names
        numbers = {
            f"error/{name}": float(x) for name, x in zip(names, report["error"], strict=True)
        }
        mean = np.abs(report["advantage"].numpy()).max()
        return {
            "loss": float(report["loss"]),
            "largest_mean_advantage": float(mean),
            **numbers,
            **{name: float(value) for name, value in ranks.items()},
        }

    @tf.function(autograph=False)
    def _measure(self) -> tuple[dict[str, tf.Tensor], Mapping[str, tf.Tensor]]:
        model, batch = self.agent.averaged, self._batch
        _, report = model.loss_of(batch, None)
        code = model.encode(batch.observation, batch.goal)
        scores = model.scores(code, batch.goal)  # [B, N]
        shown = tf.gather(scores, batch.item - 1, batch_dims=1)  # [B]
        rank = tf.reduce_sum(tf.cast(scores > shown[:, None], tf.float32), axis=1)  # [B]
        clicks = tf.maximum(tf.reduce_sum(self._clicked), 1.0)
        hits = {
            f"top{k}_next_click": tf.reduce_sum(self._clicked * tf.cast(rank < k, tf.float32))
            / clicks
            for k in _TOP
        }
        return report, hits
