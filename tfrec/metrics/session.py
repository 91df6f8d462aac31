"""How good were the sessions? Reward, CTR, depth and feedback totals, with intervals.

Axes: B sessions, U users, S seeds, K summed quantities, R resamples.

Every metric is a ratio of sums over sessions: reward = clicks / sessions, depth =
steps / sessions, CTR = clicks / steps, a feedback column = its total / sessions. So a
user enters an interval only through sums, and a resample of users is one matrix product.

Intervals are two-level. Users: drawn with replacement, each with all of their sessions
under every seed, so that what a user's sessions share is not counted as new information;
the percentiles of these draws would be the interval if seeds did not differ. Seeds: runs
number three or five, too few to be drawn with replacement (the percentile interval over
three runs covers its mean in about 80% of cases, not 95%). Instead each draw also gets a
Student-t deviate with S - 1 degrees of freedom, scaled by the variance of the seed means
in excess of what the users' noise explains. With one seed there is no such term, and the
interval speaks of users only.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfrec import errors, types

Sessions = Mapping[str, np.ndarray]
Statistic = Callable[[np.ndarray], np.ndarray]

_RESERVED = ("user", "reward", "ctr", "depth")
_SESSIONS, _STEPS, _REWARD = 0, 1, 2  # the first summed quantities; columns follow
_DRAWS_AT_ONCE = 4_000_000  # bounds the memory of a block of resamples to about 64 MB


def per_session(
    episodes: types.Episodes, feedback_names: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """What each session gave.

    Args:
      episodes: sessions as arrays or tensors; feedback column 0 is the click.
      feedback_names: names of the F feedback columns, `spec.feedback_names`;
        empty leaves their totals out.

    Returns:
      Arrays [B]: `user` (dense id), `reward` (clicks), `depth` (steps), and for
      each feedback name its total over the session, in the column's unit.

    Raises:
      ValueError: if a session has no steps or more than T, a feedback value is not
        finite, or the names do not fit the columns.
    """
    length = np.asarray(episodes.length, np.int64)
    feedback = np.asarray(episodes.feedback, np.float64)  # [B, T, F]
    batch, steps, columns = feedback.shape
    wrong = np.flatnonzero((length < 1) | (length > steps))
    if wrong.size:
        raise ValueError(
            f"session {wrong[0]} has {length[wrong[0]]} steps; expected 1 to {steps}"
        )
    if feedback_names and len(feedback_names) != columns:
        raise ValueError(f"{len(feedback_names)} names for {columns} feedback columns")
    taken = [name for name in feedback_names if name in _RESERVED]
    if taken:
        raise ValueError(f"a feedback column may not be called {taken[0]!r}")
    taken_steps = np.arange(steps) < length[:, None]  # [B, T]
    totals = np.where(taken_steps[..., None], feedback, 0.0).sum(axis=1)  # [B, F]
    if not np.isfinite(totals).all():
        row, column = np.argwhere(~np.isfinite(totals))[0]
        raise ValueError(f"session {row} has a feedback {column} that is not a finite number")
    sessions = {"user": np.asarray(episodes.user, np.int64), "reward": totals[:, 0]}
    sessions["depth"] = length
    sessions.update({name: totals[:, i] for i, name in enumerate(feedback_names)})
    return sessions


def summarise(
    sessions_by_seed: Sequence[Sessions],
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Mean and interval of each metric of one policy, over users and seeds.

    Resampled: users with replacement, each with all of their sessions; seeds enter by
    a Student-t term (see the module's docstring).

    Args:
      sessions_by_seed: for each training seed, what `per_session` returned for its
        evaluation; where seeds share users, the ids must be the same.
      resamples: R, bootstrap draws.
      level: share of such intervals meant to hold the true value.
      seed: of the draws; the same input gives the same output.

    Returns:
      For `reward` (clicks per session), `ctr` (clicks per step), `depth` (steps per
      session) and every feedback column (total per session): mean, low and high.

    Raises:
      errors.UserError: if there are fewer than two users.
      ValueError: if seeds have different columns or none has a session.
    """
    columns = _columns(sessions_by_seed)
    cells = _cells(sessions_by_seed, columns, _users([sessions_by_seed]))
    draws = _Bootstrap(cells, resamples, seed)
    return {name: draws.interval(metric, level) for name, metric in _metrics(columns).items()}


def paired_difference(
    a: Sequence[Sessions],
    b: Sequence[Sessions],
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """By how much policy `a` exceeds policy `b` on the same users and seeds.

    Resampled: users, drawn once for both policies, so that differences between users
    cancel; seed s of `a` is paired with seed s of `b`, and the spread of the paired
    differences over seeds gives the seeds' term.

    Args:
      a: sessions by seed, as in `summarise`.
      b: the same, with equally many sessions of each user in each seed.
      resamples: R, bootstrap draws.
      level: share of such intervals meant to hold the true difference.
      seed: of the draws.

    Returns:
      For each metric that both have: mean, low, high and `p_value` (two-sided, of no
      difference; at least 1 / (R + 1)).

    Raises:
      errors.UserError: if there are fewer than two users.
      ValueError: if the users or seeds differ.
    """
    columns = [name for name in _columns(a) if name in _columns(b)]
    draws = _Bootstrap(_paired([a, b], columns), resamples, seed)
    width = 3 + len(columns)

    def difference(metric: Statistic) -> Statistic:
        return lambda sums: metric(sums[..., :width]) - metric(sums[..., width:])

    return {
        name: draws.interval(difference(metric), level, p_value=True)
        for name, metric in _metrics(columns).items()
    }


def share(
    policy: Sequence[Sessions],
    low: Sequence[Sessions],
    high: Sequence[Sessions],
    metric: str = "reward",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """How far a policy is on the way from `low` to `high`: 0 at `low`, 1 at `high`.

    (policy - low) / (high - low) of a metric; `low` is usually the random policy and
    `high` the oracle. Resampled: users, drawn once for the three policies; seeds enter
    by the spread of the share over seeds.

    Args:
      policy: sessions by seed, as in `summarise`.
      low: the same of the policy that stands at 0, on the same users and seeds.
      high: the same of the policy that stands at 1.
      metric: `reward`, `ctr`, `depth` or a feedback column of all three.
      resamples: R, bootstrap draws.
      level: share of such intervals meant to hold the true share.
      seed: of the draws.

    Returns:
      mean, low and high of the share.

    Raises:
      errors.UserError: if there are fewer than two users.
      ValueError: if users or seeds differ, the metric is unknown, or `high` is not
        above `low`.
    """
    columns = [c for c in _columns(policy) if c in _columns(low) and c in _columns(high)]
    metrics = _metrics(columns)
    if metric not in metrics:
        raise ValueError(f"no metric {metric!r}; there are {', '.join(metrics)}")
    draws = _Bootstrap(_paired([policy, low, high], columns), resamples, seed)
    width, value = 3 + len(columns), metrics[metric]

    def split(sums: np.ndarray) -> list[np.ndarray]:
        return [value(sums[..., i * width : (i + 1) * width]) for i in range(3)]

    _, bottom, top = split(draws.total)
    if not top > bottom:
        raise ValueError(f"{metric}: high is {top:.4g}, not above low, {bottom:.4g}")

    def share_of(sums: np.ndarray) -> np.ndarray:
        of_policy, of_low, of_high = split(sums)
        return (of_policy - of_low) / (of_high - of_low)

    return draws.interval(share_of, level)


class _Bootstrap:
    """Resampled sums, drawn once and used for every metric."""

    def __init__(self, cells: np.ndarray, resamples: int, seed: int):
        """Args: cells: sums over each user's sessions in each seed, [U, S, K]."""
        users, seeds, quantities = cells.shape
        if users < 2:
            raise errors.UserError(
                f"an interval over users needs at least 2 users, there is {users}; "
                "evaluate more users"
            )
        self._rng = np.random.default_rng(seed)
        self.by_seed = cells.sum(axis=0)  # [S, K]
        self.total = self.by_seed.sum(axis=0)  # [K]
        flat = cells.reshape(users, seeds * quantities)
        block = max(1, _DRAWS_AT_ONCE // users)
        sums = [
            self._times_drawn(min(block, resamples - start), users) @ flat
            for start in range(0, resamples, block)
        ]
        self.drawn = np.concatenate(sums).reshape(resamples, seeds, quantities)

    def _times_drawn(self, resamples: int, users: int) -> np.ndarray:
        """How often each user is in each resample, [resamples, U]."""
        drawn = self._rng.integers(users, size=(resamples, users))
        drawn += np.arange(resamples)[:, None] * users
        counts = np.bincount(drawn.ravel(), minlength=resamples * users)
        return counts.reshape(resamples, users).astype(np.float64)

    def interval(
        self, statistic: Statistic, level: float, p_value: bool = False
    ) -> dict[str, float]:
        """Mean and interval of a statistic of sums; it maps [..., K] to [...]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = float(statistic(self.total))
            values = statistic(self.drawn.sum(axis=1))  # [R]
            by_seed = statistic(self.by_seed)  # [S]
            drawn_by_seed = statistic(self.drawn)  # [R, S]
        values = values + self._seed_term(by_seed, drawn_by_seed, len(values))
        # A handful of users can leave a resample without a single step or session.
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        result = {"mean": mean, "low": float(low), "high": float(high)}
        if p_value:
            beyond = min(np.sum(values <= 0), np.sum(values >= 0))
            result["p_value"] = float(min(1.0, 2 * (beyond + 1) / (len(values) + 1)))
        return result

    def _seed_term(
        self, by_seed: np.ndarray, drawn_by_seed: np.ndarray, resamples: int
    ) -> np.ndarray:
        """Deviates for what differs between seeds, [R].

        The variance of the mean over seeds is estimated from the seeds' own values, less
        what resampling users alone does to the contrasts between seeds: that part is in
        the users' draws already.
        """
        seeds = len(by_seed)
        if seeds < 2:
            return np.zeros(resamples)
        if not np.isfinite(by_seed).all():
            raise ValueError("a seed has no sessions or no steps")
        contrast = drawn_by_seed - drawn_by_seed.mean(axis=1, keepdims=True)
        contrast = contrast - (by_seed - by_seed.mean())
        squared = np.sum(contrast**2, axis=1)  # [R]
        noise = squared[np.isfinite(squared)].mean() / (seeds - 1)
        excess = max(0.0, float(np.var(by_seed, ddof=1) - noise)) / seeds
        return np.sqrt(excess) * self._rng.standard_t(seeds - 1, size=resamples)


def _metrics(columns: Sequence[str]) -> dict[str, Statistic]:
    """Metrics as functions of sums [..., 3 + len(columns)]."""

    def ratio(numerator: int, denominator: int) -> Statistic:
        return lambda sums: sums[..., numerator] / sums[..., denominator]

    metrics = {
        "reward": ratio(_REWARD, _SESSIONS),
        "ctr": ratio(_REWARD, _STEPS),
        "depth": ratio(_STEPS, _SESSIONS),
    }
    metrics.update({name: ratio(3 + i, _SESSIONS) for i, name in enumerate(columns)})
    return metrics


def _columns(sessions_by_seed: Sequence[Sessions]) -> list[str]:
    if not sessions_by_seed:
        raise ValueError("no seed to summarise")
    columns = [name for name in sessions_by_seed[0] if name not in _RESERVED]
    for number, sessions in enumerate(sessions_by_seed):
        missing = {"user", "reward", "depth", *columns} - set(sessions)
        if missing:
            raise ValueError(f"seed {number} has no {', '.join(sorted(missing))}")
        if len(sessions["user"]) == 0:
            raise ValueError(f"seed {number} has no sessions")
        if np.min(sessions["depth"]) < 1:
            raise ValueError(f"seed {number} has a session without steps")
    return columns


def _users(policies: Sequence[Sequence[Sessions]]) -> np.ndarray:
    """Every user of every seed of every policy, sorted, [U]."""
    return np.unique(np.concatenate([s["user"] for policy in policies for s in policy]))


def _cells(
    sessions_by_seed: Sequence[Sessions], columns: Sequence[str], users: np.ndarray
) -> np.ndarray:
    """Sums over each user's sessions in each seed, [U, S, 3 + len(columns)]."""
    cells = np.zeros((len(users), len(sessions_by_seed), 3 + len(columns)))
    for number, sessions in enumerate(sessions_by_seed):
        row = np.searchsorted(users, sessions["user"])
        quantities = [None, sessions["depth"], sessions["reward"]]
        quantities += [sessions[name] for name in columns]
        for k, values in enumerate(quantities):
            cells[:, number, k] = np.bincount(row, values, minlength=len(users))
    return cells


def _paired(policies: Sequence[Sequence[Sessions]], columns: Sequence[str]) -> np.ndarray:
    """Cells of several policies side by side, [U, S, policies * (3 + len(columns))]."""
    if len({len(policy) for policy in policies}) != 1:
        seeds = ", ".join(str(len(policy)) for policy in policies)
        raise ValueError(f"policies to compare have {seeds} seeds; expected equally many")
    for policy in policies:
        _columns(policy)
    users = _users(policies)
    cells = [_cells(policy, columns, users) for policy in policies]
    for other in cells[1:]:
        differs = np.argwhere(other[..., _SESSIONS] != cells[0][..., _SESSIONS])
        if differs.size:
            user, number = differs[0]
            raise ValueError(
                f"policies to compare differ in the sessions of user {users[user]}, seed "
                f"{number}; evaluate them on the same users"
            )
    return np.concatenate(cells, axis=-1)
