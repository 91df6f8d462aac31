"""launch.recommend: what a person reads, and what a wrong question gets."""

import dataclasses
import re

import numpy as np
import polars as pl
import pytest

from launch import flags
from tests.tfrec.serving import fake_ranker
from tfrec.data import feature_encoding, feature_schema, vocabulary
from tfrec.serving import descriptions, export, loaded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    nameless = fake_ranker.FakeRanker(items=fake_ranker.INT_IDS)
    nameless.named_goals = {}
    return {
        "named": str(export.export(fake_ranker.FakeRanker(), folder / "named")),
        "nameless": str(export.export(nameless, folder / "nameless")),
    }


@pytest.fixture
def ask(models, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("rich._console", None)  # that of an earlier test has another width

    def call(model, *arguments):
        code = flags.call("launch.recommend", [f"--model={models[model]}", *arguments])
        return code, capsys.readouterr()

    return call


def rows(text):
    """The cells of each row of the printed tables."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    return [re.findall(r"[^│\s]+", line) for line in lines]


def test_one_goal(ask):
    code, printed = ask("named", "--goal=watch", "--k=2", "--show=watch@1..,click@0")
    assert code == 0
    # i6: 2.0 x 10 + 30 seconds, 0.2 x 0.5 + 2 clicks.
    assert rows(printed.out) == [
        ["1", "i6", "2.000", "50", "2.1"],
        ["2", "i4", "0.800", "38", "2.2"],
    ]


def test_names_of_items(models, ask, tmp_path):
    (tmp_path / "items.csv").write_text("id,title\ni6,[b]Mug\ni4,\n")
    ids = vocabulary.Ids(fake_ranker.STRING_IDS.astype(str))
    described = descriptions.read(tmp_path / "items.csv", ids, None, "title")
    models["described"] = str(
        export.export(fake_ranker.FakeRanker(), tmp_path / "export", descriptions=described)
    )
    code, printed = ask("described", "--goal=watch", "--k=2", "--show=watch@1..")
    assert code == 0 and "name" in printed.out
    assert rows(printed.out) == [
        ["1", "i6", "[b]Mug", "2.000", "50"],
        ["2", "i4", "0.800", "38"],
    ]


def test_spaces_around_ids(ask):
    spaced = ask("named", "--history= i1,\ti2 ", "--exclude= i6 ", "--goal=watch", "--k=1")
    plain = ask("named", "--history=i1,i2", "--exclude=i6", "--goal=watch", "--k=1")
    assert spaced == plain and plain[0] == 0


def test_two_goals_side_by_side(ask):
    code, printed = ask(
        "named", "--history=i1,i2", "--feedback=click=0,0;watch=9,1", "--goal=clicks",
        "--compare_goal=watch", "--k=3",
    )  # fmt: skip
    assert code == 0
    first, second, third = rows(printed.out)
    assert first == ["1", "i1", "0.700", "2.35", "30", "1", "i6", "-", "2.000", "2.1", "50"]
    assert [row[1] for row in (first, second, third)] == ["i1", "i2", "i3"]
    assert [row[6] for row in (first, second, third)] == ["i6", "i4", "i7"]


def test_feedback_candidates_and_exclusion_reach_the_model(ask):
    # s = i2: V = .6, A(i5) = .3 x 1.6, so 1.08 and 2 + .54 clicks.
    code, printed = ask(
        "named", "--history=i2", "--feedback=click=1", "--candidates=i5,i6,i7,what",
        "--exclude=i6", "--k=5",
    )  # fmt: skip
    assert code == 0
    assert "left out: what" in printed.out
    assert rows(printed.out) == [["1", "i5", "1.080", "2.54"], ["2", "i7", "0.760", "2.38"]]


def test_weights_and_whole_number_ids(ask):
    code, printed = ask("nameless", "--weights=click@0=10,watch@1..=0.1", "--k=1")
    assert code == 0
    # The raw score is 10 x .5 x e0 + .1 x 10 x e1 and best for i1: 3.5 + 0, then i2 3 + .3.
    assert rows(printed.out)[0][1] == "101"
    assert "click@0=10 + watch@1..=0.1" in printed.out


@pytest.mark.parametrize(
    "model, arguments, message",
    [
        ("named", ["--goal=profit"], "--goal=profit: the model's goals are clicks, watch"),
        (
            "named",
            ["--compare_goal=x"],
            "--compare_goal=x: the model's goals are clicks, watch",
        ),
        ("named", ["--goal=clicks", "--weights=click@0=1"], "give one of them"),
        (
            "named",
            ["--weights=clicks=1"],
            "'clicks' is not a measurement; there are click@0, w",
        ),
        ("named", ["--weights=click@0=one"], "--weights: click@0: could not convert"),
        ("named", ["--weights=click@0=0"], "weights must have a weight other than 0\n"),
        ("named", ["--weights=click@0=nan"], "weights must be finite"),
        ("named", ["--weights=click@0=1,click@0=2"], "--weights: click@0 is given twice"),
        ("named", ["--candidates=i1,i2,i1"], "'i1' is repeated"),
        ("named", ["--show=clicks"], "--show: 'clicks' is not a measurement"),
        ("named", ["--feedback=like=1"], "'like' is not a column; there are click, watch"),
        (
            "named",
            ["--history=i1", "--feedback=click=1;click=0"],
            "--feedback: click is given twice",
        ),
        ("named", ["--history=i1", "--feedback=click=1,0"], "2 values for 1 events"),
        ("named", ["--history=i1", "--feedback=click=yes"], "--feedback: click: could not"),
        ("named", ["--history=i1", "--feedback=click=-1"], "must not be negative"),
        ("named", ["--k=0"], "--k=0: k is 0; expected at least 1"),
        ("named", ["--step=-1"], "--step=-1: step is -1; expected at least 0"),
        ("nameless", [], "--weights: required, as the model has no named goals"),
        ("nameless", ["--weights=click@0=1", "--history=i1"], "'i1' is no item id"),
        ("nameless", ["--weights=click@0=1", f"--exclude={2**63}"], "is no item id"),
        ("nameless", ["--weights=click@0=1", "--history=0101"], "'0101' is no item id"),
        ("nameless", ["--weights=click@0=1", "--candidates=1_01"], "'1_01' is no item id"),
    ],
)
def test_mistakes_are_messages(ask, model, arguments, message):
    code, printed = ask(model, *arguments)
    assert code == 2
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert "Traceback" not in printed.err


def test_a_damaged_model_is_rejected(models, tmp_path, capsys):
    assert flags.call("launch.recommend", [f"--model={tmp_path}"]) == 2
    assert "no exported model here" in capsys.readouterr().err


def test_ids_that_look_like_lists_and_flags(models, ask, tmp_path):
    items = fake_ranker.STRING_IDS.copy()
    items[:2] = ["red, large", "--k=3"]
    models["odd"] = str(export.export(fake_ranker.FakeRanker(items=items), tmp_path))
    code, printed = ask("odd", '--history="red, large",--k=3', "--goal=clicks", "--k=2")
    assert code == 0 and "Not in the catalogue" not in printed.out
    assert [row[1:-2] for row in rows(printed.out)] == [["red,", "large"], ["--k=3"]]
    code, printed = ask("odd", "--history=i3,,i4")
    assert (code, printed.out) == (2, "")
    assert "--history: one of the item ids is empty" in printed.err


USERS = feature_encoding.fit(
    [
        feature_schema.FeatureColumn(name="age", kind="number", bins=2),
        feature_schema.FeatureColumn(name="region", min_items=1),
    ],
    pl.DataFrame({"user": [1, 2], "age": [20, 40], "region": ["north", "south, far"]}),
    "users.csv",
    "user",
)


HOURS = feature_encoding.fit(
    [feature_schema.FeatureColumn(name="hour", kind="hour")],
    pl.DataFrame({"": [1], "hour": [3]}),
    "log.csv",
    "context",
)


class UserRanker(fake_ranker.FakeRanker):
    """The ranker with features of users and contexts, which do not change its scores."""

    def __init__(self):
        super().__init__()
        self.spec = dataclasses.replace(
            self.spec, user_features=USERS.spec, context_features=HOURS.spec
        )
        self.vocabulary = vocabulary.Vocabulary(
            vocabulary.Ids(fake_ranker.STRING_IDS.astype(str)),
            vocabulary.Ids(np.arange(3)),
            user_features=USERS,
            context_features=HOURS,
        )


@pytest.fixture(scope="module")
def of_users(models, tmp_path_factory):
    models["users"] = str(
        export.export(UserRanker(), tmp_path_factory.mktemp("users") / "export")
    )


def test_features_of_user_and_context(ask, of_users, monkeypatch):
    asked = []
    monkeypatch.setattr(
        loaded.ExportedModel, "rank", lambda self, batch, rank=loaded.ExportedModel.rank: (
            asked.append(batch[0].context_values), rank(self, batch)
        )[1],
    )  # fmt: skip
    # age: 1 missing, 2 below 30, 3 from 30; region: 4 missing, 5 rare, 6 north, 7 south, far;
    # hour: 8 missing, 9 to 32.
    for flags_of_states, expected in (
        (['--user=age=31,"region=south, far"'], (3, 7, 8)),
        (["--user=region=west"], (1, 5, 8)),
        (["--user=age="], (1, 4, 8)),
        (["--context=hour=0"], (1, 4, 9)),
        (["--context=hour="], (1, 4, 8)),
        (["--user=age=31", "--context=hour=23"], (3, 4, 32)),
        (["--k=1"], ()),
    ):
        code, printed = ask("users", *flags_of_states)
        assert code == 0, printed.err
        assert asked.pop() == expected


@pytest.mark.parametrize(
    ("model", "flag", "message"),
    [
        ("users", "--user=age=old", "--user: age is 'old'; expected a finite number"),
        (
            "users",
            "--user=size=3",
            "--user: 'size' is not a column; there are age, region",
        ),
        ("users", "--user=age", "--user: 'age'; expected column=value"),
        ("users", "--user=age=3,age=4", "--user: age is given twice"),
        ("named", "--user=age=3", "expected none: the agent reads no features of users"),
        ("users", "--context=hour=24", "--context: hour is 24; expected a whole number from 0"),
        ("users", "--context=hour=noon", "--context: hour is 'noon'; expected a whole number"),
        ("users", "--context=hour=1,hour=2", "--context: hour is given twice"),
        ("named", "--context=hour=3", "expected none: the agent reads no context"),
    ],
)
def test_a_bad_user_or_context(ask, of_users, model, flag, message):
    code, printed = ask(model, flag)
    assert code == 2 and message in " ".join(printed.err.split())
