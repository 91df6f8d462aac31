"""Exports a ranker as a versioned SavedModel that needs no Python of this project.

    export/
      1/  saved_model.pb  variables/  assets/  manifest.json  model_card.md
          assets.extra/golden/rank.npz  assets.extra/tf_serving_warmup_requests
          assets.extra/items.parquet, if the export has descriptions of its items
      2/  ...

A version is complete or absent (see `numbered`): it is written to a hidden sibling folder,
loaded again and compared with the agent, and then renamed.
"""

import dataclasses
import functools
import json
import os
import pathlib

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec import errors, names, weights
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.serving import descriptions as descriptions_lib
from tfrec.serving import files, golden, model, numbered, recall, surrogate, tables, warmup
from tfrec.serving import manifest as manifest_lib
from tfrec.serving import ranker as ranker_lib

_NOT_RECORDED = manifest_lib.Metadata()


def export(
    ranker: ranker_lib.Ranker,
    directory: str | os.PathLike,
    version: int | None = None,
    metadata: manifest_lib.Metadata = _NOT_RECORDED,
    table: str = "float32",
    shortlist: int | None = None,
    descriptions: descriptions_lib.Descriptions | None = None,
) -> pathlib.Path:
    """Writes one version and verifies it.

    Args:
      ranker: a trained agent.
      directory: folder of the versions; created if missing.
      version: number of the version, from 1; the next free one by default.
      metadata: provenance of the model.
      table: precision of the item table, one of tables.PRECISIONS. With a reduced table, the
        world model scores a shortlist from the table; the recall of the best items is
        measured and recorded.
      shortlist: number of items that a fully connected head scores, selected by a
        surrogate; their recall is measured and recorded, too. 0 for all items; by default
        surrogate.SHORTLIST, or all of a catalogue less than twice as large.
      descriptions: names and features of the items for people; none by default.

    Returns:
      The version directory.

    Raises:
      UserError: if the version exists, the directory cannot be written or another export
        writes to it, an item id cannot be served, the agent has no table of the requested
        precision, or answers of the saved model and of the agent differ. No partial
        output is left.
    """
    item_dtype = check(ranker)
    shortlist = _shortlist(ranker, shortlist)
    if table not in tables.PRECISIONS:
        raise errors.UserError(f"table {table!r}: expected {', '.join(tables.PRECISIONS)}")
    if table != "float32" and not ranker.world_model.bilinear and not shortlist:
        raise errors.UserError(
            f"table {table!r}: this agent's head is fully connected and has no item table "
            "unless there is a shortlist; leave it at float32"
        )
    if descriptions:
        described = descriptions.table.to_series(0).to_list()
        if described != ranker.vocabulary.items.tolist():
            raise ValueError("descriptions have other items than the agent")
    files.expect_kind(directory, "ranker")
    fill = functools.partial(
        _write, ranker, item_dtype, metadata, table, shortlist, descriptions
    )
    return numbered.write(directory, version, fill)


def check(ranker: ranker_lib.Ranker) -> str:
    """Checks that a ranker can be exported.

    Returns:
      `string` or `int64`, the type of its item ids.

    Raises:
      UserError: with the item id or the goal that cannot be served.
    """
    items = ranker.vocabulary.items.tolist()
    if len(items) != ranker.spec.num_items or not items:
        raise errors.UserError(
            f"vocabulary: {len(items)} item ids, but the data has {ranker.spec.num_items} items"
        )
    strings = isinstance(items[0], str)
    distinct = set()
    for place, item in enumerate(items):
        if isinstance(item, str) != strings or not isinstance(item, str | int):
            raise errors.UserError(
                f"vocabulary, item {place + 1}: {item!r}; expected all ids to be strings, or "
                "all integers"
            )
        if item in distinct:
            raise errors.UserError(f"vocabulary, item {place + 1}: the id {item!r} is repeated")
        distinct.add(item)
    ids = pl.DataFrame({"item": items})
    for valid, expected in vocabulary_lib.id_rules("item", ids.schema["item"]):
        invalid = ids.select((~valid).arg_true()).to_series()
        if len(invalid):
            raise errors.UserError(
                f"vocabulary, item {invalid[0] + 1}: the id {items[invalid[0]]!r} cannot be "
                f"served; expected {expected}"
            )
    weights.check(((v.name, v) for v in ranker.world_model.variables), "not exported")
    width = len(ranker.measurements.columns)
    names.check_distinct("goal", ranker.named_goals)
    for name, goal in ranker.named_goals.items():
        names.check_label("goal", name)
        goal = np.asarray(goal, float)
        if goal.shape != (width,) or not np.isfinite(goal).all() or not goal.any():
            raise errors.UserError(
                f"goal {name!r}: {goal.tolist()}; expected {width} finite weights, one not 0"
            )
        for column, weight in zip(ranker.measurements.columns, goal, strict=True):
            if weight and column in ranker.discarded:
                raise errors.UserError(
                    f"goal {name!r} weighs {column}: {ranker.discarded[column]} gives every "
                    "item the same advantage there; train again without that weight"
                )
    return "string" if strings else "int64"


def write_vocabulary(ranker: ranker_lib.Ranker, directory: pathlib.Path) -> pathlib.Path:
    """Writes the raw item ids, one a line in dense order; returns the file."""
    path = directory / "items.txt"
    items = ranker.vocabulary.items.tolist()
    path.write_text("".join(f"{item}\n" for item in items), encoding="utf-8")
    return path


def _shortlist(ranker: ranker_lib.Ranker, requested: int | None) -> int:
    """Size of the shortlist that the head scores; 0 if it scores all items."""
    count = ranker.spec.num_candidates
    if ranker.world_model.bilinear:
        if requested:
            raise errors.UserError(
                f"shortlist {requested}: this agent's head is bilinear and is searched exactly"
                "; leave the shortlist out"
            )
        return 0
    if requested is None:
        return surrogate.SHORTLIST if count >= 2 * surrogate.SHORTLIST else 0
    if requested < 0:
        raise errors.UserError(
            f"shortlist {requested}: expected a number of items, or 0 for all"
        )
    return requested if requested < count else 0


def _write(
    ranker: ranker_lib.Ranker,
    item_dtype: str,
    metadata: manifest_lib.Metadata,
    table: str,
    shortlist: int,
    descriptions: descriptions_lib.Descriptions | None,
    version: pathlib.Path,
    number: int,
) -> None:
    """Writes all files of a version and verifies them."""
    vocabulary = write_vocabulary(ranker, version)
    dtype = tf.as_dtype(item_dtype)
    graph = model.ServingModel(ranker, str(vocabulary), dtype, table, shortlist)
    signatures = graph.signatures()
    tf.saved_model.save(graph.trackable(), str(version), signatures)
    vocabulary.unlink()  # its copy is in assets/

    golden_requests = golden.sample_requests(ranker)
    golden.write(ranker, golden_requests, version)
    exact = table == "float32" and not shortlist
    try:
        golden.verify(version)
    except errors.UserError as error:
        if exact:
            raise
        raise errors.UserError(
            f"{error}. If its shortlist lacks an item, a float32 table or a larger shortlist "
            "may hold it"
        ) from error
    spec = ranker.spec
    weights = golden.weighable(ranker).tolist()
    warmup.write(
        golden_requests, version, item_dtype, len(spec.feedback), weights, spec.context_slots
    )
    tied = golden.tied_goals(ranker)
    if tied:
        limit = f"Goals under which every item has the same score: {', '.join(tied)}."
        metadata = dataclasses.replace(metadata, limits=(*metadata.limits, limit))

    ranking = _ranking(ranker, table, shortlist)
    manifest = manifest_lib.describe(ranker, number, item_dtype, signatures, metadata, ranking)
    if graph.table is not None:
        manifest["table"] = {"precision": table, "bytes": graph.table.nbytes}
        if shortlist:
            manifest["table"]["shortlist"] = shortlist
        if not exact:
            golden_requests = [request for request in golden_requests if not request.candidates]
            manifest["table"] |= recall.measure(
                ranker, signatures["rank"], golden_requests, item_dtype
            )
    if descriptions:
        descriptions.write(version)
        manifest["item_descriptions"] = descriptions.entry()
    (version / "model_card.md").write_text(manifest_lib.card(manifest), encoding="utf-8")
    manifest["files"] = files.checksums(version)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (version / files.MANIFEST).write_text(text + "\n", encoding="utf-8")


def _ranking(ranker: ranker_lib.Ranker, table: str, shortlist: int) -> str:
    """Describes the search of the best items, for the manifest."""
    if shortlist:
        return f"scores of the {shortlist} items that a {table} surrogate finds"
    if not ranker.world_model.bilinear:
        return "scores of every item"
    if table == "float32":
        return "inner product"
    return f"inner product in {table}, the best scored exactly"
