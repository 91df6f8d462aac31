import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec import types
from tfrec.environments import contract, playing, users
from tfrec.replay import prioritized, transitions
from tfrec.training import checkpoint

SEED = tf.constant([1, 2])


def by_step(replay, draws=400):
    """The distinct transitions of a replay, by (session's slot, step)."""
    drawn = replay.sample(draws, SEED)
    result = {}
    for row, cell in enumerate(drawn.cell.numpy()):
        result[divmod(int(cell), replay.spec.max_steps)] = tf.nest.map_structure(
            lambda x, row=row: None if x is None else x.numpy()[row], drawn
        )
    return result


def filled(n_steps, discount=0.5, repeats=True, priority=None):
    replay = transitions.TransitionReplay(
        small.SPEC, 3, n_steps=n_steps, discount=discount, repeats=repeats, priority=priority
    )
    episodes = small.tensors(small.sessions())
    replay.add(episodes, episodes.feedback[..., 0])
    return replay


# Clicks: session 0 (left after 4) 1 0 1 1; session 1 (cut after 5) 0 1 0 0 1; session 2
# (left after 1) 0.
@pytest.mark.parametrize(
    ("n_steps", "reward", "discount"),
    [
        (
            1,
            [[1, 0, 1, 1], [0, 1, 0, 0, 1], [0]],
            [[0.5, 0.5, 0.5, 0], [0.5] * 5, [0]],
        ),
        (
            3,
            [
                [1 + 0.25, 0.5 + 0.25, 1 + 0.5, 1],
                [0.5, 1, 0.25, 0.5, 1],
                [0],
            ],
            # Cut at the cap: the last windows are shorter and bootstrap all the same.
            [[0.125, 0, 0, 0], [0.125, 0.125, 0.125, 0.25, 0.5], [0]],
        ),
    ],
)
def test_returns_and_discounts_by_hand(n_steps, reward, discount):
    outcome = by_step(filled(n_steps))
    assert len(outcome) == 10
    for (slot, step), row in outcome.items():
        assert row.reward == pytest.approx(reward[slot][step]), (slot, step)
        assert row.discount == pytest.approx(discount[slot][step]), (slot, step)
        assert row.weight == 1.0


def test_states_before_and_after_by_hand():
    outcome = by_step(filled(n_steps=2))
    row = outcome[0, 1]  # of session 0: history 0 0 5 6, shown 1 2 3 4
    assert row.item == 2
    np.testing.assert_array_equal(row.observation.history_item, [0, 5, 6, 1])
    np.testing.assert_array_equal(row.observation.history_feedback[:, 0], [0, 1, 0, 1])
    assert row.observation.step == 1
    np.testing.assert_array_equal(row.next_observation.history_item, [6, 1, 2, 3])
    np.testing.assert_array_equal(row.next_observation.history_feedback[:, 1], [0, 10, 0, 4])
    assert row.next_observation.step == 3
    row = outcome[1, 4]  # the last step before the cap: the state after it is looked up too
    np.testing.assert_array_equal(row.observation.history_item, [5, 1, 2, 2])
    np.testing.assert_array_equal(row.next_observation.history_item, [1, 2, 2, 3])
    assert row.next_observation.step == 5


def test_blocked_are_the_items_shown_before_the_next_state():
    outcome = by_step(filled(n_steps=2, repeats=False))
    blocked = {key: set(np.flatnonzero(row.next_blocked) + 1) for key, row in outcome.items()}
    assert blocked[0, 0] == {1, 2}
    assert blocked[0, 2] == {1, 2, 3, 4}  # not the history's 5 and 6
    assert blocked[1, 1] == {5, 1, 2}
    assert blocked[2, 0] == {4}
    assert by_step(filled(n_steps=2))[0, 0].next_blocked is None


def test_items_that_are_no_candidates_are_not_blocked():
    spec = types.DataSpec(**{**vars(small.SPEC), "candidates": 3})
    replay = transitions.TransitionReplay(spec, 3, n_steps=5, repeats=False)
    episodes = small.tensors(small.sessions())
    replay.add(episodes, episodes.feedback[..., 0])
    outcome = by_step(replay)
    np.testing.assert_array_equal(outcome[1, 0].next_blocked, [True, True, True])  # 5 1 2 2 3
    np.testing.assert_array_equal(outcome[2, 0].next_blocked, [False, False, False])  # 4


def test_a_window_that_never_ends_is_the_sum_of_what_is_left():
    """n beyond the longest session is the Monte Carlo return."""
    outcome = by_step(filled(n_steps=9, discount=1.0))
    assert [outcome[0, step].reward for step in range(4)] == [3, 2, 2, 1]
    assert [outcome[1, step].reward for step in range(5)] == [2, 2, 1, 1, 1]
    assert outcome[0, 0].discount == 0 and outcome[1, 0].discount == 1


def test_the_states_are_what_the_policy_saw():
    world = scripted.ScriptedWorld(small.SPEC, repeats=True)
    policy = scripted.by_observation(world.spec)
    episodes = playing.rollout(
        users.UserEnvironment(world), policy, scripted.starts(40), tf.constant([3, 4])
    )
    replay = transitions.TransitionReplay(world.spec, 40, n_steps=1)
    replay.add(episodes, episodes.feedback[..., 0])
    rows = replay.sample(500, SEED)

    # The policy is a hash of all that it sees: asked again, it must choose the same.
    def choice(observation):
        action = policy(contract.history_timestep(observation, tf.constant([0, 0])))
        return contract.item_of(action).numpy()

    np.testing.assert_array_equal(choice(rows.observation), rows.item)
    # And in the next state it must choose the session's next item.
    slot, step = rows.cell.numpy() // 5, rows.cell.numpy() % 5
    goes_on = step + 1 < episodes.length.numpy()[slot]
    assert 100 < goes_on.sum() < 500
    following = episodes.item.numpy()[slot[goes_on], step[goes_on] + 1]
    np.testing.assert_array_equal(choice(rows.next_observation)[goes_on], following)


def test_the_oldest_sessions_make_room():
    replay = filled(n_steps=1, priority=prioritized.PriorityConfig())
    logged = small.sessions()
    reward = logged.feedback[:2, :, 0]
    first_two = small.tensors(types.rows(logged, np.s_[:2]))
    replay.add(first_two, tf.constant(reward))  # session 0 and 1 go where they were
    replay.add(first_two, tf.constant(reward))  # session 0 over the short one, 1 over 0
    outcome = by_step(replay)
    assert int(replay.size) == 5 + 5 + 4
    assert outcome.keys() == {(s, t) for s, n in enumerate([5, 5, 4]) for t in range(n)}
    assert outcome[2, 3].discount == 0 and outcome[0, 4].discount == 0.5
    held = replay.priorities.step.numpy() > 0
    assert held.sum() == 14 and not held[2, 4]


@pytest.mark.parametrize("priority", [None, prioritized.PriorityConfig()])
def test_a_cleared_replay_gives_only_what_came_after(priority):
    replay = filled(n_steps=1, priority=priority)
    replay.clear()
    assert int(replay.size) == 0
    one = small.tensors(types.rows(small.sessions(), np.s_[1:2]))
    replay.add(one, one.feedback[..., 0])
    # Three sessions were added before: the fourth goes where session 0 was.
    assert by_step(replay).keys() == {(0, t) for t in range(5)}


@pytest.mark.parametrize("priority", [None, prioritized.PriorityConfig(alpha=0.7)])
def test_it_resumes_exactly(tmp_path, priority):
    first = filled(n_steps=2, repeats=False, priority=priority)
    drawn = first.sample(8, tf.constant([5, 6]))
    first.reprioritise(drawn.cell, tf.linspace(0.0, 3.0, 8))
    checkpoint.write(tmp_path / "ckpt-1", first, {})
    second = transitions.TransitionReplay(
        small.SPEC, 3, n_steps=2, discount=0.5, repeats=False, priority=priority
    )
    checkpoint.read(tmp_path / "ckpt-1", second)
    one, two = first.sample(64, SEED), second.sample(64, SEED)
    tf.nest.map_structure(np.testing.assert_array_equal, one, two)
    # And it goes on alike: a ring that fills from the same place, the same priorities.
    episodes = small.tensors(types.rows(small.sessions(), np.s_[1:2]))
    for replay, rows in ((first, one), (second, two)):
        replay.reprioritise(rows.cell, rows.reward)
        replay.add(episodes, episodes.feedback[..., 0])
    one, two = first.sample(64, SEED), second.sample(64, SEED)
    tf.nest.map_structure(np.testing.assert_array_equal, one, two)
