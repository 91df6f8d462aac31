import io
import tarfile
import zipfile

import pytest

from tfrec.data.sources import files, kuairand, movielens, otto, table, taobao, yoochoose
from tfrec.errors import UserError

TWO = {"a/ratings.csv": "first", "b/ratings.csv": "second"}


def pack(path, contents):
    """Writes the contents as a folder, a .zip or a .tar.gz, by the name of the path."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in contents.items():
                archive.writestr(name, text)
    elif path.suffix == ".gz":
        with tarfile.open(path, "w:gz") as archive:
            for name, text in contents.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
    else:
        for name, text in contents.items():
            (path / name).parent.mkdir(parents=True)
            (path / name).write_text(text)
    return path


@pytest.mark.parametrize("name", ["log", "log.zip", "log.tar.gz"])
def test_files_of_one_name_are_read_apart(name, tmp_path):
    path = pack(tmp_path / name, TWO)
    with files.opened(path, ["ratings.csv"], several=True) as found:
        assert [file.name for file in found] == ["ratings.csv", "ratings.csv"]
        assert [file.read_text() for file in found] == ["first", "second"]


@pytest.mark.parametrize("name", ["log", "log.zip", "log.tar.gz"])
def test_one_of_two_files_is_not_guessed(name, tmp_path):
    path = pack(tmp_path / name, TWO)
    message = "holds a/ratings.csv and b/ratings.csv; name the file that is the log"
    with pytest.raises(UserError, match=message), files.opened(path, ["ratings.csv"]):
        pass


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (movielens, "ratings.csv"),
        (taobao, "UserBehavior.csv"),
        (otto, "train.jsonl"),
        (table, "log.csv"),
        (yoochoose, "yoochoose-clicks.dat"),
    ],
)
def test_no_source_guesses(source, name, tmp_path):
    path = pack(tmp_path / "log.zip", {f"a/{name}": "1,2", f"b/{name}": "3,4"})
    with pytest.raises(UserError, match=f"holds .*{name} and .*{name}"):
        source.read(path)


def test_files_of_kuairand_are_read_together(tmp_path):
    header = "user_id,video_id,time_ms,is_click"
    contents = {f"{n}/log_standard_1.csv": f"{header}\n{n},2,1650000000000,1\n" for n in (7, 8)}
    frame, _ = kuairand.read(pack(tmp_path / "log.zip", contents))
    assert frame["user"].to_list() == [7, 8]


def test_what_macos_adds_is_no_log(tmp_path):
    path = pack(tmp_path / "log.zip", {"log.csv": "text", "__MACOSX/._log.csv": "\0"})
    with files.opened(path, ["*.csv"]) as (file,):
        assert file.read_text() == "text"
