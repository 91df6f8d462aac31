"""Paired bootstrap and agreement of ranks, worked by hand."""

import numpy as np
import pytest

from tfrec.metrics import comparing


def test_a_bootstrap_of_two_users_has_three_means():
    # Resamples of two users: both first (1/4), one of each (1/2), both second (1/4).
    found = comparing.paired_bootstrap(np.array([[0.0, 1.0]]), np.array([0.5, 0.0]), 2_000)
    assert found.mean == pytest.approx([0.25])  # of -.5 and 1
    assert (found.low[0], found.high[0]) == (-0.5, 1.0)
    # A quarter of the means is -.5, three quarters are above 0: twice a quarter.
    assert found.p_value[0] == pytest.approx(0.5, abs=0.05)


def test_methods_share_the_resamples_and_the_seed_decides_them():
    values = np.random.default_rng(0).normal(size=(3, 200))
    values[2] = values[0] + 1.0
    reference = np.zeros(200)
    found = comparing.paired_bootstrap(values, reference, 500, seed=1)
    assert found.low[2] == pytest.approx(found.low[0] + 1.0)
    again = comparing.paired_bootstrap(values, reference, 500, seed=1)
    assert all((one == other).all() for one, other in zip(found, again, strict=True))
    other = comparing.paired_bootstrap(values, reference, 500, seed=2)
    assert (other.low != found.low).all()
    # The interval is that of the normal approximation, nearly.
    error = values.std(axis=1, ddof=1) / 200**0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    # No resample of the third is below 0: the smallest p of 500 resamples.
    assert found.p_value[2] == pytest.approx(2 / 501)


def test_what_does_not_depend_on_the_batch_of_resamples(monkeypatch):
    values = np.random.default_rng(0).normal(size=(2, 50))
    whole = comparing.paired_bootstrap(values, np.zeros(50), 300)
    monkeypatch.setattr(comparing, "_AT_ONCE", 100)
    parts = comparing.paired_bootstrap(values, np.zeros(50), 300)
    assert whole.low.tolist() == parts.low.tolist()


def test_equal_methods_differ_by_nothing():
    values = np.array([[0.2, 0.4, 0.1]])
    found = comparing.paired_bootstrap(values, values[0])
    assert [column[0] for column in found] == [0.0, 0.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="1 users"):
        comparing.paired_bootstrap(np.ones([1, 1]), np.ones(1))


def test_rank_one_is_the_highest_and_ties_share_their_mean():
    assert comparing.ranks({"a": 0.1, "b": 0.3, "c": 0.1, "d": 0.2}) == {
        "b": 1.0, "d": 2.0, "a": 3.5, "c": 3.5,
    }  # fmt: skip


def test_agreement_is_spearmans_correlation_of_the_methods_of_both():
    paper = {"a": 9.0, "b": 8.0, "c": 7.0, "d": 6.0, "only": 1.0}
    ours = {"d": 0.1, "a": 0.4, "b": 0.2, "c": 0.3, "mine": 0.9}
    found = comparing.rank_agreement(paper, ours)
    assert found.first == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert found.second == {"a": 1, "c": 2, "b": 3, "d": 4}
    # One pair is exchanged: 1 - 6 (1 + 1) / (4 (16 - 1)).
    assert found.rho == pytest.approx(0.8)
    # Of 24 orders 4 agree as much: the same one, and one of three neighbours exchanged.
    assert found.p_value == pytest.approx(2 * 4 / 24)
    three = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert comparing.rank_agreement(three, three).p_value == pytest.approx(2 * 1 / 6)
    nine = {str(place): float(place) for place in range(9)}
    assert comparing.rank_agreement(nine, nine).p_value < 0.001
    assert comparing.rank_agreement(paper, {"a": 1.0, "b": 2.0}).rho is None
    assert comparing.rank_agreement(paper, {"a": 1.0, "b": 1.0, "c": 1.0}).rho is None
    assert comparing.rank_agreement({}, ours).first == {}
