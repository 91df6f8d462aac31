"""A feature of the user that alone decides the click is learned from the log.

Users of two regions click the items of one parity each. A test user is new and has no history,
so only the region tells which items to rank first. The control is the same learner without
features: it gives both regions the same list, of which half is right.
"""

import dataclasses

import numpy as np
import pytest

from tests.learning import state_features
from tfrec import types

SPEC = dataclasses.replace(
    state_features.SPEC, user_features=types.FeatureSpec(values=3, slots=1, missing=(1,))
)

pytestmark = pytest.mark.slow


def share_right(name, **changes):
    region = np.isin(np.arange(state_features.SESSIONS) % 5, (0, 2, 4)).astype(int)
    log = state_features.planted(2 + region[:, None], region)
    new = np.arange(40) % 2
    return state_features.share_right(name, SPEC, log, 2 + new[:, None], new, **changes)


@pytest.mark.parametrize("name", ["goalrec", "dien", "wide_and_deep", "rainbow", "dyna_q"])
def test_the_region_decides_the_list(name):
    assert share_right(name) > 0.9


def test_without_features_half_of_the_list_is_right():
    assert share_right("dien", use_features=False) == 0.5
