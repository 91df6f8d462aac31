"""A surrogate of a fully connected head finds its best items, and says how many it misses."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.serving import fake_ranker
from tfrec import errors, types
from tfrec.data import observations
from tfrec.serving import export, files, golden, numbered, requests, surrogate, tables

pytestmark = pytest.mark.slow

COUNT = 3000


class Curved(fake_ranker.LinearWorldModel):
    """A head that is no inner product: A = tanh(e (1 + s))."""

    def advantage(self, code, item):
        return tf.tanh(super().advantage(code, item))

    def scores(self, code, goal):
        value = tf.reduce_sum(goal * self.value(code), axis=1, keepdims=True)
        items = tf.range(1, self.table.shape[0])[None]
        items = tf.repeat(items, tf.shape(goal)[0], axis=0)  # [B, N]
        return value + tf.einsum("bm,bnm->bn", goal, self.advantage(code, items))


def curved(count=COUNT):
    ids = np.array([f"item{i}" for i in range(count)], dtype=object)
    ranker = fake_ranker.FakeRanker(items=ids)
    ranker.spec = dataclasses.replace(ranker.spec, num_items=count)
    ranker.world_model = Curved(bilinear=False)
    drawn = np.random.default_rng(0).normal(size=(count + 1, 2)).astype(np.float32)
    ranker.world_model.table = tf.Variable(drawn)
    return ranker


def test_of_inner_products_it_is_exact():
    """The fake's linear head has two dimensions: two anchors would say all."""
    ranker = fake_ranker.FakeRanker(False)
    fitted, vectors = surrogate.fit(ranker)
    model = ranker.world_model
    history = types.Observation(
        tf.constant([[0, 0, 1, 2], [0, 0, 0, 0]]),
        tf.constant([[[0, 0], [0, 0], [1, 5], [1, 9]], [[0, 0]] * 4], tf.float32),
        tf.constant([1, 0]),
    )
    goal = tf.constant([[0.6, 0.8], [-1.0, 0.0]])
    code = model.encode(history, goal)
    exact = model.scores(code, goal) - tf.reduce_sum(goal * model.value(code), 1, keepdims=True)
    query = fitted.query(model, code, goal)
    np.testing.assert_allclose(query @ vectors.T, exact, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_best_are_found_and_scored_by_the_head_itself(precision, tmp_path):
    ranker = curved()
    version = export.export(ranker, tmp_path, table=precision, shortlist=300)
    manifest = files.open_manifest(version)
    said = manifest["table"]
    assert manifest["ranking"] == f"scores of the 300 items that a {precision} surrogate finds"
    assert (said["precision"], said["shortlist"]) == (precision, 300)
    assert (said["k"], said["queries"], said["recall"]) == (10, 5 * 7, 1.0)
    assert "100.00% were found for 35" in (version / "model_card.md").read_text()

    rank = tf.saved_model.load(str(version)).signatures["rank"]
    goals = [(1.0, 0.0), (0.6, 0.8), (-1.0, 0.1)]
    batch = [requests.Request(goal=goal, k=3, exclude=("item7",)) for goal in goals]
    named = requests.arrays(batch, "rank", "string", 2)
    answer = rank(**{name: tf.constant(value) for name, value in named.items()})
    expected = golden.reference(ranker, batch)
    assert answer["item"].numpy().astype(str).tolist() == expected["item"].tolist()
    np.testing.assert_allclose(answer["score"], expected["score"], rtol=1e-6)
    # The table alone would not do: the head is no inner product.
    fitted, vectors = surrogate.fit(ranker)
    code = ranker.world_model.encode(observations.of_events(ranker.spec, batch, {}), None)
    rough = fitted.query(ranker.world_model, code, tf.constant(goals)) @ vectors.T
    assert (np.argmax(rough, axis=1) + 1).tolist() != expected["item"][:, 0].tolist()


def test_more_than_the_shortlist_may_be_asked_for_and_excluded(tmp_path):
    ranker = curved(400)
    version = export.export(ranker, tmp_path, shortlist=20)
    rank = tf.saved_model.load(str(version)).signatures["rank"]
    batch = requests.Request(goal=(1.0, 0.0), k=1000, exclude=("item3", "item8"))
    named = requests.arrays([batch], "rank", "string", 2)
    answer = rank(**{name: tf.constant(value) for name, value in named.items()})
    expected = golden.reference(ranker, [batch])
    assert answer["valid"].numpy().sum() == 398
    assert answer["item"].numpy().astype(str).tolist() == expected["item"].tolist()


def test_a_shortlist_that_misses_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "shortlist", lambda k, count: k)  # nothing to choose from
    with pytest.raises(errors.UserError, match="not the agent: rank.*a larger shortlist"):
        export.export(curved(), tmp_path, shortlist=1)
    assert numbered.versions(tmp_path) == []


@pytest.mark.parametrize(
    "count, requested, expected",
    [(7, None, 0), (3999, None, 0), (4000, None, 2000), (4000, 0, 0), (4000, 5, 5),
     (4000, 4000, 0)],
)  # fmt: skip
def test_how_long_the_shortlist_is(count, requested, expected):
    ranker = fake_ranker.FakeRanker(False)
    ranker.spec = dataclasses.replace(ranker.spec, num_items=count)
    assert export._shortlist(ranker, requested) == expected


def test_shortlists_that_cannot_be(tmp_path):
    with pytest.raises(errors.UserError, match="shortlist 5: .*bilinear"):
        export.export(fake_ranker.FakeRanker(), tmp_path / "export", shortlist=5)
    with pytest.raises(errors.UserError, match="shortlist -1: expected a number"):
        export.export(fake_ranker.FakeRanker(False), tmp_path / "export", shortlist=-1)
    assert not (tmp_path / "export").exists()
    broken = curved(50)
    broken.world_model.table[2, 1].assign(np.nan)
    with pytest.raises(errors.UserError, match="are NaN or infinite"):
        export.export(broken, tmp_path / "export", shortlist=5)
    assert not (tmp_path / "export").exists()
