"""Names and features of items in an export: what is kept, what is shown, what is too much."""

import json

import numpy as np
import polars as pl
import pytest

from tests.tfrec.serving import fake_ranker
from tfrec.data import feature_encoding, features, parquet, vocabulary
from tfrec.data.feature_schema import FeatureColumn
from tfrec.errors import UserError
from tfrec.serving import client, descriptions, export, files, loaded

IDS = vocabulary.Ids(fake_ranker.STRING_IDS.astype(str))
NUMBERS = vocabulary.Ids(fake_ranker.INT_IDS)
IMAGE = "<img src=x onerror=alert(1)>"
TABLE = f"""id,title,genres,year,place
i2,Heat,Crime|Drama,1995,north
i1,{IMAGE},Drama,,north
i9,Elsewhere,Crime,1990,south
i4,  heat II ,,2026,south
i5,,Drama,1999,south
"""
COLUMNS = (
    FeatureColumn(name="genres", kind="categories", min_items=1),
    FeatureColumn(name="year", kind="number", bins=2),
    FeatureColumn(name="vector", kind="vector"),
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture(scope="module")
def encoder():
    """An encoder of genres, years and vectors; a table without vectors can be shown."""
    frame = pl.DataFrame(
        {"id": ["a", "b"], "genres": ["Crime", "Drama"], "year": [1990, 2000]}
    ).with_columns(vector=pl.Series([[0.5], [1.0]]))
    return feature_encoding.fit(COLUMNS, frame, "fit.csv")


def test_rows_are_those_of_the_model_and_columns_the_declared_ones(table, encoder):
    described = descriptions.read(table, IDS, encoder, "title")
    assert described.columns == ["genres", "year"]
    assert described.table.rows() == [
        ("i1", IMAGE, ["Drama"], None),
        ("i2", "Heat", ["Crime", "Drama"], 1995.0),
        ("i3", None, None, None),
        ("i4", "heat II", None, 2026.0),
        ("i5", None, ["Drama"], 1999.0),
        ("i6", None, None, None),
        ("i7", None, None, None),
    ]


def test_descriptions_of_some_items(table, encoder):
    described = descriptions.read(table, IDS, encoder, "title")
    nothing = descriptions.Description
    assert described.of(["i4", "i3", "nothing", "i4"]) == [
        descriptions.Description("i4", "heat II", {"year": 2026.0}),
        nothing("i3"),
        nothing("nothing"),
        descriptions.Description("i4", "heat II", {"year": 2026.0}),
    ]
    assert described.of([]) == []
    assert descriptions.read(table, IDS, encoder).of(["i2"]) == [
        descriptions.Description("i2", None, {"genres": ["Crime", "Drama"], "year": 1995.0})
    ]


def test_integer_ids_are_found_by_number_and_by_text(table, tmp_path):
    (tmp_path / "n.csv").write_text("id,title\n101,one\n103,three\n")
    described = descriptions.read(tmp_path / "n.csv", NUMBERS, None, "title")
    assert [one.name for one in described.of([103, "101", "0101", "x"])] == [
        "three", "one", None, None,
    ]  # fmt: skip


def test_names_are_found_in_any_case(table):
    described = descriptions.read(table, IDS, None, "title")
    assert described.like("HEAT", 9, at_start=True) == ["i2", "i4"]
    assert described.like("HEAT", 1, at_start=True) == ["i2"]
    assert described.like("eat", 9, at_start=True) == []
    assert described.like("eat", 9, at_start=False) == ["i2", "i4"]
    assert described.like(".*", 9, at_start=False) == described.like("", 9, True) == []
    assert described.like("Elsewhere", 9, at_start=True) == []


def test_a_name_is_one_line(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"id": ["i1", "i2"], "title": ["two\nlines\x1b[31m", "\n"]}).write_parquet(
        path
    )
    described = descriptions.read(path, IDS, None, "title")
    assert [one.name for one in described.of(["i1", "i2"])] == ["two lines [31m", None]


def test_a_later_table_replaces_rows_and_keeps_the_others(table, encoder, tmp_path):
    former = descriptions.read(table, IDS, encoder, "title")
    (tmp_path / "today.csv").write_text("key,title,genres,year\ni8,New,Crime,2027\ni2,,,1\n")
    ids = vocabulary.Ids(np.array(["i2", "i8", "i4"]))
    today = descriptions.read(tmp_path / "today.csv", ids, encoder, "title", former)
    assert today.table.rows() == [
        ("i2", None, None, 1.0),
        ("i8", "New", ["Crime"], 2027.0),
        ("i4", "heat II", None, 2026.0),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,genres,year\ni1,a,1\n", "no column 'title' of names; it has 'genres', 'year'"),
        ("id,title,genres\ni1,a,b\n", "no column 'year', which the declaration"),
        ("id,title,genres,year\ni1,x,a,old\n", "item 'i1', column 'year': 'old'; expected a n"),
        ("id,title,genres,year\nx,x,a,1\n", "none of its 1 ids in column 'id'"),
        (
            f"id,title,genres,year\ni1,x,a,1\ni2,{'y' * 1001},a,1\n",
            "item 'i2', column 'title': a value of 1,001 characters; expected at most 1,000",
        ),
        (
            f"id,title,genres,year\ni1,x,{'y' * 500}|{'z' * 501},1\n",
            "item 'i1', column 'genres': a value of 1,001 characters; expected at most 1,000",
        ),
    ],
)
def test_what_cannot_be_shown_is_named(tmp_path, encoder, content, message):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        descriptions.read(path, IDS, encoder, "title")
    assert "t.csv" in str(raised.value)


def test_the_longest_values_are_shown(tmp_path):
    (tmp_path / "t.csv").write_text(f"id,title\ni1,{'é' * 1000}\n")
    [one] = descriptions.read(tmp_path / "t.csv", IDS, None, "title").of(["i1"])
    assert one.name == "é" * 1000


def test_columns_and_memory_are_bounded(table, monkeypatch):
    names = [f"c{n}" for n in range(50)]
    frame = pl.DataFrame({"id": ["i1", "i2"], **{name: ["a", "b"] for name in names}})
    columns = [FeatureColumn(name=name, min_items=1) for name in names]
    encoder = feature_encoding.fit(columns, frame, "fit.csv")
    path = table.with_name("wide.parquet")
    frame.with_columns(title=pl.col("c0")).write_parquet(path)
    assert len(descriptions.read(path, IDS, encoder).columns) == 50
    with pytest.raises(
        UserError, match="wide.parquet: 51 columns to show; expected at most 50"
    ):
        descriptions.read(path, IDS, encoder, "title")
    monkeypatch.setattr(descriptions, "MOST_MIB", 0)
    with pytest.raises(UserError, match="the columns 'title' take 0 MiB; expected at most 0"):
        descriptions.read(table, IDS, None, "title")


def test_nothing_to_show_and_no_table(table):
    with pytest.raises(UserError, match="nothing to show of the items: the model reads no"):
        descriptions.read(table, IDS, None)
    with pytest.raises(UserError, match="item_name 'title': a column of which table"):
        descriptions.of_agent(vocabulary.Vocabulary(IDS, NUMBERS), name="title")
    assert descriptions.of_agent(vocabulary.Vocabulary(IDS, NUMBERS)) is None


@pytest.fixture(scope="module")
def version(tmp_path_factory, encoder):
    """An export with names, genres and years."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "items.csv").write_text(TABLE)
    described = descriptions.read(folder / "items.csv", IDS, encoder, "title")
    return export.export(fake_ranker.FakeRanker(), folder / "export", descriptions=described)


def test_an_export_has_them_in_a_file(version):
    manifest = files.open_manifest(version)
    assert manifest["item_descriptions"] == {
        "file": "assets.extra/items.parquet", "name": "title", "columns": ["genres", "year"],
    }  # fmt: skip
    stored = features.read(version / "assets.extra" / "items.parquet", IDS)
    assert stored["id"].to_list() == fake_ranker.STRING_IDS.tolist()
    assert loaded.ExportedModel(version).descriptions.of(["i2"])[0].name == "Heat"
    card = (version / "model_card.md").read_text()
    assert "people: names (`title`), `genres`, `year` in assets.extra/items.parquet." in card


def test_the_client_describes_items_when_it_is_asked(version, monkeypatch):
    read = []
    monkeypatch.setattr(
        parquet,
        "read",
        lambda path, read_it=parquet.read: (read.append(path), read_it(path))[1],
    )
    contract = client.Contract.read(version / "manifest.json")
    assert read == []
    with client.connect("http://localhost:1", contract) as ranker:  # no server is asked
        [heat, other] = ranker.describe(["i2", "i7"])
        ranker.describe(["i2"])
    assert (heat.name, heat.features["year"], other.name) == ("Heat", 1995.0, None)
    assert len(read) == 1


def test_a_changed_or_absent_file_is_an_error(version, tmp_path):
    manifest = json.loads((version / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    contract = client.Contract.read(tmp_path / "manifest.json")
    with pytest.raises(UserError, match="items.parquet: not the items of an export"):
        contract.describe(["i1"])
    del manifest["item_descriptions"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="no descriptions of items; expected an export with"):
        client.Contract.read(tmp_path / "manifest.json").describe(["i1"])


def test_items_of_another_model_are_rejected(table, tmp_path):
    described = descriptions.read(table, vocabulary.Ids(IDS.raw[::-1]), None, "title")
    with pytest.raises(ValueError, match="other items than the agent"):
        export.export(fake_ranker.FakeRanker(), tmp_path / "e", descriptions=described)
    assert not (tmp_path / "e").exists()
