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
    with files.opened(path, ["ratings.csv"], several=True) as opened:
        assert [file.name for file in opened] == ["ratings.csv", "ratings.csv"]
        assert [file.read_text() for file in opened] == ["first", "second"]


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


LOGS = {
    "movielens csv": (
        movielens,
        "ratings.csv",
        ",",
        "userId,movieId,rating,timestamp\n1,2,4.5,10\n1,3,1.0,20\n2,2,4.0,30",
    ),
    "movielens tabs": (movielens, "u.data", "\t", "1\t2\t4\t10\n1\t3\t1\t20\n2\t2\t4\t30"),
    "movielens colons": (movielens, "ratings.dat", "::", "1::2::4::10\n1::3::1::20"),
    "kuairand": (
        kuairand,
        "log_standard_1.csv",
        ",",
        "user_id,video_id,time_ms,is_click\n1,2,1650000000000,1\n1,3,1650000000001,0",
    ),
    "kuairand tabs": (
        kuairand,
        "log_standard_1.csv",
        "\t",
        "user_id\tvideo_id\ttime_ms\tis_click\n1\t2\t1650000000000\t1",
    ),
    "taobao": (
        taobao,
        "UserBehavior.csv",
        ",",
        "1,2,3,pv,1511600000\n1,3,3,buy,1511600001\n2,2,3,fav,1511600002",
    ),
    "yoochoose text": (
        yoochoose,
        "yoochoose-clicks.txt",
        "\t",
        "SessionId\tItemId\tTime\n1\t2\t1396000000\n1\t3\t1396000600.5",
    ),
    "table": (
        table,
        "log.csv",
        ",",
        "user,item,time,click\nu1,007,1700000000,1\nu1,7,1700000001,0\nu2,x y,1700000002,1",
    ),
}


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("noise", ["spaces", "blank lines", "CRLF", "lone CR", "BOM", "quotes"])
def test_harmless_differences_change_no_table(log, noise, tmp_path):
    source, name, separator, text = LOGS[log]
    fields = [line.split(separator) for line in text.split("\n")]
    noisy = {
        "spaces": "\n".join(separator.join(f" {field} " for field in line) for line in fields),
        "blank lines": "\n \n" + text.replace("\n", "\n\n") + "\n\n\n",
        "CRLF": text.replace("\n", "\r\n") + "\r\n",
        "lone CR": text.replace("\n", "\r"),
        "BOM": "\ufeff" + text,
        "quotes": "\n".join(separator.join(f'"{field}"' for field in line) for line in fields),
    }
    frames = []
    for folder, content in (("plain", text), ("noisy", noisy[noise])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content.encode())
        frames.append(source.read(tmp_path / folder)[0])
    assert frames[0].height > 0
    assert frames[0].equals(frames[1])


def test_harmless_differences_of_yoochooses_pair(tmp_path):
    time = "2014-04-07T10:51:09.277Z"
    contents = {
        "plain": (f"1,{time},2,0\n1,{time},3,S\n", f"1,{time},2,5,1\n"),
        "noisy": (f"\n 1, {time} ,2 ,0\n\n1,{time},3, S\n", f'"1","{time}"," 2",5,1\r\n\r\n'),
    }
    frames = []
    for folder, (clicks, buys) in contents.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "yoochoose-clicks.dat").write_bytes(clicks.encode())
        (tmp_path / folder / "yoochoose-buys.dat").write_bytes(buys.encode())
        frames.append(yoochoose.read(tmp_path / folder)[0])
    assert frames[0]["buy"].to_list() == [1.0, 0.0]
    assert frames[0].equals(frames[1])
