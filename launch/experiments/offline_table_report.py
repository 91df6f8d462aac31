"""Report of IMRL's Table II: measured and printed values, ranks, paired differences."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from launch.experiments import offline_cells
from launch.experiments.offline_plan import OfflineScale
from tfimrl import published
from tfrec import outputs
from tfrec.evaluation import next_items, offline, offline_report, rankers, rankings
from tfrec.methods import presets
from tfrec.metrics import comparing
from tfrec.report import comparison, page, plots, style

OURS = "imrl"
_ORDERS = {
    "time": "ordered by their times",
    "file": "in the order of the file: the log has no times",
    "random": "in a seeded random order: the log has neither times nor an order, so that the "
    "last events of a user are a random part of them",
}


class OfflinePanel(NamedTuple):
    """One data set of the table.

    Attributes:
      name: name of its folder.
      title: title in tables.
      comparison: the prepared log and its split; None where it is not prepared.
      evaluations: control or method -> its evaluation from each finished seed; empty for a
        method that was not run. All are on the same users.
      left_out: control -> reason of its absence.
      tuning: method -> its best.json.
    """

    name: str
    title: str
    comparison: offline_cells.Comparison | None
    evaluations: Mapping[str, Sequence[next_items.Evaluation]]
    left_out: Mapping[str, str]
    tuning: Mapping[str, Mapping[str, Any]]


class PanelDifferences(NamedTuple):
    """Paired differences in a metric, for one data set, over users and seeds.

    Attributes:
      reference: the subtracted method.
      by_method: method -> mean, low, high, p_value, detectable, and p by Holm's correction.
    """

    reference: str
    by_method: Mapping[str, Mapping[str, float]]


def metrics(scale: OfflineScale) -> list[str]:
    """Returns the columns, e.g. `recall@20`; the last one ranks the methods."""
    return [f"{metric}@{scale.settings.cutoff}" for metric in published.METRICS]


def budget(rows: Sequence[str], data_sets: Sequence[str], scale: OfflineScale) -> str:
    """Describes the budget of every method."""
    settings = scale.settings
    play = presets.play_config_class("users")(**scale.play)
    iterations = settings.total_iterations or play.total_iterations
    played = play.sessions * play.rollout_steps
    return (
        f"Budget: {len(rows)} methods on {len(data_sets)} data sets; for each of them "
        f"{scale.trials} settings tried on validation events and {scale.seeds} seeds. "
        f"Sequential methods: at most {settings.epochs} epochs, batches of {settings.batch} "
        "users, the best epoch by nDCG@10 of the validation events. Reinforcement learning: "
        f"{iterations} iterations of {played:,} recommendations and {play.updates} updates "
        "(`pieces` updates for TPGR and PGPR, which learn from the latest play alone), with "
        f"users of the training events (`--world={settings.world}`). A method with fewer "
        "settings in its space tries all of them."
    )


def differences(
    every: Mapping[str, Sequence[next_items.Evaluation]], metric: str
) -> list[PanelDifferences]:
    """Returns differences to IMRL, and to the best of the others.

    Args:
      every: control or method -> its evaluation from each seed.
      metric: such as `ndcg@20`.

    Returns:
      Differences for each evaluated reference. Holm's correction counts all comparisons of
      both; that between IMRL and the best of the others is counted once.
    """
    means = {name: offline.mean(seeds, metric) for name, seeds in every.items()}
    others = {n: mean for n, mean in means.items() if not n.startswith(OURS)}
    references = [OURS] if OURS in every else []
    if others:
        references.append(max(others, key=lambda name: others[name]))
    compared = []
    for place, reference in enumerate(references):
        # The first reference has been compared with the second one already.
        names = [n for n in every if n != reference and n not in references[:place]]
        if names:
            by_method = {
                name: offline.difference(every[name], every[reference], metric)
                for name in names
            }
            compared.append((reference, by_method))
    p_values = [x.p_value for _, by_method in compared for x in by_method.values()]
    corrected = iter(comparison.holm(p_values))
    return [
        PanelDifferences(
            reference,
            {name: {**x._asdict(), "holm": next(corrected)} for name, x in by_method.items()},
        )
        for reference, by_method in compared
    ]


def agreement(
    name: str, every: Mapping[str, Sequence[next_items.Evaluation]], scale: OfflineScale
) -> dict[str, comparing.RankAgreement]:
    """Returns metric -> ranks of the methods in both tables, the paper's and ours."""
    printed = published.TABLE_II.get(name, {})
    agreements = {}
    for metric in metrics(scale):
        kind = metric.partition("@")[0]
        printed_means = {method: row[kind].mean for method, row in printed.items()}
        measured_means = {
            method: offline.mean(seeds, metric) for method, seeds in every.items()
        }
        agreements[metric] = comparing.rank_agreement(printed_means, measured_means)
    return agreements


def write(out: pathlib.Path, panels: Sequence[OfflinePanel], scale: OfflineScale) -> None:
    """Writes report.html, report.md, table.md, table.csv and a plot of each data set.

    Raises:
      UserError: if a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections, rows, agreements = [], [], {}
    for panel in panels:
        every = {name: seeds for name, seeds in panel.evaluations.items() if seeds}
        agreements[panel.title] = agreement(panel.name, every, scale)
        gaps = differences(every, metrics(scale)[-1])
        rows += _rows(panel, every, agreements[panel.title], scale)
        sections.append(_section(out, panel, every, agreements[panel.title], gaps, scale))
    sections.append(page.Section("Order of the methods", _order(agreements)))
    methods = [
        name
        for panel in panels
        for name in panel.evaluations
        if name not in rankers.CONTROL_NAMES
    ]
    names = [panel.name for panel in panels]
    introduction = _introduction(list(dict.fromkeys(methods)), names, scale)
    title = "IMRL against its field: Table II"
    page.write(out, title, introduction, sections)
    text = "\n".join(
        [f"# {title}\n\n{introduction}\n", *(f"## {s.title}\n\n{s.text}\n" for s in sections)]
    )
    with outputs.replacing_file(out / "table.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    with outputs.replacing_file(out / "table.csv") as temporary:
        content = pl.DataFrame(rows, infer_schema_length=None).write_csv()
        temporary.write_text(content, encoding="utf-8")


def _introduction(methods: Sequence[str], data_sets: Sequence[str], scale: OfflineScale) -> str:
    cutoff = scale.settings.cutoff
    held_out = {"user_ratio": "last 20% of events", "leave_one_out": "last event"}
    return (
        f"{budget(methods, data_sets, scale)}\n\n"
        f"Held out is each user's {held_out[scale.settings.protocol]}; {rankings.CONDITIONS}; "
        f"lists of {cutoff}. Sequential methods and reinforcement learning learn from the same "
        "training events. Numbers are percent: the mean over users and seeds with its 95% "
        "interval over both, then the standard deviation over seeds, where there are several. "
        "The columns of the paper have its mean and its rank among its nine methods, and `our "
        "rank` is the measured rank among those of the nine that were run. The paper states "
        "neither split nor filter, so that only the order can be compared. The paper's CASR "
        "augments STAMP.\n\n"
        "Differences are paired over users: means and 95% intervals over users and seeds, "
        "percentage points. p is two-sided; `Holm` is p corrected for the number of "
        "comparisons of the data set; `detectable` is the smallest difference that as many "
        "users and seeds find with 80% power. "
        "The best of the others is the best on these test events."
    )


def _section(
    out: pathlib.Path,
    panel: OfflinePanel,
    every: Mapping[str, Sequence[next_items.Evaluation]],
    agreed: Mapping[str, comparing.RankAgreement],
    gaps: Sequence[PanelDifferences],
    scale: OfflineScale,
) -> page.Section:
    parts = [_facts(panel), _table(panel, every, agreed, scale)]
    parts += [_difference_table(gap, metrics(scale)[-1], gaps) for gap in gaps]
    if gains := offline_report.gains_table(every, metrics(scale)[-1]):
        parts.append(gains.rstrip())
    parts.append(_budget_table(panel, scale))
    if panel.left_out:
        parts.append(
            "\n".join(
                f"- {style.policy_name(name)} is left out: {reason}"
                for name, reason in panel.left_out.items()
            )
        )
    pictures = []
    if every:
        summaries = {
            name: {metric: e._asdict() for metric, e in offline.estimates(seeds).items()}
            for name, seeds in every.items()
        }
        seeds = max(len(by_seed) for by_seed in panel.evaluations.values())
        figure = plots.policies(summaries, metrics(scale), panel.title, seeds=seeds)
        path = plots.save(figure, out / f"table_{panel.name}.png")
        caption = f"{panel.title}: mean and 95% interval over users and seeds, as shares."
        pictures.append(page.Picture(path, panel.title, caption))
    return page.Section(panel.title, "\n\n".join(parts), pictures)


def _facts(panel: OfflinePanel) -> str:
    """Describes size, order and filter of the data set."""
    if panel.comparison is None:
        return "The log is not prepared yet."
    data, split = panel.comparison.data, panel.comparison.split
    held_out = split.test.targets.lengths
    parts = (split.train, split.validation.targets, split.test.targets)
    total = sum(len(part.items) for part in parts)
    users = int(np.count_nonzero(split.train.lengths))
    filters, config = data.manifest["filters"], data.manifest["config"]
    stored = data.manifest["splits"].values()
    cut = sum(entry["sessions"] - entry["exited"] for entry in stored)
    selection = (
        f"users of at least {filters['min_user_events']} events"
        + (f", then the {filters['k_core']}-core" if filters["k_core"] else "")
        + (", events with a click alone" if filters["positive_only"] else "")
        + (f"; of these a random {config['max_users']:,}" if config["max_users"] else "")
        + (
            f", and items of at least {config['min_item_rows']} of their events"
            if config["min_item_rows"] > 1
            else ""
        )
    )
    capped = (
        f" {cut:,} sessions reach {data.spec.max_steps:,} events, and their later events are "
        "left out."
        if cut
        else ""
    )
    return (
        f"{data.manifest['source']}: {total:,} events of {users:,} users and "
        f"{split.train.num_items:,} items. Kept: {selection}. The events of a user are "
        f"{_ORDERS[data.order]}. Test: {len(held_out):,} users with "
        f"{held_out.mean():.1f} held-out events on average.{capped}"
    )


def _table(
    panel: OfflinePanel,
    every: Mapping[str, Sequence[next_items.Evaluation]],
    agreed: Mapping[str, comparing.RankAgreement],
    scale: OfflineScale,
) -> str:
    columns = metrics(scale)
    printed = published.TABLE_II.get(panel.name, {})
    paper_ranks = {
        metric: comparing.ranks(
            {m: row[metric.partition("@")[0]].mean for m, row in printed.items()}
        )
        if printed
        else {}
        for metric in columns
    }
    headings = ["Method"]
    for metric in columns:
        headings += [f"{style.metric_name(metric)} (%)", "paper (rank)", "our rank"]
    lines = [f"| {' | '.join(headings)} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    for name in style.ordered(panel.evaluations):
        cells = [style.policy_name(name)]
        estimates = offline.estimates(every[name]) if name in every else {}
        for metric in columns:
            kind = metric.partition("@")[0]
            paper = printed.get(name)
            cells += [
                _measured(panel.evaluations[name], estimates.get(metric), metric),
                f"{paper[kind].mean:.2f} ({paper_ranks[metric][name]:.0f})" if paper else "–",
                f"{rank:g}" if (rank := agreed[metric].second.get(name)) else "–",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _measured(
    seeds: Sequence[next_items.Evaluation], estimate: next_items.Estimate | None, metric: str
) -> str:
    if estimate is None:
        return "not run"
    spread = offline.spread(seeds, metric)
    text = f"{100 * estimate.mean:.2f} [{100 * estimate.low:.2f}, {100 * estimate.high:.2f}]"
    return text + (f" ± {100 * spread:.2f}" if spread is not None else "")


def _difference_table(
    differences: PanelDifferences, metric: str, gaps: Sequence[PanelDifferences]
) -> str:
    reference = style.policy_name(differences.reference)
    best = "" if differences.reference == OURS else ", the best of the others"
    count = sum(len(gap.by_method) for gap in gaps)
    lines = [
        f"Difference in {style.metric_name(metric)} to {reference}{best} "
        f"({count} comparisons in this data set):",
        "",
        "| Method | difference | detectable | p | Holm |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in style.ordered(differences.by_method):
        x = differences.by_method[name]
        mean, low, high = (100 * x[key] for key in ("mean", "low", "high"))
        lines.append(
            f"| {style.policy_name(name)} | {mean:+.2f} [{low:+.2f}, {high:+.2f}] | "
            f"{100 * x['detectable']:.2f} | {style.p_value(x['p_value'])} | "
            f"{style.p_value(x['holm'])} |"
        )
    return "\n".join(lines)


def _budget_table(panel: OfflinePanel, scale: OfflineScale) -> str:
    """Returns a table of the budget and the tuned fields of each method."""
    settings = scale.settings
    iterations = (
        settings.total_iterations
        or presets.play_config_class("users")(**scale.play).total_iterations
    )
    lines = [
        "| Method | settings tried | length of a run | seeds | tuned fields |",
        "|---|---:|---|---:|---|",
    ]
    for name in style.ordered(n for n in panel.evaluations if n not in rankers.CONTROL_NAMES):
        tuned = panel.tuning.get(name, {})
        tuned_fields = ", ".join(f"{k}={v}" for k, v in tuned.get("overrides", {}).items())
        length = (
            f"{iterations} iterations"
            if rankers.get(name).plays
            else f"{settings.epochs} epochs at most"
        )
        lines.append(
            f"| {style.policy_name(name)} | {tuned.get('trials', 0)} of {scale.trials} | "
            f"{length} | {len(panel.evaluations[name])} of {scale.seeds} | "
            f"{tuned_fields or 'defaults'} |"
        )
    return "\n".join(lines)


def _order(agreements: Mapping[str, Mapping[str, comparing.RankAgreement]]) -> str:
    """Returns a table of Spearman's correlation of the paper's order of methods and ours."""
    lines = [
        "Spearman's correlation of the paper's order of the methods and ours, over the methods "
        "that both have; 1 is the same order. p tests for no correlation by permutations, "
        "without a correction for the number of rows.",
        "",
        "| Data set | metric | methods | correlation | p |",
        "|---|---|---:|---:|---:|",
    ]
    for title, by_metric in agreements.items():
        for metric, ranks in by_metric.items():
            rho = "–" if ranks.rho is None else f"{ranks.rho:+.2f}"
            p_value = "–" if ranks.p_value is None else f"{ranks.p_value:.3f}"
            lines.append(
                f"| {title} | {style.metric_name(metric)} | {len(ranks.first)} | {rho} | "
                f"{p_value} |"
            )
    return "\n".join(lines)


def _rows(
    panel: OfflinePanel,
    every: Mapping[str, Sequence[next_items.Evaluation]],
    agreed: Mapping[str, comparing.RankAgreement],
    scale: OfflineScale,
) -> list[dict[str, Any]]:
    """Returns lines of table.csv: shares, and the paper's values in percent, as printed."""
    rows = []
    for name in style.ordered(every):
        estimates, seeds = offline.estimates(every[name]), every[name]
        for metric in metrics(scale):
            paper = published.TABLE_II.get(panel.name, {}).get(name)
            printed = paper[metric.partition("@")[0]] if paper else None
            rows.append(
                {
                    "data_set": panel.name,
                    "method": name,
                    "metric": metric,
                    **estimates[metric]._asdict(),
                    "standard_deviation": offline.spread(seeds, metric),
                    "seeds": len(seeds),
                    "trials": panel.tuning.get(name, {}).get("trials", 0),
                    "rank": agreed[metric].second.get(name),
                    "paper_percent": printed and printed.mean,
                    "paper_about_percent": printed and printed.about,
                    "paper_rank": agreed[metric].first.get(name),
                }
            )
    return rows
