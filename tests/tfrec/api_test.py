"""The public functions of tfrec: what they export, read and reject."""

import subprocess
import sys

import pytest

import tfgoalrec
import tfrec


def write_log(path, users=6):
    """Three sessions of four events for each user, a day apart; u0 clicks every lamp."""
    items = ("lamp", "mug", "rug", "desk")
    rows = [
        f"u{user},{item},{86400 * day + 30 * step + 1_700_000_000},{(user + step) % 2},{step}"
        for user in range(users)
        for day in range(3)
        for step, item in enumerate(items)
    ]
    path.write_text("\n".join(["user,item,time,click,watch", *rows]) + "\n")
    return path


@pytest.mark.parametrize("module", ["tfrec", "tfrec, tfgoalrec"])
def test_the_import_is_free_of_tensorflow(module):
    code = f"import sys, {module}; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_documented():
    for package in (tfrec, tfgoalrec, tfrec.baselines):
        for name in package.__all__:
            assert getattr(package, name).__doc__, name
    assert set(tfrec.__all__) <= set(dir(tfrec))
    with pytest.raises(AttributeError, match="no attribute 'fit_user'"):
        tfrec.fit_user  # noqa: B018


def test_a_log_is_read_by_short_names(tmp_path):
    log = write_log(tmp_path / "log.csv")
    data = tfrec.read_log(
        log, feedback=["click", "watch:seconds"], out=tmp_path / "data", max_steps=5,
        history_length=4,
    )  # fmt: skip
    assert [(c.name, c.kind, c.unit) for c in data.spec.feedback] == [
        ("click", "binary", "clicks"),
        ("watch", "amount", "seconds"),
    ]
    assert (data.spec.max_steps, data.spec.history_length) == (5, 4)
    assert data.vocabulary.items.tolist() == ["desk", "lamp", "mug", "rug"]
    assert tfrec.open_data(tmp_path / "data").fingerprint == data.fingerprint
    with pytest.raises(tfrec.UserError, match="holds prepared data already"):
        tfrec.read_log(log, out=tmp_path / "data")


ITEMS = "item,room,price\nlamp,hall,5\nmug,kitchen,2\nrug,hall,9\ndesk,office,\nvase,hall,4\n"


def test_features_of_items_from_a_log_to_an_item_of_today(tmp_path):
    log, items = write_log(tmp_path / "log.csv"), tmp_path / "items.csv"
    items.write_text(ITEMS)
    columns = {"room": {"kind": "category", "min_items": 1}, "price": "number"}
    data = tfrec.read_log(
        log, out=tmp_path / "data", item_features=items, feature_columns=columns, max_steps=4,
        history_length=4,
    )  # fmt: skip
    assert data.spec.item_features.slots == 2
    encoded = data.item_features()
    assert data.item_features() is encoded and not encoded.values.flags.writeable
    small = {"log_rounds": 1, "updates_per_round": 2, "batch": 8, "replay_sessions": 8}
    agent = tfgoalrec.GoalRec(seed=1, sessions_per_round=4, **small).fit(data)
    assert len(agent.rank(["lamp"], k=9).items) == 4
    today = agent.with_items(items)
    ranked = today.rank(["lamp"], k=9)
    assert sorted(ranked.items) == ["desk", "lamp", "mug", "rug", "vase"]
    today.save(tmp_path / "today")
    assert tfrec.load(tmp_path / "today").rank(["lamp"], k=9).items == ranked.items


def test_a_declaration_of_users_without_their_table(tmp_path):
    log = write_log(tmp_path / "log.csv")
    with pytest.raises(tfrec.UserError, match="declares 'age' of users, but there is no table"):
        tfrec.read_log(log, out=tmp_path / "data", user_feature_columns={"age": "number"})
    with pytest.raises(tfrec.UserError, match="user_feature_columns beside feature_columns=f"):
        tfrec.read_log(
            log, out=tmp_path / "data", feature_columns="f.toml",
            user_feature_columns={"age": "number"},
        )  # fmt: skip
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"room": "word"}, "read_log: feature_columns: room: kind is 'word'; expected"),
        ({"room": {"bins": 3}}, "feature_columns: room has no kind; expected one of"),
        ({"size": "number"}, "items.csv: no column 'size', which the declaration"),
    ],
)
def test_a_mistake_in_features_writes_nothing(tmp_path, columns, message):
    log, items = write_log(tmp_path / "log.csv"), tmp_path / "items.csv"
    items.write_text(ITEMS)
    with pytest.raises(tfrec.UserError, match=message):
        tfrec.read_log(log, out=tmp_path / "data", item_features=items, feature_columns=columns)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"itm": "item"}, "read_log: no option 'itm'; similar options: item: column with"),
        ({"max_steps": 0}, "read_log: max_steps is 0; expected at least 1"),
        ({"feedback": "click"}, "feedback is 'click'; expected a list of columns"),
        ({"feedback": ["watch:seconds"]}, "expected a binary click"),
        ({"item": "product"}, "product"),
        ({"time_unit": "iso"}, "log.csv, row 2: time is .1700000000.; expected an ISO 8601"),
    ],
)
def test_a_mistake_in_reading_is_a_message_and_writes_nothing(tmp_path, arguments, message):
    log = write_log(tmp_path / "log.csv")
    with pytest.raises(tfrec.UserError, match=message):
        tfrec.read_log(log, out=tmp_path / "data", **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: tfgoalrec.GoalRec(learning_rat=1),
            "GoalRec: no option 'learning_rat'; similar options: learning_rate: Adam learning "
            r"rate \(above 0, at most 1\)",
        ),
        (
            lambda: tfrec.baselines.Rainbow(learning_rate=3),
            "Rainbow: learning_rate is 3; expected above 0, at most 1",
        ),
        (
            lambda: tfrec.baselines.Rainbow(double_q="no"),
            "double_q is 'no'; expected True or False",
        ),
        (
            lambda: tfgoalrec.GoalRec(goals="a = 1*click@0"),
            "goals is 'a = 1.click@0'; expected a list",
        ),
        (lambda: tfrec.baselines.TD3(seed=-1), "TD3: seed is -1; expected a whole number"),
    ],
)
def test_a_wrong_option_is_a_message(make, message):
    with pytest.raises(tfrec.UserError, match=message):
        make()


TINY = {
    "hidden": [8], "sessions": 8, "rollout_steps": 4, "updates": 2, "total_iterations": 4,
    "warm_up": 40, "test_every": 2, "test_sessions": 8, "final_sessions": 20,
}  # fmt: skip


@pytest.mark.slow
def test_a_method_learns_step_by_step_beside_the_controls(tmp_path):
    result = tfrec.train_online("reinforce", "recsim", out=tmp_path / "run", slate=1, **TINY)
    assert result.tests["steps"].to_list() == [64, 128]  # 8 sessions, 4 steps, 2 and 4 units
    controls = {"random", "top_interest", "top_quality", "heuristic"}
    assert result.final.keys() == {"reinforce"} | controls
    assert result.final["top_quality"]["reward"] > result.final["random"]["reward"]
    lines = str(result).splitlines()
    assert lines[0].startswith("REINFORCE in the port: ctr ")
    assert [line.split(":")[0] for line in lines[1:3]] == ["Random", "Top interest"]
    axes = result.plot().axes[0]
    assert axes.lines[0].get_ydata().tolist() == result.tests["reward"].to_list()
    levels = [float(line.get_ydata()[0]) for line in axes.lines[1:]]
    assert levels == [result.final[name]["reward"] for name in result.final][1:]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recommendations", "reward per session")
    assert axes.get_title("left") == "REINFORCE in RecSim interest evolution"
    again = tfrec.train_online("reinforce", "recsim", out=tmp_path / "run", slate=1, **TINY)
    assert again.document == result.document
    with pytest.raises(tfrec.UserError, match="slate: was 1, is now 2"):
        tfrec.train_online("reinforce", "recsim", out=tmp_path / "run", slate=2, **TINY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sac", "recsim", {"slat": 3}), "train_online: no option 'slat'; .*documents in a"),
        (("sac", "recsim", {"total_iteration": 3}), "option 'total_iteration'; .*in the run"),
        (("sac", "recsim", {"tau": 2.0}), "train_online: tau is 2.0; expected"),
        (("sac", "recsim", {"final_sessions": 1}), "final_sessions is 1; expected at least 2"),
        (("sac", "recsim", {"seed": -1}), "train_online: seed is -1"),
        (("sac", "shop", {}), "no environment 'shop'; there are recsim, "),
        (("rainbow", "recsim", {}), "rainbow learns in log"),
        (("sacs", "recsim", {}), "no method 'sacs'"),
    ],
)
def test_a_mistake_in_online_training_is_a_message_and_leaves_nothing(
    arguments, message, tmp_path
):
    method, environment, others = arguments
    with pytest.raises(tfrec.UserError, match=message):
        tfrec.train_online(method, environment, out=tmp_path / "run", **others)
    assert not (tmp_path / "run").exists()


def test_what_is_not_fitted_says_so():
    agent = tfrec.baselines.DIEN(seed=2)
    assert repr(agent) == "DIEN(seed=2), not fitted"
    with pytest.raises(tfrec.UserError, match="DIEN: not fitted yet; call fit"):
        agent.rank(["lamp"])
    assert "log_rounds = 10: rounds of learning from the log alone" in type(agent).describe()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    log = write_log(folder / "log.csv")
    return tfrec.read_log(log, out=folder / "data", max_steps=5, history_length=4)


def test_users_are_fitted_with_a_report_and_without_files(data):
    users = tfrec.fit_users(data, max_epochs=1)
    assert {"sessions", "heads"} == users.report.keys()
    assert "| sessions | CTR |" in str(users)
    with pytest.raises(tfrec.UserError, match="fit_users: no option 'epochs'"):
        tfrec.fit_users(data, epochs=1)


def test_users_who_choose_among_displayed_items_are_fitted(data):
    users = tfrec.fit_users(
        data, model="adversarial", max_epochs=1, adversarial_epochs=0, alternatives=2
    )
    assert set(users.report["models"]) == {"uniform", "popularity", "maximum_likelihood"}
    assert "| maximum likelihood |" in str(users)
    with pytest.raises(tfrec.UserError, match="model is 'gan'; expected recurrent or adver"):
        tfrec.fit_users(data, model="gan")
    with pytest.raises(tfrec.UserError, match="split is 'half'; expected train, validation"):
        tfrec.fit_users(data, split="half", max_epochs=1)
    with pytest.raises(tfrec.UserError, match="users of an adversarial model never leave"):
        tfrec.fit_users(data, model="adversarial", target_depth=5)


SMALL = {
    "embedding": 4, "units": 6, "state": 8, "hidden": 8, "batch": 16, "replay_sessions": 32,
    "sessions_per_round": 8, "updates_per_round": 1, "log_rounds": 1, "play_rounds": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("WideAndDeep", {}),
        pytest.param("DIEN", {}, marks=pytest.mark.slow),
        pytest.param("DynaQ", {"planning_steps": 2}, marks=pytest.mark.slow),
        pytest.param("Rainbow", {}, marks=pytest.mark.slow),
        pytest.param("TD3", {}, marks=pytest.mark.slow),
        pytest.param("TD3", {"neighbours": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_baseline_ranks_and_comes_back(name, more, data, tmp_path):
    agent = getattr(tfrec.baselines, name)(seed=0, **SMALL | more).fit(data)
    ranked = agent.rank(["lamp", "sofa"], {"click": [1, 0]}, k=9)
    assert ranked.unknown == ("sofa",)
    assert len(ranked) == (2 if more.get("neighbours") else 4)
    assert list(ranked.scores) == sorted(ranked.scores, reverse=True)
    rest = agent.rank(["lamp"], {"click": [1]}, exclude=[ranked.items[0], "sofa"])
    assert ranked.items[0] not in rest.items
    assert rest.items[0] == ranked.items[1] or more.get("neighbours")  # others come near
    with pytest.raises(tfrec.UserError, match="goal is 'click'; expected none"):
        agent.rank(["lamp"], goal="click")
    agent.save(tmp_path / "agent")
    again = tfrec.load(tmp_path / "agent")
    assert type(again) is type(agent)
    assert again.fingerprint == agent.fingerprint
    assert again.rank(["lamp", "sofa"], {"click": [1, 0]}, k=9) == ranked
