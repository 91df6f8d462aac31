"""Versions on disk: numbering, what lies in them, and what is rejected."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.data import vocabulary
from tfrec.serving import export, files, golden, loaded, manifest, numbered, requests

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A directory with versions 1 and 5."""
    folder = tmp_path_factory.mktemp("export") / "deep" / "export"
    metadata = manifest.Metadata(
        name="little",
        data={"fingerprint": "abc123"},
        metrics={"goalrec": {"reward": {"mean": 12.5}}},
        limits=("Made of numbers on paper.",),
    )
    assert export.export(fake_ranker.FakeRanker(), folder, metadata=metadata).name == "1"
    assert export.export(fake_ranker.FakeRanker(False), folder, version=5).name == "5"
    return folder


def test_versions_count_up_and_nothing_else_is_left(exported):
    assert numbered.versions(exported) == [1, 5]
    assert sorted(path.name for path in exported.iterdir()) == [".lock", "1", "5"]


def test_a_version_is_never_written_over(exported):
    before = files.checksums(exported / "1")
    with pytest.raises(errors.UserError, match="1: this version exists"):
        export.export(fake_ranker.FakeRanker(), exported, version=1)
    assert files.checksums(exported / "1") == before
    with pytest.raises(errors.UserError, match="from 1"):
        export.export(fake_ranker.FakeRanker(), exported, version=0)


def test_manifest_and_card_say_what_it_is(exported):
    said = files.open_manifest(exported / "1")
    assert said["measurements"] == [
        {"column": "click@0", "unit": "clicks", "mean": 2.0, "std": 0.5},
        {"column": "watch@1..", "unit": "seconds", "mean": 30.0, "std": 10.0},
    ]
    assert said["named_goals"] == {"clicks": [1.0, 0.0], "watch": [0.0, 1.0]}
    assert said["data"] == {"fingerprint": "abc123"}
    assert said["packages"]["tensorflow"] == tf.__version__
    rank = said["signatures"]["rank"]
    assert tuple(rank["inputs"]) == requests.SIGNATURES["rank"]
    assert rank["inputs"]["history_feedback"]["shape"] == [None, None, None]
    assert set(rank["outputs"]) == {"item", "score", "measurements", "valid"}
    card = (exported / "1" / "model_card.md").read_text()
    for text in ("# little, version 1", "| `watch@1..` | seconds | 30 | 10 |", "abc123",
                 "goalrec / reward / mean: 12.5", "Made of numbers on paper."):  # fmt: skip
        assert text in card


def test_saved_model_cli_gives_the_golden_answers(exported, tmp_path):
    stored = exported / "1" / golden.GOLDEN / "rank.npz"
    cli = pathlib.Path(sys.executable).with_name("saved_model_cli")
    inputs = ";".join(f"{name}={stored}[{name}]" for name in requests.SIGNATURES["rank"])
    subprocess.run(
        [cli, "run", "--dir", exported / "1", "--tag_set", "serve",
         "--signature_def", "serving_default", "--inputs", inputs, "--outdir", tmp_path],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    answer = {path.stem: np.load(path, allow_pickle=True) for path in tmp_path.glob("*.npy")}
    with np.load(stored) as expected:
        assert answer["item"].tolist() == expected["expected_item"].tolist()
        np.testing.assert_array_equal(answer["valid"], expected["expected_valid"])
        np.testing.assert_allclose(answer["score"], expected["expected_score"], atol=1e-5)
        np.testing.assert_allclose(
            answer["measurements"], expected["expected_measurements"], rtol=1e-5
        )


class Disagreeing(fake_ranker.LinearWorldModel):
    """A bilinear head whose inner product is not g.A."""

    def query(self, code, goal):
        return super().query(code, goal)[:, ::-1]


def test_a_model_that_is_not_the_agent_is_rejected(tmp_path):
    ranker = fake_ranker.FakeRanker()
    ranker.world_model = Disagreeing(bilinear=True)
    with pytest.raises(
        errors.UserError, match="not the agent: rank.npz, golden request 0.*(score|place)"
    ):
        export.export(ranker, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_broken_agent_is_rejected(tmp_path):
    ranker = fake_ranker.FakeRanker()
    ranker.world_model.table[2, 1].assign(np.nan)
    with pytest.raises(errors.UserError, match=r"not exported: 1 of .* are NaN or infinite"):
        export.export(ranker, tmp_path)
    assert numbered.versions(tmp_path) == []


@pytest.mark.parametrize(
    "items, message",
    [
        (["i1", "i2", "i3", "i4", "i5", "i6"], "6 item ids, but the data has 7"),
        (["i1", "i2", "", "i4", "i5", "i6", "i7"], "item 3: the id '' cannot be served"),
        (["i1", "i2", "a\nb", "i4", "i5", "i6", "i7"], "item 3: the id .* line break"),
        (["i1", "i2", "i1", "i4", "i5", "i6", "i7"], "item 3: the id 'i1' is repeated"),
        ([1, 2, 3, -1, 5, 6, 7], "item 4: the id -1 cannot be served"),
        ([1, 2, 3, "4", 5, 6, 7], "item 4: '4'; expected all ids to be"),
    ],
)
def test_item_ids_that_cannot_be_served(items, message, tmp_path):
    ranker = fake_ranker.FakeRanker(items=np.array(items, dtype=object))
    with pytest.raises(errors.UserError, match=message):
        export.export(ranker, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_goals_that_cannot_be_served():
    for goal in ([0.0, 0.0], [1.0], [np.nan, 1.0]):
        ranker = fake_ranker.FakeRanker()
        ranker.named_goals = {"profit": np.array(goal)}
        with pytest.raises(errors.UserError, match="goal 'profit'.*expected 2 finite weights"):
            export.check(ranker)


def test_a_goal_that_weighs_what_ranks_nothing_is_rejected():
    ranker = fake_ranker.FakeRanker()
    ranker.discarded = {"watch@1..": "far_windows=exit"}
    with pytest.raises(errors.UserError, match=r"goal 'watch' weighs watch@1\.\.: far_windows"):
        export.check(ranker)


def test_a_goal_under_which_all_items_tie_is_named(tmp_path, caplog):
    ranker = fake_ranker.FakeRanker()
    ranker.world_model.table[:, 1].assign(tf.fill([8], 0.25))
    version = export.export(ranker, tmp_path)
    said = json.loads((version / files.MANIFEST).read_text())
    assert said["limits"][-1] == "Goals under which every item has the same score: watch."
    assert "every item has the same score: watch" in (version / "model_card.md").read_text()
    assert "goal 'watch': every item has the same score in all 9 requests" in caplog.text
    assert golden.tied_goals(fake_ranker.FakeRanker()) == []


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.UserError, match="file/export: cannot export there"):
        export.export(fake_ranker.FakeRanker(), tmp_path / "file" / "export")


def test_changed_missing_and_added_files_are_found(exported, tmp_path):
    said = json.loads((exported / "5" / files.MANIFEST).read_text())
    version = tmp_path / "5"
    for name in (*said["files"], files.MANIFEST):
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).write_bytes((exported / "5" / name).read_bytes())
    files.open_manifest(version)

    data = version / "variables" / "variables.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(errors.UserError, match="variables.data.*: changed"):
        files.open_manifest(version)
    data.unlink()
    with pytest.raises(errors.UserError, match="variables.data.*: missing"):
        files.open_manifest(version)
    with pytest.raises(errors.UserError, match="5: not a whole exported model"):
        golden.verify(version)
    data.write_bytes(whole)
    (version / "extra").write_text("")
    with pytest.raises(errors.UserError, match="extra: not part of the export"):
        files.open_manifest(version)
    (version / files.MANIFEST).write_text("{")
    with pytest.raises(errors.UserError, match="manifest.json: not a manifest"):
        files.open_manifest(version)
    with pytest.raises(errors.UserError, match="no exported model here"):
        files.open_manifest(tmp_path)


@pytest.mark.parametrize(
    "first",
    [
        "👨\u200d👩\u200d👧",
        "-1",
        "-x,y;z=1",
        "[PAD]",
        " a b ",
        "\u200fא",
        "i|`1`",
        "nan",
        "x" * 256,
    ],
)
def test_an_id_that_is_prepared_is_exported_and_answered(first, tmp_path):
    """The rule is the one of the log's schema, and what passes it comes back unchanged."""
    items = np.array([first, "i2", "i3", "i4", "i5", "i6", "i7"], dtype=object)
    rules = vocabulary.id_rules("item", pl.String)
    frame = pl.DataFrame({"item": items.tolist()})
    assert all(frame.select(valid.all()).item() for valid, _ in rules)
    exported = loaded.ExportedModel(
        export.export(fake_ranker.FakeRanker(items=items), tmp_path / "export")
    )
    request = requests.Request(history=(first,), goal_name="clicks", k=1)
    assert exported.unknown((first,)) == []
    [answer] = exported.rank([request])
    assert answer.item == [first]


def test_goal_names_that_cannot_be_asked_for():
    ranker = fake_ranker.FakeRanker()
    ranker.named_goals = {"a]b": np.array([1.0, 0.0])}
    with pytest.raises(errors.UserError, match="goal name 'a]b': expected"):
        export.check(ranker)
