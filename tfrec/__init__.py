"""The ground that every method stands on: logs, simulated users, towers, training, serving."""

import os

# TF-Agents and TensorFlow Recommenders need Keras 2, and TensorFlow reads this
# variable once, when it is first imported: it must be set before that.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
