"""Errors of the model on users that it has not learned from, for TensorBoard."""

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
    """Measures an agent's averaged model on held-out sessions, always on the same steps.

    Args:
      agent: what learns.
      episodes: sessions of held-out users; at least one.
    """

    def __init__(self, agent: GoalRecAgent, episodes: types.Episodes):
        self.agent = agent
        live = np.arange(agent.spec.max_steps) < np.asarray(episodes.length)[:, None]  # [S, T]
        row, step = np.nonzero(live)
        drawn = np.random.default_rng(17).permutation(len(row))[:_STEPS]
        row, step = row[drawn], step[drawn]  # [B]
        sessions, place = np.unique(row, return_inverse=True)
        held = types.Episodes(*(tf.constant(np.asarray(part)[sessions]) for part in episodes))
        label = agent.measurements.standardised(held).numpy()  # [S, T, M]
        goal = next(iter(agent.named_goals.values()))
        self._batch = relabel.Transition(
            observation=types.Observation(
                *map(tf.constant, windows.observations(episodes, row, step))
            ),
            item=tf.constant(np.asarray(episodes.item)[row, step]),
            measurement=tf.constant(label[place, step]),
            outcome=tf.constant(label[place, 0]),
            goal=tf.constant(np.repeat(goal[None], len(row), axis=0), tf.float32),
        )
        self._clicked = tf.constant(np.asarray(episodes.feedback)[row, step, 0] > 0, tf.float32)

    def __call__(self) -> dict[str, float]:
        """The loss, each measurement's error, the size of mean A, and next-click ranks.

        `top<k>_next_click` is how often the item that a held-out user clicked next is
        among the k that the target goal ranks first: a ranking metric on the log, not
        what GoalRec is for, but a quick sign of a model that knows its items.
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
