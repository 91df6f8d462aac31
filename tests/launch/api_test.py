"""The public functions give the numbers of the launch scripts, for equal options and seed."""

import json

import pytest

import tfgoalrec
import tfrec
from launch import flags
from tfrec.data import storage

pytestmark = pytest.mark.slow

GOALREC = {
    "embedding": 4, "frozen_embedding": 2, "units": 6, "state": 8, "goal_units": 4,
    "stream": 8, "item_vector": 4, "batch": 32, "replay_sessions": 256,
    "sessions_per_round": 32, "updates_per_round": 3, "log_rounds": 2, "play_rounds": 2,
}  # fmt: skip
WIDE_AND_DEEP = {
    name: GOALREC[name]
    for name in ("embedding", "units", "state", "batch", "replay_sessions",
                 "sessions_per_round", "updates_per_round", "log_rounds", "play_rounds")
} | {"hidden": 8}  # fmt: skip


def fingerprint(folder):
    return tfrec.load(folder).fingerprint


@pytest.fixture(scope="module")
def data(embedded_data):
    return tfrec.open_data(embedded_data)


@pytest.fixture(scope="module")
def users(data):
    return tfrec.load_users("truth", data)


@pytest.fixture(scope="module")
def agent(data, users):
    """Fitted from the log alone, and then by playing: not in one run as the script's."""
    agent = tfgoalrec.GoalRec(seed=0, **GOALREC).fit(data)
    agent.fit_alone = agent.fingerprint
    return agent.play(users)


def test_goalrec_is_the_scripts(agent, goalrec):
    assert agent.fit_alone == fingerprint(goalrec.run / "agent_off")
    assert agent.fingerprint == fingerprint(goalrec.run / "agent")


def test_fewer_rounds_are_those_of_the_option(agent, data, users):
    one = tfgoalrec.GoalRec(seed=0, **GOALREC).fit(data).play(users, rounds=1)
    option = tfgoalrec.GoalRec(seed=0, **GOALREC | {"play_rounds": 1}).fit(data, users)
    assert one.fingerprint == option.fingerprint != agent.fingerprint


@pytest.mark.parametrize(("more", "said"), [(-1, True), (0, False)])
def test_a_log_that_the_replay_does_not_hold_is_warned_of(data, caplog, more, said):
    sessions = data.num_sessions("train")
    numbers = WIDE_AND_DEEP | {"log_rounds": 1, "play_rounds": 0, "sessions_per_round": 1}
    with caplog.at_level("WARNING", "absl"):
        tfrec.baselines.WideAndDeep(
            seed=3, **numbers | {"replay_sessions": sessions + more}
        ).fit(data)
    message = f"at most {sessions - 1:,} of the log's {sessions:,} training sessions"
    assert (message in caplog.text) == said


def test_a_baseline_is_the_scripts(data, users, embedded_data, tmp_path):
    arguments = [f"--{name}={value}" for name, value in WIDE_AND_DEEP.items()]
    assert flags.call(
        "launch.train",
        ("--method=wide_and_deep", f"--data={embedded_data}", "--world=truth", "--seed=3",
         f"--out={tmp_path}", *arguments),
    ) == 0  # fmt: skip
    agent = tfrec.baselines.WideAndDeep(seed=3, **WIDE_AND_DEEP).fit(data, users)
    assert agent.fingerprint == fingerprint(tmp_path / "agent")


def test_an_evaluation_is_the_scripts(goalrec, embedded_data, data, users, tmp_path):
    arguments = ("--max_users=6", "--sessions_per_user=1", f"--data={embedded_data}")
    assert flags.call(
        "launch.evaluate",
        ("--world=truth", f"--agents=goalrec={goalrec.run / 'agent'}", *arguments,
         f"--out={tmp_path}"),
    ) == 0  # fmt: skip
    written = json.loads((tmp_path / "results.json").read_text())
    policies = tfrec.controls.standard(users)
    policies["goalrec"] = tfrec.load(goalrec.run / "agent")
    result = tfrec.evaluate(policies, users, max_users=6, sessions_per_user=1)
    document = {key: x for key, x in result.document.items() if key != "config"}
    assert document == {key: x for key, x in written.items() if key != "config"}
    assert "goalrec" in result.share_of_optimum
    assert "of the way from random to the optimum" in str(result)
    assert "<table>" in result._repr_html_()
    assert {name: len(depth) for name, depth in result.depths.items()} == dict.fromkeys(
        policies, result.document["users"]
    )
    difference = result.difference("goalrec", "random")["reward"]
    rewards = {name: result.policies[name]["reward"]["mean"] for name in ("goalrec", "random")}
    assert difference["mean"] == pytest.approx(rewards["goalrec"] - rewards["random"])
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert result.difference("random", "random")["depth"]["mean"] == 0
    with pytest.raises(tfrec.UserError, match="no policy 'rainbow'; there are random, pop"):
        result.difference("goalrec", "rainbow")


@pytest.mark.parametrize("day_parts", [1, 2])
def test_prepared_data_is_the_scripts(day_parts, tmp_path):
    script = (
        "--embedded_num_users=60", "--embedded_num_items=30", "--embedded_max_steps=12",
        "--max_steps=12", "--history_length=8", f"--embedded_day_parts={day_parts}",
        f"--out={tmp_path / 'script'}",
    )  # fmt: skip
    assert flags.call("launch.prepare_data", script) == 0
    options = {"num_users": 60, "num_items": 30, "max_steps": 12, "history_length": 8}
    options |= {"day_parts": day_parts}
    data, _ = tfrec.embedded(tmp_path / "data", **options)
    assert (data.spec.context_features is None) == (day_parts == 1)
    assert data.fingerprint == storage.PreparedData.open(tmp_path / "script").fingerprint
    again, _ = tfrec.embedded(tmp_path / "data", **options)  # opened, not written again
    assert again.fingerprint == data.fingerprint
    with pytest.raises(tfrec.UserError, match="holds other data .log.num_users: was 60"):
        tfrec.embedded(tmp_path / "data", **options | {"num_users": 50})
    with pytest.raises(tfrec.UserError, match="holds other data .log.new_items: was 0, is now"):
        tfrec.embedded(tmp_path / "data", **options | {"new_items": 3})
    manifest = tmp_path / "data" / storage.MANIFEST
    content = json.loads(manifest.read_text())
    for name in ("new_items", "attribute_noise", "attribute_missing"):
        del content["generator"][name]  # as a version without these options wrote it
    manifest.write_text(json.dumps(content))
    again, _ = tfrec.embedded(tmp_path / "data", **options)
    assert again.fingerprint == data.fingerprint


def test_ranks_as_the_export_does(agent, tmp_path):
    from tfrec.serving import loaded, requests

    (tmp_path / "items.csv").write_text("id,title\ni1,One\n")
    version = agent.export(tmp_path / "export", items=tmp_path / "items.csv", item_name="title")
    described = loaded.ExportedModel(version).descriptions
    assert [one.name for one in described.of(["i1", "i2"])] == ["One", None]
    [answer] = loaded.ExportedModel(version).rank(
        [requests.Request(("i1", "i2"), ((1.0, 3.0), (0.0, 0.0)), goal_name="click", k=4)]
    )
    feedback = {"click": [1, 0, 0], "watch_seconds": [3, 0, 9]}
    ranked = agent.rank(["i1", "i2", "nothing"], feedback, goal="click", k=4)
    assert ranked.items == tuple(answer.item)
    assert ranked.scores == pytest.approx(answer.score.tolist(), rel=1e-5)
    assert ranked.units["watch_seconds@0"] == "seconds"
    column = list(ranked.measurements).index("watch_seconds@0")
    assert ranked.measurements["watch_seconds@0"] == pytest.approx(
        answer.measurements[:, column].tolist(), rel=1e-4
    )
    assert ranked.unknown == ("nothing",)  # its event was left out
    assert len(str(ranked).splitlines()) == 1 + 4


def test_a_saved_agent_ranks_the_same_and_cannot_learn_on(agent, users, tmp_path):
    agent.save(tmp_path / "agent")
    again = tfgoalrec.load(tmp_path / "agent")
    assert isinstance(again, tfgoalrec.GoalRec)
    assert again.fingerprint == agent.fingerprint
    goal = {"click@0": 1.0, "step@1..": 0.1}
    one, other = (x.rank(["i1"], goal=goal, candidates=["i5", "i4"]) for x in (agent, again))
    assert one == other
    assert sorted(one.items) == ["i4", "i5"]
    with pytest.raises(tfrec.UserError, match="a saved agent cannot be trained"):
        again.play(users)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"history": "i1"}, "history is 'i1'; expected a list of item ids"),
        ({"history": [1]}, "history: 1 is no item id; the ids of this log are text"),
        ({"history": [], "k": 0}, "k is 0; expected a whole number of at least 1"),
        ({"history": [], "goal": "clicks"}, "no goal 'clicks'; the agent has click"),
        ({"history": [], "goal": {"click@9": 1}}, "goal: 'click@9' is not a measurement"),
        ({"history": ["i1"], "feedback": {"click": []}}, "click has 0 values for 1 events"),
        ({"history": ["i1"], "feedback": {"like": [1]}}, "feedback: 'like' is not a column"),
        ({"history": ["i1"], "feedback": {"click": [-1]}}, "click is -1; expected a finite"),
    ],
)
def test_a_wrong_question_is_a_message(agent, ask, message):
    with pytest.raises(tfrec.UserError, match=message):
        agent.rank(**ask)


def test_a_wrong_evaluation_is_a_message(agent, users):
    with pytest.raises(tfrec.UserError, match="'random' is the name of a control"):
        tfrec.evaluate({"random": agent}, users)
    with pytest.raises(tfrec.UserError, match="split is 'tests'; expected one of test"):
        tfrec.evaluate({"chance": tfrec.controls.Random()}, users, split="tests")
    with pytest.raises(tfrec.UserError, match="max_users is 0; expected at least 1"):
        tfrec.evaluate({"chance": tfrec.controls.Random()}, users, max_users=0)
    with pytest.raises(tfrec.UserError, match="expected a recommender"):
        tfrec.evaluate({"one": [1]}, users)
    with pytest.raises(tfrec.UserError, match="not fitted yet"):
        tfrec.evaluate({"one": tfgoalrec.GoalRec()}, users)


def test_a_named_world_gives_the_defaults_of_other_options(tmp_path):
    small = {"num_users": 60, "num_items": 30, "sessions_per_user": 1}
    data, users = tfrec.embedded(tmp_path / "data", world="held_aside", **small)
    assert (data.spec.max_steps, users.world.config.num_types) == (200, 3)
    assert users.world.config.num_users == 60
    with pytest.raises(
        tfrec.UserError, match="embedded: world=held: expected one of held_aside"
    ):
        tfrec.embedded(tmp_path / "other", world="held", **small)
