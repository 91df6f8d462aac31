"""A model of one step of a user, from the window of events that a policy observes.

Given the state s of Deep Dyna-Q (the last H events) and an item a, it gives the click, the
reward, the exit and the further feedback, all in one bilinear head over the state tower:

    p(click | s, a),  E[reward | s, a],  p(exit | s, a, click),  feedback_k | s, a, click

(Peng et al., ACL 2018, section 3.3: user action, reward, termination.) It has no hidden state:
the next state is the window with the item and its feedback appended, so that a simulated step
can start from any state of a real session. The reward has a separate output, because the
reported reward may be late and differ from the click.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.baselines.network import StateItemNetwork

_CLICK, _REWARD, _AFTER = 0, 1, 2  # outputs; from 2 on those after a non-click, then a click


class Answer(NamedTuple):
    """What users did with an item.

    Attributes:
      feedback: float [B, F], raw units.
      reward: float [B], as reported to the learner.
      exited: bool [B].
    """

    feedback: tf.Tensor
    reward: tf.Tensor
    exited: tf.Tensor


class WindowUser(tf.Module):
    """A learned user, one step at a time. All methods are graph code.

    Args:
      spec: the log's spec.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
      sizes: of the state tower and the head, see `StateItemNetwork`.
    """

    def __init__(
        self, spec: types.DataSpec, item_vectors: np.ndarray, sizes: Mapping[str, Any]
    ):
        super().__init__(name="user")
        self.spec = spec
        # The exit and each further column: one output after a non-click, one after a click.
        outputs = _AFTER + 2 * len(spec.feedback)
        self.network = StateItemNetwork(spec, item_vectors, outputs=outputs, **sizes)

    def loss(
        self, observation: types.Observation, item: tf.Tensor, answer: Answer, seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Negative log likelihood of clicks, exits and flags; squared error of amounts.

        Args:
          observation: B states.
          item: int32 [B], what was shown.
          answer: what the users did.
          seed: int32 [2], draws the negatives of DIEN's auxiliary loss.

        Returns:
          The loss without the auxiliary one, and its parts to report: nats a step; and
          the auxiliary loss as `auxiliary`.
        """
        history = self.network.encode(observation)
        click, reward, after = self._outputs(history.state, item, answer.feedback[:, 0] > 0)
        left = tf.cast(answer.exited, tf.float32)
        parts = {
            "click": tf.reduce_mean(_nats(click, answer.feedback[:, 0])),
            "reward": 0.5 * tf.reduce_mean(tf.square(reward - answer.reward)),
            "exit": tf.reduce_mean(_nats(after[:, 0], left)),
        }
        further = tf.constant(0.0)
        for k, column in enumerate(self.spec.feedback[1:], start=1):
            raw = answer.feedback[:, k]
            if column.kind == "amount":
                error = after[:, k] - tf.math.log1p(tf.maximum(raw, 0.0) / column.scale)
                further += 0.5 * tf.reduce_mean(tf.square(error))
            else:
                further += tf.reduce_mean(_nats(after[:, k], raw))
        parts["further"] = further
        auxiliary = self.network.tower.auxiliary_loss(observation, history, seed)
        return tf.add_n(list(parts.values())), parts | {"auxiliary": auxiliary}

    def answer(
        self, observation: types.Observation, item: tf.Tensor, seed: tf.Tensor
    ) -> Answer:
        """Samples responses of B users; rewards and amounts are expectations."""
        columns = len(self.spec.feedback)
        uniform = tf.random.stateless_uniform([1 + columns, tf.shape(item)[0]], seed)
        state = self.network.encode(observation).state
        logit, reward = tf.unstack(self.network.values(state, item)[:, :_AFTER], axis=-1)
        clicked = uniform[0] < tf.sigmoid(logit)
        _, _, after = self._outputs(state, item, clicked)
        feedback = [tf.cast(clicked, tf.float32)]
        for k, column in enumerate(self.spec.feedback[1:], start=1):
            if column.kind == "amount":
                feedback.append(tf.math.expm1(tf.maximum(after[:, k], 0.0)) * column.scale)
            else:
                feedback.append(tf.cast(uniform[1 + k] < tf.sigmoid(after[:, k]), tf.float32))
        exited = uniform[1] < tf.sigmoid(after[:, 0])
        return Answer(tf.stack(feedback, axis=-1), reward, exited)

    def _outputs(
        self, state: tf.Tensor, item: tf.Tensor, clicked: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Click logit, reward, [B] each; exit logit and further columns by click [B, F]."""
        values = self.network.values(state, item)
        columns = len(self.spec.feedback)
        after = tf.reshape(values[:, _AFTER:], [-1, 2, columns])  # [B, click, F]
        after = tf.gather(after, tf.cast(clicked, tf.int32), axis=1, batch_dims=1)
        return values[:, _CLICK], values[:, _REWARD], after


def shifted(
    observation: types.Observation, item: tf.Tensor, feedback: tf.Tensor
) -> types.Observation:
    """The window one step on: item int32 [B] and its feedback [B, F] are its last event."""
    return observation._replace(
        history_item=tf.concat([observation.history_item[:, 1:], item[:, None]], axis=1),
        history_feedback=tf.concat(
            [observation.history_feedback[:, 1:], feedback[:, None]], axis=1
        ),
        step=observation.step + 1,
    )


def _nats(logit: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit)
