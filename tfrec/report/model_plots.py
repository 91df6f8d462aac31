"""Plots of models: errors of predictions and their reliability."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfrec.metrics import reliability as reliability_metrics
from tfrec.report import plots, style

_SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


@plots.styled
def measurement_error(
    names: Sequence[str],
    errors: Mapping[str, Sequence[float]],
    title: str = "Measurement error",
) -> Figure:
    """Prediction error of each measurement, beside that of its mean.

    Args:
      names: the J measurements.
      errors: evaluated users (training, test, ...) -> [J], root mean squared error in units
        of the measurement's standard deviation.
      title: title of the plot.
    """
    figure = Figure(figsize=(7.2, 0.5 * len(names) + 1.9), layout="constrained")
    axes = figure.subplots()
    rows, thick = np.arange(len(names)), 0.8 / len(errors)
    for number, (label, values) in enumerate(errors.items()):
        at = rows + (number - (len(errors) - 1) / 2) * thick
        axes.barh(at, values, height=thick * 0.92, label=label, color=_SERIES[number % 4])
        for row, value in zip(at, values, strict=True):
            axes.annotate(f"{value:.2f}", (value, row), (4, 0), textcoords="offset points",
                          va="center", fontsize=8.5, zorder=5,
                          bbox={"color": "white", "pad": 1})  # fmt: skip
    axes.axvline(1.0, color="#333333", linestyle="--", linewidth=1.2)
    axes.annotate("predicting the mean", (1.0, 1.0), (4, 3), fontsize=8.5, va="bottom",
                  xycoords=("data", "axes fraction"), textcoords="offset points",
                  ha="center", color="#333333")  # fmt: skip
    axes.set_yticks(rows, [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    largest = max(max(values) for values in errors.values())
    axes.set_xlim(0, max(1.15, 1.12 * largest))
    axes.set_xlabel("root mean squared error (standard deviations of the measurement)")
    axes.set_title(title, pad=18)
    if len(errors) > 1:
        figure.legend(loc="outside lower center", ncols=len(errors), fontsize=9)
    return figure


@plots.styled
def reliability(
    curves: Mapping[str, reliability_metrics.ReliabilityCurve],
    units: Mapping[str, str] | None = None,
    title: str = "Predicted against observed",
) -> Figure:
    """Reliability curves with a panel for each head; the diagonal is perfect.

    Args:
      curves: head (click, exit, a feedback column) -> its curve.
      units: head -> unit of its values; `probability` by default.
      title: title above the panels.
    """
    figure = Figure(figsize=(3.5 * len(curves) + 1.0, 4.0), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(curves)))
    for number, (axes, (head, curve)) in enumerate(zip(panels, curves.items(), strict=True)):
        unit = (units or {}).get(head, "probability")
        top = 1.06 * max(curve.predicted.max(), curve.high.max()) or 1.0
        bottom = min(0.0, curve.predicted.min(), curve.low.min())
        axes.plot([bottom, top], [bottom, top], color="#888888", linestyle="--", linewidth=1.2)
        arms = np.maximum([curve.observed - curve.low, curve.high - curve.observed], 0.0)
        axes.errorbar(curve.predicted, curve.observed, yerr=arms, fmt="o-",
                      color=_SERIES[number % 4], capsize=2,
                      markersize=5, linewidth=1.4)  # fmt: skip
        error = reliability_metrics.calibration_error(curve)
        axes.annotate(f"mean error {error:.3g}\n{int(curve.size.sum()):,} steps",
                      (0.04, 0.96), xycoords="axes fraction", va="top", fontsize=9)  # fmt: skip
        axes.set_xlim(bottom, top)
        axes.set_ylim(bottom, top)
        axes.set_aspect("equal")
        axes.locator_params(nbins=6)
        axes.set_title(style.metric_name(head))
        axes.set_xlabel(f"predicted ({unit})")
        axes.set_ylabel(f"observed ({unit})")
    figure.suptitle(f"{title} (95% intervals)", x=0.01, ha="left")
    return figure
