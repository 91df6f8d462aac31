"""Saved agents of methods that learn step by step from simulated users of a log.

    <agent>/online.json            method, configuration, spec, origin and fingerprints
            vocabulary_*.parquet   raw ids
            policy/                a SavedModel with `act`, which returns an item; it needs no
                                   code of this project

Such a policy returns one item and no scores. A ranked list is its item, then its item when the
first one may not be shown, and so on.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import tensorflow as tf

from tfrec import options, outputs, types, weights
from tfrec.data import identity, storage
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.environments import contract, worlds
from tfrec.errors import UserError
from tfrec.methods import trained
from tfrec.training import checkpoint

if TYPE_CHECKING:
    from tfrec.environments import log_users, users
    from tfrec.methods import online

_POLICY = "policy"


class OnlineAgent(trained.SavedAgent):
    """The greedy policy of a method that learned from simulated users of a log.

    Args:
      method: its name in the registry.
      config: the method's configuration, plain values.
      spec: the log's spec.
      vocabulary: raw ids.
      about: fingerprint of the data, seed and the like.
      policy: module with `act`, see `acting`, and `weights`, the variables that `act` reads.
    """

    manifest = "online.json"
    fields = ("method", "config", "spec", "about", "ids", "weights")
    decisive = ("method", "config", "ids", "weights")

    def __init__(
        self,
        method: str,
        config: Any,
        spec: types.DataSpec,
        vocabulary: vocabulary_lib.Vocabulary,
        about: Mapping[str, Any],
        policy: Any,
    ):
        self.method, self.config, self.spec = method, config, spec
        self.vocabulary, self.about = vocabulary, dict(about)
        self.named_goals = {"": np.zeros([0], np.float32)}
        self._policy = policy
        self._weights = tf.Module(name="weights")
        self._weights.read = list(policy.weights)

    def weights(self) -> tf.Module:
        return self._weights

    def policy(self, goal: Any = None) -> contract.Policy:
        """The greedy policy; the goal is not read."""
        del goal
        items = self.spec.num_candidates

        def act(timestep: contract.Timestep) -> tf.Tensor:
            history, blocked = contract.history_of(timestep), timestep.blocked
            if blocked is None:
                blocked = tf.zeros([tf.shape(history.step)[0], items], tf.bool)
            return contract.action_of(self._policy.act(*_events(history), blocked))

        return act

    def lists(
        self, observation: types.Observation, blocked: np.ndarray, k: int, goal: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Calls the policy repeatedly and blocks the items that it has returned.

        The scores are k, k - 1, ..., because the policy has none. See `SavedAgent.lists`.
        """
        self._reject_goal(goal)
        blocked = blocked.copy()
        rows, width = np.arange(len(blocked)), min(k, blocked.shape[1])
        item = np.zeros([len(blocked), width], np.int32)
        score = np.full([len(blocked), width], -np.inf, np.float32)
        for place in range(width):
            any_allowed = ~blocked.all(axis=1)
            action = np.asarray(self._policy.act(*_events(observation), tf.constant(blocked)))
            item[any_allowed, place] = action[any_allowed]
            score[any_allowed, place] = k - place
            blocked[rows[any_allowed], action[any_allowed] - 1] = True
        return item, score

    def save(self, directory: str | pathlib.Path) -> None:
        directory = pathlib.Path(directory)
        named = checkpoint.named_variables(self._weights).items()
        weights.check(named, f"{directory}: not written")
        manifest = {**self.description(), **self.contents()}
        with outputs.replacing_folder(directory) as partial:
            self.vocabulary.save(partial)
            tf.saved_model.save(self._policy, str(partial / _POLICY))
            (partial / self.manifest).write_text(json.dumps(manifest, indent=2) + "\n")


def _events(observation: types.Observation) -> tuple[Any, Any, Any]:
    """The parts of an observation that these policies read: no features of users."""
    return observation.history_item, observation.history_feedback, observation.step


def of(
    name: str, config: Any, method: online.Method, simulator: log_users.LogUsers, seed: int
) -> OnlineAgent:
    """Makes the agent of a trained method.

    Args:
      name: name of the method in the registry.
      config: its configuration.
      method: the trained method.
      simulator: the users of its training.
      seed: seed of its training.
    """
    data = simulator.data
    about = worlds.about(data, simulator.inputs()) | {"seed": seed}
    about |= {storage.UNTRAINED: data.num_untrained_items}
    spec = data.spec.ids_alone  # these methods read no features
    policy = acting(method, simulator, spec)
    return OnlineAgent(name, options.resolved(config), spec, data.vocabulary, about, policy)


def acting(
    method: online.Method, simulator: users.UserEnvironment, spec: types.DataSpec
) -> tf.Module:
    """The greedy policy as a module to be saved.

    Returns:
      A module with `act(history_item, history_feedback, step, blocked)`: int32 [B, H], float32
      [B, H, F], int32 [B] and bool [B, A] to dense item ids, int32 [B]; and `weights`, the
      variables that it reads: no replay, no optimiser.
    """
    length, columns = spec.history_length, len(spec.feedback)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, length], tf.int32, "history_item"),
            tf.TensorSpec([None, length, columns], tf.float32, "history_feedback"),
            tf.TensorSpec([None], tf.int32, "step"),
            tf.TensorSpec([None, spec.num_candidates], tf.bool, "blocked"),
        ],
        autograph=False,
    )
    def act(history_item, history_feedback, step, blocked):
        history = types.Observation(history_item, history_feedback, step)
        seed = tf.zeros([2], tf.int32)  # a greedy policy does not draw
        return contract.item_of(method.greedy(simulator.timestep(history, blocked, seed)))

    policy = tf.Module(name="policy")
    policy.act = act
    policy.weights = variables_in_order(act.get_concrete_function())
    return policy


def variables_in_order(function: Any) -> list[tf.Variable]:
    """The variables of a traced function, in the order in which it reads them.

    TensorFlow's `function.variables` is in the order of a set of objects, which differs between
    processes; fingerprints of equal agents must not.

    Args:
      function: a concrete function.
    """
    by_handle = {id(variable.handle): variable for variable in function.variables}
    handles = [id(tensor) for tensor in function.captured_inputs]
    return [by_handle[handle] for handle in handles if handle in by_handle]


def load(directory: str | pathlib.Path) -> OnlineAgent:
    """Opens an agent's folder.

    Raises:
      UserError: if it is no such folder, or a file is absent or damaged.
    """
    directory = pathlib.Path(directory)
    path = directory / OnlineAgent.manifest
    writer = "`python -m launch.train --environment=users`"
    manifest = trained.read_manifest(path, OnlineAgent.fields, writer)
    try:
        policy = cast(Any, tf.saved_model.load(str(directory / _POLICY)))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"{directory / _POLICY}: cannot be read ({error})") from error
    agent = OnlineAgent(
        manifest["method"],
        manifest["config"],
        types.DataSpec.restored(manifest["spec"]),
        vocabulary_lib.load(directory),
        manifest["about"],
        policy,
    )
    verified = identity.verified(path, manifest, agent.contents(), "Train the agent again")
    agent.fingerprint = identity.fingerprint({n: verified[n] for n in agent.decisive})
    return agent
