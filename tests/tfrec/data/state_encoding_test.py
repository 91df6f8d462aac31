"""Numbers of the features of users and contexts, worked out by hand."""

import datetime

import numpy as np
import polars as pl
import pytest

from tfrec import types
from tfrec.data import feature_encoding, identity, state_encoding, vocabulary
from tfrec.data.feature_schema import FeatureColumn
from tfrec.errors import UserError

HOUR = FeatureColumn(name="hour", kind="hour", utc_offset=5.5)
DAY = FeatureColumn(name="day", kind="weekday", utc_offset=5.5)
DEVICE = FeatureColumn(name="device")
COLUMNS = (DEVICE, HOUR, DAY)


def milliseconds(text):
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


# 2024-05-05 was a Sunday. Local time is UTC+5:30.
TIMES = np.array(
    [
        milliseconds("2024-05-05T18:29:59Z"),  # Sunday, 23:59:59
        milliseconds("2024-05-05T18:30:00Z"),  # Monday, 00:00
        milliseconds("1970-01-01T00:00:00Z"),  # Thursday, 05:30
    ]
)
LOG = pl.DataFrame({"": ["u1", "u2", "u3"], "device": ["phone", "phone", None]})
TABLE = state_encoding.context_table(COLUMNS, TIMES, LOG)
CONTEXT = feature_encoding.fit(COLUMNS, TABLE, "log.csv", "context")
# region: 1 missing, 2 rare, 3 north.
USER = feature_encoding.fit(
    [FeatureColumn(name="region")],
    pl.DataFrame({"user": [1, 2], "region": ["north", "north"]}),
    "users.csv",
    "user",
)
BOTH = state_encoding.StateEncoder(USER, CONTEXT)


def test_hours_and_weekdays_of_local_time():
    assert TABLE["hour"].to_list() == [23, 0, 5]
    assert TABLE["day"].to_list() == [6, 0, 3]


def test_numbers_of_contexts():
    # device: 1 missing, 2 rare, 3 phone; hour: 4 missing, 5 to 28; day: 29 missing, 30 to 36.
    assert CONTEXT.spec == types.FeatureSpec(values=36, slots=3, missing=(1, 4, 29))
    values = CONTEXT.encode(TABLE, "log.csv").values[1:]
    assert values.tolist() == [[3, 28, 36], [3, 5, 30], [1, 10, 33]]
    assert CONTEXT.names(values[0]) == ["device=phone", "hour=23", "day=6"]
    assert CONTEXT.names(np.array([1, 4, 29])) == [
        "device missing", "hour missing", "day missing",
    ]  # fmt: skip


def test_numbers_of_contexts_follow_those_of_users():
    assert BOTH.slots == 4
    north, phone = {"region": "north"}, {"device": "phone", "hour": 23}
    assert BOTH.encode_one(north, phone) == (3, 6, 31, 32)
    assert BOTH.encode_one(None, phone) == (1, 6, 31, 32)
    assert BOTH.encode_one(north) == (3, 4, 7, 32)
    assert BOTH.encode_one() == ()
    assert BOTH.encode_one(None, {"hour": None}) == BOTH.encode_one({}, {}) == (1, 4, 7, 32)
    assert state_encoding.StateEncoder(None, CONTEXT).encode_one(None, phone) == (3, 28, 29)
    users, contexts = np.array([[3], [1]], np.int32), np.array([[3, 5, 30], [0, 4, 29]])
    assert BOTH.joined(users, contexts).tolist() == [[3, 6, 8, 33], [1, 0, 7, 32]]
    assert BOTH.joined(user=users).tolist() == [[3, 4, 7, 32], [1, 4, 7, 32]]
    spec = types.DataSpec(
        (), 1, 1, 1, 1, user_features=USER.spec, context_features=CONTEXT.spec
    )
    assert spec.state_features == types.FeatureSpec(values=39, slots=4, missing=(1, 4, 7, 32))
    assert types.DataSpec.restored(spec.described()) == spec
    assert spec.ids_alone.state_features is None
    assert BOTH.of(spec) == BOTH
    assert BOTH.of(spec.ids_alone) == state_encoding.StateEncoder()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"hours": 3}, "context: 'hours' is not a column; there are device, hour, day"),
        ({"hour": 24}, "context: hour is 24; expected a whole number from 0 to 23"),
        ({"hour": -1}, "context: hour is -1; expected a whole number from 0 to 23"),
        ({"hour": 2.5}, "context: hour is 2.5; expected a whole number"),
        ({"hour": True}, "context: hour is True; expected a whole number"),
        ({"hour": "noon"}, "context: hour is 'noon'; expected a whole number"),
        ({"day": 7}, r"context: day is 7; expected a whole number from 0 to 6 \(0 is Monday\)"),
        ({"device": "x" * 10_001}, "context: device has a text of 10,001 characters"),
        ([3], r"context is \[3\]; expected a dict of column -> value"),
    ],
)
def test_a_bad_context_is_named(context, message):
    with pytest.raises(UserError, match=message):
        BOTH.encode_one(None, context)


def test_an_agent_that_reads_no_context():
    with pytest.raises(
        UserError, match="context is .*; expected none: the agent reads no cont"
    ):
        state_encoding.StateEncoder(USER).encode_one(None, {"hour": 3})


def test_what_is_saved_encodes_the_same(tmp_path):
    ids = vocabulary.Ids(np.arange(2))
    saved = vocabulary.Vocabulary(ids, ids, ids, None, USER, CONTEXT)
    saved.save(tmp_path)
    assert (tmp_path / "context_feature_values.json").exists()
    assert vocabulary.load(tmp_path).state_encoder == BOTH


def test_later_contexts_keep_their_values():
    later = LOG.with_columns(device=pl.Series(["tv", "tv", "phone"]))
    now = feature_encoding.fit(
        COLUMNS, state_encoding.context_table(COLUMNS, TIMES, later), "log.csv", "context"
    )
    # device: 1 missing, 2 rare, 3 tv, which the earlier ones had as rare.
    nearest = feature_encoding.nearest_values(CONTEXT, now)
    assert nearest.tolist() == [0, 1, 2, 2, *range(4, 37)]
    moved = [DEVICE, FeatureColumn(name="hour", kind="hour"), DAY]
    other = feature_encoding.fit(moved, TABLE, "log.csv", "context")
    with pytest.raises(
        ValueError, match="'hour': utc_offset is 5.5 and 0.0; expected the same"
    ):
        feature_encoding.nearest_values(CONTEXT, other)


def test_data_with_other_contexts_are_rejected():
    ids = vocabulary.Ids(np.arange(2))
    spec = types.DataSpec((), 2, 2, 1, 1, context_features=CONTEXT.spec)
    origins = [
        identity.Origin(path, vocabulary.Vocabulary(ids, ids, context_features=x), spec)
        for path, x in (("agent", CONTEXT), ("data", None))
    ]
    agent, data = identity.trained("agent", origins[0].vocabulary, spec, {}), origins[1]
    identity.check(agent, origins[0])
    with pytest.raises(UserError, match="agent was trained on other features of contexts than"):
        identity.check(agent, data)
