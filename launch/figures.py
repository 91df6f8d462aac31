"""Figures 2 and 3 of IMRL's paper: which curves there are, how they run, what is written.

<out>/<simulator>/controls.json                          levels that need no learning
<out>/<simulator>/<method>/seed0/{metrics.jsonl, result.json, tensorboard, policy}
<out>/figure2_<simulator>_<ctr or reward>.png, figure2.csv, figure2.md; the same of 3
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from launch import curves, figure_report, live
from launch.pool import Job, Pool
from tfrec import options
from tfrec.data import identity
from tfrec.errors import UserError
from tfrec.methods import online_learner

ABLATIONS = ("imrl", "imrl_e", "imrl_a", "imrl_kl", "imrl_ea")
AUGMENTATION_CONTROLS = ("imrl_e_copies", "imrl_e_one", "imrl_e_learned")
METHODS = {
    2: ("imrl", "imrl_ea", "sac", "td3", "ddpg", "slateq", "reinforce", "deers", "kgrl",
        "tpgr", "pgpr"),
    3: (*ABLATIONS, *AUGMENTATION_CONTROLS),
}  # fmt: skip
# The paper's figure 3 is VirtualTB alone; the others are asked for with --simulators.
SHOWN_IN = {2: ("virtualtb", "recogym", "recsim"), 3: ("virtualtb",)}
# They score items one by one and have nothing to say where the action is continuous.
NEED_ITEMS = ("slateq", "deers", "tpgr")
CONTROLS = "controls"


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything; every method of a simulator gets the same of it.

    Attributes:
      seeds: runs of each cell.
      sizes: simulator -> what differs from `live.sizes_class`.
      numbers: fields of methods that differ, for those that have them.
      final_sessions: simulator -> sessions of each run's final test and of the controls.
      original_sessions: the same in the original environment, where it is installed; none of
        those that are not named.
      one_process: whether all methods of a simulator and seed share a process.
    """

    seeds: int
    sizes: dict[str, dict[str, Any]]
    numbers: dict[str, Any]
    final_sessions: dict[str, int]
    original_sessions: dict[str, int] = dataclasses.field(default_factory=dict)
    one_process: bool = False


_TINY = {
    "sessions": 16, "stretch": 4, "updates": 2, "warm_up": 128, "total_units": 12,
    "test_every": 3, "test_sessions": 32,
}  # fmt: skip
# The paper has 10,000 sessions; here at least as many, and 100,000 of VirtualTB's short ones.
_FULL = {"test_sessions": 1_000}
# A click in fifty says little: 2,000 sessions of RecoGym leave a standard error of .0004, a
# thirtieth of what lies between random and the best.
_FINAL = {"recsim": 2_000, "recogym": 20_000, "virtualtb": 2_000}
SCALES = {
    "smoke": Scale(
        seeds=1,
        # Long enough that sessions of eighty steps end and the curves have a width.
        sizes={
            "recsim": _TINY | {"stretch": 16},
            "recogym": _TINY | {"stretch": 16},
            "virtualtb": _TINY,
        },
        numbers={"hidden": (32,), "batch": 32, "vector_sessions": 50, "mask_units": 8,
                 "mask_batch": 32, "mask_warm_up": 4},
        final_sessions=dict.fromkeys(live.PUBLIC, 200),
        one_process=True,
    ),
    "sample": Scale(
        seeds=3,
        sizes={},
        numbers={},
        final_sessions=_FINAL,
        original_sessions={"recsim": 250, "recogym": 2_000},
    ),
    "full": Scale(
        seeds=5,
        sizes={
            "recsim": _FULL | {"total_units": 800},
            "recogym": {"test_sessions": 4_000, "total_units": 500},
            "virtualtb": _FULL | {"total_units": 800},
        },
        numbers={},
        final_sessions=_FINAL | {"recsim": 6_000, "virtualtb": 6_000},
        original_sessions={"recsim": 500, "recogym": 2_000},
    ),
}  # fmt: skip


class Cell(NamedTuple):
    """One curve: a method in a simulator; or, as a method, its controls."""

    simulator: str
    method: str
    seed: int

    def folder(self, out: pathlib.Path) -> pathlib.Path:
        return out / self.simulator / self.method / f"seed{self.seed}"

    def result(self, out: pathlib.Path) -> pathlib.Path:
        if self.method == CONTROLS:
            return out / self.simulator / "controls.json"
        return self.folder(out) / curves.RESULT


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is asked of `reproduce`.

    Attributes:
      out: folder of everything.
      figures: 2, 3.
      scale: its name.
      simulators: only these; empty for those of the figure.
      methods: only these; empty for those of the figure.
      seeds: of each cell; None for the scale's number.
      virtualtb_path: VirtualTB's folder; '' leaves VirtualTB out.
    """

    out: pathlib.Path
    figures: tuple[int, ...]
    scale: str
    simulators: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: int | None = None
    virtualtb_path: str = ""

    @property
    def seeds_each(self) -> int:
        return SCALES[self.scale].seeds if self.seeds is None else self.seeds

    def simulators_of(self, figure: int) -> tuple[str, ...]:
        return self.simulators or SHOWN_IN[figure]

    def methods_of(self, figure: int, simulator: str) -> list[str]:
        return [
            name
            for name in METHODS[figure]
            if (not self.methods or name in self.methods)
            and not (name in NEED_ITEMS and simulator == "virtualtb")
        ]


def check(wanted: Wanted) -> None:
    """Raises UserError for figures, simulators or methods that there are not."""
    for figure in wanted.figures:
        if figure not in METHODS:
            raise UserError(f"--figure={figure}: expected 2 or 3")
    for name in wanted.simulators:
        if name not in live.PUBLIC:
            expected = ", ".join(live.PUBLIC)
            raise UserError(f"--simulators={name}: expected some of {expected}")
    for name in wanted.methods:
        live.get(name)


def plan(wanted: Wanted) -> list[Cell]:
    """Every cell, seed by seed, so that early ones already fill every figure."""
    cells = [
        Cell(simulator, method, seed)
        for seed in range(wanted.seeds_each)
        for figure in sorted(set(wanted.figures))
        for simulator in wanted.simulators_of(figure)
        for method in (CONTROLS, *wanted.methods_of(figure, simulator))
        if not (method == CONTROLS and seed)
    ]
    return list(dict.fromkeys(cells))


def can_run(wanted: Wanted, cell: Cell) -> bool:
    """Whether a cell's simulator is there."""
    return cell.simulator != "virtualtb" or bool(wanted.virtualtb_path)


def task(cell: Cell, scale: Scale, virtualtb_path: str) -> curves.Task:
    """A cell as a run."""
    at = live.SimulatorConfig(virtualtb_path=virtualtb_path)
    config = live.config_class(cell.method, cell.simulator)
    fields = {field.name for field in dataclasses.fields(config)}
    known = {name: value for name, value in scale.numbers.items() if name in fields}
    return curves.Task(
        simulator=cell.simulator,
        method=cell.method,
        seed=cell.seed,
        at=at,
        sizes=live.sizes_class(cell.simulator)(**scale.sizes.get(cell.simulator, {})),
        numbers=config(**known),
        final_sessions=scale.final_sessions[cell.simulator],
        original_sessions=scale.original_sessions.get(cell.simulator, 0),
    )


def run(out: pathlib.Path, cell: Cell, scale: Scale, virtualtb_path: str) -> None:
    """Brings a cell to its end; one that is done is left as it is."""
    if cell.result(out).exists():
        check_done(out, [cell], scale, virtualtb_path)
        return
    at = live.SimulatorConfig(virtualtb_path=virtualtb_path)
    simulator = live.simulator(cell.simulator, at)
    originals = scale.original_sessions.get(cell.simulator, 0)
    if originals and not curves.originals_installed(simulator):
        print(f"{cell.simulator}: judged in the port alone, the original cannot be asked")
        originals = 0
    if cell.method == CONTROLS:
        sizes = live.sizes_class(cell.simulator)(**scale.sizes.get(cell.simulator, {}))
        levels = {}
        for name in live.controls(cell.simulator, simulator):
            played, policy = live.control(cell.simulator, name, simulator)
            levels[name] = curves.judge(
                played, policy, scale.final_sessions[cell.simulator], originals
            ) | {"tests": online_learner.tested(played, policy, sizes.test_sessions)}
        path = cell.result(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        made_with = {
            "inputs": identity.recorded(live.inputs(at, simulator)),
            "sizes": options.resolved(sizes),
        }
        curves.write(path, {name: level | made_with for name, level in levels.items()})
        return
    work = dataclasses.replace(task(cell, scale, virtualtb_path), original_sessions=originals)
    curves.run(cell.folder(out), work)
    # They hold the replay, gigabytes of it, and what is done is not gone on with.
    shutil.rmtree(cell.folder(out) / "checkpoints", ignore_errors=True)


def check_done(
    out: pathlib.Path, cells: Sequence[Cell], scale: Scale, virtualtb_path: str
) -> None:
    """Checks that cells that are done belong to the simulators and the scale at hand.

    Where VirtualTB is not given, its cells are compared with each other.

    Raises:
      UserError: naming the cell whose simulator or sizes are others.
    """
    inputs: dict[str, identity.Sources] = {}
    for cell in cells:
        path, name = cell.result(out), cell.simulator
        if not path.exists():
            continue
        document = json.loads(path.read_text())
        made_with = next(iter(document.values())) if cell.method == CONTROLS else document
        before = made_with.get("inputs")
        if name not in inputs:
            if name == "virtualtb" and not virtualtb_path:
                found = {key: identity.Source(**x) for key, x in (before or {}).items()}
                inputs[name] = found
            else:
                at = live.SimulatorConfig(virtualtb_path=virtualtb_path)
                inputs[name] = live.inputs(at, live.simulator(name, at))
        sizes = live.sizes_class(name)(**scale.sizes.get(name, {}))
        different = identity.changes(before, inputs[name])
        different += options.differences(
            made_with.get("sizes", "not recorded"), options.resolved(sizes), "sizes"
        )
        if different:
            listed = "\n  ".join(different)
            raise UserError(
                f"{path} was made with other inputs:\n  {listed}\n"
                "Choose another --out, or remove this file to run the cell again"
            )


def together(cells: Sequence[Cell], scale: Scale) -> list[list[Cell]]:
    """Cells as processes run them."""
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        key = (cell.simulator, cell.seed) if scale.one_process else cell
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def reproduce(wanted: Wanted, jobs: int, report_only: bool) -> int:
    """Runs what is not done yet and writes the figures; returns the exit code.

    Raises:
      UserError: for a figure, simulator or method that there is not.
    """
    check(wanted)
    scale, out = SCALES[wanted.scale], wanted.out
    cells = plan(wanted)
    check_done(out, cells, scale, wanted.virtualtb_path)
    left = [cell for cell in cells if not cell.result(out).exists()]
    possible = [cell for cell in left if can_run(wanted, cell)]
    if len(possible) < len(left):
        print(
            f"VirtualTB is skipped, {len(left) - len(possible)} cells: --virtualtb_path is "
            "empty. Expected a clone: git clone https://github.com/eyounx/VirtualTaobao"
        )
    failed = []
    if not report_only and possible:
        out.mkdir(parents=True, exist_ok=True)
        common = (
            f"--out={out}",
            f"--scale={wanted.scale}",
            f"--virtualtb_path={wanted.virtualtb_path}",
        )
        with Pool("launch.run_curve", jobs, common, out / "logs") as pool:
            failed = pool.run("curves", [_job(found) for found in together(possible, scale)])
        for job in failed:
            print(f"failed: {job.name}; see {pool.log(job)}", file=sys.stderr)
    for figure in sorted(set(wanted.figures)):
        figure_report.write(
            out,
            figure,
            [_shown(wanted, figure, simulator) for simulator in wanted.simulators_of(figure)],
        )
    done = sum(cell.result(out).exists() for cell in cells)
    print(f"{done} of {len(cells)} cells are done; figures: {out}")
    return 1 if failed else 0


def _job(cells: Sequence[Cell]) -> Job:
    """One process for cells of one simulator and seed."""
    first, methods = cells[0], [cell.method for cell in cells]
    name = f"{first.simulator}/{'+'.join(methods)}/{first.seed}"
    return Job(
        name if len(name) < 100 else f"{first.simulator}/{len(methods)} methods/{first.seed}",
        (
            f"--simulator={first.simulator}",
            f"--method={','.join(methods)}",
            f"--seed={first.seed}",
        ),
    )


def _shown(wanted: Wanted, figure: int, simulator: str) -> figure_report.Panel:
    """What is there of a simulator in a figure."""
    out, seeds = wanted.out, range(wanted.seeds_each)
    path = Cell(simulator, CONTROLS, 0).result(out)
    return figure_report.Panel(
        simulator=simulator,
        title=live.TITLES[simulator],
        runs={
            method: [
                folder
                for seed in seeds
                if (Cell(simulator, method, seed).result(out)).exists()
                for folder in [Cell(simulator, method, seed).folder(out)]
            ]
            for method in wanted.methods_of(figure, simulator)
        },
        titles={method: live.METHODS[method].title for method in live.METHODS},
        controls=json.loads(path.read_text()) if path.exists() else {},
        seeds=wanted.seeds_each,
    )
