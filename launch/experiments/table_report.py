"""The cells of the tables, their budget, and the report of finished cells."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from launch.experiments import table_plan, table_results, table_settings
from launch.experiments.table_plan import Cell, Scale
from tfgoalrec import claims, published
from tfrec import outputs
from tfrec.data import storage
from tfrec.environments import controls
from tfrec.methods import registry
from tfrec.metrics import session as metrics
from tfrec.report import comparison, page, plots, style

_TITLES = {
    "vanilla": "Table 1: vanilla",
    "high_dimensional": "Table 2: high-dimensional",
    "high_variance": "Table 3: high-variance",
    "high_variance_literal": "Table 3, noise to the letter",
}
# Measured with one thread on the real samples; for the estimate that is printed only.
_STEPS_PER_SECOND = 4_000  # of play, state of 20 events, a thousand candidates
_UPDATES_PER_SECOND = 40
_SECONDS_PER_CELL = 25.0  # imports and tracing


def plan(
    numbers: Sequence[int], data_sets: Sequence[str], chosen: Sequence[str], scale: Scale
) -> list[Cell]:
    """Every cell of the tables, seed by seed, so that early ones already fill every row."""
    for name in chosen:
        registry.get(name)
    environments = [
        (environment, [m for m in table_plan.IN_TABLE[table] if not chosen or m in chosen])
        for table in sorted(set(numbers))
        for environment in table_plan.ENVIRONMENTS[table]
    ]
    return [
        Cell(data_set, environment, method, seed)
        for seed in range(scale.seeds)
        for environment, found in environments
        for data_set in data_sets
        for method in (*table_plan.DATA_SETS[data_set].controls, *found)
        # Controls are evaluated without noise, where they are as in the vanilla world.
        if not (method in controls.NAMES and environment.startswith("high_variance"))
    ]


def together(cells: Sequence[Cell], scale: Scale) -> list[list[Cell]]:
    """Cells as processes run them: the controls of a table share one, a method has its own.

    At a scale of `one_process` all methods share the controls'.
    """
    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        shared = scale.one_process or cell.method in controls.NAMES
        key = cell._replace(method="") if shared else cell
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def to_tune(cells: Sequence[Cell], scale: Scale) -> list[tuple[str, str]]:
    """Each data set and method that tuning tries settings for; none with no trials."""
    if not scale.trials:
        return []
    pairs = {(c.data_set, c.method): None for c in cells if c.method not in controls.NAMES}
    return list(pairs)


def tuned(out: pathlib.Path, data_set: str, method: str, trials: int) -> bool:
    """Whether a method had its trials on a data set."""
    path = out / data_set / "tuning" / method / "best.json"
    return path.exists() and json.loads(path.read_text())["trials"] >= trials


def budget(cells: Sequence[Cell], scale: Scale, jobs: int) -> str:
    """What the cells will need, in words."""
    learned = [cell for cell in cells if cell.method not in controls.NAMES]
    tuning = len(to_tune(cells, scale)) * scale.trials
    sessions = scale.sessions_per_round * scale.play_rounds
    rounds = scale.log_rounds + scale.play_rounds
    depth = float(np.mean([_DEPTHS.get(cell.data_set, 30) for cell in learned] or [0]))
    seconds = _SECONDS_PER_CELL + rounds * scale.updates_per_round / _UPDATES_PER_SECOND
    played = sessions + scale.test_users * scale.sessions_per_user
    seconds += played * depth / _STEPS_PER_SECOND
    hours = (len(learned) + tuning) * seconds / jobs / 3600
    # Each process holds the log, the replay and TensorFlow.
    gigabytes = 1.0 + 5e-9 * max(4096, scale.sessions_per_round) * 300 * 40
    return (
        f"{len(learned)} runs of methods and {tuning} of tuning ({scale.trials} settings for "
        f"each method and data set), each of {rounds * scale.updates_per_round:,} updates and "
        f"{sessions:,} played sessions, then {scale.test_users:,} test users x "
        f"{scale.sessions_per_user} sessions; {len(cells) - len(learned)} runs of controls.\n"
        f"Roughly {hours:.1f} hours with {jobs} at once, {jobs * gigabytes:.1f} GB of memory."
    )


_DEPTHS = {"movielens": 50, "taobao": 120, "yoochoose": 100}


def write(
    out: pathlib.Path, cells: Sequence[Cell], data_sets: Sequence[str], scale: Scale
) -> int:
    """Writes tables (Markdown, CSV), plots and the page of all cells that are done.

    Returns:
      How many are done.
    """
    done = [cell for cell in cells if cell.result(out).exists()]
    evaluated: dict[str, dict[str, dict[str, list[metrics.Sessions]]]] = {}
    for cell in sorted(done, key=lambda cell: cell.seed):
        by_method = evaluated.setdefault(cell.environment, {}).setdefault(cell.data_set, {})
        by_method.setdefault(cell.method, []).append(table_results.sessions(out, cell))
    titles = {name: table_plan.DATA_SETS[name].title for name in data_sets}
    environments = list(dict.fromkeys(cell.environment for cell in cells))
    out.mkdir(parents=True, exist_ok=True)
    sections = [
        _section(out, environment, cells, evaluated.get(environment, {}), titles, scale)
        for environment in environments
    ]
    if "vanilla" in environments:
        text = (
            "Intervals are 95%, paired over users and seeds, and not corrected for the "
            "number of claims.\n\n"
        )
        sections.append(
            page.Section("The paper's claims", text + claims.markdown(evaluated, titles))
        )
    page.write(out, "GoalRec against its field", _introduction(out, titles, scale), sections)
    return len(done)


def _introduction(out: pathlib.Path, titles: dict[str, str], scale: Scale) -> str:
    # Candidates are counted for each log below: a log may have fewer items than are asked for.
    fields = {
        name: value
        for name, value in dataclasses.asdict(scale).items()
        if type(value) is int and not name.endswith("candidates")
    }
    numbers = ", ".join(f"{name} {value:,}" for name, value in fields.items())
    settings = ", ".join(f"{name} {value}" for name, value in scale.goalrec.items())
    lines = [
        "Mean ± standard deviation over seeds; in brackets what the paper printed (its depth "
        "is reward / CTR). Ours are sessions of users fitted on the log at hand, so the "
        "numbers compare methods with each other and not with the paper's.",
        "",
        f"Every method had the same of everything: {numbers}.",
        *(
            [f"GoalRec alone starts from settings that are not its defaults: {settings}."]
            if settings
            else []
        ),
        "",
    ]
    notes = {controls.note(table_plan.DATA_SETS[name].controls) for name in titles}
    lines += [*sorted(notes), ""]
    for name, title in titles.items():
        folder = out / name / "data"
        if (folder / "manifest.json").exists():
            data = storage.PreparedData.open(folder)
            entry = data.manifest["splits"]["train"]
            reward = table_plan.DATA_SETS[name].reward
            few, many = (
                table_settings.candidates(environment, scale, data.spec)
                for environment in ("vanilla", "high_dimensional")
            )
            lines.append(
                f"- {title}: {data.manifest['source']}, {data.spec.num_items:,} items "
                f"(candidates: {few:,}, high-dimensional {many:,}), "
                f"{entry['sessions']:,} training sessions of {entry['users']:,} users; the "
                f"reward counts {reward} (`{data.spec.feedback_names[0]}`)."
            )
    return "\n".join(lines)


def _section(
    out: pathlib.Path,
    environment: str,
    cells: Sequence[Cell],
    evaluated: comparison.Evaluated,
    titles: dict[str, str],
    scale: Scale,
) -> page.Section:
    """One environment: its table, significance and plots; also table files beside."""
    rows = style.ordered({c.method: None for c in cells if c.environment == environment})

    def printed(method: str, data_set: str) -> comparison.Printed | None:
        cell = published.TABLES.get(environment, {}).get(method, {}).get(data_set)
        return cell and comparison.Printed(cell.reward[0], cell.ctr[0], cell.depth)

    table = comparison.markdown(evaluated, rows, titles, printed, scale.seeds)
    learned = [row for row in rows if row not in controls.NAMES]
    others = [row for row in learned if row != "goalrec"]
    text = table
    if "goalrec" in learned and others:
        text += "\n" + comparison.against(evaluated, "goalrec", others, titles)
    stem = environment
    for suffix, content in (
        ("md", table),
        ("csv", comparison.to_csv(evaluated, rows, titles, printed)),
    ):
        with outputs.replacing_file(out / f"{stem}.{suffix}") as temporary:
            temporary.write_text(content, encoding="utf-8")
    pictures = []
    for name, title in titles.items():
        found = evaluated.get(name, {})
        if not found:
            continue
        summaries = {method: metrics.summarise(by_seed) for method, by_seed in found.items()}
        figure = plots.policies(summaries, title=title, seeds=max(map(len, found.values())))
        path = plots.save(figure, out / f"{stem}_{name}.png")
        caption = (
            f"{title}: reward, CTR and depth. A click stands for "
            f"{table_plan.DATA_SETS[name].reward}."
        )
        pictures.append(page.Picture(path, title, caption))
        curves = {
            method: plots.played([cell_folder / "metrics.jsonl" for cell_folder in folders])
            for method in learned
            if (folders := _folders(out, cells, environment, name, method))
        }
        curves = {method: curve for method, curve in curves.items() if curve.size}
        if curves:
            longest = max(curve.shape[1] for curve in curves.values())
            levels = {
                control: summaries[control]["reward"]["mean"]
                for control in controls.NAMES
                if control in summaries
            }
            figure = plots.learning_curve(
                range(1, longest + 1),
                {method: _padded(curve, longest) for method, curve in curves.items()},
                levels,
                xlabel="rounds of play",
                title=f"{title}: reward while playing and learning",
            )
            path = plots.save(figure, out / f"{stem}_{name}_learning.png")
            caption = f"{title}: each round's sessions, exploration included."
            if environment.startswith("high_variance"):
                caption += " Rewards as methods are paid them: late and with noise."
            pictures.append(page.Picture(path, f"{title}, learning", caption))
    return page.Section(_TITLES[environment], text, pictures)


def _folders(
    out: pathlib.Path, cells: Sequence[Cell], environment: str, data_set: str, method: str
) -> list[pathlib.Path]:
    wanted = (environment, data_set, method)
    return [
        cell.folder(out)
        for cell in cells
        if (cell.environment, cell.data_set, cell.method) == wanted
        and cell.result(out).exists()
    ]


def _padded(curve: np.ndarray, width: int) -> np.ndarray:
    return np.pad(curve, [(0, 0), (0, width - curve.shape[1])], constant_values=np.nan)
