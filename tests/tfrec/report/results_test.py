"""results.json: its shape, and that it is there whole or not at all."""

import json

import numpy as np
import pytest

from tfrec import errors, outputs
from tfrec.report import results


def _interval(mean):
    return {"mean": mean, "low": mean - 1, "high": mean + 1}


def _policies(*names):
    return {name: {m: _interval(2.5) for m in ("reward", "ctr", "depth")} for name in names}


def test_the_document_has_the_promised_shape(tmp_path):
    names = ("goalrec", "goalrec_off", "random", "popularity", "myopic", "optimum")
    path = tmp_path / "results.json"
    written = results.write(
        path, _policies(*names), seeds=np.arange(3), users=np.int64(400), out=tmp_path
    )
    document = json.loads(path.read_text())
    assert document == written == results.read(path)
    assert list(document["policies"]) == list(names)
    assert document["policies"]["goalrec"] == {
        "reward": {"mean": 2.5, "low": 1.5, "high": 3.5},
        "ctr": {"mean": 2.5, "low": 1.5, "high": 3.5},
        "depth": {"mean": 2.5, "low": 1.5, "high": 3.5},
    }
    assert document["seeds"] == [0, 1, 2]
    assert document["users"] == 400
    assert document["out"] == str(tmp_path)


def test_a_document_that_is_not_whole_is_rejected_and_the_old_one_stays(tmp_path):
    path = tmp_path / "results.json"
    results.write(path, _policies("random"))
    before = path.read_text()

    lacking = _policies("random")
    del lacking["random"]["depth"]
    with pytest.raises(ValueError, match=r"policies.random.depth is None"):
        results.write(path, lacking)
    half = _policies("random")
    half["random"]["watch"] = {"mean": 1.0}
    with pytest.raises(
        ValueError, match=r"policies.random.watch .* expected mean, low and high"
    ):
        results.write(path, half)
    infinite = _policies("random")
    infinite["random"]["ctr"]["high"] = np.nan
    with pytest.raises(ValueError, match=r"policies.random.ctr.high is nan"):
        results.write(path, infinite)
    with pytest.raises(ValueError, match="not JSON compliant|Out of range"):
        results.write(path, _policies("random"), loss=float("inf"))
    with pytest.raises(TypeError, match="cannot be written"):
        results.write(path, _policies("random"), what=object())
    with pytest.raises(ValueError, match="no policies"):
        results.write(path, {})

    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_file_takes_its_place_only_when_its_writer_ends_well(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), outputs.replacing_file(path) as temporary:
        temporary.write_text("ha")
        raise RuntimeError
    assert path.read_text() == "old"
    with outputs.replacing_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_reading_says_what_is_wrong_with_the_file(tmp_path):
    with pytest.raises(errors.UserError, match="nowhere.json does not exist"):
        results.read(tmp_path / "nowhere.json")
    path = tmp_path / "results.json"
    for content in ("{", "[]", '{"policies": 3}'):
        path.write_text(content)
        with pytest.raises(errors.UserError, match="is not a results.json"):
            results.read(path)
