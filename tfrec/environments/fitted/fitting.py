"""Fits a user model to a log by maximum likelihood with early stopping.

The loss is the negative log-likelihood of the log at each step: the click, the further feedback
given the click, and the exit given the click. The model reads each session once with the logged
events (teacher forcing). Steps are not resampled, so probabilities need no correction.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
import rich.console
import rich.progress
import tensorflow as tf
import tf_keras

from tfrec import errors, types, weights
from tfrec.environments import user_models
from tfrec.environments.fitted import recurrent_model
from tfrec.ops import autodiff

_BUCKET = 16  # batches among which sessions are sorted by length, to save padding


def fit(
    episodes: types.Episodes,
    spec: types.DataSpec,
    config: recurrent_model.RecurrentModelConfig,
    seed: int,
    directory: str | os.PathLike | None = None,
    progress: bool = True,
) -> recurrent_model.RecurrentModel:
    """Fits a user model to logged sessions.

    Args:
      episodes: numpy arrays, the sessions of all users. Test users are excluded from the
        training of policies by the session starts, not by the user model.
      spec: the log's spec.
      config: sizes and training options.
      seed: seed of weights, order, dropout and held-out sessions. Equal seeds give equal
        weights on a CPU.
      directory: folder in which the model is saved; None to not save it.
      progress: whether to show a progress bar.

    Returns:
      The model with the weights of the epoch that was best on held-out sessions.

    Raises:
      UserError: if there are too few sessions to hold one out.
      NonFiniteWeightsError: if the loss stops being a finite number.
    """
    if config.repeats is None:
        config = dataclasses.replace(config, repeats=user_models.has_repeats(episodes))
    held_out = held_out_sessions(len(episodes.length), config.held_out_fraction, seed)
    model = recurrent_model.RecurrentModel(spec, config, seed)
    fitter = _Fitter(model, episodes)
    rng = np.random.default_rng([seed, 1])
    check = fitter.batches(np.flatnonzero(held_out))

    def run_epoch(epoch: int) -> tuple[float, float]:
        fitter.optimiser.learning_rate = annealed(
            config.learning_rate, epoch / config.max_epochs
        )
        batches = fitter.batches(np.flatnonzero(~held_out), rng)
        train_loss = fitter.epoch(batches, types.seed_pair(seed, epoch)).numpy()
        return train_loss, fitter.evaluate(check).numpy().sum()

    keep_best_epoch(
        model.trainable_variables,
        run_epoch,
        config.max_epochs,
        config.patience,
        config.learning_rate,
        progress,
    )
    if directory is not None:
        model.save(directory)
    return model


def keep_best_epoch(
    variables: Sequence[tf.Variable],
    run_epoch: Callable[[int], tuple[float, float]],
    max_epochs: int,
    patience: int,
    learning_rate: float,
    progress: bool,
    title: str = "fitting users",
) -> float:
    """Trains with early stopping; the variables end with their values of the best epoch.

    Args:
      variables: the variables that are trained.
      run_epoch: epoch -> its mean training loss and the held-out loss after it.
      max_epochs: epochs at most.
      patience: epochs without a better held-out loss before stopping.
      learning_rate: the first one, for the message.
      progress: whether to show a progress bar.
      title: of the progress bar.

    Returns:
      The held-out loss of the best epoch.

    Raises:
      NonFiniteWeightsError: if the held-out loss stops being a finite number.
    """
    best, best_loss, best_epoch = [v.numpy() for v in variables], float(np.inf), 0
    columns = rich.progress.Progress.get_default_columns()
    console = rich.console.Console()
    hidden = not progress or console.is_jupyter  # a bar in a notebook needs ipywidgets
    with rich.progress.Progress(
        *columns, "{task.fields[loss]}", console=console, disable=hidden
    ) as bar:
        task = bar.add_task(title, total=max_epochs, loss="")
        for epoch in range(max_epochs):
            train_loss, loss = run_epoch(epoch)
            bar.update(task, advance=1, loss=f"loss {train_loss:.4f}, held out {loss:.4f}")
            if not np.isfinite(loss):
                raise weights.NonFiniteWeightsError(
                    f"the user model's loss on held-out sessions is {loss} after epoch "
                    f"{epoch + 1}: fitting has diverged; expected a learning_rate below "
                    f"{learning_rate}"
                )
            if loss < best_loss:
                best, best_loss, best_epoch = [v.numpy() for v in variables], loss, epoch
            elif epoch - best_epoch >= patience:
                break
        bar.update(task, completed=max_epochs)
    for variable, value in zip(variables, best, strict=True):
        variable.assign(value)
    return best_loss


def adam(
    variables: Sequence[tf.Variable], learning_rate: float, weight_decay: float
) -> tf_keras.optimizers.Optimizer:
    """AdamW of a user model, built.

    Args:
      variables: the variables that are trained; biases and spreads do not decay.
      learning_rate: the first one.
      weight_decay: a step multiplies weights by 1 - learning rate x this.
    """
    # Clipping limits the effect of outliers among the logged amounts.
    optimiser = tf_keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, global_clipnorm=5.0
    )
    optimiser.exclude_from_weight_decay(var_names=["bias", "log_spread"])
    optimiser.build(variables)
    return optimiser


def annealed(learning_rate: float, progress: float) -> float:
    """A learning rate that falls exponentially to a tenth of its first value.

    Args:
      learning_rate: the first value.
      progress: share of the training that is done, 0 to 1.
    """
    return learning_rate * 0.1**progress


def held_out_sessions(sessions: int, fraction: float, seed: int) -> np.ndarray:
    """Mask of the sessions that `fit` holds out, bool [sessions].

    Raises:
      UserError: if either side of the split would be empty.
    """
    count = max(1, round(fraction * sessions))
    if fraction <= 0.0 or count >= sessions:
        raise errors.UserError(
            f"{sessions} sessions cannot be split into fitted and held-out ones with "
            f"held_out_fraction={fraction}; give a longer log or another fraction"
        )
    held_out = np.zeros(sessions, bool)
    held_out[np.random.default_rng([seed, 0]).permutation(sessions)[:count]] = True
    return held_out


def negative_log_likelihood(
    model: recurrent_model.RecurrentModel,
    episodes: types.Episodes,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Negative log-likelihood of each kind of response, in nats.

    Args:
      model: the user model.
      episodes: B sessions of T steps.
      seed: int32 [2], draws dropout; None for evaluation.

    Returns:
      float32 [L, F + 1] over the L real steps: one column per feedback, then the
      exit. An amount counts by the density of its logarithm.
    """
    prediction = model.predict(episodes, seed)
    given, feedback = prediction.given_click, prediction.feedback
    clicked = tf.cast(feedback[:, 0] > 0.0, tf.float32)
    nats = [tf.nn.sigmoid_cross_entropy_with_logits(clicked, prediction.click)]
    for k, (positive, log_mean) in enumerate(
        zip(given.positive, given.log_mean, strict=True), start=1
    ):
        happened = tf.cast(feedback[:, k] > 0.0, tf.float32)
        cost = tf.nn.sigmoid_cross_entropy_with_logits(happened, positive)
        if log_mean is not None:
            log_spread = tf.gather(model.log_spread[k], tf.cast(clicked, tf.int32))  # [L]
            scaled = feedback[:, k] / model.spec.feedback[k].scale
            log_amount = tf.math.log(tf.where(happened > 0.0, scaled, 1.0))
            error = (log_amount - log_mean) * tf.exp(-log_spread)
            cost += happened * (0.5 * error**2 + log_spread + 0.5 * np.log(2 * np.pi))
        nats.append(cost)
    exits = tf.cast(prediction.exited, tf.float32)
    nats.append(tf.nn.sigmoid_cross_entropy_with_logits(exits, given.exit))
    return tf.stack(nats, axis=-1)


def session_batches(
    sessions: np.ndarray, size: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Batches of sessions, shuffled if given a generator.

    Args:
      sessions: int [S], positions in the log.
      size: sessions of a batch.
      rng: shuffles sessions and batches.

    Returns:
      int32 [N, size]; -1 fills the last batch.
    """
    order = sessions if rng is None else rng.permutation(sessions)
    filled = np.pad(order, (0, -len(order) % size), constant_values=-1)
    plan = filled.reshape(-1, size).astype(np.int32)
    return plan if rng is None else rng.permutation(plan)


def take_sessions(log: types.Episodes, rows: tf.Tensor) -> types.Episodes:
    """The sessions of a batch, cut at its longest one; padding rows have no steps.

    Args:
      log: tensors.
      rows: int32 [B], positions in the log; -1 for padding.
    """
    batch = tf.nest.map_structure(lambda x: tf.gather(x, tf.maximum(rows, 0)), log)
    length = tf.where(rows >= 0, batch.length, 0)
    steps = tf.reduce_max(length)
    return batch._replace(
        item=batch.item[:, :steps], feedback=batch.feedback[:, :steps], length=length
    )


class _Fitter(tf.Module):
    """The model, its optimiser and the log, with whole epochs as one graph call."""

    def __init__(self, model: recurrent_model.RecurrentModel, episodes: types.Episodes):
        super().__init__()
        self.model = model
        self.lengths = np.asarray(episodes.length)
        self.log = types.constants(episodes)
        config = model.config
        self.optimiser = adam(
            model.trainable_variables, config.learning_rate, config.weight_decay
        )

    def batches(
        self, sessions: np.ndarray, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """See `session_batches`."""
        return session_batches(sessions, self.model.config.batch_size, rng)

    @tf.function(reduce_retracing=True)
    def epoch(self, batches: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """One optimiser step per batch; returns the mean loss in nats per step."""
        config, variables = self.model.config, self.model.trainable_variables
        total, steps = tf.constant(0.0), tf.constant(0.0)
        # Constant over batches, so that steps have equal weights.
        mean_steps = tf.constant(config.batch_size * self.lengths.mean(), tf.float32)
        for n in tf.range(tf.shape(batches)[0]):
            batch = take_sessions(self.log, batches[n])
            step_seed = tf.random.experimental.stateless_fold_in(seed, n)
            with tf.GradientTape() as tape:
                nats = tf.reduce_sum(negative_log_likelihood(self.model, batch, step_seed))
                user = tf.gather(self.model.user, batch.user)  # [B, U]
                penalty = tf.reduce_mean(tf.reduce_sum(user**2, axis=-1))
                loss = nats / mean_steps + config.user_penalty * penalty
            gradients = tape.gradient(loss, variables)
            autodiff.apply_gradients(self.optimiser, gradients, variables)
            total += nats
            steps += tf.cast(tf.reduce_sum(batch.length), tf.float32)
        return total / steps

    @tf.function(reduce_retracing=True)
    def evaluate(self, batches: tf.Tensor) -> tf.Tensor:
        """Mean negative log-likelihood of each feedback column and the exit, nats per step."""
        total, steps = tf.zeros([len(self.model.spec.feedback) + 1]), tf.constant(0.0)
        for n in tf.range(tf.shape(batches)[0]):
            batch = take_sessions(self.log, batches[n])
            total += tf.reduce_sum(negative_log_likelihood(self.model, batch), axis=0)
            steps += tf.cast(tf.reduce_sum(batch.length), tf.float32)
        return total / steps
