"""Coverage of the 95% intervals of `tfrec.metrics.session`, on simulated experiments.

    python -m benchmarks.interval_coverage --experiments=2000

An experiment evaluates two policies of equal quality on the same users under several
training seeds. Users differ in how often they click; every training run shifts the click
rate by a normal effect; sessions end at random. The benchmark counts the intervals that
contain the true mean and the true difference, and the p-values below .05. Draws are seeded:
equal arguments print equal tables.
"""

from typing import NamedTuple

import numpy as np

from benchmarks import command_line
from tfrec.metrics import session

CLICK_RATE = 0.4
USER_SPREAD = 0.1  # standard deviation of click rates between users
STEPS = 20.0  # mean session length
SESSIONS = 2  # of each user in each evaluation


class Coverage(NamedTuple):
    """Shares of experiments.

    Attributes:
      mean: the interval of one policy's reward holds the true reward.
      difference: the interval of the paired difference holds 0.
      gain: the interval of the relative difference holds 0.
      rejected: the p-value of the difference is below .05.
    """

    mean: float
    difference: float
    gain: float
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


def coverage(
    users: int, seeds: int, seed_spread: float, experiments: int, resamples: int = 500
) -> Coverage:
    """Share of intervals that contain the true value.

    Args:
      users: test users in an experiment.
      seeds: training runs in an experiment.
      seed_spread: standard deviation of the click rate between training runs.
      experiments: simulated experiments.
      resamples: bootstrap draws of each interval.
    """
    counts = np.zeros(len(Coverage._fields))
    truth = CLICK_RATE * STEPS
    for number in range(experiments):
        random = np.random.default_rng([number, users, seeds])
        taste = CLICK_RATE + USER_SPREAD * random.standard_normal(users)
        a, b = (evaluation(random, taste, seeds, seed_spread) for _ in range(2))
        mean = session.summarise(a, resamples, seed=number)["reward"]
        difference = session.paired_difference(a, b, resamples, seed=number)["reward"]
        gain = session.paired_gain(a, b, resamples, seed=number)["reward"]
        counts += (
            mean["low"] <= truth <= mean["high"],
            difference["low"] <= 0 <= difference["high"],
            gain["low"] <= 0 <= gain["high"],
            difference["p_value"] < 0.05,
        )
    return Coverage(*(counts / experiments).tolist())


def main(arguments: list[str] | None = None) -> None:
    """Prints the table for the settings in the arguments."""
    parser = command_line.parser(__doc__)
    parser.add_argument("--experiments", type=command_line.at_least(1), default=2000)
    parser.add_argument(
        "--users", type=command_line.at_least(2), nargs="+", default=[120, 1000]
    )
    parser.add_argument("--seeds", type=command_line.at_least(1), nargs="+", default=[3, 5])
    parser.add_argument(
        "--spreads", type=command_line.at_least(0, float), nargs="+", default=[0.0, 0.03, 0.08]
    )
    parser.add_argument("--resamples", type=command_line.at_least(1), default=500)
    flags = parser.parse_args(arguments)
    print("| users | seeds | spread of seeds | mean | difference | gain | p < .05 |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for users in flags.users:
        for seeds in flags.seeds:
            for spread in flags.spreads:
                covered = coverage(users, seeds, spread, flags.experiments, flags.resamples)
                shares = " | ".join(f"{share:.1%}" for share in covered)
                print(f"| {users} | {seeds} | {spread:g} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
