"""What is known of each simulator holds in the simulator."""

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


def exchanged(made, known, mask):
    partner = Steps(*(tf.roll(column, 1, axis=0) for column in made))
    return counterfactual.augment(made, partner, known.graphs[mask], known.slots, SEED)


@pytest.mark.parametrize("kind", [recsim.InterestEvolution, seen.RememberedEvolution])
def test_interest_evolution_is_exchanged_without_an_error(kind):
    simulator = kind(recsim.InterestEvolutionConfig(reward="watch_time"))
    known = knowledge.of(simulator)

    def shown(timestep, action):
        return tf.reshape(tf.gather(timestep.candidates, action, batch_dims=1), [-1, 40])

    made, outcome = steps(simulator, shown, 4000)
    # What is asked is the mean of what is paid: a new user's budget cuts nothing.
    asked = known.ask(made.state, made.action).numpy()
    error = 3 * outcome.reward.numpy().std() / 4000**0.5
    assert abs(asked.mean() - outcome.reward.numpy().mean()) < error
    assert (asked > 0).all() and (asked < 4).all()
    assert np.corrcoef(asked, outcome.reward)[0, 1] > 0.1
    new = exchanged(made, known, "true")
    assert new.valid.numpy().mean() > 0.99
    moved = (new.steps.state.numpy() != made.state.numpy()).mean(axis=0)
    assert (moved[:20] > 0.2).all() and not moved[40:].any()
    np.testing.assert_array_equal(known.ask(new.steps.state, made.action), asked)
    # What the step changed is still what it changed.
    before, after = ((s.next_state - s.state).numpy()[new.valid] for s in (made, new.steps))
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_clicks_may_be_the_reward():
    simulator = recsim.InterestEvolution(recsim.InterestEvolutionConfig(reward="clicks"))
    shown = tf.one_hot([[3, 3]], 20)
    # Two documents of interest 1: 2 + 2 against 2 for no click.
    asked = knowledge.of(simulator).ask(tf.ones([1, 20]), tf.reshape(shown, [1, 40]))
    np.testing.assert_allclose(asked, [4 / 6])


def test_recogym_reaches_the_product_that_is_shown():
    simulator = recogym.RecoGymV1(recogym.RecoGymV1Config(products=6, flips=0))
    known = knowledge.of(simulator)
    assert known.ask is None
    made, _ = steps(simulator, lambda timestep, action: tf.one_hot(action[:, 0], 6))
    linked = causal_graph.adjacency(
        known.graphs["heuristic"](made.state, made.action), known.slots
    )
    free = causal_graph.independent(causal_graph.components(linked), known.slots)
    np.testing.assert_array_equal(free[:, :6], made.action == 0)
    product = known.slots.of_state_column
    np.testing.assert_array_equal(product, [*range(6)] * 3)
    # In truth all views come of one hidden vector: nothing can be exchanged.
    linked = causal_graph.adjacency(known.graphs["true"](made.state, made.action), known.slots)
    free = causal_graph.independent(causal_graph.components(linked), known.slots)
    assert not free.numpy().any()


@pytest.fixture(scope="module", params=["as it is", "scaled"])
def taobao(request):
    folder = pathlib.Path(os.environ.get("TFREC_DATA", "")) / "virtualtb"
    if "TFREC_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("TFREC_DATA has no folder virtualtb")
    kinds = {"as it is": virtualtb.VirtualTaobao, "scaled": seen.ScaledTaobao}
    return kinds[request.param](folder)


def test_virtual_taobao(taobao):
    known = knowledge.of(taobao)
    assert known.slots.count == 14
    made, outcome = steps(taobao, lambda timestep, action: action, 4000)
    asked = known.ask(made.state, made.action).numpy()
    rewards = outcome.reward.numpy()
    assert abs(asked.mean() - rewards.mean()) < 3 * (rewards - asked).std() / 4000**0.5 + 1e-3
    # The true graph is one component: nothing may be exchanged.
    assert not exchanged(made, known, "true").valid.numpy().any()
    new = exchanged(made, known, "heuristic")
    own = made.own_next.numpy()
    assert new.valid.numpy()[own & np.roll(own, 1)].all()
    moved = new.steps.state.numpy() != made.state.numpy()
    assert moved[:, :88].any() and not moved[:, 88:].any()
    # And it does change what a step should be paid.
    error = np.abs(known.ask(new.steps.state, made.action) - asked)[new.valid]
    assert error.mean() > 0.02


def test_others_are_not_known():
    with pytest.raises(ValueError, match="nothing is known of the slots of LongTerm"):
        knowledge.of(recsim.LongTermSatisfaction())
