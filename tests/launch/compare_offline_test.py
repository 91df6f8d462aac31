"""launch.compare_offline: a sequential model and reinforcement learning in one table."""

import json

import pytest

from launch import flags
from tfrec.data import storage
from tfrec.evaluation import rankers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "data"
    arguments = ("--source=embedded", "--embedded_num_users=60", "--embedded_num_items=30")
    arguments += ("--max_steps=6", "--history_length=5", f"--out={out}")
    assert flags.call("launch.prepare_data", arguments) == 0
    return out


def compare(data, out, *more):
    arguments = [
        f"--data={data}", f"--out={out}", "--methods=stamp,tpgr", "--seeds=1", "--cutoff=5",
        "--epochs=1", "--total_iterations=1", "--max_steps=5", "--history_length=4", *more,
    ]  # fmt: skip
    return flags.call("launch.compare_offline", arguments)


def test_both_kinds_are_ranked_on_the_same_users(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(data, out) == 0
    assert "stamp, seed 0" in capsys.readouterr().out
    document = json.loads((out / "table.json").read_text())
    methods = document["methods"]
    assert set(methods) == {
        "popularity", "recent_popularity", "item_neighbours", "ease", "users_of_play", "stamp",
        "tpgr",
    }  # fmt: skip
    assert all(0 < numbers["recall@5"]["mean"] < 1 for numbers in methods.values())
    assert (out / "table.md").exists() and (out / "table.png").exists()

    # A finished comparison is not run again; other settings are rejected.
    assert compare(data, out) == 0
    said = capsys.readouterr().out
    assert "seed 0" not in said
    assert json.loads((out / "table.json").read_text()) == document
    assert compare(data, out, "--epochs=2") == 2
    assert "settings.epochs: was 1, is now 2" in capsys.readouterr().err


def test_a_method_and_itself_without_a_part_are_tuned_alike(data, tmp_path, capsys):
    out = tmp_path / "out"
    given = ("--methods=causerec,causerec_encoder", "--trials=2")
    assert compare(data, out, *given) == 0
    for method in ("causerec", "causerec_encoder"):
        best = json.loads((out / "tuning" / method / "best.json").read_text())
        assert best["trials"] == 2
        cell = json.loads((out / method / "seed0" / "cell.json").read_text())
        assert cell == {"tuned": best["overrides"]}
    assert "user_weight" not in best["overrides"]
    page = (out / "table.md").read_text()
    assert "settings tried for each method: 2" in page
    assert "| CauseRec | CauseRec without counterfactuals | " in page
    # The cells of tuned fields are not those of the defaults.
    best["overrides"]["learning_rate"] = 0.7
    (out / "tuning" / "causerec_encoder" / "best.json").write_text(json.dumps(best))
    capsys.readouterr()
    assert compare(data, out, *given) == 2
    assert "tuned.learning_rate" in capsys.readouterr().err


def test_settings_that_diverge_are_trials_without_a_score(data, tmp_path, monkeypatch):
    space = {"learning_rate": (1e-3, 1e30)}
    monkeypatch.setattr(rankers.get("stamp").__class__, "space", property(lambda _: space))
    out = tmp_path / "out"
    given = ("--methods=stamp", "--trials=5", "--batch=8", "--epochs=2")
    assert compare(data, out, *given) == 0
    best = json.loads((out / "tuning" / "stamp" / "best.json").read_text())
    # Three settings with the default, and no more are asked for.
    assert (best["trials"], best["settings"], best["diverged"]) == (3, 3, 1)
    assert best["overrides"]["learning_rate"] < 1


def test_methods_play_with_users_who_choose_among_displayed_items(data, tmp_path):
    out = tmp_path / "out"
    assert compare(data, out, "--methods=tpgr", "--world=adversarial") == 0
    fitted = json.loads((out / "users" / "simulator.json").read_text())
    assert set(fitted["models"]) == {
        "uniform", "popularity", "maximum_likelihood", "adversarial",
    }  # fmt: skip
    assert {"tpgr", "users_of_play"} <= set(
        json.loads((out / "table.json").read_text())["methods"]
    )


def test_users_with_logged_clicks_are_no_control(data, tmp_path):
    out = tmp_path / "out"
    assert compare(data, out, "--methods=tpgr", "--world=lookup") == 0
    assert "users_of_play" not in json.loads((out / "table.json").read_text())["methods"]


def test_a_method_that_walks_a_graph_is_ranked_beside_them(data, tmp_path, capsys):
    graph, out = tmp_path / "graph.csv", tmp_path / "out"
    items = storage.PreparedData.open(data).vocabulary.items.tolist()
    rows = [f"{item},of,{place % 3}x\n" for place, item in enumerate(items)]
    graph.write_text("".join(["head,relation,tail\n", *rows]))
    given = ("--methods=pgpr_kg", f"--graph={graph}")
    assert compare(data, out, *given) == 0
    assert "of the lists were completed with items without a path" in capsys.readouterr().out
    methods = json.loads((out / "table.json").read_text())["methods"]
    assert 0 < methods["pgpr_kg"]["recall@5"]["mean"] < 1


def test_categories_are_those_of_a_file(data, tmp_path, capsys):
    categories, out = tmp_path / "categories.csv", tmp_path / "out"
    items = storage.PreparedData.open(data).vocabulary.items.tolist()

    def write(kinds):
        rows = [f"{item},c{place % kinds}\n" for place, item in enumerate(items)]
        categories.write_text("".join(["item,category\n", *rows]))

    write(4)
    given = ("--methods=cocorec,cocorec_one_category", f"--categories={categories}")
    assert compare(data, out, *given) == 0
    sizes = {
        name: json.loads((out / name / "seed0" / "config.json").read_text())["config"][
            "num_categories"
        ]
        for name in ("cocorec", "cocorec_one_category")
    }
    assert sizes == {"cocorec": 4, "cocorec_one_category": 1}
    write(3)
    capsys.readouterr()
    assert compare(data, out, *given) == 2
    assert "holds runs with another file of categories" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--methods=pgpr_kg", "expected a knowledge graph with pgpr_kg"),
        ("--graph=graph.csv", "and none without it"),
        ("--methods=rainbow", "rainbow"),
        ("--categories=categories.csv", "expected a method that reads them"),
        ("--cutoff=31", "cutoffs hold 31"),
        ("--world=truth", "value should be one of <adversarial|fitted|lookup>"),
    ],
)
def test_mistakes_are_messages(data, tmp_path, capsys, argument, message):
    assert compare(data, tmp_path / "out", argument) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_given_fields_are_those_of_the_runs(data, tmp_path, capsys):
    out = tmp_path / "out"
    given = ("--methods=stamp,cocorec_alone,tpgr", "--fixed=learning_rate=0.004,neighbours=3")
    assert compare(data, out, *given) == 0
    assert "fixed: learning_rate=0.004, neighbours=3" in (out / "table.md").read_text()
    for method in ("stamp", "cocorec_alone", "tpgr"):
        config = json.loads((out / method / "seed0" / "config.json").read_text())
        assert "0.004" in json.dumps(config)
    alone = (out / "cocorec_alone" / "seed0" / "config.json").read_text()
    assert json.loads(alone)["config"]["neighbours"] == 0  # its name says so

    capsys.readouterr()
    for fixed, message in (
        ("learning_rate=0.002,neighbours=3", "was 0.004, is now 0.002"),
        ("learning_rate", "--fixed=learning_rate: expected field=value with a field of "),
        ("no_field=1", "--fixed=no_field=1: expected field=value with a field of "),
        ("learning_rate=fast", "--fixed=learning_rate=fast: "),
        ("learning_rate=-1", "--fixed=learning_rate=-1: "),
    ):
        assert compare(data, out, *given, f"--fixed={fixed}") == 2
        assert message in capsys.readouterr().err


def test_imrls_critics_are_inner_products_where_users_never_leave(data, tmp_path):
    for world, critic in (("lookup", "bilinear"), ("fitted", "perceptron")):
        out = tmp_path / world
        assert compare(data, out, "--methods=imrl", f"--world={world}") == 0
        config = (out / "imrl" / "seed0" / "config.json").read_text()
        assert f'"critic": "{critic}"' in config
    given = ("--methods=imrl", "--world=lookup", "--fixed=critic=perceptron")
    assert compare(data, tmp_path / "fixed", *given) == 0
    config = (tmp_path / "fixed" / "imrl" / "seed0" / "config.json").read_text()
    assert '"critic": "perceptron"' in config
