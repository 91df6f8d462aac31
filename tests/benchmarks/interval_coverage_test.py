"""The intervals of session metrics hold the truth at their nominal rate."""

import pytest

from benchmarks import interval_coverage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("seeds", "ratio"), [(2, 1.0), (3, 3.0), (5, 1.0)])
def test_intervals_hold_the_truth_in_about_95_of_100_experiments(seeds, ratio):
    # The binomial standard error of .95 over 1,000 experiments is .007.
    covered = interval_coverage.coverage(users=60, seeds=seeds, ratio=ratio, experiments=1000)
    for name in ("mean", "difference", "ratio"):
        assert 0.93 <= getattr(covered, name) <= 0.98, covered
    # p is below .05 where the interval leaves 0 out.
    assert covered.rejected == pytest.approx(1.0 - covered.difference)


def test_the_table_has_a_row_for_each_setting(capsys):
    interval_coverage.main(
        ["--experiments=2", "--users=9", "--seeds", "2", "3", "--ratios=0.1"]
    )
    assert [line.split(" | ")[:3] for line in capsys.readouterr().out.splitlines()[4:]] == [
        ["| 9", "2", "0.1"],
        ["| 9", "3", "0.1"],
    ]
