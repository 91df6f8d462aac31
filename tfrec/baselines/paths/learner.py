"""Training of PGPR: epochs of the embeddings, then epochs of the policy on the best ones.

Both are validated by the lists of held-out users: in the first part by f(u, i) alone, in the
second by the items at the end of paths. Each part ends with the weights of its best epoch.

Axes: T triples, B triples or users of a batch, K negatives.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import types
from tfrec.baselines.paths import pgpr, policy, translations, walking_graph
from tfrec.baselines.paths.config import PgprKgConfig
from tfrec.data import identity
from tfrec.errors import UserError
from tfrec.ops import autodiff
from tfrec.training import epochs, finite, schedule

# Lists of (rows of the training events, their histories, length).
MakeLists = Callable[..., pgpr.Lists]

_ORDER, _NEGATIVES, _WALKS = 0, 1 << 10, 1 << 20  # apart from each other in seeds


def fit(
    config: PgprKgConfig,
    graph: walking_graph.WalkingGraph,
    validate: Callable[[MakeLists], float],
    directory: str | os.PathLike,
    seed: int,
    save_every: int,
    inputs: identity.Sources,
    extra: Mapping[str, Any],
) -> PathLearner:
    """Trains a model in a run's folder, or goes on with the run that is there.

    Args:
      config: of the model.
      graph: of the training events and the knowledge graph.
      validate: quality of lists, higher is better.
      directory: of the run: configuration, metrics, TensorBoard logs and checkpoints.
      seed: of weights, batches, negatives, dropout and paths.
      save_every: epochs between checkpoints.
      inputs: the log and the knowledge graph, by name.
      extra: further inputs that determine the result, e.g. the protocol.

    Returns:
      The learner; its model has the weights of the best epoch.

    Raises:
      UserError: if no user has a training event, or the folder holds another run.
      SystemExit: see `tfrec.training.loop.train`.
    """
    if not (graph.triples[:, 1] == walking_graph.INTERACTED).any():
        raise UserError("no user has a training event; expected a log with some")

    def build() -> PathLearner:
        return PathLearner(pgpr.PathModel(config, graph, seed), graph, validate, seed)

    return epochs.fit(build, directory, seed, save_every, inputs, extra)


class PathLearner(epochs.EpochLearner):
    """Trains a model epoch by epoch; a `tfrec.training.loop.Learner`.

    Args:
      model: at its initial weights.
      graph: what it walks.
      validate: quality of lists for validation events, higher is better.
      seed: of batches, negatives, dropout and paths.
    """

    model: pgpr.PathModel

    def __init__(
        self,
        model: pgpr.PathModel,
        graph: walking_graph.WalkingGraph,
        validate: Callable[[MakeLists], float],
        seed: int,
    ):
        super().__init__(model)
        self._validate, self._seed = validate, seed
        config, parts = model.config, model.translations
        self._embeddings = (parts.node, parts.bias, parts.relation)
        self.embedding_optimizer = tf_keras.optimizers.Adagrad(
            config.embedding_rate,
            # The usual .1 for a loss that is a sum over the batch: with that of the mean, the
            # steps of a row that few triples hold would be tiny.
            initial_accumulator_value=0.1 / config.embedding_batch**2,
            epsilon=1e-12,
            jit_compile=False,
        )
        self.embedding_optimizer.build(self._embeddings)
        self.optimizer = tf_keras.optimizers.Adam(config.learning_rate, jit_compile=False)
        self.optimizer.build(model.policy.trainable_variables)
        # Constants of the graph code: they follow from the inputs, and no checkpoint has them.
        self._triples = graph.triples
        self._tails = translations.tails_of(graph.triples, graph.sizes.items)
        degree = np.diff(graph.offsets)[graph.sizes.first_user :]
        self._users = model.nodes_of(np.flatnonzero(degree))
        self._embedding_names = ["loss", *finite.gradient_names(self._embeddings)]
        self._policy_names = ["actor loss", "critic loss", "reward"]
        self._policy_names += finite.gradient_names(model.policy.trainable_variables)

    def weights_of_model(self) -> Sequence[tf.Variable]:
        model = self.model
        return (
            *model.translations.variables,
            *model.policy.variables,
            model.edges.score,
        )

    @property
    def total_iterations(self) -> int:
        config = self.model.config
        return config.embedding_epochs + config.epochs

    @property
    def embedding(self) -> bool:
        """Whether the embeddings are still being trained."""
        return int(self.iteration) < self.model.config.embedding_epochs

    @property
    def finished(self) -> bool:
        return not self.embedding and super().finished

    def advance(self) -> dict[str, float]:
        """One epoch of the embeddings or of the policy, and a validation if it is due.

        Raises:
          NonFiniteError: if a loss or gradient is not finite.
        """
        return self._embedding_epoch() if self.embedding else self._policy_epoch()

    def _embedding_epoch(self) -> dict[str, float]:
        config, epoch = self.model.config, int(self.iteration)
        order = self._shuffled(len(self._triples), epoch)
        steps = -(-len(order) // config.embedding_batch)
        report, bad, batch = self._embed(
            tf.constant(steps), tf.constant(order), types.seed_pair(self._seed, epoch)
        )
        finite.check(self._embedding_names, bad, {"triples": batch})
        self.iteration.assign_add(1)
        results = {name: float(value) for name, value in report.items()}
        results |= self._validated(walk=False, last=not self.embedding)
        if not self.embedding:  # the policy begins on the best embeddings
            self.use_best()
            self.model.score_edges()
            self.best_score.assign(-1.0)
            self.best_epoch.assign(self.iteration)
        return results

    def _policy_epoch(self) -> dict[str, float]:
        config = self.model.config
        epoch = int(self.iteration) - config.embedding_epochs
        self.optimizer.learning_rate.assign(config.learning_rate * (1 - epoch / config.epochs))
        order = self._shuffled(len(self._users), int(self.iteration))
        steps = -(-len(order) // config.batch)
        report, bad, batch = self._walk(
            tf.constant(steps),
            tf.constant(self._users[order]),
            types.seed_pair(self._seed, int(self.iteration)),
        )
        finite.check(self._policy_names, bad, {"users": batch})
        self.iteration.assign_add(1)
        results = {name: float(value) for name, value in report.items()}
        return results | self._validated(walk=True)

    def _validated(self, walk: bool, last: bool = False) -> dict[str, float]:
        lists = functools.partial(self.model.lists, walk=walk)
        return self.validated(lambda: self._validate(lists), last)

    def _shuffled(self, count: int, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, epoch, _ORDER])
        return rng.permutation(count).astype(np.int32)

    @tf.function(autograph=False, reduce_retracing=True)
    def _embed(
        self, steps: tf.Tensor, order: tf.Tensor, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        return schedule.repeat(self._embedding_step, steps, order, seed)

    @tf.function(autograph=False, reduce_retracing=True)
    def _walk(
        self, steps: tf.Tensor, users: tf.Tensor, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        return schedule.repeat(self._policy_step, steps, users, seed)

    @tf.function(autograph=False)
    def _embedding_step(
        self, number: tf.Tensor, order: tf.Tensor, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """One step of Adagrad; its loss, the first bad tensor or -1, and its triples."""
        config, model = self.model.config, self.model.translations
        first = number * config.embedding_batch
        triples = tf.gather(self._triples, order[first : first + config.embedding_batch])
        negative = translations.drawn(
            self._tails.cumulative,
            self._tails.tail,
            triples[:, 1],
            config.negatives,
            _seed_of(seed, _NEGATIVES, number),
        )
        with tf.GradientTape() as tape:
            loss = model.loss(triples, negative)
        gradients = tape.gradient(loss, self._embeddings)
        checked = finite.named(self._embedding_names, [loss, *gradients])
        bad = finite.guarded(
            checked,
            lambda: autodiff.apply_gradients(
                self.embedding_optimizer, gradients, self._embeddings
            ),
        )
        return {"embedding_loss": loss}, bad, triples

    @tf.function(autograph=False)
    def _policy_step(
        self, number: tf.Tensor, users: tf.Tensor, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """One step of Adam; its numbers, the first bad tensor or -1, and its users."""
        config, model = self.model.config, self.model
        variables = model.policy.trainable_variables
        first = number * config.batch
        user = users[first : first + config.batch]
        with tf.GradientTape() as tape:
            walked = model.rollouts(user, _seed_of(seed, _WALKS, number))
            actor, critic, loss = policy.policy_loss(
                walked.log_prob,
                walked.entropy,
                walked.value,
                walked.reward,
                config.discount,
                config.entropy_weight,
            )
        gradients = tape.gradient(loss, variables)
        reward = tf.reduce_mean(walked.reward)
        checked = finite.named(self._policy_names, [actor, critic, reward, *gradients])
        bad = finite.guarded(
            checked,
            lambda: autodiff.apply_gradients(self.optimizer, gradients, variables),
        )
        report = {
            "reward": reward,
            "rewarded": tf.reduce_mean(tf.cast(walked.reward > 0, tf.float32)),
            "entropy": tf.reduce_mean(walked.entropy),
            "actor_loss": actor,
            "critic_loss": critic,
        }
        return report, bad, user


def _seed_of(seed: tf.Tensor, part: int, number: tf.Tensor) -> tf.Tensor:
    """The seed of an update from that of its epoch, int32 [2]."""
    mixed = tf.random.experimental.stateless_fold_in(seed, part)
    return tf.random.experimental.stateless_fold_in(mixed, number)
