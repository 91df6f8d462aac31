"""Users of a catalogue, stepped side by side: what is observed, when sessions end, masks."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec import types
from tfrec.environments import contract, playing, users
from tfrec.ops import selection

SPEC, VECTORS = small.SPEC, small.VECTORS  # 6 items, H = 4, T = 5; click and watch (scale 4)
SEED = tf.constant([1, 2])


def environment(repeats=False, **named):
    world = scripted.ScriptedWorld(SPEC, repeats)
    return users.UserEnvironment(world, scripted.starts(7), VECTORS, **named)


def test_the_summary_of_a_history_by_hand():
    # Before the session: item 3 clicked, item 1 skipped. In it: item 2 skipped, item 5 clicked.
    observation = types.Observation(
        tf.constant([[3, 1, 2, 5]]),
        tf.constant([[[1.0, 8.0], [0, 0], [0, 4], [1, 2]]]),
        tf.constant([2]),
    )
    encoded = users.HistoryEncoder(SPEC, VECTORS)(observation).numpy()[0]
    np.testing.assert_allclose(encoded[0:2], np.array([2, 2]) / 2)  # one event, and one more
    np.testing.assert_allclose(encoded[2:4], -np.array([1, 0]) / 2)
    np.testing.assert_allclose(encoded[4:6], np.array([0, 3]) / 2)
    np.testing.assert_allclose(encoded[6:8], -np.array([0, 1]) / 2)
    # 1 for item 5 and .7 for item 2
    np.testing.assert_allclose(encoded[8:10], np.array([0, 3 + 0.7]) / 2.7, rtol=1e-6)
    np.testing.assert_allclose(encoded[10:12], [0, 3])
    np.testing.assert_allclose(encoded[12:14], [1, 0.5])
    np.testing.assert_allclose(encoded[14:16], [1 / 3, 1.5 / 3])
    np.testing.assert_allclose(encoded[16:], [2 / 5])


def test_a_new_session_has_no_part_of_its_own():
    observation = types.Observation(
        tf.constant([[0, 0, 3, 1]]), tf.ones([1, 4, 2]), tf.constant([0])
    )
    encoder = users.HistoryEncoder(SPEC, VECTORS)
    encoded = encoder(observation).numpy()[0]
    np.testing.assert_allclose(encoded[0:2], np.array([3, 2]) / 3)
    assert (encoded[4:] == 0).all()
    assert encoder.size == len(encoded)
    np.testing.assert_array_equal(encoder.feature_columns.ravel(), np.arange(8))
    np.testing.assert_array_equal(encoder.before, np.arange(4))


def test_a_step_moves_the_history_and_pays_the_reward():
    made = environment(reward=(1.0, 0.5))
    state = made.reset(5, SEED)
    outcome = made.step(state, tf.constant([[2]] * 5), SEED)  # position 2 is item 3
    after = outcome.state
    np.testing.assert_array_equal(after.history_item[:, :-1], state.history_item[:, 1:])
    np.testing.assert_array_equal(after.history_item[:, -1], [3] * 5)
    np.testing.assert_allclose(after.history_feedback[:, -1], [[1, 1.3]] * 5)
    np.testing.assert_allclose(outcome.reward, [1 + 0.65] * 5, rtol=1e-6)
    np.testing.assert_array_equal(outcome.clicks, [1] * 5)
    np.testing.assert_array_equal(after.step, [1] * 5)
    # User u leaves after step u.
    np.testing.assert_array_equal(outcome.done, state.world["user"] == 1)


def test_the_same_users_may_begin_elsewhere():
    made = environment()
    other = made.at(types.rows(scripted.starts(7), np.s_[2:3]))  # user 3
    assert set(other.reset(20, SEED).world["user"].numpy()) == {3}
    assert len(set(made.reset(20, SEED).world["user"].numpy())) > 1
    assert other.encoder is made.encoder and other.world is made.world


def test_a_session_is_cut_at_the_cap():
    made = environment(repeats=True)
    state = made.reset(50, SEED)
    for step in range(1, SPEC.max_steps + 1):
        outcome = made.step(state, tf.zeros([50, 1], tf.int32), SEED)
        left = state.world["user"] <= step
        np.testing.assert_array_equal(outcome.done, left | (step == SPEC.max_steps))
        state = outcome.state


@pytest.mark.parametrize("repeats", [False, True])
def test_items_of_the_session_are_blocked(repeats):
    made = environment(repeats)
    state = made.reset(3, SEED)
    assert (made.shown_columns is None) == repeats
    for position in (4, 0):
        state = made.step(state, tf.constant([[position]] * 3), SEED).state
    timestep = contract.timestep_of(made, state, SEED)
    assert timestep.observation.shape == (3, made.observation_size)
    assert timestep.candidates.shape == (3, 6, 2)
    if repeats:
        assert timestep.blocked is None
        return
    np.testing.assert_array_equal(
        timestep.blocked, [[True, False, False, False, True, False]] * 3
    )
    np.testing.assert_array_equal(
        timestep.observation.numpy()[:, made.shown_columns[:3]], [[5, 1, 0]] * 3
    )


def test_random_play_shows_no_item_twice():
    made = environment()
    state, policy = made.reset(200, SEED), contract.random_policy(made)
    shown = []
    for step in range(SPEC.max_steps):
        seed = tf.constant([step, 3])
        action = policy(contract.timestep_of(made, state, seed))
        shown.append(action[:, 0].numpy())
        state = made.step(state, action, seed).state
    assert all(len(set(row)) == SPEC.max_steps for row in np.stack(shown, axis=1))


def test_a_policy_is_the_same_in_recorded_sessions_and_step_by_step():
    """An item by a rule of the observation."""
    made = environment()
    weights = tf.random.stateless_normal([made.encoder.size, 6], SEED)

    def act(timestep):
        scores = tf.matmul(timestep.observation[:, : made.encoder.size], weights)
        return selection.best_slate(scores, 1, timestep.blocked)

    starts = scripted.starts(7)
    played = playing.rollout(made, act, starts, SEED)
    state = made.begin(starts)
    for step in range(SPEC.max_steps):
        action = act(contract.timestep_of(made, state, SEED))
        going = played.length.numpy() > step
        np.testing.assert_array_equal(played.item[:, step][going], (action[:, 0] + 1)[going])
        state = made.step(state, action, SEED).state
    np.testing.assert_array_equal(state.exited, played.exited)


def test_users_who_have_left_see_nothing_more():
    made = environment(reward=(1.0, 0.5))
    state = made.begin(scripted.starts(2))  # users 1 and 2
    for position in (2, 4):
        outcome = made.step(state, tf.constant([[position]] * 2), SEED)
        state = outcome.state
    np.testing.assert_array_equal(state.history_item[:, -2:], [[3, 0], [3, 5]])
    np.testing.assert_allclose(state.history_feedback[:, -1], [[0, 0], [1, 2.5]])
    np.testing.assert_allclose(outcome.reward, [0, 1 + 1.25])
    np.testing.assert_array_equal(state.exited, [True, True])
    assert outcome.done.numpy().all()


def test_without_item_vectors_there_is_the_history_alone():
    world = scripted.ScriptedWorld(SPEC, repeats=False)
    made, full = users.UserEnvironment(world), environment()
    starts = scripted.starts(7)
    timestep = contract.timestep_of(made, made.begin(starts), SEED)
    assert timestep.observation.shape == (7, 0) and made.observation_size == 0
    assert timestep.candidates.shape == (7, 6, 0) and made.structure() is None
    with pytest.raises(ValueError, match="no starts"):
        made.reset(3, SEED)
    other = contract.timestep_of(full, full.begin(starts), SEED)
    for one, two in zip(timestep.history, other.history, strict=True):
        np.testing.assert_array_equal(one, two)
    random = [contract.random_policy(e) for e in (made, full)]
    np.testing.assert_array_equal(random[0](timestep), random[1](other))


def test_a_timestep_of_known_histories_is_that_of_the_state():
    """But for the columns of what was shown, which `blocked` says."""
    made = environment()
    state = made.reset(9, SEED)
    state = made.step(state, tf.constant([[1]] * 9), SEED).state
    known = contract.timestep_of(made, state, SEED)
    outcome = made.timestep(known.history, known.blocked, SEED)
    size = made.encoder.size
    np.testing.assert_array_equal(outcome.observation[:, :size], known.observation[:, :size])
    assert not outcome.observation[:, size:].numpy().any()
    for name in ("candidates", "blocked", "seed"):
        np.testing.assert_array_equal(getattr(outcome, name), getattr(known, name))
    assert outcome.state is None and outcome.history is known.history


def test_a_policy_without_its_history_is_told_what_it_needs():
    with pytest.raises(ValueError, match="history of item ids"):
        contract.history_of(contract.Timestep(tf.zeros([1, 3]), None, None, SEED))


def test_what_a_policy_does_not_read_is_not_in_the_graph():
    """The observation's encoder is pruned where a policy reads the history alone."""
    made = environment()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def act(step):
        state = made.begin(scripted.starts(7))._replace(step=step)
        timestep = contract.timestep_of(made, state, SEED)
        return selection.best_item(tf.cast(timestep.history.history_item, tf.float32), None)

    graph = act.get_concrete_function().graph.as_graph_def()
    retained = tf.compat.v1.graph_util.extract_sub_graph(graph, ["Identity"])
    assert "Einsum" in str({node.op for node in graph.node}).title()
    assert not [node.name for node in retained.node if "einsum" in node.name.lower()]


def test_what_came_before_the_session_is_a_part_of_its_own():
    made = environment()
    parts = made.structure()
    assert parts.state[0] == (0, 1, 2, 3) and parts.state[1][-1] == made.observation_size - 1
    assert parts.user_columns == [0, 1, 2, 3] and parts.expected_reward is None
    state = made.reset(20, SEED)
    after = made.step(state, tf.constant([[3]] * 20), SEED).state._replace(
        history_item=tf.concat([state.history_item[:, 1:], tf.fill([20, 1], 4)], axis=1)
    )
    # In a window that forgets nothing, a step leaves that part as it was.
    short = state.history_item.numpy()[:, 0] == 0
    assert short.any()
    first, then = (made.observation(s).numpy()[short, :4] for s in (state, after))
    np.testing.assert_allclose(first, then, atol=1e-6)


def test_sessions_play_to_their_ends():
    made = environment()
    totals = playing.play(made, contract.random_policy(made), 64, SEED)
    assert set(totals.steps.numpy()) <= set(range(1, SPEC.max_steps + 1))
    np.testing.assert_array_equal(totals.shown, totals.steps)
