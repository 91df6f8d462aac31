"""The graph of an exported policy, from observation to action.

TF-Agents' PolicySaver needs reward, discount and step type with every request, which clients of
a trained policy do not have. Policies without state do not depend on them.
"""

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tf_agents.policies import tf_policy
from tf_agents.trajectories import policy_step, time_step

from tfrec import errors, model_path, weights
from tfrec.data import identity
from tfrec.serving import decoding


class PolicyModel:
    """Signatures over one greedy policy.

    Args:
      policy: policy of TF-Agents without state, which observes one float vector, or float
        tensors by name.

    Attributes:
      inputs: specs of the observations by name, without the batch; a single vector is
        `observation`.
      action: spec of an action, without the batch.
      chooses: whether the model has `choose`: for observations of one vector and actions
        of D numbers.

    Raises:
      UserError: if the policy is of another kind.
    """

    def __init__(self, policy: tf_policy.TFPolicy):
        observation, self.action = policy.time_step_spec.observation, policy.action_spec
        if tf.nest.flatten(policy.policy_state_spec):
            raise errors.UserError(
                f"policy {policy.name!r} has a memory; only one without can be exported"
            )
        self._named = isinstance(observation, Mapping)
        self.inputs = dict(observation) if self._named else {"observation": observation}
        if not all(
            isinstance(spec, tf.TensorSpec)
            and spec.dtype == tf.float32
            and (self._named or spec.shape.rank == 1)
            for spec in self.inputs.values()
        ):
            raise errors.UserError(
                f"policy {policy.name!r} observes {observation}; expected one float32 vector, "
                "or float32 tensors by name"
            )
        if not isinstance(self.action, tf.TypeSpec):
            raise errors.UserError(
                f"policy {policy.name!r} has {len(tf.nest.flatten(self.action))} actions in "
                "one; expected one tensor"
            )
        self._policy = policy
        vector = self.action.shape.rank == 1 and self.action.dtype.is_floating
        self.chooses = vector and not self._named

    def trackable(self) -> tf.Module:
        """The object to save, which owns every variable of the signatures."""
        root = tf.Module(name="policy")
        root.policy_variables = list(self._policy.variables())
        return root

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Concrete functions by signature name; `serving_default` is `act`."""
        # The width of one vector is left open so that the graph's assertion reports a wrong
        # one.
        inputs = [
            tf.TensorSpec([None, *(spec.shape if self._named else [None])], tf.float32, name)
            for name, spec in self.inputs.items()
        ]
        # Functions of TF-Agents do not work with AutoGraph either.
        act = tf.function(self.act, autograph=False).get_concrete_function(*inputs)
        signatures = {"serving_default": act, "act": act}
        if self.chooses:
            candidates = tf.TensorSpec([None, None, None], tf.float32, "candidates")
            choose = tf.function(self.choose, autograph=False)
            signatures["choose"] = choose.get_concrete_function(*inputs, candidates)
        return signatures

    def act(self, *observed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The policy's action.

        Args:
          observed: float32 [B, ...], finite, in the order of `inputs`.

        Returns:
          action: [B, ...], in the form of the action spec.
        """
        batch = tf.shape(observed[0])[0]
        checked = {}
        for value, (name, spec) in zip(observed, self.inputs.items(), strict=True):
            checks = [
                tf.debugging.assert_equal(
                    tf.shape(value)[0], batch, f"{name} must have as many rows as the others"
                )
            ]
            if not self._named:
                message = f"{name} must have {spec.shape[0]} numbers a row"
                checks.append(
                    tf.debugging.assert_equal(tf.shape(value)[1], spec.shape[0], message)
                )
            value = tf.ensure_shape(decoding.checked(value, *checks), [None, *spec.shape])
            checked[name] = tf.debugging.assert_all_finite(value, f"{name} must be finite")
        step = time_step.TimeStep(
            tf.fill([batch], time_step.StepType.FIRST),
            tf.zeros([batch]),
            tf.ones([batch]),
            self.observation(checked),
        )
        action = self._policy.action(step).action
        if action.dtype.is_floating:
            action = tf.debugging.assert_all_finite(
                action, "the action is not finite: is the observation far outside its range?"
            )
        return {"action": action}

    def observation(self, values: Mapping[str, Any]) -> Any:
        """Converts values by name to the policy's observation."""
        return dict(values) if self._named else values["observation"]

    def choose(self, observation: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes the action and ranks candidates by their inner product with it.

        Args:
          observation: float32 [B, O], finite.
          candidates: float32 [B, m, D], item vectors, finite.

        Returns:
          `action`, float32 [B, D]; `position`, int32 [B, m], positions in `candidates`,
          best first, and of equal ones the first one first; and `score`, float32 [B, m], inner
          products, in the order of `position`.
        """
        width = self.action.shape[0]
        shape = tf.shape(candidates)
        expected_shape = tf.stack([tf.shape(observation)[0], shape[1], width])
        candidates = decoding.checked(
            candidates,
            tf.debugging.assert_equal(
                shape,
                expected_shape,
                f"candidates must have a row of vectors of {width} numbers for each "
                "observation",
            ),
            tf.debugging.assert_positive(shape[1], "candidates must hold at least one vector"),
        )
        candidates = tf.debugging.assert_all_finite(candidates, "candidates must be finite")
        action = self.act(observation)["action"]
        score = tf.einsum("bd,bmd->bm", action, candidates)
        score = tf.debugging.assert_all_finite(
            score, "candidates are too large: score overflow"
        )
        position = tf.argsort(score, axis=1, direction="DESCENDING", stable=True)
        return {
            "action": action,
            "position": position,
            "score": tf.gather(score, position, batch_dims=1),
        }


class SavedPolicy(tf_policy.TFPolicy):
    """The `act` of a SavedModel as a policy, e.g. of a model that `launch.train` wrote.

    Args:
      folder: the SavedModel; `act` takes float32 tensors [B, ...] and returns one tensor.

    Raises:
      UserError: if there is no such model, or a weight is not finite.
    """

    def __init__(self, folder: str | os.PathLike):
        try:
            with model_path.literal(folder) as path:
                self._saved = tf.saved_model.load(path)
            [self._act] = self._saved.act.concrete_functions
        except (OSError, AttributeError, ValueError) as error:
            raise errors.UserError(
                f"{folder}: no saved policy: expected a SavedModel with one `act`"
            ) from error
        weights.check(((v.name, v) for v in self._act.variables), os.fspath(folder))
        specs = [
            tf.TensorSpec(spec.shape[1:], spec.dtype, spec.name)
            for spec in self._act.structured_input_signature[0]
        ]
        self._names = [spec.name for spec in specs]
        alone = len(specs) == 1 and specs[0].shape.rank == 1
        named = dict(zip(self._names, specs, strict=True))
        answer = self._act.structured_outputs
        super().__init__(
            time_step.time_step_spec(specs[0] if alone else named),
            tf.TensorSpec(answer.shape[1:], answer.dtype, "action"),
            name=os.path.basename(os.fspath(folder)),
        )

        # Policies of TF-Agents collect variables from their attributes.
        self._saved_variables = list(self._act.variables)

    @property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        return identity.of_variables(self._saved_variables)

    def _variables(self) -> list[tf.Variable]:
        return self._saved_variables

    def _action(
        self, time_step: time_step.TimeStep, policy_state: Any, seed: Any
    ) -> policy_step.PolicyStep:
        observation = time_step.observation
        inputs = (
            [observation[name] for name in self._names]
            if isinstance(observation, dict)
            else [observation]
        )
        return policy_step.PolicyStep(self._saved.act(*inputs), policy_state, ())
