"""R7: the served model is the agent, for the real one: kept, opened, exported, reloaded."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.serving import goalrec_ranker
from tfgoalrec import trained
from tfrec import types
from tfrec.environments import contract
from tfrec.serving import export, loaded, requests

pytestmark = pytest.mark.slow

ITEMS = 40
HORIZON, STEPS = goalrec_ranker.HORIZON, goalrec_ranker.STEPS


@pytest.mark.parametrize("advantage", ["bilinear", "mlp"])
def test_the_served_list_starts_with_what_the_agent_would_show(advantage, tmp_path):
    goalrec_ranker.make(advantage, ITEMS).save(tmp_path / "agent")
    agent = trained.load(tmp_path / "agent")
    model = loaded.ExportedModel(export.export(agent, tmp_path / "export"))
    raw = agent.vocabulary.items.tolist()
    random = np.random.default_rng(2)
    item = random.integers(1, ITEMS + 1, (12, HORIZON)).astype(np.int32)
    item[np.arange(HORIZON) < random.integers(HORIZON + 1, size=(12, 1))] = types.PAD
    feedback = np.stack([item % 2, random.exponential(30, item.shape)], axis=-1)
    feedback = (feedback * (item > 0)[..., None]).astype(np.float32)
    step = random.integers(STEPS, size=12).astype(np.int32)
    observation = types.Observation(*map(tf.constant, (item, feedback, step)))
    chosen = {}
    for name, goal in agent.named_goals.items():
        timestep = contract.history_timestep(observation, tf.constant([0, 0]))
        chosen[name] = contract.item_of(agent.policy(goal)(timestep)).numpy()
        answers = model.rank(
            [
                requests.Request(
                    history=tuple(raw[i - 1] for i in item[row] if i),
                    feedback=tuple(map(tuple, feedback[row][item[row] > 0].tolist())),
                    step=int(step[row]),
                    goal_name=name,
                    k=3,
                )
                for row in range(len(item))
            ]
        )
        assert [answer.item[0] for answer in answers] == [raw[i - 1] for i in chosen[name]]
    # Neither the goal nor the state is ignored, or the above would say little.
    assert (chosen["click"] != chosen["watch"]).any()
    assert len(set(chosen["click"].tolist())) > 1
