"""Exports with a reduced item table: as exact as the others, with the recall on record."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.serving import export, files, golden, numbered, recall, requests, tables

COUNT = 30_000  # 469 blocks of 64: the first pass goes by blocks for k + E + 1 up to 29


def catalogue(count=COUNT):
    """The fake ranker with a large catalogue of random items."""
    ids = np.array([f"item{i}" for i in range(count)], dtype=object)
    ranker = fake_ranker.FakeRanker(items=ids)
    ranker.spec = dataclasses.replace(ranker.spec, num_items=count)
    drawn = np.random.default_rng(0).normal(size=(count + 1, 2)).astype(np.float32)
    ranker.world_model.table = tf.Variable(drawn)
    return ranker


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_reduced_table_answers_as_the_agent_does(precision, tmp_path):
    ranker = catalogue()
    version = export.export(ranker, tmp_path, table=precision)  # verifies the golden answers
    said = files.open_manifest(version)["table"]
    assert said["precision"] == precision
    assert said["bytes"] < COUNT * 2 * 4
    assert said["recall"] == 1.0
    assert (said["k"], said["queries"]) == (10, 5 * 7)  # 7 golden requests have no candidates
    assert "100.00% were found for 35" in (version / "model_card.md").read_text()

    rank = tf.saved_model.load(str(version)).signatures["rank"]
    batch = [requests.Request(goal=goal, k=3) for goal in ((1.0, 0.0), (0.6, 0.8), (-1, 0.1))]
    named = requests.arrays(batch, "rank", "string", 2)
    answer = rank(**{name: tf.constant(value) for name, value in named.items()})
    expected = golden.reference(ranker, batch)
    assert answer["item"].numpy().astype(str).tolist() == expected["item"].tolist()
    np.testing.assert_allclose(answer["score"], expected["score"], rtol=1e-6)


def test_a_plain_table_has_no_recall_to_tell(tmp_path):
    version = export.export(fake_ranker.FakeRanker(), tmp_path)
    # A block of 64 items of 2 float32.
    assert files.open_manifest(version)["table"] == {"precision": "float32", "bytes": 512}
    assert "searched in" not in (version / "model_card.md").read_text()


def test_recall_counts_what_is_lost():
    ranker = catalogue(50)
    batch = [requests.Request(k=10), requests.Request(k=10)]

    def half(**inputs):
        """The agent's answer, but for the first five of each row."""
        goals = inputs["goal"].numpy()
        exact = golden.reference(
            ranker, [dataclasses.replace(batch[0], goal=tuple(row)) for row in goals.tolist()]
        )
        exact["item"][:, :5] = "stranger"
        return {"item": tf.constant(exact["item"].astype(bytes))}

    measured = recall.measure(ranker, half, batch, "string", draws=3)
    assert measured == {"k": 10, "queries": 6, "recall": 0.5}


def test_a_shortlist_that_misses_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "shortlist", lambda k, count: k)  # nothing to choose from
    with pytest.raises(errors.UserError, match="not the agent: rank"):
        export.export(catalogue(), tmp_path, table="int8")
    assert numbered.versions(tmp_path) == []


def test_tables_that_cannot_be(tmp_path):
    with pytest.raises(errors.UserError, match="'int4': expected float32, bfloat16, int8"):
        export.export(fake_ranker.FakeRanker(), tmp_path / "export", table="int4")
    with pytest.raises(errors.UserError, match="fully connected and has no item table"):
        export.export(fake_ranker.FakeRanker(False), tmp_path / "export", table="int8")
    assert not (tmp_path / "export").exists()
