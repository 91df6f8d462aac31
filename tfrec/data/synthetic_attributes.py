"""Attributes of the embedded log's items and users, and what item attributes say of an item.

Each attribute names a cluster, a kind or a taste. With probability `attribute_noise` it names
another one than the true one, each of the others with equal probability:

  genre    the cluster
  tags     the kind, beside tags that say nothing; absent with probability `attribute_missing`
  minutes  the kind: LogNormal(log of five median watches, 0.25); absent likewise
  title    three words, the second of which names the cluster or the kind
  age      the taste: Normal(centre of the taste's age group, 5 years), in whole years
  region   the taste

Attributes of users name their own taste, whatever the hour. `with_hour` declares the hour of a
session, on which its taste depends with `day_parts`.

Quality, the part of a click logit that is an item's own, is in no attribute. So `posterior`
gives all that can be known of an item that no user has been shown.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tfrec.data import feature_schema, synthetic

_GENRES = (
    "comedy", "drama", "news", "sport", "music", "travel", "science", "cooking", "history",
    "nature",
)  # fmt: skip
_CLUSTER_WORDS = (
    "joke", "secret", "headline", "stadium", "concert", "island", "planet", "kitchen", "castle",
    "forest",
)  # fmt: skip
_KIND_TAGS = ("teaser", "relaxing", "feature")  # bait, calm, deep
_KIND_WORDS = ("shocking", "quiet", "complete")
_OTHER_TAGS = ("hd", "live", "series", "subtitled")  # each on a quarter of the items
_FIRST_WORDS = ("every", "my", "the", "this")
_LAST_WORDS = ("evening", "morning", "story", "weekend")
_REGIONS = ("north", "south", "east", "west", "centre", "coast", "highlands", "islands")

_OTHER_TAG_SHARE = 0.25
_WATCHES_PER_ITEM = 5  # an item lasts as long as so many median watches of its kind
_MINUTES_SPREAD = 0.25  # standard deviation of the logarithm of minutes
_AGES = (15.0, 75.0)  # years; divided into as many groups as there are tastes
_AGE_SPREAD = 5.0  # years
_KINDS = len(_KIND_TAGS)

# Declaration of the columns of the items' attributes, for models that read them.
COLUMNS = {
    "genre": "category",
    "tags": "categories",
    "minutes": {"kind": "number", "bins": 8},
    "title": {"kind": "text", "buckets": 200},
}


def attributes(
    config: synthetic.SyntheticConfig, world: synthetic.Truth
) -> dict[str, pl.DataFrame]:
    """Draws the attributes. More noise makes more attributes wrong and keeps the others.

    Args:
      config: shares of wrong and of missing attributes, and the seed.
      world: all items and users, as `synthetic.truth` returns them.

    Returns:
      `item`: item (raw id), genre, tags (separated by `|`, or null), minutes (or null), title;
      `user`: user (raw id), age (years), region. Rows are in the order of the numbers in the
      ids. New items are among the items.
    """
    return {"item": _items(config, world), "user": _users(config, world)}


def with_hour(
    declaration: feature_schema.Declaration, config: synthetic.SyntheticConfig
) -> feature_schema.Declaration:
    """A declaration with the hour of the session where tastes depend on it.

    It is unchanged if it has a column of the hour, or if tastes do not depend on the hour.
    """
    kinds = {column.kind for column in declaration.context}
    if config.day_parts == 1 or "hour" in kinds:
        return declaration
    hour = feature_schema.FeatureColumn(name="hour", kind="hour")
    return declaration._replace(context=(*declaration.context, hour))


def posterior(config: synthetic.SyntheticConfig, items: pl.DataFrame) -> np.ndarray:
    """Probability of each cluster and kind, given the attributes of an item.

    The prior is the share of each cluster and kind in the catalogue.

    Args:
      config: what the attributes were drawn with.
      items: rows of `attributes(...)["item"]`, in any order.

    Returns:
      float [N, Z, 3], of each row; Z clusters.

    Raises:
      ValueError: if attributes of an item exclude each other; names the item.
    """
    noise = config.attribute_noise
    clusters = config.num_tastes

    def likelihood(column: str, separator: str, words: Sequence[str]) -> np.ndarray:
        return _likelihood(_mentions(items[column], separator, words), noise)

    of_cluster = likelihood("genre", "|", _numbered(_GENRES, clusters)) * likelihood(
        "title", " ", _numbered(_CLUSTER_WORDS, clusters)
    )  # [N, Z]
    of_kind = (
        likelihood("tags", "|", _KIND_TAGS)
        * likelihood("title", " ", _KIND_WORDS)
        * _likelihood(_minutes_density(config, items["minutes"]), noise)
    )  # [N, 3]

    world = synthetic.truth(config)
    prior = np.zeros((config.num_tastes, _KINDS))
    np.add.at(prior, (world.cluster, world.kind), 1 / config.num_items)
    joint = prior * of_cluster[:, :, None] * of_kind[:, None, :]  # [N, Z, 3]
    total = joint.sum(axis=(1, 2), keepdims=True)
    if not total.all():
        row = items.row(int(np.flatnonzero(total[:, 0, 0] == 0)[0]), named=True)
        raise ValueError(f"attributes of {row} exclude each other if {noise:.0%} are wrong")
    return joint / total


def _items(config: synthetic.SyntheticConfig, world: synthetic.Truth) -> pl.DataFrame:
    rng = np.random.default_rng([config.seed, 3])
    count, clusters, noise = config.num_items, config.num_tastes, config.attribute_noise

    genre = np.array(_numbered(_GENRES, clusters))[_named(rng, world.cluster, clusters, noise)]

    kind = _named(rng, world.kind, _KINDS, noise)
    has_tag = {tag: kind == number for number, tag in enumerate(_KIND_TAGS)}
    has_tag |= {tag: rng.random(count) < _OTHER_TAG_SHARE for tag in _OTHER_TAGS}
    tags = pl.select(
        pl.concat_str(
            [  # in alphabetical order, so that a tag's place says nothing
                pl.when(pl.Series(has_tag[tag])).then(pl.lit(tag)) for tag in sorted(has_tag)
            ],
            separator="|",
            ignore_nulls=True,
        )
    ).to_series()
    has_tags = rng.random(count) >= config.attribute_missing

    log_minutes = _log_minutes(config)[_named(rng, world.kind, _KINDS, noise)]
    minutes = np.exp(log_minutes + _MINUTES_SPREAD * rng.standard_normal(count))
    has_minutes = rng.random(count) >= config.attribute_missing

    cluster_word = np.array(_numbered(_CLUSTER_WORDS, clusters))[
        _named(rng, world.cluster, clusters, noise)
    ]
    kind_word = np.array(_KIND_WORDS)[_named(rng, world.kind, _KINDS, noise)]
    middle = np.where(rng.random(count) < 0.5, cluster_word, kind_word)
    words = [rng.choice(_FIRST_WORDS, count), middle, rng.choice(_LAST_WORDS, count)]

    return pl.DataFrame(
        {
            "item": synthetic.item_ids(np.arange(count)),
            "genre": genre,
            "tags": tags,
            "minutes": minutes,
            **{f"word{place}": word for place, word in enumerate(words)},
        }
    ).select(
        "item",
        "genre",
        tags=pl.when(pl.Series(has_tags)).then("tags"),
        minutes=pl.when(pl.Series(has_minutes)).then("minutes"),
        title=pl.concat_str("word0", "word1", "word2", separator=" "),
    )


def _users(config: synthetic.SyntheticConfig, world: synthetic.Truth) -> pl.DataFrame:
    rng = np.random.default_rng([config.seed, 4])
    count, tastes, noise = config.num_users, config.num_tastes, config.attribute_noise
    youngest, oldest = _AGES
    group = (_named(rng, world.taste, tastes, noise) + 0.5) / tastes
    age = youngest + (oldest - youngest) * group + _AGE_SPREAD * rng.standard_normal(count)
    region = np.array(_numbered(_REGIONS, tastes))[_named(rng, world.taste, tastes, noise)]
    return pl.DataFrame(
        {
            "user": [f"u{number}" for number in range(1, count + 1)],
            "age": age.round().astype(np.int64),
            "region": region,
        }
    )


def _named(rng: np.random.Generator, true: np.ndarray, size: int, noise: float) -> np.ndarray:
    """What attributes name, one of `size` values: with probability `noise` not the true one."""
    other = (true + rng.integers(1, max(size, 2), len(true))) % size
    return np.where(rng.random(len(true)) < noise, other, true)


def _likelihood(named: np.ndarray, noise: float) -> np.ndarray:
    """Likelihood of each true value, up to a factor for each row.

    Args:
      named: float [N, V], density of an attribute under each value that it may name; 0 in a
        whole row if it names none.
      noise: probability that it names another value than the true one.

    Returns:
      float [N, V]; 1 in a whole row if the attribute names none.
    """
    size = named.shape[1]
    if size == 1:
        return np.ones_like(named)
    channel = np.where(np.eye(size) == 1, 1 - noise, noise / (size - 1))  # symmetric
    return np.where(named.any(axis=1, keepdims=True), named @ channel, 1.0)


def _mentions(text: pl.Series, separator: str, words: Sequence[str]) -> np.ndarray:
    """Whether each text contains each of the words, float [N, V]."""
    parts = text.str.split(separator)
    return np.stack(
        [parts.list.contains(word).fill_null(False).to_numpy() for word in words], axis=1
    ).astype(np.float64)


def _minutes_density(config: synthetic.SyntheticConfig, minutes: pl.Series) -> np.ndarray:
    """Density of the minutes of each kind's items, up to a factor; 0 where absent. [N, 3]."""
    log = np.log(minutes.cast(pl.Float64).to_numpy())  # nan where null
    exponent = -0.5 * ((log[:, None] - _log_minutes(config)) / _MINUTES_SPREAD) ** 2
    density = np.exp(exponent - exponent.max(axis=1, keepdims=True))  # else 0 for all kinds
    return np.nan_to_num(density)


def _log_minutes(config: synthetic.SyntheticConfig) -> np.ndarray:
    """Mean logarithm of the minutes of each kind's items, [3]."""
    return np.log(_WATCHES_PER_ITEM * np.asarray(config.watch_seconds) / 60)


def _numbered(names: Sequence[str], size: int) -> list[str]:
    """As many different names as asked for: `comedy`, ..., `nature`, `comedy2`, ..."""
    return [
        names[number % len(names)]
        + (str(number // len(names) + 1) if number >= len(names) else "")
        for number in range(size)
    ]
