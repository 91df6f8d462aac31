"""Every trainable variable moves in one update, whichever head; those that don't are named."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfgoalrec import learner as goalrec_learner


@pytest.mark.parametrize("advantage", ["bilinear", "mlp"])
def test_every_trainable_variable_moves(advantage):
    # Weight decay alone would move every weight: without it only gradients do.
    agent = small.agent(advantage=advantage, weight_decay=0.0, batch=64)
    world = scripted.ScriptedWorld(small.SPEC, repeats=True)
    learner = goalrec_learner.GoalRecLearner(agent, scripted.random_log(world, 60))
    rows = learner.replay.sample(64, tf.constant([3, 4]))
    transition = agent.transition(rows)

    with tf.GradientTape() as tape:
        agent.world_model.loss_of(transition, tf.constant([[1, 2], [3, 4]]))
    used = {v.ref() for v in tape.watched_variables()}
    trained = {v.ref(): v.numpy().copy() for v in agent.variables_to_train}
    assert {v.deref().name for v in used} == {v.deref().name for v in trained}
    assert used == set(trained)

    _, bad = agent.update(transition, agent.seeds())
    assert int(bad) == -1
    still = [
        v.deref().name for v, before in trained.items() if (v.deref() == before).numpy().all()
    ]
    assert still == []
    # Every item of the catalogue is shown, clicked or drawn as a negative: each row moves.
    table = agent.world_model.item_embedding
    moved = (table.numpy() != trained[table.ref()]).any(axis=1)
    assert moved[1:].all()
    assert not moved[0], "padding has no meaning to learn"
    assert len(np.unique(rows.item)) == 6
