import tarfile
import zipfile

import pytest

from tfrec.data import schema
from tfrec.data.sources import assembly, netflix
from tfrec.errors import UserError

FILMS = {
    1: ["1488844,3,2005-09-06", "7,5,2005-05-13"],
    2: ["7,4,1999-11-11"],
    30: ["1488844,1,2005-09-05"],
}
TABLE = [
    (7, 2, 942278400000, 1.0, 4.0),
    (7, 1, 1115942400000, 1.0, 5.0),
    (1488844, 30, 1125878400000, 0.0, 1.0),
    (1488844, 1, 1125964800000, 0.0, 3.0),
]


def text(*films):
    return "\n".join("\n".join([f"{film}:", *FILMS[film]]) for film in films) + "\n"


def combined(folder):
    folder.mkdir(exist_ok=True)
    (folder / "combined_data_1.txt").write_text(text(1, 2))
    (folder / "combined_data_2.txt").write_text(text(30))
    (folder / "movie_titles.csv").write_text("1,2003,Dinosaur Planet\n")
    return folder


def a_file_each(folder):
    folder.mkdir(exist_ok=True)
    for film in FILMS:
        (folder / f"mv_{film:07}.txt").write_text(text(film))
    return folder


@pytest.mark.parametrize("layout", [combined, a_file_each])
def test_both_publications(tmp_path, layout):
    folder = layout(tmp_path / "log")
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"log/{file.name}")
    with tarfile.open(tmp_path / "log.tar", "w") as tar:
        tar.add(folder, "training_set")
    for path in (folder, tmp_path / "log.zip", tmp_path / "log.tar"):
        table, table_schema = netflix.read(path)
        assert table.rows() == TABLE
        assert tuple(table.columns) == table_schema.columns


def test_one_of_the_files(tmp_path):
    table, _ = netflix.read(combined(tmp_path) / "combined_data_2.txt")
    assert table.rows() == TABLE[2:3]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7,6,2005-05-14", "row 2: the row is '7,6,2005-05-14'; expected user, stars from 1"),
        ("7,0,2005-05-14", "row 2: the row is '7,0,2005-05-14'; expected user"),
        ("7,3,2005-13-14", "row 2: the row is '7,3,2005-13-14'; expected user"),
        ("7,3,2005-02-30", "row 2: the row is '7,3,2005-02-30'; expected user"),
        ("7,3", "row 2: the row is '7,3'; expected user"),
        ("7,3,2005-05-14,9", "row 2: the row is '7,3,2005-05-14,9'; expected user"),
        ("seven,3,2005-05-14", "row 2: the row is 'seven,3,2005-05-14'; expected user"),
        ("x:", "row 2: the row is 'x:'; expected user"),
        ("1488844,1,2005-09-05", "row 3: the whole row is 'item 30 at time_ms 1125878400000'"),
    ],
)
def test_a_bad_row_of_a_later_file_is_named_or_skipped(tmp_path, row, message):
    combined(tmp_path)
    (tmp_path / "combined_data_2.txt").write_text(f"30:\n{row}\n{FILMS[30][0]}\n")
    with pytest.raises(UserError, match="combined_data_2.txt, " + message):
        netflix.read(tmp_path)
    bad_rows = schema.BadRows(skip=True)
    assert netflix.read(tmp_path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.count == 1


def test_ratings_before_the_first_film(tmp_path):
    (tmp_path / "combined_data_1.txt").write_text(text(1))
    (tmp_path / "combined_data_2.txt").write_text(FILMS[2][0])
    with pytest.raises(
        UserError, match="combined_data_2.txt, row 1: the row is .*the number of a film and a"
    ):
        netflix.read(tmp_path)


def test_small_blocks_and_parts_give_the_same_table(tmp_path, monkeypatch):
    lines = [
        "5:",
        *(f"{user},{1 + user % 5},2001-02-{1 + user % 28:02}" for user in range(400)),
    ]
    (tmp_path / "combined_data_1.txt").write_text("\n".join(lines))
    (tmp_path / "combined_data_2.txt").write_text("\n".join(["6:", *lines[1:]]))
    whole, _ = netflix.read(tmp_path)
    monkeypatch.setattr(assembly, "ROWS_IN_MEMORY", 300)
    monkeypatch.setattr("tfrec.data.sources.files._BLOCK", 1000)
    assert netflix.read(tmp_path)[0].equals(whole)
    assert whole.height == 800
    (tmp_path / "combined_data_2.txt").write_text("\n".join(["6:", *lines[1:], lines[9]]))
    with pytest.raises(UserError, match="combined_data_2.txt, row 402: the whole row is"):
        netflix.read(tmp_path)


def test_a_folder_without_ratings(tmp_path):
    with pytest.raises(UserError, match="no combined_data_.*.txt or mv_.*.txt in this folder"):
        netflix.read(tmp_path)
