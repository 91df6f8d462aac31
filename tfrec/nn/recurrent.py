"""GRU and AUGRU over complete sequences, with products of all steps outside the loop.

The Keras GRU multiplies input and state at every step, and its gradient consists of many small
operations. Here the inputs of all steps are projected before the loop, and the gradient is
explicit: only operations that depend on the previous step remain inside the two loops.
"""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

from tfrec.ops import autodiff


class GatedRecurrence(tf.Module):
    """A GRU whose update gate can be scaled by an attention weight (AUGRU).

        u_t = sigmoid(W_u x_t + U_u h + b_u)      u~_t = a_t u_t
        r_t = sigmoid(W_r x_t + U_r h + b_r)
        c_t = tanh(W_c x_t + r_t * (U_c h + d_c) + b_c)
        h'  = (1 - u~_t) h + u~_t c_t             (DIEN eqs 3-4, 15-16)

    Masked steps do not change the state.

    Args:
      input_size: width of x.
      units: width of h.
      name: name of the module.
    """

    def __init__(self, input_size: int, units: int, name: str):
        super().__init__(name=name)
        self.units = units
        glorot = tf_keras.initializers.GlorotUniform()
        self.kernel = tf.Variable(glorot([input_size, 3 * units]), name="kernel")
        self.recurrent = tf.Variable(
            tf.concat(
                # One initializer for each gate: an unseeded one repeats itself.
                [tf_keras.initializers.Orthogonal()([units, units]) for _ in range(3)],
                axis=1,
            ),
            name="recurrent",
        )
        self.bias = tf.Variable(tf.zeros([3 * units]), name="bias")
        self.recurrent_bias = tf.Variable(tf.zeros([3 * units]), name="recurrent_bias")

    def __call__(
        self,
        x: tf.Tensor,
        mask: tf.Tensor,
        attention: tf.Tensor | None = None,
        initial: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The state after every step, float [B, T, U]; arguments as in `run`."""
        return self.run(x, mask, attention, initial)[0]

    def run(
        self,
        x: tf.Tensor,
        mask: tf.Tensor,
        attention: tf.Tensor | None = None,
        initial: tf.Tensor | None = None,
        time_major: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs over the sequence.

        Args:
          x: float [B, T, X].
          mask: float [B, T], 0 at padding.
          attention: float [B, T], a_t; None for a plain GRU.
          initial: float [B, U]; zeros if None.
          time_major: whether x, mask, attention and the states have T before B, which saves two
            transpositions in each direction.

        Returns:
          The state after every step, float [B, T, U], and after the last, [B, U]. Slicing the
          last state out of all states would compute a gradient for all of them.
        """
        units, width = self.units, x.shape[-1]
        gate = mask if attention is None else mask * attention
        if not time_major:
            x, gate = tf.transpose(x, [1, 0, 2]), tf.transpose(gate)
        steps, batch = x.shape[0] or tf.shape(x)[0], tf.shape(x)[1]
        flat = tf.reshape(x, [-1, width])  # [T * B, X]
        update, reset, candidate = (
            tf.reshape(tf.nn.bias_add(tf.matmul(flat, kernel), bias), [steps, batch, units])
            for kernel, bias in zip(
                tf.split(self.kernel, 3, axis=1), self._input_bias(), strict=True
            )
        )
        if initial is None:
            initial = tf.zeros([batch, units])
        weights = tf.split(self.recurrent, 3, axis=1)  # U_u, U_r, U_c, each [U, U]
        bias = self.recurrent_bias[2 * units :]
        states, last = _recur(
            update, reset, candidate, gate[..., None], *weights, bias, initial
        )
        return states if time_major else tf.transpose(states, [1, 0, 2]), last

    def _input_bias(self) -> list[tf.Tensor]:
        """Bias of the input product of each gate, without d_c; [U] each."""
        units = self.units
        outside = tf.concat([self.recurrent_bias[: 2 * units], tf.zeros([units])], axis=0)
        return tf.split(self.bias + outside, 3)


@autodiff.custom_gradient
def _recur(
    x_update: tf.Tensor,
    x_reset: tf.Tensor,
    x_candidate: tf.Tensor,
    gate: tf.Tensor,
    w_update: tf.Tensor,
    w_reset: tf.Tensor,
    w_candidate: tf.Tensor,
    bias: tf.Tensor,
    initial: tf.Tensor,
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[tf.Tensor, ...]]]:
    """The recurrence, time first, and its gradient.

    The three gates are separate tensors, because slicing one wide product at every step costs
    more than three narrow products.

    Args:
      x_update: W_u x_t + b_u, float [T, B, U].
      x_reset: W_r x_t + b_r.
      x_candidate: W_c x_t + b_c.
      gate: a_t, 0 at padding, float [T, B, 1].
      w_update: U_u, float [U, U].
      w_reset: U_r.
      w_candidate: U_c.
      bias: d_c, float [U].
      initial: float [B, U].

    Returns:
      All states [T, B, U] and the last [B, U]; and the gradient.
    """

    def step(t, h, *arrays):
        update = tf.sigmoid(x_update[t] + tf.matmul(h, w_update))
        reset = tf.sigmoid(x_reset[t] + tf.matmul(h, w_reset))
        inner = tf.nn.bias_add(tf.matmul(h, w_candidate), bias)
        candidate = tf.tanh(x_candidate[t] + reset * inner)
        h = h + update * gate[t] * (candidate - h)
        values = (h, update, reset, candidate, inner)
        return t + 1, h, *(array.write(t, x) for array, x in zip(arrays, values, strict=True))

    last, states, update, reset, candidate, inner = _loop(step, x_update, initial, 5)

    def gradient(d_states: tf.Tensor, d_last: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Every pre-activation's gradient is dL/dh' times a factor that does not depend on
        # it, so the factors of all steps are computed at once, [T, B, U] each.
        previous = tf.concat([initial[None], states[:-1]], axis=0)
        change = candidate - previous
        by_candidate = tf.raw_ops.TanhGrad(y=candidate, dy=update * gate)
        by_update = tf.raw_ops.SigmoidGrad(y=update, dy=change * gate)
        by_reset = tf.raw_ops.SigmoidGrad(y=reset, dy=by_candidate * inner)
        by_inner = by_candidate * reset
        keep = 1.0 - update * gate
        back_update, back_reset, back_inner = map(
            tf.transpose, (w_update, w_reset, w_candidate)
        )

        def step_back(i, dh, gradients):
            t = tf.shape(states)[0] - 1 - i
            dh = dh + d_states[t]
            gradients = gradients.write(t, dh)
            dh = tf.add_n(
                [
                    dh * keep[t],
                    tf.matmul(dh * by_update[t], back_update),
                    tf.matmul(dh * by_reset[t], back_reset),
                    tf.matmul(dh * by_inner[t], back_inner),
                ]
            )
            return i + 1, dh, gradients

        d_initial, dh = _loop(step_back, d_states, d_last, 1)
        d_update, d_reset, d_inner = dh * by_update, dh * by_reset, dh * by_inner
        return (
            d_update,
            d_reset,
            dh * by_candidate,
            tf.reduce_sum(dh * change * update, axis=-1, keepdims=True),
            *(_product(previous, d) for d in (d_update, d_reset, d_inner)),
            tf.reduce_sum(d_inner, axis=[0, 1]),
            d_initial,
        )

    return (states, last), gradient


def _loop(
    step: Callable[..., tuple], like: tf.Tensor, start: tf.Tensor, outputs: int
) -> list[tf.Tensor]:
    """Runs `step` over the first axis of `like` [T, B, U].

    Args:
      step: (i, state, *arrays) -> the same for i + 1.
      like: tensor with T and the shape of the outputs.
      start: float [B, U].
      outputs: number of arrays of T x [B, U] that the steps write.

    Returns:
      The last state, and the outputs, [T, B, U] each.
    """
    steps = like.shape[0] or tf.shape(like)[0]
    arrays = [
        tf.TensorArray(tf.float32, steps, element_shape=like.shape[1:]) for _ in range(outputs)
    ]
    _, state, *arrays = tf.while_loop(
        lambda i, *_: i < steps,
        step,
        (0, start, *arrays),
        maximum_iterations=steps,
        parallel_iterations=1,  # each step depends on the previous one
    )
    return [state, *(array.stack() for array in arrays)]


def _product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The sum over steps and batch of a^T b, float [U, V]."""
    flat = (tf.reshape(x, [-1, x.shape[-1]]) for x in (a, b))
    return tf.matmul(*flat, transpose_a=True)
