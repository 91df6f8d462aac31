"""Every launch script, run as a process in an environment without variables.

A variable or an import of the test process has no influence here: the environment holds PATH,
HOME and the encoding alone. Each script does its real work at its smallest size, ends with exit
code 0 and prints lines of the project alone.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = {
    f"launch.{path.stem}"
    for path in (ROOT / "launch").glob("*.py")
    if re.search(r"^    flags\.run\(main\)$", path.read_text(), re.MULTILINE)
}

NARROW = (
    "--embedding=4", "--units=6", "--state=8", "--batch=16", "--replay_sessions=256",
    "--sessions_per_round=16", "--updates_per_round=2", "--log_rounds=1",
)  # fmt: skip
GOALREC = (*NARROW, "--frozen_embedding=2", "--goal_units=4", "--stream=8", "--item_vector=4")
LIVE = (
    "--environment=recsim", "--batch=16", "--sessions=8", "--rollout_steps=4", "--updates=2",
    "--warm_up=40", "--total_iterations=2", "--final_sessions=8", "--hidden=8",
)  # fmt: skip
SCORED = ("--trials=1", "--evaluate_every=1")

# (script, its name here, arguments). `{work}` is a folder that all commands share; they run in
# this order, and later ones read what earlier ones wrote.
COMMANDS = [
    ("launch.prepare_data", "prepare_data", (
        "--out={work}/data", "--embedded_num_users=60", "--embedded_num_items=30",
        "--max_steps=12", "--history_length=8")),
    ("launch.fit_simulator", "fit_simulator", (
        "--data={work}/data", "--out={work}/users", "--max_epochs=1", "--hidden_units=8")),
    ("launch.train", "train goalrec", (
        "--method=goalrec",
        "--data={work}/data", "--world={work}/users", "--out={work}/goalrec", *GOALREC,
        "--play_rounds=1")),
    *(("launch.train", f"train {method}", (
        f"--method={method}", "--data={work}/data", "--world=truth", f"--out={{work}}/{method}",
        *NARROW, *(() if method in ("dien", "wide_and_deep") else ("--play_rounds=1",))))
      for method in ("wide_and_deep", "dien", "dyna_q", "rainbow", "td3")),
    ("launch.train", "train item_counts", (
        "--method=item_counts", "--data={work}/data", "--world=truth",
        "--out={work}/item_counts", "--log_rounds=1", "--play_rounds=1",
        "--sessions_per_round=16")),
    ("launch.train_sequential", "train_sequential", (
        "--method=sasrec", "--format=prepared", "--data={work}/data", "--out={work}/sasrec",
        "--width=8", "--inner=8", "--blocks=1", "--length=6", "--batch=16", "--epochs=1",
        "--cutoffs=5")),
    ("launch.compare_offline", "compare_offline", (
        "--data={work}/data", "--out={work}/offline", "--methods=stamp,tpgr", "--seeds=1",
        "--cutoff=5", "--epochs=1", "--total_iterations=1", "--max_steps=5",
        "--history_length=4")),
    ("launch.evaluate", "evaluate", (
        "--data={work}/data", "--world=truth", "--out={work}/evaluation", "--max_users=8",
        "--agents=goalrec={work}/goalrec/agent,rainbow={work}/rainbow/agent")),
    ("launch.export_model", "export_model", (
        "--agent={work}/goalrec/agent", "--data={work}/data", "--out={work}/export")),
    ("launch.recommend", "recommend", ("--model={work}/export/1", "--goal=click", "--k=3")),
    *(("launch.recommend_all", f"recommend_all {method}", (
        f"--agent={{work}}/{folder}", "--data={work}/data", f"--out={{work}}/{method}.parquet",
        "--k=3"))
      for method, folder in (("goalrec", "goalrec/agent"), ("rainbow", "rainbow/agent"),
                             ("sasrec", "sasrec/model"))),
    *(("launch.export_model", f"export_model {method}", (
        f"--agent={{work}}/{folder}", f"--out={{work}}/export_{method}"))
      for method, folder in (("rainbow", "rainbow/agent"), ("sasrec", "sasrec/model"))),
    ("launch.tune", "tune", (
        "--method=td3", "--data={work}/data", "--world=truth", "--out={work}/tune", *NARROW,
        *SCORED, "--play_rounds=1", "--max_users=8", "--sessions_per_user=1")),
    ("launch.check_leak", "check_leak", (
        "--data={work}/data", "--out={work}/leak", "--shares=", "--seeds=1", "--steps=100",
        "--states=20", "--log_rounds=1", "--updates_per_round=2", "--units=4", "--state=8",
        "--stream=8", "--item_vector=4")),
    ("launch.check_world", "check_world", (
        "--data={work}/data", "--worlds=truth", "--out={work}/check", "--max_users=8",
        "--sessions_per_user=1", "--states=2", "--items=10", "--training_users=8",
        "--play_rounds=1", "--sessions_per_round=8")),
    ("launch.compare_features", "compare_features", (
        "--out={work}/features", "--seeds=2", "--log_rounds=1", "--max_users=8",
        "--sessions_per_user=1", "--embedded_num_users=60", "--embedded_num_items=30",
        "--methods=goalrec_off")),
    ("launch.update_items", "update_items", (
        "--agent={work}/features/seed_0/goalrec_off_features/agent",
        "--items={work}/features/seed_0/item_features.csv", "--out={work}/updated",
        "--export={work}/export_updated")),
    ("launch.train", "train goalrec_off from an agent", (
        "--method=goalrec_off", "--data={work}/data", "--out={work}/goalrec_next", *GOALREC,
        "--start={work}/goalrec/agent")),
    ("launch.compare_new_items", "compare_new_items", (
        "--data={work}/features/seed_0/data", "--out={work}/new_items", "--seeds=2",
        "--log_rounds=1", "--max_users=20", "--methods=goalrec_off", "--new_share=0.3")),
    ("launch.run_cell", "run_cell", (
        "--out={work}/cells", "--scale=smoke", "--method=prepare,random")),
    ("launch.run_curve", "run_curve", (
        "--out={work}/curves", "--scale=smoke", "--environment=recsim", "--method=controls")),
    ("launch.run_offline", "run_offline", (
        "--out={work}/table2", "--scale=smoke", "--method=prepare,stamp")),
    ("launch.reproduce", "reproduce", (
        "--out={work}/curves", "--figure=2", "--scale=smoke", "--environments=recsim",
        "--report_only")),
    ("launch.reproduce", "reproduce a table", (
        "--out={work}/tables", "--table=1", "--scale=smoke", "--worlds=strong_fatigue",
        "--methods=item_counts")),
    *(("launch.train", f"train {method} in RecSim", (
        f"--method={method}", f"--out={{work}}/live_{method}", *LIVE, "--test_every=2",
        "--test_sessions=8"))
      for method in ("imrl", "sac", "td3", "ddpg")),
    ("launch.tune", "tune in RecSim", (
        "--method=sac", "--out={work}/tune_recsim", *LIVE, *SCORED, "--score_sessions=8",
        "--fields=batch")),
]  # fmt: skip


@pytest.fixture(scope="module")
def environment():
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**bare, "PYTHONIOENCODING": "utf-8"}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


# What a script rightly says: every event of Table II's logs counts as a click.
WARNED = {
    "launch.run_offline": "warning: click is 1 in every row: nothing can be learned about it\n"
}
# The others are exhaustive.
OFTEN = ("prepare_data", "fit_simulator", "train goalrec", "reproduce a table")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        pytest.param(
            script, arguments, id=name,
            marks=[] if name in OFTEN else [pytest.mark.exhaustive],
        )
        for script, name, arguments in COMMANDS
    ],
)  # fmt: skip
def test_a_script_runs_with_nothing_set(script, arguments, environment, work):
    command = [sys.executable, "-m", script, *(a.format(work=work) for a in arguments)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == WARNED.get(script, "")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["rainbow", "dyna_q"])
def test_no_variable_stays_at_its_start(method, work):
    """The weights of two seeds differ everywhere, and none is a fresh layer's zero bias."""
    with np.load(work / method / "agent" / "checkpoint" / "variables.npz") as variables:
        biases = {name: variables[name] for name in variables.files if name.endswith("bias")}
    assert len(biases) > 3
    still = [name for name, bias in biases.items() if not np.any(bias)]
    assert not still


@pytest.mark.slow
@pytest.mark.exhaustive
def test_serve_runs_with_nothing_set(environment, work):
    command = [sys.executable, "-m", "launch.serve", f"--model={work / 'export'}"]
    command += ["--port=0", "--rest_port=0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None and server.stderr is not None
        assert "Development server" in server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        assert server.stdout.read().endswith("draining\ndone\n")
        lines = server.stderr.read().splitlines()
    assert server.returncode == 0
    assert [line for line in lines if "versions.py" not in line] == []


def test_every_script_is_run():
    """Other scripts have other tests: that of prepare_beam runs in Beam's environment."""
    elsewhere = {"launch.demo", "launch.serve", "launch.prepare_beam"}
    assert SCRIPTS == {script for script, _, _ in COMMANDS} | elsewhere
