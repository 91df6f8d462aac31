"""A new catalogue for a trained agent: items come and go without training.

    change = catalogue.plan(agent, "items.parquet")
    agent = agent.with_items(change)

A new item is ranked by its features: the row of its id is zeros, as it is in training where an
id is dropped. Dense ids stay as they are as long as nothing is removed and every item may be
recommended; otherwise new items follow the former candidates, so that candidates come first.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import polars as pl

from tfrec import types
from tfrec.data import features, schema
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError
from tfrec.methods.log_config import StateConfig

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrec.methods import trained

NEW = -1  # the former dense id of an item that the agent does not have


class Catalogue(NamedTuple):
    """The items that an agent is to rank.

    Attributes:
      vocabulary: raw ids of the N' items; users as before.
      spec: with their number.
      rows: int64 [N' + 1], the former dense id of each; NEW for a new item; row 0 is 0.
      features: encoded features of the N' items; None if the agent reads none.
      added: number of new items.
      removed: number of items that go.
      value_rows: int64 [V' + 1], the former number of each value of the items' features; None
        if they stay.
      context_value_rows: the same of the features of users and contexts.
    """

    vocabulary: vocabulary_lib.Vocabulary
    spec: types.DataSpec
    rows: np.ndarray
    features: types.Features | None
    added: int
    removed: int
    value_rows: np.ndarray | None = None
    context_value_rows: np.ndarray | None = None

    @property
    def renumbered(self) -> bool:
        """Whether an item has another dense id than before."""
        return bool(((self.rows != NEW) & (self.rows != np.arange(len(self.rows)))).any())

    def about(self, fingerprint: str) -> dict[str, Any]:
        """What the changed agent says of its origin.

        Args:
          fingerprint: of the agent before the change.
        """
        return {
            "items of agent": fingerprint,
            "items added": self.added,
            "items removed": self.removed,
        }


def plan(
    agent: trained.SavedAgent,
    path: str | pathlib.Path,
    absent: Literal["keep", "remove"] = "keep",
) -> Catalogue:
    """Compares a table of items with those of an agent.

    Args:
      agent: a trained agent.
      path: text or Parquet file with one row for each item; the first column holds the raw
        ids. Features of items that the agent has are replaced by those of the table.
      absent: whether items that the table lacks stay or go.

    Raises:
      UserError: if the table cannot be read, an id or a value is invalid, there are new
        items and the agent reads no features, or nothing is left to recommend.
    """
    path, before = pathlib.Path(path), agent.vocabulary.items
    table = features.read_table(path, schema.BadRows(skippable=False))
    ids = _ids_like(before, table.to_series(0), path)
    former = agent.vocabulary.encode(ids)
    new = former == types.PAD
    if new.any() and _embedding(agent) is None:
        raise UserError(
            f"{path}: item {ids[int(new.argmax())].item()!r} is new, and the agent reads no "
            "features of items: it cannot rank an item that training never showed. Expected "
            "an agent that was trained on data prepared with --feature_columns"
        )
    stays = np.ones(len(before), bool)
    if absent == "remove":
        stays[:] = False
        stays[former[former > 0] - 1] = True
    dense = np.arange(1, len(before) + 1)
    candidate = dense <= agent.spec.num_candidates
    added = np.full(int(new.sum()), NEW)
    kept = dense[stays & candidate]
    rows = np.concatenate([[0], kept, added, dense[stays & ~candidate]])
    if not len(kept) + len(added):
        raise UserError(f"{path}: no item is left that may be recommended")
    raw = np.concatenate([before[kept - 1], ids[new], before[dense[stays & ~candidate] - 1]])
    vocabulary = dataclasses.replace(agent.vocabulary, item_ids=vocabulary_lib.Ids(raw))
    spec = dataclasses.replace(
        agent.spec,
        num_items=len(raw),
        candidates=len(kept) + len(added) if agent.spec.candidates else 0,
    )
    return Catalogue(
        vocabulary,
        spec,
        rows,
        _features(agent, rows, table, vocabulary.encode(ids), path),
        len(added),
        int((~stays).sum()),
    )


def transfer(
    source: tf.Module,
    target: tf.Module,
    change: Catalogue,
    optimizers: Sequence[Any] = (),
    excluded: Collection[int] = (),
) -> None:
    """Copies the variables of a module to one with other items.

    A row of an item or a feature value that both have is copied, with its slots in the
    optimisers. In rows of new items, slots and ids without features stay as they are in the
    target; all else is 0. Tables of hashed dense ids are copied unless dense ids change.

    Args:
      source: of the former catalogue.
      target: the same module for the new catalogue.
      change: the new catalogue.
      optimizers: those of the source.
      excluded: `id` of the target's variables that are not assigned.

    Raises:
      ValueError: if a variable has other sizes although it has no row for each item.
    """
    from tfrec.training import checkpoint

    tables = _tables(source, change, optimizers)
    before = checkpoint.named_variables(source)
    for name, variable in checkpoint.named_variables(target).items():
        if id(variable) in excluded:
            continue
        value = before[name].numpy()
        if id(before[name]) in tables:
            rows, is_zero = tables[id(before[name])]
            new = (rows == NEW).reshape([-1] + [1] * (value.ndim - 1))
            start = np.zeros((), value.dtype) if is_zero else variable.numpy()
            value = np.where(new, start, value[rows])
        if value.shape != tuple(variable.shape):
            raise ValueError(
                f"{name} has shape {value.shape} with the former items and "
                f"{tuple(variable.shape)} with the new ones"
            )
        variable.assign(value)


class _Table(NamedTuple):
    """How the rows of a variable are copied.

    Attributes:
      rows: int64 [R'], the former row of each; NEW for none.
      is_zero: whether a new row is 0; else it stays as the target has it.
    """

    rows: np.ndarray
    is_zero: bool


def _tables(
    source: tf.Module, change: Catalogue, optimizers: Sequence[Any]
) -> dict[int, _Table]:
    """The variables of a module whose rows move, by `id`, with their slots."""
    from tfrec.nn import item_embedding
    from tfrec.training import optimizers as optimizers_lib

    tables = []
    for module in (source, *source.submodules):
        ids_alone = isinstance(module, item_embedding.ItemEmbedding) and not module.features
        for table in getattr(module, "item_tables", ()):
            tables.append((table, _Table(change.rows, not ids_alone)))
        for table in getattr(module, "item_rows", ()):  # without a row of the padding
            rows = change.rows[1:]
            tables.append((table, _Table(np.where(rows == NEW, NEW, rows - 1), True)))
        for kind, values in (
            ("feature_value_tables", change.value_rows),
            ("context_value_tables", change.context_value_rows),
        ):
            if values is not None:
                tables += [(x, _Table(values, True)) for x in getattr(module, kind, ())]
        for table in getattr(module, "hashed_id_tables", ()):
            if change.renumbered:
                tables.append((table, _Table(np.full(table.shape[0], NEW), False)))
    return {id(table): moved for table, moved in tables} | {
        id(slot): moved._replace(is_zero=False)
        for table, moved in tables
        for optimizer in optimizers
        for slot in optimizers_lib.slots(optimizer, table)
    }


def check_history_crosses(agent: trained.SavedAgent, change: Catalogue) -> None:
    """Rejects a change of dense ids for an agent that hashes them.

    Raises:
      UserError: if the agent crosses ids of its history, and dense ids change.
    """
    config = agent.config
    if change.renumbered and isinstance(config, StateConfig) and config.crossed:
        raise UserError(
            f"the agent hashes dense ids of its history (crossed is {config.crossed}), "
            "and they change when items go or only some may be recommended; expected an agent "
            "with crossed=0"
        )


def _ids_like(before: np.ndarray, ids: pl.Series, path: pathlib.Path) -> np.ndarray:
    """The ids of a table, checked, in the type of the agent's ids."""
    if before.dtype.kind == "i":
        numbers = ids.cast(pl.Int64, strict=False)
        same = (numbers.cast(pl.String) == ids).fill_null(False)
        if not same.all():
            value = ids.filter(~same)[0]
            raise UserError(
                f"{path}: id {value!r} in column {ids.name!r}; expected an integer, as the "
                "agent's ids are"
            )
        ids = numbers
    frame = ids.alias("item").to_frame()
    for valid, expected in vocabulary_lib.id_rules("item", frame.schema["item"]):
        invalid = frame.filter(~valid)
        if invalid.height:
            raise UserError(
                f"{path}: id {invalid['item'][0]!r} in column {ids.name!r}; expected {expected}"
            )
    return vocabulary_lib.as_array(ids)


def _embedding(agent: trained.SavedAgent) -> Any:
    """The agent's embedding of items with features; None if it reads none."""
    from tfrec.nn import item_embedding

    if agent.vocabulary.item_features is None:
        return None
    for part in agent.weights().submodules:
        if isinstance(part, item_embedding.FeatureEmbedding) and part.features is not None:
            return part
    return None


def _features(
    agent: trained.SavedAgent,
    rows: np.ndarray,
    table: pl.DataFrame,
    dense: np.ndarray,
    path: pathlib.Path,
) -> types.Features | None:
    """Features of the new catalogue: of the table where it has the item, else as before."""
    embedding, encoder = _embedding(agent), agent.vocabulary.item_features
    if embedding is None or encoder is None:
        return None
    encoded = encoder.encode(table, path)
    merged = types.Features(
        *(np.where(rows[:, None] == NEW, 0, part[rows]) for part in embedding.encoded)
    )
    present = dense > 0
    for whole, part in zip(merged, encoded, strict=True):
        whole[dense[present]] = part[1:][present]
    return merged
