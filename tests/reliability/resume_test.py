"""R1: killed at any moment and started again, a run ends with the same bits."""

import random

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_a_run_killed_in_iterations_and_in_saves_ends_bit_identical(
    tiny_run, uninterrupted, state, tmp_path
):
    directory = tmp_path / "run"
    draw = random.Random(20)

    # In the middle of an iteration, before the first save: replay and generator have moved on.
    first = tiny_run(directory, hold_iteration=draw.randint(2, 5))
    first.wait_for("holding")
    first.kill()
    assert not list(directory.glob("checkpoints/ckpt-*"))

    # While iteration 10 is being saved: variables are on the disk, the manifest is not.
    second = tiny_run(directory, hold_save="10:0")
    second.wait_for("holding")
    second.kill()
    assert second.lines[0] == "iteration 1"  # nothing was saved before
    assert [p.name for p in directory.glob("checkpoints/.tmp-*/*")] == ["variables.npz"]

    # Everything but the rename has been done.
    third = tiny_run(directory, hold_save="10:2")
    third.wait_for("holding")
    third.kill()
    assert third.lines[1] == "iteration 6"
    assert len(list(directory.glob("checkpoints/.tmp-ckpt-10/*"))) == 2

    iteration = draw.randint(12, 19)
    fourth = tiny_run(directory, hold_iteration=iteration)
    fourth.wait_for("holding")
    fourth.kill()
    assert fourth.lines[1] == "iteration 6"

    last = tiny_run(directory)
    assert last.end() == 0
    assert last.lines[0] == f"going on from {directory}/checkpoints/ckpt-{iteration // 5 * 5}"
    assert state(directory) == uninterrupted
    assert not list(directory.rglob(".tmp-*"))
