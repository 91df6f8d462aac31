import numpy as np
import pytest
import tensorflow as tf

from tfimrl import causal_graph, counterfactual
from tfrec.replay.steps import StepReplay, Steps

# Three state slots and one action slot: state columns 0 | 1 2 | 3, action columns 0 1.
SLOTS = causal_graph.Slots.of_sizes([1, 2, 1], [2])
SEED = tf.constant([3, 4])


def rows(state, next_state=None, action=None, reward=0.0, discount=0.9, user=0, own_next=True):
    """Steps [B] from states [B, S]; all rows share the other values."""
    state = tf.constant(state, tf.float32)
    batch = state.shape[0]
    following = state + 100.0 if next_state is None else tf.constant(next_state, tf.float32)
    return Steps(
        state=state,
        action=tf.ones([batch, 2]) if action is None else tf.constant(action, tf.float32),
        reward=tf.fill([batch], float(reward)),
        next_state=following,
        discount=tf.fill([batch], float(discount)),
        user=tf.fill([batch], user),
        own_next=tf.fill([batch], own_next),
        synthetic=tf.fill([batch], False),
    )


def graph(*links, slots=4):
    """An influence of each link's first slot on its second."""
    influence = np.zeros([slots, slots])
    for i, j in links:
        influence[i, j] = 1.0
    return causal_graph.constant(influence)


def repeated(steps, times):
    return tf.nest.map_structure(lambda x: tf.repeat(x, times, axis=0), steps)


FIRST = rows([[1, 2, 3, 4]], action=[[7, 8]], reward=5, discount=0.9, user=11)
SECOND = rows([[10, 20, 30, 40]], action=[[70, 80]], reward=50, discount=0.0, user=22)


def test_the_exchange_by_hand():
    # The action influences the last slot, which influences the first: slot 1 alone is free.
    made = counterfactual.augment(FIRST, SECOND, graph((3, 2), (2, 0)), SLOTS, SEED)
    expected = FIRST._replace(
        state=[[1, 20, 30, 4]],
        next_state=[[101, 120, 130, 104]],
        synthetic=[True],
    )  # action, reward, discount and user of the first
    for name, value in made.steps._asdict().items():
        np.testing.assert_array_equal(value, getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(made.slots, [[False, True, False, False]])
    assert made.valid.numpy().all()


def test_linked_slots_are_exchanged_together_and_all_sets_are_equally_likely():
    # Slots 0 and 1 are free of each other and of the action: three sets of slots.
    times = 6000
    made = counterfactual.augment(
        repeated(FIRST, times), repeated(SECOND, times), graph((3, 2)), SLOTS, SEED
    )
    sets, counts = np.unique(made.slots.numpy(), axis=0, return_counts=True)
    np.testing.assert_array_equal(sets, [[0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    assert np.abs(counts - times / 3).max() < 5 * np.sqrt(times * 2 / 9)
    # Linked, they are one set.
    made = counterfactual.augment(
        repeated(FIRST, 50), repeated(SECOND, 50), graph((3, 2), (1, 0)), SLOTS, SEED
    )
    assert np.unique(made.slots, axis=0).tolist() == [[True, True, False, False]]


def test_the_whole_state_is_never_exchanged():
    # The action has no influence: 2^3 - 1 sets less the whole state.
    times = 3000
    made = counterfactual.augment(
        repeated(FIRST, times), repeated(SECOND, times), graph(), SLOTS, SEED
    )
    sets, counts = np.unique(made.slots.numpy(), axis=0, return_counts=True)
    assert len(sets) == 6
    assert sets[:, 3].sum() == 0
    assert sets[:, :3].sum(axis=1).max() == 2
    assert np.abs(counts - times / 6).max() < 5 * np.sqrt(times * 5 / 36)
    # One component that is the whole state: no set at all.
    made = counterfactual.augment(FIRST, SECOND, graph((0, 1), (1, 2)), SLOTS, SEED)
    assert not made.valid.numpy().any()


@pytest.mark.parametrize(
    "links",
    [[(3, 0), (3, 1), (3, 2)], [(3, 0), (0, 1), (2, 1)]],
    ids=["the action influences all", "a chain from the action"],
)
def test_without_a_free_slot_the_pair_is_invalid(links):
    made = counterfactual.augment(FIRST, SECOND, graph(*links), SLOTS, SEED)
    assert not made.valid.numpy().any()
    assert not made.slots.numpy().any()
    np.testing.assert_array_equal(made.steps.state, FIRST.state)


def by_action(graphs):
    """The graph with the number of action column 0; each is a list of links."""
    table = tf.stack([graph(*links)(tf.zeros([1, 4]), None)[0] for links in graphs])
    return lambda state, action: tf.gather(table, tf.cast(action[:, 0], tf.int32))


def with_action(steps, number):
    return steps._replace(action=tf.fill(steps.action.shape, float(number)))


@pytest.mark.parametrize(
    ("graphs", "sets"),
    [
        # {0}, {1} free | {1}, {2} free: {1} in both.
        ([[(3, 2)], [(3, 0)]], [[0, 1, 0, 0]]),
        # {0} free | {1} free: nothing in both.
        ([[(3, 1), (3, 2)], [(3, 0), (3, 2)]], []),
        # {0}, {1}, {0, 1} | {0, 1}: a union of two components here, one component there.
        ([[(3, 2)], [(3, 2), (0, 1)]], [[1, 1, 0, 0]]),
    ],
    ids=["one in common", "none in common", "a union in common"],
)
def test_sets_of_slots_must_be_free_in_both(graphs, sets):
    first, second = with_action(FIRST, 0), with_action(SECOND, 1)
    made = counterfactual.augment(
        repeated(first, 40), repeated(second, 40), by_action(graphs), SLOTS, SEED
    )
    valid = made.valid.numpy()
    assert np.unique(made.slots.numpy()[valid], axis=0).astype(int).tolist() == sets
    assert valid.all() if sets else not valid.any()


def test_an_exchange_that_links_the_slot_is_rejected():
    """With the second step's slot 1, the first step's slot 0 would influence it."""

    def influence(state, action):
        both = (state[:, 0] == 1.0) & (state[:, 1] == 20.0)  # slot 0 of tau_1, 1 of tau_2
        bound = graph((3, 2), (3, 0), (0, 1))(state, action)
        return tf.where(both[:, None, None], bound, graph((3, 2), (3, 0))(state, action))

    made = counterfactual.augment(FIRST, SECOND, influence, SLOTS, SEED)
    np.testing.assert_array_equal(made.slots, [[False, True, False, False]])
    assert not made.valid.numpy().any()
    # The same exchange where it makes no such link.
    other = FIRST._replace(state=tf.constant([[0.0, 2, 3, 4]]))
    assert counterfactual.augment(other, SECOND, influence, SLOTS, SEED).valid.numpy().all()


def test_a_set_is_separate_without_links_out_of_it():
    exchanged = tf.constant([[True, True, False, False]])
    for links, expected in [([(0, 1)], True), ([(2, 3)], True), ([(1, 2)], False)]:
        linked = causal_graph.adjacency(graph(*links)(tf.zeros([1, 4]), None), SLOTS)
        assert bool(counterfactual.separate(linked, exchanged)[0]) == expected


@pytest.mark.parametrize("side", ["first", "second"])
def test_a_next_state_of_another_user_is_never_used(side):
    pair = {"first": FIRST, "second": SECOND}
    pair[side] = pair[side]._replace(own_next=tf.constant([False]))
    made = counterfactual.augment(*pair.values(), graph((3, 2), (2, 0)), SLOTS, SEED)
    assert not made.valid.numpy().any()


def test_a_reward_function_replaces_the_first_reward():
    def reward(state, action, next_state):
        return state[:, 1] + 1000 * action[:, 0] + 10000 * next_state[:, 0]

    made = counterfactual.augment(
        FIRST, SECOND, graph((3, 2), (2, 0)), SLOTS, SEED, reward=reward
    )
    np.testing.assert_array_equal(made.steps.reward, [20 + 7000 + 1010000])


@pytest.mark.parametrize("slots", [31, 40, 100])
def test_many_slots_draw_by_fair_coins(slots):
    many = causal_graph.Slots.of_sizes([1] * slots, [1])
    component = tf.repeat(tf.range(slots + 1)[None], 4000, axis=0)
    drawn = counterfactual.draw_slots(component, many, SEED).numpy()
    assert not drawn[:, -1].any()
    assert drawn.any(axis=1).all()
    assert not drawn[:, :-1].all(axis=1).any()
    # Standard deviation of a share: 0.0079.
    assert np.abs(drawn[:, :-1].mean(axis=0) - 0.5).max() < 0.04


def test_partners_are_the_nearest_other_users_by_the_given_columns():
    states = [[0, 0, 0, 5], [1, 0, 0, 5], [2, 0, 0, 5], [9, 0, 0, 0], [0, 0, 0, 0]]
    pool = rows(states)._replace(user=tf.constant([1, 2, 3, 4, 7]))
    first = repeated(rows([[0, 0, 0, 0]], user=7), 300)  # user 7 is in the pool: no partner
    partner, has_partner = counterfactual.nearest_partners(first, pool, [0, 1], 2, SEED)
    assert has_partner.numpy().all()
    counts = np.bincount(partner.user, minlength=8)
    assert counts[1] + counts[2] == 300
    assert min(counts[1], counts[2]) > 100
    # By the last column user 4 is the nearest.
    partner, _ = counterfactual.nearest_partners(first, pool, [3], 1, SEED)
    assert set(partner.user.numpy()) == {4}
    # There are four other users, and not five.
    _, has_partner = counterfactual.nearest_partners(first, pool, [0], 5, SEED)
    assert not has_partner.numpy().any()


class FactoredWorld:
    """Slots 0, 1 and 3 are independent; slot 2 depends on slot 0 and the action."""

    slots = causal_graph.Slots.of_sizes([1, 1, 1, 1], [1])

    def next_state(self, state, action):
        a, b, c, d = tf.unstack(state, axis=1)
        following = [(a + 1) % 5, (3 * b + 1) % 7, (c + a + action[:, 0]) % 6, (d * d) % 11]
        return tf.stack(following, axis=1)

    def play(self, batch, seed):
        random = np.random.default_rng(seed)
        state = tf.constant(random.integers([5, 7, 6, 11], size=[batch, 4]), tf.float32)
        action = tf.constant(random.integers(4, size=[batch, 1]), tf.float32)
        return rows(state)._replace(
            action=action,
            next_state=self.next_state(state, action),
            reward=tf.constant(random.random(batch), tf.float32),
            user=tf.range(batch),
        )

    def possible(self, steps):
        """Whether each step can happen in this world, bool [B]."""
        following = self.next_state(steps.state, steps.action)
        return tf.reduce_all(following == steps.next_state, axis=1).numpy()


TRUTH = graph((0, 0), (1, 1), (0, 2), (4, 2), (3, 3), slots=5)
# In this graph the action influences slot 1 alone, and there is no other link.
WRONG = graph((4, 1), slots=5)


@pytest.fixture(scope="module")
def played():
    world = FactoredWorld()
    return world, world.play(2000, 0), world.play(2000, 1)


def made_by(influence, played):
    _, first, second = played
    augment = tf.function(
        lambda *pair: counterfactual.augment(*pair, influence, FactoredWorld.slots, SEED)
    )
    return augment(first, second)


def test_each_slot_is_of_one_of_the_two_before_and_after(played):
    _, first, second = played
    made = made_by(TRUTH, played)
    taken = made.slots.numpy()[:, FactoredWorld.slots.of_state_column]
    for field in ("state", "next_state"):
        ours, one, two = (getattr(s, field).numpy() for s in (made.steps, first, second))
        np.testing.assert_array_equal(ours, np.where(taken, two, one))
    np.testing.assert_array_equal(made.steps.action, first.action)
    np.testing.assert_array_equal(made.steps.reward, first.reward)
    assert made.steps.synthetic.numpy().all()


def test_with_the_true_graph_every_synthetic_step_is_possible(played):
    world, first, _ = played
    made = made_by(TRUTH, played)
    assert made.valid.numpy().all()  # slots 1 and 3 are free everywhere
    assert world.possible(made.steps).all()
    new = np.any(made.steps.state.numpy() != first.state.numpy(), axis=1)
    assert new.mean() > 0.8  # most of them differ from the real steps


def test_with_a_wrong_graph_many_synthetic_steps_are_impossible(played):
    world, _, _ = played
    made = made_by(WRONG, played)
    valid = made.valid.numpy()
    assert valid.all()  # the wrong graph allows all
    possible = world.possible(made.steps)
    # Slots 0 and 2 were separated from each other or from the action.
    assert possible.mean() < 0.6
    broken = made.slots.numpy()[:, 2] | made.slots.numpy()[:, 0]
    assert possible[~broken].all()


def test_virtual_taobao_leaves_nothing_to_exchange():
    """Its user, page and action all influence the last answer: one component."""
    sizes = [8, 8, 11, 11, 11, 11, 2, 2, 3, 18, 3, 2, 1]  # user 88, last answer 2, page 1
    slots = causal_graph.Slots.of_sizes(sizes, [27])
    assert (len(slots.of_state_column), slots.count) == (91, 14)
    links = [(slot, 11) for slot in (*range(11), 12, 13)] + [(i, i) for i in range(13)]
    steps = Steps(
        state=tf.random.normal([8, 91]),
        action=tf.random.normal([8, 27]),
        reward=tf.zeros([8]),
        next_state=tf.random.normal([8, 91]),
        discount=tf.ones([8]),
        user=tf.range(8),
        own_next=tf.fill([8], True),
        synthetic=tf.fill([8], False),
    )
    made = counterfactual.augment(steps, steps, graph(*links, slots=14), slots, SEED)
    assert not made.valid.numpy().any()


def test_synthetic_steps_are_made_and_stored_in_one_graph(played):
    world, first, _ = played
    replay = StepReplay(4, 1, capacity=2000, synthetic_capacity=4000)
    replay.add(first)

    @tf.function
    def grow(seed):
        seeds = tf.random.experimental.stateless_split(seed, 3)
        pair = [replay.sample_real(1000, s) for s in tf.unstack(seeds[:2])]
        made = counterfactual.augment(*pair, TRUTH, world.slots, seeds[2])
        replay.add_synthetic(made.steps, made.valid)

    for i in range(4):
        grow(tf.constant([i, 0]))
    assert replay.synthetic_size == 4000
    batch = replay.sample(1000, SEED)
    assert int(tf.reduce_sum(tf.cast(batch.synthetic, tf.int32))) == 500
    assert world.possible(batch).all()
