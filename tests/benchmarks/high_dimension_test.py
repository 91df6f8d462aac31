"""The benchmark of the high-dimensional setting runs at a tiny size; no time is asserted."""

import pytest

from benchmarks import high_dimension

pytestmark = pytest.mark.slow

TINY = high_dimension.Sizes(
    items=40,
    candidates=(10, 30),
    columns=50,
    sessions=16,
    history_length=5,
    max_steps=6,
    users=7,
    updates=2,
    batch=8,
)


def test_a_table_for_goalrec(capsys, monkeypatch):
    settings = []
    monkeypatch.setattr(
        high_dimension, "peak_memory", lambda *given: settings.append(given[1]) or 100.0
    )
    high_dimension.main(("goalrec",), TINY, repeats=1)
    lines = capsys.readouterr().out.split("\n")
    assert lines[1] == "goalrec: 10 candidates, no crosses, against 30 and 50 columns"
    assert [line.split()[0] for line in lines[3:7]] == ["update", "act", "play", "memory"]
    assert settings == [False, True]


@pytest.mark.parametrize("wide", [False, True])
def test_settings_differ_in_candidates_and_crosses(wide):
    work = high_dimension.work_of("rainbow", wide, TINY)
    action = work["act"]()
    assert action.shape == (7, 1)
    assert action.min() >= 0 and action.max() < (30 if wide else 10)
    work["update"]()


def test_options_of_the_command_line():
    flags = high_dimension.options(["--method=td3", "--users=9", "--candidates=3,4"])
    assert (flags.method, flags.users, flags.candidates) == ("td3", 9, (3, 4))
    assert (flags.items, flags.memory) == (high_dimension.Sizes().items, None)


@pytest.mark.parametrize(
    "argument", ["--users=many", "--speed=3", "--method=none", "--users=0", "--candidates=3"]
)
def test_an_option_that_cannot_be_read_is_named(argument, capsys):
    with pytest.raises(SystemExit, match="2"):
        high_dimension.options([argument])
    assert argument.partition("=")[0] in capsys.readouterr().err


def test_unknown_methods_are_rejected():
    with pytest.raises(ValueError, match="no method 'guess'"):
        high_dimension.work_of("guess", False, TINY)
