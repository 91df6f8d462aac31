"""The category of each item: from a file, from the events of a log, or from clusters.

Categories are numbers from 0. Items without one share one more number.
"""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.cluster.vq

from tfrec.data import item_vectors, sequences
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError

if TYPE_CHECKING:
    from tfrec.data import storage

_WIDTH = 32  # of the vectors that are clustered


class Categories(NamedTuple):
    """Categories of the items of a log.

    Attributes:
      category: int32 [N], 0 to num_categories - 1; item i stands at index i - 1.
      num_categories: number of categories.
      without: number of items without a category.
    """

    category: np.ndarray
    num_categories: int
    without: int


def read(path: str | pathlib.Path, vocabulary: vocabulary_lib.Vocabulary) -> Categories:
    """Reads the categories of a file.

    Args:
      path: a .json file with one object, raw item id -> category or list of categories, of
        which the first counts; or a .csv or .tsv file with columns `item` and `category`. Items
        that are not in the log are ignored.
      vocabulary: raw ids of the log.

    Raises:
      UserError: naming the file, the row or item and the value.
    """
    path = pathlib.Path(path)
    readers = {".json": _of_json, ".csv": _of_rows, ".tsv": _of_rows}
    if path.suffix not in readers:
        raise UserError(f"{path}: expected a .json, .csv or .tsv file of categories")
    try:
        category_of = readers[path.suffix](path)
    except OSError as error:
        raise UserError(f"{path}: no such file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 ({error.reason})") from error
    labels = [category_of.get(str(item)) for item in vocabulary.items.tolist()]
    if not any(labels):
        raise UserError(
            f"{path}: none of its {len(category_of):,} items is in the log, which has "
            f"e.g. {', '.join(map(str, vocabulary.items[:3]))}"
        )
    return numbered(labels)


def _of_json(path: pathlib.Path) -> dict[str, str]:
    try:
        document: Any = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, row {error.lineno}: not JSON ({error.msg})") from error
    if not isinstance(document, Mapping):
        raise UserError(f"{path}: expected one JSON object, item -> category")
    category_of = {}
    for item, value in document.items():
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, bool) or not isinstance(first, str | int) or first == "":
            raise UserError(
                f"{path}, item {item!r}: its category is {value!r}; expected text, a whole "
                "number, or a list of them"
            )
        category_of[item.strip()] = str(first)
    return category_of


def _of_rows(path: pathlib.Path) -> dict[str, str]:
    category_of: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        columns = rows.fieldnames or []
        if not {"item", "category"} <= set(columns):
            raise UserError(
                f"{path}, row 1: the columns are {', '.join(columns) or 'none'}; expected item "
                "and category among them"
            )
        for number, row in enumerate(rows, start=2):
            item, category = ((row[name] or "").strip() for name in ("item", "category"))
            if not item or not category:
                name = "category" if item else "item"
                raise UserError(f"{path}, row {number}: {name} is empty; expected a value")
            if category_of.setdefault(item, category) != category:
                raise UserError(
                    f"{path}, row {number}: item {item!r} has category {category!r} here and "
                    f"{category_of[item]!r} before; expected one category an item"
                )
    return category_of


def numbered(labels: list[str | None]) -> Categories:
    """Numbers the labels of the items; None or empty for an item without a category."""
    names = sorted({label for label in labels if label})
    number_of = {name: place for place, name in enumerate(names)}
    category = np.array([number_of.get(label or "", len(names)) for label in labels], np.int32)
    without = int((category == len(names)).sum())
    return Categories(category, len(names) + (without > 0), without)


def of_events(item: np.ndarray, category: np.ndarray, num_items: int) -> Categories:
    """The categories of items in a log's events; the first event of an item decides.

    Args:
      item: int [E], dense ids.
      category: int [E], dense ids from 1; 0 for none.
      num_items: N.
    """
    labels: list[str | None] = [None] * num_items
    with_category = np.flatnonzero(category)
    first = np.unique(item[with_category], return_index=True)
    for dense, place in zip(*first, strict=True):
        labels[dense - 1] = f"{category[with_category[place]]:012}"
    return numbered(labels)


def one(num_items: int) -> Categories:
    """One category for all items."""
    return Categories(np.zeros(num_items, np.int32), 1, 0)


def of_prepared(data: storage.PreparedData) -> Categories | None:
    """The categories of the items of prepared data; None if it has no such column."""
    if not len(data.vocabulary.category_ids):
        return None
    sessions = data.episodes("all")
    steps = np.arange(sessions.item.shape[1]) < sessions.length[:, None]  # [S, T]
    category = data.column("all", "category")[steps]
    return of_events(sessions.item[steps], category, data.spec.num_items)


def for_training(
    categories: Categories | None, train: sequences.Sequences, count: int, seed: int
) -> tuple[Categories, list[str]]:
    """Selects the categories for training: the given ones, or clusters of item vectors.

    Args:
      categories: categories of a file or of the log; None for clusters.
      train: training events, for the clusters.
      count: number of clusters, at most the number of items.
      seed: seed of the clusters.

    Returns:
      The categories, and warnings for the user.
    """
    assigned = clusters(train, count, seed) if categories is None else categories
    warnings = []
    if categories is None:
        warnings.append(
            f"the log has no categories: {assigned.num_categories} clusters of item vectors "
            "stand for them (launch.train_sequential reads a file, --categories)"
        )
    if assigned.without:
        warnings.append(f"{assigned.without:,} items have no category; they share one")
    return assigned, warnings


def clusters(train: sequences.Sequences, count: int, seed: int) -> Categories:
    """k-means clusters of item vectors, which are similar for items of the same users.

    Args:
      train: training events.
      count: number of clusters, at most the number of items.
      seed: seed of the vectors and of the initial centres.
    """
    vectors = item_vectors.co_occurrence_vectors(
        train.rows, train.items, len(train), train.num_items, _WIDTH, seed
    )[1:]
    count = min(count, train.num_items)
    _, label = scipy.cluster.vq.kmeans2(
        vectors.astype(np.float64), count, minit="++", seed=np.random.default_rng(seed)
    )
    return Categories(label.astype(np.int32), count, 0)
