"""The paper's claims about its Tables 1 to 3, each checked against what was measured.

A claim about a difference holds on a data set where the 95% interval of the paired
difference lies on the claimed side of zero, is reversed where it lies on the other, and
is undecided in between.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfgoalrec import published
from tfrec.report import comparison, style

ByEnvironment = Mapping[str, comparison.Evaluated]


class Check(NamedTuple):
    """One line of a table of claims.

    Attributes:
      claim: in words.
      paper: what the paper's numbers say.
      verdicts: data set -> what ours say.
    """

    claim: str
    paper: str
    verdicts: dict[str, str]


def markdown(evaluated: ByEnvironment, titles: Mapping[str, str]) -> str:
    """All claims as a Markdown table.

    Args:
      evaluated: environment -> data set -> method -> sessions by seed.
      titles: data set -> its heading, in order.
    """
    lines = [["Claim", "Paper", *titles.values()], ["---"] * (2 + len(titles))]
    for check in checks(evaluated, list(titles)):
        cells = [check.verdicts[name] for name in titles]
        lines.append([check.claim, check.paper, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def checks(evaluated: ByEnvironment, data_sets: Sequence[str]) -> list[Check]:
    """Each claim of the paper on each data set."""
    found = []
    for method in ("wide_and_deep", "dien"):
        name = style.policy_name(method)
        for metric, sign, words in (("ctr", 1, "higher CTR"), ("reward", -1, "lower reward")):
            found.append(
                Check(
                    f"{name} has a {words} than GoalRec",
                    _printed(method, "goalrec", metric),
                    {
                        data_set: _verdict(
                            _gain(evaluated, "vanilla", data_set, method, "goalrec", metric),
                            sign,
                        )
                        for data_set in data_sets
                    },
                )
            )
    for method in ("rainbow", "dyna_q", "td3"):
        found.append(
            Check(
                f"GoalRec earns more than {style.policy_name(method)}",
                _printed("goalrec", method, "reward"),
                {
                    data_set: _verdict(
                        _gain(evaluated, "vanilla", data_set, "goalrec", method, "reward"), 1
                    )
                    for data_set in data_sets
                },
            )
        )
    found.append(
        Check(
            "GoalRec-off is competitive: at most 10% below the best baseline",
            _printed("goalrec_off", "rainbow", "reward") + " against Rainbow",
            {data_set: _competitive(evaluated, data_set) for data_set in data_sets},
        )
    )
    for environment, words in (
        ("high_dimensional", "in high dimension"),
        ("high_variance", "under high variance"),
    ):
        for method in ("td3", "rainbow", "dyna_q", "goalrec"):
            sign = 1 if (method, environment) == ("goalrec", "high_dimensional") else -1
            verb = "gains" if sign > 0 else "loses"
            found.append(
                Check(
                    f"{style.policy_name(method)} {verb} {words}",
                    _printed_change(method, environment),
                    {
                        data_set: _verdict(
                            _change(evaluated, environment, data_set, method), sign
                        )
                        for data_set in data_sets
                    },
                )
            )
        found.append(
            Check(
                f"GoalRec loses least {words}",
                "yes",
                {data_set: _least(evaluated, environment, data_set) for data_set in data_sets},
            )
        )
    return found


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
    """A method's reward in an environment against its own in the vanilla one."""
    after = evaluated.get(environment, {}).get(data_set, {}).get(method, ())
    before = evaluated.get("vanilla", {}).get(data_set, {}).get(method, ())
    return comparison.gain(after, before)


def _verdict(found: comparison.Gain | None, sign: int) -> str:
    if found is None:
        return comparison.NOT_RUN
    low, high = sorted((sign * found.low, sign * found.high))
    word = "holds" if low > 0 else "reversed" if high < 0 else "undecided"
    return f"{word}: {found.mean:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"


def _competitive(evaluated: ByEnvironment, data_set: str) -> str:
    gains = {
        method: _gain(evaluated, "vanilla", data_set, "goalrec_off", method, "reward")
        for method in ("wide_and_deep", "dien", "dyna_q", "rainbow", "td3")
    }
    known = {method: found for method, found in gains.items() if found}
    if not known:
        return comparison.NOT_RUN
    best = min(known, key=lambda method: known[method].mean)
    found = known[best]
    word = "holds" if found.low > -0.1 else "fails" if found.high < -0.1 else "undecided"
    interval = f"{found.mean:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"
    return f"{word}: {interval} against {style.policy_name(best)}"


def _least(evaluated: ByEnvironment, environment: str, data_set: str) -> str:
    changes = {
        method: _change(evaluated, environment, data_set, method)
        for method in ("goalrec", "rainbow", "dyna_q", "td3")
    }
    known = {method: found.mean for method, found in changes.items() if found}
    if "goalrec" not in known or len(known) < 2:
        return comparison.NOT_RUN
    least = max(known, key=known.__getitem__)
    if least == "goalrec":
        return "yes, by the means"
    return f"no: {style.policy_name(least)} ({known[least]:+.1%})"
