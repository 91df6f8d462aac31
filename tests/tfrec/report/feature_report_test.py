import numpy as np
import pytest

from tfrec.report import feature_report
from tfrec.report.feature_report import OPTIMUM, RANDOM

VALUES = {
    OPTIMUM: [{"known": np.array([10.0, 12.0])}, {"known": np.array([9.0, 9.0])}],
    RANDOM: [{"known": np.array([1.0, 1.0])}, {"known": np.array([1.0, 1.0])}],
    "m with features": [{"known": np.array([6.0, 6.0])}, {"known": np.array([3.0, 3.0])}],
    "m, ids alone": [{"known": np.array([4.0, 6.0])}, {"known": np.array([3.0, 1.0])}],
}
BY_HOUR = {
    feature_report.WITHOUT_HOUR: [{"known": np.array([4.0])}, {"known": np.array([4.0])}],
    "m with features, without the hour": [
        {"known": np.array([4.0, 4.0])}, {"known": np.array([1.0, 1.0])},
    ],
}  # fmt: skip


def test_shares_and_gains_by_hand():
    document = feature_report.summarise(VALUES)
    # Shares 5 / 10 and 2 / 8: mean .375; Student's t with one degree of freedom is 12.7062.
    share = document["shares"]["m with features"]["known"]
    assert share["mean"] == pytest.approx(0.375)
    assert share["high"] - share["mean"] == pytest.approx(12.7062 * 0.125, rel=1e-4)
    assert document["shares"][OPTIMUM]["known"]["mean"] == pytest.approx(1.0)
    assert document["clicks"]["m with features"]["known"]["mean"] == pytest.approx(4.5)
    document = feature_report.gains(VALUES, ["m"], "known")
    gain = document["gains"]["m with features"]["known"]
    assert gain["mean"] == pytest.approx(1.0)
    assert gain["low"] == pytest.approx(1.0)
    assert document["gains_of_hour"] == {}
    document = feature_report.gains(VALUES | BY_HOUR, ["m"], "known")
    assert document["gains_of_hour"]["m with features"]["known"]["mean"] == pytest.approx(2.0)


def test_the_report_shows_every_arm(tmp_path):
    document = {
        "seeds": 2,
        **feature_report.summarise(VALUES),
        **feature_report.gains(VALUES, ["m"], "known"),
    }
    feature_report.write(tmp_path, document, ["known", "new"])
    text = (tmp_path / "report.md").read_text()
    assert "| m with features | 0.375 [" in text and "| m, ids alone |" in text and "–" in text
    assert "hour" not in text
    assert (tmp_path / "features.png").stat().st_size > 10_000
    assert (tmp_path / "report.html").exists()


def test_the_report_of_a_world_with_hours(tmp_path):
    values = VALUES | BY_HOUR
    document = {
        "seeds": 2,
        **feature_report.summarise(values),
        **feature_report.gains(values, ["m"], "known"),
    }
    feature_report.write(tmp_path, document, ["known"])
    text = (tmp_path / "report.md").read_text()
    assert "| best plan without the hour | 0.338 [" in text  # 3 / 10 and 3 / 8
    assert "Gain of the hour" in text and "| m with features | 2.00 [2.00, 2.00] |" in text
