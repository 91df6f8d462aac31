"""Reliability curves by hand and against scipy's Wilson interval."""

import numpy as np
import pytest
import scipy.stats

from tfrec.metrics import reliability


def test_bins_hold_equally_many_and_average_them():
    predicted = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
    got = reliability.curve(predicted, [0, 0, 0, 1, 1, 0, 1, 1], bins=2)
    assert got.predicted == pytest.approx([0.25, 0.75])
    assert got.observed == pytest.approx([0.25, 0.75])
    assert got.size.tolist() == [4, 4]
    assert reliability.calibration_error(got) == pytest.approx(0.0)


def test_equal_predictions_share_a_bin():
    got = reliability.curve([0.5] * 9 + [0.8], [1, 0, 0, 0, 0, 0, 0, 0, 0, 1], bins=10)
    assert got.size.tolist() == [9, 1]
    # |1/9 - 0.5| weighs 9 of 10, |1 - 0.8| weighs 1 of 10.
    expected = 0.9 * (0.5 - 1 / 9) + 0.1 * 0.2
    assert reliability.calibration_error(got) == pytest.approx(expected)


def test_shares_have_wilson_intervals():
    got = reliability.curve([0.3] * 20, [1] * 4 + [0] * 16)
    wilson = scipy.stats.binomtest(4, 20).proportion_ci(method="wilson")
    assert (got.low[0], got.high[0]) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


def test_amounts_have_normal_intervals():
    got = reliability.curve([2.0] * 4, [1.0, 2.0, 3.0, 6.0])
    half = 1.959964 * scipy.stats.sem([1.0, 2.0, 3.0, 6.0])
    assert (got.low[0], got.high[0]) == pytest.approx((3 - half, 3 + half))


def test_bad_input_is_rejected():
    with pytest.raises(ValueError, match="two vectors of one length"):
        reliability.curve([0.1, 0.2], [1])
    with pytest.raises(ValueError, match="two vectors of one length"):
        reliability.curve([], [])
    with pytest.raises(ValueError, match="finite"):
        reliability.curve([0.1, np.nan], [1, 0])
