"""The update of TD3, shared by the learner on a catalogue and the learner in simulators.

Their states and actions differ; the losses, the delayed actor and the soft updates are common,
on TF-Agents' Td3Agent. TF-Agents provides the roles of the six networks and the actor's loss.
These parts differ from it:

- The target's action comes from the caller: an item that users may be recommended, or an action
  within the bounds, as in the paper (TF-Agents lets noise move it out of them).
- The noise has a seed. TF-Agents uses an operation with state outside checkpoints.
- The target networks are updated only together with the actor, as in the paper.
"""

from collections.abc import Sequence

import tensorflow as tf
from tf_agents.agents.td3 import td3_agent
from tf_agents.trajectories import time_step

from tfrec.ops import target_networks, twin_critics


class SeededTd3Agent(td3_agent.Td3Agent):
    """TD3 with noise from seeds and a target action from the caller.

    Arguments are those of TF-Agents' `Td3Agent`, of which `target_policy_noise`,
    `target_policy_noise_clip`, `actor_update_period`, `target_update_tau` and
    `train_step_counter` decide the update. `train` is not used: the caller computes and applies
    the gradients of `critic_loss` and `actor_loss`, and then calls `finish_update`.
    """

    def smoothing_noise(self, shape: tf.Tensor | list, seed: tf.Tensor) -> tf.Tensor:
        """The clipped noise of the target's action, float [*shape]; seed int32 [2]."""
        return twin_critics.smoothing_noise(
            shape, self._target_policy_noise, self._target_policy_noise_clip, seed
        )

    def critic_loss(
        self,
        time_steps: time_step.TimeStep,
        actions: tf.Tensor,
        next_time_steps: time_step.TimeStep,
        weights: tf.Tensor | None = None,
        training: bool = False,
        *,
        next_actions: tf.Tensor,
    ) -> tf.Tensor:
        """The loss of both critics to the lower target; arguments as in TF-Agents.

        Args:
          time_steps: s, in `observation`, float [B, S].
          actions: a, float [B, D].
          next_time_steps: s', the reward of `actions` and the discount, float [B].
          weights: float [B].
          training: passed to the critics.
          next_actions: a' with its noise, float [B, D], at which the targets value s'.
        """
        following = (next_time_steps.observation, next_actions)
        target = twin_critics.clipped_double_q_target(
            next_time_steps.reward,
            next_time_steps.discount,
            self._target_critic_network_1(following)[0],
            self._target_critic_network_2(following)[0],
        )
        present = (time_steps.observation, actions)
        first, _ = self._critic_network_1(present, training=training)
        second, _ = self._critic_network_2(present, training=training)
        return twin_critics.twin_critic_loss(target, first, second, weights)

    def is_actor_due(self) -> tf.Tensor:
        """Whether this update moves the actor and the target networks, bool scalar."""
        return self.train_step_counter % self._actor_update_period == 0

    def finish_update(
        self, target: Sequence[tf.Variable], online: Sequence[tf.Variable]
    ) -> None:
        """Moves the target networks where the actor moved, and counts the update. Graph code.

        Args:
          target: variables of the target networks.
          online: variables of the networks that learn, in the same order.
        """

        def move_targets() -> tf.Tensor:
            target_networks.soft_update(target, online, self._target_update_tau)
            return tf.constant(True)

        tf.cond(self.is_actor_due(), move_targets, lambda: tf.constant(False))
        self.train_step_counter.assign_add(1)
