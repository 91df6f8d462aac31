"""launch.reproduce --figure: its plan, runs and output."""

import dataclasses
import json
import pathlib

import numpy as np
import polars as pl
import pytest

from launch import flags
from launch.experiments import figure_plan, figure_report, figure_tuning, figures

pytestmark = pytest.mark.slow

SMOKE = figure_plan.SCALES["smoke"]


def request(**changes):
    base = figure_plan.FiguresRequest(
        pathlib.Path("out"), (2,), "smoke", virtualtb_path="somewhere"
    )
    return dataclasses.replace(base, **changes)


def test_figure_2_has_every_method_in_every_simulator():
    cells = figure_plan.plan(request(seeds=2))
    assert len(cells) == len(set(cells))
    # 11 methods, of which 3 need items, and the controls, once.
    assert len(cells) == 2 * (11 + 11 + 8) + 3
    assert not [c for c in cells if c.environment == "virtualtb" and c.method == "slateq"]
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_figure_3_is_the_ablations_in_virtual_taobao():
    cells = figure_plan.plan(request(figures=(3,)))
    assert {cell.environment for cell in cells} == {"virtualtb"}
    assert [c.method for c in cells] == [
        "controls", "imrl", "imrl_e", "imrl_a", "imrl_kl", "imrl_ea",
        "imrl_e_copies", "imrl_e_one", "imrl_e_learned",
        "imrl_a_faithful", "imrl_a_forward", "imrl_a_tenth",
    ]  # fmt: skip
    everywhere = figure_plan.plan(request(figures=(2, 3), environments=figure_plan.PUBLIC))
    # IMRL and IMRL-EA are in both figures, and run once.
    assert len(everywhere) == 11 + 11 + 8 + 3 * 9 + 3


def test_only_some():
    cells = figure_plan.plan(
        request(environments=("recsim",), methods=("imrl", "td3"), seeds=1)
    )
    assert [c.method for c in cells] == ["controls", "imrl", "td3"]


def test_methods_share_a_process_at_the_smoke_scale_alone():
    cells = figure_plan.plan(request(seeds=1))
    assert sorted(map(len, figure_plan.together(cells, SMOKE))) == [9, 12, 12]
    assert set(map(len, figure_plan.together(cells, figure_plan.SCALES["sample"]))) == {1}


def test_every_scale_fits_every_simulator():
    for scale in figure_plan.SCALES.values():
        for simulator in figure_plan.PUBLIC:
            for method in figure_plan.ABLATIONS:
                task = figure_plan.task(
                    figure_plan.Cell(simulator, method, 0), scale, "somewhere"
                )
                assert task.play.total_iterations % task.play.test_every == 0
                learns = (
                    task.play.total_iterations * task.play.sessions * task.play.rollout_steps
                )
                assert learns > 2 * task.play.warm_up
    numbers = figure_plan.task(figure_plan.Cell("recsim", "imrl_ea", 0), SMOKE, "").numbers
    assert (numbers.exploration, numbers.augmentation) == ("entropy", "none")


def test_imrls_tuned_setting_is_that_of_its_ablations_and_controls(tmp_path):
    assert figure_tuning.tuned_as("imrl_e_one") == figure_tuning.tuned_as("imrl_a") == "imrl"
    assert figure_tuning.tuned_as("sac") == "sac"
    best = figure_tuning.path(tmp_path, "recsim", "imrl")
    best.parent.mkdir(parents=True)
    document = {"trials": 4, "inputs": {}, "overrides": {"tau": 0.3, "copies": 7}}
    best.write_text(json.dumps(document))
    tuned = figure_tuning.tuned_fields(tmp_path, "recsim", "imrl_e_copies", {})
    assert tuned == {"tau": 0.3, "copies": 7}
    # What the name of a row says is not changed by tuning.
    one = figure_tuning.tuned_fields(tmp_path, "recsim", "imrl_e_one", {})
    cell = figure_plan.Cell("recsim", "imrl_e_one", 0)
    numbers = figure_plan.task(cell, figure_plan.SCALES["sample"], "", one).numbers
    assert (numbers.tau, numbers.copies, numbers.exploration) == (0.3, 1, "entropy")
    assert figure_tuning.tuned_fields(tmp_path, "recsim", "td3", {}) == {}


def test_what_lacks_trials_is_tuned_once_for_a_family(tmp_path):
    asked = request(
        out=tmp_path, figures=(2, 3), environments=("recsim",), trials=4,
        methods=("imrl", "imrl_e", "imrl_a_tenth", "td3"),
    )  # fmt: skip
    cells = figure_plan.plan(asked)
    assert figures.untuned(asked, cells) == [("recsim", "imrl"), ("recsim", "td3")]
    best = figure_tuning.path(tmp_path, "recsim", "td3")
    best.parent.mkdir(parents=True)
    best.write_text(json.dumps({"trials": 3}))
    assert figures.untuned(asked, cells) == [("recsim", "imrl"), ("recsim", "td3")]
    best.write_text(json.dumps({"trials": 3, "settings": 3}))  # there are no more to try
    assert figures.untuned(asked, cells) == [("recsim", "imrl")]
    best.write_text(json.dumps({"trials": 4}))
    assert figures.untuned(asked, cells) == [("recsim", "imrl")]
    assert not figures.untuned(dataclasses.replace(asked, trials=0), cells)
    assert not figures.untuned(dataclasses.replace(asked, trials=None), cells)  # smoke: none


def test_steps_to_a_share_of_the_gain():
    values = np.array([[10.0, 60, 95, 100], [20, 91, 30, 100], [10, 10, 10, 10]])
    steps = figure_report.steps_to_share(np.array([1.0, 2, 3, 4]), values, random=10.0)
    np.testing.assert_array_equal(steps, [3, 2, np.nan])


def test_what_a_part_buys_is_a_paired_difference_over_seeds(tmp_path):
    runs = {}
    rewards = {"imrl_e": (5.0, 9.0, 4.0), "imrl_ea": (4.0, 7.0), "imrl": (1.0,)}
    for method, of_seeds in rewards.items():
        runs[method] = [tmp_path / method / f"seed{seed}" for seed in range(len(of_seeds))]
        for folder, reward in zip(runs[method], of_seeds, strict=True):
            folder.mkdir(parents=True)
            document = {"tests": {"port": {"reward": reward}}}
            (folder / "result.json").write_text(json.dumps(document))
    panel = figure_report.Panel("recsim", "RecSim", runs, {}, {}, {}, 3)
    found = figure_report.differences(panel)
    assert list(found) == ["augmentation, without empowerment"]  # two seeds are in both rows
    (interval,) = found.values()
    # Differences 1 and 2: mean 1.5, standard error .5, and t of .975 with one degree is 12.706.
    assert interval.mean == pytest.approx(1.5)
    assert interval.high == pytest.approx(1.5 + 0.5 * 12.706, abs=1e-3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two seeds of one baseline and the controls, in RecSim."""
    out = tmp_path_factory.mktemp("figures")
    arguments = ("--figure=2", "--scale=smoke", "--environments=recsim", f"--out={out}")
    only = ("--methods=imrl_ea", "--seeds=2", "--jobs=1")
    assert flags.call("launch.reproduce", (*arguments, *only)) == 0
    return out, arguments, only


def test_the_output_of_a_figure(finished):
    out, _, _ = finished
    controls = json.loads((out / "recsim/controls.json").read_text())
    for evaluated in ("port", "tests"):
        rewards = {name: control[evaluated]["reward"] for name, control in controls.items()}
        assert rewards["heuristic"] > rewards["top_quality"]
        assert rewards["random"] == pytest.approx(154, abs=12)
    assert controls["random"]["port"] != controls["random"]["tests"], "other sessions"
    for metric in ("ctr", "reward"):
        assert (out / f"figure2_recsim_{metric}.png").stat().st_size > 10_000
    frame = pl.read_csv(out / "figure2.csv")
    assert frame.columns[:6] == ["environment", "method", "seed", "test", "sessions", "steps"]
    assert frame["seed"].to_list() == [0] * 4 + [1] * 4
    assert frame["steps"].to_list() == 2 * [768, 1536, 2304, 3072]
    assert frame["sessions"].max() > 0, "a curve needs a width"
    assert frame["ctr"].is_between(0.1, 0.4).all()
    table = (out / "figure2.md").read_text()
    assert "| neither: our SAC |" in table and "2 of 2 |" in table
    assert "| Interest x quality |" in table
    assert "none was tuned" in table
    seeds = [out / f"recsim/imrl_ea/seed{seed}" for seed in range(2)]
    assert all((seed / "policy/saved_model.pb").exists() for seed in seeds)
    assert all(list((seed / "tensorboard").iterdir()) for seed in seeds)
    assert not any((seed / "checkpoints").exists() for seed in seeds), "gigabytes of replay"


def test_a_second_call_runs_nothing_and_shows_what_was_not_run(finished, capfd):
    out, arguments, _ = finished
    path = out / "recsim/imrl_ea/seed1/result.json"
    before = path.stat().st_mtime_ns
    again = ("--methods=imrl_ea,td3", "--seeds=2", "--report_only")
    assert flags.call("launch.reproduce", (*arguments, *again)) == 0
    assert "3 of 5 cells are done" in capfd.readouterr().out
    assert path.stat().st_mtime_ns == before
    assert "| TD3 | not run | not run |" in (out / "figure2.md").read_text()


def test_methods_are_tuned_before_their_curves(tmp_path):
    only = ("--methods=imrl_ea,td3", "--seeds=1", "--jobs=1", "--trials=2")
    arguments = ("--figure=2", "--scale=smoke", "--environments=recsim", f"--out={tmp_path}")
    assert flags.call("launch.reproduce", (*arguments, *only)) == 0
    for method, tuned in (("imrl_ea", "imrl"), ("td3", "td3")):
        best = json.loads((tmp_path / "recsim/tuning" / tuned / "best.json").read_text())
        assert best["trials"] == 2 and best["overrides"]
        run = json.loads((tmp_path / "recsim" / method / "seed0/config.json").read_text())
        result = json.loads((tmp_path / "recsim" / method / "seed0/result.json").read_text())
        assert result["method_config"] == run["config"]["numbers"]
        assert best["overrides"].items() <= result["method_config"].items()
    table = (tmp_path / "figure2.md").read_text()
    assert "| IMRL | 2 |" in table and "| TD3 | 2 |" in table
    # One process more would find nothing to do.
    assert flags.call("launch.reproduce", (*arguments, *only, "--report_only")) == 0


def test_virtual_taobao_is_skipped_with_a_message(tmp_path, capfd):
    out = tmp_path / "out"
    assert flags.call("launch.reproduce", ("--figure=3", f"--out={out}")) == 0
    said = capfd.readouterr().out
    assert "VirtualTB is skipped, 12 cells" in said and "0 of 12 cells are done" in said
    assert "| IMRL | not run |" in (out / "figure3.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--figure=4",), "--figure=4: figure is (4,); expected elements of 2 to 3"),
        (("--figure=2", "--environments=recsym"), "--environments=recsym: expected some of"),
        (("--figure=2", "--methods=imrls"), "no method 'imrls'"),
    ],
)
def test_mistakes(tmp_path, capfd, arguments, message):
    assert flags.call("launch.reproduce", (*arguments, f"--out={tmp_path / 'out'}")) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
