"""Results printed in the paper: GoalRec, AAAI 2021, Tables 1 to 3, for comparison only.

Each cell is (mean, the printed plus-minus). Depth is not printed; reward / CTR implies it.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Cell(NamedTuple):
    """One method on one data set, as printed.

    Attributes:
      reward: clicks per user, mean and plus-minus.
      ctr: clicks per step, mean and plus-minus.
    """

    reward: tuple[float, float]
    ctr: tuple[float, float]

    @property
    def depth(self) -> float:
        """Steps per user that reward and CTR imply."""
        return self.reward[0] / self.ctr[0]


_SETS = ("movielens", "taobao", "yoochoose")


def _row(*numbers: float) -> dict[str, Cell]:
    """Reward, plus-minus, CTR, plus-minus, for each data set in order."""
    quads = [numbers[i : i + 4] for i in range(0, len(numbers), 4)]
    return {
        name: Cell((reward, about), (ctr, near))
        for name, (reward, about, ctr, near) in zip(_SETS, quads, strict=True)
    }


# environment -> method -> data set -> printed result.
TABLES: Mapping[str, Mapping[str, Mapping[str, Cell]]] = {
    "vanilla": {  # Table 1
        "wide_and_deep": _row(
            25.2, 0.31, 0.601, 0.006,
            2.72, 0.03, 0.024, 0.001,
            3.52, 0.04, 0.040, 0.001,
        ),
        "dien": _row(
            26.4, 0.27, 0.592, 0.007,
            2.87, 0.04, 0.024, 0.001,
            3.85, 0.05, 0.041, 0.001,
        ),
        "dyna_q": _row(
            29.3, 0.80, 0.526, 0.016,
            3.05, 0.10, 0.019, 0.002,
            3.93, 0.13, 0.032, 0.003,
        ),
        "rainbow": _row(
            30.1, 0.67, 0.548, 0.012,
            3.02, 0.05, 0.020, 0.002,
            4.14, 0.09, 0.037, 0.002,
        ),
        "td3": _row(
            28.3, 1.05, 0.513, 0.019,
            2.80, 0.10, 0.020, 0.002,
            3.91, 0.14, 0.034, 0.003,
        ),
        "goalrec": _row(
            31.6, 0.50, 0.544, 0.009,
            3.14, 0.06, 0.021, 0.001,
            4.23, 0.07, 0.037, 0.002,
        ),
        "goalrec_off": _row(
            29.1, 0.37, 0.549, 0.005,
            3.20, 0.04, 0.020, 0.001,
            4.09, 0.05, 0.038, 0.001,
        ),
    },
    "high_dimensional": {  # Table 2
        "dyna_q": _row(
            27.1, 0.74, 0.391, 0.013,
            2.73, 0.08, 0.013, 0.002,
            3.48, 0.10, 0.024, 0.002,
        ),
        "rainbow": _row(
            28.2, 0.72, 0.441, 0.015,
            2.61, 0.06, 0.015, 0.002,
            3.60, 0.08, 0.029, 0.003,
        ),
        "td3": _row(
            16.2, 0.59, 0.312, 0.024,
            1.51, 0.05, 0.013, 0.002,
            1.86, 0.07, 0.021, 0.003,
        ),
        "goalrec": _row(
            33.8, 0.58, 0.567, 0.01,
            3.24, 0.05, 0.022, 0.001,
            4.35, 0.07, 0.037, 0.002,
        ),
    },
    "high_variance": {  # Table 3
        "dyna_q": _row(
            28.4, 0.81, 0.513, 0.015,
            2.82, 0.08, 0.014, 0.002,
            3.85, 0.09, 0.023, 0.002,
        ),
        "rainbow": _row(
            29.5, 0.73, 0.530, 0.018,
            2.74, 0.06, 0.019, 0.001,
            3.92, 0.05, 0.032, 0.002,
        ),
        "td3": _row(
            27.4, 0.95, 0.491, 0.026,
            2.24, 0.08, 0.016, 0.002,
            3.14, 0.07, 0.028, 0.003,
        ),
        "goalrec": _row(
            32.1, 0.57, 0.536, 0.013,
            3.02, 0.05, 0.020, 0.001,
            4.05, 0.05, 0.034, 0.003,
        ),
    },
}  # fmt: skip
