"""Linear layers of noisy networks for exploration (Fortunato et al. 2018, arXiv 1706.10295).

Each weight is mu + sigma * e with learned mu and sigma. The noise is factorised, e_ij =
f(e_i) f(e_j) with f(x) = sgn(x) sqrt|x|, and sampled separately for each row of a batch, so
that the users of a batch explore in different directions.
"""

import tensorflow as tf


class NoisyLinear(tf.Module):
    """A linear layer with factorised Gaussian noise.

    Args:
      inputs: I.
      outputs: O.
      noise: sigma_0, the initial sigma times sqrt(I); 0 for a plain linear layer.
      name: the module's name.
    """

    def __init__(self, inputs: int, outputs: int, noise: float, name: str):
        super().__init__(name=name)
        bound = inputs**-0.5

        def uniform(shape: list[int], name: str) -> tf.Variable:
            return tf.Variable(tf.random.uniform(shape, -bound, bound), name=name)

        self.kernel = uniform([inputs, outputs], f"{name}/kernel")
        self.bias = uniform([outputs], f"{name}/bias")
        self.noisy = noise > 0.0
        if self.noisy:
            sigma = noise * bound
            self.kernel_noise = tf.Variable(
                tf.fill([inputs, outputs], sigma), name=f"{name}/kernel_noise"
            )
            self.bias_noise = tf.Variable(tf.fill([outputs], sigma), name=f"{name}/bias_noise")

    def __call__(self, value: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Maps float [B, I] to [B, O]; the seed is int32 [2], None for the mean weights."""
        plain = tf.matmul(value, self.kernel) + self.bias
        if seed is None or not self.noisy:
            return plain
        seeds = tf.random.experimental.stateless_split(seed, 2)
        before = _root(tf.random.stateless_normal(tf.shape(value), seeds[0]))  # [B, I]
        after = _root(tf.random.stateless_normal(tf.shape(plain), seeds[1]))  # [B, O]
        # x (sigma * e_in e_out^T) = ((x * e_in) sigma) * e_out needs no weights for each row.
        return plain + after * (tf.matmul(value * before, self.kernel_noise) + self.bias_noise)


def _root(noise: tf.Tensor) -> tf.Tensor:
    return tf.sign(noise) * tf.sqrt(tf.abs(noise))
