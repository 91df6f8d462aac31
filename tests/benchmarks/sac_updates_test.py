"""The benchmark of fused updates runs at a tiny size. No time is asserted."""

import pytest

from benchmarks import sac_updates

pytestmark = pytest.mark.slow


def test_all_three_ways_run(capsys):
    sac_updates.main(5, 2, rows=4, fused=2, repeats=1, hidden=(3,))
    out = capsys.readouterr().out
    for name in ("ours", "stock", "imrl", "ratio"):
        assert name in out
