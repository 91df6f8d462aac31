"""Shared ground of all methods: logs, simulated users, towers, replay, training, serving."""

from tfrec import keras_version

__version__ = "0.1.0"

keras_version.require_keras_2()  # before any module imports TensorFlow
