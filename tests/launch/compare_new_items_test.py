"""launch.compare_new_items: a small comparison, which goes on, and mistakes of the user."""

import json

import pytest

import tfrec
from launch import flags


def write_log(folder, features=True):
    """Twenty items of two genres; each user clicks on items of one genre alone."""
    rows, table = ["user,item,time,click"], ["item,genre"]
    for user in range(30):
        for place in range(20):
            item = (7 * user + 3 * place) % 20
            rows.append(f"u{user},i{item},{1_000 * place},{int(item % 2 == user % 2)}")
    table += [f"i{item},{'ab'[item % 2]}" for item in range(20)]
    folder.mkdir()
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    (folder / "items.csv").write_text("\n".join(table) + "\n")
    tfrec.read_log(
        folder / "log.csv",
        out=folder / "data",
        max_sessions_per_user=0,
        **(
            {"item_features": folder / "items.csv", "feature_columns": {"genre": "category"}}
            if features
            else {}
        ),
    )
    return folder / "data"


@pytest.mark.slow
def test_a_comparison_with_a_report(tmp_path, capsys):
    data = write_log(tmp_path / "log")
    arguments = (
        f"--data={data}", f"--out={tmp_path / 'out'}", "--seeds=2", "--log_rounds=1",
        "--methods=dien,sasrec", "--epochs=1", "--new_share=0.2", "--cutoff=2",
    )  # fmt: skip
    assert flags.call("launch.compare_new_items", arguments) == 0
    document = json.loads((tmp_path / "out" / "new_items.json").read_text())
    rankers = document["rankers"]
    assert {metric.partition(", ")[2] for metric in rankers["DIEN with features"]} == {
        "all items", "known items", "new items among all", "new items",
    }  # fmt: skip
    assert len(rankers["SASRec with features"]) == 8
    for name in ("popularity", "item-kNN", "DIEN, ids alone", "SASRec, ids alone"):
        assert {metric.partition(", ")[2] for metric in rankers[name]} == {
            "all items",
            "known items",
        }
    # The genre alone decides: content neighbours find what nobody has, a random order does not.
    content, random = (
        rankers[name]["ndcg@2, new items"]["mean"] for name in ("content-kNN", "random order")
    )
    assert content == pytest.approx(1.0) and random < 0.98
    first = (tmp_path / "out" / "report.md").read_text()
    assert "| DIEN, ids alone |" in first and (tmp_path / "out" / "new_items_ndcg.png").exists()
    # Agents are there: nothing is trained again, and the numbers stay.
    assert flags.call("launch.compare_new_items", arguments) == 0
    assert (tmp_path / "out" / "report.md").read_text() == first
    capsys.readouterr()
    other = (*arguments, "--new_share=0.3")
    assert flags.call("launch.compare_new_items", other) == 2
    assert "holds without 4 items drawn with seed 0, of" in capsys.readouterr().err


def test_data_without_features_is_named(tmp_path, capsys):
    data = write_log(tmp_path / "log", features=False)
    arguments = (f"--data={data}", f"--out={tmp_path / 'out'}", "--seeds=2")
    assert flags.call("launch.compare_new_items", arguments) == 2
    assert "has no features of items that models read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
