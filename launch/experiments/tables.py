"""A cell of a table: a method trained and evaluated on a data set, in an environment.

A cell has a folder of its own; one that was stopped goes on, one that is done is kept:

    <out>/<data set>/data, simulator              the prepared log and the users fitted on it
    <out>/<data set>/tuning/<method>/best.json    what tuning chose
    <out>/<data set>/<environment>/<method>/seed0/result.json, sessions.npz, metrics.jsonl
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import tfgoalrec  # noqa: F401  registers GoalRec
from launch import flags
from tfrec import options, outputs, types
from tfrec.data import identity, storage
from tfrec.data.sources import files, movielens, taobao, yoochoose
from tfrec.environments import controls, player, scoring, session, worlds
from tfrec.environments.fitted import variants
from tfrec.errors import UserError
from tfrec.methods import registry, studies, trials
from tfrec.metrics import session as metrics
from tfrec.training import loop
from tfrec.training import run as runs

_TUNING_SEED = 1000  # of tuning's runs; the tables' seeds count from 0
_LOG_SEED = 17  # of the noise on the log: every method and seed has the same log
_SIZES = ("batch", "embedding", "units", "hidden", "stream")
_PREPARED = "prepared.json"  # what a data set was prepared from and with
_VALIDATION_SESSIONS = 6  # of each validation user, at each score


class DataSet(NamedTuple):
    """A public set as the tables use it.

    Attributes:
      title: in tables.
      prepare: flags of `launch.prepare_data`.
      fit: flags of `launch.fit_simulator`, but for the embedded log, whose truth plays.
      reward: what the reward counts, in words.
    """

    title: str
    prepare: tuple[str, ...]
    fit: tuple[str, ...]
    reward: str

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that stand beside the methods."""
        return controls.names(exact=not self.fit)


# Depths are inside the range that reward / CTR of the paper's Table 1 implies.
DATA_SETS = {
    "movielens": DataSet(
        "MovieLens-25M",
        ("--source=movielens", "--min_steps=5", "--max_steps=150"),
        ("--target_depth=50",),
        "ratings of 4 stars and more",
    ),
    "taobao": DataSet(
        "Taobao",
        (
            "--source=taobao",
            "--min_steps=20",
            "--max_steps=300",
            "--session_gap_minutes=14400",  # the whole trajectory of a user
            "--on_bad_row=skip",  # rows outside the published window
        ),
        ("--target_depth=120",),
        "purchases",
    ),
    "yoochoose": DataSet(
        "YooChoose",
        ("--source=yoochoose", "--min_steps=5", "--max_steps=250"),
        ("--target_depth=100",),
        "purchases; long views where the log has no purchases",
    ),
    "embedded": DataSet(
        "Embedded log",
        ("--source=embedded", "--embedded_num_users=2000", "--max_steps=30"),
        (),
        "clicks",
    ),
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything. Every method gets the same of it.

    Attributes:
      seeds: runs of each cell.
      trials: settings tried for each method on each data set.
      users: users of a log at most; 0 for all.
      sessions_per_round: sessions played in a round.
      updates_per_round: updates in a round.
      log_rounds: rounds of updates on the log alone.
      play_rounds: rounds of play and updates.
      test_users: test users at most.
      sessions_per_user: sessions that each of them plays.
      candidates: items that may be recommended.
      wide_candidates: the same in the high-dimensional environment.
      crossed: its state's dimensions.
      fit: flags of `launch.fit_simulator`.
      one_process: whether cells that differ in their method share a process: imports take
        longer than such cells.
      taobao_item: what Taobao recommends, items or their categories.
      batch: steps of experience in a batch.
      learning_rates: that tuning chooses from.
      tune_sizes: whether it also chooses widths and batches.
      goalrec: settings of GoalRec that are not its defaults.
    """

    seeds: int
    trials: int
    users: int
    sessions_per_round: int
    updates_per_round: int
    log_rounds: int
    play_rounds: int
    test_users: int
    sessions_per_user: int
    candidates: int = 1_000
    wide_candidates: int = 10_000
    crossed: int = 30_000
    fit: tuple[str, ...] = ()
    one_process: bool = False
    taobao_item: str = "item"
    batch: int = 256
    learning_rates: tuple[float, ...] = (1e-3, 3e-4, 1e-4)
    tune_sizes: bool = False
    goalrec: Mapping[str, Any] = dataclasses.field(default_factory=dict)


SCALES = {
    "smoke": Scale(
        seeds=1,
        trials=0,
        users=200,
        sessions_per_round=32,
        updates_per_round=5,
        log_rounds=1,
        play_rounds=1,
        test_users=40,
        sessions_per_user=1,
        candidates=200,
        wide_candidates=1_000,
        crossed=3_000,
        fit=("--max_epochs=1", "--batch_size=64"),
        taobao_item="category",
        one_process=True,
    ),
    "sample": Scale(
        seeds=3,
        trials=4,
        users=0,
        sessions_per_round=256,
        updates_per_round=50,
        log_rounds=8,
        play_rounds=12,
        test_users=300,
        sessions_per_user=2,
        fit=("--batch_size=64", "--dropout=0.25"),
        # A sample has one or two rows of an item: nothing carries over to other users.
        taobao_item="category",
        one_process=True,
        batch=128,
        # A thousand updates in all: smaller rates would only be cut short.
        learning_rates=(3e-3, 1e-3, 3e-4),
        # Few rows of an item, and users who stay much longer than the log's (YooChoose): what
        # was tried, and what it gave, stands in docs/results.md.
        goalrec={
            "averaging": 0.97,
            "far_windows": "exit",
            "item_input": "log",
            "item_effect": 1.0,
            "keep_log": False,
        },
    ),
    # 70,000 training users of 100,000, 30 trajectories each: 2.1 million played sessions.
    "full": Scale(
        seeds=5,
        trials=30,
        users=100_000,
        sessions_per_round=2_100,
        updates_per_round=200,
        log_rounds=50,
        play_rounds=1_000,
        test_users=30_000,
        sessions_per_user=1,
        tune_sizes=True,
    ),
}

_LOGS: dict[str, Any] = {"movielens": movielens, "taobao": taobao, "yoochoose": yoochoose}

ENVIRONMENTS = {
    1: ("vanilla",),
    2: ("high_dimensional",),
    3: ("high_variance", "high_variance_literal"),
}
IN_TABLE = {
    1: ("wide_and_deep", "dien", "dyna_q", "rainbow", "td3", "goalrec", "goalrec_off"),
    2: ("dyna_q", "rainbow", "td3", "goalrec"),
    3: ("dyna_q", "rainbow", "td3", "goalrec"),
}


class Cell(NamedTuple):
    """One method (or control) on one data set in one environment from one seed."""

    data_set: str
    environment: str
    method: str
    seed: int

    def folder(self, out: pathlib.Path) -> pathlib.Path:
        return out / self.data_set / self.environment / self.method / f"seed{self.seed}"

    def result(self, out: pathlib.Path) -> pathlib.Path:
        return self.folder(out) / "result.json"


def prepare(out: pathlib.Path, name: str, source: str, scale: Scale) -> None:
    """Prepares a data set and fits its users, unless that is done.

    Args:
      out: the folder of all cells.
      name: of the data set.
      source: where its log lies; not for the embedded one.
      scale: how much of it.

    Raises:
      UserError: if it was prepared from another log or with other settings.
    """
    made_with = check_prepared(out, name, source, scale)
    data, simulator = out / name / "data", out / name / "simulator"
    # Before the data, so that data without its record is never an interrupted preparation.
    data.parent.mkdir(parents=True, exist_ok=True)
    _write(data.parent / _PREPARED, made_with)
    if not (data / storage.MANIFEST).exists():
        path = [f"--path={source}"] if source else []
        _call(
            "launch.prepare_data", *path, *made_with["prepare"], f"--out={data}", "--overwrite"
        )
    if DATA_SETS[name].fit and not (simulator / "simulator.json").exists():
        _call(
            "launch.fit_simulator",
            f"--data={data}",
            f"--out={simulator}",
            *made_with["fit"],
            "--overwrite",
        )


def check_prepared(out: pathlib.Path, name: str, source: str, scale: Scale) -> dict[str, Any]:
    """Checks that a data set, where it is prepared, is the one asked for.

    Args:
      out: the folder of all cells.
      name: of the data set.
      source: where its log lies; not for the embedded one.
      scale: how much of it.

    Returns:
      What it is prepared from and with, to be recorded.

    Raises:
      UserError: if it was prepared from another log or with other settings; names them.
    """
    chosen, folder = DATA_SETS[name], out / name
    now = {
        "log": _log(name, source),
        "prepare": [
            *chosen.prepare,
            *([f"--taobao_item={scale.taobao_item}"] if name == "taobao" else []),
            f"--max_items={scale.wide_candidates}",
            f"--max_users={scale.users}",
            "--history_length=20",
        ],
        "fit": [*chosen.fit, *scale.fit] if chosen.fit else [],
    }
    path = folder / _PREPARED
    if path.exists():
        different = options.differences(json.loads(path.read_text(encoding="utf-8")), now)
    elif (folder / "data" / storage.MANIFEST).exists():
        different = [f"{path}: absent (an earlier version prepared it)"]
    else:
        return now
    if different:
        listed = "\n  ".join(different)
        raise UserError(
            f"{folder} was prepared from another log or with other settings:\n  {listed}\n"
            f"Choose another --out, or remove {folder} to prepare it and run its cells again"
        )
    return now


def _log(name: str, source: str) -> dict[str, str]:
    """SHA-256 of each file of a data set's log, unpacked; nothing for the embedded one."""
    if not source:
        return {}
    with files.opened(source, _LOGS[name].PATTERNS) as logs:
        return {log.name: storage.sha256(log) for log in logs}


def _call(script: str, *arguments: str) -> None:
    print(f"python -m {script} {' '.join(arguments)}", flush=True)
    code = flags.call(script, arguments)
    if code:
        raise UserError(f"{script} ended with exit code {code}; see its message above")


class Setting(NamedTuple):
    """A data set in an environment.

    Attributes:
      data: the prepared log.
      spec: what methods see: the log's spec with the environment's candidates.
      log: training sessions as methods see them, with the environment's noise.
      judge: the world that test users live in: neither delay nor noise.
      world: the world that methods play in, and that reports feedback late if it is so.
      inputs: the data and the world without delay, noise or fewer candidates.
    """

    data: storage.PreparedData
    spec: types.DataSpec
    log: types.Episodes
    judge: session.World
    world: session.World
    inputs: dict[str, identity.Source]


def candidates(environment: str, scale: Scale, spec: types.DataSpec) -> int:
    """How many items may be recommended in an environment: no more than the log has."""
    high = environment == "high_dimensional"
    return min(scale.wide_candidates if high else scale.candidates, spec.num_items)


def setting(out: pathlib.Path, name: str, environment: str, scale: Scale) -> Setting:
    """Opens a prepared data set in an environment.

    Raises:
      UserError: if it is not prepared.
    """
    data = storage.PreparedData.open(out / name / "data")
    where = str(out / name / "simulator") if DATA_SETS[name].fit else worlds.TRUTH
    base = worlds.load(where, data)
    judge, count = base, candidates(environment, scale, data.spec)
    if count < data.spec.num_items:
        judge = variants.with_candidates(base, count)
    world, log = judge, data.episodes("train")
    if environment.startswith("high_variance"):
        mode = environment.removeprefix("high_variance").lstrip("_") or "stable"
        world = variants.HighVariance(judge, mode=mode)
        log = world.disturbed(log, _LOG_SEED)
    inputs = worlds.inputs(data, where, base)
    return Setting(data, judge.spec, log, judge, world, inputs)


def configuration(
    method: str, environment: str, scale: Scale, spec: types.DataSpec, tuned: Mapping[str, Any]
) -> Any:
    """A method's configuration in a cell: the schedule that all share, and what was tuned."""
    values: dict[str, Any] = {
        "sessions_per_round": scale.sessions_per_round,
        "updates_per_round": scale.updates_per_round,
        "log_rounds": scale.log_rounds,
        "play_rounds": scale.play_rounds,
        "replay_sessions": max(4096, scale.sessions_per_round),
        "batch": scale.batch,
        "crossed": scale.crossed if environment == "high_dimensional" else 0,
    }
    if method.startswith("goalrec"):
        values |= {"goal_columns": spec.feedback_names[:1], **scale.goalrec}
    config = registry.get(method).config
    known = {field.name for field in dataclasses.fields(config)}
    return config(**({k: v for k, v in values.items() if k in known} | dict(tuned)))


def run(out: pathlib.Path, cell: Cell, scale: Scale) -> None:
    """Trains and judges one cell, from wherever it stands; one that is done is kept."""
    if cell.result(out).exists():
        check_done(out, [cell], scale)
        return
    here = setting(out, cell.data_set, cell.environment, scale)
    folder = cell.folder(out)
    if cell.method in controls.NAMES:
        folder.mkdir(parents=True, exist_ok=True)
        policy = controls.policies(here.data, here.judge, cell.seed)[cell.method]
        _judge(folder, here, policy, cell, scale, {})
        return
    tuned = chosen(out, cell.data_set, cell.method, here.inputs)
    config = configuration(cell.method, cell.environment, scale, here.spec, tuned)
    extra = {"cell": cell._asdict()}
    opened = runs.Run.open(folder, config, cell.seed, extra, here.inputs)
    learner = runs.seeded(cell.seed, lambda: _learner(cell.method, config, here, cell.seed))
    loop.train(learner, opened, learner.total_iterations, save_every=10)
    _judge(folder, here, learner.policy(), cell, scale, {"tuned": dict(tuned)})
    # The numbers are kept; the replay inside each checkpoint is not needed any more.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _learner(method: str, config: Any, here: Setting, seed: int) -> registry.Learner:
    vectors = registry.item_vectors(config, here.log, here.spec)
    return registry.get(method).make(config, here.spec, here.log, here.world, vectors, seed)


def _judge(
    folder: pathlib.Path,
    here: Setting,
    policy: session.Policy,
    cell: Cell,
    scale: Scale,
    more: Mapping[str, Any],
) -> None:
    """Plays the test users and writes what each of their sessions gave."""
    starts = scoring.starts(here.data, "test", scale.test_users, scale.sessions_per_user)
    document = {"cell": cell._asdict(), **_made_with(scale, here.inputs), **more}
    for name, world in (("judged", here.judge), ("noisy", here.world)):
        if name == "noisy" and here.world is here.judge:
            continue
        # Every method meets the same users in the same order; only the draws differ by seed.
        played = player.Player(world, policy).play(starts, cell.seed + 1)
        sessions = metrics.per_session(played)
        with outputs.replacing_file(folder / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **sessions)
        document[name] = {
            "reward": float(sessions["reward"].mean()),
            "ctr": float(sessions["reward"].sum() / sessions["depth"].sum()),
            "depth": float(sessions["depth"].mean()),
        }
    _write(folder / "result.json", document)


def _write(path: pathlib.Path, document: Mapping[str, Any]) -> None:
    with outputs.replacing_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _made_with(scale: Scale, inputs: identity.Sources) -> dict[str, Any]:
    """What a cell is made with, to be recorded in its result."""
    counts = ("seeds", "trials", "one_process")  # of cells; they change none of them
    sizes = {k: v for k, v in options.resolved(scale).items() if k not in counts}
    return {"inputs": identity.recorded(inputs), "scale": sizes}


def check_done(out: pathlib.Path, cells: Sequence[Cell], scale: Scale) -> None:
    """Checks that what is done belongs to the data and the simulators that are there.

    Cells whose data are not on the disk any more are compared with each other.

    Args:
      out: the folder of all cells.
      cells: those that may be done, with the tuning of their methods.
      scale: how much of everything.

    Raises:
      UserError: naming the cell or the study whose data, simulator or scale is another.
    """
    inputs: dict[str, identity.Sources] = {}
    for name in dict.fromkeys(cell.data_set for cell in cells):
        if (out / name / "data" / storage.MANIFEST).exists():
            inputs[name] = setting(out, name, "vanilla", scale).inputs
            for method in dict.fromkeys(cell.method for cell in cells):
                chosen(out, name, method, inputs[name])
    for cell in cells:
        path = cell.result(out)
        if not path.exists():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        before = document.get("inputs")
        if cell.data_set not in inputs:
            found = {name: identity.Source(**x) for name, x in (before or {}).items()}
            inputs[cell.data_set] = found
        different = identity.changes(before, inputs[cell.data_set])
        sizes = _made_with(scale, {})["scale"]
        different += options.differences(document.get("scale", "not recorded"), sizes, "scale")
        if different:
            listed = "\n  ".join(different)
            raise UserError(
                f"{path} was made with other inputs:\n  {listed}\n"
                f"Choose another --out, or remove {path.parent} to run the cell again"
            )


def chosen(
    out: pathlib.Path, data_set: str, method: str, inputs: identity.Sources
) -> dict[str, Any]:
    """What tuning chose for a method on a data set; nothing where it was not tuned.

    Raises:
      UserError: if it was tuned on other data or in another world.
    """
    path = out / data_set / "tuning" / method / "best.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    if different := identity.changes(found.get("inputs"), inputs):
        listed = "\n  ".join(different)
        raise UserError(
            f"{path} was tuned with other inputs:\n  {listed}\n"
            f"Choose another --out, or remove {path.parent} to tune it again"
        )
    return found["overrides"]


def sessions(out: pathlib.Path, cell: Cell, which: str = "judged") -> dict[str, np.ndarray]:
    """What each test session of a finished cell gave; see `metrics.session.per_session`."""
    with np.load(cell.folder(out) / f"{which}.npz") as stored:
        return dict(stored)


def tune(out: pathlib.Path, data_set: str, method: str, scale: Scale, number: int) -> None:
    """Tries settings of a method on validation users, in the vanilla environment.

    Args:
      out: the folder of all cells.
      data_set: whose users.
      method: what is tuned.
      scale: how long a trial learns: as a cell does, with half of the rounds of play.
      number: trials in all; those that are done count.
    """
    here = setting(out, data_set, "vanilla", scale)
    half = dataclasses.replace(scale, play_rounds=-(-scale.play_rounds // 2))
    base = configuration(method, "vanilla", half, here.spec, {})
    evaluation = trials.LogEvaluation(
        method=registry.get(method),
        base=base,
        spec=here.spec,
        log=here.log,
        world=here.world,
        evaluation_world=here.judge,
        starts=scoring.validation_starts(here.data, scale.test_users, _VALIDATION_SESSIONS),
        every=max(1, (half.log_rounds + half.play_rounds) // 3),
        seed=_TUNING_SEED,
    )
    folder = out / data_set / "tuning" / method
    folder.mkdir(parents=True, exist_ok=True)
    # What only makes networks larger or batches longer is tuned where there is time for it.
    fields = [f for f in evaluation.method.space if scale.tune_sizes or f not in _SIZES]
    found = trials.tune_on_log(
        evaluation,
        method,
        number,
        fields=tuple(fields),
        choices={"learning_rate": scale.learning_rates},
        inputs=here.inputs,
        storage=str(folder / "study.log"),
    )
    study = studies.Study(method, evaluation.method.title, base, trials.CLICKS, here.inputs)
    studies.write(folder, study, found)
