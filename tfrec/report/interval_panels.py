"""Tables and figures of named rows with a mean and an interval in each of some columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tfrec.report import plots

Values = Mapping[str, Mapping[str, Any]]  # row -> column -> mean, low and high
_HIGHLIGHT, _OTHER, _REFERENCE = "#117733", "#6699CC", "#555555"


def markdown(values: Values, columns: Sequence[str], first: str, places: int) -> str:
    """A Markdown table, `mean [low, high]` in each cell; a dash where a row has no value.

    Args:
      values: rows, in order.
      columns: the columns, in order.
      first: heading of the first column.
      places: decimals.
    """
    rows = [[first, *columns], ["---"] + ["---:"] * len(columns)]
    for name, by_column in values.items():
        cells = [
            "{mean:.{n}f} [{low:.{n}f}, {high:.{n}f}]".format(n=places, **by_column[column])
            if column in by_column
            else "–"
            for column in columns
        ]
        rows.append([name, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


@plots.styled
def figure(
    values: Values,
    columns: Sequence[str],
    *,
    xlabel: str,
    title: str,
    absent: str,
    places: int,
    references: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    lines: Sequence[float] = (),
) -> Figure:
    """A panel for each column, with a dot and its interval for each row.

    Rows with features are green and the others blue.

    Args:
      values: rows, in order.
      columns: the panels, in order.
      xlabel: label of each horizontal axis.
      title: above the panels.
      absent: words where a row has no value.
      places: decimals of the numbers beside the dots.
      references: rows in grey.
      limits: of the horizontal axes; by default those of the data.
      lines: values at which a vertical line is drawn; dashed but for the first.
    """
    made = Figure(figsize=(11.0, 0.45 * len(values) + 1.7), layout="constrained")
    panels = made.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for row, (name, by_column) in enumerate(values.items()):
            if column not in by_column:
                axes.annotate(absent, (0.02, row), xycoords=("axes fraction", "data"),
                              va="center", color="#666666")  # fmt: skip
                continue
            mean, low, high = (by_column[column][x] for x in ("mean", "low", "high"))
            colour = _HIGHLIGHT if "with features" in name else _OTHER
            colour = _REFERENCE if name in references else colour
            axes.plot(mean, row, "o", color=colour)
            axes.hlines(row, low, high, color=colour)
            axes.annotate(f"{mean:.{places}f}", (mean, row), (0, 7), ha="center", fontsize=9,
                          textcoords="offset points")  # fmt: skip
        axes.set_title(column)
        axes.set_ylim(len(values) - 0.5, -0.7)
        if limits:
            axes.set_xlim(*limits)
        for place, value in enumerate(lines):
            axes.axvline(value, color="#666666", linewidth=1.0, ls="--" if place else "-")
        axes.set_xlabel(xlabel)
        axes.set_yticks(range(len(values)), list(values))
        axes.grid(axis="y", visible=False)
    made.suptitle(title, x=0.01, ha="left")
    return made
