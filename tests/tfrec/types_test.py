import json

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


def test_features_of_a_spec_survive_json_and_their_absence_leaves_no_key():
    spec = types.DataSpec(
        (types.FeedbackColumn("click", "binary", "clicks"),), 3, 2, 4, 5,
        item_features=types.FeatureSpec(values=7, slots=2, width=1),
        user_features=types.FeatureSpec(values=5, slots=2, missing=(1, 4)),
    )  # fmt: skip
    described = json.loads(json.dumps(spec.described()))
    assert described["item_features"] == {"values": 7, "slots": 2, "width": 1}
    assert described["user_features"]["missing"] == [1, 4]
    assert types.DataSpec.restored(described) == spec
    assert (spec.context_slots, spec.ids_alone.context_slots) == (2, 0)
    # As data and agents are described that declare no features, also those of before.
    alone = spec.ids_alone.described()
    assert not {"item_features", "user_features"} & set(alone)
    assert types.DataSpec.restored(alone) == spec.ids_alone


def test_rows_and_tensors_of_sessions_with_and_without_features():
    starts = types.Starts(np.array([1, 2]), np.eye(2), np.ones([2, 1, 1]))
    assert types.rows(starts, slice(1, None)).user.tolist() == [2]
    assert types.rows(starts, np.array([1, 1])).context_values == ()
    featured = starts._replace(context_values=np.array([[3], [4]], np.int32))
    assert types.constants(types.rows(featured, [1])).context_values.numpy().tolist() == [[4]]
    assert types.constants(starts).context_values == ()
    with pytest.raises(ValueError, match=r"context_values of Starts is \(\), but the spec"):
        types.context_values_of(starts)
