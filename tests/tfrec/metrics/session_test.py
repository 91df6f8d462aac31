"""Session metrics: hand-computed means, and intervals that cover what they promise."""

import numpy as np
import pytest

from tfrec import errors, types
from tfrec.metrics import session


def _episodes(feedback, length, user=None):
    feedback = np.asarray(feedback, np.float32)
    batch, steps, _ = feedback.shape
    return types.Episodes(
        user=np.arange(1, batch + 1) if user is None else np.asarray(user),
        history_item=np.zeros([batch, 2], np.int32),
        history_feedback=np.zeros([batch, 2, feedback.shape[2]], np.float32),
        item=np.ones([batch, steps], np.int32),
        feedback=feedback,
        length=np.asarray(length, np.int32),
        exited=np.ones([batch], bool),
    )


def _sessions(user, reward, depth, **columns):
    arrays = {"user": user, "reward": reward, "depth": depth, **columns}
    return {name: np.asarray(values) for name, values in arrays.items()}


def test_per_session_sums_feedback_up_to_each_length():
    episodes = _episodes(
        [[[1, 5.0], [0, 2.0], [9, 9.0]], [[1, 1.0], [1, 0.5], [1, 0.25]]], length=[2, 3]
    )
    got = session.per_session(episodes, ("click", "watch_seconds"))
    assert got["user"].tolist() == [1, 2]
    assert got["reward"].tolist() == [1, 3]  # the 9 after the first session's end is padding
    assert got["depth"].tolist() == [2, 3]
    assert got["click"].tolist() == [1, 3]
    assert got["watch_seconds"].tolist() == [7.0, 1.75]


def test_per_session_takes_tensors_and_leaves_out_columns_without_names():
    episodes = types.constants(_episodes([[[1.0]]], [1]))
    assert sorted(session.per_session(episodes)) == ["depth", "reward", "user"]


@pytest.mark.parametrize("length", [0, 3])
def test_per_session_rejects_a_length_outside_the_session(length):
    with pytest.raises(ValueError, match=f"session 1 has {length} steps; expected 1 to 2"):
        session.per_session(_episodes([[[1], [0]], [[1], [0]]], [2, length]))


def test_per_session_rejects_what_is_not_a_number_and_names_that_do_not_fit():
    with pytest.raises(ValueError, match="session 0 has a feedback 1 that is not a finite"):
        session.per_session(_episodes([[[1, np.nan]]], [1]))
    with pytest.raises(ValueError, match="1 names for 2 feedback columns"):
        session.per_session(_episodes([[[1, 1]]], [1]), ("click",))
    with pytest.raises(ValueError, match="may not be called 'depth'"):
        session.per_session(_episodes([[[1, 1]]], [1]), ("click", "depth"))


def test_means_are_ratios_of_sums_over_users_and_seeds():
    seeds = [
        _sessions([1, 2], [1, 5], [2, 10], watch=[3.0, 4.0]),
        _sessions([1, 2], [0, 2], [4, 4], watch=[1.0, 0.0]),
    ]
    got = session.summarise(seeds)
    assert list(got) == ["reward", "ctr", "depth", "watch"]
    assert got["reward"]["mean"] == 8 / 4
    assert got["depth"]["mean"] == 20 / 4
    assert got["ctr"]["mean"] == 8 / 20  # not the mean of 1/2, 1/2, 0, 1/2 over the sessions
    assert got["watch"]["mean"] == 8 / 4


def test_the_interval_of_one_seed_is_students_t_over_users():
    # Rewards 0, 5 and 10: mean 5, standard error 5 / sqrt(3), t quantile at two degrees of
    # freedom 4.3027.
    got = session.summarise([_sessions([1, 2, 3], [0, 5, 10], [1, 10, 10])])["reward"]
    half = 4.3027 * 5 / np.sqrt(3)
    assert got == pytest.approx({"mean": 5.0, "low": 5 - half, "high": 5 + half}, abs=1e-3)


def test_the_interval_of_a_ratio_holds_the_uncertainty_of_its_denominator():
    # Two users click in 1 of 1 and 1 of 3 steps: the CTR R is 2 / 4. The linearised values
    # R + 2 (x - R n) / 4 are .75 and .25: standard error .25, quantile 12.706.
    got = session.summarise([_sessions([1, 2], [1, 1], [1, 3])])["ctr"]
    assert got["mean"] == 0.5
    assert got["high"] == pytest.approx(0.5 + 12.706 * 0.25, abs=1e-3)


def test_sessions_of_one_user_are_one_value():
    # 50 users with one session each, against 2 users with 25 sessions each at one level a user.
    alternating = np.tile([0.0, 1.0], 25)
    one_each = _sessions(np.arange(50), alternating, np.ones(50))
    clustered = _sessions(np.tile([1, 2], 25), alternating, np.ones(50))
    narrow = session.summarise([one_each])["reward"]
    wide = session.summarise([clustered])["reward"]
    # Standard errors sqrt(50 / 4 / 49 / 50) = .0714 and .5, times t at 49 and 1 degrees.
    assert narrow["high"] == pytest.approx(0.5 + 2.0096 * 0.0714, abs=1e-3)
    assert wide["high"] == pytest.approx(0.5 + 12.706 * 0.5, abs=1e-3)


def test_differences_between_seeds_widen_the_interval_as_student_t_says():
    # Users do not differ at all; the seeds' means are 1, 2, 3: mean 2, standard error
    # 1 / sqrt(3), t quantile at two degrees of freedom 4.303: 2 -+ 2.484.
    seeds = [_sessions([1, 2, 3], [r] * 3, [4] * 3) for r in (1, 2, 3)]
    got = session.summarise(seeds)["reward"]
    assert got["mean"] == 2.0
    assert got["low"] == pytest.approx(2 - 2.484, abs=0.02)
    assert got["high"] == pytest.approx(2 + 2.484, abs=0.02)


def test_what_seeds_do_not_share_enters_with_the_degrees_of_freedom_of_the_seeds():
    # Two users whose rewards cancel: a user's total over the seeds is 3 for both, so a
    # resample of users changes nothing. The seeds' means are 0, 1, 2: standard error
    # 1 / sqrt(3), 1 -+ 4.303 / sqrt(3). Less than the whole variance between seeds, here
    # less the users' noise within a seed, would leave nothing.
    seeds = [_sessions([1, 2], [1 + r - 3, 1 - r + 3], [4, 4]) for r in (0, 3, 6)]
    seeds = [dict(s, reward=s["reward"] + k) for k, s in enumerate(seeds, -1)]
    got = session.summarise(seeds)["reward"]
    assert got["mean"] == 1.0
    assert got["high"] - got["low"] == pytest.approx(2 * 4.303 / np.sqrt(3), abs=0.04)


def test_what_seeds_share_enters_once():
    # Every seed has the same sessions: the interval is that of one seed.
    rng = np.random.default_rng(9)
    one = _sessions(np.arange(50), rng.poisson(3, 50), np.full(50, 9))
    assert session.summarise([one] * 3)["reward"] == session.summarise([one])["reward"]


def test_identical_sessions_have_an_interval_of_no_width():
    got = session.summarise([_sessions([1, 2, 3], [2, 2, 2], [4, 4, 4])] * 2)
    assert got["ctr"] == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_one_user_is_the_users_mistake():
    with pytest.raises(errors.UserError, match="at least 2 users, there is 1"):
        session.summarise([_sessions([7, 7], [1, 2], [3, 3])])


def test_malformed_sessions_are_rejected():
    good = _sessions([1, 2], [1, 2], [3, 3])
    with pytest.raises(ValueError, match="no seed"):
        session.summarise([])
    with pytest.raises(ValueError, match="seed 1 has no sessions"):
        session.summarise([good, _sessions([], [], [])])
    with pytest.raises(ValueError, match="seed 0 has a session without steps"):
        session.summarise([_sessions([1, 2], [0, 2], [0, 3])])
    with pytest.raises(ValueError, match="seed 1 has no watch"):
        session.summarise([_sessions([1, 2], [1, 2], [3, 3], watch=[1, 1]), good])


def test_paired_difference_removes_what_users_share():
    rng = np.random.default_rng(5)
    level = rng.gamma(2.0, 5.0, 400)  # users differ by far more than the policies do
    b = [_sessions(np.arange(400), level + rng.normal(0, 0.5, 400), np.full(400, 50))]
    a = [_sessions(np.arange(400), level + 0.3 + rng.normal(0, 0.5, 400), np.full(400, 50))]
    got = session.paired_difference(a, b)["reward"]
    apart = session.summarise(a)["reward"]
    assert got["mean"] == pytest.approx(np.mean(a[0]["reward"] - b[0]["reward"]))
    assert 0 < got["low"] < 0.3 < got["high"]
    assert got["high"] - got["low"] < 0.2 < apart["high"] - apart["low"]
    assert got["p_value"] < 1e-6
    assert got["detectable"] < 0.2  # 2.8 standard errors of .035


def test_paired_difference_joins_users_in_any_order():
    a = [_sessions([1, 2, 3], [1, 2, 3], [4, 4, 4])]
    b = [_sessions([3, 1, 2], [3, 1, 2], [4, 4, 4])]
    expected = {"mean": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0, "detectable": 0.0}
    # The order of numpy's sums, and so the last digit, may depend on where an array lies.
    assert session.paired_difference(a, b)["reward"] == pytest.approx(expected, abs=1e-12)


def test_paired_gain_holds_the_uncertainty_of_what_it_divides_by():
    # One seed, two users: b earns 1 and 3, a earns 2 of each. Linearised, a / b - 1 is
    # (a_i - b_i) / 2: .5 and -.5. With a fixed base nothing would vary.
    a, b = [_sessions([1, 2], [2, 2], [9, 9])], [_sessions([1, 2], [1, 3], [9, 9])]
    got = session.paired_gain(a, b)["reward"]
    assert got["mean"] == pytest.approx(0.0, abs=1e-12)
    assert got["high"] == pytest.approx(12.706 * 0.5, abs=1e-3)
    assert got["p_value"] == pytest.approx(1.0)
    none = [_sessions([1, 2], [0, 0], [9, 9])]
    assert np.isnan(session.paired_gain(none, none)["reward"]["low"])


def test_a_p_value_is_below_a_level_where_the_interval_leaves_zero_out():
    rng = np.random.default_rng(10)
    for _ in range(40):
        a, b = (
            [_sessions(np.arange(20), rng.poisson(9, 20) + rng.normal(), np.full(20, 9))
             for _ in range(3)]
            for _ in range(2)
        )  # fmt: skip
        got = session.paired_difference(a, b)["reward"]
        outside = not got["low"] <= 0 <= got["high"]
        assert outside == (got["p_value"] < 0.05) or abs(got["p_value"] - 0.05) < 0.005


def test_policies_on_other_users_or_seeds_are_not_paired():
    a = [_sessions([1, 2], [1, 2], [4, 4])]
    with pytest.raises(ValueError, match="differ in the sessions of user 2, seed 0"):
        session.paired_difference(a, [_sessions([1, 3], [1, 2], [4, 4])])
    with pytest.raises(ValueError, match="have 1, 2 seeds"):
        session.paired_difference(a, a * 2)


def test_comparisons_of_several_data_sets_are_averaged():
    def policy(first, second):
        return [_sessions([0, 1], [first, second], [4, 4])]

    # Gains of .5 and .25, of other users each.
    groups = [(policy(3, 6), policy(2, 4)), (policy(5, 10), policy(4, 8))]
    both = session.compare(groups, lambda ours, theirs: ours / theirs - 1)["reward"]
    assert (both["mean"], both["low"], both["high"]) == pytest.approx((0.375,) * 3)
    # A function of four policies: .5 - .25.
    four = session.compare([(*groups[0], *groups[1])], lambda a, b, c, d: a / b - c / d)
    assert four["reward"]["mean"] == pytest.approx(0.25)
    assert session.compare(groups[:1], lambda a, b: a - b) == session.paired_difference(
        *groups[0]
    )


def test_share_runs_from_the_low_policy_to_the_high_one():
    rng = np.random.default_rng(6)
    users, depth = np.arange(300), np.full(300, 40)

    def policy(mean):
        return [_sessions(users, rng.poisson(mean, 300), depth) for _ in range(3)]

    low, middle, high = policy(4.0), policy(10.0), policy(12.0)
    got = session.share(middle, low, high)
    means = [session.summarise(p)["reward"]["mean"] for p in (middle, low, high)]
    assert got["mean"] == pytest.approx((means[0] - means[1]) / (means[2] - means[1]))
    assert 0.6 < got["low"] < 0.75 < got["high"] < 0.9
    assert session.share(low, low, high) == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert session.share(high, low, high)["low"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="not above low"):
        session.share(middle, high, low)
    with pytest.raises(ValueError, match="no metric 'watch'"):
        session.share(middle, low, high, metric="watch")


def _simulated(rng, users, seeds, seed_effect):
    """Users who differ, in sessions of chance length, with an effect of each seed."""
    taste = rng.beta(4, 6, users)
    persistence = rng.gamma(4.0, 2.0, users)
    result = []
    for shift in rng.normal(0, seed_effect, seeds):
        depth = 1 + rng.poisson(persistence)
        click = np.clip(taste + shift, 0, 1)
        result.append(_sessions(np.arange(users), rng.binomial(depth, click), depth))
    return result


@pytest.mark.parametrize(("seeds", "seed_effect"), [(1, 0.0), (3, 0.0), (3, 0.08), (5, 0.03)])
def test_intervals_cover_the_truth_at_their_nominal_rate(seeds, seed_effect):
    # E[click rate] = 0.4 (nearly independent of clipping), E[depth] = 1 + 8 = 9.
    rng = np.random.default_rng(7)
    trials, covered = 200, {"reward": 0, "ctr": 0, "depth": 0}
    truth = {"reward": 3.6, "ctr": 0.4, "depth": 9.0}
    for _ in range(trials):
        sessions = _simulated(rng, users=80, seeds=seeds, seed_effect=seed_effect)
        for name, got in session.summarise(sessions).items():
            covered[name] += got["low"] <= truth[name] <= got["high"]
    # Binomial standard error at 95% and 200 trials is 1.5%.
    for name, count in covered.items():
        assert 0.90 <= count / trials <= 0.995, (name, count / trials)


def test_intervals_of_paired_differences_cover_the_truth():
    rng = np.random.default_rng(8)
    covered = rejected = 0
    for _ in range(150):
        taste = rng.gamma(3.0, 2.0, 60)
        users, depth = np.arange(60), np.full(60, 20)
        a, b = [], []
        for shift in rng.normal(0, 0.4, 3):
            a.append(_sessions(users, rng.poisson(taste) + shift, depth))
            b.append(_sessions(users, rng.poisson(taste), depth))
        got = session.paired_difference(a, b)["reward"]
        covered += got["low"] <= 0 <= got["high"]
        rejected += got["p_value"] < 0.05
    assert 0.90 <= covered / 150 <= 0.995
    assert rejected / 150 <= 0.10
