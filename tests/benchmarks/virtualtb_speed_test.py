"""The loop that VirtualTB's speed is held against plays the same simulator."""

import numpy as np
import pytest

from benchmarks import virtualtb_speed
from tfrec.environments.ports import virtualtb


def test_the_loop_is_the_same_simulator(real_data):
    folder = real_data / "virtualtb"
    one = virtualtb_speed.OneUser(folder, seed=0)
    ours = virtualtb.VirtualTaobao(folder)
    rng = np.random.default_rng(0)
    for _ in range(20):
        one.reset()
        action = rng.uniform(-1, 1, 27).astype(np.float32)
        seen = np.concatenate([one.user, [one.page], action])
        expected = ours.feedback_logits(one.user[None], np.array([0]), action[None])[0]
        np.testing.assert_allclose(one.logits("action", seen), expected, rtol=1e-4, atol=0.05)
        leave = ours.leave_logits(one.user[None])[0]
        np.testing.assert_allclose(one.logits("leave", one.user), leave, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(np.add.reduceat(one.user, one._starts[:-1]), 1)


def test_prints_its_ratio(real_data, capsys, monkeypatch):
    # Threads cannot be set any more once TensorFlow has run, as in other tests before this.
    monkeypatch.setattr(virtualtb_speed.timing, "one_thread", lambda: None)
    folder = str(real_data / "virtualtb")
    virtualtb_speed.main(folder, batch=4, repeats=1, loop_steps=5, original=None)
    _, ours, loop = capsys.readouterr().out.splitlines()
    assert ours.split()[0] == "ours" and float(ours.split()[1].replace(",", "")) > 0
    assert loop.startswith("numpy loop") and loop.endswith("x")


def test_an_original_that_does_not_start_is_told(real_data, monkeypatch):
    monkeypatch.setattr(virtualtb_speed.timing, "one_thread", lambda: None)
    with pytest.raises(SystemExit, match="the original stopped"):
        virtualtb_speed.main(str(real_data / "virtualtb"), 4, 1, 5, original="false")
