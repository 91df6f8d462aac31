"""launch.recommend_all: lists of saved agents, a killed process, and mistakes of the user."""

import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from launch import flags
from tfrec.baselines.sequential import sasrec, trained
from tfrec.data import sequence_logs
from tfrec.methods import ranking, registry

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Users 1 to 12 walk along a cycle of 9 items; user 13 has an item unknown to the agent."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    lines = [
        f"{user} {100 + (user + step) % 9}\n" for user in range(1, 13) for step in range(4)
    ]
    path.write_text("".join([*lines, "13 999\n"]))
    return path


@pytest.fixture(scope="module")
def model(log, tmp_path_factory):
    """A saved SASRec at random weights, which knows the items 100 to 108."""
    folder = tmp_path_factory.mktemp("model") / "model"
    known_items = log.with_name("known.txt")
    known_items.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    sequence_log = sequence_logs.open_log(known_items, "rows")
    config = sasrec.SasrecConfig(width=8, inner=8, length=4, blocks=1)
    net, rng = sasrec.Sasrec(config, 9, seed=1), np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    about = {"data": "abc", "seed": 1}
    trained.TrainedSequence("sasrec", net, sequence_log.vocabulary, about).save(folder)
    return folder


def call(model, log, out, *arguments):
    flag_values = [
        f"--agent={model}",
        f"--data={log}",
        f"--out={out}",
        "--format=rows",
        *arguments,
    ]
    return flags.call("launch.recommend_all", flag_values)


def test_the_lists_are_those_of_the_agent(model, log, tmp_path, capsys):
    out = tmp_path / "lists.parquet"
    assert call(model, log, out, "--k=3", "--exclude_seen") == 0
    printed = capsys.readouterr()
    assert "1 of 13 users have no event of an item that the agent knows" in printed.err
    assert f"{out}: lists of 13 users" in printed.out
    frame, agent = pl.read_parquet(out), registry.load(model)
    for user in (1, 12):
        history = [100 + (user + step) % 9 for step in range(4)]
        request = ranking.checked_request(
            agent.vocabulary, agent.spec, history, exclude=history, k=3
        )
        answer, rows = agent.rank(request), frame.filter(pl.col("user") == user)
        assert rows["item"].to_list() == list(answer)
        assert rows["rank"].to_list() == [1, 2, 3]
        assert rows["score"].to_numpy() == pytest.approx(np.array(answer.scores), abs=1e-5)
    # Without a history all scores are equal, and the order is that of the catalogue.
    assert (
        frame.filter(pl.col("user") == 13)["item"].to_list()
        == agent.vocabulary.items[:3].tolist()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k=0"], "--k=0: k is 0; expected at least 1"),
        (["--k=10"], "--k=10: expected at most 9"),
        (["--goal=click"], "--goal=click: the agent has no such goal; it has none"),
        (["--agent=nowhere"], "nowhere: no trained agent here"),
        (["--data=absent.txt"], "absent.txt: no such file"),
        (["--format=prepared"], "log.txt"),
        (["--out=lists.csv"], "--out=lists.csv: expected a file that ends in .parquet"),
    ],
)
def test_a_mistake_ends_with_a_message_and_no_file(
    arguments, message, model, log, tmp_path, capsys
):
    assert call(model, log, tmp_path / "lists.parquet", "--k=3", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_process_resumes_and_ends_with_the_same_bytes(model, log, tmp_path):
    def command(out):
        return [
            sys.executable, "-m", "launch.recommend_all", f"--agent={model}", f"--data={log}",
            "--format=rows", f"--out={out}", "--k=3", "--users_per_part=2",
        ]  # fmt: skip

    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    assert call(model, log, tmp_path / "whole.parquet", "--k=3", "--users_per_part=2") == 0
    out = tmp_path / "lists.parquet"
    with subprocess.Popen(
        command(out), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert next(line for line in first.stdout if "of 13 users" in line)
        first.send_signal(signal.SIGKILL)
    assert not out.exists()
    again = subprocess.run(
        command(out), cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "of them by an earlier run" in again.stdout
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lists.parquet", "whole.parquet"]


@pytest.mark.slow
def test_goalrec_ranks_for_the_users_of_prepared_data(goalrec, tmp_path, capsys):
    out = tmp_path / "lists.parquet"
    arguments = [f"--agent={goalrec.run / 'agent'}", f"--data={goalrec.data}", f"--out={out}"]
    assert flags.call("launch.recommend_all", [*arguments, "--k=5", "--goal=click"]) == 0
    assert len(pl.read_parquet(out)) == 60 * 5
    out.unlink()
    capsys.readouterr()
    assert flags.call("launch.recommend_all", [*arguments, "--goal=absent"]) == 2
    assert "--goal=absent: the agent has no such goal; it has click" in capsys.readouterr().err
