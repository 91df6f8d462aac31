"""launch.check_world on small worlds, and mistakes without tracebacks."""

import json

import pytest

from launch import flags

pytestmark = pytest.mark.slow

SMALL = (
    "--max_users=15",
    "--sessions_per_user=2",
    "--training_users=20",
    "--states=2",
    "--items=10",
    "--play_rounds=1",
    "--sessions_per_round=16",
)
FITTED = ("--max_epochs=3", "--item_units=4", "--hidden_units=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepared data, two refits of the recurrent model and one of the adversarial."""
    folder = tmp_path_factory.mktemp("worlds")
    prepare = ("--embedded_num_users=60", "--embedded_num_items=30", "--max_steps=12")
    assert flags.call("launch.prepare_data", [*prepare, f"--out={folder / 'data'}"]) == 0
    for name, arguments in {
        "one": ("--seed=0", "--head_units=8", "--rank=2"),
        "two": ("--seed=1", "--head_units=8", "--rank=2"),
        "choices": ("--model=adversarial", "--adversarial_epochs=1", "--clicks=4"),
    }.items():
        to = (f"--data={folder / 'data'}", f"--out={folder / name}")
        assert flags.call("launch.fit_simulator", [*to, *FITTED, *arguments]) == 0
    return folder


def check(folder, out, worlds, *more):
    arguments = (f"--data={folder / 'data'}", f"--worlds={worlds}", f"--out={out}", *more)
    return flags.call("launch.check_world", [*SMALL, *arguments])


def test_the_embedded_world_has_its_optimum_as_the_reference(folder, tmp_path, capsys):
    assert check(folder, tmp_path, "truth") == 0
    document = json.loads((tmp_path / "check.json").read_text())
    world = document["worlds"]["truth"]
    assert world["reference"] == "optimum"
    assert set(world["shares"]) == {
        "random", "popularity", "myopic", "item_counts", "constant_item", "fixed_list",
        "memoryless", "log_improved", "posterior", "optimum",
    }  # fmt: skip
    assert world["shares"]["optimum"]["mean"] == pytest.approx(1.0)
    assert 0.0 < world["shares"]["fixed_list"]["mean"] < 1.0
    for shares in world["variance_shares"].values():
        assert sum(shares.values()) == pytest.approx(1.0)
    effect = world["far_effect"]
    assert effect["ratio"] == pytest.approx(effect["effect"] / effect["noise"])
    said = capsys.readouterr().out
    assert "(at least 25%)" in said and "(below 60%)" in said
    assert (tmp_path / "table.md").read_text() in said
    assert "data:image/png" in (tmp_path / "report.html").read_text()


def test_a_small_version_of_a_named_world_is_admitted(tmp_path):
    prepare = ("--embedded_world=movielens_scale", "--embedded_num_users=300")
    sizes = ("--embedded_num_items=60", "--embedded_sessions_per_user=2")
    data = f"--data={tmp_path / 'data'}"
    assert (
        flags.call("launch.prepare_data", [*prepare, *sizes, f"--out={tmp_path / 'data'}"]) == 0
    )
    small = ("--max_users=60", "--training_users=60", "--items=60", *SMALL[-2:])
    out = f"--out={tmp_path / 'check'}"
    assert flags.call("launch.check_world", [*small, data, "--worlds=truth", out]) == 0
    world = json.loads((tmp_path / "check" / "check.json").read_text())["worlds"]["truth"]
    assert world["verdict"] == "admitted"
    shares = {name: share["mean"] for name, share in world["shares"].items()}
    # To know the user is worth more than any list, and to read the session more than that.
    assert (
        shares["fixed_list"] < 0.45 < shares["memoryless"] < 0.85 < shares["posterior"] <= 1.0
    )


def test_fitted_worlds_are_shown_side_by_side_with_the_spread_of_refits(folder, tmp_path):
    worlds = ",".join(str(folder / name) for name in ("one", "two", "choices"))
    assert check(folder, tmp_path, worlds, "--exit_interaction=0") == 0
    document = json.loads((tmp_path / "check.json").read_text())
    kinds = [world["kind"] for world in document["worlds"].values()]
    assert kinds == ["RecurrentModel", "RecurrentModel", "ChoiceModel"]
    for world in document["worlds"].values():
        assert world["reference"] != "optimum" and "no bound" in world["reference_note"]
        assert world["far_effect"] is None
        # The reference is the best of the privileged policies.
        rewards = {name: x["reward"]["mean"] for name, x in world["policies"].items()}
        assert rewards[world["reference"]] >= rewards["fixed_list"]
    choices = document["worlds"][str(folder / "choices")]
    assert choices["criteria"][1]["note"] == "the exit's probability never varies"
    text = (tmp_path / "table.md").read_text()
    assert text.count("RecurrentModel: ") >= 6 and "ChoiceModel: " not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--environment=recsim",), "RecSim interest evolution cannot be measured"),
        (("--environment=recogym",), "RecoGym v1 cannot be measured"),
        (("--environment=virtualtb",), "its actions are continuous"),
        (("--environment=gymnasium",), "Gymnasium environment cannot be measured"),
        (("--environment=recsm",), "no environment 'recsm'"),
        (("--worlds=",), "--worlds="),
        (("--worlds=truth,truth",), "--worlds="),
        (("--list_share=1.5",), "--list_share"),
        (("--states=1",), "--states"),
    ],
)
def test_mistakes_are_explained(folder, tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert check(folder, out, "truth", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_all_worlds_are_opened_before_one_is_measured(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert check(folder, out, f"truth,{tmp_path / 'missing'}") == 2
    assert "missing" in capsys.readouterr().err
    assert not out.exists()
