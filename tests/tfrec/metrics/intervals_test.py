"""Intervals of means over users and seeds, by hand and by short simulations."""

import math

import numpy as np
import pytest

from tfrec.metrics import intervals


def test_the_interval_of_a_mean_is_students_t():
    # Mean 2, standard deviation 1, standard error 1 / sqrt(3); the 97.5% quantile of t at two
    # degrees of freedom is 4.3027.
    found = intervals.of_mean(np.array([1.0, 2.0, 3.0]))
    half = 4.3027 / math.sqrt(3)
    assert found[:3] == pytest.approx((2.0, 2.0 - half, 2.0 + half), abs=1e-4)
    # t = 2 sqrt(3) = 3.4641: at two degrees of freedom p = 1 - t / sqrt(2 + t^2).
    assert found.p_value == pytest.approx(1 - 3.4641 / math.sqrt(2 + 12), abs=1e-4)


def test_one_value_has_no_width():
    assert intervals.of_mean(np.array([7.0])) == (7.0, 7.0, 7.0, 0.0, 0.0)
    assert intervals.of_mean(np.array([0.0])).p_value == 1.0


def test_one_seed_leaves_the_users_alone():
    values = np.array([1.0, 4.0, 7.0, 2.0])
    assert intervals.of_table(values[:, None]) == intervals.of_mean(values)


def test_seeds_that_agree_leave_the_users_alone():
    values = np.array([1.0, 4.0, 7.0, 2.0])
    found = intervals.of_table(np.repeat(values[:, None], 3, axis=1))
    assert found == pytest.approx(intervals.of_mean(values))


def test_users_who_agree_leave_the_seeds_alone():
    found = intervals.of_table(np.tile([1.0, 2.0, 3.0], (50, 1)))
    assert found == pytest.approx(intervals.of_mean(np.array([1.0, 2.0, 3.0])))


def test_users_and_seeds_add_up_with_satterthwaites_degrees_of_freedom():
    # Two users (0 and 4) and three seeds (-1, 0, 1) without noise. Variance of the mean over
    # users 8 / 2 = 4 with 1 degree of freedom, over seeds 1 / 3 with 2. The sum is 13/3 with
    # (13/3)^2 / (16 / 1 + (1/9) / 2) = 1.16955 degrees of freedom.
    values = np.array([[0.0], [4.0]]) + np.array([-1.0, 0.0, 1.0])
    found = intervals.of_table(values)
    wider = intervals.Error(math.sqrt(13 / 3), 1.16955)
    assert found.mean == 2.0
    assert found.detectable == pytest.approx(intervals.detectable_difference(wider), rel=1e-4)
    # Between t quantiles at one (12.706) and two (4.303) degrees of freedom.
    assert 4.303 < (found.high - 2.0) / wider.size < 12.706


def test_noise_of_sessions_counts_once():
    # The seeds' means are 3 and 3. The users' are 2 and 4, whose variance of 2 over two users
    # is 1. The residuals are -1, 1, 1, -1: their mean square of 4 over four cells is 1 too.
    found = intervals.of_table(np.array([[1.0, 3.0], [5.0, 3.0]]))
    assert found[:3] == (3.0, 3.0, 3.0)


def test_the_interval_is_never_shorter_than_that_of_the_seeds():
    # Two seeds that differ by much beside what users share: the degrees of freedom of the sum
    # are above 1, and the interval of the seeds alone is the longer one.
    rng = np.random.default_rng(0)
    values = rng.normal(0, 5, (40, 1)) + np.array([0.0, 3.0]) + rng.normal(0, 1, (40, 2))
    found = intervals.of_table(values)
    seeds = intervals.of_mean(values.mean(axis=0))
    assert found.high - found.low == pytest.approx(seeds.high - seeds.low)
    assert found.p_value == pytest.approx(seeds.p_value)


def test_one_user_is_rejected():
    with pytest.raises(ValueError, match="1 users; expected at least two"):
        intervals.of_table(np.zeros((1, 3)))


def test_pseudo_values_of_a_ratio_are_its_linearisation():
    # R = x / n = 6 / 4. A cell's pseudo-value is R + cells (x_i - R n_i) / n.
    cells = np.array([[[2.0, 1.0]], [[4.0, 3.0]]])
    found = intervals.pseudo_values(lambda sums: sums[..., 0] / sums[..., 1], cells)
    assert found.ravel().tolist() == pytest.approx(
        [1.5 + 2 * (2 - 1.5) / 4, 1.5 + 2 * (4 - 4.5) / 4]
    )
    assert found.mean() == pytest.approx(1.5)


def test_the_mean_of_independent_tables_has_the_sum_of_their_variances():
    # One seed each: errors .5 with 3 and 2 / sqrt(3) with 2 degrees of freedom.
    first, second = np.array([[0.0], [2.0], [1.0], [1.0]]), np.array([[2.0], [4.0], [6.0]])
    squares = np.array([2 / 3 / 4, 4 / 3]) / 4  # of the errors of half of each mean
    freedom = squares.sum() ** 2 / (squares[0] ** 2 / 3 + squares[1] ** 2 / 2)
    expected = intervals._interval(2.5, [intervals.Error(squares.sum() ** 0.5, freedom)], 0.95)
    found = intervals.of_tables([first, second])
    assert found == pytest.approx(expected) and found.mean == 2.5
    # Equal tables with several seeds: half of the variance, twice the degrees of freedom.
    rng = np.random.default_rng(0)
    table = rng.normal(size=(50, 4))
    alone, both = intervals._errors(table), intervals.of_tables([table, table])
    halved = [intervals.Error(e.size / 2**0.5, 2 * e.freedom) for e in alone]
    assert both == pytest.approx(intervals._interval(table.mean(), halved, 0.95))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("user_spread", "seed_spread"), [(0, 1), (1, 0), (1, 1)])
def test_intervals_hold_the_truth_in_95_of_100_tables(seeds, user_spread, seed_spread):
    # Spreads are standard errors of the mean of 40 users. The binomial standard error of .95
    # over 1,000 tables is .007; two seeds are allowed to hold the truth more often.
    rng = np.random.default_rng(seeds)
    tables, users = 1000, 40
    held = 0
    for _ in range(tables):
        values = rng.normal(0, math.sqrt(users), (users, seeds))
        values += rng.normal(0, user_spread * math.sqrt(users) or 1e-9, (users, 1))
        values += rng.normal(0, seed_spread or 1e-9, (1, seeds))
        found = intervals.of_table(values)
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / tables <= (0.99 if seeds == 2 else 0.97)


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_the_mean_of_two_data_sets_hold_the_truth(seeds):
    # Seeds differ three times as much on the second as on the first.
    rng = np.random.default_rng(seeds)
    held, experiments = 0, 1000
    for _ in range(experiments):
        tables = [
            rng.normal(0, 40**0.5, (40, seeds))
            + rng.normal(0, 40**0.5, (40, 1))
            + rng.normal(0, spread, (1, seeds))
            for spread in (1, 3)
        ]
        found = intervals.of_tables(tables)
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / experiments <= 0.97


def test_the_detectable_difference_is_detected_with_80_percent_power():
    rng = np.random.default_rng(3)
    for seeds in (2, 5):
        error = intervals.Error(1.0 / math.sqrt(seeds), seeds - 1)
        difference = intervals.detectable_difference(error)
        draws = rng.normal(difference, 1.0, (4000, seeds))
        excluded = np.mean([intervals.of_mean(row).p_value < 0.05 for row in draws])
        assert excluded == pytest.approx(0.8, abs=0.02)  # standard error .006


def test_more_seeds_detect_smaller_differences():
    # With many degrees of freedom: 1.960 + 0.842 standard errors.
    many = intervals.Error(2.0, 1e6)
    assert intervals.detectable_difference(many) == pytest.approx(2.0 * 2.8016, rel=1e-4)
    assert intervals.detectable_difference(many, power=0.9) == pytest.approx(6.483, rel=1e-3)
