"""The part of a state vector that describes the user, beside the history of events.

    u = sum_k value[v_k] / sqrt(number of values)

where v_k are the numbers of the values of the user's features, see
`tfrec.data.feature_encoding`. It is concatenated to the input of a tower's last layers.
"""

import tensorflow as tf

from tfrec import types
from tfrec.nn import item_embedding


class StateFeatures(tf.Module):
    """Embeds the features of the users of observations.

    Args:
      sizes: sizes of the users' features.
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
        """The variables with a row for each value of the users' features."""
        return [self.context_embedding]

    def __call__(self, observation: types.Observation) -> tf.Tensor:
        """Embeddings of the users of B observations, float [B, D].

        Raises:
          ValueError: if the observation has no features of users.
        """
        return item_embedding.bag(self.context_embedding, types.context_values_of(observation))


def of_spec(spec: types.DataSpec, width: int) -> StateFeatures | None:
    """The features that the states of a spec have; None if it declares none.

    Args:
      spec: the log's spec.
      width: D, of an embedding.
    """
    return None if spec.user_features is None else StateFeatures(spec.user_features, width)
