"""Features of users from the log to the export: everywhere the same numbers and ranks."""

import numpy as np
import pytest

import tfrec
from tests.reliability import feature_exports
from tests.reliability.feature_exports import SMALL, ranker_of
from tests.tfrec import api_test
from tfrec.errors import UserError
from tfrec.serving import client, export, loaded, requests

USERS = {"u1": (20, "north"), "u2": (30, "south"), "u3": (None, "north"), "u9": (80, "west")}
COLUMNS = {"region": {"kind": "category", "min_items": 1}, "age": {"kind": "number", "bins": 2}}
NORTH, SOUTH = {"region": "north", "age": 25}, {"region": "south", "age": 25}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("users")
    rows = [
        f"{user},{'' if age is None else age},{region}" for user, (age, region) in USERS.items()
    ]
    (folder / "users.csv").write_text("\n".join(["user,age,region", *rows]) + "\n")
    return tfrec.read_log(
        api_test.write_log(folder / "log.csv"), out=folder / "data",
        user_features=folder / "users.csv", user_feature_columns=COLUMNS, max_steps=4,
        history_length=4, test_fraction=0.0, validation_fraction=0.0,
    )  # fmt: skip


@pytest.fixture(
    scope="module", params=[pytest.param("goalrec", marks=pytest.mark.slow), "dien"]
)
def agent(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent") / "agent"
    return feature_exports.with_large_effects(request.param, data, folder)


@pytest.fixture(scope="module")
def version(agent, tmp_path_factory):
    return export.export(ranker_of(agent), tmp_path_factory.mktemp("export") / "export")


def test_sessions_have_the_numbers_of_their_users(data):
    # region: 1 missing, 2 rare, 3 north, 4 south; age: 5 missing, 6 below 25, 7 from 25.
    # The log has the users u0 to u5; their rows of the table, in this order:
    expected = [[1, 5], [1, 5], [3, 6], [4, 7], [3, 5], [1, 5], [1, 5]]  # first: unknown
    np.testing.assert_array_equal(data.user_values(), expected)
    assert data.spec.user_features.missing == (1, 5)
    episodes = data.episodes("train")
    np.testing.assert_array_equal(episodes.context_values, np.array(expected)[episodes.user])
    [batch] = data.dataset("train", batch_size=100).as_numpy_iterator()
    np.testing.assert_array_equal(batch.context_values, episodes.context_values)


def test_a_new_user_is_ranked_by_features(agent):
    assert agent.rank(["lamp"], user=NORTH).scores != agent.rank(["lamp"], user=SOUTH).scores
    assert agent.rank(["lamp"]).scores == agent.rank(["lamp"], user={}).scores
    # A region that the log never shows is rare, as any other.
    new = [agent.rank(["lamp"], user={"region": x, "age": 25}).scores for x in ("west", "moon")]
    assert new[0] == new[1]
    with pytest.raises(UserError, match="user: age is 'old'; expected a finite number"):
        agent.rank(["lamp"], user={"age": "old"})


@pytest.mark.parametrize("user", [NORTH, SOUTH, None])
def test_the_export_ranks_as_the_agent(agent, version, user):
    model = loaded.ExportedModel(version)
    values = model.state_encoder.encode_one(user)
    request = requests.Request(
        history=("lamp",),
        goal_name=next(iter(ranker_of(agent).named_goals)),
        context_values=values,
    )
    [answer] = model.rank([request])
    expected = agent.rank(["lamp"], user=user)
    assert tuple(answer.item) == expected.items
    np.testing.assert_allclose(answer.score, expected.scores, rtol=1e-5, atol=1e-5)


def test_the_contract_of_a_client_has_the_numbers(version):
    contract = client.Contract.read(version / "manifest.json")
    assert contract.context_values(NORTH) == (3, 7)
    assert contract.state_encoder.slots == 2
    assert (
        "Features of the user: `region` (category), `age` (number)"
        in (version / "model_card.md").read_text()
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 8]], "context_values must be at most 7"),
        ([[-1, 5]], "context_values must not be negative"),
        ([[1, 5, 5]], "context_values must have 2 numbers a row, or none"),
        ([[1, 5], [1, 5]], "context_values must have as many rows as history_item"),
    ],
)
def test_the_graph_rejects_bad_numbers(version, values, message):
    model = loaded.ExportedModel(version)
    goal = next(iter(model.manifest["named_goals"]))
    inputs = requests.arrays([requests.Request(goal_name=goal)], "rank", "string", 1, 2)
    inputs["context_values"] = np.array(values, np.int32)
    with pytest.raises(UserError, match=message):
        model._answer("rank", inputs)


def test_no_numbers_and_zeros_are_missing_features(version):
    model = loaded.ExportedModel(version)
    goal = next(iter(model.manifest["named_goals"]))
    inputs = requests.arrays([requests.Request(goal_name=goal)], "rank", "string", 1, 2)
    scores = [
        model._answer("rank", inputs | {"context_values": np.array(values, np.int32)})["score"]
        for values in ([[1, 5]], [[0, 0]], np.zeros([1, 0]), [[3, 7]])
    ]
    np.testing.assert_array_equal(scores[1], scores[0])
    np.testing.assert_array_equal(scores[2], scores[0])
    assert (scores[3] != scores[0]).any()


def test_an_agent_of_ids_alone_reads_no_user(data):
    agent = tfrec.baselines.DIEN(seed=1, use_features=False, **SMALL).fit(data)
    assert agent.agent.spec == data.spec.ids_alone
    with pytest.raises(UserError, match="expected none: the agent reads no features of users"):
        agent.rank(["lamp"], user=NORTH)
