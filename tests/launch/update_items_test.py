"""launch.update_items: from prepared features to an export that ranks an item of today."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from launch import flags
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.methods import ranking, registry
from tfrec.serving import golden, loaded, requests

pytestmark = pytest.mark.slow

COLUMNS = """
[item.genre]
kind = "category"
cross = 16
[item.tags]
kind = "categories"
[item.minutes]
kind = "number"
[item.title]
kind = "text"
buckets = 50
cross = 8
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory, narrow):
    """Prepared data with features, items that its log never shows, and a trained agent."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "features.toml").write_text(COLUMNS)
    arguments = [
        f"--out={folder / 'data'}", f"--attributes_out={folder / 'attributes'}",
        f"--feature_columns={folder / 'features.toml'}", "--embedded_num_users=60",
        "--embedded_new_items=12", "--max_steps=8", "--history_length=6",
    ]  # fmt: skip
    assert flags.call("launch.prepare_data", arguments) == 0
    train = ["--method=goalrec", f"--data={folder / 'data'}", f"--out={folder / 'run'}"]
    assert flags.call("launch.train", [*train, *narrow, "--log_rounds=2"]) == 0
    return folder


def changed(work, out, *more, items="attributes/item_features.csv"):
    arguments = [f"--agent={work / 'run' / 'agent_off'}", f"--items={work / items}"]
    return flags.call("launch.update_items", [*arguments, f"--out={out}", *more])


def test_an_item_of_today_is_ranked_by_the_export(work, tmp_path, capsys):
    assert changed(work, tmp_path / "agent") == 0
    assert "120 items, 12 added, 0 removed" in capsys.readouterr().out
    data = storage.PreparedData.open(work / "data")
    assert data.spec.num_items == 108 and data.spec.item_features is not None
    new = sorted(
        set(pl.read_csv(work / "attributes" / "item_features.csv")["item"])
        - set(data.vocabulary.items.tolist())
    )
    assert len(new) == 12
    export = [f"--agent={tmp_path / 'agent'}", f"--out={tmp_path / 'export'}"]
    assert flags.call("launch.export_model", export) == 0
    model = loaded.ExportedModel(tmp_path / "export" / "1")
    history, feedback = data.vocabulary.items[:2].tolist(), [[1.0, 5.0], [0.0, 0.0]]
    [answer] = model.rank(
        [requests.Request(history, feedback, 1, goal_name="click", k=12, candidates=new)]
    )
    assert sorted(answer.item) == new
    agent = registry.load(tmp_path / "agent")
    columns = {"click": [1.0, 0.0], "watch_seconds": [5.0, 0.0]}
    question = ranking.checked_request(
        agent.vocabulary, agent.spec, history, columns, 1, candidates=new, k=12
    )
    np.testing.assert_allclose(answer.score, agent.rank(question).scores, rtol=1e-4, atol=1e-5)
    assert np.std(answer.score) > 0


def test_a_second_agent_goes_elsewhere(work, tmp_path, capsys):
    (tmp_path / "agent").mkdir()
    assert changed(work, tmp_path / "agent") == 2
    assert f"--out={tmp_path / 'agent'}: exists already" in capsys.readouterr().err


def test_a_mistake_leaves_nothing(work, tmp_path, capsys):
    (work / "bad.csv").write_text("item,genre,tags,minutes,title\ni999,drama,hd,long,x\n")
    assert changed(work, tmp_path / "agent", items="bad.csv") == 2
    assert "bad.csv: item 'i999', column 'minutes': 'long'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def in_a_process(work, out, *more):
    command = [
        sys.executable, "-m", "launch.update_items", f"--agent={work / 'run' / 'agent_off'}",
        f"--items={work / 'attributes' / 'item_features.csv'}", f"--out={out}", *more,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True)


def test_one_command_writes_the_agent_and_its_export(work, tmp_path):
    export = tmp_path / "export"
    first = [f"--agent={work / 'run' / 'agent_off'}", f"--out={export}", "--name=shop"]
    assert flags.call("launch.export_model", [*first, "--table=bfloat16"]) == 0
    done = in_a_process(work, tmp_path / "agent", f"--export={export}")
    assert done.returncode == 0, done.stderr
    assert f"{export / '2'}: verified against the agent" in done.stdout
    manifest = json.loads((export / "2" / "manifest.json").read_text())
    assert (manifest["name"], manifest["table"]["precision"]) == ("shop", "bfloat16")
    agent = registry.load(tmp_path / "agent")
    assert manifest["fingerprint"] == agent.fingerprint
    model = loaded.ExportedModel(export / "2")
    items = agent.vocabulary.items.tolist()
    [answer] = model.rank([requests.Request((), (), 0, goal_name="click", k=120)])
    assert len(items) == 120 and set(answer.item) <= set(items)


def test_names_and_features_follow_the_table(work, tmp_path, capsys):
    """Items of the new table are shown as there, the others as in the version before."""
    export = tmp_path / "export"
    first = [f"--agent={work / 'run' / 'agent_off'}", f"--out={export}", "--item_name=title"]
    assert flags.call("launch.export_model", first) == 2
    assert "item_name 'title': a column of which table?" in capsys.readouterr().err
    assert flags.call("launch.export_model", [*first, f"--data={work / 'data'}"]) == 0
    before = loaded.ExportedModel(export / "1").descriptions
    assert before.columns == ["genre", "tags", "minutes"]
    data = storage.PreparedData.open(work / "data")
    items = data.vocabulary.items.tolist()
    titles = data.features("item")["title"].to_list()
    assert [one.name for one in before.of(items)] == titles and any(titles)

    (work / "one.csv").write_text(
        f"item,genre,tags,minutes,title\ni999,drama,a|b,5,New\n{items[1]},,,,Renamed\n"
    )
    more = [f"--export={export}"]
    assert changed(work, tmp_path / "agent", *more, items="one.csv") == 0
    after = loaded.ExportedModel(export / "2").descriptions
    new, renamed, same = after.of(["i999", items[1], items[0]])
    assert (new.name, dict(new.features)) == (
        "New", {"genre": "drama", "tags": ["a", "b"], "minutes": 5.0},
    )  # fmt: skip
    assert (renamed.name, renamed.features) == ("Renamed", {})
    assert same == before.of(items[:1])[0]

    (work / "nameless.csv").write_text("item,genre,tags,minutes,title2\ni998,drama,a,5,New\n")
    assert changed(work, tmp_path / "third", *more, items="nameless.csv") == 2
    assert "column 'title'" in capsys.readouterr().err
    assert not (tmp_path / "third").exists() and not (export / "3").exists()
    assert changed(work, tmp_path / "third", "--item_name=title") == 2
    assert "--item_name is for an export: pass --export, too" in capsys.readouterr().err


def test_the_first_version_has_the_name_of_the_method(work, tmp_path):
    assert changed(work, tmp_path / "agent", f"--export={tmp_path / 'export'}") == 0
    manifest = json.loads((tmp_path / "export" / "1" / "manifest.json").read_text())
    assert (manifest["name"], manifest["table"]["precision"]) == ("goalrec", "float32")


def test_an_export_that_fails_leaves_neither(work, tmp_path, monkeypatch, capsys):
    def fails(version):
        raise UserError(f"{version}: answers differ")

    monkeypatch.setattr(golden, "verify", fails)
    assert changed(work, tmp_path / "agent", f"--export={tmp_path / 'export'}") == 2
    assert "answers differ" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert [path.name for path in (tmp_path / "export").iterdir()] == [".lock"]


def test_a_damaged_newest_version_is_named(work, tmp_path):
    (tmp_path / "export" / "7").mkdir(parents=True)
    done = in_a_process(work, tmp_path / "agent", f"--export={tmp_path / 'export'}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{tmp_path / 'export' / '7'}: no exported model here" in done.stderr
    assert not (tmp_path / "agent").exists()
