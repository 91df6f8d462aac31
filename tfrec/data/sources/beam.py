"""Apache Beam pipeline that reads a log: first each file, then each part of the users.

The result is a folder of interactions, the same table that `read` of the source gives:

    <folder>/interactions.json       schema, shards, counts and warnings
             part-00000.parquet      whole users, ordered by user and time
             rejected.csv            if bad rows were skipped

`tfrec.data.sources.interactions` reads it. Files of the log and the folder must lie where every
worker has access to them. Each file and each part has a separate report file, so that a bundle
that runs twice changes nothing.

Beam needs other versions of protobuf and PyArrow than TensorFlow's lock has:
requirements-beam.txt describes a separate environment, without TensorFlow.
"""

import dataclasses
import importlib
import io
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from tfrec import options, outputs
from tfrec.data import schema as schema_lib
from tfrec.data.sources import assembly, files, interactions
from tfrec.errors import UserError

try:
    import apache_beam as beam
    from apache_beam.options import pipeline_options
except ImportError:
    beam = None
_DoFn: Any = beam.DoFn if beam else object

SOURCES = (
    "amazon",
    "book_crossing",
    "goodreads",
    "librarything",
    "movielens",
    "netflix",
    "sequence",
)


def prepare(
    source: str,
    path: str | pathlib.Path,
    out: str | pathlib.Path,
    config: Any,
    *,
    parts: int = 16,
    skip_bad_rows: bool = False,
    overwrite: bool = False,
    beam_options: Sequence[str] = (),
) -> int:
    """Reads a log into a folder of interactions.

    Args:
      source: one of SOURCES.
      path: the log: a file, a folder or an archive.
      out: folder to write.
      config: options of the source.
      parts: shards; each holds whole users and is ordered in the memory of one worker.
      skip_bad_rows: drop bad rows and list them in rejected.csv.
      overwrite: whether to replace a folder of interactions.
      beam_options: of the pipeline, e.g. `--runner=DirectRunner`.

    Returns:
      Rows of the table.

    Raises:
      UserError: naming file, row, column and value; if `out` is in use; or if Apache Beam is
        not installed. Nothing is written.
    """
    if beam is None:
        raise UserError(
            "Apache Beam is not installed here; requirements-beam.txt describes an environment "
            "with it"
        )
    out = pathlib.Path(out)
    interactions.check_target(out, overwrite)
    module = importlib.import_module(f"tfrec.data.sources.{source}")
    logs = _logs(pathlib.Path(path), module.PATTERNS, several=source == "netflix")
    with outputs.replacing_folder(out) as folder:
        work = _Work(source, config, str(folder), parts)
        options = pipeline_options.PipelineOptions(list(beam_options))
        with beam.Pipeline(options=options) as pipeline:
            _ = (
                pipeline
                | "files" >> beam.Create(list(enumerate(map(str, logs))))
                | "apart" >> beam.Reshuffle()
                | "read" >> beam.ParDo(_Read(work))
                | "by user" >> beam.GroupByKey()
                | "order" >> beam.ParDo(_Order(work))
            )
        return _finish(folder, pathlib.Path(path).name, skip_bad_rows)


@dataclasses.dataclass(frozen=True)
class _Work:
    """Parameters of all workers."""

    source: str
    config: Any
    folder: str
    parts: int

    def events(self, path: str, bad_rows: schema_lib.BadRows) -> Any:
        """The events of a file, as a context."""
        module = importlib.import_module(f"tfrec.data.sources.{self.source}")
        return module.events(path, self.config, bad_rows)

    def report(self, note: str, bad_rows: schema_lib.BadRows, **more: Any) -> None:
        """Writes the report of a file or a part."""
        _replace(
            pathlib.Path(self.folder) / f"{note}.json",
            json.dumps(
                {
                    "repeated": bad_rows.repeated,
                    "left_out": bad_rows.left_out,
                    "warnings": bad_rows.warnings,
                    "rejected": bad_rows.rejected.to_dict(as_series=False),
                    **more,
                }
            ).encode(),
        )


class _Read(_DoFn):
    """A file -> for each part of the users, its rows as Arrow bytes, in numbered chunks."""

    def __init__(self, work: _Work):
        self._work = work

    def process(self, element: tuple[int, str]) -> Iterator[tuple[int, tuple[int, int, bytes]]]:
        """Reads a file and writes its report.

        Args:
          element: number and path of the file.

        Yields:
          The part of some rows; and the file, the number of the chunk, and the rows.
        """
        number, path = element
        bad_rows = schema_lib.BadRows(skip=True)
        note: dict[str, Any] = {"name": pathlib.Path(path).name, "rows": 0}
        try:
            with self._work.events(path, bad_rows) as events:
                note["schema"] = dataclasses.asdict(events.schema)
                note["log"] = {"seed": events.seed, "once": events.once}
                for chunk, (name, block) in enumerate(events.blocks):
                    if block.height:
                        note |= {"name": name, "rows": int(block[schema_lib.ROW][-1])}
                    block = assembly.checked(block, name, events, bad_rows)
                    part = pl.col("user").hash(0) % self._work.parts
                    for key, rows in block.group_by(part, maintain_order=True):
                        yield int(str(key[0])), (number, chunk, _packed(rows))
        except UserError as error:  # Beam would wrap the error
            note["error"] = str(error)
        self._work.report(f"file-{number:05d}", bad_rows, **note)


class _Order(_DoFn):
    """All rows of a part -> its shard."""

    def __init__(self, work: _Work):
        self._work = work

    def process(self, element: tuple[int, Any]) -> None:
        """Orders a part and writes its shard and its report.

        Args:
          element: the part, and the chunks of `_Read`, in any order.
        """
        part, chunks = element
        folder = pathlib.Path(self._work.folder)
        # GroupByKey has read every file, so that all reports are there.
        notes = [json.loads(file.read_text()) for file in sorted(folder.glob("file-*.json"))]
        if any("error" in note for note in notes):
            return
        before = [0, *itertools.accumulate(note["rows"] for note in notes)][:-1]
        rows = pl.concat(
            pl.read_ipc_stream(io.BytesIO(packed)).with_columns(
                pl.col(schema_lib.ROW).cast(pl.Int64) + before[number]
            )
            for number, _, packed in sorted(chunks, key=lambda chunk: chunk[:2])
        )
        bad_rows = schema_lib.BadRows(skip=True)
        schema = options.rebuilt(schema_lib.Schema, notes[0]["schema"])
        events = assembly.Events("", schema, iter(()), **notes[0]["log"])
        log = schema_lib.Files([note["name"] for note in notes], before)
        table = assembly.ordered(rows, log, events, bad_rows).select(schema.columns)
        shard = io.BytesIO()
        table.write_parquet(shard)
        name = f"part-{part:05d}"
        _replace(folder / f"{name}.parquet", shard.getvalue())
        self._work.report(name, bad_rows, shard=f"{name}.parquet", rows=table.height)


def _packed(rows: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    rows.write_ipc_stream(stream)
    return stream.getvalue()


def _logs(path: pathlib.Path, patterns: Sequence[str], several: bool) -> list[pathlib.Path]:
    """The files of a folder; an archive counts as one file, for a single worker."""
    if not path.is_dir():
        return [path]
    with files.streams(path, patterns, several=several) as log_streams:
        return [stream.path for stream in log_streams if stream.path]


def _finish(folder: pathlib.Path, name: str, skip_bad_rows: bool) -> int:
    """Combines the reports of the workers and returns the number of rows.

    Raises:
      UserError: for a file that cannot be read; for the first rejected row, unless they are
        skipped; or if no row is left.
    """
    notes = {
        file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*-*.json"))
    }
    for note in notes.values():
        if "error" in note:
            raise UserError(note["error"])
    bad_rows = schema_lib.BadRows(skip=skip_bad_rows)
    rejected = [
        pl.DataFrame(note["rejected"], schema=schema_lib.REJECTED) for note in notes.values()
    ]
    bad_rows.take(pl.concat(rejected))
    for note in notes.values():
        bad_rows.repeated += note["repeated"]
        for reason, count in note["left_out"].items():
            bad_rows.leave_out(reason, count)
        for sentence in note["warnings"]:
            bad_rows.remark(sentence)
    shards = {note["shard"]: note["rows"] for note in notes.values() if "shard" in note}
    if not sum(shards.values()):
        raise UserError(f"{name}: no rows; expected at least one event")
    for file in notes:
        (folder / f"{file}.json").unlink()
    bad_rows.write(folder)
    interactions.write_index(folder, notes["file-00000"]["schema"], shards, bad_rows)
    return sum(shards.values())


def _replace(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole, or not at all."""
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(content)
    partial.replace(path)
