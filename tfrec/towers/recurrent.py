"""GRU and AUGRU over a whole sequence, with the input half computed in one product.

A stock Keras GRU multiplies input and state at every step. Here the input product of
all steps is one matrix product before the loop, and only the state's product is left
inside it.
"""

import tensorflow as tf


class GatedRecurrence(tf.Module):
    """A GRU whose update gate can be scaled by an attention weight (AUGRU).

        u_t = sigmoid(W_u x_t + U_u h + b_u)      u~_t = a_t u_t
        r_t = sigmoid(W_r x_t + U_r h + b_r)
        c_t = tanh(W_c x_t + r_t * (U_c h + d_c) + b_c)
        h'  = (1 - u~_t) h + u~_t c_t             (DIEN eqs 3-4, 15-16)

    Masked steps leave the state as it is.

    Args:
      input_size: width of x.
      units: width of h.
      name: name of the module.
    """

    def __init__(self, input_size: int, units: int, name: str):
        super().__init__(name=name)
        self.units = units
        glorot = tf.keras.initializers.GlorotUniform()
        self.kernel = tf.Variable(glorot([input_size, 3 * units]), name="kernel")
        self.recurrent = tf.Variable(
            tf.concat(
                # One initializer for each gate: an unseeded one repeats itself.
                [tf.keras.initializers.Orthogonal()([units, units]) for _ in range(3)],
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
        """Runs over the sequence.

        Args:
          x: float [B, T, X].
          mask: float [B, T], 0 at padding.
          attention: float [B, T], a_t; None for a plain GRU.
          initial: float [B, U]; zeros if None.

        Returns:
          float [B, T, U], the state after every step.
        """
        units = self.units
        projected = tf.einsum("btx,xu->tbu", x, self.kernel) + self.bias  # [T, B, 3U]
        gate = mask if attention is None else mask * attention
        gate = tf.transpose(gate)[..., None]  # [T, B, 1]
        if initial is None:
            initial = tf.zeros([tf.shape(x)[0], units])

        def step(h: tf.Tensor, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            at_t, gate_t = inputs
            recurrent = tf.matmul(h, self.recurrent) + self.recurrent_bias  # [B, 3U]
            gates = tf.sigmoid(at_t[:, : 2 * units] + recurrent[:, : 2 * units])
            update, reset = gates[:, :units] * gate_t, gates[:, units:]
            candidate = tf.tanh(at_t[:, 2 * units :] + reset * recurrent[:, 2 * units :])
            return h + update * (candidate - h)

        steps = x.shape[1]
        if steps is None:
            states = tf.scan(step, (projected, gate), initializer=initial)  # [T, B, U]
            return tf.transpose(states, [1, 0, 2])
        # A window has a fixed, short length: an unrolled loop has no per-step overhead.
        h, states = initial, []
        for at_t, gate_t in zip(tf.unstack(projected, steps), tf.unstack(gate, steps), strict=True):
            h = step(h, (at_t, gate_t))
            states.append(h)
        return tf.stack(states, axis=1)  # [B, T, U]
