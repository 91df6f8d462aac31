"""Saved sequential models: the same lists after a way through a folder, and as a policy."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.baselines.sequential import sasrec, trained
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.data.sequences import Sequences
from tfrec.environments import contract
from tfrec.errors import UserError
from tfrec.methods import ranking, registry

ITEMS = np.array(["lamp", "mug", "pen", "cup", "sofa"])
ROWS = [[1, 2, 3], [4], [5, 1, 2, 3, 4, 2]]


@pytest.fixture(scope="module")
def model():
    config = sasrec.SasrecConfig(width=8, inner=8, length=4, blocks=1)
    net = sasrec.Sasrec(config, len(ITEMS), seed=1)
    rng = np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return net


@pytest.fixture(scope="module")
def agent(model):
    ids = vocabulary_lib.Vocabulary(vocabulary_lib.Ids(ITEMS), vocabulary_lib.Ids(np.arange(3)))
    return trained.TrainedSequence("sasrec", model, ids, {"data": "abc", "seed": 1})


def ask(agent, history, **more):
    return agent.rank(ranking.checked_request(agent.vocabulary, agent.spec, history, **more))


def test_scores_in_a_graph_are_those_of_histories(model, agent):
    log = Sequences(
        np.concatenate(ROWS).astype(np.int32), np.cumsum([0, *map(len, ROWS)]), len(ITEMS)
    )
    observation = types.Observation(log.padded(5), np.zeros([3, 5, 1]), np.zeros(3))
    result = tf.function(lambda x: agent.learner.scores(x, None))(
        tf.nest.map_structure(tf.constant, observation)
    )
    assert result.numpy() == pytest.approx(model.scores(log), abs=1e-5)


def test_a_row_without_a_history_has_equal_scores(agent):
    items = tf.constant([[0, 0, 0, 1], [0, 0, 0, 0]])
    observation = types.Observation(items, tf.zeros([2, 4, 1]), tf.zeros([2], tf.int32))
    scores = agent.learner.scores(observation, None).numpy()
    assert np.unique(scores[1]).tolist() == [0.0]
    assert len(np.unique(scores[0])) > 1


def test_a_request_without_a_history_is_answered_in_the_order_of_the_catalogue(agent):
    assert list(ask(agent, [], k=3)) == ITEMS[:3].tolist()
    assert list(ask(agent, ["unknown"], k=3)) == ITEMS[:3].tolist()


def test_ranks_raw_ids_and_leaves_out_what_is_excluded(model, agent):
    log = Sequences(np.array([1, 2, 3], np.int32), np.array([0, 3]), len(ITEMS))
    order = ITEMS[np.argsort(-model.scores(log)[0], kind="stable")].tolist()
    assert list(ask(agent, ["lamp", "mug", "pen"], k=5)) == order
    assert list(ask(agent, ["lamp", "mug", "pen"], exclude=order[:1], k=2)) == order[1:3]


def test_plays_the_best_item_that_is_not_blocked(agent):
    observation = types.Observation(
        tf.constant([[0, 1, 2, 3]]), tf.zeros([1, 4, 1]), tf.zeros([1], tf.int32)
    )
    order = np.argsort(-agent.learner.scores(observation, None).numpy()[0]) + 1
    blocked = tf.constant([[item == order[0] for item in range(1, 6)]])
    timestep = contract.history_timestep(observation, tf.constant([0, 1]), blocked)
    assert agent.policy()(timestep).numpy().tolist() == [[order[1] - 1]]


def test_a_folder_gives_the_same_model_back(agent, tmp_path):
    agent.save(tmp_path / "model")
    again = registry.load(tmp_path / "model")
    assert isinstance(again, trained.TrainedSequence)
    assert again.config == agent.config
    assert again.about == agent.about
    first, second = (ask(a, ["sofa", "lamp"], k=5) for a in (agent, again))
    assert first.items == second.items
    assert first.scores == pytest.approx(second.scores)


def test_a_damaged_folder_is_refused(agent, tmp_path):
    agent.save(tmp_path / "model")
    path = tmp_path / "model" / "sequence_model.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"method": "gru"}))
    with pytest.raises(UserError, match="method is 'gru'; expected one of sasrec"):
        trained.load(tmp_path / "model")
    path.write_text(json.dumps(manifest | {"config": manifest["config"] | {"width": 4}}))
    with pytest.raises(UserError):
        trained.load(tmp_path / "model")
    path.unlink()
    with pytest.raises(UserError, match="no trained agent here"):
        trained.load(tmp_path / "model")
