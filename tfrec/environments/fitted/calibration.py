"""Calibration of fitted users: comparison of their responses with the log, and correction.

`calibrate` fits offsets so that means agree: of logits for clicks, binary feedback and exits,
of logarithms for amounts. Given held-out sessions, it first fits a slope for each logit,
because a model of a small log is overconfident and a policy trained in it would exploit that.
`report` compares the model with a log, preferably held-out sessions, in two ways:

  teacher forced  the model reads the logged sessions and predicts each next response
  simulated       complete sessions from the logged starts, with items sampled from those that
                  the log showed the same user
"""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
import tensorflow as tf
from matplotlib.figure import Figure

from tfrec import errors, outputs, types
from tfrec.environments import contract, player, user_models, users
from tfrec.environments.fitted import recurrent_model
from tfrec.metrics import ranking, reliability
from tfrec.metrics import session as session_metrics
from tfrec.report import model_plots, plots, style

_BATCH = 512  # sessions in a batch
_PLAYED = player.AT_ONCE  # sessions played to measure a depth
_TRIES = 8  # samples per step to find an item that was not yet shown
_LOGIT_LIMIT = 20.0
_SLOPES = (0.1, 2.0)  # bounds of a slope; few sessions cannot support values beyond them
_MIN_SHOWN = 30  # the plot by step omits bins with fewer shown items
_STEP_BINS = 30


class Head(NamedTuple):
    """One kind of response at every logged step, flat over sessions: [L] each.

    Attributes:
      name: feedback column or `exit`.
      unit: `probability`, or the unit of an amount.
      expected: the model's expectation in raw units.
      observed: the logged value; 0 or 1 for a probability.
    """

    name: str
    unit: str
    expected: np.ndarray
    observed: np.ndarray


def calibrate(
    model: recurrent_model.RecurrentModel,
    episodes: types.Episodes,
    target_depth: float | None = None,
    unseen: types.Episodes | None = None,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Sets the model's offsets so that its means are those of the log.

    Args:
      model: the model, which is changed in place.
      episodes: the log that gives the means, numpy arrays.
      target_depth: mean steps of a session simulated with `logging_policy`; None
        matches the predicted exits at the logged steps with the logged exits.
      unseen: held-out sessions to fit slopes on; None leaves every slope at 1.
      seed: seed of the sessions simulated for `target_depth`.

    Returns:
      Slope and offset of each feedback column and of `exit`.

    Raises:
      UserError: if no exit offset reaches `target_depth`.
    """
    binary = [column.kind == "binary" for column in model.spec.feedback]
    ones = np.ones(len(binary))
    _adjust(model, ones, 0 * ones, 1.0, 0.0)
    slopes, exit_slope = ones, 1.0
    if unseen is not None:
        *heads, exit_head = expectations(model, unseen)
        slopes = np.array([_slope(h) if b else 1.0 for h, b in zip(heads, binary, strict=True)])
        exit_slope = _slope(exit_head)
        _adjust(model, slopes, 0 * ones, exit_slope, 0.0)
    *heads, exit_head = expectations(model, episodes)
    offsets = np.array(
        [_logit_offset(h) if b else _log_ratio(h) for h, b in zip(heads, binary, strict=True)]
    )
    _adjust(model, slopes, offsets, exit_slope, _logit_offset(exit_head))
    if target_depth is not None:
        _match_depth(model, episodes, target_depth, seed)
    by_column = {
        name: (float(slope), float(offset))
        for name, slope, offset in zip(model.spec.feedback_names, slopes, offsets, strict=True)
    }
    return {**by_column, "exit": (exit_slope, float(model.exit_offset.numpy()))}


def expectations(model: recurrent_model.RecurrentModel, episodes: types.Episodes) -> list[Head]:
    """The model's expected and the log's observed responses at each logged step.

    Expectations of further columns and of the exit are conditional on the logged click.

    Args:
      model: the user model.
      episodes: numpy arrays, S sessions.

    Returns:
      A head for each feedback column, in order, then the exit.
    """
    spec = model.spec

    expect = tf.function(model.expect, reduce_retracing=True, autograph=False)
    expected, steps = [], np.asarray(episodes.item).shape[1]
    for start in range(0, len(episodes.length), _BATCH):
        batch = types.rows(episodes, slice(start, start + _BATCH))
        expected.append(expect(batch).numpy())
    flat = np.concatenate(expected).astype(np.float64)  # [L, F + 1]
    step = np.arange(steps)[None, :]
    real = step < np.asarray(episodes.length)[:, None]  # [S, T]
    last = step == np.asarray(episodes.length)[:, None] - 1
    exits = (last & np.asarray(episodes.exited)[:, None])[real]
    heads = [
        Head(
            column.name,
            column.unit if column.kind == "amount" else "probability",
            flat[:, k],
            np.asarray(episodes.feedback)[..., k][real].astype(np.float64),
        )
        for k, column in enumerate(spec.feedback)
    ]
    return [*heads, Head("exit", "probability", flat[:, -1], exits.astype(np.float64))]


def logging_policy(log: types.Episodes, user: np.ndarray, num_items: int) -> contract.Policy:
    """Samples items from those that the log showed the same user.

    Items are sampled from the whole log for users without logged sessions, and if repeats are
    not allowed and none of `_TRIES` samples is new.

    Args:
      log: numpy arrays, S sessions.
      user: int [B], the user of each session to play.
      num_items: N.
    """
    real = np.asarray(log.item) != types.PAD
    shown = np.asarray(log.item)[real]  # [L]
    owner = np.broadcast_to(np.asarray(log.user)[:, None], real.shape)[real]
    by_owner = np.argsort(owner, kind="stable")
    shown_by_user = tf.constant(shown[by_owner], tf.int32)  # [L]
    first = np.searchsorted(owner[by_owner], user, side="left")
    size = np.searchsorted(owner[by_owner], user, side="right") - first
    first_row, size_row = tf.constant(first, tf.int32), tf.constant(size, tf.float32)
    all_shown = tf.constant(shown, tf.int32)

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        start, count = map(timestep.per_session, (first_row, size_row))
        uniform = tf.random.stateless_uniform([tf.size(start), _TRIES + 1], timestep.seed)
        nth = tf.cast(uniform * count[:, None], tf.int32)  # [B, tries + 1]
        samples = tf.gather(shown_by_user, tf.minimum(start[:, None] + nth, len(shown) - 1))
        fallback = tf.gather(all_shown, tf.cast(uniform[:, -1] * len(shown), tf.int32))  # [B]
        allowed = tf.repeat(count[:, None] > 0.0, _TRIES, axis=1)  # [B, tries]
        if timestep.blocked is not None:
            allowed &= ~tf.gather(timestep.blocked, samples[:, :-1] - 1, batch_dims=1)
        first_allowed = tf.gather(samples, tf.argmax(allowed, axis=1), batch_dims=1)  # [B]
        item = tf.where(tf.reduce_any(allowed, axis=1), first_allowed, fallback)
        return contract.action_of(item)

    return policy


def report(
    model: recurrent_model.RecurrentModel,
    episodes: types.Episodes,
    directory: str | os.PathLike,
    log: types.Episodes | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures the model against a log and writes simulator.{json,md} and plots.

    Args:
      model: the user model, calibrated or not.
      episodes: numpy arrays, preferably held-out sessions.
      directory: output folder, which is created.
      log: all sessions, from which the items of played sessions are sampled; `episodes`
        if None.
      seed: seed of the played sessions.

    Returns:
      The content of simulator.json: `sessions` (logged and simulated: reward, ctr, depth and
      feedback totals with 95% intervals over users) and `heads` (for each response: auc,
      log_loss, constant_log_loss, brier, calibration_error, mean, observed_mean; for amounts:
      rank_correlation, calibration_error and the means).
    """
    folder = pathlib.Path(directory)
    heads = expectations(model, episodes)
    curves = {head.name: reliability.curve(head.expected, head.observed) for head in heads}
    played = _player(model, episodes, episodes if log is None else log, seed)()
    names = model.spec.feedback_names
    sources = {"logged": episodes, "simulated": played}
    measured: dict[str, Any] = {
        "sessions": {
            name: session_metrics.summarise([session_metrics.per_session(source, names)])
            for name, source in sources.items()
        },
        "heads": {head.name: _scores(head, curves[head.name]) for head in heads},
    }
    units = {head.name: head.unit for head in heads}
    figures = {
        "reliability": model_plots.reliability(curves, units, "Simulated users"),
        "survival": plots.survival(
            {name: np.asarray(source.length) for name, source in sources.items()}
        ),
        "depth": _depth_plot(sources),
        "ctr_by_step": _ctr_plot(sources),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")
    outputs.write_json(folder / "simulator.json", measured)
    with outputs.replacing_file(folder / "simulator.md") as path:
        path.write_text(_markdown(measured, figures))
    return measured


def table(measured: Mapping[str, Any]) -> str:
    """The report's numbers as two Markdown tables: sessions, then heads."""
    lines = ["| sessions | CTR | depth, steps | clicks per session |", "|---|---|---|---|"]
    for name, summary in measured["sessions"].items():
        cells = (summary[metric] for metric in ("ctr", "depth", "reward"))
        row = (f"{c['mean']:.3g} [{c['low']:.3g}, {c['high']:.3g}]" for c in cells)
        lines.append(f"| {name} | {' | '.join(row)} |")
    columns = {
        "mean": "mean",
        "observed_mean": "logged",
        "calibration_error": "off by",
        "auc": "AUC",
        "log_loss": "log-loss",
        "constant_log_loss": "constant's",
        "brier": "Brier",
        "rank_correlation": "rank corr.",
    }
    lines += ["", f"| answer | {' | '.join(columns.values())} |", "|---" * 9 + "|"]
    for name, scores in measured["heads"].items():
        row = (f"{scores[key]:.3g}" if key in scores else "" for key in columns)
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _markdown(measured: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    parts = [
        "# Simulated users against the log",
        "Logged sessions, and sessions simulated from logged starts with items drawn from "
        "those that the log showed the same user. Brackets are 95% intervals over users. "
        "`off by` is the mean distance of prediction from observation over ten bins.",
        table(measured),
        *(f"![{name.replace('_', ' ')}]({name}.png)" for name in figures),
    ]
    return "\n\n".join(parts) + "\n"


def _scores(head: Head, curve: reliability.ReliabilityCurve) -> dict[str, float]:
    """Scores of one head's predictions, without undefined ones."""
    scores = {
        "mean": float(head.expected.mean()),
        "observed_mean": float(head.observed.mean()),
        "calibration_error": reliability.calibration_error(curve),
    }
    is_defined = np.ptp(head.observed) > 0 and np.ptp(head.expected) > 0
    if head.unit != "probability":
        if is_defined:
            rank = scipy.stats.spearmanr(head.expected, head.observed)
            scores["rank_correlation"] = float(rank.statistic)
        return scores
    scores["log_loss"] = _log_loss(head.expected, head.observed)
    scores["constant_log_loss"] = _log_loss(
        np.full_like(head.observed, head.observed.mean()), head.observed
    )
    scores["brier"] = float(((head.expected - head.observed) ** 2).mean())
    if is_defined:
        scores["auc"] = ranking.auc(head.expected, head.observed)
    return scores


def _log_loss(probability: np.ndarray, outcome: np.ndarray) -> float:
    likelihood = np.where(outcome > 0, probability, 1.0 - probability)
    return float(-np.log(np.maximum(likelihood, 1e-12)).mean())


def _adjust(
    model: recurrent_model.RecurrentModel,
    slopes: np.ndarray,
    offsets: np.ndarray,
    exit_slope: float,
    exit_offset: float,
) -> None:
    model.feedback_slope.assign(slopes)
    model.feedback_offset.assign(offsets)
    model.exit_slope.assign(exit_slope)
    model.exit_offset.assign(exit_offset)


def _logits(head: Head) -> np.ndarray:
    return scipy.special.logit(np.clip(head.expected, 1e-9, 1 - 1e-9))


def _slope(head: Head) -> float:
    """The maximum-likelihood slope of the logits (Platt 1999)."""
    logits, outcome = _logits(head), head.observed
    if np.ptp(outcome) == 0 or np.ptp(logits) == 0:
        return 1.0

    def cost(adjusted: np.ndarray) -> tuple[float, np.ndarray]:
        z = adjusted[0] * logits + adjusted[1]
        error = scipy.special.expit(z) - outcome
        loss = (np.logaddexp(0.0, z) - outcome * z).mean()
        return loss, np.array([(error * logits).mean(), error.mean()])

    bounds = [_SLOPES, (-_LOGIT_LIMIT, _LOGIT_LIMIT)]
    optimum = scipy.optimize.minimize(cost, np.array([1.0, 0.0]), jac=True, bounds=bounds)
    return float(optimum.x[0])


def _logit_offset(head: Head) -> float:
    """The offset of the logits at which the mean probability is the observed share."""
    logits = _logits(head)
    tiny = 0.5 / len(head.observed)  # for events that the log has at no step or at all steps
    share = np.clip(head.observed.mean(), tiny, 1 - tiny)
    return float(
        scipy.optimize.brentq(
            lambda offset: scipy.special.expit(logits + offset).mean() - share,
            -_LOGIT_LIMIT,
            _LOGIT_LIMIT,
        )
    )


def _log_ratio(head: Head) -> float:
    """The offset of the logarithms at which the mean amount is the observed one."""
    if head.observed.sum() <= 0 or head.expected.sum() <= 0:
        return 0.0
    return float(np.log(head.observed.mean() / head.expected.mean()))


def _match_depth(
    model: recurrent_model.RecurrentModel, episodes: types.Episodes, target: float, seed: int
) -> None:
    """Bisects the exit offset until the mean depth of played sessions is the target."""
    played = _player(model, episodes, episodes, seed)

    def depth(offset: float) -> float:
        model.exit_offset.assign(offset)
        return float(played().length.mean())

    low, high = -_LOGIT_LIMIT, _LOGIT_LIMIT
    deepest, shallowest = depth(low), depth(high)
    if not shallowest <= target <= deepest:
        raise errors.UserError(
            f"target depth is {target} steps; exit offsets of these users give depths of "
            f"{shallowest:.1f} to {deepest:.1f} (sessions are cut at {model.spec.max_steps})"
        )
    for _ in range(16):  # the same random numbers each time, so that depth is monotone
        middle = (low + high) / 2
        low, high = (middle, high) if depth(middle) > target else (low, middle)
    depth((low + high) / 2)


def _player(
    model: user_models.UserModel, episodes: types.Episodes, log: types.Episodes, seed: int
) -> Callable[[], types.Episodes]:
    """A function that plays the same starts of `episodes` with the same random numbers."""
    rows = np.resize(np.random.default_rng(seed).permutation(len(episodes.length)), _PLAYED)
    starts = user_models.starts_of(types.rows(episodes, rows))
    policy = logging_policy(log, starts.user, model.spec.num_items)

    runner = player.Player(users.UserEnvironment(model), policy)
    return lambda: runner.play(starts, seed)


@plots.styled
def _depth_plot(sources: Mapping[str, types.Episodes]) -> Figure:
    """Share of sessions of each length."""
    figure = Figure(figsize=(7.2, 4.2), layout="tight")
    axes = figure.subplots()
    longest = max(int(np.max(source.length)) for source in sources.values())
    width = -(-longest // 40)  # steps in a bar
    edges = np.arange(0, longest + width, width) + 0.5
    for name, source in sources.items():
        length = np.asarray(source.length)
        axes.hist(length, edges.tolist(), weights=np.full(len(length), 1 / len(length)),
                  histtype="step", linewidth=2, color=style.policy_colour(name),
                  label=f"{name}, mean {length.mean():.1f}")  # fmt: skip
    axes.set_xlabel("depth (steps of a session)")
    axes.set_ylabel("share of sessions")
    axes.set_title("How long sessions last")
    axes.legend(fontsize=9)
    return figure


@plots.styled
def _ctr_plot(sources: Mapping[str, types.Episodes]) -> Figure:
    """Share of items clicked at each step, with a band of two standard errors."""
    figure = Figure(figsize=(7.2, 4.2), layout="tight")
    axes = figure.subplots()
    longest = max(int(np.max(source.length)) for source in sources.values())
    width = -(-longest // _STEP_BINS)  # steps in a bin
    for name, source in sources.items():
        clicks = np.asarray(source.feedback)[:, :longest, 0]  # [S, T]
        shown = np.arange(longest) < np.asarray(source.length)[:, None]
        group = np.arange(longest) // width
        count = np.bincount(group, shown.sum(axis=0))
        clicked = np.bincount(group, (clicks * shown).sum(axis=0))
        plotted = count >= min(_MIN_SHOWN, count[0])
        rate = clicked[plotted] / count[plotted]
        error = 2 * np.sqrt(rate * (1 - rate) / count[plotted])
        steps = (np.flatnonzero(plotted) + 0.5) * width + 0.5  # the middle of each bin
        colour = style.policy_colour(name)
        axes.plot(steps, rate, color=colour, linewidth=2, label=name)
        axes.fill_between(steps, rate - error, rate + error, color=colour, alpha=0.15)
    axes.set_xlabel("step of the session")
    axes.set_ylabel("CTR (clicks per item shown)")
    axes.set_title("Clicks by step")
    axes.legend(fontsize=9)
    return figure
