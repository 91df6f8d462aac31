"""IMRL: exploration by empowerment and counterfactual augmentation on a soft actor-critic."""

import tfrec  # noqa: F401  selects Keras 2 before TensorFlow is imported
from tfimrl import method

method.register()
