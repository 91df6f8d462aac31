"""Stacks of dense layers, perceptrons, and squashed Gaussians.

A squashed Gaussian is the distribution of a = tanh(u), u ~ N(mean, diag(std^2)): actions in
(-1, 1) with a density. By the change of variables (SAC, Haarnoja et al. 2018, appendix C)

    log p(a) = sum_d log N(u_d; mean_d, std_d) - log(1 - tanh(u_d)^2)
"""

import math
from collections.abc import Iterator, Sequence

import tensorflow as tf
import tf_keras

# Stored actions are inverted by atanh, which is infinite at the bounds.
_MARGIN = 1e-6
_LOG_2PI = math.log(2 * math.pi)


def unsquashed(action: tf.Tensor) -> tf.Tensor:
    """The u of a = tanh(u), any shape; actions on the bounds are clipped to just inside."""
    return tf.math.atanh(tf.clip_by_value(action, -1 + _MARGIN, 1 - _MARGIN))


def gaussian_log_prob(mean: tf.Tensor, log_std: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """The log of N(u; mean, diag(exp(log_std)^2)), all [B, D]; float [B], nats."""
    scaled = (u - mean) * tf.exp(-log_std)  # [B, D]
    return tf.reduce_sum(-0.5 * (tf.square(scaled) + _LOG_2PI) - log_std, axis=-1)


def log_slope(u: tf.Tensor) -> tf.Tensor:
    """sum_d log(1 - tanh(u_d)^2) without overflow, u [B, D]; float [B]."""
    return tf.reduce_sum(2.0 * (math.log(2.0) - u - tf.math.softplus(-2.0 * u)), axis=-1)


def squashed_log_prob(mean: tf.Tensor, log_std: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """The log density of a = tanh(u), float [B], nats.

    Args:
      mean: mean of u, float [B, D].
      log_std: log standard deviation of u, float [B, D].
      u: the action before squashing, float [B, D]; `unsquashed` of a stored action.
    """
    return gaussian_log_prob(mean, log_std, u) - log_slope(u)


def target_entropy(each: float, size: int) -> float:
    """Target entropy of the temperature, nats.

    Args:
      each: target entropy per action dimension; -1 in SAC.
      size: D, width of an action in [-1, 1]^D.

    Raises:
      ValueError: if `each` is at least log 2, the entropy of the uniform distribution: no
        policy reaches it, and the temperature would grow without bound.
    """
    if each >= math.log(2.0):
        raise ValueError(
            f"target_entropy is {each}; expected less than log 2 = {math.log(2.0):.4g}, the "
            "entropy of the uniform distribution per action dimension"
        )
    return each * size


def stack(inputs: int, layers: Sequence[tf_keras.layers.Dense]) -> list[tf_keras.layers.Dense]:
    """Builds a stack of dense layers, which creates all their variables.

    Args:
      inputs: width of the input.
      layers: the layers in order, none of them built.

    Returns:
      The layers.
    """
    for layer in layers:
        layer.build([None, inputs])
        inputs = layer.units
    return list(layers)


def apply(layers: Sequence[tf_keras.layers.Dense], x: tf.Tensor) -> tf.Tensor:
    """Applies layers in sequence, float [..., units of the last].

    Args:
      layers: result of `stack`.
      x: float [..., inputs].
    """
    for layer in layers:
        x = layer(x)
    return x


class Perceptron(tf.Module):
    """ReLU layers and a linear output layer; the constructor creates all variables.

    Args:
      inputs: width of the input.
      hidden: widths of the ReLU layers.
      outputs: width of the output.
      seeds: seeds of the initial weights, one for each layer.
      name: name of the module.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int, seeds: Iterator[int], name: str
    ):
        super().__init__(name=name)
        initializer = tf_keras.initializers.GlorotUniform
        self.layers = stack(
            inputs,
            [
                tf_keras.layers.Dense(units, kernel_initializer=initializer(seed=next(seeds)))
                for units in (*hidden, outputs)
            ],
        )

    def features(self, *inputs: tf.Tensor) -> tf.Tensor:
        """Output of the last hidden layer, float [B, hidden[-1]]; without one, the inputs."""
        if len(self.layers) == 1:
            return tf.concat(inputs, axis=-1)
        # One product per input, so that the compiler computes the product with the state once
        # for all actions, and the gradient with respect to an action alone.
        first, *others = self.layers[:-1]
        kernels = tf.split(first.kernel, [x.shape[-1] for x in inputs])
        products = [x @ kernel for x, kernel in zip(inputs, kernels, strict=True)]
        x = tf.nn.relu(tf.add_n(products) + first.bias)
        for layer in others:
            x = tf.nn.relu(layer(x))
        return x

    def __call__(self, *inputs: tf.Tensor) -> tf.Tensor:
        """Output for concatenated inputs, float [B, n_i] each; float [B, outputs]."""
        return self.layers[-1](self.features(*inputs))


class Bilinear(tf.Module):
    """(1, x) W (1, y)^T, without a hidden layer.

    For items with one-hot y it is a separate linear function of x for each item. A penalty of W
    shrinks the predictions for items with few rewards, as in a ridge regression.

    Args:
      inputs: width of x.
      outputs: width of y.
      name: name of the module.
    """

    def __init__(self, inputs: int, outputs: int, name: str):
        super().__init__(name=name)
        self.weights = tf.Variable(tf.zeros([inputs + 1, outputs + 1]), name="weights")

    def __call__(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Values of pairs x float [B, inputs] and y float [B, outputs]; float [B, 1]."""
        left = self._left(x)
        return left[:, :1] + tf.reduce_sum(left[:, 1:] * y, axis=1, keepdims=True)

    def of_each(self, x: tf.Tensor, ys: tf.Tensor) -> tf.Tensor:
        """Values of each x, float [B, inputs], with all ys, float [m, outputs]; [B, m]."""
        left = self._left(x)
        return left[:, :1] + tf.matmul(left[:, 1:], ys, transpose_b=True)

    def _left(self, x: tf.Tensor) -> tf.Tensor:
        """(1, x) W, float [B, outputs + 1]."""
        return tf.concat([tf.ones_like(x[:, :1]), x], axis=1) @ self.weights


class Gaussian(Perceptron):
    """A diagonal Gaussian with mean and standard deviation from a perceptron.

    Args:
      inputs, hidden, seeds, name: as in `Perceptron`.
      size: D, its dimensions.
      log_stds: bounds (low, high) of the log standard deviation.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        size: int,
        seeds: Iterator[int],
        name: str,
        log_stds: tuple[float, float],
    ):
        super().__init__(inputs, hidden, 2 * size, seeds, name)
        self._log_stds = log_stds

    def __call__(self, *inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Inputs float [B, n_i]; mean and log standard deviation, each float [B, D]."""
        mean, log_std = tf.split(super().__call__(*inputs), 2, axis=-1)
        return mean, tf.clip_by_value(log_std, *self._log_stds)
