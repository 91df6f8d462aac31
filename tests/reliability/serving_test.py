"""R7: the served model is the agent, for the real one: kept, opened, exported, reloaded."""

import numpy as np
import pytest
import tensorflow as tf

from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config, measurements, trained
from tfrec import types
from tfrec.data import vocabulary
from tfrec.serving import export, loaded, requests
from tfrec.simulators import session

ITEMS, HORIZON, STEPS = 40, 6, 8


def untrained_agent(advantage):
    """A small agent whose weights are moved far enough from the start to prefer items."""
    spec = types.DataSpec(
        (
            types.FeedbackColumn("click", "binary", "clicks"),
            types.FeedbackColumn("watch", "amount", "seconds", 30.0),
        ),
        ITEMS,
        num_users=5,
        history_length=HORIZON,
        max_steps=STEPS,
    )
    random = np.random.default_rng(0)
    vectors = random.normal(size=(ITEMS + 1, 16)).astype(np.float32)
    measured = measurements.Measurements((), spec, vectors[:, :2])
    measured.mean.assign(random.uniform(0, 5, measured.dim))
    measured.std.assign(random.uniform(0.5, 5, measured.dim))
    method = config.GoalRecConfig(
        advantage=advantage,
        embedding=8,
        units=8,
        state=16,
        goal_units=8,
        stream=16,
        item_vector=8,
    )
    agent = goalrec_agent.GoalRecAgent(method, spec, measured, vectors, seed=1)
    for variable in agent.averaged.trainable_variables:
        variable.assign(1.5 * variable)
    ids = vocabulary.Vocabulary(
        vocabulary.Ids(np.array(sorted(f"film {i}" for i in range(ITEMS)))),
        vocabulary.Ids(np.arange(5)),
    )
    return agent.trained(ids, {"data": "none"})


@pytest.mark.parametrize("advantage", ["bilinear", "mlp"])
def test_the_served_list_starts_with_what_the_agent_would_show(advantage, tmp_path):
    untrained_agent(advantage).save(tmp_path / "agent")
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
        turn = session.Turn(observation, None, None, tf.constant([0, 0]))
        chosen[name] = agent.policy(goal)(turn).numpy()
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
