import numpy as np
import pytest
import tensorflow as tf

from tfrec import errors
from tfrec.environments import contract, playing
from tfrec.environments.ports import originals, recogym, recogym_posterior

V1 = recogym.RecoGymV1()
V0 = recogym.RecoGymV0(recogym.RecoGymV0Config(products=10))
SMALL = recogym.RecoGymV1(recogym.RecoGymV1Config(products=10, flips=0))
SEED = tf.constant([3, 5])


def played(simulator, policy, sessions=2000):
    @tf.function
    def run(seed):
        return playing.play(simulator, policy, sessions, seed)

    return run(SEED)


@pytest.fixture(scope="module")
def original():
    try:
        return originals.recogym_module()
    except errors.UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("simulator", [V1, V0], ids=["v1", "v0"])
def test_contract(simulator):
    products = simulator.config.products
    state = simulator.reset(7, SEED)
    assert simulator.observation(state).shape == [7, simulator.observation_size]
    assert simulator.candidates(state).shape == [7, products, simulator.action_size]
    for candidates in simulator.candidates(state):
        np.testing.assert_array_equal(candidates, simulator.catalogue)
    action = tf.range(7)[:, None]
    outcome = simulator.step(state, action, SEED)
    tf.nest.map_structure(
        np.testing.assert_array_equal, outcome, simulator.step(state, action, SEED)
    )
    done = tf.constant([True] + [False] * 6)
    mixed = contract.restarted(simulator, outcome.state, done, SEED)
    for new, old in zip(tf.nest.flatten(mixed), tf.nest.flatten(outcome.state), strict=True):
        np.testing.assert_array_equal(new[1:], old[1:])


@pytest.mark.parametrize("simulator", [V1, V0], ids=["v1", "v0"])
def test_what_is_observed_agrees_with_itself(simulator):
    """Counts, recent views and the last one are those of the listed views."""
    state = simulator.reset(500, SEED)
    latest = state.latest.numpy()
    assert (latest[:, -1] >= 0).all()
    recent = np.zeros_like(state.counts)
    counts = np.zeros_like(state.counts)
    for user, views in enumerate(latest):
        for view in views[views >= 0]:
            counts[user, view] += 1
            recent[user] *= 0.95
            recent[user, view] += 1
    np.testing.assert_array_equal(state.counts, counts)
    np.testing.assert_allclose(state.recent, recent, rtol=1e-5)
    np.testing.assert_array_equal(state.last, latest[:, -1])
    # A session goes on with probability .74: 1 / .26 views on average.
    length = counts.sum(axis=1)
    assert abs(length.mean() - 1 / 0.26) < 4 * length.std() / 500**0.5


def test_steps_without_views_list_none():
    state = V1.reset(2000, SEED)
    outcome = V1.step(state, tf.zeros([2000, 1], tf.int32), SEED)
    viewed = outcome.state.latest.numpy()[:, -1] >= 0
    same = (outcome.state.counts.numpy() == state.counts.numpy()).all(axis=1)
    np.testing.assert_array_equal(viewed, ~same)
    assert viewed[outcome.clicks.numpy() > 0].all()  # a view follows every click
    assert (outcome.state.omega.numpy() == state.omega.numpy()).all(axis=1)[~viewed].all()
    # 5% by themselves, and 95% of those who click, which are about 1%.
    assert abs(viewed.mean() - 0.06) < 4 * (0.06 * 0.94 / 2000) ** 0.5


def test_the_click_curve_ends_where_it_should():
    result = recogym.click_curve(tf.constant([-100.0, 0.0, 100.0])).numpy()
    np.testing.assert_allclose(result, [0.00448, 0.00942, 0.02931], atol=5e-6)


@pytest.mark.parametrize("flips", [0, 3, 50, 1000])
def test_v1_parameters_are_the_originals(original, flips):
    config = recogym.RecoGymV1Config(products=40, flips=flips, seed=7)
    env = original.RecoEnv1()
    env.init_gym(originals.recogym_settings(config, seed=7))
    ours = recogym.v1_parameters(config)
    theirs = (env.Gamma, env.mu_organic[:, 0], env.beta, env.mu_bandit[:, 0])
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, yours)


def test_v0_clicks_are_the_originals(original):
    config = recogym.RecoGymV0Config(products=20, seed=7)
    env = original.RecoEnv0()
    env.init_gym(originals.recogym_settings(config, seed=7))
    ours = recogym.RecoGymV0(config)
    np.testing.assert_allclose(ours.click_table, env.click_probs, rtol=1e-12)
    state = ours.reset(300, SEED)
    expected = env.click_probs[:, state.last.numpy()].T
    np.testing.assert_allclose(ours.click_probabilities(state), expected, rtol=1e-5)
    views = state.latest.numpy()
    cluster = np.where(views >= 0, views // 10, views[:, -1:] // 10)
    assert (cluster == cluster[:, -1:]).all()
    assert (env.product_transition > 0).sum(axis=1).tolist() == [10] * 20


class Draws:
    """The generator of an original environment; remembers the probabilities asked for."""

    def __init__(self, seed):
        self._rng = np.random.RandomState(seed)
        self.asked = []

    def choice(self, n, p):
        self.asked.append((n, np.array(p)))
        return self._rng.choice(n, p=p)

    def __getattr__(self, name):
        return getattr(self._rng, name)


def test_v1_views_and_clicks_are_the_originals(original):
    """At every step of the original: the same probabilities at the same vector."""
    adapter = originals.adapter(V1, copies=1, seed=3)
    env = adapter.envs[0]
    clicks = views = 0
    rng = np.random.default_rng(0)
    env.rng = Draws(3)
    while clicks < 100:
        going = adapter.reset(0)
        while going:
            state = adapter.state(None, None, None)
            product = int(rng.integers(100))
            env.rng.asked.clear()
            *_, done = adapter.step(0, np.array([product]))
            expected = env.rng.asked[0][1][1]  # [no click, click]
            for result in (
                V1.click_probabilities(state)[0, product],
                V1._click_probability(state, tf.constant([product]))[0],
            ):
                assert result.numpy() == pytest.approx(expected, rel=1e-5)
            clicks, going = clicks + 1, not done and clicks < 100
    for _ in range(20):
        env.omega = rng.normal(size=(5, 1))
        env.update_product_view()
        n, probability = env.rng.asked[-1]
        logits = V1.view_logits(tf.constant(env.omega.T, tf.float32))
        np.testing.assert_allclose(tf.nn.softmax(logits)[0], probability, atol=1e-6)
        views += n == 100
    assert views == 20


def test_v1_views_follow_their_probabilities():
    """First views of 20,000 users against the mean of their own probabilities."""
    views = recogym._Views(
        tf.range(20_000), tf.zeros([20_000], tf.int32), tf.ones([20_000], tf.int32)
    )
    omega = tf.random.stateless_normal([20_000, 5], SEED)
    no = tf.zeros([20_000], tf.bool)
    product, after = SMALL._views(omega, tf.zeros([20_000], tf.int32), no, views, SEED + 1)
    expected = tf.reduce_mean(tf.nn.softmax(SMALL.view_logits(omega)), axis=0).numpy()
    result = np.bincount(product, minlength=10) / 20_000
    np.testing.assert_array_equal(after, omega)
    assert (np.abs(result - expected) < 4 * np.sqrt(expected / 20_000) + 1e-4).all()


def test_v1_vectors_drift_between_views_alone():
    """Sessions of 1, 3 and 2 views; the last one also drifts before its first view."""
    many = 2000
    length = tf.tile([1, 3, 2], [many])
    session = tf.repeat(tf.range(3 * many), length)
    begin = tf.gather(tf.cumsum(length, exclusive=True), session)
    views = recogym._Views(session, tf.range(6 * many) - begin, length)
    moved = tf.tile([False, False, True], [many])
    omega = tf.zeros([3 * many, 5])
    _, after = SMALL._views(omega, tf.zeros([3 * many], tf.int32), moved, views, SEED)
    spread = tf.reshape(after, [many, 3, 5]).numpy().std(axis=(0, 2))
    np.testing.assert_allclose(spread, [0.0, 0.1 * 2**0.5, 0.1 * 2**0.5], rtol=0.04)


@pytest.mark.parametrize(
    ("simulator", "control", "expected", "error"),
    [
        (V1, "random", 0.00992, 0.0005),
        (V1, "last_viewed", 0.01137, 0.0003),
        (V1, "oracle", 0.02541, 0.0012),
        (SMALL, "random", 0.01188, 0.0005),
        (SMALL, "last_viewed", 0.01792, 0.0006),
        (SMALL, "oracle", 0.01810, 0.0005),
        (V0, "random", 0.01106, 0.0005),
        (V0, "oracle", 0.02118, 0.0006),
    ],
)
def test_click_rates(simulator, control, expected, error):
    """Of the original, with errors clustered by user; last viewed at 100 is of a port."""
    policies = {
        "random": contract.random_policy,
        "last_viewed": recogym.last_viewed,
        "oracle": recogym.oracle,
    }
    total = played(simulator, policies[control](simulator))
    result = playing.click_rate(total)
    assert abs(result.value - expected) < 3 * np.hypot(result.error, error), result
    # 78.6 decisions of all users in the original, of whom 1 in 26 makes none.
    steps = playing.mean(total.steps)
    assert abs(steps.value - 78.6 / (1 - 1 / 26)) < 3 * np.hypot(steps.error, 2.6), steps


def test_posterior_is_that_of_importance_sampling():
    """After five views of each of four users, against 200,000 weighted walks of a vector."""
    believing = recogym_posterior.Believing(SMALL)
    views = np.array([[0, 0, 0, 0, 0], [1, 2, 3, 4, 5], [9, 9, 3, 9, 9], [7, 0, 7, 0, 7]])
    latest = np.full([4, recogym.LATEST], -1)
    latest[:, -5:] = views
    belief = believing.after_views(
        believing.prior(4), tf.constant(latest, tf.int32), tf.zeros([4])
    )
    result = believing.expected_clicks(belief).numpy()

    rng = np.random.default_rng(0)
    gamma, mu, beta, mu_bandit = SMALL.parameters
    omega = rng.normal(size=(200_000, 5))
    weight = np.zeros([4, len(omega)])
    for place in range(5):
        if place:
            omega = omega + 0.1 * rng.normal(size=omega.shape)
        logits = omega @ gamma.T + mu
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        weight += logits[:, views[:, place]].T
    weight = np.exp(weight - weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    clicks = recogym.click_curve(tf.constant(omega @ beta.T + mu_bandit)).numpy()
    exact = weight @ clicks  # [4, P]
    assert (1 / (weight**2).sum(axis=1) > 500).all(), "too few walks count"
    np.testing.assert_allclose(result, exact, rtol=0.1)
    # What is lost by recommending by it: next to nothing of the exact optimum.
    selected = np.take_along_axis(exact, result.argmax(axis=1)[:, None], 1)[:, 0]
    assert (selected > 0.995 * exact.max(axis=1)).all()


def test_bayes_optimal_is_between_last_viewed_and_oracle():
    believing = recogym_posterior.Believing(V1)
    total = played(believing, recogym_posterior.bayes_optimal(believing), 400)
    result = playing.click_rate(total)
    assert abs(result.value - 0.0241) < 3 * result.error, result
    assert result.error < 0.0015


def test_a_policy_plays_in_the_original(original):
    policy = recogym.last_viewed(SMALL)
    total = originals.play(SMALL, policy, sessions=60, seed=1, copies=30)
    result = playing.click_rate(total)
    assert abs(result.value - 0.0179) < 3 * result.error, result
    again = originals.play(SMALL, policy, sessions=60, seed=1, copies=30)
    np.testing.assert_array_equal(total.clicks, again.clicks)


def test_beliefs_are_followed_in_the_original(original):
    """The belief about an original user is that of all its views so far."""
    believing = recogym_posterior.Believing(V1)
    adapter = originals.adapter(believing, copies=2, seed=1)
    assert all([adapter.reset(copy) for copy in range(2)])
    no, yes = np.zeros(2, bool), np.ones(2, bool)
    state = adapter.state(None, no, yes)
    views = np.array(state.inner.latest)
    before = state.belief.mean.numpy()
    adapter._latest[:] = -1  # nothing more was viewed
    state = adapter.state(state, no, no)
    np.testing.assert_array_equal(state.belief.mean, before)
    expected = believing.after_views(believing.prior(2), tf.constant(views), tf.zeros([2]))
    np.testing.assert_allclose(before, expected.mean, atol=1e-6)
    state = adapter.state(state, no, yes)
    np.testing.assert_array_equal(state.belief.mean, np.zeros([2, 5]))


def test_clusters_must_divide_the_products():
    with pytest.raises(ValueError, match="products=10; expected a multiple of clusters=3"):
        recogym.RecoGymV0(recogym.RecoGymV0Config(products=10, clusters=3))


def test_the_best_product_for_all_is_clicked_more_than_any_other():
    state = V1.reset(20_000, tf.constant([5, 1]))
    clicks = tf.reduce_mean(V1.click_probabilities(state), axis=0).numpy()  # [P]
    timestep = contract.timestep_of(V1, state, tf.constant([0, 0]))
    action = recogym.best_product(V1)(timestep)
    assert action.shape == [20_000, 1] and len(np.unique(action)) == 1
    assert int(action[0, 0]) == clicks.argmax()
