"""A real run in a process of its own, for tests that kill it: `tiny_run.py DIRECTORY`.

It trains a small regression from a replay buffer. Lines on standard output say where
it is. The environment plants what the tests need:

    TINY_HOLD_ITERATION=7 stop in the middle of iteration 7, say so, and wait to be killed
    TINY_HOLD_SAVE=10:1   stop in the save after iteration 10, at its second flush to the disk
    TINY_ASK_ITERATION=7  stop in the middle of iteration 7, say so, go on at a line of input
"""

import os
import pathlib
import sys

import tfrec  # noqa: F401  before TensorFlow: it chooses Keras 2

import tensorflow as tf  # isort: skip
import tf_keras

from tfrec.training import checkpoint, finite, loop
from tfrec.training import run as runs

ROWS, WIDTH, BATCH = 64, 4, 8
CONFIG = {"width": WIDTH, "batch": BATCH}
UNITS, SAVE_EVERY, SEED = 20, 5, 3


class Regression(tf.Module):
    """Learns a line from rows that it draws itself and keeps in a ring."""

    def __init__(self, width=WIDTH, nan_at=-1):
        super().__init__()
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.random = tf.random.Generator.from_seed(SEED)
        self.replay = {
            "x": tf.Variable(tf.zeros([ROWS, width]), trainable=False),
            "y": tf.Variable(tf.zeros([ROWS, 1]), trainable=False),
        }
        self.tower = tf_keras.Sequential(
            [tf_keras.layers.Dense(8, "relu"), tf_keras.layers.Dense(1)]
        )
        self.tower.build([None, width])
        self.optimizer = tf_keras.optimizers.Adam(0.01)
        self.optimizer.build(self.tower.trainable_variables)
        self.mean = tf_keras.metrics.Mean()
        self.nan_at = nan_at

    @tf.function
    def collect(self):
        x = self.random.normal([BATCH, self.replay["x"].shape[1]])
        y = tf.reduce_sum(x, -1, keepdims=True) + self.random.normal([BATCH, 1])
        y = tf.where(self.iteration + 1 == self.nan_at, tf.fill([BATCH, 1], float("nan")), y)
        rows = tf.cast(
            (self.iteration * BATCH + tf.range(BATCH, dtype=tf.int64)) % ROWS, tf.int32
        )
        self.replay["x"].scatter_nd_update(rows[:, None], x)
        self.replay["y"].scatter_nd_update(rows[:, None], y)
        return rows

    @tf.function
    def update(self, rows):
        x, y = tf.gather(self.replay["x"], rows), tf.gather(self.replay["y"], rows)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.tower(x) - y))
        variables = self.tower.trainable_variables
        gradients = tape.gradient(loss, variables)
        bad = finite.first_non_finite({"loss": loss, "gradient": gradients[0]})
        if bad < 0:
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            self.mean.update_state(loss)
        return loss, bad, {"x": x, "y": y}

    def advance(self):
        rows = self.collect()
        here(f"iteration {int(self.iteration) + 1}")
        for _ in range(2):
            loss, bad, batch = self.update(rows)
            finite.check(["loss", "gradient"], bad, batch)
            rows = self.random.uniform([BATCH], 0, ROWS, tf.int32)
        self.iteration.assign_add(1)
        return {"loss": loss, "mean": self.mean.result(), "hist/kernel": self.tower.weights[0]}


def here(place):
    """Says where the run is; holds it there if a test asks for that."""
    print(place, flush=True)
    if place in (f"iteration {os.environ.get('TINY_HOLD_ITERATION')}", "save held"):
        print("holding", flush=True)
        while True:
            sys.stdin.readline()
    if place == f"iteration {os.environ.get('TINY_ASK_ITERATION')}":
        print("asking", flush=True)
        sys.stdin.readline()


def hold_a_save():
    """Makes the chosen flush of the chosen save the place where the run is held."""
    iteration, stage = os.environ["TINY_HOLD_SAVE"].split(":")
    flush, seen = checkpoint._flush, []

    def held(path):
        flush(path)
        if f".tmp-ckpt-{iteration}" in pathlib.Path(path).parts:
            seen.append(path)
            if len(seen) == int(stage) + 1:
                here("save held")

    checkpoint._flush = held


def main(directory):
    if "TINY_HOLD_SAVE" in os.environ:
        hold_a_save()
    run = runs.Run.open(directory, CONFIG, SEED, {"data": "made up"})
    learner = runs.seeded(SEED, Regression)
    loop.train(
        learner, run, UNITS, SAVE_EVERY,
        evaluate=lambda: {"draw": learner.random.normal([])}, evaluate_every=4,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
