"""The embedded default log, from a user whose truth is known.

A user has one taste (a cluster of items) and a fatigue level that starts at 0 in
each session. Items are of three kinds:

  bait  is clicked most, watched briefly, and tires: fatigue + 2 levels
  calm  is clicked a little less, and rests: fatigue - 1 level
  deep  is clicked least and watched longest; it tires a little: fatigue + 1 level

    p(click) = sigmoid(base[kind] + match * (cluster == taste) + quality_i - tiring * f)
    seconds  = LogNormal(log watch[kind], spread) if clicked, else 0
    p(exit)  = sigmoid(exit_base + exit_slope * f'^2),  f' the fatigue after the item

with f the fatigue as a share of its highest level. So the item that wins the next
click shortens the session, the myopic and the long-term optimum differ, and clicks
and seconds have different optima. The true state (taste, fatigue, step) is small:
`tfrec.environments.embedded` computes both optima exactly by value iteration.

The log is written by a stochastic myopic policy: a softmax over the true p(click).
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec import types
from tfrec.data import schema
from tfrec.options import MAX_SEED, Options, option

BAIT, CALM, DEEP = 0, 1, 2
FATIGUE_STEP = np.array([2, -1, 1])  # levels, by kind

FEEDBACK = (
    types.FeedbackColumn("click", "binary", "clicks"),
    types.FeedbackColumn("watch_seconds", "amount", "seconds"),
)


@dataclasses.dataclass(frozen=True)
class SyntheticConfig(Options):
    """The ground truth and the size of the embedded log."""

    num_users: int = option(3000, "users in the log", at_least=1)
    sessions_per_user: int = option(5, "sessions of each user", at_least=1)
    num_items: int = option(
        120, "items; a third of each kind, spread over the clusters", at_least=1
    )
    num_tastes: int = option(5, "taste clusters", at_least=1)
    max_steps: int = option(30, "steps after which a session is cut", at_least=1)
    max_fatigue: int = option(10, "highest fatigue level", at_least=1)
    click_base: tuple[float, ...] = option(
        (-0.6, -1.8, -2.1),
        "click logit of bait, calm, deep",
        at_least=-100,
        at_most=100,
    )
    match: float = option(
        2.2,
        "added to the click logit when the item suits the user's taste",
        at_least=-100,
        at_most=100,
    )
    quality: float = option(
        0.3, "standard deviation of an item's own click logit", at_least=0, at_most=100
    )
    tiring: float = option(
        1.0, "taken off the click logit at full fatigue", at_least=-100, at_most=100
    )
    watch_seconds: tuple[float, ...] = option(
        (8.0, 20.0, 60.0), "median watch of bait, calm, deep, seconds", above=0, at_most=1e6
    )
    watch_spread: float = option(
        0.5, "standard deviation of the logarithm of a watch", at_least=0, at_most=10
    )
    exit_base: float = option(-3.0, "exit logit without fatigue", at_least=-100, at_most=100)
    exit_slope: float = option(
        4.0, "added to the exit logit at full fatigue", at_least=-100, at_most=100
    )
    temperature: float = option(
        0.25, "softmax temperature of the logging policy, in p(click)", above=0
    )
    seed: int = option(
        7, "seed of the items, the users and the log", at_least=0, at_most=MAX_SEED
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("click_base", "watch_seconds"):
            if len(getattr(self, name)) != 3:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected three numbers: bait, calm, deep"
                )
        if self.num_items < 3 * self.num_tastes:
            raise ValueError(
                f"num_items is {self.num_items}; expected at least 3 x num_tastes = "
                f"{3 * self.num_tastes}, one item of each kind for each taste"
            )


class Truth(NamedTuple):
    """The parameters that generate the log. Item arrays are indexed by item id - 1.

    Attributes:
      cluster: int [N], taste cluster of each item.
      kind: int [N], BAIT, CALM or DEEP.
      click_logit: float [N], base[kind] + quality.
      taste: int [U], taste of user id - 1.
    """

    cluster: np.ndarray
    kind: np.ndarray
    click_logit: np.ndarray
    taste: np.ndarray


def truth(config: SyntheticConfig) -> Truth:
    """Draws the items and the users. The same seed gives the same truth."""
    rng = np.random.default_rng([config.seed, 0])
    item = np.arange(config.num_items)
    kind = item % 3
    cluster = (item // 3) % config.num_tastes
    quality = rng.normal(0.0, config.quality, config.num_items)
    return Truth(
        cluster=cluster,
        kind=kind,
        click_logit=np.asarray(config.click_base)[kind] + quality,
        taste=rng.integers(0, config.num_tastes, config.num_users),
    )


def click_probability(
    config: SyntheticConfig, world: Truth, taste: np.ndarray, fatigue: np.ndarray
) -> np.ndarray:
    """True p(click) of every item.

    Args:
      config: the ground truth's constants.
      world: the items.
      taste: int [B].
      fatigue: int [B], levels before the item is shown.

    Returns:
      float [B, N].
    """
    suits = world.cluster[None, :] == taste[:, None]  # [B, N]
    tired = config.tiring * (fatigue / config.max_fatigue)[:, None]
    return _sigmoid(world.click_logit[None, :] + config.match * suits - tired)


def next_fatigue(config: SyntheticConfig, fatigue: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Fatigue level after an item of this kind; the arguments broadcast."""
    return np.clip(fatigue + FATIGUE_STEP[kind], 0, config.max_fatigue)


def exit_probability(config: SyntheticConfig, fatigue_after: np.ndarray) -> np.ndarray:
    """True p(exit) at a fatigue level after the item."""
    share = fatigue_after / config.max_fatigue
    return _sigmoid(config.exit_base + config.exit_slope * share**2)


def expected_seconds(config: SyntheticConfig, kind: np.ndarray) -> np.ndarray:
    """Mean watch of a clicked item of this kind, seconds (mean of a log-normal)."""
    return np.asarray(config.watch_seconds)[kind] * np.exp(config.watch_spread**2 / 2)


def read(config: SyntheticConfig) -> tuple[pl.DataFrame, schema.Schema]:
    """Generates the log as an interaction table.

    Users are `u1..`, items `i1..`; steps are 30 seconds and sessions a day apart.
    The propensity column holds the logging policy's probability of the item shown.
    """
    world = truth(config)
    rng = np.random.default_rng([config.seed, 1])
    sessions = config.num_users * config.sessions_per_user
    user = np.repeat(np.arange(config.num_users), config.sessions_per_user)
    taste = world.taste[user]
    fatigue = np.zeros(sessions, np.int64)
    alive = np.arange(sessions)
    steps = []
    for step in range(config.max_steps):  # all living sessions advance together
        click_p = click_probability(config, world, taste[alive], fatigue[alive])  # [B, N]
        policy = _softmax(click_p / config.temperature)
        item = (policy.cumsum(axis=1) > rng.random((len(alive), 1))).argmax(axis=1)
        rows = np.arange(len(alive))
        click = rng.random(len(alive)) < click_p[rows, item]
        seconds = np.asarray(config.watch_seconds)[world.kind[item]] * np.exp(
            config.watch_spread * rng.standard_normal(len(alive))
        )
        steps.append(
            {
                "session": alive,
                "step": np.full(len(alive), step),
                "item": item + 1,
                "click": click.astype(np.float32),
                "watch_seconds": np.where(click, seconds, 0.0).astype(np.float32),
                "propensity": policy[rows, item].astype(np.float32),
            }
        )
        fatigue[alive] = next_fatigue(config, fatigue[alive], world.kind[item])
        stays = rng.random(len(alive)) >= exit_probability(config, fatigue[alive])
        alive = alive[stays]
    table = pl.concat([pl.DataFrame(step) for step in steps])
    day, half_minute = 86_400_000, 30_000
    start = 1_700_000_000_000  # milliseconds; any fixed moment
    table = table.with_columns(
        user=pl.lit("u") + (pl.col("session") // config.sessions_per_user + 1).cast(pl.String),
        item=pl.lit("i") + pl.col("item").cast(pl.String),
        time_ms=start
        + (pl.col("session") % config.sessions_per_user) * day
        + pl.col("step") * half_minute,
    ).sort("session", "step")
    columns = ["user", "item", "time_ms", "click", "watch_seconds", "propensity"]
    return table.select(columns), schema.Schema(
        feedback=FEEDBACK, category=False, propensity=True
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _softmax(x: np.ndarray) -> np.ndarray:
    weight = np.exp(x - x.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)
