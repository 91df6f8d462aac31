"""Variants of a world: noisy and delayed feedback, and another number of candidates.

GoalRec's high-variance environment: "stochastic trend noise y_t = y_{t-1} + y_{t-2} +
eps_t, eps_t white noise with variance 0.2, on the output click probability" and a reward
that is observed three steps late.

The published y_t explodes (the equation has the root 1.618: its variance is 0.2, 0.4, 1.2,
3.0, 8.0, ...), and from the third step on a user clicks all items or none. Hence the modes:

  stable      y_t = 0.3 (y_{t-1} + y_{t-2}) + eps_t, added to the click's logit; the
              variance of y_t settles at 0.269
  literal     as published: the probability is clip(p + y_t, 0, 1)
  trend-diff  y_t = 2 y_{t-1} - y_{t-2} + eps_t, a local linear trend, added to the logit
              and reset to 0 every 10 steps

Each user has a separate y, which is 0 before a session. Played sessions include the noise;
`HighVariance.disturbed` adds it to the clicks of a log. `user_models.observed` delays both.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import errors, types
from tfrec.data import identity
from tfrec.environments import user_models

MODES = ("stable", "literal", "trend-diff")
NOISE_VARIANCE = 0.2
DAMPING = 0.3  # of `stable`; values from 0.5 on are not stationary
TREND_STEPS = 10


class NoisyState(NamedTuple):
    """State of B users and the noise of their clicks.

    Attributes:
      world: the state in the base world.
      noise: float32 [B], y_{t-1}.
      before: float32 [B], y_{t-2}.
      step: int32 [B], steps taken in this session.
    """

    world: user_models.ModelState
    noise: tf.Tensor
    before: tf.Tensor
    step: tf.Tensor


class HighVariance(tf.Module):
    """A world with noisy click probabilities and delayed reports of clicks.

    Expected responses are those of the base world, because policies cannot predict the noise.
    (After the sigmoid or the clip, its mean is not exactly 0.)

    Args:
      world: the base world.
      mode: see the module.
      delay: steps after which a click is reported to the learner; see `observed`.

    Raises:
      ValueError: if the mode is not one of `MODES`, or the delay is negative.
    """

    def __init__(self, world: user_models.UserModel, mode: str = "stable", delay: int = 3):
        super().__init__(name="high_variance")
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
        if delay < 0:
            raise ValueError(f"delay is {delay}; expected at least 0")
        self.world, self.mode, self.delay = world, mode, delay

    @property
    def spec(self) -> types.DataSpec:
        return self.world.spec

    @property
    def repeats(self) -> bool:
        return self.world.repeats

    @property
    def fingerprint(self) -> str:
        """Hash of the base world, the noise and the delay."""
        return identity.fingerprint([self.world.fingerprint, self.mode, self.delay])

    def reset(self, starts: types.Starts) -> NoisyState:
        calm = tf.zeros(tf.shape(starts.user))
        return NoisyState(self.world.reset(starts), calm, calm, tf.zeros_like(starts.user))

    def responses(self, state: NoisyState, candidates: tf.Tensor) -> user_models.Responses:
        return self.world.responses(state.world, candidates)

    def step(
        self,
        state: NoisyState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[NoisyState, tf.Tensor, tf.Tensor]:
        """See `user_models.UserModel`.

        Raises:
          ValueError: if `distort` is given: this world already distorts clicks.
        """
        if distort is not None:
            raise ValueError("a HighVariance world already distorts clicks; expected none")
        return self._step(state, item, seed, lambda _, noisy: noisy)

    def _step(
        self,
        state: NoisyState,
        item: tf.Tensor,
        seed: tf.Tensor,
        click_probability: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ) -> tuple[NoisyState, tf.Tensor, tf.Tensor]:
        """Takes one step; `click_probability` maps those without and with noise to one."""
        seeds = tf.random.experimental.stateless_split(seed, 2)
        shock = tf.random.stateless_normal(tf.shape(item), seeds[0]) * NOISE_VARIANCE**0.5
        noise = self.next_noise(state, shock)
        if self.mode == "literal":

            def distorted(logit: tf.Tensor) -> tf.Tensor:
                noisy = tf.clip_by_value(tf.sigmoid(logit) + noise, 0.0, 1.0)
                return click_probability(tf.sigmoid(logit), noisy)
        else:

            def distorted(logit: tf.Tensor) -> tf.Tensor:
                return click_probability(tf.sigmoid(logit), tf.sigmoid(logit + noise))

        after, feedback, left = self.world.step(state.world, item, seeds[1], distorted)
        return NoisyState(after, noise, state.noise, state.step + 1), feedback, left

    def next_noise(self, state: NoisyState, shock: tf.Tensor) -> tf.Tensor:
        """y_t after the white noise eps_t, both float [B]."""
        latest, before = state.noise, state.before
        if self.mode == "stable":
            return DAMPING * (latest + before) + shock
        if self.mode == "literal":
            # Unclipped values overflow float32 after about 180 steps; the limit has no effect
            # on clicks.
            return tf.clip_by_value(latest + before + shock, -1e6, 1e6)
        age = state.step % TREND_STEPS  # steps of this trend so far
        latest, before = tf.where(age < 1, 0.0, latest), tf.where(age < 2, 0.0, before)
        return 2.0 * latest - before + shock

    def disturbed(self, log: types.Episodes, seed: int, block: int = 1024) -> types.Episodes:
        """Adds the noise of this world to the clicks of logged sessions.

        Items, lengths and exits do not change. If p is the base world's click probability and q
        the noisy one, a logged click remains with probability min(1, q / p), and a non-click
        becomes a click with probability max(0, (q - p) / (1 - p)), so that clicks have
        probability q. If the click changes, the base world samples the step's other feedback
        for the new click.

        Args:
          log: sessions, numpy arrays.
          seed: seed of the noise; equal seeds give equal sessions.
          block: sessions in a batch.

        Returns:
          Sessions as numpy arrays.
        """
        add_noise = tf.function(
            self._disturbed_feedback, reduce_retracing=True, autograph=False
        )
        feedback = [
            add_noise(
                types.constants(types.rows(log, slice(start, start + block))),
                types.seed_pair(seed, start),
            ).numpy()
            for start in range(0, len(log.length), block)
        ]
        return log._replace(feedback=np.concatenate(feedback) if feedback else log.feedback)

    def _disturbed_feedback(self, log: types.Episodes, seed: tf.Tensor) -> tf.Tensor:
        """Feedback of logged sessions with noise on the clicks, float [B, T, F]."""
        steps = tf.shape(log.item)[1]
        live = tf.sequence_mask(log.length, steps)  # [B, T]

        def advance(
            t: tf.Tensor, state: NoisyState, feedback: tf.TensorArray
        ) -> tuple[tf.Tensor, NoisyState, tf.TensorArray]:
            logged = log.feedback[:, t]  # [B, F]
            clicked = logged[:, 0] > 0.0

            def resampled_probability(clean: tf.Tensor, noisy: tf.Tensor) -> tf.Tensor:
                remains = tf.math.divide_no_nan(noisy, clean)
                becomes = tf.math.divide_no_nan(noisy - clean, 1.0 - clean)
                return tf.clip_by_value(tf.where(clicked, remains, becomes), 0.0, 1.0)

            step_seed = tf.random.experimental.stateless_fold_in(seed, t)
            item = tf.maximum(log.item[:, t], 1)  # padding is stepped too, and excluded below
            state, drawn, _ = self._step(state, item, step_seed, resampled_probability)
            changed = tf.logical_and(live[:, t], (drawn[:, 0] > 0.0) != clicked)
            return t + 1, state, feedback.write(t, tf.where(changed[:, None], drawn, logged))

        feedback = tf.TensorArray(tf.float32, steps, element_shape=log.feedback[:, 0].shape)
        state = self.reset(user_models.starts_of(log))
        _, _, feedback = tf.while_loop(
            lambda t, *_: t < steps, advance, (tf.constant(0), state, feedback)
        )
        return tf.transpose(feedback.stack(), [1, 0, 2])  # [B, T, F]

    def observed(self, episodes: types.Episodes) -> types.Episodes:
        """Delays column 0 of the feedback by `delay` steps; other columns are not delayed.

        Clicks that are due after a session's last step are reported at that step, so that its
        total does not change.
        """
        if self.delay == 0:
            return episodes
        click = episodes.feedback[..., 0]  # [B, T]
        steps = tf.shape(click)[1]
        last = episodes.length[:, None] - 1  # [B, 1]
        step = tf.range(steps)[None, :]  # [1, T]
        late = tf.pad(click, [[0, 0], [self.delay, 0]])[:, :steps]  # [B, T]
        due = tf.where(step >= last - self.delay, click, 0.0)
        due = tf.reduce_sum(tf.where(step <= last, due, 0.0), axis=1, keepdims=True)  # [B, 1]
        delayed = tf.where(step < last, late, tf.where(step == last, due, 0.0))
        feedback = tf.concat([delayed[..., None], episodes.feedback[..., 1:]], axis=-1)
        return episodes._replace(feedback=feedback)


def with_candidates(world: Any, candidates: int) -> Any:
    """The same world with shared weights, in which only items 1..A may be recommended.

    Args:
      world: any world; the noise of a HighVariance world is retained.
      candidates: A; 0 for all items.

    Raises:
      UserError: if the world has fewer items.
    """
    if isinstance(world, HighVariance):
        base = with_candidates(world.world, candidates)
        return HighVariance(base, world.mode, world.delay)
    if not 0 <= candidates <= world.spec.num_items:
        raise errors.UserError(
            f"candidates is {candidates}; the log has {world.spec.num_items} items: expected a "
            "number from 1 to that, or 0 for all of them"
        )
    narrowed = copy.copy(world)
    narrowed.spec = dataclasses.replace(world.spec, candidates=candidates)
    return narrowed
