import numpy as np
import pytest

from tfrec import types


@pytest.mark.parametrize(
    ("seed", "number", "pair"),
    [
        (7, 3, [7, 3]),
        (7, -1, [7, -1]),
        (2**31 - 1, 0, [2**31 - 1, 0]),
        (2**31, 0, [-(2**31), 0]),
        (2**32 - 1, 0, [-1, 0]),
        (2**32, 1, [0, 1]),  # the seed after the largest one
    ],
)
def test_seed_pair_holds_every_seed(seed, number, pair):
    pair_tensor = types.seed_pair(seed, number)
    assert pair_tensor.dtype == "int32"
    np.testing.assert_array_equal(pair_tensor, pair)
