"""launch.reproduce: what it plans, runs, resumes and shows."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from launch import flags, reproduce
from launch.experiments import (
    table_plan,
    table_report,
    table_results,
    table_settings,
    table_tuning,
    tables,
)
from launch.experiments.table_plan import Cell
from tfrec import types
from tfrec.data import identity
from tfrec.environments import controls, users
from tfrec.errors import UserError
from tfrec.methods import registry

pytestmark = pytest.mark.slow

SMOKE = table_plan.SCALES["smoke"]
SETS = ("movielens", "taobao", "yoochoose")
ROOT = pathlib.Path(__file__).parents[2]


def test_the_plan_has_every_row_of_the_tables():
    scale = dataclasses.replace(SMOKE, seeds=2)
    cells = table_report.plan((1, 2, 3), SETS, (), scale)
    assert len(cells) == len(set(cells))
    learned = [
        cell
        for cell in cells
        if cell.method not in ("random", "popularity", "myopic", "exit_averse")
    ]
    # 9 rows in Table 1, 5 in Table 2, 5 in Table 3 in each of two forms of noise.
    assert len(learned) == 2 * 3 * (9 + 5 + 2 * 5)
    assert {cell.method for cell in learned if cell.environment == "vanilla"} == {
        "item_counts", "wide_and_deep", "dien", "dyna_q", "rainbow", "td3", "goalrec",
        "goalrec_off", "goalrec_paper",
    }  # fmt: skip
    # Controls stand in Tables 1 and 2: the evaluation of Table 3 has neither delay nor noise.
    assert len(cells) - len(learned) == 2 * 3 * 2 * 4
    # All of seed 0 comes first, so that a run that is stopped early has filled every row.
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_only_some_methods():
    cells = table_report.plan((2,), ("taobao",), ("td3",), SMOKE)
    assert {cell.method for cell in cells} == {
        "random",
        "popularity",
        "myopic",
        "exit_averse",
        "td3",
    }


def test_controls_share_a_process_and_methods_do_not():
    cells = table_report.plan((1,), ("taobao",), ("td3", "dien"), SMOKE)
    full = table_plan.SCALES["full"]
    assert sorted(map(len, table_report.together(cells, full))) == [1, 1, 4]
    # At the smaller scales imports would take longer than the cells, or nearly.
    assert list(map(len, table_report.together(cells, SMOKE))) == [6]


def test_every_method_is_tuned_with_the_same_budget():
    scale = dataclasses.replace(SMOKE, trials=3)
    cells = table_report.plan((1, 3), SETS, (), scale)
    assert len(table_report.to_tune(cells, scale)) == 3 * 9
    assert table_report.to_tune(cells, SMOKE) == []
    assert "27 x 3" not in table_report.budget(cells, scale, jobs=2)
    assert "81 of tuning (3 settings for each method and data set)" in table_report.budget(
        cells, scale, jobs=2
    )


def test_a_method_whose_tuning_failed_is_not_run_with_its_defaults(tmp_path):
    scale = dataclasses.replace(SMOKE, trials=3)
    cells = table_report.plan((1,), ("taobao",), ("td3", "dien"), scale)

    def methods():
        stages = dict(reproduce._stages(tmp_path, {"taobao": "log.csv"}, cells, scale))
        (arguments,) = {job.arguments for job in stages["cells"]}
        tuned = [job.arguments[1] for job in stages["tune"]]
        return tuned, arguments[2].removeprefix("--method=").split(",")

    assert methods() == (
        ["--method=dien", "--method=td3"],
        ["random", "popularity", "myopic", "exit_averse"],
    )
    best = tmp_path / "taobao/tuning/td3/best.json"
    best.parent.mkdir(parents=True)
    best.write_text(json.dumps({"trials": 3}))
    assert methods() == (
        ["--method=dien"],
        ["random", "popularity", "myopic", "exit_averse", "td3"],
    )


SPEC = types.DataSpec(
    feedback=(types.FeedbackColumn("buy", "binary", "purchases"),),
    num_items=50,
    num_users=9,
    history_length=4,
    max_steps=6,
)


def test_all_methods_of_a_table_have_the_same_schedule_and_options():
    scale = table_plan.SCALES["sample"]
    configs = {
        name: table_tuning.configuration(table_plan.row(name), "vanilla", scale, SPEC, {})
        for name in table_plan.IN_TABLE[1]
    }
    paper = configs.pop("goalrec_paper")
    counts = configs.pop("item_counts")
    for config in configs.values():
        assert (config.batch, config.updates_per_round) == (256, 100)
        assert (config.averaging, config.action_pool) == (0.99, 0.1)
    for config in (*configs.values(), paper, counts):
        assert (config.log_rounds, config.play_rounds, config.sessions_per_round) == (
            10, 20, 512,
        )  # fmt: skip
    assert configs["goalrec"].goal_columns == ("buy",)


def test_the_row_of_the_paper_has_none_of_our_additions():
    row, scale = table_plan.row("goalrec_paper"), table_plan.SCALES["sample"]
    tuned = {"learning_rate": 3e-4}
    config = table_tuning.configuration(row, "vanilla", scale, SPEC, tuned)
    assert type(config) is registry.get("goalrec").config
    assert config.goals == ("buy = 1*buy@0..",) and "buy@1..3" not in config.measurements
    assert (config.far_windows, config.advantage) == ("learned", "mlp")
    assert (config.averaging, config.action_pool, config.item_effect) == (0.0, 1.0, 0.0)
    assert config.learning_rate == 3e-4
    registry.get("goalrec").check(config, SPEC)
    assert "goalrec_paper" not in registry.names()


def test_the_full_scale_is_the_papers():
    full = table_plan.SCALES["full"]
    assert full.users == 100_000
    # 70,000 training users, at most 30 trajectories each.
    assert full.sessions_per_round * full.play_rounds <= 30 * 70_000


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("reproduction")
    arguments = ("--table=1", "--scale=smoke", "--methods=goalrec_off", f"--out={out}")
    assert flags.call("launch.reproduce", arguments) == 0
    return out, arguments


def test_the_log_has_the_noise_of_the_environment(finished):
    out, _ = finished
    calm, noisy = (
        table_settings.setting(out, "embedded", environment, SMOKE)
        for environment in ("vanilla", "high_variance")
    )
    before, after = calm.log.feedback[..., 0], noisy.log.feedback[..., 0]
    np.testing.assert_array_equal(before, calm.data.episodes("train").feedback[..., 0])
    steps = calm.log.length.sum()
    changed = np.sum(before != after) / steps
    assert 0.02 < changed < 0.3
    assert abs(after.sum() - before.sum()) / steps < 0.05
    for name in ("item", "length", "exited", "history_feedback"):
        np.testing.assert_array_equal(getattr(noisy.log, name), getattr(calm.log, name))


def test_cells_fill_the_table(finished):
    out, _ = finished
    done = sorted(
        path.parent.parent.name for path in out.glob("embedded/vanilla/*/seed0/result.json")
    )
    assert done == ["goalrec_off", "myopic", "optimum", "popularity", "random"]
    results = {
        name: json.loads((out / f"embedded/vanilla/{name}/seed0/result.json").read_text())
        for name in done
    }
    reward = {name: result["evaluated"]["reward"] for name, result in results.items()}
    assert reward["optimum"] > reward["myopic"] > reward["random"]
    table = (out / "vanilla.md").read_text()
    assert table.count("not run") == 0 and "GoalRec-off" in table
    assert (out / "vanilla.csv").read_text().startswith("data_set,method,metric")
    # The log has 120 items: fewer than the 200 and 1,000 candidates of the scale.
    page = (out / "report.md").read_text()
    assert "120 items (candidates: 120, high-dimensional 120)" in page
    assert "Share of the way from Random to Optimum" in page and "| Optimum | 100% [" in page
    page = (out / "report.html").read_text()
    assert "Table 1" in page and "data:image/png" in page
    assert "claims" in (out / "report.md").read_text()


def test_a_named_world_has_all_of_its_items_and_an_optimum(tmp_path):
    table_settings.prepare(tmp_path, "movielens_scale", "", SMOKE)
    setting = table_settings.setting(tmp_path, "movielens_scale", "vanilla", SMOKE)
    assert SMOKE.candidates < setting.spec.num_items == setting.spec.num_candidates
    more = dataclasses.replace(SMOKE, wide_candidates=1_500)
    with pytest.raises(UserError, match="--max_items=1500"):
        table_settings.check_prepared(tmp_path, "movielens_scale", "", more)
    environment = users.UserEnvironment(setting.evaluation_world)
    policies = controls.policies(setting.data, environment, 0)
    assert set(table_plan.DATA_SETS["movielens_scale"].controls) <= set(policies)
    assert setting.data.manifest["splits"]["train"]["users"] < SMOKE.world_users


def test_table_two_has_the_named_world_with_more_items(tmp_path):
    """Tuning is of the vanilla environment, and cells of both are checked with their own."""
    scale = dataclasses.replace(SMOKE, wide_candidates=1_500)
    table_settings.prepare(tmp_path, "yoochoose_scale", "", scale)
    few, many = (
        table_settings.setting(tmp_path, "yoochoose_scale", environment, scale)
        for environment in ("vanilla", "high_dimensional")
    )
    # Items that the log never shows are not in its vocabulary.
    assert few.spec.num_items <= 1_000 < many.spec.num_items <= 1_500
    cells = [
        Cell("yoochoose_scale", "vanilla", "random", 0),
        Cell("yoochoose_scale", "high_dimensional", "random", 0),
    ]
    for cell, setting in zip(cells, (few, many), strict=True):
        tables.run(tmp_path, cell, setting, scale)
    folder = tmp_path / "yoochoose_scale" / "tuning" / "td3"
    folder.mkdir(parents=True)
    best = {"overrides": {}, "inputs": identity.recorded(few.inputs)}
    (folder / "best.json").write_text(json.dumps(best))
    also_td3 = cells[1]._replace(method="td3")
    table_results.check_done(tmp_path, [*cells, also_td3], scale)
    (folder / "best.json").write_text(
        json.dumps({"overrides": {}, "inputs": identity.recorded(many.inputs)})
    )
    with pytest.raises(UserError, match="was tuned with other inputs"):
        table_results.check_done(tmp_path, [*cells, also_td3], scale)


def test_a_second_call_runs_nothing_again(finished, capfd):
    out, arguments = finished
    cell = Cell("embedded", "vanilla", "goalrec_off", 0)
    before = cell.result(out).stat().st_mtime_ns
    assert flags.call("launch.reproduce", arguments) == 0
    assert cell.result(out).stat().st_mtime_ns == before
    assert "5 of 5 cells are done" in capfd.readouterr().out


def test_cells_that_were_not_run_are_shown_as_such(finished, capfd):
    out, _ = finished
    arguments = ("--table=1,2", "--scale=smoke", f"--out={out}", "--report_only")
    assert flags.call("launch.reproduce", arguments) == 0
    assert "5 of 22 cells are done" in capfd.readouterr().out
    assert "| Rainbow | not run | not run | not run |" in (out / "vanilla.md").read_text()
    assert "not run" in (out / "high_dimensional.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table=4",), "--table=4: value should be one of <1|2|3|II>"),
        (("--methods=rainbows",), "no method 'rainbows'"),
    ],
)
def test_mistakes(tmp_path, capfd, arguments, message):
    assert flags.call("launch.reproduce", (*arguments, f"--out={tmp_path / 'out'}")) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_log_that_cannot_be_prepared_is_an_error_that_names_its_log(tmp_path, capfd):
    arguments = (f"--movielens={tmp_path / 'nowhere'}", "--methods=dien", "--table=1")
    assert flags.call("launch.reproduce", (*arguments, f"--out={tmp_path / 'out'}")) == 1
    error = capfd.readouterr().err
    assert "failed: movielens/prepare" in error
    [log] = [word for word in error.split() if word.endswith(".txt")]
    assert "nowhere" in pathlib.Path(log).read_text()


def test_it_stops_on_a_signal_and_continues(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "launch.reproduce", "--table=1", "--scale=smoke"]
    command += ["--methods=goalrec_off", f"--out={out}", "--jobs=1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    log = out / "logs" / "embedded-prepare.txt"
    deadline = time.monotonic() + 100
    while not log.exists() and time.monotonic() < deadline:
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=100)
    assert process.returncode == 42
    assert "stopped; the same command continues" in text
    assert not list(out.glob("embedded/vanilla/*/*/result.json"))
