"""The graph of an exported policy: observation -> action, and nothing else.

TF-Agents' PolicySaver asks for reward, discount and step type with every request, which no
client of a trained policy has. One without memory looks at none of them.
"""

import tensorflow as tf
from tf_agents.policies import tf_policy
from tf_agents.trajectories import time_step

from tfrec import errors
from tfrec.serving import decoding


class PolicyModel:
    """Signatures over one greedy policy.

    Args:
      policy: of TF-Agents, without memory; it observes one float vector.

    Attributes:
      size: O, numbers in an observation.
      action: spec of an action, without the batch.
      chooses: whether there is `choose`: actions are vectors of D numbers.

    Raises:
      UserError: if it is another kind of policy.
    """

    def __init__(self, policy: tf_policy.TFPolicy):
        observation, self.action = policy.time_step_spec.observation, policy.action_spec
        if tf.nest.flatten(policy.policy_state_spec):
            raise errors.UserError(
                f"policy {policy.name!r} has a memory; only one without can be exported"
            )
        if (
            not isinstance(observation, tf.TypeSpec)
            or observation.shape.rank != 1
            or observation.dtype != tf.float32
        ):
            raise errors.UserError(
                f"policy {policy.name!r} observes {observation}; expected one float32 vector"
            )
        if not isinstance(self.action, tf.TypeSpec):
            raise errors.UserError(
                f"policy {policy.name!r} has {len(tf.nest.flatten(self.action))} actions in "
                "one; expected one tensor"
            )
        self._policy = policy
        self.size = observation.shape[0]
        self.chooses = self.action.shape.rank == 1 and self.action.dtype.is_floating

    def trackable(self) -> tf.Module:
        """The object to save: it owns every variable of the signatures."""
        root = tf.Module(name="policy")
        root.policy_variables = list(self._policy.variables())
        return root

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Concrete functions by signature name; `serving_default` is `act`."""
        # The widths are left open so that a wrong one meets our own message.
        observation = tf.TensorSpec([None, None], tf.float32, "observation")
        candidates = tf.TensorSpec([None, None, None], tf.float32, "candidates")
        # TF-Agents' own functions are not for AutoGraph either.
        act = tf.function(self.act, autograph=False).get_concrete_function(observation)
        found = {"serving_default": act, "act": act}
        if self.chooses:
            choose = tf.function(self.choose, autograph=False)
            found["choose"] = choose.get_concrete_function(observation, candidates)
        return found

    def act(self, observation: tf.Tensor) -> dict[str, tf.Tensor]:
        """The policy's action.

        Args:
          observation: float32 [B, O], finite.

        Returns:
          action: [B, ...] as the action spec says.
        """
        right = tf.debugging.assert_equal(
            tf.shape(observation)[1],
            self.size,
            f"observation must have {self.size} numbers a row",
        )
        observation = tf.ensure_shape(decoding.checked(observation, right), [None, self.size])
        observation = tf.debugging.assert_all_finite(observation, "observation must be finite")
        batch = tf.shape(observation)[0]
        now = time_step.TimeStep(
            tf.fill([batch], time_step.StepType.FIRST),
            tf.zeros([batch]),
            tf.ones([batch]),
            observation,
        )
        action = self._policy.action(now).action
        if action.dtype.is_floating:
            action = tf.debugging.assert_all_finite(
                action, "the action is not finite: is the observation far outside its range?"
            )
        return {"action": action}

    def choose(self, observation: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """The action, and candidates in the order of their inner product with it.

        Args:
          observation: float32 [B, O], finite.
          candidates: float32 [B, m, D], item vectors, finite.

        Returns:
          action: float32 [B, D].
          position: int32 [B, m], places in `candidates`, best first; of equal ones the
            first.
          score: float32 [B, m], inner products, in the order of `position`.
        """
        width = self.action.shape[0]
        shape = tf.shape(candidates)
        wanted = tf.stack([tf.shape(observation)[0], shape[1], width])
        candidates = decoding.checked(
            candidates,
            tf.debugging.assert_equal(
                shape,
                wanted,
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
