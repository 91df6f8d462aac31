"""Fits the adversarial user model: maximum likelihood, then mini-max passes.

A log has no displays, unlike those of the paper. Each of its steps becomes a display: the
logged item and alternatives, which are resampled in every pass from the items that the log
never shows to the user. A logged click is a choice of the logged item, and any other step is a
choice of nothing.

The maximum-likelihood fit is made from two sets of initial item embeddings, random ones and
the factors of the users' clicks, and the better one for held-out users is kept: which it is
differs between logs. The fit solves the mini-max problem for Shannon entropy (`choices`). The
mini-max passes start from it and alternate updates of a second network, the behaviour, and of
the reward. As in the paper, users are split into those of the fit, of early stopping and of the
test.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import errors, types
from tfrec.data import item_vectors
from tfrec.environments import lookup, user_models
from tfrec.environments.fitted import choices, fitting
from tfrec.environments.fitted.choice_model import (
    ChoiceModel,
    ChoiceNetwork,
    LoggedSteps,
    logged_steps,
)
from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig
from tfrec.ops import autodiff

_TRIES = 8  # samples per alternative to find an item that the log never shows to the user
_OF_CLICKS = ("user", "item", "feedback")  # fields of sessions that item factors read
_STARTS = ("random", "factors")
_START = 0.3  # scale of the factors from which item embeddings start
_CHECK_SEED = 17  # of the alternatives of held-out displays, constant over passes


class Split(NamedTuple):
    """Sessions by user.

    Attributes:
      training: bool [S], sessions of the fit.
      stopping: bool [S], sessions of early stopping.
      test: bool [S], sessions of the report.
    """

    training: np.ndarray
    stopping: np.ndarray
    test: np.ndarray


class ChoiceFit(NamedTuple):
    """A fitted model.

    Attributes:
      model: the user model, with the reward of the mini-max passes.
      maximum_likelihood: the reward before the mini-max passes.
      split: the split of the sessions.
      item_start: where the kept item embeddings started, "random" or "factors".
      stopping_loss: of `maximum_likelihood` on users of early stopping, nats per choice.
    """

    model: ChoiceModel
    maximum_likelihood: ChoiceNetwork
    split: Split
    item_start: str
    stopping_loss: float


class Displays(NamedTuple):
    """L choices.

    Attributes:
      clicks: int32 [L, M], the latest clicks before each.
      item: int32 [L, 1 + K], the logged item, then its alternatives.
      clicked: bool [L], True for the logged item, False for nothing.
    """

    clicks: tf.Tensor
    item: tf.Tensor
    clicked: tf.Tensor


def fit(
    episodes: types.Episodes,
    spec: types.DataSpec,
    config: ChoiceModelConfig,
    seed: int,
    progress: bool = True,
) -> ChoiceFit:
    """Fits the model to logged sessions.

    Args:
      episodes: numpy arrays.
      spec: the log's spec.
      config: sizes and training options.
      seed: seed of weights, order, displays and held-out users. Equal seeds give equal weights
        on a CPU.
      progress: whether to show a progress bar.

    Raises:
      UserError: if users, items or non-clicks are too few.
      NonFiniteWeightsError: if the loss stops being a finite number.
    """
    _check(episodes, spec, config)
    if config.repeats is None:
        config = dataclasses.replace(config, repeats=user_models.has_repeats(episodes))
    split = split_users(np.asarray(episodes.user), config.held_out_fraction, seed)
    training, stopping = np.flatnonzero(split.training), np.flatnonzero(split.stopping)
    fits: dict[str, tuple[float, ChoiceModel, _Fitter]] = {}
    for start in _STARTS if config.item_start == "best" else (config.item_start,):
        model = ChoiceModel(spec, config, seed)
        model.further.assign(further_means(episodes))
        if start == "factors":
            model.reward.item.assign(_START * _factors(episodes, training, model))
        fitter = _Fitter(model, episodes, seed)
        loss = fitter.train_likelihood(training, stopping, progress)
        fits[start] = loss, model, fitter
    best = min(fits, key=lambda start: fits[start][0])
    stopping_loss, model, fitter = fits[best]
    maximum_likelihood = fitter.copy(model.reward)
    if config.adversarial_epochs:
        fitter.train_minimax(training, stopping, progress)
    return ChoiceFit(model, maximum_likelihood, split, best, stopping_loss)


def _factors(episodes: types.Episodes, sessions: np.ndarray, model: ChoiceModel) -> np.ndarray:
    """Item factors of the clicks of some sessions, float32 [N + 1, E]."""
    of_sessions = episodes._replace(
        **{name: np.asarray(getattr(episodes, name))[sessions] for name in _OF_CLICKS}
    )
    return item_vectors.click_factors(
        of_sessions, model.spec.num_items, model.config.item_units
    )


def _check(episodes: types.Episodes, spec: types.DataSpec, config: ChoiceModelConfig) -> None:
    if config.alternatives and spec.num_items < 2:
        raise errors.UserError(
            f"alternatives is {config.alternatives}, and the log has {spec.num_items} item; "
            "expected at least 2 items"
        )
    steps = int(np.asarray(episodes.length).sum())
    clicks = int((np.asarray(episodes.feedback)[..., 0] > 0).sum())
    if not config.alternatives and clicks == steps:
        raise errors.UserError(
            f"alternatives is 0, and all {steps:,} steps of the log are clicks: nothing can be "
            "learned from them. Expected at least 1 alternative for a log without impressions "
            "that were not clicked"
        )


def split_users(user: np.ndarray, fraction: float, seed: int) -> Split:
    """Splits sessions by user.

    Args:
      user: int [S], the user of each session.
      fraction: share of users for early stopping, and as many again for the report.
      seed: seed of the split.

    Raises:
      UserError: if no user would be left to fit.
    """
    users = np.unique(user)
    count = max(1, round(fraction * len(users)))
    if 2 * count >= len(users):
        raise errors.UserError(
            f"{len(users)} users cannot be split into fitted ones and twice {count} held-out "
            f"ones (held_out_fraction={fraction}); give a longer log or another fraction"
        )
    shuffled = np.random.default_rng([seed, 0]).permutation(users)
    held_out = (shuffled[:count], shuffled[count : 2 * count])
    stopping, test = (np.isin(user, part) for part in held_out)
    return Split(~(stopping | test), stopping, test)


def further_means(episodes: types.Episodes) -> np.ndarray:
    """Mean of each further feedback column after no click and after a click, [2, F - 1].

    Args:
      episodes: numpy arrays. The means over no steps are 0.
    """
    real = np.arange(episodes.item.shape[1]) < np.asarray(episodes.length)[:, None]
    feedback = np.asarray(episodes.feedback, np.float64)[real]  # [E, F]
    clicked = feedback[:, 0] > 0
    parts = (feedback[~clicked, 1:], feedback[clicked, 1:])
    return np.stack([part.sum(axis=0) / max(len(part), 1) for part in parts])


def displays(
    logged: LoggedSteps, pairs: tf.Tensor, num_items: int, count: int, seed: tf.Tensor
) -> Displays:
    """Displays of logged steps, with alternatives that the log never shows to the user.

    If none of `_TRIES` samples is such an item, which happens for users with nearly the whole
    catalogue in the log, the alternative is any item other than the logged one.

    Args:
      logged: L steps.
      pairs: keys of `lookup.logged_pairs`, int64 [P].
      num_items: N.
      count: K.
      seed: int32 [2].
    """
    if not count:
        return Displays(logged.clicks, logged.item[:, None], logged.clicked)
    shape = [tf.size(logged.item), count * _TRIES]
    other = tf.random.stateless_uniform(shape, seed, 1, num_items, tf.int32)
    other += tf.cast(other >= logged.item[:, None], tf.int32)  # any but the logged item
    _, shown = lookup.find_pairs(pairs, logged.user, other, num_items)
    by_try = [shape[0], count, _TRIES]
    other, shown = tf.reshape(other, by_try), tf.reshape(shown, by_try)  # [L, K, tries]
    first = tf.argmax(tf.logical_not(shown), axis=2, output_type=tf.int32)  # [L, K]
    alternative = tf.gather(other, first, batch_dims=2)  # [L, K]
    item = tf.concat([logged.item[:, None], alternative], axis=1)
    return Displays(logged.clicks, item, logged.clicked)


class _Fitter(tf.Module):
    """The model, the behaviour, the optimisers and the log; an epoch is one graph call."""

    def __init__(self, model: ChoiceModel, episodes: types.Episodes, seed: int):
        super().__init__()
        self.model, self.config = model, model.config
        self.log = types.constants(episodes)
        key, _ = lookup.logged_pairs(episodes, model.spec.num_items)
        self.pairs = tf.constant(key)
        self.behaviour = self.copy(model.reward)
        self.seed = seed
        self.rng = np.random.default_rng([seed, 1])
        rates = (model.config.learning_rate, model.config.adversarial_learning_rate)
        networks = (model.reward, model.reward, self.behaviour)
        self.likelihood_optimiser, self.reward_optimiser, self.behaviour_optimiser = (
            fitting.adam(network.trainable_variables, rate, model.config.weight_decay)
            for network, rate in zip(networks, (*rates, rates[1]), strict=True)
        )

    def copy(self, network: ChoiceNetwork) -> ChoiceNetwork:
        """A network with the same weights."""
        other = ChoiceNetwork(self.model.spec.num_items, self.config, seed=0)
        _assign(other, network)
        return other

    def train_likelihood(
        self, training: np.ndarray, stopping: np.ndarray, progress: bool
    ) -> float:
        """Maximises the likelihood of the choices; arguments are positions of sessions.

        Returns:
          The loss on the sessions of early stopping, nats per choice.
        """
        config, check = self.config, self._batches(stopping)

        def run_epoch(epoch: int) -> tuple[float, float]:
            share = epoch / config.max_epochs
            self.likelihood_optimiser.learning_rate = fitting.annealed(
                config.learning_rate, share
            )
            plan = self._batches(training, self.rng)
            loss = self.likelihood_epoch(plan, types.seed_pair(self.seed, epoch)).numpy()
            return loss, self.evaluate(check).numpy()

        return fitting.keep_best_epoch(
            self.model.reward.trainable_variables,
            run_epoch,
            config.max_epochs,
            config.patience,
            config.learning_rate,
            progress,
        )

    def train_minimax(self, training: np.ndarray, stopping: np.ndarray, progress: bool) -> None:
        """Runs mini-max passes from the current reward, which also initialises the behaviour.

        The reward of the best pass remains, even if no pass is better than the start; the
        report compares both.
        """
        config, check = self.config, self._batches(stopping)
        _assign(self.behaviour, self.model.reward)

        def run_epoch(epoch: int) -> tuple[float, float]:
            rate = fitting.annealed(
                config.adversarial_learning_rate, epoch / config.adversarial_epochs
            )
            self.reward_optimiser.learning_rate = rate
            self.behaviour_optimiser.learning_rate = rate
            plan = self._batches(training, self.rng)
            seed = types.seed_pair(self.seed, config.max_epochs + epoch)
            loss = self.minimax_epoch(plan, seed).numpy()
            return loss, self.evaluate(check).numpy()

        fitting.keep_best_epoch(
            self.model.reward.trainable_variables,
            run_epoch,
            config.adversarial_epochs,
            config.patience,
            config.adversarial_learning_rate,
            progress,
            "mini-max",
        )

    def _batches(
        self, sessions: np.ndarray, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        return fitting.session_batches(sessions, self.config.batch_size, rng)

    def displays(self, rows: tf.Tensor, seed: tf.Tensor) -> Displays:
        """The displays of sessions, int32 [B]; -1 for none."""
        batch = fitting.take_sessions(self.log, rows)
        logged = logged_steps(batch, self.config.clicks)
        num_items, count = self.model.spec.num_items, self.config.alternatives
        return displays(logged, self.pairs, num_items, count, seed)

    @tf.function(reduce_retracing=True)
    def likelihood_epoch(self, batches: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """One update per batch; returns the mean loss in nats per choice."""
        variables, total = self.model.reward.trainable_variables, tf.constant(0.0)
        for n in tf.range(tf.shape(batches)[0]):
            shown = self.displays(batches[n], tf.random.experimental.stateless_fold_in(seed, n))
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(
                    log_likelihood(self.model.reward, shown, self.config.eta)
                )
            gradients = tape.gradient(loss, variables)
            autodiff.apply_gradients(self.likelihood_optimiser, gradients, variables)
            total += loss
        return total / tf.cast(tf.shape(batches)[0], tf.float32)

    @tf.function(reduce_retracing=True)
    def minimax_epoch(self, batches: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Per batch, one update of the behaviour and then one of the reward.

        Returns:
          The reward's mean loss.
        """
        eta, total = self.config.eta, tf.constant(0.0)
        behaviour_variables = self.behaviour.trainable_variables
        reward_variables = self.model.reward.trainable_variables
        for n in tf.range(tf.shape(batches)[0]):
            shown = self.displays(batches[n], tf.random.experimental.stateless_fold_in(seed, n))
            reward = choices.with_nothing(display_reward(self.model.reward, shown))
            with tf.GradientTape() as tape:
                phi = choices.log_probabilities(display_reward(self.behaviour, shown), eta)
                loss, _ = choices.minimax_losses(phi, reward, shown.clicked, eta)
            gradients = tape.gradient(loss, behaviour_variables)
            autodiff.apply_gradients(self.behaviour_optimiser, gradients, behaviour_variables)
            phi = choices.log_probabilities(display_reward(self.behaviour, shown), eta)
            with tf.GradientTape() as tape:
                reward = choices.with_nothing(display_reward(self.model.reward, shown))
                _, loss = choices.minimax_losses(phi, reward, shown.clicked, eta)
            gradients = tape.gradient(loss, reward_variables)
            autodiff.apply_gradients(self.reward_optimiser, gradients, reward_variables)
            total += loss
        return total / tf.cast(tf.shape(batches)[0], tf.float32)

    @tf.function(reduce_retracing=True)
    def evaluate(self, batches: tf.Tensor) -> tf.Tensor:
        """Mean negative log-likelihood of held-out choices, nats per choice."""
        total, number = tf.constant(0.0), tf.constant(0.0)
        for n in tf.range(tf.shape(batches)[0]):
            shown = self.displays(batches[n], tf.stack([_CHECK_SEED, n]))
            nats = -log_likelihood(self.model.reward, shown, self.config.eta)
            total += tf.reduce_sum(nats)
            number += tf.cast(tf.size(nats), tf.float32)
        return total / number


def display_reward(network: ChoiceNetwork, shown: Displays) -> tf.Tensor:
    """r(s, a) of the displayed items, [L, 1 + K]."""
    return network.of_display(network.query(shown.clicks), shown.item)


def log_likelihood(network: ChoiceNetwork, shown: Displays, eta: float) -> tf.Tensor:
    """Log-probabilities of the observed choices, [L]."""
    log_probability = choices.log_probabilities(display_reward(network, shown), eta)
    return choices.of_choice(log_probability, shown.clicked)


def _assign(target: ChoiceNetwork, source: ChoiceNetwork) -> None:
    for variable, value in zip(target.variables, source.variables, strict=True):
        variable.assign(value)
