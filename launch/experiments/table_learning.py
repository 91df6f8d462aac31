"""Learning curves of a table's methods on validation users: a plot and a table."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from launch.experiments import table_results
from launch.experiments.table_plan import Scale
from tfrec.report import page, plots, style


class Curves(NamedTuple):
    """Greedy policies on validation users while they learn.

    Attributes:
      rounds: int [E], rounds of learning before each evaluation: first those on the log.
      rewards: method -> float [S, E], by seed; NaN where a seed has no evaluation.
      levels: control -> its reward.
      is_share: whether both are shares of the way from random to the optimum instead of
        rewards.
    """

    rounds: np.ndarray
    rewards: dict[str, np.ndarray]
    levels: dict[str, float]
    is_share: bool


def read(folders: Mapping[str, Sequence[pathlib.Path]], levels: Mapping[str, float]) -> Curves:
    """Reads the curves of finished cells.

    Args:
      folders: method -> folders of its finished cells.
      levels: control -> mean reward. With random and optimum, curves are shares of the way.

    Returns:
      The curves; without rewards where no method has any.
    """
    rounds, rewards = plots.logged(
        {method: [folder / "metrics.jsonl" for folder in of] for method, of in folders.items()},
        f"evaluate/{table_results.CURVE}",
    )
    is_share = {"random", "optimum"} <= levels.keys()
    if not is_share:
        return Curves(rounds, rewards, dict(levels), is_share)
    low, high = levels["random"], levels["optimum"]
    return Curves(
        rounds,
        {method: (curve - low) / (high - low) for method, curve in rewards.items()},
        {control: (level - low) / (high - low) for control, level in levels.items()},
        is_share,
    )


def markdown(title: str, curves: Curves, scale: Scale) -> str:
    """Returns a table by updates and by played sessions.

    Its columns are the end of the log, then a quarter, a half and the whole of play, each at
    the last evaluation up to then.
    """
    play = np.array([0, 0.25, 0.5, 1]) * scale.play_rounds
    wanted = scale.log_rounds + np.floor(play).astype(np.int64)
    # rounds[last] <= wanted < rounds[last + 1]; the first one where there is none before.
    last = np.searchsorted(curves.rounds, wanted, side="right") - 1
    columns = np.unique(np.maximum(last, 0))
    headings = []
    for number in curves.rounds[columns]:
        updates = number * scale.updates_per_round
        sessions = max(0, number - scale.log_rounds) * scale.sessions_per_round
        headings.append(f"{updates:,} updates, {sessions:,} sessions")
    lines = [[f"{title}: updates and played sessions", *headings]]
    lines.append(["---"] + ["---:"] * len(columns))
    for method in style.ordered(curves.rewards):
        by_seed = [x[np.isfinite(x)] for x in curves.rewards[method].T[columns]]
        text = [
            "–" if not len(x) else f"{x.mean():.0%}" if curves.is_share else f"{x.mean():.2f}"
            for x in by_seed
        ]
        lines.append([style.policy_name(method), *text])
    what = "Share of the way to the optimum" if curves.is_share else style.metric_name("reward")
    note = (
        f"{what} of the greedy policy on {scale.curve_users} validation users, mean over seeds."
    )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{note}\n"


def plot(path: pathlib.Path, title: str, curves: Curves, scale: Scale) -> page.Picture:
    """Plots the curves by updates, with a dotted line where play begins.

    Args:
      path: where the picture is written.
      title: title of the data set.
      curves: curves with at least one method.
      scale: the scale, for the numbers of updates and played sessions.
    """
    figure = plots.learning_curve(
        curves.rounds * scale.updates_per_round,
        curves.rewards,
        curves.levels,
        title=f"{title}: learning",
        ylabel="share of the way to the optimum"
        if curves.is_share
        else f"{style.metric_name('reward')} ({style.metric_unit('reward')})",
    )
    begin = scale.log_rounds * scale.updates_per_round
    figure.axes[0].axvline(begin, color="#777777", linestyle=":")
    caption = (
        f"{title}: {scale.curve_users} validation users under the greedy policy. The first "
        f"{begin:,} updates are on the log; from the dotted line on, "
        f"{scale.sessions_per_round} sessions are played before every "
        f"{scale.updates_per_round} updates."
    )
    return page.Picture(plots.save(figure, path), f"{title}, learning", caption)
