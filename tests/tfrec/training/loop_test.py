"""Bookkeeping of the training loop. Killed and stopped runs: tests/reliability."""

import json
import signal

import pytest
import tensorflow as tf

from tfrec.training import loop
from tfrec.training import run as runs


class Counter(tf.Module):
    """Draws a number in each iteration; `during` is called in the middle of it."""

    def __init__(self, during=lambda iteration: None):
        super().__init__()
        self.iteration = tf.Variable(0, dtype=tf.int64)
        self.random = tf.random.Generator.from_seed(1)
        self.during = during

    def advance(self):
        drawn = self.random.normal([])
        self.during(int(self.iteration) + 1)
        self.iteration.assign_add(1)
        return {"drawn": drawn, "hist/drawn": drawn[None], "undefined": float("nan")}


@pytest.fixture
def run(tmp_path):
    return runs.Run.open(tmp_path / "run", {"rate": 0.5}, 1)


def logged(run):
    return [json.loads(line) for line in (run.directory / "metrics.jsonl").open()]


def checkpoints(run):
    return sorted(path.name for path in (run.directory / "checkpoints").iterdir())


def test_units_are_logged_saved_and_evaluated(run):
    learner, evaluated = Counter(), []

    def evaluate():
        evaluated.append(int(learner.iteration))
        return {"reward": float(learner.iteration)}

    loop.train(learner, run, 7, save_every=3, evaluate=evaluate, evaluate_every=2)
    rows = logged(run)
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert (
        rows[0].keys() == {"iteration", "drawn", "undefined"} and rows[0]["undefined"] is None
    )
    assert [row.get("evaluate/reward") for row in rows] == [None, 2, None, 4, None, 6, 7]
    assert evaluated == [2, 4, 6, 7]
    assert checkpoints(run) == ["ckpt-3", "ckpt-6", "ckpt-7"]


def test_a_finished_run_does_nothing_more(run):
    loop.train(Counter(), run, 3, save_every=3)

    def never(iteration):
        raise AssertionError

    again = Counter(never)
    loop.train(again, run, 3, save_every=3)
    assert int(again.iteration) == 3 and len(logged(run)) == 3


@pytest.mark.parametrize("tail", ["", '{"iteration": 5, "dra', "{}\n", "\0\0\n"])
def test_lines_of_units_to_be_done_again_go(run, tail):
    def crash(iteration):
        if iteration == 5:
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        loop.train(Counter(crash), run, 6, save_every=2)
    before = logged(run)
    assert [row["iteration"] for row in before] == [1, 2, 3, 4]
    (run.directory / "checkpoints/ckpt-4").rename(run.directory / "elsewhere")
    with (run.directory / "metrics.jsonl").open("a") as file:
        file.write(tail)
    loop.train(Counter(), run, 6, save_every=2)
    assert [row["iteration"] for row in logged(run)] == [1, 2, 3, 4, 5, 6]
    assert logged(run)[:4] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_unit_and_saves(run, number, capsys):
    def ask(iteration):
        if iteration == 4:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        loop.train(Counter(ask), run, 6, save_every=3)
    assert stop.value.code == 42
    assert checkpoints(run) == ["ckpt-3", "ckpt-4"]
    assert logged(run)[-1]["iteration"] == 4
    assert f"stopped by {number.name} after iteration 4" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_a_signal_in_the_last_unit_is_obeyed_too(run):
    with pytest.raises(SystemExit) as stop:
        loop.train(Counter(lambda iteration: signal.raise_signal(signal.SIGTERM)), run, 1, 1)
    assert stop.value.code == 42 and checkpoints(run) == ["ckpt-1"]


def test_a_second_interrupt_stops_at_once(run):
    def ask(iteration):
        if iteration == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        loop.train(Counter(ask), run, 6, save_every=1)
    assert checkpoints(run) == ["ckpt-1"]


def test_progress_without_a_terminal_is_lines(run, capsys):
    loop.train(Counter(), run, 30, save_every=30)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("iteration 1/30  drawn ") and lines[-1].startswith(
        "iteration 30/30"
    )
    assert len(lines) == 2 and "\x1b" not in "".join(lines)  # no iteration took ten seconds


def test_advance_must_count_its_unit(run):
    learner = Counter()
    learner.advance = lambda: {}
    with pytest.raises(RuntimeError, match="after iteration 1, learner.iteration is 0"):
        loop.train(learner, run, 2, save_every=1)
    assert checkpoints_or_none(run) == []


def checkpoints_or_none(run):
    folder = run.directory / "checkpoints"
    return checkpoints(run) if folder.exists() else []


@pytest.mark.parametrize(("iteration", "last"), [(1, "none"), (3, "ckpt-2")])
def test_weights_that_diverge_in_an_update_are_not_saved(run, capsys, iteration, last):
    """Every loss and gradient is finite: the update itself overflows."""

    def during(now):
        learner.weight.assign_add(3e38 if now == iteration else 0.0)

    learner = Counter(during)
    learner.weight = tf.Variable(3e38)
    with pytest.raises(SystemExit) as stop:
        loop.train(learner, run, iteration, save_every=1)
    assert stop.value.code == loop.EXIT_NON_FINITE
    said = capsys.readouterr().err
    assert (
        f"error: iteration {iteration}: " in said
        and "numbers of weight are NaN or infinite" in said
    )
    assert said.rstrip().endswith(last)
    folder = run.directory / "checkpoints"
    assert not folder.exists() or f"ckpt-{iteration}" not in checkpoints(run)


def test_a_run_ends_early_when_it_is_finished_and_stays_so(run):
    learner, evaluated = Counter(), []

    def evaluate():
        evaluated.append(int(learner.iteration))
        return {}

    def train(learner):
        loop.train(
            learner, run, 9, 2, evaluate=evaluate, finished=lambda: int(learner.iteration) >= 3
        )

    train(learner)
    assert [row["iteration"] for row in logged(run)] == [1, 2, 3]
    assert checkpoints(run) == ["ckpt-2", "ckpt-3"]
    assert evaluated == [3]
    again = Counter()
    train(again)
    assert int(again.iteration) == 3
    assert [row["iteration"] for row in logged(run)] == [1, 2, 3]
