"""Tuning: Optuna over a configuration's fields, one budget for all methods.

A trial is one choice of values for the fields of a space. The first trial has the defaults, no
choice is tried twice, and the budget is a number of finished trials, pruned ones included; the
updates of each trial are counted. A study is in a storage: several processes or machines that
open the same storage share its trials, and an existing study is resumed.

The trial of a process that ended is queued again: at once if it ran on this machine, else when
its heartbeat has been missing for three minutes (databases only).
"""

import math
import os
import pathlib
import re
import socket
import time
import urllib.parse
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
import sqlalchemy
from optuna import storages
from optuna.storages import journal
from optuna.trial import FrozenTrial, TrialState

from tfrec import errors, options
from tfrec.data import identity

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["median", "hyperband", "none"]

_HEARTBEAT = 60  # seconds
_RETRIES = 3
_SUGGEST_SECONDS = 5.0  # time for another process to suggest its fields
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Keys of the attributes of a trial.
_DEFAULT, _PROCESS, _UPDATES, _DIVERGED = "default", "process", "updates", "diverged"

# Of the features in use, Optuna marks heartbeats and retries as experimental.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class Record(NamedTuple):
    """A finished trial.

    Attributes:
      number: number of the trial in its study.
      overrides: values of the fields of the space.
      state: `complete`, `pruned`, or `diverged` (a loss or gradient was not finite).
      score: the last reported score; None without one.
      updates: number of gradient steps.
      seconds: wall time.
      curve: iteration -> score.
    """

    number: int
    overrides: dict[str, Any]
    state: str
    score: float | None
    updates: int
    seconds: float
    curve: dict[int, float]


class Tuned(NamedTuple):
    """Result of a study.

    Attributes:
      overrides: overrides of the best complete trial.
      score: its score.
      default_score: score of the defaults, the first trial; None if it diverged.
      trials: all finished trials, by number.
      running: number of trials that other processes are running.
      importance: share of the scores' variance that each field explains, the largest
        first; empty for too few trials.
      settings: number of combinations of the fields' choices, which no study exceeds.
    """

    overrides: dict[str, Any]
    score: float
    default_score: float | None
    trials: list[Record]
    running: int
    importance: dict[str, float]
    settings: int

    @property
    def updates(self) -> int:
        """Gradient steps over all finished trials."""
        return sum(record.updates for record in self.trials)


class DivergedError(Exception):
    """Raised by an evaluation that diverged: its trial is finished without a score."""


class Trial:
    """Interface of one trial for its evaluation.

    Attributes:
      number: number of the trial in its study.
    """

    def __init__(self, trial: optuna.Trial, iterations: int):
        self.number = trial.number
        self._trial, self._iterations = trial, iterations
        self._default = bool(trial.user_attrs.get(_DEFAULT))

    def report(self, iteration: int, score: float, updates: int) -> None:
        """Reports an intermediate score; raises `TrialPruned` if the trial should stop.

        Args:
          iteration: number of finished iterations.
          score: current score.
          updates: number of gradient steps so far.
        """
        self._trial.report(score, iteration)
        self._trial.set_user_attr(_UPDATES, updates)
        # Neither the defaults, the baseline of the study, nor a finished trial is pruned.
        is_exempt = self._default or iteration >= self._iterations
        if not is_exempt and self._trial.should_prune():
            raise optuna.TrialPruned


Evaluate = Callable[[dict[str, Any], Trial], float]


def tune(
    name: str,
    space: Mapping[str, tuple],
    defaults: Mapping[str, Any],
    evaluate: Evaluate,
    *,
    trials: int,
    iterations: int,
    warmup: int = 0,
    storage: str = "",
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    about: Mapping[str, Any] | None = None,
    inputs: identity.Sources | None = None,
    seed: int = 0,
    show: Callable[[Record], None] | None = None,
) -> Tuned:
    """Searches the overrides with the highest score.

    Args:
      name: name of the study in its storage.
      space: field -> its choices, numbers or strings. The default is added to them.
      defaults: field of the space -> its default; the first trial.
      evaluate: (overrides, trial) -> score; reports intermediate scores to the trial. Equal
        overrides must have equal scores.
      trials: number of finished trials, those of earlier calls included; at most the number
        of combinations of the choices.
      iterations: iterations in a whole trial.
      warmup: iterations before which no trial is pruned.
      storage: storage of the study: a database's URL (`sqlite:///tuning.db`), or the path
        of a journal file that machines share; empty for memory.
      sampler: `tpe` models the scores of earlier trials, `random` samples independently,
        `grid` enumerates all choices.
      pruner: `median` stops a trial that is worse than half of the others at that iteration,
        `hyperband` gives many trials few iterations, `none` stops none.
      about: further settings that determine the score; a study with others is rejected.
      inputs: data and simulator by name; a study with other content is rejected, equal
        content under another path is not.
      seed: seed of the sampler.
      show: called with each trial that this process has finished.

    Raises:
      UserError: if the storage cannot be opened, its study has other settings, or no trial
        was completed.
      Exception: any exception of `evaluate` except DivergedError.
      KeyboardInterrupt: passed on; the interrupted trial is queued again.
    """
    choices = {
        field: tuple(values if defaults[field] in values else (defaults[field], *values))
        for field, values in space.items()
    }
    combinations = math.prod(map(len, choices.values()))
    trials = min(trials, combinations)
    study = _study(name, storage)
    settings = {"space": choices, "defaults": dict(defaults), "about": about or {}}
    _check_settings(study, name, settings, inputs or {})
    study.sampler = _sampler(sampler, choices, seed + len(study.trials))
    study.pruner = _pruner(pruner, iterations, warmup)

    current = [-1]  # number of the current trial

    def objective(trial: optuna.Trial) -> float:
        current[0] = trial.number
        trial.set_user_attr(_PROCESS, _process())
        overrides = {field: trial.suggest_categorical(field, c) for field, c in choices.items()}
        _check_budget(study, trial, trials)
        _wait_for_earlier_trials(study, trial, choices)
        if _is_repeated(study, trial):
            _enqueue_unseen(study, choices, np.random.default_rng([seed, trial.number]))
            raise _RepeatedError
        try:
            return evaluate(overrides, Trial(trial, iterations))
        except DivergedError as error:
            trial.set_user_attr(_DIVERGED, str(error))
            raise optuna.TrialPruned from error

    while not _is_done(study, trials):
        _enqueue_defaults(study, defaults)
        try:
            study.optimize(objective, n_trials=1, catch=(_BudgetSpentError, _RepeatedError))
        except KeyboardInterrupt:
            interrupted = study.trials[current[0]]
            _requeue(study, [interrupted] if interrupted.state == TrialState.FAIL else [])
            raise
        if show and study.trials[current[0]].state in _FINISHED:
            show(_record(study.trials[current[0]]))
    return _result(study, name, combinations)


class _BudgetSpentError(Exception):
    """Other processes have taken the last trials of the budget."""


class _RepeatedError(Exception):
    """The overrides are those of another trial."""


def sqlite_url(path: pathlib.Path) -> str:
    """Returns the URL of a database file, for any characters in its path."""
    if "?" not in str(path):
        return f"sqlite:///{path}"
    # In a database's URL, everything after `?` is an option; the URI of SQLite quotes it.
    return f"sqlite:///file:{urllib.parse.quote(str(path.absolute()))}?uri=true"


def _study(name: str, storage: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for wait in (0.2, 0.5, 1.0, 2.0, None):  # seconds
        try:
            return optuna.create_study(
                storage=_storage(storage),
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:  # each database driver has different errors
            # Two processes that create a database at the same time can conflict.
            if wait and re.search("already exists|unique|duplicate", str(error), re.IGNORECASE):
                time.sleep(wait)
                continue
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise errors.UserError(
                f"{storage}: cannot open the storage of the study: {reason}; expected a "
                "database's URL, e.g. sqlite:///tuning.db, or the path of a journal file"
            ) from error
    raise AssertionError("the last try returns or raises")


def _storage(where: str) -> storages.BaseStorage | None:
    if not where:
        return None
    if "://" in where:
        is_sqlite = where.startswith("sqlite")
        storage = storages.RDBStorage(
            where,
            engine_kwargs={"connect_args": {"timeout": 60}} if is_sqlite else {},
            heartbeat_interval=_HEARTBEAT,
            grace_period=3 * _HEARTBEAT,
            heartbeat_stale_trial_callback=_retry(),
        )
        if is_sqlite:
            _lock_on_begin(storage.engine)
        return storage
    return storages.JournalStorage(journal.JournalFileBackend(where))


def _lock_on_begin(engine: sqlalchemy.Engine) -> None:
    """Makes each transaction of an SQLite database take the write lock before it reads.

    Optuna reads the state of a queued trial and then sets it. SQLite has no row locks, and
    its driver starts a transaction at the first write, so that two processes could take the
    same trial. See "Serializable isolation" of SQLAlchemy's documentation of SQLite.
    """

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin_immediate(connection: sqlalchemy.Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        driver.isolation_level = None  # no transactions of its own
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _retry() -> storages.RetryHeartbeatStaleTrialCallback:
    return storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)


def _check_settings(
    study: optuna.Study, name: str, settings: dict[str, Any], inputs: identity.Sources
) -> None:
    """Records the settings of a new study, or rejects a study with other settings."""
    current = options.resolved(settings)
    saved = study.user_attrs.get("settings")
    if saved is None:
        study.set_user_attr("inputs", identity.recorded(inputs))
        study.set_user_attr("settings", current)
        return
    different = options.differences(saved, current)
    different += identity.changes(study.user_attrs.get("inputs"), inputs)
    options.check_unchanged(
        different,
        f"study {name!r} has other settings",
        "Resume with the same settings and inputs, or choose another study or storage",
    )


def _sampler(
    kind: Sampler, choices: Mapping[str, tuple], seed: int
) -> optuna.samplers.BaseSampler:
    if kind == "grid":
        return optuna.samplers.GridSampler({f: list(c) for f, c in choices.items()}, seed=seed)
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # Small budgets: half of Optuna's usual number of random trials before it models them.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)


def _pruner(kind: Pruner, iterations: int, warmup: int) -> optuna.pruners.BasePruner:
    if kind == "none":
        return optuna.pruners.NopPruner()
    if kind == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, min(warmup, iterations)), max_resource=iterations
        )
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup)


def _is_done(study: optuna.Study, trials: int) -> bool:
    """Whether the requested number of trials is finished or running."""
    storages.fail_stale_trials(study)
    _requeue(study, [trial for trial in study.trials if _is_abandoned(trial)])
    taken = study.get_trials(False, (*_FINISHED, TrialState.RUNNING))
    return len(taken) >= trials


def _enqueue_defaults(study: optuna.Study, defaults: Mapping[str, Any]) -> None:
    tried = (t for t in study.trials if t.user_attrs.get(_DEFAULT))
    if all(trial.state == TrialState.FAIL for trial in tried):
        study.enqueue_trial(dict(defaults), user_attrs={_DEFAULT: True})


def _check_budget(study: optuna.Study, trial: optuna.Trial, trials: int) -> None:
    """Stops a trial if earlier trials use up the budget; trial numbers are unique."""
    finished = study.get_trials(False, _FINISHED)
    running = study.get_trials(False, (TrialState.RUNNING,))
    if len(finished) + sum(other.number < trial.number for other in running) >= trials:
        raise _BudgetSpentError


def _wait_for_earlier_trials(
    study: optuna.Study, trial: optuna.Trial, choices: Mapping[str, tuple]
) -> None:
    """Waits until all trials that started before this one have suggested their fields.

    Without the fields of a trial of another process, a repetition cannot be detected.
    """
    until = time.monotonic() + _SUGGEST_SECONDS
    while time.monotonic() < until and any(
        other.number < trial.number and other.params.keys() != choices.keys()
        for other in study.get_trials(False, (TrialState.RUNNING,))
    ):
        time.sleep(0.02)


def _is_repeated(study: optuna.Study, trial: optuna.Trial) -> bool:
    return any(
        other.params == trial.params
        and (other.state in _FINISHED or other.number < trial.number)
        for other in study.get_trials(False, (*_FINISHED, TrialState.RUNNING))
        if other.number != trial.number
    )


def _enqueue_unseen(
    study: optuna.Study, choices: Mapping[str, tuple], generator: np.random.Generator
) -> None:
    """Queues overrides that no trial has, if any are left."""
    states = (*_FINISHED, TrialState.RUNNING)
    seen = {tuple(t.params.get(f) for f in choices) for t in study.get_trials(False, states)}
    sizes = tuple(map(len, choices.values()))
    for index in generator.permutation(math.prod(sizes)):
        places = np.unravel_index(index, sizes)
        drawn = tuple(c[i] for c, i in zip(choices.values(), places, strict=True))
        if drawn not in seen:
            study.enqueue_trial(dict(zip(choices, drawn, strict=True)))
            return


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_abandoned(trial: FrozenTrial) -> bool:
    """Whether a running trial's process was on this machine and is gone."""
    host, _, process = trial.user_attrs.get(_PROCESS, "").rpartition(":")
    if trial.state != TrialState.RUNNING or host != socket.gethostname():
        return False
    if int(process) == os.getpid():
        return True  # this process is not inside a trial now
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _requeue(study: optuna.Study, abandoned: list[FrozenTrial]) -> None:
    """Fails abandoned trials, and queues them again."""
    for trial in abandoned:
        if trial.state == TrialState.RUNNING:
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except ValueError:  # another process has just done it
                continue
        _retry()(study, trial)


def _record(trial: FrozenTrial) -> Record:
    curve = dict(sorted(trial.intermediate_values.items()))
    last = next(reversed(curve.values()), None)
    state = "diverged" if _DIVERGED in trial.user_attrs else trial.state.name.lower()
    return Record(
        number=trial.number,
        overrides=dict(trial.params),
        state=state,
        score=trial.value if trial.state == TrialState.COMPLETE else last,
        updates=int(trial.user_attrs.get(_UPDATES, 0)),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        curve=curve,
    )


def _result(study: optuna.Study, name: str, settings: int) -> Tuned:
    finished = study.get_trials(False, _FINISHED)
    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    if not complete:
        raise errors.UserError(
            f"study {name!r}: none of {len(finished)} trials was completed; a smaller "
            "learning rate may keep them finite"
        )
    best = max(complete, key=lambda trial: (trial.value, -trial.number))
    default = next((trial for trial in complete if trial.user_attrs.get(_DEFAULT)), None)
    return Tuned(
        overrides=dict(best.params),
        score=_score(best),
        default_score=_score(default) if default else None,
        trials=[_record(trial) for trial in sorted(finished, key=lambda t: t.number)],
        running=len(study.get_trials(False, (TrialState.RUNNING,))),
        importance=_importance(study, complete),
        settings=settings,
    )


def _score(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _importance(study: optuna.Study, complete: list[FrozenTrial]) -> dict[str, float]:
    if len(complete) < 8 or len({trial.value for trial in complete}) < 2:
        return {}
    return optuna.importance.get_param_importances(study)
