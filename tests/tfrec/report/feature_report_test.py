import numpy as np
import pytest

from tfrec.report import feature_report
from tfrec.report.feature_report import OPTIMUM, RANDOM

VALUES = {
    OPTIMUM: [{"known": np.array([10.0, 12.0])}, {"known": np.array([9.0, 9.0])}],
    RANDOM: [{"known": np.array([1.0, 1.0])}, {"known": np.array([1.0, 1.0])}],
    "with": [{"known": np.array([6.0, 6.0])}, {"known": np.array([3.0, 3.0])}],
    "without": [{"known": np.array([4.0, 6.0])}, {"known": np.array([3.0, 1.0])}],
}


def test_shares_and_gains_by_hand():
    document = feature_report.summarise(VALUES)
    # Shares 5 / 10 and 2 / 8: mean .375; Student's t with one degree of freedom is 12.7062.
    share = document["shares"]["with"]["known"]
    assert share["mean"] == pytest.approx(0.375)
    assert share["high"] - share["mean"] == pytest.approx(12.7062 * 0.125, rel=1e-4)
    assert document["shares"][OPTIMUM]["known"]["mean"] == pytest.approx(1.0)
    assert document["clicks"]["with"]["known"]["mean"] == pytest.approx(4.5)
    gains = feature_report.gains(VALUES, [("with", "without")], "known")
    assert gains["with"]["known"]["mean"] == pytest.approx(1.0)
    assert gains["with"]["known"]["low"] == pytest.approx(1.0)


def test_the_report_shows_every_arm(tmp_path):
    document = {
        "seeds": 2,
        **feature_report.summarise(VALUES),
        "gains": feature_report.gains(VALUES, [("with", "without")], "known"),
    }
    feature_report.write(tmp_path, document, ["known", "new"])
    text = (tmp_path / "report.md").read_text()
    assert "| with | 0.375 [" in text and "| without |" in text and "–" in text
    assert (tmp_path / "features.png").stat().st_size > 10_000
    assert (tmp_path / "report.html").exists()
