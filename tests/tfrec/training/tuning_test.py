"""Tuning: it finds, goes on, shares, prunes and survives."""

import os
import pathlib
import signal
import subprocess
import sys
from concurrent import futures

import optuna
import pytest

from tfrec import errors
from tfrec.data import identity
from tfrec.training import tuning

# Raised by Optuna about its heartbeats; pytest resets the filter that tuning sets.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = {"rate": (0.1, 0.01, 0.001), "width": (16, 32, 64), "head": ("mlp", "bilinear")}
DEFAULTS = {"rate": 0.1, "width": 16, "head": "mlp"}
BEST = {"rate": 0.01, "width": 64, "head": "bilinear"}


def score_of(overrides):
    """The planted objective: how many fields are right; 3 at the optimum."""
    return float(sum(overrides[field] == value for field, value in BEST.items()))


def evaluate(overrides, trial):
    for iteration in (1, 2, 3):
        trial.report(iteration, score_of(overrides) * iteration / 3, updates=10 * iteration)
    return score_of(overrides)


def tune(evaluate=evaluate, trials=12, **arguments):
    arguments = {"space": SPACE, "defaults": DEFAULTS, "iterations": 3, **arguments}
    return tuning.tune("study", evaluate=evaluate, trials=trials, **arguments)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_planted_optimum_is_found_and_nothing_is_tried_twice(sampler):
    result = tune(trials=18, sampler=sampler, pruner="none")
    assert result.overrides == BEST and result.score == 3.0
    assert result.trials[0].overrides == DEFAULTS  # the first trial
    assert result.default_score == 0.0
    # 18 combinations, 18 trials: each of them once.
    assert len({tuple(record.overrides.values()) for record in result.trials}) == 18
    assert result.updates == 18 * 30
    assert {record.state for record in result.trials} == {"complete"}
    assert result.trials[0].curve == {1: 0.0, 2: 0.0, 3: 0.0}
    assert set(result.importance) == set(SPACE) and sum(
        result.importance.values()
    ) == pytest.approx(1)


def test_tpe_needs_fewer_trials_than_the_grid_has():
    space = {f"field{i}": (0, 1, 2, 3) for i in range(5)}  # 1,024 combinations
    result = tuning.tune(
        "study", space, dict.fromkeys(space, 0), lambda o, _: float(sum(o.values())),
        trials=60, iterations=1,
    )  # fmt: skip
    assert result.score >= 13  # of 15; sixty random draws reach 13 once in five


def test_the_same_seed_tries_the_same():
    one, other = (tune(trials=8, seed=4) for _ in range(2))
    assert [r.overrides for r in one.trials] == [r.overrides for r in other.trials]
    assert [r.overrides for r in tune(trials=8, seed=5).trials] != [
        r.overrides for r in one.trials
    ]


def test_more_trials_than_combinations_are_as_many_as_there_are():
    result = tune(trials=99, space={"width": (16, 32)}, defaults={"width": 16}, pruner="none",
                 evaluate=lambda overrides, _: float(overrides["width"]))  # fmt: skip
    assert [record.overrides for record in result.trials] == [{"width": 16}, {"width": 32}]
    assert result.settings == 2


def test_a_default_beside_the_choices_is_tried_too():
    result = tune(trials=3, space={"width": (32, 64)}, defaults={"width": 48},
                 evaluate=lambda overrides, _: -abs(overrides["width"] - 50.0))  # fmt: skip
    assert result.overrides == {"width": 48} and result.score == result.default_score == -2
    assert len(result.trials) == 3


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_bad_trial_ends_early_and_the_defaults_never(pruner):
    iterations = 9

    def evaluate(overrides, trial):
        for iteration in range(1, iterations + 1):
            trial.report(iteration, score_of(overrides), updates=iteration)
        return score_of(overrides)

    result = tune(evaluate, trials=18, pruner=pruner, iterations=iterations)
    pruned = [record for record in result.trials if record.state == "pruned"]
    assert pruned and all(record.updates < iterations for record in pruned)
    assert all(record.updates == iterations for record in result.trials if record not in pruned)
    assert result.trials[0].state == "complete"
    assert result.overrides == BEST
    # Pruned trials are part of the budget; what they saved is not.
    assert len(result.trials) == 18
    assert result.updates == sum(record.updates for record in result.trials) < 18 * iterations


def test_no_trial_is_pruned_before_the_warmup():
    def evaluate(overrides, trial):
        for iteration in range(1, 7):
            trial.report(iteration, score_of(overrides), updates=iteration)
        return score_of(overrides)

    result = tune(evaluate, trials=18, iterations=6, warmup=4)
    shortest = min(record.updates for record in result.trials)
    assert shortest == 4


def test_a_diverged_trial_counts_and_does_not_win():
    def evaluate(overrides, trial):
        trial.report(1, 100.0, updates=1)
        if overrides["rate"] == 0.1:
            raise tuning.DivergedError("loss")
        return score_of(overrides)

    result = tune(evaluate, trials=18, pruner="none")
    states = {record.overrides["rate"]: record.state for record in result.trials}
    assert states == {0.1: "diverged", 0.01: "complete", 0.001: "complete"}
    assert result.overrides == BEST and result.default_score is None
    with pytest.raises(errors.UserError, match="none of 2 trials was completed"):
        tune(evaluate, trials=2, space={"rate": (0.1,), "head": ("mlp", "bilinear")},
             defaults={"rate": 0.1, "head": "mlp"})  # fmt: skip


@pytest.fixture(params=["sqlite", "journal"])
def storage(request, tmp_path):
    path = tmp_path / "study"
    return f"sqlite:///{path}.db" if request.param == "sqlite" else f"{path}.journal"


def test_a_study_goes_on(storage):
    shown = []
    first = tune(trials=5, storage=storage, show=shown.append)
    assert [r.number for r in shown] == [r.number for r in first.trials]
    again = tune(trials=5, storage=storage, show=shown.append)
    assert len(shown) == 5 and again.trials == first.trials  # nothing was left to do
    more = tune(trials=9, storage=storage, show=shown.append)
    assert len(shown) == 9 and more.trials[:5] == first.trials and len(more.trials) == 9
    assert sum(record.overrides == DEFAULTS for record in more.trials) == 1


@pytest.mark.parametrize("name", ["a.db", "a [1]?b=%41#.db"])
def test_the_url_of_a_database_names_its_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study?").mkdir()
    path = pathlib.Path("study?", name)
    tune(trials=1, storage=tuning.sqlite_url(path))
    assert path.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["study?"]


def test_a_study_about_something_else_is_rejected(storage):
    tune(trials=1, storage=storage, about={"data": "abc"})
    with pytest.raises(errors.UserError, match="about.data: was 'abc', is now 'xyz'"):
        tune(trials=2, storage=storage, about={"data": "xyz"})
    with pytest.raises(errors.UserError, match="defaults.width: was 16, is now 32"):
        tune(trials=2, storage=storage, about={"data": "abc"},
             defaults=DEFAULTS | {"width": 32})  # fmt: skip


def test_a_storage_that_cannot_be_opened_is_a_message(tmp_path):
    for bad in (f"sqlite:///{tmp_path}/none/x.db", "oracle9://x", f"{tmp_path}/none/x"):
        with pytest.raises(errors.UserError, match="cannot open the storage of the study"):
            tune(storage=bad)


def test_an_interrupted_trial_is_done_again(storage):
    calls = []

    def interrupted(overrides, trial):
        calls.append(overrides)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(overrides, trial)

    with pytest.raises(KeyboardInterrupt):
        tune(interrupted, trials=6, storage=storage)
    assert len(calls) == 3
    result = tune(interrupted, trials=6, storage=storage)
    assert calls[3] == calls[2]
    assert len(result.trials) == 6 and len(calls) == 7


def test_a_mistake_in_the_evaluation_passes_and_the_defaults_come_again():
    def broken(overrides, trial):
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        tune(broken)


# A separate process: `python - STORAGE HOLD` tunes; in trial HOLD it prints a line and waits.
WORKER = """
import sys
from tests.tfrec.training.tuning_test import score_of, tune

def evaluate(overrides, trial):
    trial.report(1, score_of(overrides), updates=1)
    if trial.number == int(sys.argv[2]):
        print("held", flush=True)
        sys.stdin.readline()
    return score_of(overrides)

print("go", flush=True)
sys.stdin.readline()
shown = []
result = tune(evaluate, trials=6, storage=sys.argv[1], pruner="none", iterations=1,
             show=shown.append)
print(len(shown), len(result.trials), flush=True)
"""


def start(storage, hold=-1):
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, storage, str(hold)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=pathlib.Path(__file__).parents[3],
    )  # fmt: skip
    assert worker.stdout.readline() == "go\n"
    return worker


def go(worker):
    worker.stdin.write("\n")
    worker.stdin.flush()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # these trials end at once
def test_a_queued_trial_is_taken_once(storage):
    studies = [tuning._study("study", storage) for _ in range(4)]
    with futures.ThreadPoolExecutor(len(studies)) as threads:
        for _ in range(20):
            studies[0].enqueue_trial({})
            asked = threads.map(lambda study: study.ask().number, studies)
            assert len(set(asked)) == len(studies)


@pytest.mark.slow
def test_two_processes_share_a_study(storage):
    workers = [start(storage), start(storage)]
    for worker in workers:
        go(worker)
    shown = [tuple(map(int, worker.communicate()[0].split())) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert sum(count for count, _ in shown) == 6  # no trial too many
    result = tune(trials=6, storage=storage, iterations=1)
    assert len(result.trials) == 6 and result.running == 0
    assert len({tuple(record.overrides.values()) for record in result.trials}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("hold", [0, 2])
def test_the_trial_of_a_killed_process_is_done_again(storage, hold):
    worker = start(storage, hold)
    go(worker)
    assert worker.stdout.readline() == "held\n"
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()

    calls = []

    def evaluate(overrides, trial):
        calls.append(overrides)
        trial.report(1, score_of(overrides), updates=1)
        return score_of(overrides)

    result = tune(evaluate, trials=6, storage=storage, pruner="none", iterations=1)
    assert len(result.trials) == 6 and len(calls) == 6 - hold
    assert result.default_score == 0.0 and result.running == 0
    dead = _opened(storage).trials[hold]
    assert dead.state == optuna.trial.TrialState.FAIL and dead.params == calls[0]
    assert sum(record.overrides == DEFAULTS for record in result.trials) == 1


@pytest.mark.slow
def test_a_trial_that_another_process_holds_is_left_to_it(storage):
    worker = start(storage, hold=0)
    go(worker)
    assert worker.stdout.readline() == "held\n"
    result = tune(trials=3, storage=storage, iterations=1, pruner="none")
    assert len(result.trials) == 2 and result.running == 1
    assert DEFAULTS not in [record.overrides for record in result.trials]
    go(worker)
    assert worker.communicate()[0].split() == ["4", "6"]


def _opened(storage):
    if "://" in storage:
        return optuna.load_study(study_name="study", storage=storage)
    backend = optuna.storages.journal.JournalFileBackend(storage)
    return optuna.load_study(
        study_name="study", storage=optuna.storages.JournalStorage(backend)
    )


def test_a_study_of_other_inputs_is_rejected(tmp_path):
    def inputs(path, fingerprint):
        return {"world": identity.Source(path, fingerprint)}

    storage = str(tmp_path / "study.log")
    tune(trials=1, storage=storage, inputs=inputs("runs/world", "1234"))
    tune(trials=2, storage=storage, inputs=inputs("/elsewhere/world", "1234"))
    with pytest.raises(errors.UserError, match="world: was runs/world .* 1234, is now .* 5678"):
        tune(trials=3, storage=storage, inputs=inputs("runs/world", "5678"))
    old = str(tmp_path / "old.log")
    tune(trials=1, storage=old)
    with pytest.raises(errors.UserError, match="world: was none"):
        tune(trials=2, storage=old, inputs=inputs("runs/world", "1234"))
