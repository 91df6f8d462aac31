"""Fingerprints: equal for equal content alone, and every difference is named."""

import dataclasses
import pathlib
import time

import numpy as np
import pytest

from tfrec import types
from tfrec.data import identity
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError

SPEC = types.DataSpec(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("watch", "amount", "seconds", 2.5),
    ),
    num_items=3,
    num_users=2,
    history_length=4,
    max_steps=6,
)
CLICK, WATCH = "click (binary, clicks, scale 1.0)", "watch (amount, seconds, scale 2.5)"
SPLIT = {"split": "user", "seed": 7, "test_fraction": 0.2}


def ids(*raw):
    return vocabulary_lib.Ids(np.array(raw))


def origin(path="runs/world", items=("lamp", "mug", "cup"), users=(1, 2), **fields):
    vocabulary = vocabulary_lib.Vocabulary(ids(*items), ids(*users))
    plain = {"spec": SPEC, "data": "aaaa", "split": SPLIT, "made": "fitted"}
    return identity.Origin(path, vocabulary, **{**plain, **fields})


def test_a_fingerprint_is_of_values():
    content = {"b": [1, 2.5, None], "a": np.arange(3, dtype=np.int64), "c": SPEC}
    fingerprint = identity.fingerprint(content)
    assert fingerprint == identity.fingerprint(dict(reversed(list(content.items()))))
    assert len(fingerprint) == 16
    for changed in (
        {**content, "b": [1, 2.5, 0]},
        {**content, "a": np.array([0, 2, 1])},
        {**content, "a": np.arange(3, dtype=np.int32)},
        {**content, "c": dataclasses.replace(SPEC, max_steps=7)},
    ):
        assert identity.fingerprint(changed) != fingerprint
    with pytest.raises(TypeError, match="no fingerprint of object"):
        identity.fingerprint([object()])
    with pytest.raises(TypeError, match="no fingerprint of ndarray"):
        identity.fingerprint(np.array(["a"], dtype=object))


def test_the_width_of_a_text_array_does_not_count():
    wide = np.array(["a", "bb", "a long one"])[:2]
    assert wide.dtype != np.array(["a", "bb"]).dtype
    assert identity.fingerprint(wide) == identity.fingerprint(np.array(["a", "bb"]))
    assert identity.fingerprint(wide) != identity.fingerprint(np.array(["ab", "b"]))


def test_variables_have_no_order():
    class Variable:
        def __init__(self, value):
            self.value = np.float32(value)

        def numpy(self):
            return self.value

    one, two = Variable([1, 2]), Variable([3])
    assert identity.of_variables([one, two]) == identity.of_variables([two, one])
    assert identity.of_variables([one, two]) != identity.of_variables([one, one])


def test_a_million_users_take_seconds():
    users = np.char.add("user ", np.arange(1_000_000).astype(str))
    began = time.process_time()
    identity.fingerprint(users)
    assert time.process_time() - began < 5


def test_the_same_ids_pass():
    identity.check(origin(), origin("runs/data", data="bbbb", split=None))
    identity.check(origin(), origin("runs/data"), same_split=True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"items": ("mug", "lamp", "cup")},
            "item ids differ: position 1 is 'lamp' in runs/world and 'mug' in runs/data",
        ),
        ({"items": ("lamp", "mug")}, "item ids differ: 3 in runs/world and 2 in runs/data"),
        ({"items": (7, 8, 9)}, "item ids are text in runs/world and numbers in runs/data"),
        ({"users": (1, 3)}, "user ids differ: position 2 is 2 in runs/world and 3 in"),
        (
            {"spec": dataclasses.replace(SPEC, max_steps=7)},
            "max_steps is 6 in runs/world and 7",
        ),
        (
            {"spec": dataclasses.replace(SPEC, feedback=SPEC.feedback[:1])},
            f"{CLICK}, {WATCH} in runs/world and {CLICK} in runs/data",
        ),
        (
            {"spec": dataclasses.replace(SPEC, feedback=SPEC.feedback[::-1])},
            f"{CLICK}, {WATCH} in runs/world and {WATCH}, {CLICK} in runs/data",
        ),
    ],
)
def test_what_differs_is_named(other, message):
    with pytest.raises(UserError) as error:
        identity.check(origin(remedy="run launch.fit_simulator"), origin("runs/data", **other))
    said = str(error.value)
    assert message in said
    assert "runs/world was fitted on another log, or on another preparation" in said
    assert "run launch.fit_simulator again with runs/data" in said


def test_the_fingerprints_are_named():
    one, other = origin(), origin("runs/data", items=("mug", "lamp", "cup"))
    prints = [identity.fingerprint(x.vocabulary.items) for x in (one, other)]
    with pytest.raises(UserError, match=f"items: {prints[0]} and {prints[1]}"):
        identity.check(one, other)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({**SPLIT, "seed": 8}, "seed is 7 in runs/world and 8 in runs/data"),
        ({**SPLIT, "max_users": 5}, "max_users is None in runs/world and 5 in runs/data"),
        (None, "runs/data does not record how its log was split"),
    ],
)
def test_another_split_is_rejected_where_it_counts(split, message):
    other = origin("runs/data", data="bbbb", split=split)
    identity.check(origin(), other)
    with pytest.raises(UserError) as error:
        identity.check(origin(), other, same_split=True)
    assert message in str(error.value) and "test users of runs/data" in str(error.value)


def test_a_split_that_was_not_recorded_is_known_by_the_content():
    identity.check(origin(split=None), origin("runs/data", split=None), same_split=True)
    unknown = origin(data="", split=None)
    with pytest.raises(UserError, match="runs/world does not record how"):
        identity.check(unknown, origin("runs/data"), same_split=True)
    with pytest.raises(UserError, match="does not record how"):
        identity.check(unknown, origin("runs/data", data="", split=None), same_split=True)


def test_inputs_are_compared_by_content():
    now = {"world": identity.Source("runs/world/", "1234")}
    before = identity.recorded({"world": identity.Source("/elsewhere/world", "1234")})
    assert identity.changes(before, now) == []
    before["world"]["fingerprint"] = "5678"
    assert identity.changes(before, now) == [
        "world: was /elsewhere/world with fingerprint 5678, is now runs/world/ with "
        "fingerprint 1234"
    ]
    before["world"]["path"] = "runs/world"
    assert identity.changes(before, now)[0].endswith("1234: it was replaced since")
    assert identity.changes({}, now) == [
        "world: was none, is now runs/world/ with fingerprint 1234"
    ]
    assert identity.changes(before, {})[0].endswith("is now none")
    assert "world: their fingerprints were not recorded" in identity.changes(None, now)[0]
    assert identity.changes(None, {}) == []


def test_a_manifest_and_its_files_belong_together():
    path = pathlib.Path("agent.json")
    saved = {"weights": "1234", "config": {"units": 4}}
    assert identity.verified(path, saved, {"weights": "1234", "ids": "ab"}, "") == {
        "weights": "1234", "config": {"units": 4}, "ids": "ab",
    }  # fmt: skip
    with pytest.raises(UserError, match="agent.json: damaged: .* weights is 1234, .* 5678"):
        identity.verified(path, saved, {"weights": "5678"}, "Train it again")
