"""The hour of a session that alone decides the click is learned from the log.

Sessions before noon click the items of one parity, and later ones those of the other. A test
session has no history, so only its hour tells which items to rank first. The control is the
same learner without features: it gives every hour the same list, of which half is right.
"""

import dataclasses

import numpy as np
import polars as pl
import pytest

from tests.learning import state_features
from tfrec.data import feature_encoding, state_encoding
from tfrec.data.feature_schema import FeatureColumn

HOUR = FeatureColumn(name="hour", kind="hour", utc_offset=1)
MIDNIGHT_MS = 1_699_916_400_000  # of local time
# Two thirds of the sessions are before noon.
HOURS = np.random.default_rng(2).choice(
    24, state_features.SESSIONS, p=np.repeat([2 / 36, 1 / 36], 12)
)
START_MS = MIDNIGHT_MS + 3_600_000 * HOURS
TABLE = state_encoding.context_table(
    [HOUR], START_MS, pl.DataFrame({"": np.arange(len(START_MS))})
)
ENCODER = feature_encoding.fit([HOUR], TABLE, "log", "context")
# An hour has a twelfth of the sessions of a region in `user_features_test`.
LONGER = {"log_rounds": 10, "sessions_per_round": 60, "learning_rate": 1e-2}
SPEC = dataclasses.replace(state_features.SPEC, context_features=ENCODER.spec)

pytestmark = pytest.mark.slow


def share_right(name, **changes):
    values = ENCODER.encode(TABLE, "log").values[1:]
    log = state_features.planted(values, (HOURS < 12).astype(int))
    requests = [ENCODER.encode_one({"hour": hour}) for hour in range(24)]
    parity = (np.arange(24) < 12).astype(int)
    return state_features.share_right(
        name, SPEC, log, np.stack(requests), parity, **LONGER, **changes
    )


def test_hours_are_of_local_time():
    assert TABLE["hour"].to_list() == HOURS.tolist()


@pytest.mark.parametrize("name", ["goalrec", "dien", "wide_and_deep", "rainbow", "dyna_q"])
def test_the_hour_decides_the_list(name):
    assert share_right(name) > 0.9


def test_without_the_context_half_of_the_list_is_right():
    assert share_right("dien", use_features=False) == 0.5
