"""Recurrent user model of the responses to an item and of exits.

A GRU reads the past events; heads on its state predict the click, the further feedback given
the click, and the exit given the click:

    h_0     = tanh(W u)                                 user embedding u
    h_{t+1} = GRU(h_t, [e_i, click * e_i, feedback])    the events, oldest first
    p(click | h, i), p(feedback | h, i, click), p(exit | h, i, click, step, misses)

`misses` is the number of non-clicks since the last click. Between the history and the session
the GRU reads a learned session-start token, so that it distinguishes effects of the session
(fatigue) from earlier events.

Each head is an inner product of a half for the state and a half for the item: the h * e_i of
Zou et al. 2020 (Pseudo Dyna-Q). Each half is computed once, so that all users x all candidates
is one matrix product per head instead of a network per pair.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import user_models
from tfrec.environments.fitted import initialiser, kinds, model_files
from tfrec.environments.fitted.recurrent_model_config import RecurrentModelConfig

STEP_BUCKETS = 16  # session steps with one-hot features; later ones have only a logarithm
MISS_BUCKETS = 8


class UserState(NamedTuple):
    """State of each simulated user.

    Attributes:
      hidden: float32 [B, G], the GRU state.
      user: float32 [B, U], the user embedding.
      step: int32 [B], steps taken in this session.
      misses: int32 [B], non-clicks since the last click of this session.
    """

    hidden: tf.Tensor
    user: tf.Tensor
    step: tf.Tensor
    misses: tf.Tensor


class GivenClick(NamedTuple):
    """Parameters of exit and further feedback given a click or a non-click; shapes [...].

    Attributes:
      exit: logit of leaving after the item.
      positive: for each further column, the logit of a 1, or of an amount above 0.
      log_mean: for each further column, the mean log amount in units of its
        scale, given that it is above 0; None for a binary column.
    """

    exit: tf.Tensor
    positive: tuple[tf.Tensor, ...]
    log_mean: tuple[tf.Tensor | None, ...]


class Prediction(NamedTuple):
    """Predictions at the logged steps, and the logged responses.

    The L steps are flat and without padding, ordered by session.

    Attributes:
      click: logit of the click, [L].
      given_click: parameters given the logged click, [L] each.
      feedback: logged feedback in raw units, [L, F].
      exited: bool [L], whether the user left after the step.
    """

    click: tf.Tensor
    given_click: GivenClick
    feedback: tf.Tensor
    exited: tf.Tensor


class RecurrentModel(model_files.FittedModel):
    """A fitted population of users; a `user_models.UserModel`.

    Args:
      spec: spec of the fitted log.
      config: sizes.
      seed: seed of the initial weights.
    """

    kind = kinds.RECURRENT
    config: RecurrentModelConfig

    def __init__(self, spec: types.DataSpec, config: RecurrentModelConfig, seed: int = 0):
        super().__init__("user_model", spec, config)
        self._amounts = [c.kind == "amount" for c in spec.feedback]
        # P': the exit, and one or two outputs for each further column
        self._outputs = 1 + sum(2 if amount else 1 for amount in self._amounts[1:])
        event = 2 * config.item_units + len(spec.feedback) + sum(self._amounts)
        gates = 3 * config.hidden_units
        state = config.hidden_units + config.user_units
        context = STEP_BUCKETS + MISS_BUCKETS + 3
        joint = config.rank + 1  # one more column for a half's bias
        draw = initialiser.Initialiser(seed)
        self.item = draw.normal("item", [spec.num_items + 1, config.item_units], 0.5)
        # Users start as the average user. Random embeddings would identify users, and the
        # model would memorise sessions by them.
        self.user = draw.zeros("user", [spec.num_users + 1, config.user_units])
        self.hidden_kernel = draw.glorot(
            "hidden/kernel", config.user_units, config.hidden_units
        )
        self.session_start = draw.normal("session_start", [event], 0.1)
        self.gru_kernel = draw.glorot("gru/kernel", event, gates)
        self.gru_recurrent = draw.glorot("gru/recurrent", config.hidden_units, gates)
        self.gru_bias = draw.zeros("gru/bias", [2, gates])
        self.click_kernel = draw.glorot("click/kernel", state, config.head_units)
        self.click_bias = draw.zeros("click/bias", [config.head_units])
        self.click_join = draw.glorot("click/join", config.head_units, joint)
        self.after_kernel = draw.glorot("after/kernel", state + context, config.head_units)
        self.after_bias = draw.zeros("after/bias", [config.head_units])
        self.after_join = draw.glorot("after/join", config.head_units, self._outputs * joint)
        self.item_join = draw.glorot(
            "item/join", config.item_units, (1 + self._outputs) * joint
        )
        self.item_bias = draw.zeros("item/bias", [(1 + self._outputs) * joint])
        # log standard deviation of log amounts after a non-click and after a click
        self.log_spread = tf.Variable(
            tf.zeros([len(spec.feedback), 2]), trainable=any(self._amounts), name="log_spread"
        )
        # Set by calibration, not by the fit: logits become slope x logit + offset, and the
        # offset is added to log amounts.
        columns = len(spec.feedback)
        self.feedback_slope = _constant("feedback_slope", tf.ones([columns]))
        self.feedback_offset = _constant("feedback_offset", tf.zeros([columns]))
        self.exit_slope = _constant("exit_slope", 1.0)
        self.exit_offset = _constant("exit_offset", 0.0)

    # The contract of user_models.UserModel.

    def reset(self, starts: types.Starts) -> UserState:
        user = tf.gather(self.user, starts.user)
        events = self._events(self._embed(starts.history_item), starts.history_feedback)
        valid = starts.history_item != types.PAD
        hidden = self._read(events, valid, user)[:, -1]
        start = tf.repeat(self.session_start[None], tf.shape(user)[0], axis=0)
        zeros = tf.zeros_like(starts.user)
        return UserState(self._cell(start @ self.gru_kernel, hidden), user, zeros, zeros)

    def responses(self, state: UserState, candidates: tf.Tensor) -> user_models.Responses:
        halves = self._item_half(self._embed(candidates))  # [A, P, K + 1]
        calibration = self._calibration()
        [click_logit] = _cross(self._click_half(state)[:, None], halves[:, :1], calibration[:1])
        click = tf.sigmoid(click_logit)  # [B, A]
        given: list[list[tf.Tensor]] = []
        for clicked in (False, True):
            flags = tf.fill(tf.shape(state.step), clicked)
            logits = _cross(self._after_half(state, flags), halves[:, 1:], calibration[1:])
            means = self._means(self._given_click(logits), tf.constant(clicked))
            given.append(means)
        *further, exit_probability = (
            missed + click * (clicked - missed) for missed, clicked in zip(*given, strict=True)
        )
        return user_models.Responses(tf.stack([click, *further], axis=-1), exit_probability)

    def step(
        self,
        state: UserState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[UserState, tf.Tensor, tf.Tensor]:
        embedding = self._embed(item)  # [B, D]
        halves = self._item_half(embedding)  # [B, P, K + 1]
        columns = len(self.spec.feedback)
        shape = tf.concat([[1 + columns], tf.shape(item)], 0)
        seeds = tf.random.experimental.stateless_split(seed, 2)
        uniform = tf.random.stateless_uniform(shape, seeds[0])  # [1 + F, B]
        normal = tf.random.stateless_normal(shape, seeds[1])
        calibration = self._calibration()
        click_logit = _pair(self._click_half(state), halves[:, 0], calibration[0])
        clicked = uniform[0] < (distort or tf.sigmoid)(click_logit)
        logits = _pair(
            self._after_half(state, clicked), halves[:, 1:], calibration[1:]
        )  # [B, P']
        given = self._given_click(tf.unstack(logits, axis=-1))
        exits = uniform[columns] < tf.sigmoid(given.exit)
        feedback = [tf.cast(clicked, tf.float32)]
        for k, (positive, log_mean) in enumerate(
            zip(given.positive, given.log_mean, strict=True), start=1
        ):
            value = tf.cast(uniform[k] < tf.sigmoid(positive), tf.float32)
            if log_mean is not None:
                spread = tf.gather(tf.exp(self.log_spread[k]), tf.cast(clicked, tf.int32))
                value *= self.spec.feedback[k].scale * tf.exp(log_mean + spread * normal[k])
            feedback.append(value)
        response = tf.stack(feedback, axis=-1)  # [B, F]
        hidden = self._cell(self._events(embedding, response) @ self.gru_kernel, state.hidden)
        misses = tf.where(clicked, 0, state.misses + 1)
        return UserState(hidden, state.user, state.step + 1, misses), response, exits

    # Teacher forcing, for the fit and the calibration.

    def predict(self, episodes: types.Episodes, seed: tf.Tensor | None = None) -> Prediction:
        """Predicts the responses at every step of logged sessions.

        Args:
          episodes: B sessions of up to T steps, L steps in total.
          seed: int32 [2], seed of the dropout in training; None for no dropout.
        """
        config = self.config
        horizon = tf.shape(episodes.history_item)[1]
        real = tf.sequence_mask(episodes.length, tf.shape(episodes.item)[1])  # [B, T]
        user_id = episodes.user
        if seed is not None:
            seeds = tf.random.experimental.stateless_split(seed, 3)
            hide = (
                tf.random.stateless_uniform(tf.shape(user_id), seeds[0]) < config.unknown_user
            )
            user_id = tf.where(hide, 0, user_id)
        user = tf.gather(self.user, user_id)
        embedding = self._embed(episodes.item)  # [B, T, D]
        before = self._events(self._embed(episodes.history_item), episodes.history_feedback)
        within = self._events(embedding, episodes.feedback)
        start = tf.broadcast_to(self.session_start, tf.shape(before[:, :1]))
        events = tf.concat([before, start, within[:, :-1]], axis=1)  # [B, H + T, X]
        valid = tf.concat([episodes.history_item != types.PAD, real], axis=1)
        if seed is not None:
            events = tf.nn.experimental.stateless_dropout(events, config.dropout, seeds[1])
        hidden = self._read(events, valid, user)[:, horizon:]  # [B, T, G] before each step
        if seed is not None:
            hidden = tf.nn.experimental.stateless_dropout(hidden, config.dropout, seeds[2])
        # Heads are computed for real steps only: most of a padded batch is padding.
        place = tf.cast(tf.where(real), tf.int32)  # [L, 2] session and step
        feedback = tf.gather_nd(episodes.feedback, place)  # [L, F]
        clicked = feedback[:, 0] > 0.0
        state = UserState(
            hidden=tf.gather_nd(hidden, place),
            user=tf.gather(user, place[:, 0]),
            step=place[:, 1],
            misses=tf.gather_nd(_misses_before(episodes.feedback[..., 0] > 0.0), place),
        )
        halves = self._item_half(tf.gather_nd(embedding, place))  # [L, P, K + 1]
        calibration = self._calibration()
        click = _pair(self._click_half(state), halves[:, 0], calibration[0])
        logits = _pair(
            self._after_half(state, clicked), halves[:, 1:], calibration[1:]
        )  # [L, P']
        last = place[:, 1] == tf.gather(episodes.length, place[:, 0]) - 1
        return Prediction(
            click=click,
            given_click=self._given_click(tf.unstack(logits, axis=-1)),
            feedback=feedback,
            exited=last & tf.gather(episodes.exited, place[:, 0]),
        )

    def expect(self, episodes: types.Episodes) -> tf.Tensor:
        """Expected feedback in raw units, then the exit probability, at logged steps.

        Expectations of further feedback and of the exit are conditional on the logged click.

        Returns:
          float32 [L, F + 1].
        """
        prediction = self.predict(episodes)
        means = self._means(prediction.given_click, prediction.feedback[:, 0] > 0.0)
        return tf.stack([tf.sigmoid(prediction.click), *means], axis=-1)

    # Leading axes of the following: [B] in a simulation, [L] or [B, T] in teacher forcing.

    def _embed(self, item: tf.Tensor) -> tf.Tensor:
        """Item embeddings; padding has the zero vector, the average item."""
        is_item = tf.cast(item != types.PAD, tf.float32)[..., None]
        return tf.gather(self.item, item) * is_item

    def _events(self, embedding: tf.Tensor, feedback: tf.Tensor) -> tf.Tensor:
        """GRU inputs: the item, the item again if clicked, and all feedback."""
        parts = [embedding, embedding * feedback[..., :1]]
        for k, column in enumerate(self.spec.feedback):
            value = feedback[..., k : k + 1]
            parts.append(tf.math.log1p(value / column.scale) if self._amounts[k] else value)
            if self._amounts[k]:
                parts.append(tf.cast(value > 0.0, tf.float32))
        return tf.concat(parts, axis=-1)

    def _cell(self, projected: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        """One GRU step (reset gate after the product, as in cuDNN).

        Args:
          projected: event @ gru_kernel, [B, 3 G].
          hidden: [B, G].
        """
        x_z, x_r, x_c = tf.split(projected + self.gru_bias[0], 3, axis=-1)
        h_z, h_r, h_c = tf.split(hidden @ self.gru_recurrent + self.gru_bias[1], 3, axis=-1)
        keep = tf.sigmoid(x_z + h_z)
        return keep * hidden + (1.0 - keep) * tf.tanh(x_c + tf.sigmoid(x_r + h_r) * h_c)

    def _read(self, events: tf.Tensor, valid: tf.Tensor, user: tf.Tensor) -> tf.Tensor:
        """GRU states [B, S, G] after each event; events that are not `valid` are skipped."""
        projected = tf.transpose(events @ self.gru_kernel, [1, 0, 2])  # [S, B, 3 G]
        mask = tf.transpose(valid)[..., None]  # [S, B, 1]

        def advance(hidden, event):
            return tf.where(event[1], self._cell(event[0], hidden), hidden)

        hidden = tf.scan(
            advance,
            (projected, mask),
            tf.tanh(user @ self.hidden_kernel),
            parallel_iterations=1,
        )
        return tf.transpose(hidden, [1, 0, 2])

    def _click_half(self, state: UserState) -> tf.Tensor:
        features = tf.concat([state.hidden, state.user], axis=-1)
        units = tf.nn.relu(features @ self.click_kernel + self.click_bias)
        return units @ self.click_join  # [..., K + 1]

    def _after_half(self, state: UserState, clicked: tf.Tensor) -> tf.Tensor:
        """State half of the heads that follow a click or a non-click, [..., P', K + 1]."""
        misses = tf.where(clicked, 0, state.misses + 1)
        numbers = [tf.math.log1p(tf.cast(state.step, tf.float32))]
        numbers += [tf.math.log1p(tf.cast(misses, tf.float32)), tf.cast(clicked, tf.float32)]
        features = [state.hidden, state.user]
        features.append(tf.one_hot(tf.minimum(state.step, STEP_BUCKETS - 1), STEP_BUCKETS))
        features.append(tf.one_hot(tf.minimum(misses, MISS_BUCKETS - 1), MISS_BUCKETS))
        features.append(tf.stack(numbers, axis=-1))
        units = tf.nn.relu(tf.concat(features, axis=-1) @ self.after_kernel + self.after_bias)
        return self._by_output(units @ self.after_join, self._outputs)

    def _item_half(self, embedding: tf.Tensor) -> tf.Tensor:
        """Item half of all heads, the click's first, [..., 1 + P', K + 1]."""
        return self._by_output(embedding @ self.item_join + self.item_bias, 1 + self._outputs)

    def _by_output(self, joined: tf.Tensor, outputs: int) -> tf.Tensor:
        shape = [outputs, self.config.rank + 1]
        return tf.reshape(joined, tf.concat([tf.shape(joined)[:-1], shape], 0))

    def _calibration(self) -> tf.Tensor:
        """Slope and offset of each output, the click's first, [1 + P', 2]."""
        adjusted = tf.stack([self.feedback_slope, self.feedback_offset], axis=1)  # [F, 2]
        rows = [adjusted[0], tf.stack([self.exit_slope, self.exit_offset])]
        for k, amount in enumerate(self._amounts[1:], start=1):
            if amount:  # no change of its probability, an offset of its logarithm
                rows += [tf.constant([1.0, 0.0]), tf.stack([1.0, self.feedback_offset[k]])]
            else:
                rows.append(adjusted[k])
        return tf.stack(rows)

    def _given_click(self, outputs: list[tf.Tensor]) -> GivenClick:
        """Assigns the heads' outputs to exit and feedback columns."""
        remaining = iter(outputs)
        exit_logit = next(remaining)
        positive: list[tf.Tensor] = []
        log_mean: list[tf.Tensor | None] = []
        for amount in self._amounts[1:]:
            positive.append(next(remaining))
            log_mean.append(next(remaining) if amount else None)
        return GivenClick(exit_logit, tuple(positive), tuple(log_mean))

    def _means(self, given: GivenClick, clicked: tf.Tensor) -> list[tf.Tensor]:
        """Expected further feedback in raw units, then the exit probability."""
        means = []
        for k, (positive, log_mean) in enumerate(
            zip(given.positive, given.log_mean, strict=True), start=1
        ):
            mean = tf.sigmoid(positive)
            if log_mean is not None:
                log_spread = tf.gather(self.log_spread[k], tf.cast(clicked, tf.int32))
                shift = tf.exp(2.0 * log_spread) / 2.0 + np.log(self.spec.feedback[k].scale)
                mean *= tf.exp(log_mean + shift)
            means.append(mean)
        return [*means, tf.sigmoid(given.exit)]


def build(spec: types.DataSpec, config: Mapping[str, Any]) -> RecurrentModel:
    """An untrained model of a saved configuration."""
    return RecurrentModel(spec, RecurrentModelConfig(**config))


def load(directory: str | os.PathLike) -> RecurrentModel:
    """Reads a saved user model; see `model_files.load`."""
    return model_files.load(directory, {kinds.RECURRENT: build})


def _constant(name: str, value: tf.Tensor | float) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)


def _pair(state_half: tf.Tensor, item_half: tf.Tensor, calibration: tf.Tensor) -> tf.Tensor:
    """Joins the halves of matching states and items: [..., K + 1] x 2 -> [...].

    `calibration` is slope and offset, [2], or [P, 2] if the last axis of the result is that of
    the outputs.
    """
    inner = tf.reduce_sum(state_half[..., :-1] * item_half[..., :-1], axis=-1)
    logit = inner + state_half[..., -1] + item_half[..., -1]
    return calibration[..., 0] * logit + calibration[..., 1]


def _cross(
    state_half: tf.Tensor, item_half: tf.Tensor, calibration: tf.Tensor
) -> list[tf.Tensor]:
    """Joins every state with every item, P outputs.

    Biases, slopes and offsets are columns of the product, because each pass over B x A numbers
    costs as much as the product.

    Args:
      state_half: [B, P, K + 1].
      item_half: [A, P, K + 1].
      calibration: slopes and offsets, [P, 2].

    Returns:
      P tensors [B, A].
    """
    ones = tf.ones_like(state_half[..., :1])
    zeros = tf.zeros_like(state_half[..., :-1])
    states = tf.concat([state_half, ones], axis=-1) * calibration[:, :1]  # [B, P, K + 2]
    states += tf.concat([zeros, ones, 0.0 * ones], axis=-1) * calibration[:, 1:]
    items = tf.concat(
        [item_half[..., :-1], tf.ones_like(item_half[..., :1]), item_half[..., -1:]], axis=-1
    )
    return [
        tf.matmul(state, item, transpose_b=True)
        for state, item in zip(
            tf.unstack(states, axis=1), tf.unstack(items, axis=1), strict=True
        )
    ]


def _misses_before(clicked: tf.Tensor) -> tf.Tensor:
    """Non-clicks since the last click, before each step: bool [B, T] -> int32 [B, T]."""
    step = tf.range(tf.shape(clicked)[1])[None, :]  # [1, T]
    after_click = tf.where(clicked, step + 1, 0)  # [B, T], first step of a run of misses
    latest = tf.scan(tf.maximum, tf.transpose(after_click), tf.zeros_like(after_click[:, 0]))
    return step - tf.pad(tf.transpose(latest)[:, :-1], [[0, 0], [1, 0]])
