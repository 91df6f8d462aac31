"""Training GoalRec's world model, beside training two stock Keras GRUs of the same size.

    python -m benchmarks.world_model

goalrec     a whole update as in training: a batch drawn from the replay, goals
            relabelled, DIEN's two recurrences with attention and auxiliary loss, both
            streams, the gradient step and the averaged weights
stock_grus  an embedding, two tf_keras GRUs and a dense layer on the same batches from the
            same replay, the padding masked: squared error, the same optimiser
bare_grus   only the two GRUs and the dense layer, on one constant batch without padding:
            a lower bound of the cost of two GRUs

Batch, history, widths, targets and the loop inside one graph are equal. Printed: the
median of each over alternating repetitions in examples/s, by the clock and by processor time,
and the ratios.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from benchmarks import random_log, timing
from tfgoalrec.agent import GoalRecAgent
from tfgoalrec.config import GoalRecConfig
from tfgoalrec.learner import GoalRecLearner
from tfgoalrec.measurements import Measurements
from tfrec import types
from tfrec.replay.episodes import EpisodeReplay


class StockInput(tf.Module):
    """Batches from the replay for a stock recurrent model.

    Args:
      replay: replay to sample from.
      config: batch and embedding width.
      spec: the log's spec.
      vectors: float [N + 1, embedding], initial embeddings.
    """

    def __init__(
        self,
        replay: EpisodeReplay,
        config: GoalRecConfig,
        spec: types.DataSpec,
        vectors: np.ndarray,
    ):
        super().__init__(name="stock_input")
        self._replay = lambda: (
            replay
        )  # a function, so that its variables do not become this module's
        self.batch = config.batch
        self.embedding = tf.Variable(vectors, dtype=tf.float32, name="embedding")
        self.scale = tf.constant([column.scale for column in spec.feedback], tf.float32)
        self.draws = tf.Variable(0, trainable=False, name="draws")

    def draw(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Events [B, H, X], their mask [B, H], and the labels [B, M]."""
        self.draws.assign_add(1)
        rows = self._replay().sample(self.batch, tf.stack([self.draws, 0]))
        item = rows.observation.history_item
        embedding = tf.gather(self.embedding, item)
        feedback = rows.observation.history_feedback / self.scale
        clicked = feedback[..., :1]
        session = tf.range(item.shape[1]) >= item.shape[1] - rows.observation.step[:, None]
        recent = tf.cast(session, tf.float32)[..., None]
        event = tf.concat([embedding, embedding * clicked, feedback, recent], axis=-1)
        return event, item != types.PAD, rows.label


class StockGrus(tf.Module):
    """GRU -> GRU -> Dense of tf_keras with a training loop inside one graph.

    Args:
      config: widths, batch and optimiser.
      width: X, size of one event.
      outputs: M.
      draw: () -> (x [B, H, X], mask bool [B, H] or None, target [B, M]).
      inputs: variables of `draw` to train as well.
    """

    def __init__(
        self,
        config: GoalRecConfig,
        width: int,
        outputs: int,
        draw: Callable[[], tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]],
        inputs: Sequence[tf.Variable] = (),
    ):
        super().__init__(name="stock_grus")
        self._draw = draw
        self.first = tf_keras.layers.GRU(config.units, return_sequences=True)
        self.second = tf_keras.layers.GRU(config.units)
        self.output = tf_keras.layers.Dense(outputs)
        self.first.build((None, None, width))
        self.second.build((None, None, config.units))
        self.output.build((None, config.units))
        self._weights = [*inputs, *self.trainable_variables]
        self.optimizer = tf_keras.optimizers.Adam(
            config.learning_rate, weight_decay=config.weight_decay or None, global_clipnorm=10.0
        )
        self.optimizer.build(self._weights)

    @tf.function
    def learn(self, updates: tf.Tensor) -> tf.Tensor:
        """Takes gradient steps on random batches; returns the last loss."""
        loss = tf.constant(0.0)
        for _ in tf.range(updates):
            with tf.GradientTape() as tape:
                x, mask, target = self._draw()
                state = self.second(self.first(x, mask=mask), mask=mask)
                loss = tf.reduce_mean(tf.math.squared_difference(self.output(state), target))
            gradients = tape.gradient(loss, self._weights)
            self.optimizer.apply_gradients(zip(gradients, self._weights, strict=True))
        return loss


def measure(
    config: GoalRecConfig,
    history_length: int,
    max_steps: int,
    num_items: int = 1000,
    sessions: int = 2048,
    updates: int = 20,
    repeats: int = 7,
) -> dict[str, timing.Timing]:
    """Times `updates` updates of each.

    Args:
      config: GoalRec's; the stock models take its widths, batch and optimiser.
      history_length: H.
      max_steps: T.
      num_items: N.
      sessions: sessions in the replay.
      updates: updates in a repetition.
      repeats: counted repetitions of each.

    Returns:
      The median repetition of `goalrec`, `stock_grus` and `bare_grus`.
    """
    spec = types.DataSpec(random_log.FEEDBACK, num_items, sessions, history_length, max_steps)
    log = random_log.episodes(spec, sessions, seed=0)
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 0.1, [num_items + 1, config.embedding])
    frozen = vectors[:, : config.frozen_embedding]
    measurements = Measurements(config.measurements, spec, frozen)
    measurements.fit(log)
    agent = GoalRecAgent(config, spec, measurements, vectors, seed=0)
    learner = GoalRecLearner(agent, log)
    stock_input = StockInput(learner.replay, config, spec, vectors)
    drawn = stock_input.draw()
    width = drawn[0].shape[-1]
    ready = [tf.Variable(part, trainable=False) for part in (drawn[0], drawn[2])]
    stock = StockGrus(
        config, width, measurements.dim, stock_input.draw, stock_input.trainable_variables
    )
    bare = StockGrus(config, width, measurements.dim, lambda: (ready[0] + 0, None, ready[1]))
    count = tf.constant(updates)
    return timing.alternate(
        {
            "goalrec": lambda: learner._learn(count)[1].numpy(),
            "stock_grus": lambda: stock.learn(count).numpy(),
            "bare_grus": lambda: bare.learn(count).numpy(),
        },
        repeats,
    )


def main(
    shapes: Sequence[tuple[int, int]] = ((20, 30), (50, 100)),
    config: GoalRecConfig | None = None,
    updates: int = 20,
    **sizes: int,
) -> None:
    """Times all three.

    Args:
      shapes: (H, T) of each table; those of the demo and the defaults of prepared data.
      config: None for the defaults.
      updates: updates in a repetition.
      **sizes: see `measure`.
    """
    config = config or GoalRecConfig()
    for history_length, max_steps in shapes:
        took = measure(config, history_length, max_steps, updates=updates, **sizes)
        print(
            f"\nbatch {config.batch}, history {history_length}, {config.units} units, medians"
        )
        counts = dict.fromkeys(took, config.batch * updates)
        timing.show(took, "goalrec", "examples", counts)


if __name__ == "__main__":
    timing.one_thread()
    main()
