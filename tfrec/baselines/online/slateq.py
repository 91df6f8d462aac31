"""SlateQ: the value of a slate from the values of its items; or DQN, for a slate of one.

Ie et al., "SlateQ: A Tractable Decomposition for Reinforcement Learning with Recommendation
Sets", IJCAI 2019; Mnih et al., "Human-level control ...", Nature 2015, for a slate of one.

    Q(s, A)   = sum_{i in A, none} P(i|s, A) Qbar(s, i)
    P(i|s, A) = v(s, i) / (1 + sum_{j in A} v(s, j)), and P(none|s, A) likewise with 1

A simulator tells how many clicks there were and not on what, so two things are filled in by
us. v is learned from whether there was a click: P(click) = 1 - P(none). The update of the
clicked item uses expectations: the target r + gamma Q'(s', A') is compared with the mean of
Qbar over the slate given a click, or with Qbar(s, none).
A slate is the k best by v(s, i) (Qbar(s, i) - Qbar(s, none)): the paper's top-k rule
v(s, i) Qbar(s, i), with a value for no click. Continuous actions have no items: ValueError.
"""

import tensorflow as tf

from tfrec.baselines.online import base, item_q, items
from tfrec.baselines.online.config import SlateqConfig
from tfrec.environments import contract
from tfrec.nn import networks
from tfrec.ops import selection, target_networks


def slate_value(values: tf.Tensor, nothing: tf.Tensor, log_v: tf.Tensor) -> tf.Tensor:
    """Q(s, A) from its items' values, float [B].

    Args:
      values: Qbar(s, i), float [B, k].
      nothing: Qbar(s, none), float [B].
      log_v: log v(s, i), float [B, k].
    """
    share = tf.nn.softmax(tf.pad(log_v, [[0, 0], [0, 1]]))  # [B, k + 1]; log 1 = 0 of none
    return tf.reduce_sum(share * tf.concat([values, nothing[:, None]], axis=1), axis=1)


def expected_value(
    values: tf.Tensor, nothing: tf.Tensor, log_v: tf.Tensor, clicked: tf.Tensor
) -> tf.Tensor:
    """Expected value of the step given whether there was a click, float [B].

    Args:
      values: Qbar(s, i), float [B, k].
      nothing: Qbar(s, none), float [B].
      log_v: log v(s, i), float [B, k].
      clicked: bool [B].
    """
    of_click = tf.reduce_sum(tf.nn.softmax(log_v) * values, axis=1)
    return tf.where(clicked, of_click, nothing)


class Values(tf.Module):
    """Qbar: of items, and of no click.

    Args:
      method: the method, for its sizes.
      name: of the module.
    """

    def __init__(self, method: "Slateq", name: str):
        super().__init__(name=name)
        config, seeds = method.config, method.weight_seeds()
        sizes = (method.observation_size, method.feature_size)
        self.of_item = items.Scores(*sizes, config.hidden, config.width, seeds, "of_item")
        self.of_nothing = None
        if config.choice_model:
            self.of_nothing = networks.Perceptron(
                sizes[0], config.hidden, 1, seeds, "of_nothing"
            )

    def nothing(self, state: tf.Tensor) -> tf.Tensor:
        """Qbar(s, none), float [B]."""
        assert self.of_nothing is not None
        return self.of_nothing(state)[:, 0]


class Slateq(item_q.ItemQ):
    """SlateQ; arguments as in `item_q.ItemQ`.

    Raises:
      ValueError: if the simulator asks for a continuous action, or for slates of several
        items, which a DQN has no value of.
    """

    config: SlateqConfig

    def __init__(self, config: SlateqConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        if not config.choice_model and self.slate_size > 1:
            raise ValueError(
                f"choice_model is False; expected True for slates of {self.slate_size} items"
            )
        self.values, self.target_network = Values(self, "values"), Values(self, "slow")
        parts = {"value": self.values.trainable_variables}
        self.choice = None
        if config.choice_model:
            sizes = (self.observation_size, self.feature_size)
            seeds = self.weight_seeds()
            self.choice = items.Scores(*sizes, config.hidden, config.width, seeds, "choice")
            parts["choice"] = self.choice.trainable_variables
        self.set_parts(**parts)
        target_networks.soft_update(self.target_network.variables, self.values.variables, 1.0)

    def ranks(self, observation: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return self._ranks(self.values, self.adapter.encode(observation), features)

    def _ranks(self, values: Values, state: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        of_item = values.of_item(state, features)
        if self.choice is None:
            return of_item
        return tf.exp(self.choice(state, features)) * (of_item - values.nothing(state)[:, None])

    def next_value(
        self, state: tf.Tensor, features: tf.Tensor, blocked: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The target networks' value of their best slate, float [B]; `state` is encoded."""
        of_item = self.target_network.of_item(state, features)  # [B, m]
        if self.choice is None:
            return tf.reduce_max(selection.available(of_item, blocked), axis=1)
        ranks = self._ranks(self.target_network, state, features)
        slate = selection.best_slate(ranks, self.slate_size, blocked)
        log_v = tf.gather(self.choice(state, features), slate, batch_dims=1)
        of_slate = tf.gather(of_item, slate, batch_dims=1)
        return slate_value(of_slate, self.target_network.nothing(state), log_v)

    def gradients(
        self, rows: dict[str, tf.Tensor]
    ) -> tuple[dict[str, base.LossGradients], dict[str, tf.Tensor]]:
        parts = self._parts()
        state = self.adapter.encode(rows["observation"])
        after = self.adapter.encode(rows["next_observation"])
        value = self.next_value(after, self.next_features(rows), self.next_blocked(rows))
        target = rows["reward"] + rows["discount"] * value
        if self.choice is None:
            with tf.GradientTape() as tape:
                expected = self.of_slate(self.values.of_item, state, rows)[:, 0]
                loss = tf.reduce_mean(tf.math.squared_difference(expected, target))
            return {"value": base.loss_gradients(tape, loss, parts["value"])}, {}
        clicked = rows["clicks"] > 0
        with tf.GradientTape() as tape:
            log_v = self.of_slate(self.choice, state, rows)  # [B, k]
            cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(
                tf.cast(clicked, tf.float32), tf.reduce_logsumexp(log_v, axis=1)
            )
            choice_loss = tf.reduce_mean(cross_entropy)
        choice = base.loss_gradients(tape, choice_loss, parts["choice"])
        with tf.GradientTape() as tape:
            values = self.of_slate(self.values.of_item, state, rows)
            expected = expected_value(values, self.values.nothing(state), log_v, clicked)
            loss = tf.reduce_mean(tf.math.squared_difference(expected, target))
        return {"value": base.loss_gradients(tape, loss, parts["value"]), "choice": choice}, {}

    def after_update(self) -> None:
        target_networks.soft_update(
            self.target_network.variables, self.values.variables, self.config.tau
        )
