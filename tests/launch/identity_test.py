"""Scripts that take two artefacts reject a pair with different dense ids."""

import ast
import json
import os
import pathlib
import shutil

import numpy as np
import polars as pl
import pytest

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from launch.experiments import (
    figure_plan,
    figures,
    table_plan,
    table_results,
    table_settings,
    table_tuning,
    tables,
)
from tests.tfrec.environments.ports import torch_files
from tests.tfrec.serving import fake_ranker
from tfgoalrec import trained
from tfrec import options
from tfrec.data import identity, storage
from tfrec.environments import worlds
from tfrec.environments.fitted import recurrent_model, variants
from tfrec.environments.ports import virtualtb
from tfrec.errors import UserError
from tfrec.methods import online_run, registry
from tfrec.serving import export, files

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = recurrent_model.RecurrentModelConfig(hidden_units=4, item_units=3, head_units=4, rank=2)


SHORT = ("--test_fraction=0.4", "--max_steps=8", "--history_length=6")


def save_world(data, folder, seed=0):
    """A simulator of prepared data that was not fitted; its weights depend on the seed."""
    opened = storage.PreparedData.open(data)
    recurrent_model.RecurrentModel(opened.spec, SIZES, seed).save(
        folder / "model", opened.origin
    )
    return folder


@pytest.fixture(scope="module")
def world(embedded_data, tmp_path_factory):
    return save_world(embedded_data, tmp_path_factory.mktemp("worlds") / "world")


@pytest.fixture(scope="module")
def tuesday(tmp_path_factory):
    """The log of `embedded_data`, prepared with another split: other dense ids."""
    folder = tmp_path_factory.mktemp("tuesday") / "data"
    size = ("--embedded_num_users=60", "--embedded_num_items=30", "--max_steps=12")
    arguments = (f"--out={folder}", "--history_length=8", *size, "--seed=8")
    assert flags.call("launch.prepare_data", arguments) == 0
    return folder


def prepare_table(folder, name, *arguments):
    """Clicks of twelve users on the same items: dense ids do not depend on a split."""
    rows = [(f"u{u:02}", f"i{i}", 60 * i, (u + i) % 2) for u in range(12) for i in range(5)]
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "click"], orient="row")
    frame.write_csv(folder / "log.csv")
    out = folder / name
    command = ("--source=table", f"--path={folder / 'log.csv'}", f"--out={out}", *arguments)
    assert flags.call("launch.prepare_data", (*SHORT, *command)) == 0
    return out


# Script -> what it is given beside --out. {data} and {world} belong together with {agent};
# {tuesday} is another preparation.
REJECTED = {
    "a world on other data": [
        ("launch.evaluate", "--data={tuesday}", "--world={world}"),
        ("launch.train", "--method=goalrec", "--data={tuesday}", "--world={world}"),
        ("launch.train", "--method=dien", "--data={tuesday}", "--world={world}"),
        ("launch.tune", "--method=dien", "--data={tuesday}", "--world={world}"),
        ("launch.check_leak", "--data={tuesday}", "--world={world}"),
        ("launch.check_world", "--data={tuesday}", "--worlds={world}"),
        (
            "launch.train",
            "--environment=users",
            "--method=td3",
            "--data={tuesday}",
            "--world={world}",
        ),
        (
            "launch.tune",
            "--environment=users",
            "--method=td3",
            "--data={tuesday}",
            "--world={world}",
        ),
    ],
    "an agent on other data": [
        ("launch.evaluate", "--data={tuesday}", "--world=truth", "--agents=g={agent}"),
        (
            "launch.evaluate",
            "--data={tuesday}",
            "--world=truth",
            "--agents=one={agent},two={agent}",
        ),
        ("launch.export_model", "--agent={agent}", "--data={tuesday}"),
    ],
}
# Scripts with two artefacts that are compared by another test, below or in the named file.
ELSEWHERE = {
    "serve": "serve_ui_test.py",  # raw ids
    "recommend_all": "recommend_all_test.py",  # raw ids
    "compare_offline": "compare_offline_test.py",  # makes its users of the data itself
}


@pytest.mark.parametrize(
    ("script", "arguments"),
    [(script, rest) for rows in REJECTED.values() for script, *rest in rows],
)
def test_other_dense_ids_are_rejected(
    script, arguments, goalrec, world, tuesday, tmp_path, capsys
):
    agent, out = goalrec.run / "agent", tmp_path / "out"
    filled = [x.format(tuesday=tuesday, world=world, agent=agent) for x in arguments]
    assert flags.call(script, [*filled, f"--out={out}"]) == 2
    said = capsys.readouterr().err
    artefact = world if any("{world}" in x for x in arguments) else agent
    assert f"{artefact} was " in said and f"than {tuesday}: item ids differ: position" in said
    assert "fingerprints of items: " in said and "Traceback" not in said
    assert not out.exists()


def test_every_script_with_two_artefacts_is_in_the_table():
    """A script that reads two folders of ours must have a row above."""
    artefacts = {"data", "world", "agent", "agents", "model", "users"}
    covered = {script.split(".")[1] for rows in REJECTED.values() for script, *_ in rows}
    for path in (ROOT / "launch").glob("*.py"):
        tree = ast.parse(path.read_text())
        fields = {
            node.target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Call)
            and getattr(node.value.func, "id", "") in ("option", "required")
            # A choice among words, such as --model of fit_simulator, names no folder.
            and "Literal" not in ast.unparse(node.annotation)
        }
        if len(fields & artefacts) > 1:
            assert path.stem in covered | ELSEWHERE.keys(), path


def test_a_baseline_of_other_data_is_rejected_beside_an_agent_that_fits(
    goalrec, tuesday, tmp_path, capsys
):
    data, folder = storage.PreparedData.open(tuesday), tmp_path / "baseline"
    method = registry.get("wide_and_deep")
    config = method.config(
        embedding=4, hidden=8, batch=16, replay_sessions=64, sessions_per_round=64
    )
    log = data.episodes("train")
    vectors = registry.item_vectors(method, config, log, data.spec)
    learner = method.make(config, data.spec, log, None, vectors, 0)
    about = worlds.about(data, worlds.inputs(data))
    method.trained(config, data.spec, learner, data.vocabulary, about).save(folder)
    agents = f"--agents=g={goalrec.run / 'agent'},wide={folder}"
    out = tmp_path / "out"
    command = [f"--data={goalrec.data}", "--world=truth", agents, f"--out={out}"]
    assert flags.call("launch.evaluate", command) == 2
    said = capsys.readouterr().err
    assert f"{folder} was trained on another log" in said and "item ids differ" in said
    assert not out.exists()


def test_an_agent_that_may_have_seen_the_test_users_is_rejected(narrow, tmp_path, capsys):
    monday, tuesday = (
        prepare_table(tmp_path, name, f"--seed={seed}")
        for name, seed in (("monday", 7), ("tuesday", 8))
    )
    one, other = (storage.PreparedData.open(x) for x in (monday, tuesday))
    identity.check(one.origin, other.origin)  # the split is all that differs
    save_world(tuesday, tmp_path / "world")
    run = tmp_path / "run"
    size = (*narrow, "--log_rounds=1")
    assert (
        flags.call(
            "launch.train", ["--method=goalrec", f"--data={monday}", f"--out={run}", *size]
        )
        == 0
    )
    evaluated = [f"--world={tmp_path / 'world'}", f"--agents=g={run / 'agent_off'}"]
    evaluated += [f"--out={tmp_path / 'out'}", "--sessions_per_user=1"]
    capsys.readouterr()
    assert flags.call("launch.evaluate", [f"--data={tuesday}", *evaluated]) == 2
    said = capsys.readouterr().err
    assert f"seed is 7 in {run / 'agent_off'} and 8 in {tuesday}" in said
    assert f"It has seen test users of {tuesday}" in said
    assert not (tmp_path / "out").exists()
    # A simulator is fitted on all users: any split of the same ids will do.
    assert flags.call("launch.evaluate", [f"--data={monday}", *evaluated]) == 0


def test_a_world_that_does_not_record_its_ids_is_rejected(embedded_data, tmp_path, capsys):
    spec = storage.PreparedData.open(embedded_data).spec
    recurrent_model.RecurrentModel(spec, SIZES).save(tmp_path / "old" / "model")
    command = [f"--data={embedded_data}", f"--world={tmp_path / 'old'}"]
    assert flags.call("launch.evaluate", [*command, f"--out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'old'}: does not record the items and users" in said
    assert f"launch.fit_simulator --data={embedded_data} --out={tmp_path / 'old'}" in said


# What is recorded of an evaluation, and read by the export.


@pytest.fixture(scope="module")
def evaluated(goalrec, world, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated")
    agents = f"--agents=off={goalrec.run / 'agent_off'}"
    command = [f"--data={goalrec.data}", f"--world={world}", agents, f"--out={out}"]
    assert (
        flags.call("launch.evaluate", [*command, "--max_users=4", "--sessions_per_user=1"]) == 0
    )
    return out / "results.json"


def test_results_record_the_evaluated_agents(evaluated, goalrec, world):
    fingerprints = json.loads(evaluated.read_text())["fingerprints"]
    data = storage.PreparedData.open(goalrec.data)
    assert fingerprints == {
        "data": data.fingerprint,
        "world": worlds.load(str(world), data).fingerprint,
        "agents": {"off": [trained.load(goalrec.run / "agent_off").fingerprint]},
    }


def test_metrics_of_another_agent_are_not_exported(evaluated, goalrec, tmp_path, capsys):
    out = tmp_path / "out"
    command = [f"--results={evaluated}", f"--out={out}"]
    agent = goalrec.run / "agent"
    assert flags.call("launch.export_model", [f"--agent={agent}", *command]) == 2
    said = capsys.readouterr().err
    opened = trained.load(agent)
    assert f"--results={evaluated}: evaluated " in said
    assert f"and not {agent}, whose fingerprint is {opened.fingerprint}" in said
    assert not out.exists()

    old = json.loads(evaluated.read_text())
    del old["fingerprints"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    command = [f"--agent={agent}", f"--results={tmp_path / 'old.json'}", f"--out={out}"]
    assert flags.call("launch.export_model", command) == 2
    assert "does not record what was evaluated" in capsys.readouterr().err
    assert not out.exists()


def test_the_export_keeps_what_the_agent_was_made_with(evaluated, goalrec, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(goalrec.run / "agent_off", folder)
    command = [f"--agent={folder}", f"--data={goalrec.data}", f"--results={evaluated}"]
    assert flags.call("launch.export_model", [*command, f"--out={tmp_path / 'out'}"]) == 0
    manifest = files.open_manifest(tmp_path / "out" / "1")
    data = storage.PreparedData.open(goalrec.data)
    assert manifest["fingerprint"] == trained.load(goalrec.run / "agent_off").fingerprint
    assert manifest["data"]["fingerprint"] == data.fingerprint
    assert manifest["data"]["ids"] == data.manifest["ids"]
    assert manifest["data"]["split"] == data.manifest["split"]


def test_an_agent_with_another_vocabulary_beside_it_is_damaged(goalrec, tuesday, tmp_path):
    folder = tmp_path / "agent"
    shutil.copytree(goalrec.run / "agent", folder)
    shutil.copy(tuesday / "vocabulary_items.parquet", folder)
    with pytest.raises(UserError, match="agent.json: damaged: the fingerprint of its ids"):
        registry.load(folder)


def test_an_agent_of_an_earlier_version_is_known_by_its_vocabulary(goalrec, tuesday, tmp_path):
    folder = tmp_path / "agent"
    shutil.copytree(goalrec.run / "agent", folder)
    about = json.loads((folder / "agent.json").read_text())
    del about["ids"], about["weights"], about["about"]["split"]
    (folder / "agent.json").write_text(json.dumps(about))
    agent = registry.load(folder)
    data, other = (storage.PreparedData.open(x) for x in (goalrec.data, tuesday))
    identity.check(agent.origin(folder), data.origin, same_split=True)
    with pytest.raises(UserError, match="item ids differ"):
        identity.check(agent.origin(folder), other.origin)
    del about["about"]["data"]
    (folder / "agent.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="does not record how its log was split"):
        identity.check(registry.load(folder).origin(folder), data.origin, same_split=True)


# Runs and studies that go on.


@pytest.fixture
def run(embedded_data, narrow, tmp_path):
    """A finished run in a fitted world, and the command line that wrote it, but for paths."""
    save_world(embedded_data, tmp_path / "world")
    shutil.copytree(embedded_data, tmp_path / "data")
    size = (*narrow, "--log_rounds=1", "--play_rounds=1", "--save_every=1")

    def train(data="data", world="world", out="run"):
        folders = {"data": data, "world": world, "out": out}
        places = [f"--{name}={os.path.join(tmp_path, x)}" for name, x in folders.items()]
        return flags.call("launch.train", ["--method=goalrec", *places, *size])

    assert train() == 0
    return train


def test_a_run_continues_under_other_paths_of_its_inputs(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("world")
    relative = os.path.relpath(tmp_path / "world")
    for name in ("world/", "./world", "link", os.path.join(os.getcwd(), relative)):
        assert run(world=name) == 0, name
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "world").rename(tmp_path / "other")
    (tmp_path / "data").rename(tmp_path / "log")
    assert run(data="log", world="other", out="moved") == 0
    assert "going on from" in capsys.readouterr().out


def test_a_run_in_a_replaced_world_or_on_replaced_data_is_rejected(
    run, tmp_path, tuesday, capsys
):
    before = sorted((tmp_path / "run").rglob("*"))
    data = storage.PreparedData.open(tmp_path / "data")
    first = worlds.load(str(tmp_path / "world"), data).fingerprint
    save_world(tmp_path / "data", tmp_path / "world", seed=99)
    second = worlds.load(str(tmp_path / "world"), data).fingerprint
    assert run() == 2
    said = capsys.readouterr().err
    path = tmp_path / "world"
    assert (
        f"world: was {path} with fingerprint {first}, is now {path} with fingerprint {second}: "
        "it was replaced since" in said
    )
    assert "data: was" not in said

    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tuesday, tmp_path / "data")
    save_world(tmp_path / "data", tmp_path / "world")
    assert run() == 2
    assert f"data: was {tmp_path / 'data'} with fingerprint {data.fingerprint}" in (
        capsys.readouterr().err
    )
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_a_run_that_recorded_a_path_alone_is_rejected(run, tmp_path, capsys):
    path = tmp_path / "run" / "config.json"
    saved = json.loads(path.read_text())
    del saved["inputs"]
    path.write_text(json.dumps(saved))
    assert run() == 2
    assert "data, world: their fingerprints were not recorded" in capsys.readouterr().err


def test_a_study_in_a_replaced_world_is_rejected(embedded_data, tmp_path, capsys):
    save_world(embedded_data, tmp_path / "world")
    command = [
        "--method=wide_and_deep", f"--data={embedded_data}", f"--out={tmp_path / 'out'}",
        "--embedding=4", "--hidden=8", "--batch=16", "--replay_sessions=64",
        "--sessions_per_round=8", "--updates_per_round=1", "--log_rounds=1",
        "--play_rounds=0", "--max_users=3", "--sessions_per_user=1",
        "--fields=learning_rate", "--trials=1",
    ]  # fmt: skip
    assert flags.call("launch.tune", [*command, f"--world={tmp_path / 'world'}"]) == 0
    assert flags.call("launch.tune", [*command, f"--world={tmp_path / 'world'}/"]) == 0
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert set(best["inputs"]) == {"data", "world"}
    save_world(embedded_data, tmp_path / "world", seed=99)
    assert flags.call("launch.tune", [*command, f"--world={tmp_path / 'world'}"]) == 2
    said = capsys.readouterr().err
    assert f"world: was {tmp_path / 'world'} with fingerprint" in said
    assert "replaced since" in said


def test_worlds_have_fingerprints_of_their_responses(embedded_data, world):
    data = storage.PreparedData.open(embedded_data)
    base, truth = worlds.load(str(world), data), worlds.load(worlds.TRUTH, data)
    made = [
        base,
        truth,
        variants.with_candidates(base, 5),
        variants.with_candidates(truth, 5),
        variants.HighVariance(base),
        variants.HighVariance(base, mode="literal"),
        variants.HighVariance(base, delay=2),
        variants.HighVariance(truth),
    ]
    assert len({one.fingerprint for one in made}) == len(made)
    assert worlds.load(str(world), data).fingerprint == base.fingerprint


# Cells of tables and figures.

SMOKE = table_plan.SCALES["smoke"]


@pytest.fixture
def cells(embedded_data, tmp_path):
    """A folder of cells: one control on the embedded log, done."""
    (tmp_path / "embedded").mkdir()
    shutil.copytree(embedded_data, tmp_path / "embedded" / "data")
    made_with = table_settings.check_prepared(tmp_path / "empty", "embedded", "", SMOKE)
    (tmp_path / "embedded" / "prepared.json").write_text(json.dumps(made_with))
    cell = table_plan.Cell("embedded", "vanilla", "random", 0)
    setting = table_settings.setting(tmp_path, cell.data_set, cell.environment, SMOKE)
    tables.run(tmp_path, cell, setting, SMOKE)
    return tmp_path, cell


def test_a_cell_of_other_data_is_rejected(cells, tuesday, capsys):
    out, cell = cells
    table_results.check_done(out, [cell], SMOKE)
    one_cell = ["--scale=smoke", "--method=random", f"--out={out}"]
    written = cell.result(out).stat().st_mtime_ns
    assert flags.call("launch.run_cell", one_cell) == 0
    assert cell.result(out).stat().st_mtime_ns == written, "a finished cell was run again"
    command = ["--table=1", "--scale=smoke", "--methods=goalrec_off", f"--out={out}"]
    shutil.rmtree(out / "embedded" / "data")
    table_results.check_done(out, [cell], SMOKE)  # nothing there to compare it with
    shutil.copytree(tuesday, out / "embedded" / "data")
    before = cell.result(out).read_bytes()
    for extra in ([], ["--report_only"]):
        assert flags.call("launch.reproduce", [*command, *extra]) == 2
        said = capsys.readouterr().err
        assert f"{cell.result(out)} was made with other inputs" in said
        assert "data: was" in said and "it was replaced since" in said
    assert cell.result(out).read_bytes() == before
    assert flags.call("launch.run_cell", one_cell) == 2
    assert "was made with other inputs" in capsys.readouterr().err


def test_a_cell_of_another_scale_or_of_an_earlier_version_is_rejected(cells):
    out, cell = cells
    with pytest.raises(UserError, match="scale.updates_per_round: was 5, is now 100"):
        table_results.check_done(out, [cell], table_plan.SCALES["sample"])
    document = json.loads(cell.result(out).read_text())
    del document["inputs"]
    cell.result(out).write_text(json.dumps(document))
    with pytest.raises(UserError, match="fingerprints were not recorded"):
        table_results.check_done(out, [cell], SMOKE)


def test_tuned_fields_of_other_data_are_rejected(cells, tuesday):
    out, cell = cells
    inputs = table_settings.setting(out, "embedded", "vanilla", SMOKE).inputs
    folder = out / "embedded" / "tuning" / "td3"
    folder.mkdir(parents=True)
    best = {"overrides": {"batch": 8}, "inputs": identity.recorded(inputs)}
    (folder / "best.json").write_text(json.dumps(best))
    assert table_tuning.tuned_fields(out, "embedded", "td3", inputs) == {"batch": 8}
    shutil.rmtree(out / "embedded" / "data")
    shutil.copytree(tuesday, out / "embedded" / "data")
    with pytest.raises(UserError, match="best.json was tuned with other inputs:\n  data: was"):
        table_results.check_done(out, [cell._replace(method="td3")], SMOKE)


@pytest.mark.parametrize("given", ["", "yoochoose-clicks.dat"])
def test_both_files_of_yoochoose_identify_a_data_set(tmp_path, given):
    log, out = tmp_path / "log", tmp_path / "out"
    log.mkdir()
    (log / "yoochoose-clicks.dat").write_text("1,2014-04-07T10:51:09.277Z,7,0\n")
    (log / "yoochoose-buys.dat").write_text("1,2014-04-07T10:52:09.277Z,7,9,1\n")
    made_with = table_settings.check_prepared(out, "yoochoose", str(log / given), SMOKE)
    assert set(made_with["log"]) == {"yoochoose-clicks.dat", "yoochoose-buys.dat"}
    (out / "yoochoose").mkdir(parents=True)
    (out / "yoochoose" / "prepared.json").write_text(json.dumps(made_with))
    (log / "yoochoose-buys.dat").write_text("1,2014-04-07T10:52:09.277Z,7,9,2\n")
    with pytest.raises(UserError, match="log.yoochoose-buys.dat: was"):
        table_settings.check_prepared(out, "yoochoose", str(log / given), SMOKE)


def test_a_log_that_was_replaced_is_rejected(tmp_path, capsys):
    log, out = tmp_path / "ml" / "ratings.csv", tmp_path / "out"
    log.parent.mkdir()
    log.write_text("userId,movieId,rating,timestamp\n1,1,4.0,1\n")
    made_with = table_settings.check_prepared(out, "movielens", str(log), SMOKE)
    (out / "movielens").mkdir(parents=True)
    (out / "movielens" / "prepared.json").write_text(json.dumps(made_with))
    # Content and not spelling: the folder, or the file.
    table_settings.check_prepared(out, "movielens", f"{log.parent}/", SMOKE)
    log.write_text("userId,movieId,rating,timestamp\n1,2,4.0,1\n")
    command = ["--table=1", "--scale=smoke", f"--movielens={log}", f"--out={out}"]
    assert flags.call("launch.reproduce", command) == 2
    said = capsys.readouterr().err
    assert f"{out / 'movielens'} was prepared from another log" in said
    assert "log.ratings.csv: was" in said
    with pytest.raises(UserError, match="--max_users=200.*--max_users=0"):
        table_settings.check_prepared(out, "movielens", str(log), table_plan.SCALES["sample"])
    (out / "movielens" / "prepared.json").unlink()
    (out / "movielens" / "data").mkdir()
    (out / "movielens" / "data" / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="prepared.json: absent"):
        table_settings.check_prepared(out, "movielens", str(log), SMOKE)


def test_figure_cells_of_other_weights_or_sizes_are_rejected(tmp_path):
    scale = figure_plan.SCALES["smoke"]
    one, other = (
        figure_plan.Cell("virtualtb", name, 0) for name in ("imrl", figure_plan.CONTROLS)
    )
    task = figure_plan.task(one, scale, "somewhere")
    made_with = {
        "inputs": {"virtualtb": {"path": "clone", "fingerprint": "1234"}},
        "play": {**vars(task.play)},
        "method_config": options.resolved(online_run.fitting(task.numbers, task.play)),
    }
    for cell, document in ((one, made_with), (other, {"random": made_with})):
        cell.result(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        cell.result(tmp_path).write_text(json.dumps(document))
    figures.check_done(tmp_path, [one, other], scale, "")
    with pytest.raises(UserError, match="play.*total_iterations: was 12, is now"):
        figures.check_done(tmp_path, [one], figure_plan.SCALES["full"], "")
    best = tmp_path / "virtualtb/tuning/imrl/best.json"
    best.parent.mkdir(parents=True)
    tuned = {"inputs": made_with["inputs"], "overrides": {"learning_rate": 3e-3}}
    best.write_text(json.dumps(tuned))
    with pytest.raises(UserError, match="method.learning_rate: was 0.001, is now 0.003"):
        figures.check_done(tmp_path, [one, other], scale, "")
    best.unlink()
    made_with["inputs"]["virtualtb"]["fingerprint"] = "5678"
    one.result(tmp_path).write_text(json.dumps(made_with))
    with pytest.raises(UserError, match="controls.json was made with other .*\n  virtualtb"):
        figures.check_done(tmp_path, [one, other], scale, "")


# An export and users of a log, by raw ids.


def test_users_of_a_log_without_the_models_items_are_rejected(embedded_data, tmp_path, capsys):
    ranker = fake_ranker.FakeRanker(
        items=np.array([f"film{i}" for i in range(7)], dtype=object)
    )
    version = export.export(ranker, tmp_path / "export")
    command = [f"--model={version.parent}", "--ui", f"--users={embedded_data}"]
    assert flags.call("launch.serve", [*command, "--port=0", "--rest_port=0"]) == 2
    said = capsys.readouterr().err
    assert f"--users={embedded_data} has no item of {version}" in said


# VirtualTB's weights, a folder outside of this project.


def write_weights(folder, seed):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    for file, widths in virtualtb.FILES.values():
        arrays = {}
        for layer, (wide, out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            arrays[f"{2 * layer}.weight"] = random.normal(size=(out, wide)).astype(np.float32)
            arrays[f"{2 * layer}.bias"] = random.normal(size=out).astype(np.float32)
        torch_files.write_arrays(folder / file, arrays)
    return folder


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("launch.train", ("--method=imrl_ea", "--test_every=1", "--test_sessions=4")),
        (
            "launch.tune",
            ("--method=imrl_ea", "--trials=1", "--fields=learning_rate", "--score_sessions=4"),
        ),
    ],
)
def test_replaced_weights_of_a_simulator_are_rejected(script, arguments, tmp_path, capsys):
    weights, out = write_weights(tmp_path / "weights", seed=0), tmp_path / "out"
    command = [
        "--environment=virtualtb", f"--out={out}", *arguments, "--hidden=4", "--batch=4",
        "--sessions=4", "--rollout_steps=2", "--updates=1", "--warm_up=8",
        "--total_iterations=1", "--final_sessions=4",
    ]  # fmt: skip
    assert flags.call(script, [*command, f"--virtualtb_path={weights}"]) == 0
    # Content and not spelling: a clone keeps them in virtualTB/data.
    clone = tmp_path / "clone" / "virtualTB" / "data"
    shutil.copytree(weights, clone)
    assert flags.call(script, [*command, f"--virtualtb_path={tmp_path / 'clone'}/"]) == 0
    write_weights(weights, seed=1)
    assert flags.call(script, [*command, f"--virtualtb_path={weights}"]) == 2
    said = capsys.readouterr().err
    assert f"virtualtb: was {weights} with fingerprint" in said and "replaced since" in said
