"""The paper's claims about its Tables 1 to 3, each checked against the measured results.

A claim about a difference holds on a data set where the paired difference lies on the claimed
side of zero with p < 0.05, is reversed where it lies on the other side, and is undecided
otherwise. p is corrected by Holm's method for all such claims on all data sets; intervals are
of 95% each and not corrected. Beside an undecided claim stands the smallest difference that as
many users and seeds detect with 80% power. That GoalRec-off is competitive is judged by its
interval alone, because it is no claim about a difference from zero.
"""

from collections.abc import Mapping, Sequence
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
    """

    claim: str
    paper: str
    verdicts: dict[str, str]


def markdown(evaluated: ByEnvironment, titles: Mapping[str, str]) -> str:
    """Returns all claims as a Markdown table.

    Args:
      evaluated: environment -> data set -> method -> sessions by seed.
      titles: data set -> its heading, in order.
    """
    lines = [["Claim", "Paper", *titles.values()], ["---"] * (2 + len(titles))]
    for check in checks(evaluated, list(titles)):
        cells = [check.verdicts[name] for name in titles]
        lines.append([check.claim, check.paper, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


class _Compared(NamedTuple):
    """A claim about a difference, before the p-values are corrected.

    Attributes:
      gain: the measured gain; None where a method was not run.
      sign: 1 if the claim is a gain above zero, -1 if below.
    """

    gain: comparison.Gain | None
    sign: int


class _Line(NamedTuple):
    """A `Check` whose claims about differences are not judged yet."""

    claim: str
    paper: str
    verdicts: Mapping[str, _Compared | str]


def checks(evaluated: ByEnvironment, data_sets: Sequence[str]) -> list[Check]:
    """Checks each claim of the paper on each data set."""
    lines = _lines(evaluated, data_sets)
    cells = [cell for line in lines for cell in line.verdicts.values()]
    measured = [cell.gain for cell in cells if isinstance(cell, _Compared) and cell.gain]
    corrected = iter(comparison.holm([gain.p_value for gain in measured]))

    def verdict(cell: _Compared | str) -> str:
        if isinstance(cell, str):
            return cell
        if cell.gain is None:
            return comparison.NOT_RUN
        return _verdict(cell.gain, cell.sign, next(corrected))

    return [
        Check(
            line.claim,
            line.paper,
            {name: verdict(cell) for name, cell in line.verdicts.items()},
        )
        for line in lines
    ]


def _lines(evaluated: ByEnvironment, data_sets: Sequence[str]) -> list[_Line]:
    lines = []
    for method in ("wide_and_deep", "dien"):
        name = style.policy_name(method)
        for metric, sign, words in (("ctr", 1, "higher CTR"), ("reward", -1, "lower reward")):
            claim = f"{name} has a {words} than GoalRec"
            lines.append(_between(evaluated, data_sets, claim, method, "goalrec", metric, sign))
    for method in ("rainbow", "dyna_q", "td3"):
        claim = f"GoalRec earns more than {style.policy_name(method)}"
        lines.append(_between(evaluated, data_sets, claim, "goalrec", method, "reward", 1))
    lines.append(
        _Line(
            "GoalRec-off is competitive: at most 10% below the best baseline",
            _printed("goalrec_off", "rainbow", "reward") + " against Rainbow",
            {data_set: _competitive(evaluated, data_set) for data_set in data_sets},
        )
    )
    for environment, words in (
        ("high_dimensional", "in high dimension"),
        ("high_variance", "under high variance"),
    ):
        lines += _robustness(evaluated, data_sets, environment, words)
    return lines


def _between(
    evaluated: ByEnvironment,
    data_sets: Sequence[str],
    claim: str,
    method: str,
    other: str,
    metric: str,
    sign: int,
) -> _Line:
    """Compares two methods in the vanilla environment."""
    verdicts = {
        data_set: _Compared(_gain(evaluated, "vanilla", data_set, method, other, metric), sign)
        for data_set in data_sets
    }
    return _Line(claim, _printed(method, other, metric), verdicts)


def _robustness(
    evaluated: ByEnvironment, data_sets: Sequence[str], environment: str, words: str
) -> list[_Line]:
    """Compares an environment with the vanilla one."""
    lines = []
    for method in ("td3", "rainbow", "dyna_q", "goalrec"):
        sign = 1 if (method, environment) == ("goalrec", "high_dimensional") else -1
        verb = "gains" if sign > 0 else "loses"
        verdicts = {
            data_set: _Compared(_change(evaluated, environment, data_set, method), sign)
            for data_set in data_sets
        }
        claim = f"{style.policy_name(method)} {verb} {words}"
        lines.append(_Line(claim, _printed_change(method, environment), verdicts))
    least = {data_set: _least(evaluated, environment, data_set) for data_set in data_sets}
    lines.append(_Line(f"GoalRec loses least {words}", "yes", least))
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


def _gain(
    evaluated: ByEnvironment,
    environment: str,
    data_set: str,
    method: str,
    other: str,
    metric: str,
) -> comparison.Gain | None:
    cells = evaluated.get(environment, {}).get(data_set, {})
    return comparison.gain(cells.get(method, ()), cells.get(other, ()), metric)


def _change(
    evaluated: ByEnvironment, environment: str, data_set: str, method: str
) -> comparison.Gain | None:
    """The change of a method's reward from the vanilla environment to another."""
    after = evaluated.get(environment, {}).get(data_set, {}).get(method, ())
    before = evaluated.get("vanilla", {}).get(data_set, {}).get(method, ())
    return comparison.gain(after, before)


def _verdict(gain: comparison.Gain, sign: int, corrected: float) -> str:
    """The verdict, with p by Holm's correction."""
    decided = "holds" if sign * gain.mean > 0 else "reversed"
    return f"{_words(decided if corrected < LEVEL else UNDECIDED, gain)}, p {corrected:.2g}"


def _competitive(evaluated: ByEnvironment, data_set: str) -> str:
    gains = {
        method: _gain(evaluated, "vanilla", data_set, "goalrec_off", method, "reward")
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


def _least(evaluated: ByEnvironment, environment: str, data_set: str) -> str:
    changes = {
        method: _change(evaluated, environment, data_set, method)
        for method in ("goalrec", "rainbow", "dyna_q", "td3")
    }
    measured = {method: change.mean for method, change in changes.items() if change}
    if "goalrec" not in measured or len(measured) < 2:
        return comparison.NOT_RUN
    least = max(measured, key=measured.__getitem__)
    if least == "goalrec":
        return "yes, by the means"
    return f"no: {style.policy_name(least)} ({measured[least]:+.1%})"
