"""Progress lines and output files of a tuning study.

The files are best.json, tuning.md, tuning.png, and a TensorBoard log for each trial of this
process.
"""

import dataclasses
import json
import pathlib
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrec import options, outputs
from tfrec.data import identity
from tfrec.errors import UserError
from tfrec.report import tuning as tuning_report
from tfrec.training import loop, summaries, tuning

_BEST = "best.json"
Show = Callable[[tuning.Record], None]


class Study(NamedTuple):
    """Definition of a study.

    Attributes:
      method: name of the tuned method.
      title: displayed name of the method.
      base: its configuration; a trial replaces some fields.
      scored: description of a score.
      inputs: data and world that determine the scores.
    """

    method: str
    title: str
    base: Any
    scored: str
    inputs: identity.Sources


def search(out: pathlib.Path, study: Study, tune: Callable[[Show], tuning.Tuned]) -> int | None:
    """Starts or resumes a study, and writes its results.

    Args:
      out: output folder, which is created.
      study: definition of the study.
      tune: `tuning.tune` with all arguments but `show`.

    Returns:
      An exit status: `loop.EXIT_STOPPED` if it was stopped, else None.

    Raises:
      UserError: from `tune`; a new, empty folder is removed.
    """

    def show(record: tuning.Record) -> None:
        _board(out / "tensorboard" / f"trial-{record.number}", study.base, record)
        score = "" if record.score is None else f" {record.score:.4g}"
        values = ", ".join(f"{field}={value}" for field, value in record.overrides.items())
        print(
            f"trial {record.number}: {record.state}{score} ({record.seconds:.0f} s)  {values}",
            flush=True,
        )

    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tuned = tune(show)
    except KeyboardInterrupt:
        print("stopped; finished trials are saved. Run it again to continue", flush=True)
        return loop.EXIT_STOPPED
    except UserError:
        if is_new and not any(out.iterdir()):
            out.rmdir()
        raise
    write(out, study, tuned)
    if tuned.running:
        print(f"{tuned.running} trials are still running elsewhere; run it again after them")
    flags = " ".join(f"--{field}={value}" for field, value in tuned.overrides.items())
    print(
        f"{len(tuned.trials)} trials, {tuned.updates:,} updates: {tuned.score:.4g} "
        f"{study.scored}\n{out / 'best.json'}: {flags}"
    )
    return None


def write(directory: str | pathlib.Path, study: Study, tuned: tuning.Tuned) -> None:
    """Writes tuning.md, tuning.png and, last, best.json with the best configuration.

    Args:
      directory: output folder, which is created.
      study: definition of the study.
      tuned: results of the study.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    base = dataclasses.asdict(study.base)
    results = tuned._asdict() | {
        "trials": [record._asdict() for record in tuned.trials],
        "defaults": {field: base[field] for field in tuned.overrides},
        "updates": tuned.updates,
    }
    tuning_report.write(directory, results, f"Tuning {study.title}", study.scored)
    document = {
        "method": study.method,
        "inputs": identity.recorded(study.inputs),
        "overrides": tuned.overrides,
        "config": options.resolved(dataclasses.replace(study.base, **tuned.overrides)),
        "score": tuned.score,
        "default_score": tuned.default_score,
        "trials": len(tuned.trials),
        "settings": tuned.settings,
        "pruned": sum(record.state == "pruned" for record in tuned.trials),
        "diverged": sum(record.state == "diverged" for record in tuned.trials),
        "updates": tuned.updates,
        "seconds": round(sum(record.seconds for record in tuned.trials), 1),
        "importance": tuned.importance,
    }
    outputs.write_json(directory / _BEST, document)


def tuned_fields(directory: str | pathlib.Path, inputs: identity.Sources) -> dict[str, Any]:
    """Returns the tuned fields of a finished study; none if it has no best.json.

    Args:
      directory: output folder of the study.
      inputs: data and world of the caller.

    Raises:
      UserError: if the study is of other data or another world.
    """
    path = pathlib.Path(directory) / _BEST
    if not path.exists():
        return {}
    best = json.loads(path.read_text(encoding="utf-8"))
    options.check_unchanged(
        identity.changes(best.get("inputs"), inputs),
        f"{path} was tuned with other inputs",
        f"Choose another --out, or remove {path.parent} to tune it again",
    )
    return best["overrides"]


def is_finished(directory: str | pathlib.Path, trials: int) -> bool:
    """Returns whether a study has at least this number of trials, or has tried all settings."""
    path = pathlib.Path(directory) / _BEST
    if not path.exists():
        return False
    best = json.loads(path.read_text(encoding="utf-8"))
    return best["trials"] >= min(trials, best.get("settings", trials))


def _board(directory: pathlib.Path, base: Any, record: tuning.Record) -> None:
    """Writes a trial's curve, and its line in TensorBoard's HParams table."""
    writer = tf.summary.create_file_writer(str(directory))
    for iteration, score in record.curve.items():
        summaries.write(writer, {"score": score}, iteration)
    last = max(record.curve, default=0)
    summaries.write(writer, {"updates": record.updates, "seconds": record.seconds}, last)
    config = dataclasses.asdict(base) | record.overrides | {"state": record.state}
    summaries.write_hparams(writer, config, f"trial {record.number}")
    writer.close()
