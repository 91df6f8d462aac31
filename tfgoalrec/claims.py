"""The paper's claims about its Tables 1 to 3, each checked against the measured results.

A claim about a difference holds on a data set where the paired difference lies on the claimed
side of zero with p < 0.05, is reversed where it lies on the other side, and is undecided
otherwise. p is corrected by Holm's method for all such claims on all data sets; intervals are
of 95% each and not corrected. Beside an undecided claim stands the smallest difference that as
many users and seeds detect with 80% power. That GoalRec-off is competitive is judged by its
interval alone, because it is no claim about a difference from zero.

The paper's printed differences are means over its data sets. So each claim is also judged by
the mean over all measured data sets, which are fixed; its p-values are corrected for the claims
judged in this way.

"Loses least" compares GoalRec's change with that of the method that loses least among the
others; p is first multiplied by their number, among which that one was chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfgoalrec import published
from tfrec.report import comparison, style

UNDECIDED = "undecided"
ByEnvironment = Mapping[str, comparison.Evaluated]


LEVEL = 0.05  # of the corrected p-values


class Check(NamedTuple):
    """One line of a table of claims.

    Attributes:
      claim: the claim in words.
      paper: the difference of the paper's printed numbers.
      verdicts: data set -> verdict of the measured results.
      mean: verdict of the mean over the data sets; empty with fewer than two.
    """

    claim: str
    paper: str
    verdicts: dict[str, str]
    mean: str = ""


def markdown(evaluated: ByEnvironment, titles: Mapping[str, str]) -> str:
    """Returns all claims as a Markdown table.

    Args:
      evaluated: environment -> data set -> method -> sessions by seed.
      titles: data set -> its heading, in order.
    """
    several = len(titles) > 1
    headings = ["Claim", "Paper", *titles.values(), *(["Mean over them"] if several else [])]
    lines = [headings, ["---"] * len(headings)]
    for check in checks(evaluated, list(titles)):
        cells = [check.verdicts[name] for name in titles]
        if several:
            cells.append(check.mean)
        lines.append([check.claim, check.paper, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


class _Compared(NamedTuple):
    """A claim about a difference, before the p-values are corrected.

    Attributes:
      gain: the measured gain; None where a method was not run.
      sign: 1 if the claim is a gain above zero, -1 if below.
      about: words behind the verdict.
    """

    gain: comparison.Gain | None
    sign: int
    about: str = ""


class _Line(NamedTuple):
    """A claim that is not judged yet.

    Attributes:
      claim: the claim in words.
      paper: the difference of the paper's printed numbers.
      judge: the comparison on some data sets, whose mean counts; a verdict, where no p-value
        decides.
    """

    claim: str
    paper: str
    judge: Callable[[Sequence[str]], _Compared | str]


def checks(evaluated: ByEnvironment, data_sets: Sequence[str]) -> list[Check]:
    """Checks each claim of the paper on each data set, and on the mean of those measured."""
    lines = _lines(evaluated)
    alone = [[line.judge([name]) for name in data_sets] for line in lines]
    verdicts = iter(_judged([cell for cells in alone for cell in cells]))
    by_line = [{name: next(verdicts) for name in data_sets} for _ in lines]
    measured = [
        [name for name in data_sets if of_line[name] != comparison.NOT_RUN]
        for of_line in by_line
    ]
    # Of fewer than two data sets there is no mean.
    together = [
        line.judge(names) if len(names) > 1 else comparison.NOT_RUN
        for line, names in zip(lines, measured, strict=True)
    ]
    means = _judged(together) if len(data_sets) > 1 else [""] * len(lines)
    return [
        Check(line.claim, line.paper, of_line, mean)
        for line, of_line, mean in zip(lines, by_line, means, strict=True)
    ]


def _judged(cells: Sequence[_Compared | str]) -> list[str]:
    """The verdicts, with p corrected for all of these comparisons."""
    measured = [cell.gain for cell in cells if isinstance(cell, _Compared) and cell.gain]
    corrected = iter(comparison.holm([gain.p_value for gain in measured]))
    verdicts = []
    for cell in cells:
        if isinstance(cell, str):
            verdicts.append(cell)
        elif cell.gain is None:
            verdicts.append(comparison.NOT_RUN)
        else:
            verdicts.append(_verdict(cell, cell.gain, next(corrected)))
    return verdicts


def _lines(evaluated: ByEnvironment) -> list[_Line]:
    def between(claim: str, method: str, other: str, metric: str, sign: int) -> _Line:
        def judge(data_sets: Sequence[str]) -> _Compared:
            return _Compared(_gain(evaluated, data_sets, method, other, metric), sign)

        return _Line(claim, _printed(method, other, metric), judge)

    lines = []
    for method in ("wide_and_deep", "dien"):
        name = style.policy_name(method)
        for metric, sign, words in (("ctr", 1, "higher CTR"), ("reward", -1, "lower reward")):
            claim = f"{name} has a {words} than GoalRec"
            lines.append(between(claim, method, "goalrec", metric, sign))
    for method in ("rainbow", "dyna_q", "td3"):
        claim = f"GoalRec earns more than {style.policy_name(method)}"
        lines.append(between(claim, "goalrec", method, "reward", 1))
    lines.append(
        _Line(
            "GoalRec-off is competitive: at most 10% below the best baseline",
            _printed("goalrec_off", "rainbow", "reward") + " against Rainbow",
            lambda data_sets: _competitive(evaluated, data_sets),
        )
    )
    for environment, words in (
        ("high_dimensional", "in high dimension"),
        ("high_variance", "under high variance"),
    ):
        lines += _robustness(evaluated, environment, words)
    return lines


def _robustness(evaluated: ByEnvironment, environment: str, words: str) -> list[_Line]:
    """Compares an environment with the vanilla one."""

    def line(method: str) -> _Line:
        sign = 1 if (method, environment) == ("goalrec", "high_dimensional") else -1
        verb = "gains" if sign > 0 else "loses"

        def judge(data_sets: Sequence[str]) -> _Compared:
            return _Compared(_change(evaluated, environment, data_sets, method), sign)

        claim = f"{style.policy_name(method)} {verb} {words}"
        return _Line(claim, _printed_change(method, environment), judge)

    lines = [line(method) for method in ("td3", "rainbow", "dyna_q", "goalrec")]
    lines.append(
        _Line(
            f"GoalRec loses least {words}",
            "yes",
            lambda data_sets: _least(evaluated, environment, data_sets),
        )
    )
    return lines


def _printed(method: str, other: str, metric: str) -> str:
    table = published.TABLES["vanilla"]
    gains = [
        getattr(cell, metric)[0] / getattr(table[other][data_set], metric)[0] - 1
        for data_set, cell in table[method].items()
    ]
    return f"{np.mean(gains):+.1%}"


def _printed_change(method: str, environment: str) -> str:
    before, after = published.TABLES["vanilla"][method], published.TABLES[environment][method]
    changes = [after[name].reward[0] / before[name].reward[0] - 1 for name in before]
    return f"{np.mean(changes):+.1%}"


def _cells(
    evaluated: ByEnvironment, environment: str, data_sets: Sequence[str], method: str
) -> list[comparison.BySeed]:
    """Sessions of a method on each of the data sets; empty where it was not run."""
    by_data_set = evaluated.get(environment, {})
    return [by_data_set.get(name, {}).get(method, ()) for name in data_sets]


def _gain(
    evaluated: ByEnvironment, data_sets: Sequence[str], method: str, other: str, metric: str
) -> comparison.Gain | None:
    ours, theirs = (_cells(evaluated, "vanilla", data_sets, name) for name in (method, other))
    return comparison.mean_gain(list(zip(ours, theirs, strict=True)), metric)


def _change(
    evaluated: ByEnvironment, environment: str, data_sets: Sequence[str], method: str
) -> comparison.Gain | None:
    """The change of a method's reward from the vanilla environment to another."""
    after, before = (
        _cells(evaluated, name, data_sets, method) for name in (environment, "vanilla")
    )
    return comparison.mean_gain(list(zip(after, before, strict=True)))


def _verdict(compared: _Compared, gain: comparison.Gain, corrected: float) -> str:
    """The verdict, with p by Holm's correction."""
    decided = "holds" if compared.sign * gain.mean > 0 else "reversed"
    words = _words(decided if corrected < LEVEL else UNDECIDED, gain)
    return f"{words}{compared.about}, p {corrected:.2g}"


def _competitive(evaluated: ByEnvironment, data_sets: Sequence[str]) -> str:
    gains = {
        method: _gain(evaluated, data_sets, "goalrec_off", method, "reward")
        for method in ("wide_and_deep", "dien", "dyna_q", "rainbow", "td3")
    }
    measured = {method: gain for method, gain in gains.items() if gain}
    if not measured:
        return comparison.NOT_RUN
    best = min(measured, key=lambda method: measured[method].mean)
    gain = measured[best]
    word = "holds" if gain.low > -0.1 else "fails" if gain.high < -0.1 else UNDECIDED
    return f"{_words(word, gain)} against {style.policy_name(best)}"


def _words(verdict: str, gain: comparison.Gain) -> str:
    """The verdict with its interval; beside `undecided`, what could have been detected."""
    power = f", {gain.power}" if verdict == UNDECIDED else ""
    return f"{verdict}: {gain.interval}{power}"


def _least(evaluated: ByEnvironment, environment: str, data_sets: Sequence[str]) -> _Compared:
    """GoalRec's change beside that of the one of the others that loses least."""
    others = ("rainbow", "dyna_q", "td3")
    changes = {m: _change(evaluated, environment, data_sets, m) for m in others}
    measured = {method: change.mean for method, change in changes.items() if change}
    if not measured:
        return _Compared(None, 1)
    least = max(measured, key=measured.__getitem__)
    policies = [
        _cells(evaluated, name, data_sets, method)
        for method in ("goalrec", least)
        for name in (environment, "vanilla")
    ]
    gain = comparison.difference_of_gains(list(zip(*policies, strict=True)))
    if gain is not None:
        gain = gain._replace(p_value=min(1.0, gain.p_value * len(measured)))
    return _Compared(gain, 1, f" against {style.policy_name(least)}")
