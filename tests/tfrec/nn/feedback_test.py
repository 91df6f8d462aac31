import math

import numpy as np
import tensorflow as tf

from tests.tfgoalrec import small
from tfrec.nn import feedback


def test_amounts_are_compressed_by_their_scale_and_flags_stay():
    flag, amount = small.SPEC.feedback
    assert (flag.kind, amount.kind) == ("binary", "amount")
    raw = tf.constant([[[1.0, 0.0], [0.0, 3.0 * amount.scale], [1.0, -1.0]]])
    expected = [[[1.0, 0.0], [0.0, math.log(4.0)], [1.0, 0.0]]]
    np.testing.assert_allclose(feedback.compressed(raw, small.SPEC), expected, rtol=1e-6)
