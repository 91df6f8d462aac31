"""Figures 2 and 3 of IMRL's paper: plan, runs and output.

<out>/<environment>/controls.json                          levels of untrained policies
<out>/<environment>/<method>/seed0/{metrics.jsonl, result.json, tensorboard, policy}
<out>/figure2_<environment>_<ctr or reward>.png, figure2.csv, figure2.md; the same of 3
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from launch.experiments import figure_report
from launch.experiments.pool import Job, Pool
from tfimrl.method import AUGMENTATION_CONTROLS
from tfrec import options, outputs
from tfrec.data import identity
from tfrec.environments import contract
from tfrec.environments import registry as environments
from tfrec.environments.ports import originals
from tfrec.errors import UserError
from tfrec.methods import online_learner, online_result, online_run, presets, registry

ABLATIONS = ("imrl", "imrl_e", "imrl_a", "imrl_kl", "imrl_ea")
PUBLIC = ("recsim", "recogym", "virtualtb")  # published simulators, which the paper uses
METHODS = {
    2: ("imrl", "imrl_ea", "sac", "td3", "ddpg", "slateq", "reinforce", "deers", "kgrl",
        "tpgr", "pgpr"),
    3: (*ABLATIONS, *AUGMENTATION_CONTROLS),
}  # fmt: skip
# The paper's figure 3 is VirtualTB alone; --environments selects others.
SHOWN_IN = {2: ("virtualtb", "recogym", "recsim"), 3: ("virtualtb",)}
CONTROLS = "controls"


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of training and tests, the same for every method of an environment.

    Attributes:
      seeds: runs of each cell.
      play: environment -> fields that differ from `presets.play_config_class`.
      numbers: fields of methods that differ from their presets, for methods that have them.
      final_sessions: environment -> sessions of each run's final test and of the controls.
      original_sessions: environment -> the same in the original environment, where it is
        installed; none for absent environments.
      one_process: whether all methods of an environment and seed share a process.
    """

    seeds: int
    play: dict[str, dict[str, Any]]
    numbers: dict[str, Any]
    final_sessions: dict[str, int]
    original_sessions: dict[str, int] = dataclasses.field(default_factory=dict)
    one_process: bool = False


_TINY = {
    "sessions": 16, "rollout_steps": 4, "updates": 2, "warm_up": 128, "total_iterations": 12,
    "test_every": 3, "test_sessions": 32,
}  # fmt: skip
# The paper has 10,000 sessions; here at least as many, and 100,000 of VirtualTB's short ones.
_FULL = {"test_sessions": 1_000}
# RecoGym has a click in fifty recommendations: 2,000 sessions give a standard error of .0004, a
# thirtieth of the difference between random and the best.
_FINAL = {"recsim": 2_000, "recogym": 20_000, "virtualtb": 2_000}
SCALES = {
    "smoke": Scale(
        seeds=1,
        # Long enough that sessions of eighty steps end and the curves have a width.
        play={
            "recsim": _TINY | {"rollout_steps": 16},
            "recogym": _TINY | {"rollout_steps": 16},
            "virtualtb": _TINY,
        },
        numbers={"hidden": (32,), "batch": 32, "vector_sessions": 50, "mask_units": 8,
                 "mask_batch": 32, "mask_warm_up": 4},
        final_sessions=dict.fromkeys(PUBLIC, 200),
        one_process=True,
    ),
    "sample": Scale(
        seeds=3,
        play={},
        numbers={},
        final_sessions=_FINAL,
        original_sessions={"recsim": 250, "recogym": 2_000},
    ),
    "full": Scale(
        seeds=5,
        play={
            "recsim": _FULL | {"total_iterations": 800},
            "recogym": {"test_sessions": 4_000, "total_iterations": 500},
            "virtualtb": _FULL | {"total_iterations": 800},
        },
        numbers={},
        final_sessions=_FINAL | {"recsim": 6_000, "virtualtb": 6_000},
        original_sessions={"recsim": 500, "recogym": 2_000},
    ),
}  # fmt: skip


class Cell(NamedTuple):
    """One curve: a method in an environment, or the controls of an environment."""

    environment: str
    method: str
    seed: int

    def folder(self, out: pathlib.Path) -> pathlib.Path:
        return out / self.environment / self.method / f"seed{self.seed}"

    def result(self, out: pathlib.Path) -> pathlib.Path:
        if self.method == CONTROLS:
            return out / self.environment / "controls.json"
        return self.folder(out) / online_result.RESULT


@dataclasses.dataclass(frozen=True)
class FiguresRequest:
    """The figures to reproduce, and their options.

    Attributes:
      out: folder of all output.
      figures: numbers of figures, 2 and 3.
      scale: name of the scale.
      environments: environments to run; empty for those of the figure.
      methods: methods to run; empty for those of the figure.
      seeds: seeds of each cell; None for the number of the scale.
      virtualtb_path: VirtualTB's folder; '' to leave VirtualTB out.
    """

    out: pathlib.Path
    figures: tuple[int, ...]
    scale: str
    environments: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: int | None = None
    virtualtb_path: str = ""

    @property
    def seeds_each(self) -> int:
        return SCALES[self.scale].seeds if self.seeds is None else self.seeds

    def environments_of(self, figure: int) -> tuple[str, ...]:
        return self.environments or SHOWN_IN[figure]

    def methods_of(self, figure: int, environment: str) -> list[str]:
        return [
            name
            for name in METHODS[figure]
            if (not self.methods or name in self.methods)
            and environment in registry.get(name).environments
        ]


def check(request: FiguresRequest) -> None:
    """Raises UserError for unknown figures, environments or methods."""
    for figure in request.figures:
        if figure not in METHODS:
            raise UserError(f"--figure={figure}: expected 2 or 3")
    for name in request.environments:
        if name not in PUBLIC:
            expected = ", ".join(PUBLIC)
            raise UserError(f"--environments={name}: expected some of {expected}")
    for name in request.methods:
        registry.get(name)


def plan(request: FiguresRequest) -> list[Cell]:
    """Returns every cell, seed by seed, so that early cells already fill every figure."""
    cells = [
        Cell(environment, method, seed)
        for seed in range(request.seeds_each)
        for figure in sorted(set(request.figures))
        for environment in request.environments_of(figure)
        for method in (CONTROLS, *request.methods_of(figure, environment))
        if not (method == CONTROLS and seed)
    ]
    return list(dict.fromkeys(cells))


def can_run(request: FiguresRequest, cell: Cell) -> bool:
    """Whether a cell's environment is available."""
    return cell.environment != "virtualtb" or bool(request.virtualtb_path)


def form(environment: str, virtualtb_path: str) -> Any:
    """The configuration of an environment, by its defaults."""
    config = environments.get(environment).config
    return config(virtualtb_path) if environment == "virtualtb" else config()


def play(environment: str, scale: Scale) -> online_learner.OnlineConfig:
    """How much is played in an environment at a scale."""
    return presets.play_config_class(environment)(**scale.play.get(environment, {}))


def task(cell: Cell, scale: Scale, virtualtb_path: str) -> online_run.Task:
    """A cell as a run."""
    config = presets.config_class(cell.method, cell.environment)
    fields = {field.name for field in dataclasses.fields(config)}
    numbers = {name: value for name, value in scale.numbers.items() if name in fields}
    return online_run.Task(
        environment=cell.environment,
        method=cell.method,
        seed=cell.seed,
        form=form(cell.environment, virtualtb_path),
        play=play(cell.environment, scale),
        numbers=config(**numbers),
        final_sessions=scale.final_sessions[cell.environment],
        original_sessions=scale.original_sessions.get(cell.environment, 0),
    )


def run(out: pathlib.Path, cell: Cell, scale: Scale, virtualtb_path: str) -> None:
    """Runs a cell to its end; a finished cell is not changed."""
    if cell.result(out).exists():
        check_done(out, [cell], scale, virtualtb_path)
        return
    simulator = environments.simulator(cell.environment, form(cell.environment, virtualtb_path))
    in_original = scale.original_sessions.get(cell.environment, 0)
    if in_original and not originals.is_installed(simulator):
        print(f"{cell.environment}: tested in the port alone, the original is not installed")
        in_original = 0
    if cell.method == CONTROLS:
        path = cell.result(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_json(path, _levels(cell.environment, simulator, scale, in_original))
        return
    work = task(cell, scale, virtualtb_path)
    work = dataclasses.replace(work, original_sessions=in_original)
    online_run.run(cell.folder(out), work)
    # Checkpoints have gigabytes of replay, and a finished cell is not continued.
    shutil.rmtree(cell.folder(out) / "checkpoints", ignore_errors=True)


def _levels(
    environment: str, simulator: contract.Simulator, scale: Scale, in_original: int
) -> dict[str, Any]:
    """Returns the tests of an environment's controls, with their inputs and sizes."""
    sizes = play(environment, scale)
    made_with = {
        "inputs": identity.recorded(simulator.inputs()),
        "play": options.resolved(sizes),
    }
    levels = {}
    for name, control in simulator.controls().items():
        played, policy = control()
        tests = online_run.final_test(
            played, policy, scale.final_sessions[environment], in_original
        )
        during = online_learner.tested(played, policy, sizes.test_sessions)
        levels[name] = tests | {"tests": during} | made_with
    return levels


def check_done(
    out: pathlib.Path, cells: Sequence[Cell], scale: Scale, virtualtb_path: str
) -> None:
    """Checks that finished cells have the same simulators and scale as this run.

    Without a path to VirtualTB, its cells are compared with each other.

    Raises:
      UserError: naming a cell with another environment or amount of play.
    """
    inputs: dict[str, identity.Sources] = {}
    for cell in cells:
        path, name = cell.result(out), cell.environment
        if not path.exists():
            continue
        document = json.loads(path.read_text())
        made_with = next(iter(document.values())) if cell.method == CONTROLS else document
        before = made_with.get("inputs")
        if name not in inputs:
            if name == "virtualtb" and not virtualtb_path:
                sources = {key: identity.Source(**x) for key, x in (before or {}).items()}
                inputs[name] = sources
            else:
                simulator = environments.simulator(name, form(name, virtualtb_path))
                inputs[name] = simulator.inputs()
        different = identity.changes(before, inputs[name])
        different += options.differences(
            made_with.get("play", "not recorded"), options.resolved(play(name, scale)), "play"
        )
        options.check_unchanged(
            different,
            f"{path} was made with other inputs",
            "Choose another --out, or remove this file to run the cell again",
        )


def together(cells: Sequence[Cell], scale: Scale) -> list[list[Cell]]:
    """Groups cells by process."""
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        key = (cell.environment, cell.seed) if scale.one_process else cell
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def reproduce(request: FiguresRequest, jobs: int, report_only: bool) -> int:
    """Runs unfinished cells and writes the figures; returns the exit code.

    Raises:
      UserError: for an unknown figure, environment or method.
    """
    check(request)
    scale, out = SCALES[request.scale], request.out
    cells = plan(request)
    check_done(out, cells, scale, request.virtualtb_path)
    unfinished = [cell for cell in cells if not cell.result(out).exists()]
    possible = [cell for cell in unfinished if can_run(request, cell)]
    if len(possible) < len(unfinished):
        print(
            f"VirtualTB is skipped, {len(unfinished) - len(possible)} cells: --virtualtb_path "
            "is empty. Expected a clone: git clone https://github.com/eyounx/VirtualTaobao"
        )
    failed = []
    if not report_only and possible:
        out.mkdir(parents=True, exist_ok=True)
        common = (
            f"--out={out}",
            f"--scale={request.scale}",
            f"--virtualtb_path={request.virtualtb_path}",
        )
        with Pool("launch.run_curve", jobs, common, out / "logs") as pool:
            failed = pool.run("curves", [_job(group) for group in together(possible, scale)])
        for job in failed:
            print(f"failed: {job.name}; see {pool.log(job)}", file=sys.stderr)
    for figure in sorted(set(request.figures)):
        figure_report.write(
            out,
            figure,
            [
                _panel(request, figure, environment)
                for environment in request.environments_of(figure)
            ],
        )
    done = sum(cell.result(out).exists() for cell in cells)
    print(f"{done} of {len(cells)} cells are done; figures: {out}")
    return 1 if failed else 0


def _job(cells: Sequence[Cell]) -> Job:
    """Returns the process of cells of one environment and seed."""
    first, methods = cells[0], [cell.method for cell in cells]
    name = f"{first.environment}/{'+'.join(methods)}/{first.seed}"
    return Job(
        name if len(name) < 100 else f"{first.environment}/{len(methods)} methods/{first.seed}",
        (
            f"--environment={first.environment}",
            f"--method={','.join(methods)}",
            f"--seed={first.seed}",
        ),
    )


def _panel(request: FiguresRequest, figure: int, environment: str) -> figure_report.Panel:
    """Returns the finished cells of an environment in a figure."""
    out, seeds = request.out, range(request.seeds_each)
    path = Cell(environment, CONTROLS, 0).result(out)
    return figure_report.Panel(
        environment=environment,
        title=environments.get(environment).title,
        runs={
            method: [
                folder
                for seed in seeds
                if (Cell(environment, method, seed).result(out)).exists()
                for folder in [Cell(environment, method, seed).folder(out)]
            ]
            for method in request.methods_of(figure, environment)
        },
        titles={name: registry.get(name).title for name in registry.names()},
        controls=json.loads(path.read_text()) if path.exists() else {},
        seeds=request.seeds_each,
    )
