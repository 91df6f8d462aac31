import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import time_step

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfrec import types
from tfrec.baselines import config, td3
from tfrec.baselines.item_space import ItemSpace, unit_vectors
from tfrec.environments import contract, playing, users
from tfrec.training import checkpoint, finite

# Items 1..4 in the plane; row 0 is no item.
POINTS = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)
VECTORS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)


def learner(seed=0, repeats=True, rounds=0, **changes):
    """A narrow TD3 on sessions of the scripted world."""
    narrow = {
        "embedding": 4, "units": 5, "state": 6, "hidden": 8, "batch": 16,
        "replay_sessions": 64, "sessions_per_round": 16, "updates_per_round": 4,
        "log_rounds": 1, "play_rounds": 2,
    }  # fmt: skip
    config = td3.Td3Config(**(narrow | changes))
    world = scripted.ScriptedWorld(small.SPEC, repeats)
    log = scripted.random_log(world, 40)
    made = td3.Td3Learner(config, small.SPEC, log, world, VECTORS, seed)
    for _ in range(rounds):
        made.advance()
    return made


def timestep(batch, blocked=None, seed=(5, 6)):
    return contract.history_timestep(small.observations(batch), tf.constant(seed), blocked)


# Where the items are.


def test_an_item_is_its_tastes_and_its_answers():
    # Items 1 and 2, shown once each; item 1 is clicked, and the user leaves after item 2.
    log = types.Episodes(
        user=np.array([1]),
        history_item=np.zeros((1, 2), np.int32),
        history_feedback=np.zeros((1, 2, 1), np.float32),
        item=np.array([[1, 2, 0]]),
        feedback=np.array([[[1.0], [0.0], [9.0]]]),  # what is padded does not count
        length=np.array([2]),
        exited=np.array([True]),
    )
    vectors = np.array([[7, 7], [4, 1], [2, 1]], np.float32)
    # Centred tastes are (1, 0) and (-1, 0), scaled to length sqrt(2) as the two answers
    # have; standardised answers are (1, -1) and (-1, 1). All of length 2.
    half = np.sqrt(0.5)
    expected = [[0, 0, 0, 0], [half, 0, 0.5, -0.5], [-half, 0, -0.5, 0.5]]
    np.testing.assert_allclose(unit_vectors(vectors, 2, log), expected, atol=1e-6)


def test_without_information_items_stay_at_the_centre():
    log = types.rows(small.sessions(), slice(None))
    log = log._replace(item=np.where(log.item > 0, 1, 0), feedback=0.0 * log.feedback)
    vectors = np.array([[0, 0], [3, 3], [3, 3]], np.float32)
    made = unit_vectors(vectors, 2, log)
    np.testing.assert_allclose(made, 0.0, atol=1e-6)


def test_amounts_in_tiny_units_tell_items_apart():
    log = types.rows(small.sessions(), slice(None))
    tiny = log._replace(feedback=log.feedback * np.array([0.0, 2.0**-30], np.float32))
    made = unit_vectors(np.zeros((7, 2), np.float32), 6, tiny)
    # Columns: two tastes, the click, the amount, the exit.
    assert made[1:, 3].std() > 0.1


def test_the_nearest_item_that_is_not_blocked():
    space = ItemSpace(POINTS, candidates=4)
    point = tf.constant([[0.9, 0.2], [0.1, 0.9], [-0.2, 0.1], [2.0, 1.5]])
    # Squared distances of the first: .05, 1.45, 3.65, .45.
    assert space.nearest(point, None).numpy().tolist() == [1, 2, 3, 4]
    blocked = tf.constant([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]) > 0
    assert space.nearest(point, blocked).numpy().tolist() == [4, 4, 2, 2]
    # An item that is no candidate is never shown.
    fewer = ItemSpace(POINTS, candidates=3)
    assert fewer.nearest(point, None).numpy().tolist() == [1, 2, 3, 1]


def test_neighbours_come_nearest_first_and_blocked_ones_last():
    space = ItemSpace(POINTS, candidates=4)
    point = tf.constant([[0.9, 0.2]])
    item, barred = space.neighbours(point, 3, None)
    assert item.numpy().tolist() == [[1, 4, 2]]
    assert barred is None
    item, barred = space.neighbours(point, 3, tf.constant([[True, False, True, False]]))
    assert item.numpy()[0, :2].tolist() == [4, 2]
    assert barred.numpy().tolist() == [[False, False, True]]


# What is shown.


@pytest.mark.parametrize(
    ("neighbours", "count"), [(0.0, 1), (1.0, 1), (3.0, 3), (0.5, 3), (0.01, 1), (50.0, 6)]
)
def test_neighbours_are_a_number_or_a_share_of_the_candidates(neighbours, count):
    assert td3.neighbour_count(neighbours, candidates=6) == count


def test_the_critics_choose_among_the_nearest_only():
    made = learner(neighbours=3.0)
    network, space = made.online, made.space
    rng = np.random.default_rng(1)
    state = tf.constant(rng.normal(size=(20, 6)), tf.float32)
    point = tf.constant(rng.normal(size=(20, 7)), tf.float32)
    blocked = tf.constant(rng.random((20, 6)) < 0.4)
    for critic in network.critics:  # values far from each other
        critic.trainable_variables[-2].assign_add(rng.normal(size=(8, 1)))
    shown = network.item(state, point, blocked).numpy()
    vectors = space.vectors.numpy()
    for row in range(20):
        distance = np.linalg.norm(vectors[1:] - point[row].numpy(), axis=1)
        near = [i for i in np.argsort(distance) if not blocked[row, i]][:3]
        values = [
            min(
                float(critic((state[row : row + 1], vectors[i + 1][None]))[0][0])
                for critic in network.critics
            )
            for i in near
        ]
        assert shown[row] == near[int(np.argmax(values))] + 1
    nearest = space.nearest(point, blocked).numpy()
    assert (shown != nearest).any(), "the critics never had a say"


def test_noise_in_play_moves_the_choice_and_none_is_greedy():
    quiet = learner(exploration_noise=0.0)
    greedy = quiet.policy()(timestep(50)).numpy()
    np.testing.assert_array_equal(quiet.playing()(timestep(50)), greedy)
    loud = learner(exploration_noise=1.0)
    np.testing.assert_array_equal(loud.policy()(timestep(50)), greedy)
    noisy = loud.playing()(timestep(50)).numpy()
    assert (noisy != greedy).mean() > 0.2
    np.testing.assert_array_equal(loud.playing()(timestep(50)), noisy)
    assert (loud.playing()(timestep(50, seed=(7, 8))).numpy() != noisy).any()


def test_nothing_is_shown_twice_where_the_world_has_no_repeats():
    made = learner(repeats=False, neighbours=2.0)
    environment = users.UserEnvironment(scripted.ScriptedWorld(small.SPEC, repeats=False))
    seed = tf.constant([3, 4])
    played = playing.rollout(environment, made.playing(), scripted.starts(30), seed)
    for items, length in zip(played.item.numpy(), played.length.numpy(), strict=True):
        assert len(set(items[:length])) == length


# What is learned.


def constant_critics(network, values):
    """Makes the twins say these values of everything."""
    for critic, value in zip(network.critics, values, strict=True):
        kernel, bias = critic.trainable_variables[-2:]
        kernel.assign(tf.zeros_like(kernel))
        bias.assign([value])


def test_the_loss_is_that_of_both_twins_to_the_lower_target():
    made = learner()
    constant_critics(made.online, (1.0, 0.5))
    constant_critics(made.target, (3.0, 2.0))
    state, action = tf.zeros([2, 6]), tf.zeros([2, 7])
    before = time_step.TimeStep((), (), (), state)
    # Targets .5 + .9 * 2 = 2.3, and .5 where the user left.
    after = time_step.TimeStep((), tf.constant([0.5, 0.5]), tf.constant([0.9, 0.0]), state)
    loss = made.agent().critic_loss(before, action, after, next_actions=action)
    both = np.array([1.3**2 + 1.8**2, 0.5**2 + 0.0**2])
    assert float(loss) == pytest.approx(both.mean(), rel=1e-5)
    weights = tf.constant([1.0, 0.5])
    loss = made.agent().critic_loss(before, action, after, weights=weights, next_actions=action)
    assert float(loss) == pytest.approx((both * [1.0, 0.5]).mean(), rel=1e-5)
    # The actor climbs the first twin.
    assert float(made.agent().actor_loss(before)) == pytest.approx(-1.0)


def test_the_next_action_is_the_vector_of_what_the_target_would_show():
    made = learner(repeats=False, target_noise=0.5)
    batch = made.replay.sample(64, tf.constant([1, 2]))
    state = made.target.state(batch.next_observation)
    action = made.next_action(batch, state, tf.constant([3, 4])).numpy()
    rows = made.space.vectors.numpy()
    item = np.array([np.flatnonzero((rows == a).all(axis=1))[0] for a in action])
    assert (item > 0).all()
    assert not batch.next_blocked.numpy()[np.arange(64), item - 1].any()
    # Noise cut at nothing: the nearest to the target's own proto-action.
    still = learner(repeats=False, target_noise=0.5, target_noise_clip=0.0)
    action = still.next_action(batch, state, tf.constant([3, 4]))
    nearest = still.space.nearest(still.target.proto_action(state), batch.next_blocked)
    np.testing.assert_array_equal(action, still.space.vector(nearest))
    assert (item != nearest.numpy()).any()


def copies(variables):
    return [v.numpy().copy() for v in variables]


def moved(variables, before):
    return [(v.numpy() != b).any() for v, b in zip(variables, before, strict=True)]


def test_critics_move_in_every_update_the_actor_and_the_targets_in_every_second():
    made = learner(actor_update_period=2, tau=0.25, batch=64)
    critics, actor = made.critic_variables, made.actor_variables
    targets = made.target.trainable_variables
    online = made.online.trainable_variables
    start = copies(critics), copies(actor), copies(targets)
    space = made.space.vectors.numpy()
    assert int(made.update()[1]) == -1
    first = copies(critics), copies(actor), copies(targets)
    assert [
        v.name for v, m in zip(critics, moved(critics, start[0]), strict=True) if not m
    ] == []
    assert all(moved(actor, start[1]))
    for target, before, now in zip(targets, start[2], online, strict=True):
        np.testing.assert_allclose(target, before + 0.25 * (now - before), atol=1e-6)
    assert int(made.update()[1]) == -1
    assert all(moved(critics, first[0]))
    assert not any(moved(actor, first[1]))
    assert not any(moved(targets, first[2]))
    made.update()
    assert all(moved(actor, first[1]))
    # Together they are all that there is to learn, and the space stays where it is.
    assert {v.ref() for v in critics + actor} == {v.ref() for v in online}
    np.testing.assert_array_equal(made.space.vectors, space)


def test_what_is_not_finite_is_named_and_moves_nothing():
    made = learner()
    label = made.replay.sessions.label
    label.assign(tf.fill(label.shape, float("nan")))
    before = copies(made.variables)
    _, bad, _ = made.update()
    assert made.checked[int(bad)] == "critic loss"
    changed = [
        v.name
        for v, b in zip(made.variables, before, strict=True)
        if not np.array_equal(v, b, equal_nan=v.dtype.is_floating)
    ]
    assert changed == []
    with pytest.raises(finite.NonFiniteError, match="critic loss"):
        made.advance()


@pytest.mark.slow
def test_a_restored_learner_goes_on_as_if_never_stopped(tmp_path):
    one = learner(rounds=2)  # a round on the log and one of play
    checkpoint.write(tmp_path / "kept", one, {})
    other = learner(seed=9)
    checkpoint.read(tmp_path / "kept", other, {})
    logs = one.advance()
    assert logs == other.advance()
    assert {"play/reward_clicks", "critic_loss", "value"} <= set(logs)
    theirs = checkpoint.named_variables(other)
    for name, variable in checkpoint.named_variables(one).items():
        np.testing.assert_array_equal(variable, theirs[name], err_msg=name)
    assert int(one.iteration) == one.total_iterations == 3


@pytest.mark.slow
def test_the_acting_part_alone_restores_the_policy(tmp_path):
    one, other = learner(rounds=1), learner(seed=9)
    checkpoint.write(tmp_path / "acting", one.acting, {})
    expected = one.policy()(timestep(50)).numpy()
    assert (other.policy()(timestep(50)).numpy() != expected).any()
    checkpoint.read(tmp_path / "acting", other.acting, {})
    np.testing.assert_array_equal(other.policy()(timestep(50)), expected)


@pytest.mark.parametrize("wrong", [{"neighbours": -1.0}, {"neighbours": 2.5}, {"n_steps": 0}])
def test_wrong_numbers_are_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        td3.Td3Config(**wrong)


def test_the_search_space_names_fields():
    for name, choices in config.TD3_SPACE.items():
        for choice in choices:
            td3.Td3Config(**{name: choice})
