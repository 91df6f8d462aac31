"""Results as tables: Markdown for people, CSV for spreadsheets, rich for the terminal."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape

import rich.box
import rich.console
import rich.table
import rich.text

from tfrec.report import results, style

DEFAULT_METRICS = ("reward", "ctr", "depth")


def markdown(
    policies: results.Policies,
    metrics: Sequence[str] = DEFAULT_METRICS,
    first: str = "Policy",
) -> str:
    """A Markdown table, `mean [low, high]` in each cell, a row for each policy.

    Args:
      policies: policy (or goal) -> metric -> mean, low, high.
      metrics: the columns; a dash for a metric that a policy lacks.
      first: heading of the first column.
    """
    headings, rows = _cells(policies, metrics, first)
    lines = [headings, ["---"] + ["---:"] * len(metrics), *rows]
    return "".join(f"| {' | '.join(_escape(cell) for cell in line)} |\n" for line in lines)


def html(policies: results.Policies, metrics: Sequence[str] = DEFAULT_METRICS) -> str:
    """The same table as HTML; arguments as in `markdown`."""
    headings, rows = _cells(policies, metrics, "Policy")
    lines = [("th", headings), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in line) for tag, line in lines)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"


def to_csv(policies: results.Policies, metrics: Sequence[str] = DEFAULT_METRICS) -> str:
    """CSV with full precision: policy, then mean, low and high of each metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("mean", "low", "high")
    writer.writerow(["policy"] + [f"{metric}_{part}" for metric in metrics for part in parts])
    for policy in style.ordered(policies):
        values = policies[policy]
        cells = [values[m][part] if m in values else "" for m in metrics for part in parts]
        writer.writerow([policy, *cells])
    return text.getvalue()


def rich_table(
    policies: results.Policies,
    metrics: Sequence[str] = DEFAULT_METRICS,
    title: str = "Mean and 95% interval over users and seeds",
    first: str = "Policy",
) -> rich.table.Table:
    """The same table for the terminal; arguments as in `markdown`."""
    headings, rows = _cells(policies, metrics, first)
    # Without lines and with narrow gaps, three columns fit 80 characters.
    table = rich.table.Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=rich.box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading.replace(" (", "\n("), justify="right")
    for row in rows:
        # Text, because brackets in a plain string are markup to rich.
        table.add_row(*(rich.text.Text(cell.replace(", ", ",")) for cell in row))
    return table


def show(
    policies: results.Policies,
    metrics: Sequence[str] = DEFAULT_METRICS,
    console: rich.console.Console | None = None,
) -> None:
    """Prints the table to the terminal."""
    (console or rich.console.Console()).print(rich_table(policies, metrics))


def _cells(
    policies: results.Policies, metrics: Sequence[str], first: str
) -> tuple[list[str], list[list[str]]]:
    names = style.ordered(policies)
    columns = []
    for metric in metrics:
        intervals = {name: policies[name][metric] for name in names if metric in policies[name]}
        format_number = style.formatter(interval["mean"] for interval in intervals.values())
        columns.append(
            [
                _interval(intervals[name], format_number) if name in intervals else "–"
                for name in names
            ]
        )
    headings = [first]
    headings += [f"{style.metric_name(m)} ({style.metric_unit(m)})" for m in metrics]
    rows = [
        [style.policy_name(name), *cells] for name, *cells in zip(names, *columns, strict=True)
    ]
    return headings, rows


def _interval(interval: Mapping[str, float], format_number: Callable[[float], str]) -> str:
    mean, low, high = (format_number(interval[part]) for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<", "&lt;")
