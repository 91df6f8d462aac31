"""Metrics of sessions: reward, CTR, depth and feedback totals, with intervals.

Axes: B sessions, U users, S seeds, K summed quantities.

Every metric is a ratio of sums over sessions: reward = clicks / sessions, depth =
steps / sessions, CTR = clicks / steps, a feedback column = its total / sessions.

An interval covers users and seeds (`tfrec.metrics.intervals`). A ratio of sums is linearised,
so that its interval includes the uncertainty of the denominator. With one seed the interval
covers users alone, and not other training runs.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfrec import errors, types
from tfrec.metrics import intervals

Sessions = Mapping[str, np.ndarray]
Statistic = Callable[[np.ndarray], np.ndarray]

_RESERVED = ("user", "reward", "ctr", "depth")
_SESSIONS, _STEPS, _REWARD = 0, 1, 2  # the first summed quantities; columns follow


def per_session(
    episodes: types.Episodes, feedback_names: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Computes the totals of each session.

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
    invalid = np.flatnonzero((length < 1) | (length > steps))
    if invalid.size:
        raise ValueError(
            f"session {invalid[0]} has {length[invalid[0]]} steps; expected 1 to {steps}"
        )
    if feedback_names and len(feedback_names) != columns:
        raise ValueError(f"{len(feedback_names)} names for {columns} feedback columns")
    reserved = [name for name in feedback_names if name in _RESERVED]
    if reserved:
        raise ValueError(f"a feedback column may not be called {reserved[0]!r}")
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
    level: float = intervals.LEVEL,
) -> dict[str, dict[str, float]]:
    """Mean and interval of each metric of one policy, over users and seeds.

    The interval covers the variation between users and between seeds; see the module's
    docstring.

    Args:
      sessions_by_seed: for each training seed, the result of `per_session` for its
        evaluation; ids of users are common to all seeds.
      level: confidence level of the interval.

    Returns:
      For `reward` (clicks per session), `ctr` (clicks per step), `depth` (steps per
      session) and every feedback column (total per session): mean, low and high.

    Raises:
      errors.UserError: if there are fewer than two users.
      ValueError: if seeds have different columns or none has a session.
    """
    columns = _columns(sessions_by_seed)
    cells = _cells(sessions_by_seed, columns, _users([sessions_by_seed]))
    metrics = _metrics(columns)
    return {name: _interval(metrics[name], [cells], level).bounds for name in metrics}


def paired_difference(
    a: Sequence[Sessions],
    b: Sequence[Sessions],
    level: float = intervals.LEVEL,
) -> dict[str, dict[str, float]]:
    """The difference a - b of two policies on the same users and seeds.

    Each user is compared with the same user, so that differences between users cancel. Seed s
    of `a` is paired with seed s of `b`.

    Args:
      a: sessions by seed, as in `summarise`.
      b: the same, with equally many sessions of each user in each seed.
      level: confidence level of the interval.

    Returns:
      For each metric that both have: mean, low, high, `p_value` (two-sided, of no
      difference) and `detectable`, the smallest true difference that as many users and seeds
      detect with 80% power.

    Raises:
      errors.UserError: if there are fewer than two users.
      ValueError: if the users or seeds differ.
    """
    return compare([(a, b)], lambda x, y: x - y, level)


def paired_gain(
    a: Sequence[Sessions],
    b: Sequence[Sessions],
    level: float = intervals.LEVEL,
) -> dict[str, dict[str, float]]:
    """The relative difference (a - b) / b of two policies on the same users and seeds.

    The interval includes the uncertainty of `b`.

    Args:
      a: sessions by seed, as in `summarise`.
      b: the same, with equally many sessions of each user in each seed.
      level: confidence level of the interval.

    Returns:
      As `paired_difference`, in shares of `b`: .037 is 3.7% more. NaN for a metric that is
      0 under `b`.

    Raises:
      errors.UserError: if there are fewer than two users.
      ValueError: if the users or seeds differ.
    """
    return compare([(a, b)], lambda x, y: x / y - 1.0, level)


def compare(
    groups: Sequence[Sequence[Sequence[Sessions]]],
    function: Callable[..., np.ndarray],
    level: float = intervals.LEVEL,
) -> dict[str, dict[str, float]]:
    """A function of policies' metrics, the mean over data sets.

    Args:
      groups: for each data set the policies that are compared, each as sessions by seed with
        equally many sessions of each user in each seed. Data sets have their own users.
      function: maps a metric of each policy of a group, [...], to [...] by arithmetic.
      level: confidence level of the interval.

    Returns:
      As `paired_difference`, for each metric that all policies have.

    Raises:
      errors.UserError: if there are fewer than two users.
      ValueError: if users or seeds of a group differ.
    """
    every = [_columns(policy) for policies in groups for policy in policies]
    columns = [name for name in every[0] if all(name in of_policy for of_policy in every)]
    cells = [_paired(policies, columns) for policies in groups]
    width = 3 + len(columns)

    def compared(metric: Statistic) -> Statistic:
        def statistic(sums: np.ndarray) -> np.ndarray:
            starts = range(0, sums.shape[-1], width)
            return function(*(metric(sums[..., at : at + width]) for at in starts))

        return statistic

    return {
        name: _interval(compared(metric), cells, level)._asdict()
        for name, metric in _metrics(columns).items()
    }


def share(
    policy: Sequence[Sessions],
    low: Sequence[Sessions],
    high: Sequence[Sessions],
    metric: str = "reward",
    level: float = intervals.LEVEL,
) -> dict[str, float]:
    """Position of a policy between two others: 0 at `low`, 1 at `high`.

    (policy - low) / (high - low) of a metric; `low` is usually the random policy and
    `high` a proven optimum. The interval includes the uncertainty of all three.

    Args:
      policy: sessions by seed, as in `summarise`.
      low: the same of the policy at 0, on the same users and seeds.
      high: the same of the policy at 1.
      metric: `reward`, `ctr`, `depth` or a feedback column of all three.
      level: confidence level of the interval.

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
    cells = _paired([policy, low, high], columns)
    width, value = 3 + len(columns), metrics[metric]

    def split(sums: np.ndarray) -> list[np.ndarray]:
        return [value(sums[..., i * width : (i + 1) * width]) for i in range(3)]

    _, bottom, top = split(cells.sum(axis=(0, 1)))
    if not top > bottom:
        raise ValueError(f"{metric}: high is {top:.4g}, not above low, {bottom:.4g}")

    def share_of(sums: np.ndarray) -> np.ndarray:
        of_policy, of_low, of_high = split(sums)
        return (of_policy - of_low) / (of_high - of_low)

    return _interval(share_of, [cells], level).bounds


def _interval(
    statistic: Statistic, groups: Sequence[np.ndarray], level: float
) -> intervals.Interval:
    """Interval of a statistic of sums, which maps [..., K] to [...]; the mean over groups.

    Args:
      statistic: a ratio of sums, or a combination of ratios.
      groups: for each group sums over each user's sessions in each seed, [U, S, K].
      level: confidence level.
    """
    users = min(len(cells) for cells in groups)
    if users < 2:
        raise errors.UserError(
            f"an interval over users needs at least 2 users, there is {users}; "
            "evaluate more users"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [float(statistic(cells.sum(axis=(0, 1)))) for cells in groups]
        tables = [intervals.pseudo_values(statistic, cells) for cells in groups]
        return intervals.of_tables(tables, level, means)


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
