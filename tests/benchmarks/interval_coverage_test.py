"""The intervals of session metrics hold the truth at their nominal rate."""

import pytest

from benchmarks import interval_coverage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("seeds", "seed_spread"), [(3, 0.08), pytest.param(5, 0.03, marks=pytest.mark.slow)]
)
def test_intervals_hold_the_truth_in_about_95_of_100_experiments(seeds, seed_spread):
    # The binomial standard error of .95 over 1,000 experiments is .007.
    covered = interval_coverage.coverage(
        users=60, seeds=seeds, seed_spread=seed_spread, experiments=1000, resamples=400
    )
    for name in ("mean", "difference", "gain"):
        assert 0.94 <= getattr(covered, name) <= 0.98, covered
    # p is below .05 where the interval leaves 0 out; 400 draws resolve p to .005.
    assert covered.rejected == pytest.approx(1.0 - covered.difference, abs=0.012)


def test_the_table_has_a_row_for_each_setting(capsys):
    interval_coverage.main(
        ["--experiments=2", "--users=9", "--seeds", "2", "3", "--spreads=0.1", "--resamples=20"]
    )
    assert [line.split(" | ")[:3] for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["| 9", "2", "0.1"],
        ["| 9", "3", "0.1"],
    ]
