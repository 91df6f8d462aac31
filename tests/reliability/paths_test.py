"""Paths are read literally: files in folders whose names look like patterns, beside decoys."""

import pathlib

import pytest

from launch import flags
from tests.tfrec.serving import fake_ranker
from tfrec.data import storage
from tfrec.serving import export, loaded, requests, saved


def write_table(path, id_name, ids, column):
    path.write_text("\n".join([f"{id_name},{column}", *(f"{name},{name}" for name in ids)]))


def write_log(path, items, count):
    rows = (
        f"u{n % 15},{items}{n * n % 7},{1_700_000_000 + 420 * n},{n % 3 == 0:d}"
        for n in range(count)
    )
    path.write_text("\n".join(["user,item,time,click", *rows]))


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """Relative paths, so that `~` or a pattern is how they begin."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "decoy"),
    [
        ("runs [1]", "runs 1"),
        ("a*b?{c}", "aXbY{c}"),
        (r"back\slash", "backslash"),
        ("~", "."),  # the home folder has the decoy's files too
    ],
)
def test_prepared_data(name, decoy, working_folder, tmp_path):
    folders = [pathlib.Path(name), pathlib.Path(decoy), tmp_path]
    for folder, items in zip(folders, ("new", "old", "old"), strict=True):
        folder.mkdir(exist_ok=True)
        write_log(folder / "log.csv", items, 300)
        write_table(folder / "items.csv", "item", [f"{items}{n}" for n in range(7)], "title")
    for folder in folders[::-1]:
        arguments = [
            "--source=table",
            f"--path={folder}/log.csv",
            f"--item_features={folder}/items.csv",
            f"--out={folder}/data",
        ]
        assert flags.call("launch.prepare_data", arguments) == 0
    data = storage.PreparedData.open(folders[0] / "data")
    assert {item[:3] for item in data.vocabulary.items} == {"new"}
    assert data.features("item")["title"].to_list() == data.vocabulary.items.tolist()
    assert data.episodes("train").item.max() <= 7
    decoy_data = storage.PreparedData.open(folders[1] / "data")
    assert {item[:3] for item in decoy_data.vocabulary.items} == {"old"}


def test_rejected_rows_lie_beside_the_data(working_folder, tmp_path):
    pathlib.Path("~").mkdir()
    write_log(pathlib.Path("~/log.csv"), "i", 300)
    with pathlib.Path("~/log.csv").open("a") as log:
        log.write("\nu1,i1,never,0\n")
    arguments = ["--source=table", "--path=~/log.csv", "--out=~/d", "--on_bad_row=skip"]
    assert flags.call("launch.prepare_data", arguments) == 0
    assert pathlib.Path("~", "d", "rejected.csv").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"work"}


def test_an_exported_model(working_folder):
    version = export.export(fake_ranker.FakeRanker(), r"export [1]*?\c")
    request = requests.Request(goal_name="watch", k=2)
    [answer] = loaded.ExportedModel(version).rank([request])
    assert answer.item == ["i6", "i4"]
    served = saved.SavedVersion(version)
    try:
        assert served.warmed > 0
    finally:
        served.close()
