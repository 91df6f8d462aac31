"""The plan of GoalRec's Tables 1 to 3 as data: data sets, scales, environments and methods."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tfgoalrec  # noqa: F401  registers GoalRec
from tfrec import types
from tfrec.data import synthetic_worlds
from tfrec.environments import controls
from tfrec.methods import registry


class DataSet(NamedTuple):
    """A data set of the tables.

    Attributes:
      title: title in tables.
      prepare: flags of `launch.prepare_data`.
      fit: flags of `launch.fit_simulator`; empty for a generated log, which has true users.
      reward: description of the reward.
      paper: data set of the paper whose numbers stand beside; empty for none.
    """

    title: str
    prepare: tuple[str, ...]
    fit: tuple[str, ...]
    reward: str
    paper: str = ""

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that are reported beside the methods."""
        return controls.names(exact=not self.fit)


# Depths are inside the range that reward / CTR of the paper's Table 1 implies.
DATA_SETS = {
    "movielens": DataSet(
        "MovieLens-25M",
        ("--source=movielens", "--min_steps=5", "--max_steps=150"),
        ("--target_depth=50",),
        "ratings of 4 stars and more",
        "movielens",
    ),
    "taobao": DataSet(
        "Taobao",
        (
            "--source=taobao",
            "--min_steps=20",
            "--max_steps=300",
            "--session_gap_minutes=14400",  # the whole trajectory of a user
            "--on_bad_row=skip",  # rows outside the published window
        ),
        ("--target_depth=120",),
        "purchases",
        "taobao",
    ),
    "yoochoose": DataSet(
        "YooChoose",
        ("--source=yoochoose", "--min_steps=5", "--max_steps=250"),
        ("--target_depth=100",),
        "purchases; long views where the log has no purchases",
        "yoochoose",
    ),
    "embedded": DataSet(
        "Embedded log",
        ("--source=embedded", "--embedded_num_users=2000", "--max_steps=30"),
        (),
        "clicks",
    ),
}
# Named worlds of the embedded log; the name begins with the data set whose scale they have.
WORLDS = synthetic_worlds.NAMES
DATA_SETS |= {
    name: DataSet(
        name,
        ("--source=embedded", f"--embedded_world={name}"),
        (),
        "clicks",
        name.removesuffix("_scale") if name.endswith("_scale") else "",
    )
    for name in WORLDS
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of data, training and tests, the same for every method.

    Attributes:
      seeds: runs of each cell.
      trials: settings tried for each method on each data set.
      users: largest number of users of a log; 0 for all.
      world_users: users of the log of a named world; 0 for all.
      sessions_per_round: sessions played in a round.
      updates_per_round: updates in a round.
      log_rounds: rounds of updates on the log alone.
      play_rounds: rounds of play and updates.
      curve_every: rounds between the points of a learning curve.
      curve_users: largest number of validation users of a learning curve, one session each.
      test_users: largest number of test users.
      sessions_per_user: sessions of each test user.
      candidates: number of candidate items.
      wide_candidates: number of candidate items in the high-dimensional environment.
      crossed: dimensions of the state in the high-dimensional environment.
      fit: flags of `launch.fit_simulator`.
      one_process: whether cells that differ in their method share a process, for cells that
        take less time than imports.
      taobao_item: recommended unit of Taobao, items or their categories.
      batch: steps of experience in a batch.
      replay_sessions: sessions that the replay holds.
      learning_rates: learning rates that tuning tries.
      tune_sizes: whether tuning also tries widths and batches.
      options: further options of every method that has them; the same for all.
    """

    seeds: int
    trials: int
    users: int
    sessions_per_round: int
    updates_per_round: int
    log_rounds: int
    play_rounds: int
    test_users: int
    sessions_per_user: int
    curve_every: int = 2
    curve_users: int = 500
    candidates: int = 1_000
    wide_candidates: int = 10_000
    crossed: int = 30_000
    fit: tuple[str, ...] = ()
    one_process: bool = False
    world_users: int = 0
    taobao_item: str = "item"
    batch: int = 256
    replay_sessions: int = 4_096
    learning_rates: tuple[float, ...] = (1e-3, 3e-4, 1e-4)
    tune_sizes: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


SCALES = {
    "smoke": Scale(
        seeds=1,
        trials=0,
        users=200,
        sessions_per_round=32,
        updates_per_round=5,
        log_rounds=1,
        play_rounds=1,
        test_users=40,
        sessions_per_user=1,
        curve_every=1,
        curve_users=40,
        candidates=200,
        wide_candidates=1_000,
        crossed=3_000,
        fit=("--max_epochs=1", "--batch_size=64"),
        world_users=200,
        taobao_item="category",
        one_process=True,
    ),
    "sample": Scale(
        seeds=5,
        trials=12,
        users=0,
        sessions_per_round=512,
        updates_per_round=100,
        log_rounds=10,
        play_rounds=20,
        test_users=3_000,
        sessions_per_user=2,
        world_users=20_000,
        fit=("--batch_size=64", "--dropout=0.25"),
        # A sample has one or two rows of an item, too few to generalise to other users.
        taobao_item="category",
        one_process=True,
        learning_rates=(3e-3, 1e-3, 3e-4),
        # The whole log of a named world, 63,000 sessions, and then all of play.
        replay_sessions=81_920,
        options={"averaging": 0.99, "action_pool": 0.1, "keep_log": False},
    ),
    # 70,000 training users of 100,000, 30 trajectories each: 2.1 million played sessions.
    "full": Scale(
        seeds=5,
        trials=30,
        users=100_000,
        sessions_per_round=2_100,
        updates_per_round=200,
        log_rounds=50,
        play_rounds=1_000,
        test_users=30_000,
        sessions_per_user=1,
        curve_every=50,
        replay_sessions=400_000,
        tune_sizes=True,
    ),
}

ENVIRONMENTS = {
    1: ("vanilla",),
    2: ("high_dimensional",),
    3: ("high_variance", "high_variance_literal"),
}
IN_TABLE = {
    1: (
        "item_counts",
        "wide_and_deep",
        "dien",
        "dyna_q",
        "rainbow",
        "td3",
        "goalrec_paper",
        "goalrec_off",
        "goalrec",
    ),
    2: ("dyna_q", "rainbow", "td3", "goalrec_paper", "goalrec"),
    3: ("dyna_q", "rainbow", "td3", "goalrec_paper", "goalrec"),
}


class Row(NamedTuple):
    """A row of a table: a method, and what is fixed in it.

    Attributes:
      method: name in the registry.
      fixed: the fields of its configuration that are fixed, for the spec of a log; tuning does
        not try them.
    """

    method: str
    fixed: Callable[[types.DataSpec], Mapping[str, Any]] = lambda spec: {}


def _as_in_the_paper(spec: types.DataSpec) -> Mapping[str, Any]:
    """GoalRec without our additions, as far as the paper's text and its appendices tell.

    Amounts are sums to the end and observed, the goal is the number of clicks alone, advantages
    are not calibrated, the head is fully connected, the latest weights act, half of a batch has
    hindsight goals, and play explores by random goals, whose share falls from 1 to 0. The share
    of random items is ours: an untrained model would show one item otherwise.
    """
    click = spec.feedback_names[0]
    amounts = f"{click}@0..", "step@0.."
    return {
        "measurements": (
            f"{click}@0", "exit@0", *amounts, f"mean({click})", f"embedding({click})",
        ),
        "goals": (f"{click} = 1*{click}@0..",),
        # Default goals alone have a discount.
        "discount": 1.0,
        "far_windows": "learned",
        "bootstrap_steps": 0,
        "advantage": "mlp",
        "averaging": 0.0,
        "hindsight_share": 0.5,
        "goal_epsilon": 1.0,
        "goal_epsilon_share": 0.8,
        "action_epsilon": 0.05,
        "action_pool": 1.0,
    }  # fmt: skip


_ROWS = {"goalrec_paper": Row("goalrec", _as_in_the_paper)}
# Options of GoalRec alone that stay out of tuning: no other method has such an input, or such a
# correction of what it learned.
NOT_TUNED = ("item_input", "item_effect", "far_windows")


def row(name: str) -> Row:
    """Returns the row of a name: a method of the registry, or a form of one.

    Raises:
      UserError: if there is no such method.
    """
    found = _ROWS.get(name, Row(name))
    registry.get(found.method)
    return found


class Cell(NamedTuple):
    """One method (or control) on one data set in one environment from one seed."""

    data_set: str
    environment: str
    method: str
    seed: int

    def folder(self, out: pathlib.Path) -> pathlib.Path:
        return out / self.data_set / self.environment / self.method / f"seed{self.seed}"

    def result(self, out: pathlib.Path) -> pathlib.Path:
        return self.folder(out) / "result.json"
