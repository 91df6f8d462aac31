"""Initial weights of user models."""

import tensorflow as tf

from tfrec import types


class Initialiser:
    """Samples initial weights; the n-th weight depends only on the seed and n."""

    def __init__(self, seed: int):
        self._seed = types.seed_pair(seed, 0)

    def normal(self, name: str, shape: list[int], deviation: float) -> tf.Variable:
        self._seed += tf.constant([0, 1])
        value = deviation * tf.random.stateless_normal(shape, self._seed)
        return tf.Variable(value, name=name)

    def glorot(self, name: str, rows: int, columns: int) -> tf.Variable:
        return self.normal(name, [rows, columns], (2.0 / (rows + columns)) ** 0.5)

    def zeros(self, name: str, shape: list[int]) -> tf.Variable:
        return tf.Variable(tf.zeros(shape), name=name)
