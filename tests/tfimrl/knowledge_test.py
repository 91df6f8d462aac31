"""The declared structure of each simulator holds in the simulator."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfimrl import causal_graph, counterfactual, knowledge
from tfrec.environments import contract
from tfrec.environments.ports import recogym, recsim, seen, virtualtb
from tfrec.replay.steps import Steps

SEED = tf.constant([1, 2])


def steps(simulator, shown_of, batch=400):
    """Random steps of new users, and the outcomes they come from."""
    state = simulator.reset(batch, SEED)
    timestep = contract.timestep_of(simulator, state, SEED)
    action = contract.random_policy(simulator)(timestep)
    outcome = simulator.step(state, action, SEED)
    made = Steps(
        state=timestep.observation,
        action=shown_of(timestep, action),
        reward=outcome.reward,
        next_state=simulator.observation(outcome.state),
        discount=tf.ones([batch]),
        user=tf.range(batch),
        own_next=~outcome.done,
        synthetic=tf.zeros([batch], tf.bool),
    )
    return made, outcome


def exchanged(made, structure, mask):
    partner = Steps(*(tf.roll(column, 1, axis=0) for column in made))
    return counterfactual.augment(made, partner, structure.graphs[mask], structure.slots, SEED)


@pytest.mark.parametrize("kind", [recsim.InterestEvolution, seen.RememberedEvolution])
def test_interest_evolution_is_exchanged_without_an_error(kind):
    simulator = kind(recsim.InterestEvolutionConfig(reward="watch_time"))
    structure = knowledge.of(simulator)

    def shown(timestep, action):
        return tf.reshape(tf.gather(timestep.candidates, action, batch_dims=1), [-1, 40])

    made, outcome = steps(simulator, shown, 4000)
    # The expected reward is the mean reward, since a new user's budget is not exhausted.
    expected_reward = structure.expected_reward(made.state, made.action).numpy()
    error = 3 * outcome.reward.numpy().std() / 4000**0.5
    assert abs(expected_reward.mean() - outcome.reward.numpy().mean()) < error
    assert (expected_reward > 0).all() and (expected_reward < 4).all()
    assert np.corrcoef(expected_reward, outcome.reward)[0, 1] > 0.1
    new = exchanged(made, structure, "true")
    assert new.valid.numpy().mean() > 0.99
    moved = (new.steps.state.numpy() != made.state.numpy()).mean(axis=0)
    assert (moved[:20] > 0.2).all() and not moved[40:].any()
    np.testing.assert_array_equal(
        structure.expected_reward(new.steps.state, made.action), expected_reward
    )
    # The change of state in the step is the same.
    before, after = ((s.next_state - s.state).numpy()[new.valid] for s in (made, new.steps))
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_clicks_may_be_the_reward():
    simulator = recsim.InterestEvolution(recsim.InterestEvolutionConfig(reward="clicks"))
    shown = tf.one_hot([[3, 3]], 20)
    # Two documents of interest 1: 2 + 2 against 2 for no click.
    expected_reward = knowledge.of(simulator).expected_reward(
        tf.ones([1, 20]), tf.reshape(shown, [1, 40])
    )
    np.testing.assert_allclose(expected_reward, [4 / 6])


def test_recogym_actions_influence_the_shown_product():
    simulator = recogym.RecoGymV1(recogym.RecoGymV1Config(products=6, flips=0))
    structure = knowledge.of(simulator)
    assert structure.expected_reward is None
    made, _ = steps(simulator, lambda timestep, action: tf.one_hot(action[:, 0], 6))
    linked = causal_graph.adjacency(
        structure.graphs["heuristic"](made.state, made.action), structure.slots
    )
    free = causal_graph.independent(causal_graph.components(linked), structure.slots)
    np.testing.assert_array_equal(free[:, :6], made.action == 0)
    product = structure.slots.of_state_column
    np.testing.assert_array_equal(product, [*range(6)] * 3)
    # In truth all views depend on one hidden vector: nothing can be exchanged.
    linked = causal_graph.adjacency(
        structure.graphs["true"](made.state, made.action), structure.slots
    )
    free = causal_graph.independent(causal_graph.components(linked), structure.slots)
    assert not free.numpy().any()


@pytest.fixture(scope="module", params=["as it is", "scaled"])
def taobao(request):
    folder = pathlib.Path(os.environ.get("TFREC_DATA", "")) / "virtualtb"
    if "TFREC_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("TFREC_DATA has no folder virtualtb")
    kinds = {"as it is": virtualtb.VirtualTaobao, "scaled": seen.ScaledTaobao}
    return kinds[request.param](folder)


def test_virtual_taobao(taobao):
    structure = knowledge.of(taobao)
    assert structure.slots.count == 14
    made, outcome = steps(taobao, lambda timestep, action: action, 4000)
    expected_reward = structure.expected_reward(made.state, made.action).numpy()
    rewards = outcome.reward.numpy()
    assert (
        abs(expected_reward.mean() - rewards.mean())
        < 3 * (rewards - expected_reward).std() / 4000**0.5 + 1e-3
    )
    # The true graph is one component: no slot may be exchanged.
    assert not exchanged(made, structure, "true").valid.numpy().any()
    new = exchanged(made, structure, "heuristic")
    own_next = made.own_next.numpy()
    assert new.valid.numpy()[own_next & np.roll(own_next, 1)].all()
    moved = new.steps.state.numpy() != made.state.numpy()
    assert moved[:, :88].any() and not moved[:, 88:].any()
    # The exchange changes the expected reward of a step.
    error = np.abs(structure.expected_reward(new.steps.state, made.action) - expected_reward)[
        new.valid
    ]
    assert error.mean() > 0.02


def test_a_simulator_without_slots_is_rejected():
    with pytest.raises(ValueError, match="LongTermSatisfaction declares no slots"):
        knowledge.of(recsim.LongTermSatisfaction())
