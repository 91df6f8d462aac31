"""The part of a state vector that describes user and context, beside the history of events.

    u = sum_k value[v_k] / sqrt(number of values)

where v_k are the numbers of the values of the features of the user and of the context, see
`tfrec.data.state_encoding`. It is concatenated to the input of a tower's last layers.
"""

import tensorflow as tf

from tfrec import types
from tfrec.nn import item_embedding


class StateFeatures(tf.Module):
    """Embeds the features of the users and contexts of observations.

    Args:
      sizes: sizes of these features.
      width: D, of an embedding.

    Attributes:
      width: width of the result.
    """

    def __init__(self, sizes: types.FeatureSpec, width: int):
        super().__init__(name="state_features")
        self.width = width
        # Zeros, so that a value without training data has no effect.
        self.context_embedding = tf.Variable(
            tf.zeros([sizes.values + 1, width]), name="context_embedding"
        )

    @property
    def context_value_tables(self) -> list[tf.Variable]:
        """The variables with a row for each value of the features."""
        return [self.context_embedding]

    def __call__(self, observation: types.Observation) -> tf.Tensor:
        """Embeddings of the users and contexts of B observations, float [B, D].

        Raises:
          ValueError: if the observation has no such features.
        """
        return item_embedding.bag(self.context_embedding, types.context_values_of(observation))


def of_spec(spec: types.DataSpec, width: int) -> StateFeatures | None:
    """The features that the states of a spec have; None if it declares none.

    Args:
      spec: the log's spec.
      width: D, of an embedding.
    """
    return None if spec.state_features is None else StateFeatures(spec.state_features, width)
