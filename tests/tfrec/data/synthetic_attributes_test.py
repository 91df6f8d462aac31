import dataclasses

import numpy as np
import polars as pl
import pytest

from tfrec.data import synthetic, synthetic_attributes
from tfrec.data.synthetic import BAIT, CALM, DEEP

CONFIG = synthetic.SyntheticConfig(
    num_users=4000, num_items=3000, num_tastes=5, attribute_noise=0.2, attribute_missing=0.3
)
GENRES = ["comedy", "drama", "news", "sport", "music"]
CLUSTER_WORDS = ["joke", "secret", "headline", "stadium", "concert"]
TAGS, KIND_WORDS = ["teaser", "relaxing", "feature"], ["shocking", "quiet", "complete"]


def drawn(config=CONFIG):
    truth = synthetic.truth(config)
    tables = synthetic_attributes.attributes(config, truth)
    return truth, tables["item"], tables["user"]


def share(mask, expected):
    """Asserts a share within 4 standard errors."""
    mask = np.asarray(mask)
    assert abs(mask.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / len(mask))


def test_tables_have_a_row_for_each_id():
    config = synthetic.SyntheticConfig(num_users=7, num_items=20, num_tastes=2, new_items=9)
    _, items, users = drawn(config)
    assert items.columns == ["item", "genre", "tags", "minutes", "title"]
    assert items["item"].to_list() == [f"i{n}" for n in range(1, 21)]  # the new ones too
    assert users.columns == ["user", "age", "region"]
    assert users["user"].to_list() == [f"u{n}" for n in range(1, 8)]
    _, again, users_again = drawn(config)
    assert items.equals(again) and users.equals(users_again)
    assert not items.equals(drawn(dataclasses.replace(config, seed=8))[1])


def test_attributes_name_the_truth_but_for_the_noise():
    truth, items, users = drawn()
    genre = np.array([GENRES.index(genre) for genre in items["genre"]])
    share(genre == truth.cluster, 0.8)
    wrong = genre != truth.cluster
    for offset in range(1, 5):  # each of the other four is as likely
        share((genre - truth.cluster)[wrong] % 5 == offset, 0.25)

    share(items["tags"].is_null(), 0.3)
    share(items["minutes"].is_null(), 0.3)
    share(items["tags"].is_null() & items["minutes"].is_null(), 0.09)
    with_tags = items["tags"].is_not_null().to_numpy()
    for kind, tag in enumerate(TAGS):
        named = items["tags"].str.split("|").list.contains(tag).fill_null(False).to_numpy()
        share(named[with_tags & (truth.kind == kind)], 0.8)
        share(named[with_tags & (truth.kind != kind)], 0.1)
    live = items["tags"].str.split("|").list.contains("live").to_numpy()[with_tags]
    share(live.astype(bool), 0.25)

    word = items["title"].str.split(" ").list.get(1).to_numpy()
    share(np.isin(word, CLUSTER_WORDS), 0.5)
    assert set(word) == {*CLUSTER_WORDS, *KIND_WORDS}
    for words, true in ((CLUSTER_WORDS, truth.cluster), (KIND_WORDS, truth.kind)):
        mentions = np.isin(word, words)
        share(word[mentions] == np.array(words)[true[mentions]], 0.8)

    regions = np.array(["north", "south", "east", "west", "centre"])
    share(users["region"].to_numpy() == regions[truth.taste], 0.8)


def test_numbers_without_noise():
    """An item lasts five median watches; ages of five tastes centre on 21, 33, .. 69 years."""
    config = dataclasses.replace(CONFIG, attribute_noise=0.0, attribute_missing=0.0)
    truth, items, users = drawn(config)
    assert items.null_count().sum_horizontal().item() == 0
    log = np.log(items["minutes"].to_numpy())
    for kind, minutes in ((BAIT, 40 / 60), (CALM, 100 / 60), (DEEP, 300 / 60)):
        found = log[truth.kind == kind]
        assert abs(found.mean() - np.log(minutes)) < 4 * 0.25 / np.sqrt(len(found))
        assert found.std() == pytest.approx(0.25, rel=0.1)
    for taste, age in enumerate((21, 33, 45, 57, 69)):
        found = users["age"].to_numpy()[truth.taste == taste]
        assert abs(found.mean() - age) < 4 * 5 / np.sqrt(len(found))
        assert found.std() == pytest.approx(5, rel=0.1)


def test_more_noise_keeps_the_attributes_that_stay_wrong():
    _, clean, _ = drawn(dataclasses.replace(CONFIG, attribute_noise=0.0))
    _, noisy, _ = drawn()
    _, noisier, _ = drawn(dataclasses.replace(CONFIG, attribute_noise=0.4))
    for column in ("genre", "tags", "title"):
        wrong = clean[column].ne_missing(noisy[column])
        assert 0 < wrong.sum() < len(wrong) / 2
        assert noisy.filter(wrong)[column].equals(noisier.filter(wrong)[column])


def one_item(**changes):
    values = {"genre": "news", "tags": None, "minutes": None, "title": "my joke story"}
    schema = {"genre": pl.String, "tags": pl.String, "minutes": pl.Float64, "title": pl.String}
    return pl.DataFrame({k: [v] for k, v in (values | changes).items()}, schema=schema)


def test_the_posterior_by_hand():
    """Two clusters: a right attribute has probability 0.9, and a wrong kind 0.05."""
    config = synthetic.SyntheticConfig(
        num_items=12, num_tastes=2, attribute_noise=0.1, watch_seconds=(12.0, 12.0, 60.0)
    )

    def posterior(**changes):
        return synthetic_attributes.posterior(config, one_item(**changes))[0]

    # Genre and title name clusters 1 and 0: they cancel. Nothing is known of the kind.
    found = posterior(genre="drama")
    np.testing.assert_allclose(found, np.full((2, 3), 1 / 6))
    # Both name cluster 1: odds 9 x 9. A tag for calm: 0.9 against 0.05 and 0.05.
    found = posterior(genre="drama", title="my secret story", tags="hd|relaxing")
    expected = np.outer([1 / 82, 81 / 82], [0.05, 0.9, 0.05])
    np.testing.assert_allclose(found, expected)
    # The title names a kind, calm, and so does the tag.
    found = posterior(genre="drama", title="the quiet story", tags="relaxing")
    kind = np.array([0.05**2, 0.9**2, 0.05**2])
    np.testing.assert_allclose(found, np.outer([0.1, 0.9], kind / kind.sum()))
    # One minute is what bait and calm last, five median watches of 12 s; deep lasts 5 minutes.
    found = posterior(genre="drama", minutes=1.0).sum(axis=0)
    deep = np.exp(-0.5 * (np.log(5) / 0.25) ** 2)  # density against that of the others
    kind = np.array([0.95 + 0.05 * deep, 0.95 + 0.05 * deep, 0.1 + 0.9 * deep])
    np.testing.assert_allclose(found, kind / kind.sum())


def test_the_prior_is_the_catalogues():
    """Of seven items, i1 and i7 are bait of cluster 0, and the other cells have one each."""
    config = synthetic.SyntheticConfig(num_items=7, num_tastes=2, attribute_noise=0.1)
    found = synthetic_attributes.posterior(config, one_item(genre="drama"))[0]
    np.testing.assert_allclose(found, [[2 / 7, 1 / 7, 1 / 7], [1 / 7, 1 / 7, 1 / 7]])


def test_the_posterior_is_calibrated():
    """The probability of the true cell is, on average, what the posterior expects of it."""
    truth, items, _ = drawn()
    found = synthetic_attributes.posterior(CONFIG, items)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1.0)
    of_truth = found[np.arange(len(found)), truth.cluster, truth.kind]
    gap = of_truth - (found**2).sum(axis=(1, 2))
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))
    assert of_truth.mean() > 0.3  # a guess would have 1 / 15


@pytest.mark.parametrize("tastes", [1, 5, 23])
def test_without_noise_the_posterior_is_the_truth(tastes):
    config = synthetic.SyntheticConfig(
        num_items=120, num_tastes=tastes, attribute_noise=0.0, attribute_missing=0.0
    )
    truth, items, _ = drawn(config)
    assert items["genre"].n_unique() == tastes
    expected = np.zeros((120, tastes, 3))
    expected[np.arange(120), truth.cluster, truth.kind] = 1.0
    found = synthetic_attributes.posterior(config, items)
    np.testing.assert_allclose(found, expected)
    order = np.random.default_rng(0).permutation(120)
    np.testing.assert_allclose(
        synthetic_attributes.posterior(config, items[order]), expected[order]
    )


def test_attributes_that_exclude_each_other_are_named():
    config = synthetic.SyntheticConfig(num_items=12, num_tastes=2, attribute_noise=0.0)
    with pytest.raises(ValueError, match="attributes of {'genre': 'drama', .* exclude each"):
        synthetic_attributes.posterior(config, one_item(genre="drama"))
