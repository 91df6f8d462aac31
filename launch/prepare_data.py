"""Turns a log into prepared sessions: validated, split, indexed, stored, summarised."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import polars as pl
import rich
from rich import markup
from rich import table as rich_table

from launch import flags
from tfrec import outputs
from tfrec.data import (
    download,
    episodes,
    feature_schema,
    features,
    filters,
    preparing,
    schema,
    storage,
    synthetic,
    synthetic_attributes,
    synthetic_worlds,
)
from tfrec.data.sources import (
    amazon,
    book_crossing,
    files,
    goodreads,
    interactions,
    kuairand,
    librarything,
    movielens,
    netflix,
    otto,
    ratings,
    sequence,
    table,
    taobao,
    text_rows,
    yoochoose,
)
from tfrec.errors import UserError
from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class PrepareDataConfig(Options):
    """The log, its source and the folder of prepared data."""

    source: str = option(
        "embedded",
        "embedded, movielens, amazon, librarything, book_crossing, goodreads, netflix, "
        "kuairand, taobao, yoochoose, otto, sequence, interactions or table; or a folder or an "
        "archive of one of the public sets, which is recognised by its files",
    )
    embedded_world: str = option(
        "",
        "named world, whose values are the defaults of the --embedded_ flags and of those that "
        f"cut sessions: {', '.join(synthetic_worlds.NAMES)}; empty for none",
    )
    path: str = option("", "the log: a file, a folder or an archive; not for embedded")
    download: str = option(
        "", f"public set to download first from its publisher: {', '.join(download.SETS)}"
    )
    downloads: str = option("data", "folder for downloaded archives")
    user_features: str = option(
        "", "text or Parquet file about the users, stored beside the log; first column: the id"
    )
    item_features: str = option("", "text or Parquet file about the items, stored likewise")
    attributes_out: str = option(
        "",
        "folder for item_features.csv and user_features.csv of the embedded log, which are "
        "also stored beside the log; they describe new items, too",
    )
    feature_columns: str = option(
        "",
        "TOML file that declares what models read beside ids: columns of item_features and "
        "user_features, and the context of a session",
    )
    out: str = option("runs/data", "output folder of the prepared data")
    overwrite: bool = option(False, "replace existing prepared data")
    on_bad_row: Literal["error", "skip"] = option(
        "error",
        "stop at the first bad or duplicate row, or drop them and list them in rejected.csv",
    )


flags.define(PrepareDataConfig)
flags.define(filters.FilterConfig)
_WORLD = flags.early_value("embedded_world", synthetic_worlds.NAMES)
flags.define(synthetic_worlds.sessions_class(_WORLD))
flags.define(synthetic_worlds.log_class(_WORLD), "embedded_")
flags.define(ratings.RatingConfig)
flags.define(taobao.TaobaoConfig)
flags.define(yoochoose.YooChooseConfig)
flags.define(sequence.SequenceConfig)
flags.define(table.TableConfig)
flags.define(text_rows.TextFormat, "features_")


class _Source(NamedTuple):
    """A format of logs.

    Attributes:
      read: the `read` of its module.
      config: the class of its options; None if it has none.
      recognised: names of files that identify it in a folder; empty if it must be named.
    """

    read: Callable[..., tuple[pl.DataFrame, schema.Schema]]
    config: type[Any] | None
    recognised: Sequence[str]


def _sources() -> dict[str, _Source]:
    """Returns the formats by name; those with specific file names come first."""
    rated = ratings.RatingConfig
    return {
        "movielens": _Source(movielens.read, rated, movielens.PATTERNS),
        "kuairand": _Source(kuairand.read, None, kuairand.PATTERNS),
        "taobao": _Source(taobao.read, taobao.TaobaoConfig, taobao.PATTERNS),
        "yoochoose": _Source(yoochoose.read, yoochoose.YooChooseConfig, yoochoose.PATTERNS),
        "otto": _Source(otto.read, None, otto.PATTERNS),
        "book_crossing": _Source(book_crossing.read, rated, book_crossing.PATTERNS),
        "goodreads": _Source(goodreads.read, rated, goodreads.PATTERNS),
        "netflix": _Source(netflix.read, rated, netflix.PATTERNS),
        "librarything": _Source(librarything.read, rated, librarything.PATTERNS),
        "amazon": _Source(amazon.read, rated, amazon.RECOGNISED),
        "sequence": _Source(sequence.read, sequence.SequenceConfig, ()),
        "interactions": _Source(interactions.read, None, interactions.PATTERNS),
        "table": _Source(table.read, table.TableConfig, ()),
    }


def main(_):
    config = flags.read(PrepareDataConfig)
    prepare_config = flags.read(episodes.PrepareConfig)
    out = pathlib.Path(config.out)
    storage.check_target(out, config.overwrite)  # before a download
    outputs.check_folder(out)
    if config.download:
        outputs.check_folder(config.downloads, "--downloads")

    source, path = _locate(config)
    with _feature_tables(config, source) as features_of:
        declared = feature_schema.declared(config.feature_columns, "--feature_columns")
        if path is None:
            declared = synthetic_attributes.with_hour(declared, _embedded_config())
        data, rows, warnings = preparing.prepare(
            lambda bad_rows: _read(source, path, bad_rows, declared.log_columns),
            out,
            prepare_config,
            source=f"{source} {path.name}" if path else source,
            skip_bad_rows=config.on_bad_row == "skip",
            overwrite=config.overwrite,
            features_of=features_of,
            feature_columns=declared,
            text_format=flags.read(text_rows.TextFormat, "features_"),
            filter_config=flags.read(filters.FilterConfig),
            generator=None if path else dataclasses.asdict(_embedded_config()),
        )
    _show(data, rows)
    for warning in (*warnings, data.untrained_items):
        flags.warn(warning)


def _locate(config: PrepareDataConfig) -> tuple[str, pathlib.Path | None]:
    """Returns the source and the path of its log, None for the embedded log."""
    source, path = config.source, config.path
    if config.download:
        if config.download not in download.SETS:
            raise UserError(
                f"--download={config.download}: expected one of {', '.join(download.SETS)}"
            )
        source, describe = download.SETS[config.download]
        archive = describe(config.download)
        rich.print(f"{archive.url}\n{archive.terms}")
        if archive.md5 is None:
            rich.print("the publisher gives no checksum: only the length is checked")
        path = str(download.fetch(archive, config.downloads))
    elif source not in ("embedded", *_sources()):
        if not pathlib.Path(source).exists():
            raise UserError(
                f"--source={source}: expected embedded, {', '.join(_sources())}, or a folder "
                "or an archive that exists"
            )
        path, source = source, _recognised(pathlib.Path(source))
    if config.embedded_world and source != "embedded":
        raise UserError(f"--embedded_world={config.embedded_world} needs --source=embedded")
    if source == "embedded":
        synthetic_worlds.check(config.embedded_world, "--embedded_world")
        if path:
            raise UserError(f"--path={path} needs --source={', '.join(_sources())}")
        return source, None
    if not path:
        raise UserError(f"--source={source} needs --path=... (the log), or --download=...")
    return source, pathlib.Path(path)


def _recognised(path: pathlib.Path) -> str:
    for name, source in _sources().items():
        if source.recognised and files.contains(path, source.recognised):
            return name
    raise UserError(
        f"--source={path}: no public set recognised in it; for your own log pass "
        "--source=table --path=... with --user, --item, --time and --feedback"
    )


def _read(
    source: str,
    path: pathlib.Path | None,
    bad_rows: schema.BadRows,
    context: Sequence[feature_schema.FeatureColumn],
) -> tuple[pl.DataFrame, schema.Schema]:
    """Reads a log, with the columns of the context that it has."""
    if context and source != "table":
        raise UserError(
            f"--feature_columns: [context.{context[0].name}] is a column of the log; expected "
            f"{' or '.join(feature_schema.DERIVED)} with --source={source}, or --source=table"
        )
    if source == "table" and path is not None:
        return table.read(path, flags.read(table.TableConfig), bad_rows, context)
    if path is None:
        return synthetic.read_validated(_embedded_config(), bad_rows)
    log_format = _sources()[source]
    options = () if log_format.config is None else (flags.read(log_format.config),)
    return log_format.read(path, *options, bad_rows)


def _embedded_config() -> synthetic.SyntheticConfig:
    return flags.read(synthetic.SyntheticConfig, "embedded_")


@contextlib.contextmanager
def _feature_tables(config: PrepareDataConfig, source: str) -> Iterator[dict[str, str]]:
    """Yields the paths of the feature tables by `user` and `item`, empty for none.

    With `attributes_out` they are written first, and stay if the block succeeds.

    Raises:
      UserError: naming the flag at fault, or the path that cannot be written.
    """
    if not config.attributes_out:
        yield {"user": config.user_features, "item": config.item_features}
        return
    _check_attributes(config, source)
    embedded = _embedded_config()
    tables = synthetic_attributes.attributes(embedded, synthetic.truth(embedded))
    with outputs.replacing_folder(config.attributes_out) as folder:
        paths = {kind: folder / _feature_file(kind) for kind in tables}
        for kind, path in paths.items():
            tables[kind].write_csv(path)
        yield {kind: str(path) for kind, path in paths.items()}


def _check_attributes(config: PrepareDataConfig, source: str) -> None:
    """Checks that attributes can be written, before anything is."""
    given = f"--attributes_out={config.attributes_out}"
    if source != "embedded":
        raise UserError(f"{given} needs --source=embedded; {source} has no known attributes")
    for flag in ("user_features", "item_features"):
        if value := getattr(config, flag):
            raise UserError(f"{given} and --{flag}={value}: expected one of them")
    folder, out = (pathlib.Path(name).resolve() for name in (config.attributes_out, config.out))
    if folder.is_relative_to(out) or out.is_relative_to(folder):
        raise UserError(f"{given} and --out={config.out}: expected separate folders")
    outputs.check_folder(folder, "--attributes_out")
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if others := sorted(present - {_feature_file(kind) for kind in features.KINDS}):
        raise UserError(f"{given}: holds other files ({others[0]}); choose another folder")
    if present and not config.overwrite:
        raise UserError(f"{given}: holds attributes already; pass --overwrite to replace them")


def _feature_file(kind: str) -> str:
    return f"{kind}_features.csv"


def _show(data: storage.PreparedData, rows: int) -> None:
    spec = data.spec
    title = markup.escape(f"{data.directory} ({data.manifest['source']})")
    splits = rich_table.Table(title=title)
    splits.add_column("split")
    for heading in ("users", "sessions", "steps", "CTR", "depth", "left by themselves"):
        splits.add_column(heading, justify="right")
    for name, entry in data.manifest["splits"].items():
        sessions, steps = entry["sessions"], entry["steps"]
        splits.add_row(
            name,
            f"{entry['users']:,}",
            f"{sessions:,}",
            f"{steps:,}",
            f"{entry['clicks'] / steps:#.3g}" if steps else "-",
            f"{steps / sessions:.1f} steps" if sessions else "-",
            f"{entry['exited'] / sessions:.1%}" if sessions else "-",
        )
    rich.print(splits)
    rich.print(
        f"{rows:,} rows, {spec.num_users:,} users, {spec.num_items:,} items; feedback: "
        + ", ".join(f"{column.name} ({markup.escape(column.unit)})" for column in spec.feedback)
    )
    left_out = {name: count for name, count in data.manifest["dropped"].items() if count}
    for name, count in left_out.items():
        rich.print(f"left out: {count:,} {name.replace('_', ' ')}")


if __name__ == "__main__":
    flags.run(main)
