import dataclasses

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from tests.contracts import cases
from tfrec import types
from tfrec.data import feature_encoding, feature_schema, vocabulary
from tfrec.errors import UserError
from tfrec.methods import catalogue, registry
from tfrec.training import run as runs

COUNT = cases.SPEC.num_items

pytestmark = pytest.mark.slow
COLUMN = feature_schema.FeatureColumn(name="genre", min_items=1, cross=8)
TABLE = pl.DataFrame(
    {"item": np.arange(COUNT) + 100, "genre": [f"g{i % 3}" for i in range(COUNT)]}
)
ENCODER = feature_encoding.fit([COLUMN], TABLE, "log.csv")
IDS = vocabulary.Vocabulary(
    vocabulary.Ids(np.arange(COUNT) + 100),
    vocabulary.Ids(np.arange(cases.SPEC.num_users)),
    item_features=ENCODER,
)
# A history without events, and one of the first items.
LENGTH = cases.SPEC.history_length
OBSERVATION = types.Observation(
    tf.constant(np.stack([np.zeros(LENGTH), np.arange(LENGTH)]), tf.int32),
    tf.zeros([2, LENGTH, len(cases.SPEC.feedback)]),
    tf.zeros([2], tf.int32),
)


def trained(name, with_features=True, candidates=0, **changes):
    spec = dataclasses.replace(
        cases.SPEC,
        candidates=candidates,
        item_features=ENCODER.spec if with_features else None,
    )
    config = cases.catalogue(name, "log", **changes).config
    log = cases.log()
    if candidates:
        log = log._replace(item=np.minimum(log.item, candidates))
    vectors = registry.item_vectors(registry.get(name), config, log, spec)
    features = ENCODER.encode(TABLE, "log.csv") if with_features else None
    learner = runs.seeded(
        3, lambda: registry.get(name).make(config, spec, log, None, vectors, 3, features)
    )
    learner.advance()
    return registry.get(name).trained(config, spec, learner, IDS, {"data": "a log"})


@pytest.fixture(scope="module", params=["goalrec_off", "rainbow", "dien"])
def agent(request):
    return trained(request.param)


def table(tmp_path, rows):
    path = tmp_path / "items.csv"
    path.write_text("item,genre\n" + "".join(f"{item},{genre}\n" for item, genre in rows))
    return path


def scores(agent, states=2):
    """Score of each raw item id in the first states of OBSERVATION."""
    observation = types.rows(OBSERVATION, np.s_[:states])
    blocked = np.zeros([states, agent.spec.num_candidates], bool)
    items, result = agent.lists(observation, blocked, agent.spec.num_candidates)
    return [
        dict(zip(agent.vocabulary.decode(items[row]).tolist(), result[row], strict=True))
        for row in range(states)
    ]


def test_former_items_keep_their_scores_and_new_ones_rank_by_features(agent, tmp_path):
    path = table(tmp_path, [(7, "g1"), (8, "g1"), (9, "g2")])
    changed = agent.with_items(catalogue.plan(agent, path))
    assert changed.spec.num_items == COUNT + 3
    assert changed.about["items added"] == 3
    before, after = scores(agent), scores(changed)
    for row in range(2):
        # Rainbow's advantages are against the mean of the catalogue, which changes.
        expected = [score - before[row][100] for score in before[row].values()]
        results = [after[row][item] - after[row][100] for item in before[row]]
        np.testing.assert_allclose(results, expected, atol=1e-5)
        assert after[row][7] == pytest.approx(after[row][8], abs=1e-6)
        assert abs(after[row][7] - after[row][9]) > 1e-6


def test_a_new_item_is_crossed_with_the_history_by_its_features(tmp_path):
    agent = trained("goalrec_off")
    path = table(tmp_path, [(7, "g1"), (8, "new"), (100, "g2")])
    changed = agent.with_items(catalogue.plan(agent, path))
    crosses = changed.world_model.crosses
    dense = changed.vocabulary.encode([7, 8, 100, 101])
    vectors = crosses.vectors(tf.constant(dense))
    # Genres g0, g1 and g2; one that training never met is rare, which no item shares.
    expected = [[0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]
    np.testing.assert_array_equal(vectors, expected)


def test_a_changed_agent_is_saved_and_opened(agent, tmp_path):
    changed = agent.with_items(catalogue.plan(agent, table(tmp_path, [(7, "g1")])))
    changed.save(tmp_path / "agent")
    opened = registry.load(tmp_path / "agent")
    assert scores(opened) == scores(changed)


def test_items_that_the_table_lacks_go(agent, tmp_path):
    path = table(tmp_path, [(101, "g1"), (103, "g0"), (7, "g2")])
    changed = agent.with_items(catalogue.plan(agent, path, absent="remove"))
    assert changed.vocabulary.items.tolist() == [101, 103, 7]
    assert changed.about["items removed"] == COUNT - 2
    assert set(scores(changed, states=1)[0]) == {101, 103, 7}


def test_features_of_former_items_are_replaced(agent, tmp_path):
    path = table(tmp_path, [(100, "g1")])
    changed = agent.with_items(catalogue.plan(agent, path))
    assert abs(scores(changed)[0][100] - scores(agent)[0][100]) > 1e-6


def test_new_items_come_before_items_that_may_not_be_recommended(tmp_path):
    agent = trained("goalrec_off", candidates=4)
    changed = agent.with_items(catalogue.plan(agent, table(tmp_path, [(7, "g1")])))
    assert changed.spec.num_candidates == 5
    raw = changed.vocabulary.items.tolist()
    assert raw == [100, 101, 102, 103, 7, *range(104, 100 + COUNT)]
    [before], [after] = scores(agent, states=1), scores(changed, states=1)
    assert set(after) == {100, 101, 102, 103, 7}
    for item, score in before.items():
        assert after[item] == pytest.approx(score, abs=1e-5)
    frozen = agent.measurements.item_embedding.numpy()
    moved = changed.measurements.item_embedding.numpy()
    np.testing.assert_array_equal(moved[[1, 2, 3, 4, 6]], frozen[[1, 2, 3, 4, 5]])
    np.testing.assert_array_equal(moved[5], 0.0)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("wide_and_deep", "its wide half crosses the ids of items"),
        ("td3", "its actions are vectors made of the log"),
    ],
)
def test_a_method_with_fixed_items_says_why(name, why, tmp_path):
    agent = trained(name)
    change = catalogue.plan(agent, table(tmp_path, [(7, "g1")]))
    with pytest.raises(UserError, match=f"{name} cannot rank other items .*: {why}"):
        agent.with_items(change)


def test_statistics_of_the_log_are_not_there_for_new_items(tmp_path):
    agent = trained("goalrec_off", item_input="log")
    change = catalogue.plan(agent, table(tmp_path, [(7, "g1")]))
    with pytest.raises(UserError, match="item_input is log: .*expected an agent trained with"):
        agent.with_items(change)


def test_hashed_ids_of_the_history_must_not_move(tmp_path):
    agent = trained("dien", crossed=16)
    appended = catalogue.plan(agent, table(tmp_path, [(7, "g1")]))
    assert agent.with_items(appended).spec.num_items == COUNT + 1
    moved = catalogue.plan(agent, table(tmp_path, [(101, "g1")]), absent="remove")
    with pytest.raises(UserError, match="hashes dense ids of its history .crossed is 16"):
        agent.with_items(moved)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a7", "g1")], "items.csv: id 'a7' in column 'item'; expected an integer"),
        ([(7, "g1"), (7, "g2")], "items.csv, row 3: item is '7'; expected an id that no row"),
        ([(-1, "g1")], "items.csv: id -1 in column 'item'; expected an item id other than -1"),
    ],
)
def test_a_bad_table_is_named(rows, message, agent, tmp_path):
    with pytest.raises(UserError, match=message):
        catalogue.plan(agent, table(tmp_path, rows))


def test_a_table_without_the_features_is_named(agent, tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item,kind\n7,x\n")
    with pytest.raises(UserError, match="no column 'genre', which the declaration of features"):
        catalogue.plan(agent, path)


def test_an_agent_of_ids_alone_takes_no_new_items(tmp_path):
    agent = trained("dien", with_features=False)
    with pytest.raises(UserError, match="item 7 is new, and the agent reads no features"):
        catalogue.plan(agent, table(tmp_path, [(7, "g1")]))
    retained = catalogue.plan(agent, table(tmp_path, [(101, "g1")]), absent="remove")
    assert agent.with_items(retained).vocabulary.items.tolist() == [101]
