"""launch.compare_features: a small comparison, which goes on, and mistakes of the user."""

import json

import pytest

from launch import flags

SMALL = (
    "--seeds=2", "--log_rounds=1", "--max_users=8", "--sessions_per_user=1",
    "--embedded_num_users=60", "--embedded_num_items=30",
)  # fmt: skip


@pytest.mark.slow
def test_a_comparison_with_a_report(tmp_path, capsys):
    arguments = (*SMALL, "--methods=dien", f"--out={tmp_path / 'out'}")
    assert flags.call("launch.compare_features", arguments) == 0
    document = json.loads((tmp_path / "out" / "features.json").read_text())
    assert set(document["shares"]["dien with features"]) == {
        "items of the log", "new items", "all items",
    }  # fmt: skip
    assert set(document["shares"]["dien, ids alone"]) == {"items of the log"}
    first = (tmp_path / "out" / "report.md").read_text()
    assert "| best plan by attributes |" in first
    # Agents are there: nothing is trained again, and the numbers stay.
    assert flags.call("launch.compare_features", arguments) == 0
    assert (tmp_path / "out" / "report.md").read_text() == first
    capsys.readouterr()
    other = (*arguments, "--embedded_match=1")
    assert flags.call("launch.compare_features", other) == 2
    assert "holds the log of another world; choose another folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_without_the_hour(tmp_path):
    arguments = (*SMALL, "--methods=dien", f"--out={tmp_path / 'out'}")
    assert flags.call("launch.compare_features", (*arguments, "--embedded_day_parts=2")) == 0
    document = json.loads((tmp_path / "out" / "features.json").read_text())
    hourless = document["shares"]["dien with features, without the hour"]
    assert set(hourless) == {"items of the log", "new items", "all items"}
    assert list(document["gains_of_hour"]) == ["dien with features"]
    bounds = (
        document["shares"][f"{name} without the hour"]["all items"]["mean"]
        for name in ("best plan", "optimum after a first item")
    )
    low, high = bounds
    assert 0 < low < high < 1
    manifests = [
        json.loads((tmp_path / "out" / "seed_0" / name / "manifest.json").read_text())
        for name in ("data", "data_no_hour")
    ]
    assert ["context_features" in x["spec"] for x in manifests] == [True, False]
    assert manifests[0]["splits"].keys() == manifests[1]["splits"].keys()


def test_a_method_without_features_is_named(tmp_path, capsys):
    arguments = (*SMALL, "--methods=dien,item_counts", f"--out={tmp_path / 'out'}")
    assert flags.call("launch.compare_features", arguments) == 2
    assert "--methods=item_counts: reads no features of items" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
