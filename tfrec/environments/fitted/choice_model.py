"""User model of choices among displayed items, after Chen et al. 2019; see `choices`.

A recommended item is displayed with alternatives from the catalogue, and the user clicks it,
one of the alternatives, or nothing. Only clicks on the recommended item are reported. Users
never leave, as in `lookup`: the paper has no exit.

    s_t     = position weights or an LSTM over the latest clicked items
    r(s, a) = q(s) . f_a + b(s) + b_a                   f_a an item embedding
    p(a)    = mean over displays of exp(eta r_a) / (1 + exp(eta r_a) + sum_others exp(eta r))

The paper's reward is a network on the concatenation [s, f_a]; here q and b are a network on s,
so that all users x all candidates is one matrix product. To q is added a multiple of the sum of
the embeddings of the latest clicks (`choices.similarity_query`): with few clicks an item, what
resembles these clicks is learned far better so. Item embeddings are learned, because a log has
no item features. Further feedback has its mean in the log, given the click.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.environments import user_models
from tfrec.environments.fitted import choices, initialiser, kinds, model_files
from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig

DISPLAYS = 16  # number of sets of alternatives, with equal probabilities
_DISPLAY_SEED = 8
_SIMILARITY = 3.0  # initial weight of the latest clicks in the query; it is learned


class ChoiceState(NamedTuple):
    """B sessions.

    Attributes:
      clicks: int32 [B, M], the latest clicked items, oldest first, left-padded with 0.
    """

    clicks: tf.Tensor


class ChoiceNetwork(tf.Module):
    """Scores of states and items: the user's reward, or the logits of a behaviour.

    Args:
      num_items: N.
      config: sizes.
      seed: seed of the initial weights.
    """

    def __init__(self, num_items: int, config: ChoiceModelConfig, seed: int):
        super().__init__(name="choice_network")
        self._config = config
        draw = initialiser.Initialiser(seed)
        units = config.item_units
        self.item = draw.normal("item", [num_items + 1, units], 0.1)
        self.item_bias = draw.zeros("item_bias", [num_items + 1])
        if config.state == "lstm":
            cell = tf_keras.layers.LSTMCell(config.lstm_units, name="lstm")
            self.lstm = tf_keras.layers.RNN(cell, name="clicks")
            self.lstm.build((None, config.clicks, units))
            # Replaces the initial weights of Keras, which do not depend on the seed.
            kernel, recurrent, _ = cell.trainable_variables
            for variable in (kernel, recurrent):
                variable.assign(draw.glorot("initial", *variable.shape))
            state = config.lstm_units
        else:
            self.position_weights = draw.normal(
                "position/weights", [config.clicks, config.positions], config.clicks**-0.5
            )
            self.position_bias = draw.zeros("position/bias", [config.positions, units])
            state = config.positions * units
        self.similarity = tf.Variable(_SIMILARITY, name="similarity")
        self.hidden_kernel = draw.glorot("hidden/kernel", state, config.hidden_units)
        self.hidden_bias = draw.zeros("hidden/bias", [config.hidden_units])
        self.query_kernel = draw.glorot("query/kernel", config.hidden_units, units + 1)
        self.query_bias = draw.zeros("query/bias", [units + 1])

    def query(self, clicks: tf.Tensor) -> tf.Tensor:
        """q(s) and b(s) of states: int32 [L, M] -> float [L, E + 1]."""
        is_item = clicks != types.PAD
        embedded = tf.gather(self.item, clicks) * tf.cast(is_item, tf.float32)[..., None]
        if self._config.state == "lstm":
            state = self.lstm(embedded, mask=is_item)  # [L, units]
        else:
            state = choices.position_weighted(
                embedded, self.position_weights, self.position_bias
            )
        hidden = tf.nn.elu(state @ self.hidden_kernel + self.hidden_bias)
        query = hidden @ self.query_kernel + self.query_bias  # [L, E + 1]
        similar = choices.similarity_query(embedded, is_item, self.similarity)
        return query + tf.pad(similar, [[0, 0], [0, 1]])

    def of_display(self, query: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """r(s, a) of items displayed in each state: [L, E + 1], int32 [L, D] -> [L, D]."""
        inner = tf.einsum("le,lde->ld", query[:, :-1], tf.gather(self.item, item))
        return inner + query[:, -1:] + tf.gather(self.item_bias, item)

    def of_candidates(self, query: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """r(s, a) of shared items: [B, E + 1], int32 [A] -> [B, A]."""
        inner = tf.matmul(query[:, :-1], tf.gather(self.item, item), transpose_b=True)
        return inner + query[:, -1:] + tf.gather(self.item_bias, item)[None, :]


class ChoiceModel(model_files.FittedModel):
    """Users who choose among displayed items; a `user_models.UserModel`.

    Args:
      spec: spec of the fitted log.
      config: sizes.
      seed: seed of the initial weights.

    Attributes:
      reward: r_theta.
      further: float32 [2, F - 1], mean of each further feedback column after no click and
        after a click, raw units.
    """

    kind = kinds.ADVERSARIAL
    config: ChoiceModelConfig

    def __init__(self, spec: types.DataSpec, config: ChoiceModelConfig, seed: int = 0):
        super().__init__("choice_model", spec, config)
        self.reward = ChoiceNetwork(spec.num_items, config, seed)
        self.further = tf.Variable(
            tf.zeros([2, len(spec.feedback) - 1]), trainable=False, name="further"
        )
        self._binary = np.array([c.kind == "binary" for c in spec.feedback[1:]], bool)
        # The displays are constant, so that expected responses are exact.
        displays = [DISPLAYS, config.alternatives] if config.alternatives else [1, 0]
        items = np.random.default_rng(_DISPLAY_SEED).integers(1, spec.num_items + 1, displays)
        self._displays = tf.constant(items, tf.int32)  # [V, K]

    # The contract of user_models.UserModel.

    def reset(self, starts: types.Starts) -> ChoiceState:
        item = tf.convert_to_tensor(starts.history_item)
        clicked = (starts.history_feedback[..., 0] > 0.0) & (item != types.PAD)
        packed, before = choices.latest_clicks(item, clicked, self.config.clicks)
        row = tf.range(tf.shape(item)[0])
        return ChoiceState(choices.window(packed, row, before[:, -1], self.config.clicks))

    def responses(self, state: ChoiceState, candidates: tf.Tensor) -> user_models.Responses:
        query = self.reward.query(state.clicks)
        reward = self.reward.of_candidates(query, candidates)  # [B, A]
        apart = self._displays[:, :, None] != candidates[None, None, :]  # [V, K, A]
        logit = self._click_logit(query, reward, apart, "bk,ka->ba")
        click = tf.sigmoid(logit)[..., None]  # [B, A, 1]
        further = self.further[0] + click * (self.further[1] - self.further[0])
        return user_models.Responses(
            tf.concat([click, further], axis=-1), tf.zeros_like(reward)
        )

    def step(
        self,
        state: ChoiceState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[ChoiceState, tf.Tensor, tf.Tensor]:
        query = self.reward.query(state.clicks)
        logit = self._step_logit(query, item)
        shape = tf.concat([tf.shape(item), [len(self.spec.feedback)]], 0)
        uniform = tf.random.stateless_uniform(shape, seed)  # [B, F]
        clicked = uniform[:, 0] < (distort or tf.sigmoid)(logit)
        mean = tf.gather(self.further, tf.cast(clicked, tf.int32))  # [B, F - 1]
        happens = tf.cast(uniform[:, 1:] < mean, tf.float32)
        further = tf.where(self._binary, happens, mean)
        feedback = tf.concat([tf.cast(clicked, tf.float32)[:, None], further], axis=1)
        after = tf.concat([state.clicks[:, 1:], item[:, None]], axis=1)
        clicks = tf.where(clicked[:, None], after, state.clicks)
        return ChoiceState(clicks), feedback, tf.zeros_like(clicked)

    def expect(self, episodes: types.Episodes) -> tf.Tensor:
        """Expected feedback in raw units, then the exit probability, at logged steps.

        Expectations of further feedback are conditional on the logged click.

        Returns:
          float32 [L, F + 1] over the L real steps.
        """
        logged = logged_steps(episodes, self.config.clicks)
        query = self.reward.query(logged.clicks)
        click = tf.sigmoid(self._step_logit(query, logged.item))
        further = tf.gather(self.further, tf.cast(logged.clicked, tf.int32))
        return tf.concat([click[:, None], further, tf.zeros_like(click)[:, None]], axis=1)

    def _step_logit(self, query: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """Logits of the clicks of one recommended item each: [L, E + 1], [L] -> [L]."""
        reward = self.reward.of_display(query, item[:, None])  # [L, 1]
        apart = self._displays[:, :, None] != item[None, None, :]  # [V, K, L]
        return self._click_logit(query, reward, apart, "bk,kb->b")[:, 0]

    def _click_logit(
        self, query: tf.Tensor, reward: tf.Tensor, apart: tf.Tensor, others: str
    ) -> tf.Tensor:
        """Logits of the probability that recommended items are clicked, float [B, A].

        Args:
          query: queries of the states, [B, E + 1].
          reward: rewards of the recommended items, [B, A].
          apart: bool [V, K, ...], whether an alternative of a display differs from the item.
          others: einsum that sums the weights of the alternatives, [B, K], over K where `apart`
            of one display is True.
        """
        eta = self.config.eta
        if not self.config.alternatives:
            return eta * reward
        kinds, size = self._displays.shape
        alternatives = tf.reshape(self._displays, [-1])
        eta_reward = eta * self.reward.of_candidates(query, alternatives)  # [B, V K]
        highest = tf.reduce_max(tf.nn.relu(eta_reward), axis=1, keepdims=True)  # [B, 1]
        weight = tf.reshape(tf.exp(eta_reward - highest), [-1, kinds, size])  # [B, V, K]
        clicked, not_clicked = tf.zeros_like(reward), tf.zeros_like(reward)
        for display in range(kinds):
            total = tf.einsum(others, weight[:, display], tf.cast(apart[display], tf.float32))
            total = tf.reshape(total, tf.shape(reward))  # [B, A]
            # Choosing nothing has weight 1. The constant avoids the logarithm of 0.
            rest = tf.nn.softplus(highest + tf.math.log(total + 1e-37))
            clicked += tf.sigmoid(eta * reward - rest)
            not_clicked += tf.sigmoid(rest - eta * reward)
        return tf.math.log(clicked + 1e-37) - tf.math.log(not_clicked + 1e-37)


class LoggedSteps(NamedTuple):
    """The real steps of logged sessions, flat: L steps, session after session.

    Attributes:
      clicks: int32 [L, M], the latest clicks before each step.
      user: int32 [L].
      item: int32 [L], the item that the log shows.
      clicked: bool [L].
    """

    clicks: tf.Tensor
    user: tf.Tensor
    item: tf.Tensor
    clicked: tf.Tensor


def logged_steps(episodes: types.Episodes, count: int) -> LoggedSteps:
    """The steps of B sessions with the latest clicks before each.

    Args:
      episodes: B sessions.
      count: M.
    """
    horizon = tf.shape(episodes.history_item)[1]
    real = tf.sequence_mask(episodes.length, tf.shape(episodes.item)[1])  # [B, T]
    item = tf.concat([episodes.history_item, episodes.item], axis=1)  # [B, H + T]
    feedback = tf.concat([episodes.history_feedback, episodes.feedback], axis=1)
    clicked = (feedback[..., 0] > 0.0) & (item != types.PAD)
    packed, before = choices.latest_clicks(item, clicked, count)
    place = tf.cast(tf.where(real), tf.int32)  # [L, 2]
    at = place + tf.stack([0, horizon])
    return LoggedSteps(
        clicks=choices.window(packed, place[:, 0], tf.gather_nd(before, at), count),
        user=tf.gather(episodes.user, place[:, 0]),
        item=tf.gather_nd(item, at),
        clicked=tf.gather_nd(clicked, at),
    )


def build(spec: types.DataSpec, config: Mapping[str, Any]) -> ChoiceModel:
    """An untrained model of a saved configuration."""
    return ChoiceModel(spec, ChoiceModelConfig(**config))
