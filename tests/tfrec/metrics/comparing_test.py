"""Agreement of ranks, worked by hand."""

import pytest

from tfrec.metrics import comparing


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
