"""The actor of eq 6 for continuous actions, an option that no experiment uses.

With a catalogue of items, argmax over all of them (eq 5) is exact and the actor is not
needed. It is for action spaces that cannot be listed: pi(s, g) returns a point a of
item-vector space and is trained by the value-decomposed policy gradient

    grad_theta J = E[ grad_theta pi(s, g) . grad_a M(s, a, g) . grad_m U(m, g) ]   (6)

at a = pi(s, g). U is linear here, U = g . m, so its last factor is g, and the whole is the
gradient of g . M(s, pi(s, g), g) by the chain rule: the ascent of DDPG, with a measurement
vector instead of the critic's scalar. V does not depend on a and drops out.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf
import tf_keras

from tfgoalrec.world_model import Code, WorldModel
from tfrec.environments import contract
from tfrec.nn import networks
from tfrec.ops import autodiff, selection


class Actor(tf.Module):
    """pi(s, g): a point in the box that the catalogue's item vectors span.

    The box is needed because g . A of the bilinear head is linear in a and unbounded.

    Args:
      input_size: width of the state and goal code.
      low: float [D], lower corner of the box.
      high: float [D], upper corner.
      hidden: widths of the hidden layers.
    """

    def __init__(
        self, input_size: int, low: tf.Tensor, high: tf.Tensor, hidden: Sequence[int] = (128,)
    ):
        super().__init__(name="actor")
        self.centre = tf.Variable((low + high) / 2.0, trainable=False, name="centre")
        self.half_width = tf.Variable((high - low) / 2.0, trainable=False, name="half_width")
        dense = tf_keras.layers.Dense
        layers = [dense(units, activation=tf.nn.leaky_relu) for units in hidden]
        self.layers = networks.stack(
            input_size, [*layers, dense(low.shape[0], activation=tf.tanh)]
        )

    def __call__(self, joint: tf.Tensor) -> tf.Tensor:
        """Returns the action of each request.

        Args:
          joint: the state and goal code, float [B, S + G].

        Returns:
          float [B, D].
        """
        return self.centre + self.half_width * networks.apply(self.layers, joint)


def for_model(model: WorldModel, hidden: Sequence[int] = (128,)) -> Actor:
    """Returns an actor in the box of a world model's current item vectors."""
    vectors = _points(model)
    size = model.config.state + model.config.goal_units
    return Actor(size, tf.reduce_min(vectors, axis=0), tf.reduce_max(vectors, axis=0), hidden)


def loss(
    measure: Callable[[tf.Tensor], tf.Tensor], action: tf.Tensor, goal: tf.Tensor
) -> tf.Tensor:
    """Returns -J; its gradient in the action's parameters is the negative of eq 6.

    Args:
      measure: a [B, D] -> M(s, a, g) [B, M], or M up to terms without a.
      action: pi(s, g), float [B, D].
      goal: g, float [B, M].

    Returns:
      Scalar, the mean over the batch.
    """
    return -tf.reduce_mean(tf.reduce_sum(goal * measure(action), axis=-1))


def improve(
    actor: Actor,
    optimizer: tf_keras.optimizers.Optimizer,
    model: WorldModel,
    code: Code,
    goal: tf.Tensor,
) -> tf.Tensor:
    """Takes one gradient step of the actor on eq 6; the world model does not change.

    Args:
      actor: the trained actor.
      optimizer: the optimiser of the actor's variables.
      model: the world model.
      code: B encoded states and goals.
      goal: float [B, M].

    Returns:
      The loss before the step.
    """

    def advantage(action: tf.Tensor) -> tf.Tensor:
        return model.advantage_of(code, _item_vector(model, action)[:, None])[:, 0]  # [B, M]

    with tf.GradientTape() as tape:
        value = loss(advantage, actor(code.joint), goal)
    variables = actor.trainable_variables
    autodiff.apply_gradients(optimizer, tape.gradient(value, variables), variables)
    return value


def closeness(vectors: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
    """Returns scores that are highest for the nearest item (L2).

    -|e - a|^2 = 2 (e . a - |e|^2 / 2) - |a|^2: a shifted inner product, whose last term is
    the same for all items.

    Args:
      vectors: item vectors e, float [N, D].
      action: a, float [B, D].

    Returns:
      float [B, N]; column i is item i + 1.
    """
    return tf.matmul(action, vectors, transpose_b=True) - 0.5 * tf.reduce_sum(vectors**2, -1)


def policy(model: WorldModel, actor: Actor, goal: tf.Tensor) -> contract.Policy:
    """Returns the policy that shows the item nearest to the actor's action.

    Args:
      model: the world model that the actor was trained on.
      actor: pi.
      goal: float [M], or [B, M] with a goal for each session; unit length.
    """

    def choose(timestep: contract.Timestep) -> tf.Tensor:
        history = contract.history_of(timestep)
        goals = timestep.per_session(goal) if goal.shape.rank == 2 else goal
        goals = tf.broadcast_to(goals, [tf.shape(history.step)[0], model.dim])
        scores = closeness(_points(model), actor(model.encode(history, goals).joint))
        return contract.action_of(selection.best_item(scores, timestep.blocked))

    return choose


def _points(model: WorldModel) -> tf.Tensor:
    """E(a) of every candidate, float [A, D]."""
    return model.item_vectors()[:, : model.config.item_vector]


def _item_vector(model: WorldModel, action: tf.Tensor) -> tf.Tensor:
    """The item vector of an action: with the constant 1, and linear terms of 0."""
    linear = 0 if model.item_effect is None else model.dim
    linear += 0 if model.crosses is None else model.crosses.width
    zeros = tf.zeros([tf.shape(action)[0], linear])
    return tf.concat([action, tf.ones_like(action[:, :1]), zeros], axis=-1)
