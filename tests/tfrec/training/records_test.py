"""Records of settings: written once, compared afterwards."""

import json

import pytest

from tfrec import options
from tfrec.errors import UserError
from tfrec.training import records


def keep(path, settings):
    return records.keep(
        path,
        settings,
        lambda saved: options.differences(saved, settings),
        "the folder holds cells with other settings",
        "Choose another folder",
    )


def test_the_first_call_writes_and_later_ones_compare(tmp_path):
    path = tmp_path / "cells" / "settings.json"
    assert keep(path, {"epochs": 1}) == {"epochs": 1}
    assert json.loads(path.read_text()) == {"epochs": 1}
    assert keep(path, {"epochs": 1}) == {"epochs": 1}
    with pytest.raises(UserError) as raised:
        keep(path, {"epochs": 2, "batch": 3})
    assert str(raised.value) == (
        "the folder holds cells with other settings:\n"
        "  batch: was absent, is now 3\n"
        "  epochs: was 1, is now 2\n"
        "Choose another folder"
    )
    assert json.loads(path.read_text()) == {"epochs": 1}


def test_a_check_writes_nothing(tmp_path):
    path = tmp_path / "settings.json"
    assert records.check(path, lambda saved: ["x"], "subject", "advice") is None
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "null", "[]"])
def test_a_damaged_record_is_named(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(UserError, match="settings.json"):
        keep(path, {"epochs": 1})
