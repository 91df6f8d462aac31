r"""Reads a large log by Apache Beam into a folder of interactions.

    python -m launch.prepare_beam --source=amazon --path=/data/amazon --out=runs/interactions \
        --beam_options=--runner=DirectRunner,--direct_num_workers=4
    python -m launch.prepare_data --source=interactions --path=runs/interactions --out=runs/data

The first command runs in the environment of requirements-beam.txt, the second in that of
requirements.txt. The prepared data are the same as those prepared from the log itself.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import rich

from launch import flags
from tfrec import outputs
from tfrec.data.sources import beam, interactions, ratings, sequence
from tfrec.errors import UserError
from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class PrepareBeamConfig(Options):
    """The log, its source and the folder of interactions."""

    source: str = option(
        "",
        "amazon, book_crossing, goodreads, librarything, movielens, netflix or sequence",
    )
    path: str = option("", "the log: a file, a folder or an archive that all workers can read")
    out: str = option("runs/interactions", "output folder that all workers can write")
    parts: int = option(
        16, "number of shards; a worker sorts each shard in memory", at_least=1, at_most=4096
    )
    overwrite: bool = option(False, "replace existing interactions")
    on_bad_row: Literal["error", "skip"] = option(
        "error",
        "fail with the first bad or duplicate row, or drop them and list them in rejected.csv",
    )
    beam_options: tuple[str, ...] = option(
        (), "options of the pipeline, e.g. --runner=DirectRunner,--direct_num_workers=4"
    )


flags.define(PrepareBeamConfig)
flags.define(ratings.RatingConfig)
flags.define(sequence.SequenceConfig)


def main(_):
    config = flags.read(PrepareBeamConfig)
    outputs.check_folder(config.out)
    if config.source not in beam.SOURCES:
        raise UserError(f"--source={config.source}: expected one of {', '.join(beam.SOURCES)}")
    if not config.path:
        raise UserError(f"--source={config.source} needs --path=... (the log)")
    options = sequence.SequenceConfig if config.source == "sequence" else ratings.RatingConfig
    rows = beam.prepare(
        config.source,
        config.path,
        config.out,
        flags.read(options),
        parts=config.parts,
        skip_bad_rows=config.on_bad_row == "skip",
        overwrite=config.overwrite,
        beam_options=config.beam_options,
    )
    rich.print(f"{rows:,} rows in {config.out}")
    for warning in interactions.warnings(config.out):
        flags.warn(warning)


if __name__ == "__main__":
    flags.run(main)
