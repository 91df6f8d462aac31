"""R2: SIGTERM and Ctrl-C finish the iteration, save, and lose nothing."""

import json
import signal

import pytest


@pytest.mark.slow
def test_sigterm_finishes_the_unit_saves_and_exits_42(tiny_run, uninterrupted, state, tmp_path):
    directory = tmp_path / "run"
    stopped = tiny_run(directory, ask_iteration=17)
    stopped.wait_for("asking")  # in the middle of the iteration
    stopped.process.send_signal(signal.SIGTERM)
    stopped.process.stdin.write("go on\n")
    stopped.process.stdin.flush()
    assert stopped.end() == 42
    assert stopped.lines[-1].startswith("stopped by SIGTERM after iteration 17; saved")
    assert (directory / "checkpoints/ckpt-17").is_dir()
    logged = [json.loads(line)["iteration"] for line in (directory / "metrics.jsonl").open()]
    assert logged == list(range(1, 18))

    last = tiny_run(directory)
    assert last.end() == 0
    assert last.lines[0].endswith("ckpt-17") and last.lines[1] == "iteration 18"
    final = {name: bits for name, bits in uninterrupted.items() if "ckpt-10" not in name}
    assert final.items() <= state(directory).items()
