"""IMRL's Table II: which cells there are, how they run, what is kept.

<out>/<data set>/data, prepared.json               the prepared log
<out>/<data set>/controls.json, controls/*.npz     controls, and why some are left out
<out>/<data set>/tuning/<method>/best.json         what tuning chose
<out>/<data set>/<method>/seed0/evaluation.npz     a finished cell; cell.json: its settings
<out>/report.html, report.md, table.md, table.csv, table_<data set>.png
"""

from __future__ import annotations

import hashlib
import io
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
    table_report,
    table_tuning,
)
from launch.experiments.offline_plan import DATA_SETS, GENERATED, OfflineScale
from launch.experiments.pool import Job, Pool
from tfrec import options, outputs
from tfrec.data import protocols, sequences, storage
from tfrec.data.sources import files
from tfrec.errors import UserError
from tfrec.evaluation import next_items, rankings

PREPARE = "prepare"  # in place of a method: the data set, its controls and training events
_CELL = "cell.json"


class OfflineCell(NamedTuple):
    """One method on one data set from one seed."""

    data_set: str
    method: str
    seed: int


class TableTwo(NamedTuple):
    """What is asked of `reproduce`.

    Attributes:
      out: folder of everything.
      logs: data set -> where its log lies; empty for the generated log.
      methods: only these rows; empty for `offline_plan.ROWS`.
      name: of the scale, as the launch scripts know it.
      scale: how much of everything.
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
          UserError: if a method is none of Table II.
        """
        known = (*offline_plan.ROWS, *offline_plan.ABLATIONS)
        for name in self.methods:
            if name not in known:
                raise UserError(f"--methods={name}: Table II has {', '.join(known)}")
        return self.methods or offline_plan.ROWS

    def cells(self) -> list[OfflineCell]:
        """Every cell, seed by seed, so that early ones already fill every row."""
        return [
            OfflineCell(data_set, method, seed)
            for seed in range(self.scale.seeds)
            for data_set in self.logs
            for method in self.rows
        ]


def preparation(name: str, source: str, scale: OfflineScale) -> dict[str, Any]:
    """What a data set is prepared from and with, to be recorded.

    Raises:
      UserError: if the folder, file or archive is of no form of the set.
    """
    chosen = DATA_SETS[name]
    flags = [*chosen.prepare, f"--max_users={scale.users}"]
    if not source:
        return {"log": {}, "prepare": flags}
    form = next((form for form in chosen.forms if files.contains(source, form.patterns)), None)
    if form is None:
        expected = ", ".join(pattern for form in chosen.forms for pattern in form.patterns)
        raise UserError(f"--{name}={source}: holds no log of {chosen.title}: {expected}")
    with files.streams(source, form.patterns, several=True) as logs:
        hashes = {}
        for log in logs:
            with log.open() as file:
                hashes[log.name] = hashlib.file_digest(
                    cast(io.BufferedIOBase, file), "sha256"
                ).hexdigest()
    return {"log": hashes, "prepare": [*form.prepare, *flags]}


def prepare(out: pathlib.Path, name: str, source: str, scale: OfflineScale) -> None:
    """Prepares a data set, its training events and its controls, unless that is done.

    Raises:
      UserError: if it was prepared from another log or with other settings, or cannot be.
    """
    made_with = preparation(name, source, scale)
    prepared.check(out / name, made_with)
    prepared.make(out / name, source, made_with)
    here = comparison(out, name, scale)
    offline_cells.training_data(here)  # before several processes would write it
    path = here.out / "controls.json"
    if not path.exists():
        found, left_out = rankings.evaluate_controls(here.split, (here.settings.cutoff,))
        for control, evaluation in found.items():
            offline_cells.save(_control(here.out, control), evaluation)
        outputs.write_json(path, {"evaluated": list(found), "left_out": left_out})


def comparison(out: pathlib.Path, name: str, scale: OfflineScale) -> offline_cells.Comparison:
    """Opens a prepared data set.

    Raises:
      UserError: if it is not prepared, or its cells were made with other settings.
    """
    data = storage.PreparedData.open(out / name / "data")
    log = sequences.of_prepared(data)
    next_items.check_cutoffs((scale.settings.cutoff,), log.num_items)
    here = offline_cells.Comparison(
        out / name,
        data,
        protocols.PROTOCOLS[scale.settings.protocol](log),
        scale.settings,
        scale.play,
        scale.numbers,
        save_every=20,
    )
    offline_cells.check_same(here)
    return here


def run(out: pathlib.Path, cell: OfflineCell, scale: OfflineScale) -> None:
    """Trains and evaluates one cell; continues an interrupted one, keeps a finished one.

    Raises:
      UserError: if it was made with settings that are not those tuning chose.
    """
    here = comparison(out, cell.data_set, scale)
    overrides = chosen(here, cell.method)
    check_cell(here, cell, overrides)
    record = here.evaluation(cell.method, cell.seed).with_name(_CELL)
    record.parent.mkdir(parents=True, exist_ok=True)
    outputs.write_json(record, {"tuned": overrides})
    offline_cells.run(here, cell.method, cell.seed, overrides)


def chosen(here: offline_cells.Comparison, method: str) -> dict[str, Any]:
    """What tuning chose for a method; nothing where it was not tuned.

    Raises:
      UserError: if it was tuned on other data.
    """
    inputs = {"log": here.data.source}
    return options.resolved(table_tuning.chosen(here.out.parent, here.out.name, method, inputs))


def check_cell(
    here: offline_cells.Comparison, cell: OfflineCell, overrides: Mapping[str, Any]
) -> None:
    """Checks that a cell that was begun has the settings that tuning chose.

    Raises:
      UserError: naming the settings that differ.
    """
    path = here.evaluation(cell.method, cell.seed).with_name(_CELL)
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if different := options.differences(before, {"tuned": dict(overrides)}):
        listed = "\n  ".join(different)
        raise UserError(
            f"{path.parent} was begun with other settings than tuning has chosen:\n  {listed}\n"
            f"Choose another --out, or remove {path.parent} to run the cell again"
        )


def reproduce(table: TableTwo, jobs: int, report_only: bool) -> int:
    """Runs what is not done yet and writes the table; returns the exit code.

    Raises:
      UserError: if the log of a set has no known form, or what is there is of another log or
        was made with other settings; before anything runs.
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
    """Checks that what is there belongs together."""
    for name in table.logs:
        if (table.out / name / "data" / storage.MANIFEST).exists():
            here = comparison(table.out, name, table.scale)
            for method in table.rows:
                overrides = chosen(here, method)
                for seed in range(table.scale.seeds):
                    check_cell(here, OfflineCell(name, method, seed), overrides)


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
        for name in table.logs
        for method in table.rows
        if trials and not table_report.tuned(table.out, name, method, trials)
    ]


def _jobs(table: TableTwo) -> list[Job]:
    """The cells that are left: one process each, or one for all methods of a data set."""
    groups: dict[Any, list[OfflineCell]] = {}
    for cell in table.cells():
        if not _evaluation(table.out, cell).exists():
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
    """The finished cells of a data set."""
    out, folder = table.out, table.out / name
    controls: dict[str, Any] = {"evaluated": [], "left_out": {}}
    if (folder / "controls.json").exists():
        controls = json.loads((folder / "controls.json").read_text(encoding="utf-8"))
    found = {
        control: [offline_cells.load(_control(folder, control))]
        for control in controls["evaluated"]
    }
    tuning = {}
    for method in table.rows:
        paths = [
            _evaluation(out, OfflineCell(name, method, seed))
            for seed in range(table.scale.seeds)
        ]
        found[method] = [offline_cells.load(path) for path in paths if path.exists()]
        path = folder / "tuning" / method / "best.json"
        if path.exists():
            tuning[method] = json.loads(path.read_text(encoding="utf-8"))
    is_prepared = (folder / "data" / storage.MANIFEST).exists()
    return offline_table_report.OfflinePanel(
        name=name,
        title=DATA_SETS[name].title,
        here=comparison(out, name, table.scale) if is_prepared else None,
        found=found,
        left_out=controls["left_out"],
        tuning=tuning,
    )


def logs_of(given: Mapping[str, str]) -> dict[str, str]:
    """Data set -> path of those that are given; the generated log where none is."""
    return {name: path for name, path in given.items() if path} or {GENERATED: ""}
