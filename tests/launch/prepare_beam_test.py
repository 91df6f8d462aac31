"""The Beam pipeline gives what one process does; TFREC_BEAM_PYTHON names its interpreter."""

import gzip
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from launch import flags
from tfrec.data import storage

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def beam():
    """Runs launch.prepare_beam; returns its exit code and what it said on standard error."""
    interpreter = os.environ.get("TFREC_BEAM_PYTHON")
    if not interpreter:
        pytest.skip(
            "TFREC_BEAM_PYTHON is not set: no interpreter with Apache Beam "
            "(requirements-beam.txt)"
        )

    def run(*arguments):
        command = [interpreter, "-m", "launch.prepare_beam", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stderr

    return run


def prepared(out, *arguments):
    command = [f"--out={out}", "--session_gap_minutes=14400", *map(str, arguments)]
    assert flags.call("launch.prepare_data", command) == 0
    return storage.PreparedData.open(out)


def reviews(folder, count=600):
    rng = np.random.default_rng(0)
    lines = [
        {
            "reviewerID": f"A{rng.integers(60)}",
            "asin": f"B{rng.integers(40):09}",
            "overall": float(rng.integers(1, 6)),
            "unixReviewTime": int(1_400_000_000 + 86_400 * rng.integers(30)),
        }
        for _ in range(count)
    ]
    folder.mkdir(exist_ok=True)
    text = "\n".join(json.dumps(line) for line in [*lines, lines[0]])
    (folder / "reviews_CDs_5.json").write_text(text)
    return folder


def films(folder):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for film in range(1, 13):
        users = rng.choice(50, 20, replace=False)
        rows = [f"{user},{rng.integers(1, 6)},2005-0{rng.integers(1, 10)}-01" for user in users]
        (folder / f"mv_{film:07}.txt").write_text("\n".join([f"{film}:", *rows]))
    return folder


def points(folder):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    rows = {(int(rng.integers(30)), int(rng.integers(40))) for _ in range(400)}
    lines = [f'"{user}";"i{item}";"{(user + item) % 11}"' for user, item in sorted(rows)]
    text = "\n".join(['"User-ID";"ISBN";"Book-Rating"', *lines])
    (folder / "BX-Book-Ratings.csv").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path=log"], "--source=: expected one of amazon, book_crossing, goodreads"),
        (["--source=otto", "--path=log"], "--source=otto: expected one of amazon, book"),
        (["--source=amazon"], "--source=amazon needs --path=... (the log)"),
        (
            ["--source=amazon", "--path=log"],
            "Apache Beam is not installed here; requirements-b",
        ),
    ],
)
def test_a_bad_flag_is_a_message(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfrec.data.sources.beam.beam", None)
    assert flags.call("launch.prepare_beam", [*arguments, f"--out={tmp_path / 'out'}"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "log", "options"),
    [
        ("amazon", reviews, []),
        ("netflix", films, ["--positive_rating=3"]),
        ("book_crossing", points, ["--unrated=drop", "--order_seed=3"]),
    ],
)
def test_the_same_data_come_of_both(beam, source, log, options, tmp_path):
    path, out = log(tmp_path / "log"), tmp_path / "interactions"
    code, said = beam(
        f"--source={source}", f"--path={path}", f"--out={out}", "--parts=3", *options
    )
    assert code == 0, said
    through_beam = prepared(
        tmp_path / "beam", "--source=interactions", f"--path={out}", "--k_core=2"
    )
    alone = prepared(
        tmp_path / "alone", f"--source={source}", f"--path={path}", "--k_core=2", *options
    )
    assert through_beam.fingerprint == alone.fingerprint
    for part in ("dropped", "warnings", "schema", "splits"):
        assert through_beam.manifest[part] == alone.manifest[part]
    assert alone.num_sessions("all") > 20


@pytest.mark.slow
def test_bad_rows_stop_the_run_or_are_listed(beam, tmp_path):
    path, out = films(tmp_path / "log"), tmp_path / "interactions"
    for film, row in ((3, "7,9,2005-01-01"), (5, "x"), (5, "7,9,2005-01-02")):
        file = path / f"mv_{film:07}.txt"
        file.write_text(file.read_text() + f"\n{row}")
    command = ["--source=netflix", f"--path={path}", f"--out={out}"]
    code, said = beam(*command)
    assert code == 2
    assert "mv_0000003.txt, row 22: the row is '7,9,2005-01-01'; expected user, stars" in said
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    code, said = beam(*command, "--on_bad_row=skip")
    assert code == 0, said
    assert (out / "rejected.csv").read_text().count("mv_0000005.txt") == 2
    assert beam(*command)[0] == 2  # there already


@pytest.mark.slow
def test_a_truncated_file_stops_the_run(beam, tmp_path):
    path = reviews(tmp_path / "log")
    packed = path / "reviews_CDs_5.json.gz"
    content = gzip.compress((path / "reviews_CDs_5.json").read_bytes())
    packed.write_bytes(content[: len(content) // 2])
    code, said = beam("--source=amazon", f"--path={packed}", f"--out={tmp_path / 'out'}")
    assert code == 2
    assert "truncated or damaged compressed file" in said
    assert not (tmp_path / "out").exists()
