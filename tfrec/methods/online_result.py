"""Results of methods that learn step by step: tests during training, and the final test."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from tfrec.environments import registry as environments
from tfrec.methods import registry
from tfrec.report import plots, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULT = "result.json"
METRICS = {"ctr": "CTR (clicks per item shown)", "reward": "reward per session"}
_PLACES = ("port", "original")  # environments of the method's tests; other keys are controls


@dataclasses.dataclass(frozen=True)
class OnlineResult:
    """A finished run.

    Attributes:
      document: content of the run's result.json.
      tests: the tests during training, see `tests`.
    """

    document: dict[str, Any]
    tests: pl.DataFrame

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads the result of a finished run.

        Args:
          folder: folder of the run.
        """
        folder = pathlib.Path(folder)
        return cls(json.loads((folder / RESULT).read_text()), tests(folder))

    @property
    def title(self) -> str:
        """The method's name in tables."""
        return registry.get(self.document["method"]).title

    @property
    def final(self) -> Mapping[str, Mapping[str, float]]:
        """Final test: name of the method and of each control -> metrics of sessions.

        The metrics are `ctr` (clicks per shown item), `reward` (the environment's, per
        session), `steps` (per session), and their standard errors over the test sessions,
        `ctr_error`, `reward_error` and `steps_error`.
        """
        method = {self.document["method"]: self.document["tests"]["port"]}
        return method | self._controls

    def plot(self, metric: str = "reward") -> Figure:
        """The learning curve, with the controls' final tests as horizontal lines.

        A notebook displays the figure after `%matplotlib inline`.

        Args:
          metric: `reward` or `ctr`.
        """
        return plots.learning_curve(
            self.tests["steps"].to_list(),
            {self.document["method"]: self.tests[metric].to_numpy()},
            {name: rates[metric] for name, rates in self._controls.items()},
            xlabel="recommendations",
            ylabel=METRICS[metric],
            title=f"{self.title} in {environments.get(self.document['environment']).title}",
        )

    @property
    def _controls(self) -> dict[str, Mapping[str, float]]:
        tests = self.document["tests"].items()
        return {name: rates for name, rates in tests if name not in _PLACES}

    def __str__(self) -> str:
        lines = []
        for name, rates in self.document["tests"].items():
            title = (
                f"{self.title} in the {name}" if name in _PLACES else style.policy_name(name)
            )
            pairs = (f"{m} {rates[m]:.4g} +- {rates[f'{m}_error']:.2g}" for m in METRICS)
            lines.append(f"{title}: {', '.join(pairs)}")
        return "\n".join(lines)


def tests(folder: pathlib.Path) -> pl.DataFrame:
    """The tests in a run's metrics, one row each.

    Args:
      folder: folder of the run.

    Returns:
      Columns: test (its number), sessions and steps (of training before it), ctr, ctr_error,
      reward, reward_error and length (steps of a test session).
    """
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [row for line in lines if "evaluate/ctr" in (row := json.loads(line))]
    return pl.DataFrame(
        [
            {
                "test": number,
                "sessions": int(row["sessions"]),
                "steps": int(row["steps"]),
                "ctr": row["evaluate/ctr"],
                "ctr_error": row["evaluate/ctr_error"],
                "reward": row["evaluate/reward"],
                "reward_error": row["evaluate/reward_error"],
                "length": row["evaluate/steps"],
            }
            for number, row in enumerate(rows, 1)
        ]
    )
