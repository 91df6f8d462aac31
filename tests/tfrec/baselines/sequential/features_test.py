"""Sequential methods that read features of items, and rank items that training never showed."""

import itertools

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from tests.tfrec.baselines.sequential import methods_test, walks
from tfrec import types
from tfrec.baselines.sequential import batches, fitting, trained
from tfrec.baselines.sequential.config import SasrecConfig
from tfrec.data import feature_encoding, feature_schema, identity
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.data.sequences import Sequences
from tfrec.errors import UserError
from tfrec.methods import catalogue, ranking
from tfrec.nn import item_embedding

SIZES = types.FeatureSpec(values=3, slots=1, width=2)


def features(num_items):
    """A value and a vector for each item; row 0 is of padding."""
    item = np.arange(num_items + 1)
    vectors = np.stack([item % 2, item % 5], axis=1).astype(np.float32)
    return types.Features((1 + item % 3)[:, None].astype(np.int32), vectors)


def with_features(name, **changed):
    model = methods_test.build(name, **changed)
    tf.random.set_seed(0)
    model.read_features(SIZES)
    return model


@pytest.mark.parametrize("name", methods_test.METHODS)
def test_every_method_learns_its_features(name):
    model, log = with_features(name), walks.cycles(9, 2)
    before = model.scores(log)
    item_embedding.set_features(model, features(walks.NUM_ITEMS))
    assert np.abs(model.scores(log) - before).max() > 0.0
    batch = next(iter(batches.epoch(log, 16, methods_test.LENGTH, "last", 0, 0)))
    learned = [v for v in model.trainable_variables if "item_features" in v.name or
               v.name.startswith(("value_embedding", "projection"))]  # fmt: skip
    assert len(learned) >= 2
    with tf.GradientTape() as tape:
        loss = model.loss(batch, tf.constant([0, 0]))
    for gradient in tape.gradient(loss, learned):
        assert np.abs(tf.convert_to_tensor(gradient).numpy()).max() > 0.0


def test_a_dropped_id_leaves_the_features():
    model = with_features("sasrec")
    item_embedding.set_features(model, features(walks.NUM_ITEMS))
    whole = model.catalogue().numpy()
    rows = model.item_features.embedded(
        tf.range(1, walks.NUM_ITEMS + 1), tf.zeros_like(model.items)
    )
    with item_embedding.dropping(model, 0.5, tf.constant(3, tf.int64)):
        dropped = model.catalogue().numpy()
    is_dropped = (np.abs(dropped - whole) > 1e-7).any(axis=1)
    assert 0 < is_dropped.sum() < walks.NUM_ITEMS
    np.testing.assert_allclose(dropped[is_dropped], rows.numpy()[is_dropped], atol=1e-7)


# Users alternate between two genres: what follows an item has the other genre.
GENRES = ["red", "blue"]
ITEMS = 20
NEW = ["new_red", "new_blue"]


def table(path, new=False):
    rows = [(f"i{item}", GENRES[item % 2]) for item in range(ITEMS)]
    rows += [("new_red", "red"), ("new_blue", "blue")] if new else []
    frame = pl.DataFrame(rows, schema=["item", "genre"], orient="row")
    frame.write_parquet(path)
    return frame


def alternating(users, length, seed):
    rng = np.random.default_rng(seed)
    first = rng.integers(2, size=users)
    place = np.arange(length)
    item = 2 * rng.integers(ITEMS // 2, size=(users, length))
    item += (first[:, None] + place) % 2
    offsets = np.arange(users + 1) * length
    return Sequences((item.ravel() + 1).astype(np.int32), offsets, ITEMS)


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """SASRec after a way through its folder, trained on items of two genres."""
    folder = tmp_path_factory.mktemp("agent")
    frame = table(folder / "items.parquet")
    columns = feature_schema.declared({"genre": "category"}, "columns").item
    encoder = feature_encoding.fit(columns, frame, "items.parquet")
    items = np.array([f"i{item}" for item in range(ITEMS)])
    vocabulary = vocabulary_lib.Vocabulary(
        vocabulary_lib.Ids(items), vocabulary_lib.Ids(np.arange(60)), item_features=encoder
    )
    config = SasrecConfig(width=16, inner=16, length=8, blocks=1, epochs=12, batch=20,
                          learning_rate=0.01, dropout=0.0)  # fmt: skip
    epoch = itertools.count(1)  # the last epoch is the best one
    fitted = fitting.fit(
        "sasrec", config, alternating(60, 8, 0), lambda model: float(next(epoch)),
        folder / "run", 0,
        source=identity.Source("log", "1"), protocol="user_ratio",
        features=encoder.encode(frame, "items.parquet"), sizes=encoder.spec, warn=print,
    )  # fmt: skip
    made = trained.TrainedSequence("sasrec", fitted.model, vocabulary, {})
    made.save(folder / "model")
    return trained.load(folder / "model")


def ask(agent, history, k):
    return list(agent.rank(ranking.checked_request(agent.vocabulary, agent.spec, history, k=k)))


def test_a_new_item_is_ranked_by_its_features(agent, tmp_path):
    table(tmp_path / "today.parquet", new=True)
    changed = agent.with_items(catalogue.plan(agent, tmp_path / "today.parquet"))
    # A red item follows a blue one, also one that training never showed.
    for history, follows, other in (
        (["i1", "i2", "i3"], "new_red", "new_blue"),
        (["i0", "i1", "i2"], "new_blue", "new_red"),
    ):
        ranked = ask(changed, history, ITEMS + 2)
        assert ranked.index(follows) < ranked.index(other)
        assert ranked.index(follows) < ITEMS // 2 + 1 <= ranked.index(other)
        # The others rank as before.
        assert [item for item in ranked if item not in NEW] == ask(agent, history, ITEMS)
    changed.save(tmp_path / "model")
    reopened = trained.load(tmp_path / "model")
    assert ask(reopened, ["i1"], 5) == ask(changed, ["i1"], 5)


def test_items_go(agent, tmp_path):
    table(tmp_path / "today.parquet").tail(12).write_parquet(tmp_path / "today.parquet")
    change = catalogue.plan(agent, tmp_path / "today.parquet", "remove")
    changed = agent.with_items(change)
    remaining = [item for item in ask(agent, ["i9", "i10"], ITEMS) if int(item[1:]) >= 8]
    assert ask(changed, ["i9", "i10"], 12) == remaining


def test_an_agent_of_ids_alone_says_why_it_cannot(tmp_path):
    items = np.array([f"i{item}" for item in range(ITEMS)])
    vocabulary = vocabulary_lib.Vocabulary(
        vocabulary_lib.Ids(items), vocabulary_lib.Ids(np.arange(3))
    )
    table(tmp_path / "today.parquet", new=True)
    for name in ("sasrec", "cocorec"):
        model = methods_test.build(name, num_items=ITEMS)
        plain = trained.TrainedSequence(name, model, vocabulary, {})
        with pytest.raises(UserError, match="reads no features of items"):
            plain.with_items(catalogue.plan(plain, tmp_path / "today.parquet"))
    table(tmp_path / "fewer.parquet").tail(12).write_parquet(tmp_path / "fewer.parquet")
    with pytest.raises(UserError, match="cocorec cannot rank other items .* their categories"):
        plain.with_items(catalogue.plan(plain, tmp_path / "fewer.parquet", "remove"))
