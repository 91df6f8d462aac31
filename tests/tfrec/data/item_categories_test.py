"""Categories of items: files and their mistakes, events, and clusters of walks apart."""

import numpy as np
import pytest

from tfrec.data import item_categories, sequences, vocabulary
from tfrec.errors import UserError

IDS = vocabulary.Vocabulary(vocabulary.Ids(np.array([7, 3, 9])), vocabulary.Ids(np.arange(1)))


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"3": ["pop", "rock"], "9": "jazz", "8": ["none of the log"]}'),
        ("c.csv", "category,item\npop,3\njazz,9\npop,3\nother,8\n"),
        ("c.tsv", "item\tcategory\n3\tpop\n9\tjazz\n"),
    ],
)
def test_categories_of_a_file(name, text, tmp_path):
    categories = item_categories.read(write(tmp_path / name, text), IDS)
    # jazz is 0 and pop 1; item 7 has none.
    assert categories.category.tolist() == [2, 1, 0]
    assert (categories.num_categories, categories.without) == (3, 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", '{"3": 1,\n', "c.json, row 2: not JSON"),
        ("c.json", "[1]", "c.json: expected one JSON object"),
        ("c.json", '{"3": []}', "c.json, item '3': its category is \\[\\]; expected text"),
        ("c.json", '{"3": 1.5}', "c.json, item '3': its category is 1.5; expected text"),
        ("c.json", '{"5": 1}', "c.json: none of its 1 items is in the log, .* 7, 3, 9"),
        ("c.csv", "", "c.csv, row 1: the columns are none; expected item and category"),
        ("c.csv", "item,genre\n3,pop\n", "c.csv, row 1: the columns are item, genre; expected"),
        ("c.csv", "item,category\n3,pop\n9,\n", "c.csv, row 3: category is empty"),
        ("c.csv", "item,category\n,pop\n", "c.csv, row 2: item is empty"),
        (
            "c.csv",
            "item,category\n3,pop\n3,jazz\n",
            "c.csv, row 3: item '3' has category 'jazz' here and 'pop' before",
        ),
        ("c.txt", "", "c.txt: expected a .json, .csv or .tsv file"),
    ],
)
def test_a_mistake_in_a_file_is_named(name, text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        item_categories.read(write(tmp_path / name, text), IDS)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="absent.csv: no such file"):
        item_categories.read(tmp_path / "absent.csv", IDS)
    (tmp_path / "c.csv").write_bytes(b"item,category\n3,\xff\n")
    with pytest.raises(UserError, match="c.csv: not text in UTF-8"):
        item_categories.read(tmp_path / "c.csv", IDS)


def test_an_item_has_the_category_of_its_first_event():
    item, category = np.array([2, 1, 2, 2]), np.array([12, 5, 5, 12])
    categories = item_categories.of_events(item, category, 3)
    assert categories.category.tolist() == [0, 1, 2]
    assert (categories.num_categories, categories.without) == (3, 1)
    # 0 is no category.
    assert item_categories.of_events(item, np.array([0, 5, 5, 12]), 2).category.tolist() == [
        0,
        0,
    ]


def test_items_that_the_same_users_have_are_one_cluster():
    rng = np.random.default_rng(0)
    rows = [rng.permutation(6)[:4] + 1 + 6 * (user % 2) for user in range(60)]
    log = sequences.Sequences(np.concatenate(rows).astype(np.int32), np.arange(61) * 4, 12)
    categories = item_categories.clusters(log, 2, 0)
    assert categories.num_categories == 2
    assert len(set(categories.category[:6])) == len(set(categories.category[6:])) == 1
    assert categories.category[0] != categories.category[6]
    assert item_categories.clusters(log, 50, 0).num_categories == 12
    same = item_categories.clusters(log, 2, 0)
    assert same.category.tolist() == categories.category.tolist()


def test_categories_that_a_log_lacks_are_clusters_and_a_warning():
    log = sequences.Sequences(np.array([1, 2, 1, 2, 3], np.int32), np.array([0, 2, 4, 5]), 3)
    logged = item_categories.numbered(["b", None, "a"])
    categories, warnings = item_categories.for_training(logged, log, 2, 0)
    assert categories is logged
    assert warnings == ["1 items have no category; they share one"]
    categories, [warning] = item_categories.for_training(None, log, 2, 0)
    assert categories.category.tolist() == item_categories.clusters(log, 2, 0).category.tolist()
    assert "2 clusters of item vectors stand for them" in warning
