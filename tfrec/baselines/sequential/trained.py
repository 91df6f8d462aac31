"""Saved sequential models: they rank items for a history of raw ids, and play as policies."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, cast

import tensorflow as tf

from tfrec import options, types
from tfrec.baselines.sequential import batches, learner, methods
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.environments import contract
from tfrec.errors import UserError
from tfrec.methods import catalogue, registry, trained
from tfrec.nn import item_embedding
from tfrec.ops import selection

_SCRIPT = "`python -m launch.train_sequential`"


class TrainedSequence(trained.TrainedMethod):
    """A trained sequential model, with a separate format of its folder.

    Args:
      method: its name in `methods.METHODS`.
      model: with the weights that are saved.
      vocabulary: raw ids of the log.
      about: fingerprint of the log, protocol, seed and the like.
    """

    manifest = registry.SEQUENTIAL
    reads_feedback = False

    def __init__(
        self,
        method: str,
        model: learner.Model,
        vocabulary: vocabulary_lib.Vocabulary,
        about: Mapping[str, Any],
    ):
        # Events of the log are actions of the user of any kind.
        event = types.FeedbackColumn("event", "binary", "events")
        spec = types.DataSpec(
            (event,),
            len(vocabulary.items),
            len(vocabulary.users),
            model.config.length,
            1,
            item_features=_sizes(model),
        )
        super().__init__(method, model.config, _Scorer(model), spec, vocabulary, about)

    def with_items(self, change: catalogue.Catalogue) -> TrainedSequence:
        if methods.METHODS[self.method]().categories:
            raise UserError(
                f"{self.method} cannot rank other items than those of its log: it reads their "
                "categories"
            )
        model = _untrained(
            self.method, self.config, change.spec.num_items, change.spec.item_features
        )
        catalogue.transfer(self.weights(), cast(tf.Module, model), change)
        if change.features is not None:
            item_embedding.set_features(cast(tf.Module, model), change.features)
        about = self.about | change.about(self.fingerprint)
        return TrainedSequence(self.method, model, change.vocabulary, about)


class _Scorer:
    """A model behind the interface of a learner that has finished.

    Attributes:
      acting: the model.
    """

    def __init__(self, model: learner.Model):
        self.acting = model

    def scores(self, observation: types.Observation, blocked: tf.Tensor | None) -> tf.Tensor:
        """Scores of the catalogue in B states, float [B, N]. Graph code."""
        del blocked
        history = tf.convert_to_tensor(observation.history_item)
        inputs = batches.observed_inputs(history, self.acting.config.length)
        has_history = tf.reduce_any(history > 0, axis=1, keepdims=True)
        return tf.where(has_history, self.acting.scores_of(inputs), 0.0)

    def policy(self) -> contract.Policy:
        """The item with the highest score."""

        def policy(timestep: contract.Timestep) -> tf.Tensor:
            scores = self.scores(contract.history_of(timestep), timestep.blocked)
            return contract.action_of(selection.best_item(scores, timestep.blocked))

        return policy


def load(directory: str | pathlib.Path) -> TrainedSequence:
    """Opens the folder of a saved sequential model.

    Raises:
      UserError: if it is not one, or is damaged.
    """
    directory = pathlib.Path(directory)
    manifest = trained.read_manifest(
        directory / TrainedSequence.manifest, TrainedSequence.fields, _SCRIPT
    )
    name = manifest["method"]
    if name not in methods.METHODS:
        names = ", ".join(methods.METHODS)
        path = directory / TrainedSequence.manifest
        raise UserError(f"{path}: method is {name!r}; expected one of {names}")
    vocabulary = vocabulary_lib.load(directory)
    config = options.restored(methods.METHODS[name]().config, manifest["config"])
    spec = types.DataSpec.restored(manifest["spec"])
    model = _untrained(name, config, len(vocabulary.items), spec.item_features)
    agent = TrainedSequence(name, model, vocabulary, manifest["about"])
    agent.restore(directory, manifest)
    return agent


def _untrained(
    method: str, config: Any, num_items: int, sizes: types.FeatureSpec | None
) -> learner.Model:
    model = methods.METHODS[method]().build(config, num_items, 0)
    if sizes is not None:
        model.read_features(sizes)
    return model


def _sizes(model: learner.Model) -> types.FeatureSpec | None:
    """Sizes of the features that a model reads; None if it reads ids alone."""
    for part in model.submodules:
        if isinstance(part, item_embedding.FeatureEmbedding):
            return part.features
    return None
