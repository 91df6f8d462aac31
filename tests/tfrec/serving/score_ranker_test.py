"""Agents that score the catalogue, exported: the saved model answers their lists."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.data import vocabulary
from tfrec.serving import export, loaded, requests, score_ranker

ITEMS = np.array(["lamp", "mug", "pen", "cup"])
SPEC = types.DataSpec((types.FeedbackColumn("event", "binary", "events"),), 4, 1, 3, 1)


class Scorer(tf.Module):
    """The score of an item is a row of a table, that of the last event's item."""

    def __init__(self):
        super().__init__()
        table = [[0, 0, 0, 0], [0, 4, 3, 2], [1, 0, 2, 3], [5, 5, 1, 0], [9, 8, 7, 6]]
        self.table = tf.Variable(np.array(table, np.float32))

    def scores(self, observation, blocked):
        assert blocked is None
        return tf.gather(self.table, observation.history_item[:, -1])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    scorer = Scorer()
    ids = vocabulary.Vocabulary(vocabulary.Ids(ITEMS), vocabulary.Ids(np.arange(1)))
    ranks = score_ranker.ScoreRanker(scorer, scorer, SPEC, ids)
    version = export.export(ranks, tmp_path_factory.mktemp("export"), shortlist=0)
    return loaded.ExportedModel(version)


def ask(model, *history, **more):
    [answer] = model.rank([requests.Request(history, goal_name="score", k=4, **more)])
    return answer.item, answer.score.tolist()


def test_the_saved_model_answers_the_scores(model):
    assert ask(model, "cup", "lamp") == (["mug", "pen", "cup", "lamp"], [4, 3, 2, 0])
    # Equal scores keep the order of the catalogue.
    assert ask(model, "pen") == (["lamp", "mug", "pen", "cup"], [5, 5, 1, 0])
    assert ask(model, "mug", exclude=("cup",)) == (["pen", "lamp", "mug"], [2, 1, 0])
    assert ask(model, "cup", candidates=("pen", "sofa")) == (["pen"], [7])


def test_the_one_measurement_is_the_score(model):
    assert model.columns == ("score",)
    request = requests.Request(("cup",), goal_name="score", k=2)
    [answer] = model.rank([request])
    assert answer.measurements.tolist() == [[9], [8]]
    assert model.unknown(["lamp", "sofa"]) == ["sofa"]
