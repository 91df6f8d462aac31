"""Our side of the throughput comparison at a tiny size. No time is asserted."""

import pytest

from benchmarks import sasrec_throughput


@pytest.mark.slow
def test_ours_is_timed_alone_without_a_reference(tmp_path, capsys):
    log = tmp_path / "log.txt"
    log.write_text("".join(f"{user} {item}\n" for user in range(6) for item in range(2, 9)))
    timings = sasrec_throughput.main(
        str(log), rounds=2, width=4, length=3, batch=4, warm=1, updates=2, blocks=1
    )
    # Five training events a user, so that windows of four have three predictions.
    assert [one["events"] % 3 for one in timings["ours"]] == [0, 0]
    assert all(one["wall"] > 0 and one["events"] >= 2 * 2 * 3 for one in timings["ours"])
    out = capsys.readouterr().out
    assert "ours" in out and "ratio" not in out
