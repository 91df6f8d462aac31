"""A small embedded log and a GoalRec trained on it in seconds, for the scripts' tests."""

import dataclasses
import pathlib

import pytest

from launch import flags

NARROW = (
    "--embedding=4", "--frozen_embedding=2", "--units=6", "--state=8", "--goal_units=4",
    "--stream=8", "--item_vector=4", "--batch=32", "--replay_sessions=256",
    "--sessions_per_round=32", "--updates_per_round=3",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Trained:
    """Folders, and the command line that wrote the run but for its --out."""

    data: pathlib.Path
    run: pathlib.Path
    arguments: tuple[str, ...]


@pytest.fixture(scope="session")
def embedded_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded") / "data"
    size = ("--embedded_num_users=60", "--embedded_num_items=30", "--max_steps=12")
    arguments = (f"--out={folder}", "--history_length=8", *size)
    assert flags.call("launch.prepare_data", arguments) == 0
    return folder


@pytest.fixture(scope="session")
def goalrec(embedded_data, tmp_path_factory):
    """Two rounds on the log, two of play in the truth; a checkpoint after each."""
    run = tmp_path_factory.mktemp("goalrec") / "run"
    arguments = (
        f"--data={embedded_data}", "--world=truth", *NARROW, "--log_rounds=2",
        "--play_rounds=2", "--save_every=1",
    )  # fmt: skip
    assert flags.call("launch.train", ("--method=goalrec", *arguments, f"--out={run}")) == 0
    return Trained(embedded_data, run, arguments)


@pytest.fixture(scope="session")
def narrow():
    """Flags that make GoalRec small."""
    return NARROW
