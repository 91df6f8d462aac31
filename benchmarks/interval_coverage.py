"""Coverage of the 95% intervals of `tfrec.metrics.session`, on simulated experiments.

    python -m benchmarks.interval_coverage --experiments=4000

An experiment evaluates three policies on the same users under several training seeds. Two are
of equal quality, and the third has a higher click rate. Users differ in how often they click;
every training run shifts the click rate by a normal effect; sessions end at random. The
benchmark counts the intervals that contain the true value, and the p-values below .05. Draws
are seeded: equal arguments print equal tables.
"""

import math
from typing import NamedTuple

import numpy as np

from benchmarks import command_line
from tfrec.metrics import session

CLICK_RATE = 0.4
ADVANTAGE = 0.25  # of the third policy, as a share of the click rate
USER_SPREAD = 0.1  # standard deviation of click rates between users
STEPS = 20.0  # mean session length
SESSIONS = 2  # of each user in each evaluation


class Coverage(NamedTuple):
    """Shares of experiments.

    Attributes:
      mean: the interval of one policy's reward holds the true reward.
      difference: the interval of the paired difference of equal policies holds 0.
      ratio: the interval of the relative difference of the third policy holds its advantage.
      rejected: the p-value of the difference of equal policies is below .05.
    """

    mean: float
    difference: float
    ratio: float
    rejected: float


def evaluation(
    random: np.random.Generator, taste: np.ndarray, seeds: int, seed_spread: float
) -> list[session.Sessions]:
    """Sessions of one policy by seed.

    Args:
      random: source of the draws.
      taste: click rate of each user, float [U].
      seeds: training runs.
      seed_spread: standard deviation of the click rate between training runs.
    """
    user = np.tile(np.arange(len(taste)), SESSIONS)
    by_seed: list[session.Sessions] = []
    for effect in random.normal(0.0, seed_spread, seeds):
        click_rate = np.clip(taste + effect, 0.0, 1.0)[user]
        depth = random.geometric(1.0 / STEPS, len(user))
        reward = random.binomial(depth, click_rate)
        by_seed.append({"user": user, "reward": reward, "depth": depth})
    return by_seed


def coverage(users: int, seeds: int, ratio: float, experiments: int) -> Coverage:
    """Share of intervals that contain the true value.

    Args:
      users: test users in an experiment.
      seeds: training runs in an experiment.
      ratio: standard deviation of the click rate between training runs, in standard errors of
        the mean click rate of the users.
      experiments: simulated experiments.
    """
    counts = np.zeros(len(Coverage._fields))
    seed_spread = ratio * USER_SPREAD / math.sqrt(users)
    for number in range(experiments):
        random = np.random.default_rng([number, users, seeds])
        taste = CLICK_RATE + USER_SPREAD * random.standard_normal(users)
        a, b, better = (
            evaluation(random, rates, seeds, seed_spread)
            for rates in (taste, taste, taste + ADVANTAGE * CLICK_RATE)
        )
        mean = session.summarise(a)["reward"]
        difference = session.paired_difference(a, b)["reward"]
        gain = session.paired_gain(better, b)["reward"]
        counts += (
            mean["low"] <= CLICK_RATE * STEPS <= mean["high"],
            difference["low"] <= 0 <= difference["high"],
            gain["low"] <= ADVANTAGE <= gain["high"],
            difference["p_value"] < 0.05,
        )
    return Coverage(*(counts / experiments).tolist())


def main(arguments: list[str] | None = None) -> None:
    """Prints the table for the settings in the arguments."""
    parser = command_line.parser(__doc__)
    parser.add_argument("--experiments", type=command_line.at_least(1), default=4000)
    parser.add_argument("--users", type=command_line.at_least(2), nargs="+", default=[120])
    parser.add_argument(
        "--seeds", type=command_line.at_least(1), nargs="+", default=[2, 3, 5, 10]
    )
    parser.add_argument(
        "--ratios",
        type=command_line.at_least(0, float),
        nargs="+",
        default=[0.0, 0.3, 1.0, 3.0],
        help="noise of seeds, in standard errors of the mean over users",
    )
    flags = parser.parse_args(arguments)
    error = math.sqrt(0.05 * 0.95 / flags.experiments)
    print(f"Monte-Carlo standard error at 95%: {error:.2%}\n")
    print("| users | seeds | seed noise / user noise | mean | difference | ratio | p < .05 |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for users in flags.users:
        for seeds in flags.seeds:
            for ratio in flags.ratios:
                covered = coverage(users, seeds, ratio, flags.experiments)
                shares = " | ".join(f"{share:.1%}" for share in covered)
                print(f"| {users} | {seeds} | {ratio:g} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
