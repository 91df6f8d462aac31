"""PGPR's policy: an actor and a critic on one network, and REINFORCE with the critic.

The state of a path holds the vectors of the user, of the current node and of its last hops.
Layers with ELU and dropout read it; the critic is a linear layer on them. The actor has two
forms:

    positions  that of the paper: a logit for each position in the list of actions
    edges      our variant: <q, k_v + k_r> + w s for the edge to node v by relation r with
               multi-hop score s. q and w are linear in the hidden layer, k_v is a projection
               of the node's vector and k_r a vector of the relation

Axes: P paths, A actions, D width of node vectors, H width of the last layer, K width of keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tensorflow as tf
import tf_keras

from tfrec.baselines.paths import environment
from tfrec.baselines.paths.config import Actor
from tfrec.nn import attention, networks


def policy_loss(
    log_prob: tf.Tensor,
    entropy: tf.Tensor,
    value: tf.Tensor,
    reward: tf.Tensor,
    discount: float,
    entropy_weight: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """REINFORCE with a baseline for paths with a final reward (equation 9).

    Args:
      log_prob: of the actions taken, float [P, T].
      entropy: of the policy at each step, float [P, T], nats.
      value: the critic's, float [P, T].
      reward: at the end of the path, float [P].
      discount: of a step.
      entropy_weight: of the entropy beside the actor's loss.

    Returns:
      The actor's loss without the entropy, the critic's, and the sum of everything: scalars,
      sums over steps and means over paths.
    """
    steps = log_prob.shape[1]
    left = tf.range(steps - 1, -1, -1, dtype=tf.float32)
    discounted = reward[:, None] * tf.pow(tf.constant(discount), left)  # [P, T]
    advantage = discounted - value
    actor = -tf.reduce_mean(tf.reduce_sum(log_prob * tf.stop_gradient(advantage), axis=1))
    critic = tf.reduce_mean(tf.reduce_sum(tf.square(advantage), axis=1))
    total = actor + critic - entropy_weight * tf.reduce_mean(tf.reduce_sum(entropy, axis=1))
    return actor, critic, total


def entropy_of(log_share: tf.Tensor) -> tf.Tensor:
    """Entropy of a softmax, float [P], nats.

    Args:
      log_share: log probabilities of all actions, float [P, A].
    """
    return -tf.reduce_sum(tf.exp(log_share) * log_share, axis=1)


def retained_actions(real: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Mask of action dropout, which drops edges but never the action `stay`; bool [P, A].

    Args:
      real: bool [P, A], whether there is such an action.
      rate: the probability.
      seed: int32 [2].
    """
    retained = tf.random.stateless_uniform(tf.shape(real), seed) >= rate
    return real & (retained | (tf.range(tf.shape(real)[1]) == 0))


class Policy(tf.Module):
    """The network.

    Args:
      state_size: width of a state.
      node_size: D.
      relations: 2R + 1, with stay and reverse relations.
      max_actions: A at most, with stay.
      hidden: widths of the layers.
      dropout: share of units that are left out in training.
      actor: form of the actor.
      keys: K.
      seeds: of the initial weights.
    """

    def __init__(
        self,
        state_size: int,
        node_size: int,
        relations: int,
        max_actions: int,
        hidden: Sequence[int],
        dropout: float,
        actor: Actor,
        keys: int,
        seeds: Iterator[int],
    ):
        super().__init__(name="policy")
        self._dropout, self._actor = dropout, actor
        initializer = tf_keras.initializers.GlorotUniform

        def dense(inputs: int, outputs: int, bias: bool = True) -> tf_keras.layers.Dense:
            layer = tf_keras.layers.Dense(
                outputs, use_bias=bias, kernel_initializer=initializer(next(seeds))
            )
            return networks.stack(inputs, [layer])[0]

        self.layers = networks.stack(
            state_size,
            [
                tf_keras.layers.Dense(units, "elu", kernel_initializer=initializer(next(seeds)))
                for units in hidden
            ],
        )
        self.critic = dense(hidden[-1], 1)
        if actor == "positions":
            self.head = dense(hidden[-1], max_actions)
        else:
            self.head = dense(hidden[-1], keys + 1)
            self.node_key = dense(node_size, keys, bias=False)
            drawn = initializer(next(seeds))([relations, keys])
            self.relation_key = tf.Variable(drawn, name="relation_key")

    def hidden(self, state: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """The last layer, float [P, H]. Graph code.

        Args:
          state: float [P, S].
          seed: int32 [2] of dropout; None while predicting.
        """
        x = state
        for number, layer in enumerate(self.layers):
            layer_seed = None if seed is None else seed + [0, number]
            x = attention.dropped(layer(x), self._dropout, layer_seed)
        return x

    def values(self, hidden: tf.Tensor) -> tf.Tensor:
        """The critic, float [P]."""
        return self.critic(hidden)[:, 0]

    def keys(self, node: tf.Tensor) -> tf.Tensor:
        """k_v of nodes, float [..., K]; of `positions`, which reads none, no numbers.

        Args:
          node: their vectors, float [..., D].
        """
        return node[..., :0] if self._actor == "positions" else self.node_key(node)

    def logits(
        self, hidden: tf.Tensor, actions: environment.Actions, key: tf.Tensor
    ) -> tf.Tensor:
        """The actor, float [P, A], `environment.GONE` where there is no action. Graph code.

        Args:
          hidden: float [P, H].
          actions: what the paths can do.
          key: `keys` of the nodes of the actions, float [P, A, K].
        """
        out = self.head(hidden)
        if self._actor == "positions":
            logits = out[:, : tf.shape(actions.node)[1]]
        else:
            query, weight = out[:, :-1], out[:, -1:]
            key += tf.gather(self.relation_key, actions.relation)
            logits = tf.einsum("pk,pak->pa", query, key)  # [P, A]
            logits += weight * tf.where(actions.real, actions.score, 0.0)
        return tf.where(actions.real, logits, environment.GONE)
