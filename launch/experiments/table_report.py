"""The cells of the tables, their budget, and the report of finished cells."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from launch.experiments import (
    table_learning,
    table_plan,
    table_results,
    table_settings,
)
from launch.experiments.table_plan import Cell, Scale
from tfgoalrec import claims, published
from tfrec import outputs, types
from tfrec.data import storage
from tfrec.environments import controls
from tfrec.methods import studies
from tfrec.metrics import session as metrics
from tfrec.report import comparison, page, plots, style

_TITLES = {
    "vanilla": "Table 1: vanilla",
    "high_dimensional": "Table 2: high-dimensional",
    "high_variance": "Table 3: high-variance",
    "high_variance_literal": "Table 3, noise to the letter",
}
_SHARES = (
    "Of the reward, on the test users; in brackets the 95% interval over users and seeds, with "
    "the uncertainty of both ends."
)
# Measured with one thread on the real samples; used for the printed estimate alone.
_STEPS_PER_SECOND = 4_000  # of play, state of 20 events, a thousand candidates
_UPDATES_PER_SECOND = 40
_SECONDS_PER_CELL = 25.0  # imports and tracing


def plan(
    numbers: Sequence[int], data_sets: Sequence[str], methods: Sequence[str], scale: Scale
) -> list[Cell]:
    """Returns every cell of the tables, seed by seed, so that early cells fill every row."""
    for name in methods:
        table_plan.row(name)
    environments = [
        (environment, [m for m in table_plan.IN_TABLE[table] if not methods or m in methods])
        for table in sorted(set(numbers))
        for environment in table_plan.ENVIRONMENTS[table]
    ]
    return [
        Cell(data_set, environment, method, seed)
        for seed in range(scale.seeds)
        for environment, rows in environments
        for data_set in data_sets
        for method in (*table_plan.DATA_SETS[data_set].controls, *rows)
        # Controls are evaluated without noise, where they equal those of the vanilla world.
        if not (method in controls.NAMES and environment.startswith("high_variance"))
    ]


def together(cells: Sequence[Cell], scale: Scale) -> list[list[Cell]]:
    """Groups cells by process: one for the controls of a table, and one for each method.

    At a scale of `one_process` the methods share the process of the controls.
    """
    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        shared = scale.one_process or cell.method in controls.NAMES
        key = cell._replace(method="") if shared else cell
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def to_tune(cells: Sequence[Cell], scale: Scale) -> list[tuple[str, str]]:
    """Returns the pairs of data set and method to tune; none without trials."""
    if not scale.trials:
        return []
    pairs = {(c.data_set, c.method): None for c in cells if c.method not in controls.NAMES}
    return list(pairs)


def untuned(out: pathlib.Path, cells: Sequence[Cell], scale: Scale) -> list[tuple[str, str]]:
    """Returns the pairs of `to_tune` that lack some of their trials."""
    return [
        (data_set, method)
        for data_set, method in to_tune(cells, scale)
        if not studies.is_finished(out / data_set / "tuning" / method, scale.trials)
    ]


def budget(cells: Sequence[Cell], scale: Scale, jobs: int) -> str:
    """Describes the time and memory that the cells need."""
    learned = [cell for cell in cells if cell.method not in controls.NAMES]
    tuning = len(to_tune(cells, scale)) * scale.trials
    sessions = scale.sessions_per_round * scale.play_rounds
    rounds = scale.log_rounds + scale.play_rounds
    depth = float(np.mean([_DEPTHS.get(cell.data_set, 30) for cell in learned] or [0]))
    seconds = _SECONDS_PER_CELL + rounds * scale.updates_per_round / _UPDATES_PER_SECOND
    played = sessions + scale.test_users * scale.sessions_per_user
    seconds += played * depth / _STEPS_PER_SECOND
    hours = (len(learned) + tuning) * seconds / jobs / 3600
    # Each process holds TensorFlow, the log and the replay, about 200 bytes for each step of a
    # session of mean depth.
    gigabytes = 1.0 + 2e-7 * scale.replay_sessions * depth
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
    """Writes tables (Markdown, CSV), plots and the page of all finished cells.

    Returns:
      The number of finished cells.
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
            "Intervals are 95%, paired over users and seeds. A verdict counts p after Holm's "
            "correction for all claims about differences, which stands last. The mean over "
            "the data sets, which the paper's printed differences are too, has a correction "
            "for the claims of its own column; it says nothing about further data sets.\n\n"
        )
        sections.append(
            page.Section("The paper's claims", text + claims.markdown(evaluated, titles))
        )
        if "goalrec_paper" in {cell.method for cell in done}:
            of_paper = claims.markdown(_as_goalrec(evaluated, "goalrec_paper"), titles)
            sections.append(
                page.Section("The same claims of GoalRec, as in the paper", text + of_paper)
            )
    page.write(out, "GoalRec against its field", _introduction(out, titles, scale), sections)
    return len(done)


def _as_goalrec(evaluated: claims.ByEnvironment, row: str) -> claims.ByEnvironment:
    """The results with those of a row in the place of GoalRec's."""
    return {
        environment: {
            data_set: {**by_method, "goalrec": by_method.get(row, [])}
            for data_set, by_method in by_data_set.items()
        }
        for environment, by_data_set in evaluated.items()
    }


def _spec(out: pathlib.Path, name: str, environment: str) -> types.DataSpec:
    """The spec of the prepared data of an environment."""
    folder = table_settings.folder(out, name, environment)
    return storage.PreparedData.open(folder / "data").spec


def _introduction(out: pathlib.Path, titles: dict[str, str], scale: Scale) -> str:
    # Candidates are counted for each log below, as a log may have fewer items than the scale.
    fields = {
        name: value
        for name, value in dataclasses.asdict(scale).items()
        if type(value) is int and not name.endswith("candidates")
    }
    numbers = ", ".join(f"{name} {value:,}" for name, value in fields.items())
    options = ", ".join(f"{name} {value}" for name, value in scale.options.items())
    lines = [
        "Mean ± standard deviation over seeds; in brackets the printed value (its depth is "
        "reward / CTR). Ours are sessions of users fitted on the given log, or of a named "
        "world, so the numbers compare methods with each other and not with the paper's.",
        "",
        f"Sizes, the same for every method: {numbers}.",
        *([f"Options of every method that has them: {options}."] if options else []),
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
                table_settings.candidates(
                    name, environment, scale, _spec(out, name, environment)
                )
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
    """Returns the section of an environment, and writes its table files and plots."""
    rows = style.ordered({c.method: None for c in cells if c.environment == environment})

    def printed(method: str, data_set: str) -> comparison.Printed | None:
        column = table_plan.DATA_SETS[data_set].paper
        cell = published.TABLES.get(environment, {}).get(method, {}).get(column)
        return cell and comparison.Printed(cell.reward[0], cell.ctr[0], cell.depth)

    table = comparison.markdown(evaluated, rows, titles, printed, scale.seeds)
    learned = [row for row in rows if row not in controls.NAMES]
    others = [row for row in learned if row != "goalrec"]
    text = table
    if shares := comparison.shares(evaluated, rows, titles):
        text += f"\n{shares}\n{_SHARES}\n"
    if "goalrec" in learned and others:
        text += "\n" + comparison.against(evaluated, "goalrec", others, titles)
    for suffix, content in (
        ("md", table),
        ("csv", comparison.to_csv(evaluated, rows, titles, printed)),
    ):
        with outputs.replacing_file(out / f"{environment}.{suffix}") as temporary:
            temporary.write_text(content, encoding="utf-8")
    pictures = []
    for name, title in titles.items():
        by_method = evaluated.get(name, {})
        if not by_method:
            continue
        summaries = {
            method: metrics.summarise(by_seed) for method, by_seed in by_method.items()
        }
        figure = plots.policies(summaries, title=title, seeds=max(map(len, by_method.values())))
        path = plots.save(figure, out / f"{environment}_{name}.png")
        caption = (
            f"{title}: reward, CTR and depth. A click stands for "
            f"{table_plan.DATA_SETS[name].reward}."
        )
        pictures.append(page.Picture(path, title, caption))
        folders = {
            method: _folders(out, cells, environment, name, method) for method in learned
        }
        levels = {
            control: summaries[control]["reward"]["mean"]
            for control in controls.NAMES
            if control in summaries
        }
        curves = table_learning.read(folders, levels)
        if curves.rewards:
            text += f"\n{table_learning.markdown(title, curves, scale)}"
            pictures.append(
                table_learning.plot(
                    out / f"{environment}_{name}_learning.png", title, curves, scale
                )
            )
    return page.Section(_TITLES[environment], text, pictures)


def _folders(
    out: pathlib.Path, cells: Sequence[Cell], environment: str, data_set: str, method: str
) -> list[pathlib.Path]:
    key = (environment, data_set, method)
    return [
        cell.folder(out)
        for cell in cells
        if (cell.environment, cell.data_set, cell.method) == key and cell.result(out).exists()
    ]
