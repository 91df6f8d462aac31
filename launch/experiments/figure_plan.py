"""Cells, scales and runs of figures 2 and 3 of IMRL's paper.

<out>/<environment>/controls.json                          levels of untrained policies
<out>/<environment>/tuning/<method>/best.json              tuned fields
<out>/<environment>/<method>/seed0/{metrics.jsonl, result.json, tensorboard, policy}
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from tfimrl import method as imrl_names
from tfrec.environments import registry as environments
from tfrec.errors import UserError
from tfrec.methods import online_learner, online_result, online_run, presets, registry

ABLATIONS = ("imrl", "imrl_e", "imrl_a", "imrl_kl", "imrl_ea")
PUBLIC = ("recsim", "recogym", "virtualtb")  # published simulators, which the paper uses
METHODS = {
    2: ("imrl", "imrl_ea", "sac", "td3", "ddpg", "slateq", "reinforce", "deers", "kgrl",
        "tpgr", "pgpr"),
    3: (*ABLATIONS, *imrl_names.CONTROLS),
}  # fmt: skip
# The paper's figure 3 is VirtualTB alone; --environments selects others.
SHOWN_IN = {2: ("virtualtb", "recogym", "recsim"), 3: ("virtualtb",)}
CONTROLS = "controls"


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of training and tests, the same for every method of an environment.

    Attributes:
      seeds: runs of each cell.
      trials: settings tried for each method in each environment, the preset first.
      play: environment -> fields that differ from `presets.play_config_class`.
      numbers: fields of methods that differ from their presets, for methods that have them.
      final_sessions: environment -> sessions of each run's final test and of the controls.
      original_sessions: environment -> the same in the original environment, where it is
        installed; none for absent environments.
      one_process: whether all methods of an environment and seed share a process.
    """

    seeds: int
    trials: int
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
        trials=0,
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
        trials=6,
        play={},
        numbers={},
        final_sessions=_FINAL,
        original_sessions={"recsim": 250, "recogym": 2_000},
    ),
    "full": Scale(
        seeds=5,
        trials=20,
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
      trials: settings tried for each method; None for the number of the scale.
      virtualtb_path: VirtualTB's folder; '' to leave VirtualTB out.
    """

    out: pathlib.Path
    figures: tuple[int, ...]
    scale: str
    environments: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: int | None = None
    trials: int | None = None
    virtualtb_path: str = ""

    @property
    def seeds_each(self) -> int:
        return SCALES[self.scale].seeds if self.seeds is None else self.seeds

    @property
    def trials_each(self) -> int:
        return SCALES[self.scale].trials if self.trials is None else self.trials

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


def method_config(cell: Cell, scale: Scale, tuned: Mapping[str, Any] | None = None) -> Any:
    """The configuration of a cell's method, with its tuned fields."""
    config = presets.config_class(cell.method, cell.environment)
    fields = {field.name for field in dataclasses.fields(config)}
    numbers = {name: value for name, value in scale.numbers.items() if name in fields}
    return config(**(numbers | dict(tuned or {})))


def task(
    cell: Cell, scale: Scale, virtualtb_path: str, tuned: Mapping[str, Any] | None = None
) -> online_run.Task:
    """A cell as a run, with the tuned fields of its method."""
    return online_run.Task(
        environment=cell.environment,
        method=cell.method,
        seed=cell.seed,
        form=form(cell.environment, virtualtb_path),
        play=play(cell.environment, scale),
        numbers=method_config(cell, scale, tuned),
        final_sessions=scale.final_sessions[cell.environment],
        original_sessions=scale.original_sessions.get(cell.environment, 0),
    )


def together(cells: Sequence[Cell], scale: Scale) -> list[list[Cell]]:
    """Groups cells by process."""
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        key = (cell.environment, cell.seed) if scale.one_process else cell
        groups.setdefault(key, []).append(cell)
    return list(groups.values())
