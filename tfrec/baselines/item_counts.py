"""Counts of clicks and exits of each item, with Thompson sampling and without networks.

A control for methods that learn from play. Each item has a click rate c and an exit rate e with
beta posteriors. Items are ranked by c - e V, where V is the value of the rest of a session: the
expected clicks of a session that shows items in this order. The ranking is the same for all
users, so a gain of a method over these counts measures its personalisation.

In play, each session is ranked by one sample from the posteriors (Thompson, 1933, in the form
of Chapelle and Li, "An Empirical Evaluation of Thompson Sampling", NeurIPS 2011), or shows
uniformly random items. The index c - e V and its fixed point are ours.

Axes: A items, M draws from the posteriors, B sessions, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines import learning
from tfrec.baselines.config import ItemCountsConfig
from tfrec.environments import contract, user_models
from tfrec.ops import selection
from tfrec.training import finite

_FIXED_POINT_STEPS = 12
_SMALLEST = 1e-6  # minimum distance of sampled rates from 0 and 1


def session_value(
    click: tf.Tensor, leave: tf.Tensor, score: tf.Tensor, steps: int, repeats: bool
) -> tf.Tensor:
    """Expected clicks of a session that shows items in the order of a score.

    Without repeats, sum_k c_k prod_{j<k} (1 - e_j) over the first T items. With repeats the
    best item is shown throughout: c (1 - (1 - e)^T) / e.

    Args:
      click: float [M, A], c.
      leave: float [M, A], e, above 0.
      score: float [M, A].
      steps: T.
      repeats: whether an item may be shown twice in a session.

    Returns:
      float [M].
    """
    if repeats:
        best = tf.argmax(score, axis=1)
        c, e = (tf.gather(rate, best, batch_dims=1) for rate in (click, leave))
        return c * (1.0 - tf.pow(1.0 - e, float(steps))) / e
    count = min(steps, click.shape[1])
    order = tf.math.top_k(score, count).indices  # [M, k]
    c, e = (tf.gather(rate, order, batch_dims=1) for rate in (click, leave))
    staying = tf.math.cumprod(1.0 - e, axis=1, exclusive=True)
    return tf.reduce_sum(c * staying, axis=1)


def index(click: tf.Tensor, leave: tf.Tensor, steps: int, repeats: bool) -> tf.Tensor:
    """The index c - e V with V = `session_value` of the index, by iteration from V = 0.

    Args:
      click: float [M, A].
      leave: float [M, A].
      steps: T.
      repeats: whether an item may be shown twice in a session.

    Returns:
      float [M, A], higher is better.
    """
    score = click
    for _ in range(_FIXED_POINT_STEPS):
        value = session_value(click, leave, score, steps, repeats)
        score = click - leave * value[:, None]
    return score


def posterior(
    events: tf.Tensor, shows: tf.Tensor, prior_shows: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The two parameters of each item's beta posterior, float [A] each.

    Args:
      events: float [A], clicks or exits of an item.
      shows: float [A], number of times that the item was shown.
      prior_shows: weight of the prior; its mean is the rate over all items, with one event and
        one non-event added.
    """
    mean = (tf.reduce_sum(events) + 1.0) / (tf.reduce_sum(shows) + 2.0)
    return prior_shows * mean + events, prior_shows * (1.0 - mean) + shows - events


def beta(a: tf.Tensor, b: tf.Tensor, draws: int, seed: tf.Tensor) -> tf.Tensor:
    """Samples from beta distributions by gamma(a) / (gamma(a) + gamma(b)); float [M, A].

    Args:
      a: float [A].
      b: float [A].
      draws: M.
      seed: int32 [2].
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    shape = [draws, a.shape[0]]
    x, y = (tf.random.stateless_gamma(shape, seeds[i], alpha) for i, alpha in enumerate((a, b)))
    return tf.clip_by_value(x / (x + y), _SMALLEST, 1.0 - _SMALLEST)


class Counts(tf.Module):
    """Shows, clicks and exits of each item.

    Args:
      items: A.
    """

    def __init__(self, items: int):
        super().__init__(name="counts")
        self.shows, self.clicks, self.exits = (
            tf.Variable(tf.zeros([items]), trainable=False, name=name)
            for name in ("shows", "clicks", "exits")
        )

    def add(
        self, item: tf.Tensor, shown: tf.Tensor, clicked: tf.Tensor, exits: tf.Tensor
    ) -> None:
        """Counts the steps of B sessions. Graph code.

        Args:
          item: int32 [B, T], dense ids.
          shown: float [B, T], 1 for a step and 0 for padding.
          clicked: float [B, T].
          exits: float [B, T], 1 if the user left after the step.
        """
        steps = tf.where((item >= 1) & (item <= self.shows.shape[0]))  # [E, 2]
        position = tf.gather_nd(item, steps) - 1  # [E]
        for variable, weight in (
            (self.shows, shown),
            (self.clicks, clicked),
            (self.exits, exits),
        ):
            variable.scatter_add(tf.IndexedSlices(tf.gather_nd(weight, steps), position))

    def clear(self) -> None:
        """Sets all counts to 0."""
        for variable in (self.shows, self.clicks, self.exits):
            variable.assign(tf.zeros_like(variable))


class ItemCountsLearner(learning.BaselineLearner):
    """Learner of item counts on the common schedule.

    Args:
      config: the method's options.
      spec: the log's spec.
      log: training sessions, numpy arrays.
      world: the simulated users, or None to count the log alone.
      item_vectors: not read.
      seed: seed of all random numbers.
    """

    fixed_items = no_warm_start = "it counts what the log says of each item"
    config: ItemCountsConfig
    checked: Sequence[str] = ("shows", "clicks", "exits")

    def __init__(
        self,
        config: ItemCountsConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: user_models.UserModel | None,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(config, spec, log, world, seed, "item_counts")
        del item_vectors
        self.counts = Counts(spec.num_candidates)
        # The sampled indices of the current round of play.
        self.drawn = tf.Variable(
            tf.zeros([config.draws, spec.num_candidates]), trainable=False, name="drawn"
        )
        self.fill(log, len(log.length))

    @property
    def acting(self) -> tf.Module:
        """The module that `policy` reads."""
        return self.counts

    @property
    def updates_per_round(self) -> int:
        return 1  # checks the counts; nothing is fitted

    def scheduled_optimizers(self) -> Sequence[tuple[tf_keras.optimizers.Optimizer, float]]:
        return []

    def store(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        length = episodes.length[:, None]
        step = tf.range(tf.shape(episodes.item)[1])[None]
        shown = tf.cast(step < length, tf.float32)  # [B, T]
        last = (step == length - 1) & episodes.exited[:, None]
        # Several delayed clicks that are reported at one step count as one click of that step.
        clicked = tf.clip_by_value(reward, 0.0, 1.0)
        self.counts.add(episodes.item, shown, shown * clicked, tf.cast(last, tf.float32))

    def clear(self) -> None:
        self.counts.clear()

    def sample(self) -> dict[str, tf.Tensor]:
        """The counts, float [A] each, which are checked and not fitted."""
        counts = self.counts
        return {name: getattr(counts, name).read_value() for name in self.checked}

    def _update_on(self, batch: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        bad = finite.guarded(batch, lambda: None)
        return {"shows": tf.reduce_sum(batch["shows"])}, bad

    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """The index of the posterior means, the same for all states."""
        del blocked
        rates = [a / (a + b) for a, b in self._posteriors()]
        ranked = index(rates[0][None], rates[1][None], self.spec.max_steps, self.repeats)
        return tf.repeat(ranked, tf.shape(observation.step)[0], axis=0)

    def playing(self) -> contract.Policy:
        """Ranks each session by a posterior sample of this round, or shows random items."""
        config, items = self.config, self.spec.num_candidates

        def uniform(timestep: contract.Timestep) -> tf.Tensor:
            batch = tf.shape(contract.history_of(timestep).step)[0]
            item = selection.random_item(batch, items, timestep.blocked, timestep.seed)
            return contract.action_of(item)

        def thompson(timestep: contract.Timestep) -> tf.Tensor:
            batch = tf.shape(contract.history_of(timestep).step)[0]
            session_number = tf.range(batch) if timestep.user is None else timestep.user
            draw = tf.gather(self.drawn, session_number % config.draws)  # [B, A]
            item = selection.best_item(draw, timestep.blocked)
            return contract.action_of(item)

        return uniform if config.exploration == "uniform" else thompson

    @tf.function(autograph=False)
    def _play(self, epsilon: tf.Tensor) -> dict[str, tf.Tensor]:
        """A round of play, with new samples from the posteriors."""
        seeds = tf.cast(tf.transpose(self.generator.make_seeds(2)), tf.int32)  # [2, 2]
        click, leave = (
            beta(a, b, self.config.draws, seed)
            for (a, b), seed in zip(self._posteriors(), tf.unstack(seeds), strict=True)
        )
        self.drawn.assign(index(click, leave, self.spec.max_steps, self.repeats))
        return super()._play(epsilon)

    def _posteriors(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Posteriors of clicks and exits."""
        counts = self.counts
        return [
            posterior(events.read_value(), counts.shows.read_value(), self.config.prior_shows)
            for events in (counts.clicks, counts.exits)
        ]
