"""Prepared sessions on disk: sharded TFRecord files and a manifest with their checksums.

    <directory>/manifest.json                  counts, checksums, schema, config, seed
                train-00000-of-00004.tfrecord  and the same for validation and test
                vocabulary_{items,users,categories}.parquet
                {user,item}_features.parquet   if such tables were given
                {item,user,context}_feature_values.json  if models read such features
                rejected.csv                   if bad rows were skipped

A directory is written under a temporary name and renamed when it is complete.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec import outputs, types
from tfrec.data import blocks, feature_encoding, identity, parquet, pipeline
from tfrec.data import episodes as episodes_lib
from tfrec.data import schema as schema_lib
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError

MANIFEST = "manifest.json"
FORMAT = 1
ALL = "all"
UNTRAINED = "items without a training step"  # key of their number in agents and exports


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """A directory of prepared sessions.

    Attributes:
      directory: path of the directory.
      manifest: content of manifest.json.
      spec: shapes, feedback columns and their scales.
      vocabulary: raw ids.
    """

    directory: pathlib.Path
    manifest: dict[str, Any]
    spec: types.DataSpec
    vocabulary: vocabulary_lib.Vocabulary

    def __str__(self) -> str:
        spec, columns = self.spec, ("users", "sessions", "steps", "clicks")
        feedback = ", ".join(f"{column.name} ({column.unit})" for column in spec.feedback)
        rows = [
            " | ".join([name, *(f"{split[column]:,}" for column in columns)])
            for name, split in self.manifest["splits"].items()
        ]
        head = [" | ".join(["split", *columns]), "---" + " | ---:" * len(columns)]
        return f"{spec.num_items:,} items; feedback: {feedback}\n\n" + "\n".join(
            f"| {row} |" for row in (*head, *rows)
        )

    def _repr_markdown_(self) -> str:
        return str(self)

    @classmethod
    def open(cls, directory: str | pathlib.Path) -> "PreparedData":
        """Opens a directory and checks every file against the manifest.

        Raises:
          UserError: if there is no manifest, or a file is absent or damaged; names it.
        """
        directory = pathlib.Path(directory)
        path = directory / MANIFEST
        try:
            manifest = json.loads(path.read_text())
        except FileNotFoundError:
            raise UserError(
                f"{directory}: no prepared data here (no {MANIFEST}); "
                "run `python -m launch.prepare_data --out=...` first"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not readable as JSON ({error})") from error
        if manifest.get("format") != FORMAT:
            raise UserError(
                f"{path}: format is {manifest.get('format')!r}; expected {FORMAT}. "
                "Prepare the data again."
            )
        for name, entry in manifest["files"].items():
            _verify(directory / name, entry)
        return cls(
            directory=directory,
            manifest=manifest,
            spec=types.DataSpec.restored(manifest["spec"]),
            vocabulary=vocabulary_lib.load(directory),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of the content: equal if and only if files, spec and ids are equal."""
        return self.manifest["fingerprint"]

    @property
    def order(self) -> Literal["time", "file", "random"]:
        """Order of the events of a user; see `schema.Schema.order`."""
        return self.manifest["schema"]["order"]

    @property
    def num_untrained_items(self) -> int:
        """Items of the catalogue that no stored training step shows."""
        return self.manifest.get("items", {}).get("without_training_step", 0)

    @property
    def untrained_items(self) -> str:
        """A sentence on the items that no stored training step shows; "" if there are none."""
        count = self.num_untrained_items
        if not count:
            return ""
        config, unseen = self.manifest["config"], self.manifest["items"]["unseen_in_training"]
        return (
            f"{count:,} of {self.spec.num_items:,} items stand in no stored training step, "
            f"{unseen:,} of them in no stored training history either: the scores of a "
            "policy for them are not learned from their events. Their training rows are in "
            "sessions "
            f"that are not stored (min_steps is {config['min_steps']}, max_sessions_per_user "
            f"{config['max_sessions_per_user']}) or beyond the end of one (max_steps is "
            f"{config['max_steps']}). Prepare the data with --max_sessions_per_user=0 or a "
            "larger --max_steps to store more, or with a larger --min_item_rows to leave rare "
            "items out"
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """Fields that artefacts made from the data record: `data` and `split`."""
        return {"data": self.fingerprint, "split": self.manifest.get("split")}

    @property
    def origin(self) -> identity.Origin:
        """Meaning of the dense ids, for the comparison with other artefacts."""
        return identity.Origin(
            str(self.directory), self.vocabulary, self.spec, **self.provenance
        )

    @property
    def source(self) -> identity.Source:
        """The data as an input of a run or a study."""
        return identity.Source(str(self.directory), self.fingerprint)

    def num_sessions(self, split: str) -> int:
        """Sessions of a split."""
        return sum(self.manifest["splits"][name]["sessions"] for name in _splits(split))

    def files(self, split: str) -> list[str]:
        """The shards of a split, `train`, `validation`, `test` or `all` of them."""
        names = [
            file for name in _splits(split) for file in self.manifest["splits"][name]["files"]
        ]
        return [str(self.directory / name) for name in names]

    def episodes(self, split: str) -> types.Episodes:
        """All sessions of a split in memory, as numpy arrays, ordered by user and time.

        They take S x (H + T) x (4 + 4F) bytes.
        """
        episodes, values = self._read(split).episodes, self.user_values()
        if values is None:
            return episodes
        parts = [values[episodes.user], episodes.context_values]
        return episodes._replace(context_values=_joined(parts, np.concatenate))

    def session_times(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """int64 [S] twice: unix milliseconds of each session's first and last event."""
        block = self._read(split)
        return block.start_ms, block.end_ms

    def column(self, split: str, name: str) -> np.ndarray:
        """An optional column of the log at each step, [S, T], 0 where padded.

        Args:
          split: as for `episodes`.
          name: `category` (int32, dense ids) or `propensity` (float32).

        Raises:
          UserError: if the log has no such column.
        """
        if name not in self._optional:
            raise UserError(f"{self.directory}: the log has no column {name!r}")
        return self._read(split).columns[name]

    def dataset(
        self,
        split: str,
        *,
        batch_size: int,
        seed: int | None = None,
        repeat: bool = False,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Batches of `types.Episodes`; see `pipeline.batches`."""
        batches = pipeline.batches(
            self.files(split),
            self.spec,
            batch_size=batch_size,
            seed=seed,
            repeat=repeat,
            drop_remainder=drop_remainder,
        )
        values = self.user_values()
        if values is None:
            return batches

        def with_users(episodes: types.Episodes) -> types.Episodes:
            parts = [tf.gather(values, episodes.user), episodes.context_values]
            return episodes._replace(context_values=_joined(parts, tf.concat))

        return batches.map(with_users)

    def item_features(self) -> types.Features | None:
        """Encoded features of the items, read-only, or None where models read ids alone."""
        return self._item_features

    @functools.cached_property
    def _item_features(self) -> types.Features | None:
        encoder, table = self.vocabulary.item_features, self.features("item")
        if encoder is None or table is None:
            return None
        encoded = encoder.encode(table, self.directory / "item_features.parquet")
        for part in encoded:
            part.setflags(write=False)
        return encoded

    def user_values(
        self, encoder: feature_encoding.FeatureEncoder | None = None
    ) -> np.ndarray | None:
        """Numbers of the values of the users' features, row d for dense id d.

        Args:
          encoder: encoder of an agent that was trained on other data; that of this data by
            default.

        Returns:
          int32 [U + 1, K], read-only; row 0, an unknown user, has missing values. None where
          models read no features of users.

        Raises:
          UserError: if the data has no table of the users, or it lacks a column.
        """
        return self._user_values if encoder is None else self._encoded_users(encoder)

    @functools.cached_property
    def _user_values(self) -> np.ndarray | None:
        encoder = self.vocabulary.user_features
        return None if encoder is None else self._encoded_users(encoder)

    def _encoded_users(self, encoder: feature_encoding.FeatureEncoder) -> np.ndarray:
        path, table = self.directory / "user_features.parquet", self.features("user")
        if table is None:
            raise UserError(f"{path}: absent; expected the features of the users of the log")
        values = encoder.encode(table, path).values
        values[0] = encoder.spec.missing
        values.setflags(write=False)
        return values

    def features(self, kind: str) -> pl.DataFrame | None:
        """Feature table of each `user` or `item`, row d - 1 for dense id d, or None."""
        path = self.directory / f"{kind}_features.parquet"
        return parquet.read(path) if path.name in self.manifest["files"] else None

    @property
    def _optional(self) -> tuple[str, ...]:
        schema = self.manifest["schema"]
        return tuple(name for name in ("category", "propensity") if schema[name])

    def _read(self, split: str) -> blocks.Block:
        parsed = pipeline.records(self.files(split)).map(
            lambda record: blocks.parse(record, self.spec, self._optional)
        )
        total, filled, place = self.num_sessions(split), None, 0
        for block in parsed.prefetch(1).as_numpy_iterator():
            if filled is None:  # every array whole at once, filled block by block
                filled = tf.nest.map_structure(
                    lambda part: np.zeros((total, *part.shape[1:]), part.dtype), block
                )
            size = len(block.start_ms)
            for whole, part in zip(
                tf.nest.flatten(filled), tf.nest.flatten(block), strict=True
            ):
                whole[place : place + size] = part
            place += size
        return filled if filled is not None else self._empty_block()

    def _empty_block(self) -> blocks.Block:
        """A block of no sessions."""
        spec = self.spec
        width = {"history": spec.history_length, "steps": spec.max_steps}
        optional = {"category": np.int32, "propensity": np.float32}
        return blocks.Block(
            episodes=types.Episodes(
                user=np.zeros(0, np.int32),
                history_item=np.zeros((0, width["history"]), np.int32),
                history_feedback=np.zeros(
                    (0, width["history"], len(spec.feedback)), np.float32
                ),
                item=np.zeros((0, width["steps"]), np.int32),
                feedback=np.zeros((0, width["steps"], len(spec.feedback)), np.float32),
                length=np.zeros(0, np.int32),
                exited=np.zeros(0, bool),
                context_values=(
                    ()
                    if spec.context_features is None
                    else np.zeros((0, spec.context_features.slots), np.int32)
                ),
            ),
            start_ms=np.zeros(0, np.int64),
            end_ms=np.zeros(0, np.int64),
            columns={
                name: np.zeros((0, width["steps"]), optional[name]) for name in self._optional
            },
        )


def _joined(parts: Sequence[Any], concatenate: Callable[..., Any]) -> Any:
    """Numbers of users and contexts side by side, [B, K]; () among the parts is left out."""
    return concatenate([part for part in parts if not isinstance(part, tuple)], axis=1)


def write(
    directory: str | pathlib.Path,
    prepared: episodes_lib.Prepared,
    schema: schema_lib.Schema,
    config: episodes_lib.PrepareConfig,
    source: str,
    bad_rows: schema_lib.BadRows | None = None,
    overwrite: bool = False,
    generator: dict[str, Any] | None = None,
    features: Mapping[str, pl.DataFrame] | None = None,
    warnings: Sequence[str] = (),
    filters: dict[str, Any] | None = None,
) -> PreparedData:
    """Writes prepared sessions, a block of users at a time, and opens them.

    Args:
      directory: target folder; its parents are created.
      prepared: result of `episodes.prepare`.
      schema: the log's columns.
      config: how the log was cut and split.
      source: description of the log, for the manifest.
      bad_rows: rows that were skipped, listed in rejected.csv.
      overwrite: whether to replace prepared data that is there already.
      generator: parameters of the simulated users that generated a synthetic log, from
        which they can be rebuilt.
      features: feature tables of each `user` and `item`, by dense id.
      warnings: implausible properties of the log, for the manifest.
      filters: filters of the log's events, for the manifest.

    Raises:
      UserError: if the directory exists and may not (or cannot safely) be replaced, or cannot
        be written; no partial output is left.
    """
    directory = pathlib.Path(directory)
    check_target(directory, overwrite)
    with outputs.replacing_folder(directory) as partial:
        prepared.vocabulary.save(partial)
        for kind, table in (features or {}).items():
            parquet.write(table, partial / f"{kind}_features.parquet")
        if bad_rows:
            bad_rows.write(partial)
        splits = {
            name: _write_split(partial, name, prepared, index, config.shards)
            for index, name in enumerate(episodes_lib.SPLITS)
        }
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(partial.iterdir())
        }
        spec = prepared.spec.described()
        content = json.dumps([spec, splits, files], sort_keys=True)
        manifest = {
            "format": FORMAT,
            "source": source,
            "fingerprint": hashlib.sha256(content.encode()).hexdigest()[:16],
            "ids": identity.ids_of(prepared.vocabulary, prepared.spec),
            "split": _split(prepared.sessions, config),
            "generator": generator,
            "seed": config.seed,
            "spec": spec,
            "splits": splits,
            "dropped": {
                "bad_rows": bad_rows.count if bad_rows else 0,
                "repeated_rows": bad_rows.repeated if bad_rows else 0,
                **(bad_rows.left_out if bad_rows else {}),
                **prepared.dropped,
            },
            "items": _item_counts(prepared),
            "warnings": list(warnings),
            "filters": filters or {},
            "schema": dataclasses.asdict(schema),
            "config": dataclasses.asdict(config),
            "files": files,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return PreparedData.open(directory)


def check_target(directory: pathlib.Path, overwrite: bool) -> None:
    """Rejects a target that is in use; called before hours of work, and again at the end.

    Raises:
      UserError: if it is a file, or a directory that may not be replaced: one with
        prepared data unless `overwrite`, one with anything else always.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UserError(f"{directory}: a file is in the way; choose another directory")
    if not any(directory.iterdir()):
        return
    if not (directory / MANIFEST).exists():
        raise UserError(
            f"{directory}: holds other files than prepared data; choose another directory"
        )
    if not overwrite:
        raise UserError(
            f"{directory}: holds prepared data already; pass --overwrite to replace it, or "
            "choose another directory"
        )


def _write_split(
    directory: pathlib.Path,
    name: str,
    prepared: episodes_lib.Prepared,
    index: int,
    shards: int,
) -> dict[str, Any]:
    """Writes one split's shards; returns its entry of the manifest."""
    sessions = prepared.sessions.take(prepared.sessions.split == index)
    runs = list(blocks.split_users(sessions, prepared.spec.history_length))
    shards = min(shards, len(runs))
    files = [f"{name}-{shard:05d}-of-{shards:05d}.tfrecord" for shard in range(shards)]
    for shard, file in enumerate(files):
        first, last = shard * len(runs) // shards, (shard + 1) * len(runs) // shards
        with tf.io.TFRecordWriter(str(directory / file)) as writer:
            for run in runs[first:last]:
                writer.write(blocks.serialise(prepared.events, run, prepared.spec))
    return {
        "files": files,
        "users": len(np.unique(sessions.user)),
        "sessions": len(sessions.user),
        "steps": int(sessions.length.sum()),
        "clicks": _clicks(prepared, sessions),
        "exited": int(sessions.exited.sum()),
    }


def _item_counts(prepared: episodes_lib.Prepared) -> dict[str, int]:
    """Counts the items, and those without a stored training step or event."""
    sessions = prepared.sessions.take(prepared.sessions.split == 0)
    item = prepared.events["item"].to_numpy()
    end = sessions.start + sessions.length
    history = np.maximum(sessions.first, sessions.start - prepared.spec.history_length)

    def shown(start: np.ndarray) -> np.ndarray:
        """Whether an item occurs in rows start..end of a session, bool [N + 1]."""
        # Sessions are in order, so that clipping makes ranges disjoint: 1 opens, -1 closes.
        start = np.maximum(start, np.append(0, end[:-1]))
        edges = np.zeros(len(item) + 1, np.int8)
        np.add.at(edges, start, 1)
        np.add.at(edges, end, -1)
        occurs = np.zeros(prepared.spec.num_items + 1, bool)
        occurs[item[np.cumsum(edges[:-1], dtype=np.int8) > 0]] = True
        return occurs

    trained = shown(sessions.start)[1:]
    seen = trained | shown(history)[1:]
    return {
        "count": len(trained),
        "without_training_step": int((~trained).sum()),
        "unseen_in_training": int((~seen).sum()),
    }


def _split(
    sessions: episodes_lib.Sessions, config: episodes_lib.PrepareConfig
) -> dict[str, Any]:
    """Settings that determine the split into training, validation and test."""
    if config.split == "user":  # drawn by the seed over all users of the vocabulary
        names = ("split", "seed", "test_fraction", "validation_fraction", "max_users")
        return {name: getattr(config, name) for name in names}
    ends = {
        name: int(sessions.end_ms[sessions.split == index].max(initial=0))
        for index, name in enumerate(episodes_lib.SPLITS[:2])
    }
    return {"split": "time", **{f"{name}_until_ms": end for name, end in ends.items()}}


def _clicks(prepared: episodes_lib.Prepared, sessions: episodes_lib.Sessions) -> int:
    """Sum of the first feedback column over the steps of the sessions."""
    click = prepared.events[prepared.spec.feedback[0].name].to_numpy()
    running = np.concatenate([[0.0], np.cumsum(click, dtype=np.float64)])
    start = sessions.start
    return int(round((running[start + sessions.length] - running[start]).sum()))


def _splits(split: str) -> Sequence[str]:
    names = episodes_lib.SPLITS if split == ALL else (split,)
    if names[0] not in episodes_lib.SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {(*episodes_lib.SPLITS, ALL)}")
    return names


def _verify(path: pathlib.Path, entry: dict[str, Any]) -> None:
    hint = "Prepare the data again."
    if not path.exists():
        raise UserError(f"{path}: absent, but {MANIFEST} lists it. {hint}")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise UserError(f"{path}: damaged: {size:,} bytes; expected {entry['bytes']:,}. {hint}")
    if sha256(path) != entry["sha256"]:
        raise UserError(f"{path}: damaged: its checksum is not the one in {MANIFEST}. {hint}")


def sha256(path: pathlib.Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
