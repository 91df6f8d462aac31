"""Benchmarks of speed and quality beside a plain alternative, measured in the same run."""

import tfrec  # noqa: F401  selects Keras 2 before TensorFlow is imported
