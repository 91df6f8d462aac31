r"""Prints the ranked list of an exported model, under one goal or two side by side.

    python -m launch.recommend --model=export/1 --history=i5,i7 \
        --feedback='click=1,0;watch_seconds=30,2' --goal=click --compare_goal=watch_seconds

The goal is a name, or weights in raw units: --weights=click@0=1,click@1..=0.5
An id with a comma needs double quotes, as in CSV: --history='"red, large",i7'
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import rich
from rich import columns as rich_columns
from rich import markup
from rich import table as rich_table

from launch import flags
from tfrec import errors
from tfrec.data import feature_encoding, text_columns
from tfrec.options import Options, option, required
from tfrec.report import style
from tfrec.serving import loaded, requests


@dataclasses.dataclass(frozen=True)
class RecommendConfig(Options):
    """One request to an exported model."""

    model: str = required("version folder of an exported model, e.g. export/1")
    history: tuple[str, ...] = option(
        (),
        "item ids of the user's last events, oldest first; one with a comma in double quotes",
    )
    feedback: str = option(
        "",
        "the user's feedback to each event, columns separated by semicolons, e.g. "
        "'click=1,0;watch_seconds=30,2' (raw units); 0 for absent columns",
    )
    step: int = option(0, "number of events that belong to the current session", at_least=0)
    user: tuple[str, ...] = option(
        (),
        "features of the user, who may be new, e.g. age=31,region=north; absent ones are "
        "missing; a value with a comma in double quotes",
    )
    context: tuple[str, ...] = option(
        (),
        "features of the context of the session, e.g. hour=14,device=phone; absent ones are "
        "missing; a value with a comma in double quotes",
    )
    goal: str = option("", "a named goal; by default the model's first")
    weights: tuple[str, ...] = option(
        (), "instead of a named goal, weights of one raw unit of measurements, e.g. click@0=1"
    )
    compare_goal: str = option("", "a second named goal to compare with the first")
    k: int = option(10, "number of items", at_least=1)
    candidates: tuple[str, ...] = option(
        (), "item ids of the candidates; empty for all items", distinct=True
    )
    exclude: tuple[str, ...] = option((), "item ids not to recommend", distinct=True)
    show: tuple[str, ...] = option(
        (),
        "measurements to show; empty for all measurements with a weight in the goals",
        distinct=True,
    )


flags.define(RecommendConfig)


def main(_):
    config = flags.read(RecommendConfig)
    model = loaded.ExportedModel(config.model)
    history = _ids(config.history, "history", model)
    request = requests.Request(
        history=history,
        feedback=_feedback(config.feedback, len(history), model),
        step=config.step,
        candidates=_ids(config.candidates, "candidates", model),
        exclude=_ids(config.exclude, "exclude", model),
        k=config.k,
        context_values=_context_values(config, model),
    )
    unknown = model.unknown((*request.history, *request.candidates, *request.exclude))
    if unknown:
        names = ", ".join(map(str, unknown))
        rich.print(f"[yellow]Not in the catalogue, left out: {markup.escape(names)}[/]")

    goal_requests = _goal_requests(config, request, model)
    answers = {name: model.rank([x])[0] for name, x in goal_requests.items()}
    columns = _shown_columns(config, goal_requests, model)
    tables = []
    first: list[requests.RawId] | None = None
    for name, answer in answers.items():
        tables.append(_table(name, answer, first, columns, model))
        first = first or answer.item
    rich.print(rich_columns.Columns(tables, padding=(0, 4)))


def _goal_requests(
    config: RecommendConfig, request: requests.Request, model: loaded.ExportedModel
) -> dict[str, requests.Request]:
    """Returns the request under each goal, by the goal's name."""
    named = tuple(model.manifest["named_goals"])
    for flag, name in (("goal", config.goal), ("compare_goal", config.compare_goal)):
        if name and name not in named:
            raise errors.UserError(
                f"--{flag}={name}: the model's goals are {', '.join(named) or 'not named'}"
            )
    if config.goal and config.weights:
        raise errors.UserError("--goal and --weights: give one of them")
    if config.weights:
        goal_requests = {
            " + ".join(config.weights): dataclasses.replace(
                request, weights=_weights(config.weights, model)
            )
        }
    elif config.goal or named:
        goal = config.goal or named[0]
        goal_requests = {goal: dataclasses.replace(request, goal_name=goal)}
    else:
        raise errors.UserError("--weights: required, as the model has no named goals")
    if config.compare_goal:
        goal_requests[config.compare_goal] = dataclasses.replace(
            request, goal_name=config.compare_goal
        )
    return goal_requests


def _ids(
    texts: tuple[str, ...], flag: str, model: loaded.ExportedModel
) -> tuple[requests.RawId, ...]:
    texts = tuple(map(text_columns.strip, texts))  # as in a log
    if "" in texts:
        raise errors.UserError(f"--{flag}: one of the item ids is empty")
    if model.item_dtype == "string":
        return texts
    for text in texts:
        if not _is_int64(text):
            raise errors.UserError(
                f"--{flag}: {text!r} is no item id; the ids of this model are whole numbers"
            )
    return tuple(map(int, texts))


def _is_int64(text: str) -> bool:
    """Whether a text is an integer id as a log writes it; `007` and `1_000` are not."""
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


def _feedback(
    text: str, events: int, model: loaded.ExportedModel
) -> tuple[tuple[float, ...], ...]:
    """Returns a row of F values for each event."""
    values = np.zeros((events, len(model.feedback_names)))
    names: set[str] = set()
    for part in filter(None, text.split(";")):
        name, _, numbers = part.partition("=")
        if name in names:
            raise errors.UserError(f"--feedback: {name} is given twice")
        names.add(name)
        if name not in model.feedback_names:
            raise errors.UserError(
                f"--feedback: {name!r} is not a column; there are "
                f"{', '.join(model.feedback_names)}"
            )
        try:
            column = [float(number) for number in numbers.split(",")]
        except ValueError as error:
            raise errors.UserError(f"--feedback: {name}: {error}") from None
        if len(column) != events:
            raise errors.UserError(
                f"--feedback: {name} has {len(column)} values for {events} events of --history"
            )
        values[:, model.feedback_names.index(name)] = column
    return tuple(tuple(row) for row in values.tolist())


def _context_values(config: RecommendConfig, model: loaded.ExportedModel) -> tuple[int, ...]:
    """Returns the numbers of the features of user and context; () without any."""
    encoders = model.state_encoder
    given = {
        flag: _columns(texts, flag, encoder) if texts else None
        for flag, texts, encoder in (
            ("user", config.user, encoders.user),
            ("context", config.context, encoders.context),
        )
    }
    try:
        return encoders.encode_one(**given)
    except errors.UserError as error:
        raise errors.UserError(f"--{error}") from error


def _columns(
    texts: tuple[str, ...], flag: str, encoder: feature_encoding.FeatureEncoder | None
) -> dict[str, Any]:
    """Returns the values of a flag by their columns."""
    columns = {code.column.name: code.column for code in encoder.codes} if encoder else {}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise errors.UserError(f"--{flag}: {text!r}; expected column=value")
        if name in values:
            raise errors.UserError(f"--{flag}: {name} is given twice")
        column = columns.get(name)
        is_number = column is not None and (column.kind == "number" or column.derived)
        values[name] = _number(value) if is_number else value
    return values


def _number(text: str) -> float | str | None:
    """A number of a flag; None if it is empty, the text itself if it is none."""
    try:
        return int(text) if _is_int64(text) else float(text) if text else None
    except ValueError:
        return text


def _weights(texts: tuple[str, ...], model: loaded.ExportedModel) -> tuple[float, ...]:
    weights = np.zeros(len(model.columns))
    names: set[str] = set()
    for text in texts:
        name, _, number = text.rpartition("=")
        if name in names:
            raise errors.UserError(f"--weights: {name} is given twice")
        names.add(name)
        _check_column(name, "weights", model)
        try:
            weights[model.columns.index(name)] = float(number)
        except ValueError as error:
            raise errors.UserError(f"--weights: {name}: {error}") from None
    return tuple(weights.tolist())


def _check_column(name: str, flag: str, model: loaded.ExportedModel) -> None:
    if name not in model.columns:
        scalars = [column for column in model.columns if not column.endswith("]")]
        raise errors.UserError(
            f"--{flag}: {name!r} is not a measurement; there are {', '.join(scalars)}"
        )


def _shown_columns(
    config: RecommendConfig,
    goal_requests: dict[str, requests.Request],
    model: loaded.ExportedModel,
) -> list[int]:
    """Returns which of the M measurement columns to print."""
    for name in config.show:
        _check_column(name, "show", model)
    if config.show:
        return [model.columns.index(name) for name in config.show]
    weighed = np.zeros(len(model.columns), bool)
    for request in goal_requests.values():
        goal = model.manifest["named_goals"].get(request.goal_name, request.weights)
        weighed |= np.array(goal) != 0
    return np.flatnonzero(weighed).tolist()


def _names(answer: loaded.Answer, model: loaded.ExportedModel) -> list[str]:
    """Returns the names of the answer's items, as markup; [] if the export has none."""
    described = model.descriptions
    if described is None or not described.name:
        return []
    return [markup.escape(item.name or "") for item in described.of(answer.item)]


def _table(
    title: str,
    answer: loaded.Answer,
    first: list[requests.RawId] | None,
    columns: list[int],
    model: loaded.ExportedModel,
) -> rich_table.Table:
    """Returns a table of a ranked list, with each item's rank in the first list."""
    table = rich_table.Table(title=markup.escape(title))
    table.add_column("", justify="right")
    table.add_column("item")
    names = _names(answer, model)
    if names:
        table.add_column("name")
    if first is not None:
        table.add_column("was", justify="right")
    table.add_column("score", justify="right")
    for column in columns:
        table.add_column(
            markup.escape(f"{model.columns[column]}\n{model.units[column]}"), justify="right"
        )
    format_score = style.formatter(answer.score, least=3)
    for row, item in enumerate(answer.item):
        first_rank = (
            [] if first is None else [str(first.index(item) + 1) if item in first else "-"]
        )
        table.add_row(
            str(row + 1),
            markup.escape(str(item)),
            *names[row : row + 1],
            *first_rank,
            format_score(answer.score[row]),
            *(f"{answer.measurements[row, column]:.3g}" for column in columns),
        )
    return table


if __name__ == "__main__":
    flags.run(main)
