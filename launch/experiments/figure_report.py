"""Report of a figure's runs: curves with bands over seeds, levels of controls, a table."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from launch.experiments import figure_tuning
from tfrec import outputs
from tfrec.methods import online_result
from tfrec.metrics import intervals
from tfrec.report import comparison, plots, style

_PLACES = ("port", "original")
# What a part buys: the question, the row with the part, and the row without it.
_QUESTIONS = (
    ("augmentation, without empowerment", "imrl_e", "imrl_ea"),
    ("the exchange, beside as many copies", "imrl_e", "imrl_e_copies"),
    ("empowerment, without augmentation", "imrl_a", "imrl_ea"),
    ("its gradient, through a forward model", "imrl_a_forward", "imrl_ea"),
    ("a bonus of a tenth of the reward", "imrl_a_tenth", "imrl_ea"),
    ("equation 12 as printed", "imrl_a_faithful", "imrl_ea"),
    ("both parts", "imrl", "imrl_ea"),
)


class Panel(NamedTuple):
    """One environment in a figure.

    Attributes:
      environment: name of the environment.
      title: title of the plots.
      runs: method -> folders of its finished runs, one for each seed.
      titles: method -> displayed name.
      tuned: method -> content of its best.json; empty without tuning.
      controls: control -> result of `online_run.final_test`, and under `tests` its values in
        the curves' tests; empty where they were not run.
      seeds: planned number of runs of each method.
    """

    environment: str
    title: str
    runs: Mapping[str, Sequence[pathlib.Path]]
    titles: Mapping[str, str]
    tuned: Mapping[str, Mapping[str, Any]]
    controls: Mapping[str, Mapping[str, Mapping[str, float]]]
    seeds: int


class Curve(NamedTuple):
    """A method's tests during training.

    Attributes:
      sessions: float [E], training sessions at each test, mean over seeds.
      steps: float [E], recommendations before each test.
      values: metric -> float [S, E].
    """

    sessions: np.ndarray
    steps: np.ndarray
    values: dict[str, np.ndarray]


def curve(folders: Sequence[pathlib.Path]) -> Curve:
    """Returns the tests of a method's seeds, which have the same number of tests."""
    frames = [online_result.tests(folder) for folder in folders]

    def column(name: str) -> np.ndarray:
        return np.stack([frame[name].to_numpy().astype(float) for frame in frames])

    values = {name: column(name) for name in online_result.METRICS}
    return Curve(column("sessions").mean(0), column("steps").mean(0), values)


def steps_to_share(
    steps: np.ndarray, values: np.ndarray, random: float, share: float = 0.9
) -> np.ndarray:
    """Returns the steps to the first test at a share of the gain of the last test over random.

    Args:
      steps: float [E].
      values: float [S, E].
      random: level of the random policy.
      share: share of the gain.

    Returns:
      Float [S]; NaN for a seed whose last test is not above random.
    """
    goal = random + share * (values[:, -1:] - random)
    first = (values >= goal).argmax(axis=1)
    return np.where(values[:, -1] > random, steps[first], np.nan)


@plots.styled
def plot(panel: Panel, metric: str, curves: Mapping[str, Curve]) -> Figure:
    """Plots curves over training sessions: mean over seeds, with the range shaded."""
    figure = Figure(figsize=(8.4, 5.4), layout="constrained")
    axes = figure.subplots()
    for method, tests in curves.items():
        colour, values = style.policy_colour(method), tests.values[metric]
        label = f"{panel.titles[method]} ({len(values)} of {panel.seeds} seeds)"
        axes.plot(tests.sessions, values.mean(0), color=colour, linewidth=2, label=label)
        axes.fill_between(
            tests.sessions, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0
        )
    levels = [level["tests"][metric] for level in panel.controls.values()]
    for level in levels:
        axes.axhline(level, color="#555555", linestyle="--", linewidth=1.2)
    bottom, top = axes.get_ylim()
    beside = plots.apart(levels, (top - bottom) / 35)  # a line of text each
    for control, height in zip(panel.controls, beside, strict=True):
        axes.annotate(style.policy_name(control), (1, height), (4, 0), va="center", fontsize=8,
                      xycoords=("axes fraction", "data"), textcoords="offset points",
                      annotation_clip=False)  # fmt: skip
    absent = [panel.titles[m] for m, folders in panel.runs.items() if not folders]
    if not panel.controls:
        absent.append("controls")
    if absent:
        axes.plot([], [], " ", label=f"not run: {', '.join(absent)}")
    axes.margins(x=0.02)
    axes.set_xlabel("training sessions (the paper tests after every ten)")
    axes.set_ylabel(online_result.METRICS[metric])
    axes.set_title(f"{panel.title}: tests during training (range of seeds shaded)")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def write(out: pathlib.Path, figure: int, panels: Sequence[Panel]) -> None:
    """Writes a figure's plots, its CSV of every test and its table of final tests."""
    out.mkdir(parents=True, exist_ok=True)
    frames, text = [], [f"# Figure {figure}\n"]
    for panel in panels:
        curves = {m: curve(folders) for m, folders in panel.runs.items() if folders}
        for metric in online_result.METRICS:
            path = out / f"figure{figure}_{panel.environment}_{metric}.png"
            plots.save(plot(panel, metric, curves), path)
        for method, folders in panel.runs.items():
            frames += [
                online_result.tests(folder).select(
                    pl.lit(panel.environment).alias("environment"),
                    pl.lit(method).alias("method"),
                    pl.lit(int(folder.name.removeprefix("seed"))).alias("seed"),
                    pl.all(),
                )
                for folder in folders
            ]
        text += [_table(panel, curves), _differences(panel), _settings(panel)]
    with outputs.replacing_file(out / f"figure{figure}.md") as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")
    if frames:
        with outputs.replacing_file(out / f"figure{figure}.csv") as temporary:
            with temporary.open("wb") as file:  # polars expands `~` in a path
                pl.concat(frames).write_csv(file)


def _table(panel: Panel, curves: Mapping[str, Curve]) -> str:
    """Returns a table of final tests, and of the steps to 90% of their gain."""
    lines = [
        f"## {panel.title}\n",
        "Final tests: mean ± standard deviation over seeds; of controls ± standard error. "
        "Steps: recommendations until a test reached 90% of the last test's gain over random, "
        "mean and range over seeds.\n",
        "| | CTR | reward | original CTR | original reward | steps to 90% | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for control, level in panel.controls.items():
        values = [
            _spread([level[place][m]], level[place][f"{m}_error"]) if place in level else ""
            for place in _PLACES
            for m in online_result.METRICS
        ]
        lines.append(f"| {style.policy_name(control)} | {' | '.join(values)} | | |")
    for method, folders in panel.runs.items():
        title = panel.titles[method]
        if not folders:
            lines.append(f"| {title} | not run | not run | | | | 0 of {panel.seeds} |")
            continue
        tests = [json.loads((f / "result.json").read_text())["tests"] for f in folders]
        cells = [
            _spread([test[place][metric] for test in tests if place in test])
            for place in _PLACES
            for metric in online_result.METRICS
        ]
        steps = ""
        if "random" in panel.controls:
            tested, random = curves[method], panel.controls["random"]["tests"]["reward"]
            by_seed = steps_to_share(tested.steps, tested.values["reward"], random)
            by_seed = by_seed[np.isfinite(by_seed)]
            if by_seed.size:
                steps = f"{by_seed.mean():,.0f} ({by_seed.min():,.0f} to {by_seed.max():,.0f})"
        lines.append(
            f"| {title} | {' | '.join(cells)} | {steps} | {len(folders)} of {panel.seeds} |"
        )
    return "\n".join(lines) + "\n"


def differences(panel: Panel) -> dict[str, intervals.Interval]:
    """Paired differences of the final tests' reward, over seeds: question -> interval.

    Seeds that both rows have are paired: they share their start and the sessions of the test.
    A question with fewer than two such seeds is left out.
    """

    def rewards(method: str) -> dict[str, float]:
        results = {f.name: f / "result.json" for f in panel.runs.get(method, ())}
        return {
            seed: json.loads(path.read_text())["tests"]["port"]["reward"]
            for seed, path in results.items()
        }

    found = {}
    for question, method, other in _QUESTIONS:
        having, lacking = rewards(method), rewards(other)
        shared = sorted(having.keys() & lacking.keys())
        if len(shared) > 1:
            values = np.array([having[seed] - lacking[seed] for seed in shared])
            found[question] = intervals.of_mean(values)
    return found


def _differences(panel: Panel) -> str:
    """Returns a table of what the parts of IMRL buy; empty without two seeds of any."""
    found = differences(panel)
    if not found:
        return ""
    corrected = comparison.holm([interval.p_value for interval in found.values()])
    lines = [
        "What the parts of IMRL buy: paired differences of the reward, 95% interval over seeds "
        "(Student's t), p by Holm's correction for this table, and the smallest difference "
        "that as many seeds detect with 80% power.\n",
        "| | difference | p | detectable |",
        "|---|---|---|---|",
    ]
    for (question, interval), p in zip(found.items(), corrected, strict=True):
        lines.append(
            f"| {question} | {interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}] | "
            f"{p:.3f} | {interval.detectable:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _settings(panel: Panel) -> str:
    """Returns a table of the tuned settings."""
    if not panel.tuned:
        return "Every method has the numbers of its preset; none was tuned.\n"
    lines = [
        "Settings, by the score of half a run on validation sessions. The preset is the first "
        "one tried; IMRL's setting is that of its ablations and controls, too.\n",
        "| | tried | score | of the preset | chosen |",
        "|---|---|---|---|---|",
    ]
    for method, best in panel.tuned.items():
        chosen = ", ".join(f"{field}={value}" for field, value in best["overrides"].items())
        lines.append(
            f"| {panel.titles[method]} | {best['trials']} | {best['score']:.4g} | "
            f"{best['default_score']:.4g} | {chosen} |"
        )
    absent = [m for m in panel.runs if figure_tuning.tuned_as(m) not in panel.tuned]
    if absent:
        lines.append("\nNot tuned: " + ", ".join(panel.titles[m] for m in absent) + ".")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], error: float | None = None) -> str:
    if not values:
        return ""
    mean = float(np.mean(values))
    places = max(style.decimals([mean]), 5 if abs(mean) < 0.1 else 0)
    if error is None:
        error = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return f"{mean:.{places}f}" + (f" ± {error:.{places}f}" if error is not None else "")
