"""IMRL's Table II: plan, runs and output.

<out>/<data set>/data, prepared.json               the prepared log
<out>/<data set>/controls.json, controls/*.npz     controls, and reasons of absent ones
<out>/<data set>/tuning/<method>/best.json         the tuned fields
<out>/<data set>/<method>/seed0/evaluation.npz     a finished cell; cell.json: its settings
<out>/report.html, report.md, table.md, table.csv, table_<data set>.png
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from launch.experiments import (
    offline_cells,
    offline_plan,
    offline_table_report,
    prepared,
)
from launch.experiments.offline_plan import DATA_SETS, GENERATED, OfflineScale
from launch.experiments.pool import Job, Pool
from tfrec import outputs
from tfrec.data import protocols, sequences, storage
from tfrec.data.sources import files
from tfrec.errors import UserError
from tfrec.evaluation import next_items, rankings
from tfrec.methods import studies

PREPARE = "prepare"  # instead of a method: the data set, its controls and training events


class OfflineCell(NamedTuple):
    """One method on one data set from one seed."""

    data_set: str
    method: str
    seed: int


class TableTwo(NamedTuple):
    """The table to reproduce, and its options.

    Attributes:
      out: folder of all output.
      logs: data set -> path of its log; empty for the generated log.
      methods: the rows; empty for `offline_plan.ROWS`.
      name: name of the scale in the launch scripts.
      scale: the scale.
    """

    out: pathlib.Path
    logs: Mapping[str, str]
    methods: tuple[str, ...]
    name: str
    scale: OfflineScale

    @property
    def rows(self) -> tuple[str, ...]:
        """The methods of the table.

        Raises:
          UserError: if a method is not in Table II.
        """
        rows = (*offline_plan.ROWS, *offline_plan.ABLATIONS)
        for name in self.methods:
            if name not in rows:
                raise UserError(f"--methods={name}: Table II has {', '.join(rows)}")
        return self.methods or offline_plan.ROWS

    def cells(self) -> list[OfflineCell]:
        """Returns every cell, seed by seed, so that early cells already fill every row."""
        return [
            OfflineCell(data_set, method, seed)
            for seed in range(self.scale.seeds)
            for data_set in self.logs
            for method in self.rows
        ]


def preparation(name: str, source: str, scale: OfflineScale) -> dict[str, Any]:
    """Returns the log and settings of a data set, as they are recorded.

    Raises:
      UserError: if the folder, file or archive has no known form of the set.
    """
    data_set = DATA_SETS[name]
    users = scale.samples.get(name, scale.users)
    flags = [*data_set.prepare, f"--max_users={users}"]
    if name in scale.samples:
        flags.append(f"--min_item_rows={offline_plan.LEAST_EVENTS}")
    if not source:
        return {"log": {}, "prepare": flags}
    form = next(
        (form for form in data_set.forms if files.contains(source, form.patterns)), None
    )
    if form is None:
        expected = ", ".join(pattern for form in data_set.forms for pattern in form.patterns)
        raise UserError(f"--{name}={source}: holds no log of {data_set.title}: {expected}")
    with files.streams(source, form.patterns, several=True) as logs:
        hashes = {}
        for log in logs:
            with log.open() as file:
                hashes[log.name] = hashlib.file_digest(
                    cast(io.BufferedIOBase, file), "sha256"
                ).hexdigest()
    return {"log": hashes, "prepare": [*form.prepare, *flags]}


def prepare(out: pathlib.Path, name: str, source: str, scale: OfflineScale) -> None:
    """Prepares a data set, its users of play and its controls, unless they exist.

    Raises:
      UserError: if it was prepared from another log or with other settings, or its log
        cannot be prepared.
    """
    made_with = preparation(name, source, scale)
    prepared.check(out / name, made_with)
    prepared.make(out / name, source, made_with)
    comparison = open_comparison(out, name, scale)
    offline_cells.users_of_play(comparison)  # before several processes would write them
    path = comparison.out / "controls.json"
    if not path.exists():
        evaluations, left_out = rankings.evaluate_controls(
            comparison.split, (comparison.settings.cutoff,)
        )
        evaluations |= offline_cells.evaluate_users_of_play(comparison)
        for control, evaluation in evaluations.items():
            offline_cells.save(_control(comparison.out, control), evaluation)
        outputs.write_json(path, {"evaluated": list(evaluations), "left_out": left_out})


def open_comparison(
    out: pathlib.Path, name: str, scale: OfflineScale
) -> offline_cells.Comparison:
    """Opens a prepared data set.

    Raises:
      UserError: if it is not prepared, or its cells were made with other settings.
    """
    data = storage.PreparedData.open(out / name / "data")
    log = sequences.of_prepared(data)
    next_items.check_cutoffs((scale.settings.cutoff,), log.num_items)
    comparison = offline_cells.Comparison(
        out / name,
        data,
        protocols.PROTOCOLS[scale.settings.protocol](log),
        scale.settings,
        scale.play,
        scale.numbers,
        save_every=20,
    )
    offline_cells.check_same(comparison)
    return comparison


def run(out: pathlib.Path, cell: OfflineCell, scale: OfflineScale) -> None:
    """Trains and evaluates one cell; continues an interrupted cell, reads a finished one.

    Raises:
      UserError: if the cell has other settings than the tuned ones.
    """
    comparison = open_comparison(out, cell.data_set, scale)
    overrides = offline_cells.tuned_fields(comparison, cell.method)
    offline_cells.run(comparison, cell.method, cell.seed, overrides)


def reproduce(table: TableTwo, jobs: int, report_only: bool) -> int:
    """Runs unfinished cells and writes the table; returns the exit code.

    Raises:
      UserError: before any run, if the log of a set has no known form, or finished parts have
        another log or other settings.
    """
    out, scale, cells = table.out, table.scale, table.cells()
    if not report_only:
        for name, source in table.logs.items():
            prepared.check(out / name, preparation(name, source, scale))
    _check_done(table)
    print(offline_table_report.budget(table.rows, list(table.logs), scale))
    failed: list[Job] = []
    if not report_only:
        out.mkdir(parents=True, exist_ok=True)
        common = (f"--out={out}", f"--scale={table.name}")
        with Pool("launch.run_offline", jobs, common, out / "logs") as pool:
            failed = pool.run("prepare", _preparations(table))
            if not failed:
                _check_done(table)
                failed += pool.run("tune", _tunings(table))
                failed += pool.run("cells", _jobs(table))
        for job in failed:
            print(f"failed: {job.name}; see {pool.log(job)}", file=sys.stderr)
    offline_table_report.write(out, [_panel(table, name) for name in table.logs], scale)
    done = sum(_evaluation(out, cell).exists() for cell in cells)
    print(f"{done} of {len(cells)} cells are done; report: {out / 'report.html'}")
    return 1 if failed else 0


def _check_done(table: TableTwo) -> None:
    """Checks that finished parts have the log and the settings of this run."""
    for name in table.logs:
        if (table.out / name / "data" / storage.MANIFEST).exists():
            comparison = open_comparison(table.out, name, table.scale)
            for method in table.rows:
                overrides = offline_cells.tuned_fields(comparison, method)
                for seed in range(table.scale.seeds):
                    offline_cells.check_cell(comparison, method, seed, overrides)


def _evaluation(out: pathlib.Path, cell: OfflineCell) -> pathlib.Path:
    return out / cell.data_set / cell.method / f"seed{cell.seed}" / "evaluation.npz"


def _control(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / "controls" / f"{name}.npz"


def _preparations(table: TableTwo) -> list[Job]:
    return [
        Job(
            f"{name}/prepare",
            (f"--method={PREPARE}", f"--data_set={name}", f"--source={source}"),
        )
        for name, source in table.logs.items()
    ]


def _tunings(table: TableTwo) -> list[Job]:
    trials = table.scale.trials
    return [
        Job(
            f"{name}/tune {method}",
            (f"--data_set={name}", f"--method={method}", f"--trials={trials}"),
        )
        for name, method in _untuned(table)
    ]


def _untuned(table: TableTwo) -> list[tuple[str, str]]:
    """Returns the pairs of data set and method that lack some of their trials."""
    trials = table.scale.trials
    return [
        (name, method)
        for name in table.logs
        for method in table.rows
        if trials and not studies.is_finished(table.out / name / "tuning" / method, trials)
    ]


def _jobs(table: TableTwo) -> list[Job]:
    """Returns the jobs of unfinished cells: one each, or one for the methods of a data set.

    Cells whose method could not be tuned are left out.
    """
    groups: dict[Any, list[OfflineCell]] = {}
    untuned = _untuned(table)
    for cell in table.cells():
        failed = (cell.data_set, cell.method) in untuned
        if not failed and not _evaluation(table.out, cell).exists():
            key = (cell.data_set, cell.seed) if table.scale.one_process else cell
            groups.setdefault(key, []).append(cell)
    return [
        Job(
            f"{group[0].data_set}/{names if len(names) < 60 else 'methods'}/{group[0].seed}",
            (
                f"--data_set={group[0].data_set}",
                f"--method={','.join(cell.method for cell in group)}",
                f"--seed={group[0].seed}",
            ),
        )
        for group in groups.values()
        for names in ["+".join(cell.method for cell in group)]
    ]


def _panel(table: TableTwo, name: str) -> offline_table_report.OfflinePanel:
    """Returns the finished cells of a data set."""
    out, folder = table.out, table.out / name
    controls: dict[str, Any] = {"evaluated": [], "left_out": {}}
    if (folder / "controls.json").exists():
        controls = json.loads((folder / "controls.json").read_text(encoding="utf-8"))
    evaluations = {
        control: [offline_cells.load(_control(folder, control))]
        for control in controls["evaluated"]
    }
    tuning = {}
    for method in table.rows:
        paths = [
            _evaluation(out, OfflineCell(name, method, seed))
            for seed in range(table.scale.seeds)
        ]
        # Up to the first missing seed: paired differences compare equal seeds.
        finished = itertools.takewhile(pathlib.Path.exists, paths)
        evaluations[method] = [offline_cells.load(path) for path in finished]
        path = folder / "tuning" / method / "best.json"
        if path.exists():
            tuning[method] = json.loads(path.read_text(encoding="utf-8"))
    is_prepared = (folder / "data" / storage.MANIFEST).exists()
    return offline_table_report.OfflinePanel(
        name=name,
        title=DATA_SETS[name].title,
        comparison=open_comparison(out, name, table.scale) if is_prepared else None,
        evaluations=evaluations,
        left_out=controls["left_out"],
        tuning=tuning,
    )


def logs_of(paths: Mapping[str, str]) -> dict[str, str]:
    """Returns the non-empty paths by data set, or the generated log if all are empty."""
    return {name: path for name, path in paths.items() if path} or {GENERATED: ""}
