"""Crosses of the history from the log to the export: everywhere the same ranks."""

import numpy as np
import pytest
import tensorflow as tf

import tfrec
from tests.reliability import feature_exports
from tests.tfrec import api_test
from tfgoalrec import world_model
from tfrec.nn import history_crosses
from tfrec.serving import export, loaded, requests

ITEMS = "item,room,tags\nlamp,hall,red|old\nmug,kitchen,red\nrug,hall,blue|old\ndesk,study,\n"
COLUMNS = {
    "room": {"kind": "category", "min_items": 1, "cross": 8},
    "tags": {"kind": "categories", "buckets": 30, "cross": 8},
}
HISTORIES = (
    ((), ()),
    (("lamp",), ((1.0,),)),
    (("mug", "unknown", "lamp", "desk"), ((1.0,), (0.0,), (1.0,), (0.0,))),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crosses")
    (folder / "items.csv").write_text(ITEMS)
    return tfrec.read_log(
        api_test.write_log(folder / "log.csv"), out=folder / "data", max_steps=4,
        item_features=folder / "items.csv", feature_columns=COLUMNS, history_length=4,
        test_fraction=0.0, validation_fraction=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param("goalrec", marks=pytest.mark.slow), "dien"])
def test_the_export_ranks_as_the_saved_agent(name, data, tmp_path):
    trained = feature_exports.KINDS[name](seed=1, **feature_exports.SMALL).fit(data)
    parts = [
        part
        for part in trained.agent.weights().submodules
        if isinstance(part, history_crosses.HistoryCrosses)
    ]
    assert parts
    for part in trained.agent.weights().submodules:
        if isinstance(part, world_model.WorldModel):
            # So few updates leave advantages of rounding errors, and a slope by chance.
            part.slope.assign(tf.ones_like(part.slope))
    plain = [trained.rank(list(items), k=4).scores for items, _ in HISTORIES]
    for part in parts:
        bias = part.weight_net.bias
        bias.assign(tf.random.stateless_normal(bias.shape, [1, 2], stddev=3.0))
    trained.save(tmp_path / "agent")
    agent = tfrec.load(tmp_path / "agent")
    ranker = feature_exports.ranker_of(agent)
    model = loaded.ExportedModel(export.export(ranker, tmp_path / "export"))
    goal = next(iter(ranker.named_goals))
    for (items, feedback), before in zip(HISTORIES, plain, strict=True):
        request = requests.Request(items, feedback, goal_name=goal, k=4)
        [answer] = model.rank([request])
        clicks = [click for (click,) in feedback]
        expected = agent.rank(list(items), feedback={"click": clicks}, k=4)
        assert tuple(answer.item) == expected.items
        np.testing.assert_allclose(answer.score, expected.scores, rtol=1e-5, atol=1e-5)
        if items:  # the crosses decide
            assert np.abs(np.subtract(expected.scores, before)).max() > 0.1
