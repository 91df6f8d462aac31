import numpy as np
import pytest
import tensorflow as tf

from tfrec.environments import contract, playing
from tfrec.environments.ports import originals, recsim

EVOLUTION = recsim.InterestEvolution(recsim.InterestEvolutionConfig(candidates=10, slate=3))
SATISFACTION = recsim.LongTermSatisfaction(
    recsim.LongTermSatisfactionConfig(candidates=4, slate=2, sensitivity=0.3)
)
EXPLORATION = recsim.InterestExploration()
ALL = (EVOLUTION, SATISFACTION, EXPLORATION)
SEED = tf.constant([3, 5])


def played(simulator, policy, sessions=1500):
    """Totals of sessions."""

    @tf.function
    def run(seed):
        return playing.play(simulator, policy, sessions, seed)

    return run(SEED)


def original(name):
    return pytest.importorskip(
        f"recsim.environments.{name}",
        reason="RecSim is not installed: pip install --no-deps -r requirements-simulators.txt",
    )


class Scripted:
    """Draws with NumPy as the original does, and remembers what was asked and drawn."""

    def __init__(self, monkeypatch, seed=0):
        self.rng = np.random.default_rng(seed)
        self.choices, self.flips, self.normals = [], [], []
        monkeypatch.setattr(np.random, "choice", self.choice)
        monkeypatch.setattr(np.random, "rand", self.rand)
        monkeypatch.setattr(np.random, "normal", self.normal)

    def choice(self, n, p):
        self.choices.append((np.array(p), int(self.rng.choice(n, p=p))))
        return self.choices[-1][1]

    def rand(self, n):
        self.flips.append(self.rng.random(n))
        return self.flips[-1]

    def normal(self, loc=0.0, scale=1.0):
        self.normals.append(self.rng.standard_normal())
        return loc + scale * self.normals[-1]


@pytest.mark.parametrize("simulator", ALL, ids=lambda x: type(x).__name__)
def test_contract(simulator):
    state = simulator.reset(7, SEED)
    candidates = simulator.candidates(state)
    assert simulator.observation(state).shape == [7, simulator.observation_size]
    assert candidates.shape == [7, simulator.config.candidates, simulator.action_size]
    action = tf.tile(tf.range(simulator.slate_size)[None], [7, 1])
    outcome = simulator.step(state, action, SEED)
    again = simulator.step(state, action, SEED)
    other = simulator.step(state, action, SEED + 1)
    tf.nest.map_structure(np.testing.assert_array_equal, outcome, again)
    assert not np.array_equal(simulator.candidates(outcome.state), candidates)
    assert not np.array_equal(
        simulator.candidates(outcome.state), simulator.candidates(other.state)
    )
    done = tf.constant([True] + [False] * 6)
    mixed = contract.restarted(simulator, outcome.state, done, SEED)
    for new, old in zip(tf.nest.flatten(mixed), tf.nest.flatten(outcome.state), strict=True):
        np.testing.assert_array_equal(new[1:], old[1:])
    assert outcome.shown.numpy().tolist() == [simulator.slate_size] * 7


def test_evolution_by_hand():
    """One user, interest .5 in cluster 19 and -.5 in cluster 0; the budget is 10 minutes."""
    interests = np.zeros([1, 20], np.float32)
    interests[0, [0, 19]] = -0.5, 0.5
    state = recsim.InterestEvolutionState(
        tf.constant(interests),
        tf.constant([10.0]),
        tf.constant([[19, 0, 3, 3, 3, 3, 3, 3, 3, 3]]),
    )
    slate = tf.constant([[0, 1, 2]])
    # Masses 1.5, .5, 1 and 2 for no click.
    np.testing.assert_allclose(
        EVOLUTION.click_probabilities(state, slate)[0], [0.3, 0.1, 0.2, 0.4], rtol=1e-6
    )
    # The step is .3 (1 - .5) (1 - .5) = .075, up as .7 < .75; a quality of 3 + .1 x 4 = 3.4
    # gives .9 back of each of 4 minutes.
    liked = EVOLUTION.transition(
        state, slate, tf.constant([0]), tf.constant([0.7]), tf.constant([4.0])
    )
    assert liked.state.interests[0, 19].numpy() == pytest.approx(0.575)
    assert liked.state.budget[0].numpy() == pytest.approx(10 - 4 + 0.9 * 4, rel=1e-6)
    assert (liked.reward[0].numpy(), liked.clicks[0].numpy()) == (4.0, 1.0)
    # .3 (.5) (1.5) = .225, down as .3 >= .25; 4 minutes cost another 3.6.
    disliked = EVOLUTION.transition(
        state, slate, tf.constant([1]), tf.constant([0.3]), tf.constant([-4.0])
    )
    assert disliked.state.interests[0, 0].numpy() == pytest.approx(-0.725)
    assert disliked.state.budget[0].numpy() == pytest.approx(10 - 4 - 3.6, rel=1e-6)
    zero = tf.constant([0.0])
    ignored = EVOLUTION.transition(state, slate, tf.constant([3]), zero, zero + 5.0)
    np.testing.assert_array_equal(ignored.state.interests, interests)
    assert ignored.state.budget[0].numpy() == 9.5
    assert (ignored.reward[0].numpy(), ignored.clicks[0].numpy()) == (0.0, 0.0)
    assert not ignored.done[0]
    last = EVOLUTION.transition(
        state._replace(budget=tf.constant([0.5])), slate, tf.constant([3]), zero, zero
    )
    assert last.done[0]


@pytest.mark.parametrize("simulator", ALL, ids=lambda x: type(x).__name__)
def test_transitions_are_the_originals(simulator, monkeypatch):
    """At every step of sessions of the original: its draws give the same next state."""
    original(originals._RECSIM[type(simulator)])
    draws = Scripted(monkeypatch)
    adapter = originals.adapter(simulator, copies=1, seed=1)
    slates = np.random.default_rng(2)
    steps = 0
    for _ in range(3):
        adapter.reset(0)
        done = False
        while not done:
            state = adapter.state(None, None, None)
            slate = slates.permutation(simulator.config.candidates)[: simulator.slate_size]
            documents = adapter._documents(0)
            reward, clicks, shown, done = adapter.step(0, slate)
            action = tf.constant(slate[None], tf.int32)
            if isinstance(simulator, recsim.LongTermSatisfaction):
                engaged, innovation = tf.constant(draws.normals[-2:], tf.float32)[:, None]
                ours = simulator.transition(state, action, engaged, innovation)
            else:
                probabilities, drawn = draws.choices[-1]
                np.testing.assert_allclose(
                    simulator.click_probabilities(state, action)[0], probabilities, atol=2e-6
                )
                more = ()
                if isinstance(simulator, recsim.InterestEvolution):
                    flip = draws.flips[-1] if clicks else [0.0]
                    watched = documents[slate[drawn if clicks else 0]]
                    mean = recsim.CLUSTER_QUALITY[watched.cluster_id]
                    noise = [(watched.quality - mean) / 0.1]
                    more = (tf.constant(flip, tf.float32), tf.constant(noise, tf.float32))
                ours = simulator.transition(state, action, tf.constant([drawn]), *more)
            assert ours.reward[0].numpy() == pytest.approx(reward, rel=1e-5)
            assert (ours.clicks[0].numpy(), ours.shown[0].numpy()) == (clicks, shown)
            assert ours.done[0].numpy() == done
            theirs = adapter.state(None, None, None)
            for name in hidden_of(simulator):
                np.testing.assert_allclose(
                    getattr(ours.state, name), getattr(theirs, name), atol=2e-5, err_msg=name
                )
            steps += 1
    assert steps >= 150


def hidden_of(simulator):
    """What a step changes beside the candidates."""
    documents = ("cluster", "quality", "clickbait", "topic")
    return [x for x in simulator.reset(1, SEED)._fields if x not in documents]


@pytest.mark.parametrize(
    ("candidates", "slate", "control", "expected", "error"),
    [
        (10, 2, "random", 154.08, 0.36),
        (10, 3, "random", 160.21, 0.37),
        (10, 3, "top_interest", 166.91, 0.67),
        (10, 3, "top_quality", 263.57, 1.17),
        (10, 2, "interest_times_quality", 288.3, 0.9),
        (5, 2, "interest_times_quality", 220.2, 0.5),
    ],
)
def test_evolution_returns(candidates, slate, control, expected, error):
    """Returns of the original; the heuristic's are of another batched port."""
    config = recsim.InterestEvolutionConfig(candidates, slate)
    simulator = recsim.InterestEvolution(config)
    policies = {
        "random": contract.random_policy,
        "top_interest": recsim.top_interest,
        "top_quality": recsim.top_quality,
        "interest_times_quality": recsim.interest_times_quality,
    }
    mean = playing.mean(played(simulator, policies[control](simulator)).reward)
    assert abs(mean.value - expected) < 3 * np.hypot(mean.error, error), mean


@pytest.mark.parametrize(
    ("sensitivity", "random", "most", "least"),
    [(0.01, 951.7, 1086, 816), (0.1, 953, 862, 989), (0.5, 1070, 373, 2206)],
)
def test_satisfaction_returns(sensitivity, random, most, least):
    """Returns of the original over 300 to 1,000 sessions: 1% of them is their error."""
    simulator = recsim.LongTermSatisfaction(
        recsim.LongTermSatisfactionConfig(sensitivity=sensitivity)
    )
    policies = (contract.random_policy, recsim.most_clickbait, recsim.least_clickbait)
    for policy, expected in zip(policies, (random, most, least), strict=True):
        total = played(simulator, policy(simulator))
        mean = playing.mean(total.reward)
        assert abs(mean.value - expected) < 3 * np.hypot(mean.error, 0.01 * expected), mean
        assert set(total.steps.numpy()) == {60}


def test_exploration_returns():
    for policy, expected, error in (
        (contract.random_policy, 23.30, 0.23),
        (recsim.top_quality, 38.5, 0.4),
    ):
        mean = playing.mean(played(EXPLORATION, policy(EXPLORATION)).reward)
        assert abs(mean.value - expected) < 3 * np.hypot(mean.error, error), mean


def test_clicks_as_the_reward():
    config = recsim.InterestEvolutionConfig(reward="clicks")
    simulator = recsim.InterestEvolution(config)
    total = played(simulator, contract.random_policy(simulator), 50)
    np.testing.assert_array_equal(total.reward, total.clicks)


def test_a_policy_plays_in_the_original():
    original("interest_evolution")
    simulator = recsim.InterestEvolution()
    policy = recsim.interest_times_quality(simulator)
    before = np.random.get_state()[1].copy()
    total = originals.play(simulator, policy, sessions=40, seed=1, copies=40)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    mean = playing.mean(total.reward)
    assert abs(mean.value - 288.3) < 3 * mean.error, mean
    again = originals.play(simulator, policy, sessions=40, seed=1, copies=40)
    np.testing.assert_array_equal(total.reward, again.reward)


@pytest.mark.parametrize("name", ["InterestEvolution", "LongTermSatisfaction"])
def test_copies_of_an_original_play_different_users(name):
    original("interest_evolution")
    simulator = getattr(recsim, name)()
    adapter = originals.adapter(simulator, copies=3, seed=0)
    for copy in range(3):
        adapter.reset(copy)
    user = adapter.state(None, None, None)[0].numpy()
    assert len(np.unique(user, axis=0)) == 3


@pytest.mark.parametrize(
    ("slate", "message"),
    [(0, "slate is 0; expected at least 1"), (11, "slate=11; expected 1 to candidates=10")],
)
def test_sizes_that_make_no_sense(slate, message):
    with pytest.raises(ValueError, match=message):
        recsim.InterestEvolution(recsim.InterestEvolutionConfig(slate=slate))
