"""The context of sessions from the log to the export: everywhere the same numbers and ranks."""

import numpy as np
import pytest

import tfrec
from tests.reliability import feature_exports
from tests.reliability.feature_exports import SMALL, ranker_of
from tfrec.errors import UserError
from tfrec.methods import all_users
from tfrec.serving import client, export, loaded, requests

USERS = "user,region\nu0,north\nu1,south\nu2,north\n"
CONTEXT = {
    "device": {"kind": "category", "min_items": 1},
    "hour": {"kind": "hour", "utc_offset": 2},
    "speed": {"kind": "number", "bins": 2},
}
SIZES = {"max_steps": 4, "history_length": 4, "test_fraction": 0.0, "validation_fraction": 0.0}
USER, PHONE = {"region": "north"}, {"device": "phone", "hour": 14, "speed": 1.0}
DESK = {"device": "desk", "hour": 15, "speed": 9}
MIDNIGHT = 1_699_920_000  # 2023-11-14T00:00:00Z
# The first event of each session: hour in UTC, device, speed. Session d is d days later.
FIRST = {
    "u0": [(12, "phone", "1"), (23, "phone", "")],
    "u1": [(13, "desk", "9"), (12, "", "1")],
    "u2": [(21, "phone", "9"), (22, "desk", "9")],
}


def write_log(path, first=FIRST):
    """Later events of a session have another device and speed, which are not read."""
    rows = []
    for user, sessions in first.items():
        for day, (hour, device, speed) in enumerate(sessions):
            for step, item in enumerate(("lamp", "mug", "rug")):
                time = MIDNIGHT + 86_400 * day + 3600 * hour + 30 * step
                context = f"{device},{speed}" if not step else "tv,5"
                rows.append(f"{user},{item},{time},{step % 2},{context}")
    path.write_text("\n".join(["user,item,time,click,device,speed", *rows]) + "\n")
    return path


def read(folder, **options):
    folder.mkdir(exist_ok=True)
    (folder / "users.csv").write_text(USERS)
    return tfrec.read_log(
        write_log(folder / "log.csv"), out=folder / "data", **SIZES | {
            "user_features": folder / "users.csv", "context_columns": CONTEXT,
            "user_feature_columns": {"region": "category"},
        } | options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read(tmp_path_factory.mktemp("context"))


@pytest.fixture(
    scope="module", params=[pytest.param("goalrec", marks=pytest.mark.slow), "dien"]
)
def agent(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent") / "agent"
    return feature_exports.with_large_effects(request.param, data, folder)


@pytest.fixture(scope="module")
def version(agent, tmp_path_factory):
    """An export, whose golden requests have been verified."""
    return export.export(ranker_of(agent), tmp_path_factory.mktemp("export") / "export")


def test_sessions_have_the_numbers_of_their_first_events(data):
    # region: 1 missing, 2 rare (the south), 3 north. Then the context, after these three:
    # device: 4 missing, 5 rare, 6 phone, 7 desk; hour: 8 missing, 9 to 32 for 0 to 23;
    # speed: 33 missing, 34 below 9, 35 from 9. Local time is UTC+2.
    episodes = data.episodes("train")
    assert episodes.context_values.tolist() == [
        [3, 6, 9 + 14, 34], [3, 6, 9 + 1, 33],
        [2, 7, 9 + 15, 35], [2, 4, 9 + 14, 34],
        [3, 6, 9 + 23, 35], [3, 7, 9 + 0, 35],
    ]  # fmt: skip
    assert data.spec.state_features.missing == (1, 4, 8, 33)
    [batch] = data.dataset("train", batch_size=100).as_numpy_iterator()
    np.testing.assert_array_equal(batch.context_values, episodes.context_values)
    assert data.episodes("test").context_values.shape == (0, 4)
    assert not [name for name in data.spec.feedback_names if "device" in name]


def test_the_context_without_features_of_users(tmp_path):
    data = read(tmp_path, user_features="", user_feature_columns=None)
    episodes = data.episodes("train")
    assert episodes.context_values[0].tolist() == [3, 6 + 14, 31]
    [batch] = data.dataset("train", batch_size=100).as_numpy_iterator()
    np.testing.assert_array_equal(batch.context_values, episodes.context_values)
    agent = tfrec.baselines.DIEN(seed=1, **SMALL).fit(data)
    histories = all_users.of_prepared(data, agent.agent)
    assert histories.context_values.tolist() == [[1, 5, 30]] * 3
    with pytest.raises(UserError, match="expected none: the agent reads no features of users"):
        agent.rank(["lamp"], user=USER)


def test_only_training_sessions_define_values(tmp_path):
    data = read(tmp_path, split="time", test_fraction=0.5)
    # The first three sessions are for training; the desk has one of them.
    device = data.vocabulary.context_features.codes[0]
    assert device.categories == ("phone", "desk")
    assert data.num_sessions("train") == 3
    hours = data.episodes("test").context_values[:, 2] - 9
    assert hours.tolist() == [1, 14, 0]


def test_the_context_changes_the_list(agent):
    ranked = [agent.rank(["lamp"], context=context).scores for context in (PHONE, DESK)]
    assert ranked[0] != ranked[1]
    assert agent.rank(["lamp"]).scores == agent.rank(["lamp"], context={}).scores
    assert agent.rank(["lamp"], user=USER).scores != agent.rank(["lamp"]).scores
    # A device that no session of the log starts with is rare, as any other.
    rare = [agent.rank(["lamp"], context={"device": x}).scores for x in ("tv", "watch")]
    assert rare[0] == rare[1]
    with pytest.raises(
        UserError, match="context: hour is 24; expected a whole number from 0 to"
    ):
        agent.rank(["lamp"], context={"hour": 24})


def test_lists_of_all_users_have_no_context(agent, data):
    histories = all_users.of_prepared(data, agent.agent)
    assert histories.context_values.tolist() == [
        [3, 4, 8, 33], [2, 4, 8, 33], [3, 4, 8, 33],
    ]  # fmt: skip
    states = histories.observation(np.arange(1), 4)
    blocked = np.zeros([1, 3], bool)
    _, scores = agent.agent.lists(states, blocked, 3)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("user", "context"), [(USER, PHONE), (None, DESK), (None, None)])
def test_the_export_ranks_as_the_agent(agent, version, user, context):
    model = loaded.ExportedModel(version)
    contract = client.Contract.read(version / "manifest.json")
    values = contract.context_values(user, context)
    assert values == model.state_encoder.encode_one(user, context)
    request = requests.Request(
        history=("lamp",),
        goal_name=next(iter(ranker_of(agent).named_goals)),
        context_values=values,
    )
    [answer] = model.rank([request])
    expected = agent.rank(["lamp"], user=user, context=context)
    assert tuple(answer.item) == expected.items
    np.testing.assert_allclose(answer.score, expected.scores, rtol=1e-5, atol=1e-5)


def test_the_export_describes_the_context(version):
    contract = client.Contract.read(version / "manifest.json")
    assert contract.context_values({"region": "north"}, {"hour": 14}) == (3, 4, 23, 33)
    assert contract.state_encoder.slots == 4
    card = (version / "model_card.md").read_text()
    assert "Features of the user: `region` (category)" in card
    assert (
        "Features of the context: `device` (category), `hour` (hour), `speed` (number)" in card
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 4, 8, 36]], "context_values must be at most 35"),
        ([[1, 4, 8]], "context_values must have 4 numbers a row, or none"),
    ],
)
def test_the_graph_rejects_bad_numbers(version, values, message):
    model = loaded.ExportedModel(version)
    goal = next(iter(model.manifest["named_goals"]))
    inputs = requests.arrays([requests.Request(goal_name=goal)], "rank", "string", 1, 4)
    inputs["context_values"] = np.array(values, np.int32)
    with pytest.raises(UserError, match=message):
        model._answer("rank", inputs)


def test_a_log_without_times_has_no_hours(tmp_path):
    with pytest.raises(
        UserError, match=r"declares \[context.hour\] of kind hour, but the log has no times"
    ):
        read(tmp_path, time_unit="order")
    assert not (tmp_path / "data").exists()
    data = read(tmp_path, time_unit="order", context_columns={"device": "category"})
    # Each user has one session, which starts with the first event.
    assert data.vocabulary.context_features.codes[0].categories == ("phone",)
    assert data.episodes("train").context_values.tolist() == [[3, 6], [2, 5], [3, 6]]


def test_a_file_declares_the_context(tmp_path):
    columns = tmp_path / "columns.toml"
    columns.write_text('[context.weekday]\nkind = "weekday"\n')
    options = {"user_features": "", "user_feature_columns": None}
    data = read(tmp_path, feature_columns=columns, context_columns=None, **options)
    # 2023-11-14 was a Tuesday, number 1. 1 is missing, 2 a Monday.
    assert data.episodes("train").context_values[:2].tolist() == [[3], [4]]
    with pytest.raises(
        UserError, match="context_columns beside feature_columns=.*columns.toml"
    ):
        read(tmp_path / "other", feature_columns=columns, **options)


def test_ids_alone_read_no_context(data, tmp_path):
    without = read(tmp_path, user_features="", user_feature_columns=None, context_columns=None)
    weights = []
    for log, changes in ((data, {"use_features": False}), (without, {})):
        made = tfrec.baselines.DIEN(seed=1, **SMALL, **changes).fit(log)
        weights.append(made.agent.contents()["weights"])
    assert weights[0] == weights[1]
