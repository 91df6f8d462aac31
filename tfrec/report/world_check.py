"""The report on what environments can tell: tables, a plot and the page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrec import outputs
from tfrec.metrics import variance_components
from tfrec.report import page, plots, style

Worlds = Mapping[str, Mapping[str, Any]]
_PARTS = {
    "user": ("user", "#999999"),
    "item": ("item", "#56B4E9"),
    "state": ("state", "#DDCC77"),
    "user_item": ("user x item", "#0072B2"),
    "state_item": ("state x item", "#D55E00"),
}
assert tuple(_PARTS) == variance_components.Components._fields
_WORDS = {True: "yes", False: "no", None: "undecided"}
_INTRODUCTION = """\
An environment can rank personalised methods if the answers of its users depend on which user
meets which item in which state. It is *admitted* if three conditions hold, and stands *apart*
otherwise. It is *undecided* where the interval of the fixed list's share includes the
threshold.
"""
_VARIANCE = """
Variance components of the logits, in states of test users after random items, at random steps
of sessions as long as logged ones. The last two columns are the interactions.
"""
_FAR = """
How loud an item's effect on later clicks is in the log (exact, under the logging policy):
standard deviation over the items that the log shows in a state of the expected clicks that
follow, standard deviation of the clicks that follow an item in a state, and their ratio. A
method that learns from the clicks that follow sees the ratio times the root of an item's rows.

"""
_WAY = """
Share of the way from random (0%) to the reference (100%), in clicks per session of test users:
mean and 95% interval over users. The fixed list ignores users and sessions, the constant item
also ignores the step, and the memory-less policy ignores what happens in a session. These
three, the best myopic and the exit-averse policy read the users' own probabilities. Popularity
and item counts do not. In the embedded world the log's policy, improved once, shows the best
item if the logging policy is followed after it: what methods that learn values of the logged
policy could earn. It knows the users and their state. The posterior policy knows all items and
how users respond, but infers who the user is from the log and the answers: a lower bound of
what can be earned from observations.
"""


def table(worlds: Worlds) -> str:
    """All tables as Markdown."""
    return "\n".join(
        [
            _verdicts(worlds),
            _VARIANCE,
            _variances(worlds),
            _far_effects(worlds),
            _WAY,
            _way(worlds),
            _spread(worlds),
        ]
    )


@plots.styled
def figure(worlds: Worlds, thresholds: Mapping[str, float]) -> Figure:
    """Variance shares of each world, and the share of the way of each policy.

    Args:
      worlds: name -> what check.json holds of it.
      thresholds: `click_interaction`, `exit_interaction` and `list_share`.
    """
    policies = style.ordered({name for world in worlds.values() for name in world["policies"]})
    rows = len(worlds)
    drawing = Figure(figsize=(12.0, 1.9 + max(1.3 * rows, 0.4 * len(policies))))
    drawing.set_layout_engine("constrained")
    left, right = drawing.subplots(1, 2)
    bars = [(name, answer) for name in worlds for answer in ("click", "exit")]
    start = np.zeros(len(bars))
    for part, (words, colour) in _PARTS.items():
        width = np.array(
            [worlds[name]["variance_shares"][answer][part] for name, answer in bars]
        )
        left.barh(np.arange(len(bars)), width, left=start, color=colour, label=words)
        start += width
    for row, (_, answer) in enumerate(bars):
        edge = 1 - thresholds[f"{answer}_interaction"]
        left.plot([edge, edge], [row - 0.45, row + 0.45], color="black", linewidth=1.5)
    labels = [f"{pathlib.Path(name).name}, {answer}" for name, answer in bars]
    left.set_yticks(range(len(bars)), labels)
    left.invert_yaxis()
    left.set_xlim(0, 1)
    left.set_xlabel("share of variance; line: where interactions must begin")
    left.set_title("Variance of logits")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=5, fontsize=8)
    for number, world in enumerate(worlds.values()):
        shares = [world["shares"].get(policy) for policy in policies]
        at = np.arange(len(policies)) + 0.6 * ((number + 0.5) / rows - 0.5)
        for row, share, policy in zip(at, shares, policies, strict=True):
            if share is not None:
                right.plot([share["low"], share["high"]], [row, row], color="#333333")
                right.plot(share["mean"], row, "o", color=style.policy_colour(policy))
    right.axvline(thresholds["list_share"], color="black", linewidth=1.5)
    right.set_yticks(range(len(policies)), [style.policy_name(name) for name in policies])
    right.invert_yaxis()
    right.set_xlabel("0: random, 1: reference; line: limit of the fixed list")
    right.set_title("Share of the way")
    return drawing


def write(directory: pathlib.Path, document: Mapping[str, Any]) -> pathlib.Path:
    """Writes check.json, table.md, report.md, report.html and the plot.

    Args:
      directory: where to; made if missing.
      document: content of check.json.

    Returns:
      The path of report.html.
    """
    directory.mkdir(parents=True, exist_ok=True)
    worlds = document["worlds"]
    text = table(worlds)
    outputs.write_json(directory / "check.json", document)
    with outputs.replacing_file(directory / "table.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    picture = page.Picture(
        plots.save(figure(worlds, document["config"]), directory / "check.png"),
        "Variance and share of the way",
        "Left: parts of the variance of the logits. Right: mean and 95% interval over users.",
    )
    section = page.Section("Measurements", text, [picture])
    return page.write(directory, "What the environment can tell", _INTRODUCTION, [section])


def _percent(share: float) -> str:
    return f"{round(share, 2) + 0.0:.0%}"  # no minus before 0%


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _verdicts(worlds: Worlds) -> str:
    first = next(iter(worlds.values()))["criteria"]
    headings = [f"{x['name']} ({x['threshold']})" for x in first]
    rows = []
    for name, world in worlds.items():
        cells = []
        for x in world["criteria"]:
            note = f" ({x['note']})" if x["note"] else ""
            value = "–" if x["value"] is None else f"{x['value']:.1%}"
            cells.append(f"{value}: {_WORDS[x['met']]}{note}")
        rows.append([name, *cells, f"**{world['verdict']}**"])
    return _markdown(["World", *headings, "verdict"], rows)


def _variances(worlds: Worlds) -> str:
    rows = [
        [f"{name}, {answer}", *(f"{shares[part]:.1%}" for part in _PARTS)]
        for name, world in worlds.items()
        for answer, shares in world["variance_shares"].items()
    ]
    return _markdown(["World and logit", *(words for words, _ in _PARTS.values())], rows)


def _far_effects(worlds: Worlds) -> str:
    """The table of far effects, of the worlds where they are known."""
    rows = [
        [name, *(f"{effect[part]:.3g}" for part in ("effect", "noise", "ratio"))]
        for name, world in worlds.items()
        if (effect := world["far_effect"])
    ]
    if not rows:
        return ""
    return _FAR + _markdown(["World", "effect", "noise", "ratio"], rows)


def _way(worlds: Worlds) -> str:
    policies = style.ordered({name for world in worlds.values() for name in world["policies"]})
    rows = [
        [style.policy_name(policy), *(_earned(world, policy) for world in worlds.values())]
        for policy in policies
    ]
    references = [
        f"{style.policy_name(world['reference'])}: {world['reference_note']}"
        for world in worlds.values()
    ]
    return _markdown(["Policy", *worlds], [*rows, ["Reference", *references]])


def _earned(world: Mapping[str, Any], policy: str) -> str:
    """Share of the way and reward of a policy."""
    if policy not in world["policies"]:
        return "–"
    reward = f"{world['policies'][policy]['reward']['mean']:.2f} clicks"
    if policy not in world["shares"]:
        return reward
    mean, low, high = (_percent(world["shares"][policy][x]) for x in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}], {reward}"


def _spread(worlds: Worlds) -> str:
    """Means and standard deviations over the worlds of one kind, where there are several."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for world in worlds.values():
        kinds.setdefault(world["kind"], []).append(world)
    rows = []
    for kind, refits in kinds.items():
        if len(refits) < 2:
            continue
        measured = {
            criterion["name"]: [world["criteria"][i]["value"] for world in refits]
            for i, criterion in enumerate(refits[0]["criteria"])
            if all(world["criteria"][i]["value"] is not None for world in refits)
        }
        measured |= {
            f"share of {style.policy_name(policy)}": [
                world["shares"][policy]["mean"] for world in refits
            ]
            for policy in style.ordered(refits[0]["shares"])
            if policy not in ("random", "fixed_list")
            and all(policy in world["shares"] for world in refits)
        }
        rows += [
            [f"{kind}: {name}", f"{np.mean(x):.1%}", f"{np.std(x, ddof=1):.1%}"]
            for name, x in measured.items()
        ]
    if not rows:
        return ""
    text = (
        "\nSpread between worlds of one kind, such as refits of one model with other seeds:\n\n"
    )
    return text + _markdown(["Measured", "mean", "standard deviation"], rows)
