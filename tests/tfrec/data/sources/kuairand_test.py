import gzip
import io
import logging
import tarfile

import polars as pl
import pytest

from tfrec.data.sources import kuairand
from tfrec.errors import UserError

HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,"
    "is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,"
    "is_profile_enter,is_rand,tab"
)
FIRST = "7,50,20220408,1200,1649390400500,1,0,0,1,0,0,1,12500,15000,0,700,0,0,1"
SECOND = "7,51,20220408,1200,1649390400000,0,1,0,0,0,0,0,250,15000,0,0,0,0,1"


def write(path, *rows):
    path.write_text("\n".join([HEADER, *rows]) + "\n")


def test_every_feedback_column_of_the_published_file(tmp_path):
    write(tmp_path / "log_standard_4_08_to_4_21_pure.csv", FIRST, SECOND)
    table, schema = kuairand.read(tmp_path)
    assert [(column.name, column.kind, column.unit) for column in schema.feedback] == [
        ("click", "binary", "clicks"),
        ("like", "binary", "likes"),
        ("follow", "binary", "follows"),
        ("comment", "binary", "comments"),
        ("forward", "binary", "forwards"),
        ("hate", "binary", "hates"),
        ("long_view", "binary", "long views"),
        ("profile_enter", "binary", "profile visits"),
        ("play_seconds", "amount", "seconds"),
        ("profile_stay_seconds", "amount", "seconds"),
        ("comment_stay_seconds", "amount", "seconds"),
    ]
    later = table.row(1, named=True)
    assert table["time_ms"].to_list() == [1649390400000, 1649390400500]
    assert (later["item"], later["click"], later["comment"]) == (50, 1.0, 1.0)
    assert later["play_seconds"] == 12.5
    assert later["comment_stay_seconds"] == pytest.approx(0.7)
    assert table["like"].to_list() == [1.0, 0.0]


def test_the_logs_of_an_archive_are_read_together_without_the_random_one(tmp_path):
    members = {
        "KuaiRand-Pure/data/log_standard_4_08_to_4_21_pure.csv": [FIRST],
        "KuaiRand-Pure/data/log_standard_4_22_to_5_08_pure.csv": [SECOND, FIRST],
        "KuaiRand-Pure/data/log_random_4_22_to_5_08_pure.csv": [SECOND.replace("51", "99")],
    }
    with tarfile.open(tmp_path / "KuaiRand-Pure.tar.gz", "w:gz") as archive:
        for name, rows in members.items():
            content = "\n".join([HEADER, *rows]).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    table, _ = kuairand.read(tmp_path / "KuaiRand-Pure.tar.gz")
    assert table["item"].to_list() == [51, 50]


def test_repeated_rows_are_dropped_aloud(tmp_path, caplog):
    write(tmp_path / "log_standard_x.csv", FIRST, SECOND, FIRST, FIRST.replace("1200", "1300"))
    with caplog.at_level(logging.WARNING):
        table, _ = kuairand.read(tmp_path)
    assert table.height == 2
    assert "dropped 2 rows that repeat another" in caplog.text


def test_a_bad_value_is_named_as_in_the_file(tmp_path):
    write(tmp_path / "log_standard_x.csv", FIRST, SECOND.replace(",0,1,0,", ",0,3,0,", 1))
    with pytest.raises(
        UserError, match=r"log_standard_x.csv, row 3: is_like is 3.0; expected 0"
    ):
        kuairand.read(tmp_path)


def test_a_compressed_file(tmp_path):
    path = tmp_path / "log_standard_x.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{FIRST}\n".encode()))
    assert kuairand.read(tmp_path)[0].height == 1


def test_a_log_without_clicks(tmp_path):
    (tmp_path / "log_standard_x.csv").write_text("user_id,video_id,time_ms\n1,2,3\n")
    with pytest.raises(UserError, match="no column 'is_click'"):
        kuairand.read(tmp_path)


def test_real_rows(real_data):
    folder = real_data / "kuairand-sample"
    table, schema = kuairand.read(folder)
    raw = pl.read_csv(folder / "processed_standard_kcore_15.csv", separator="\t")
    # 116 rows repeat another word for word, 8 more in all but the label of their hour.
    assert raw.height - raw.unique().height == 116
    assert raw.height - table.height == 116 + 8
    assert table["user"].n_unique() == 664
    assert table["item"].n_unique() == 9_359
    assert schema.feedback[0].name == "click"
    assert len(schema.feedback) == 8
    distinct = raw.unique(["user_id", "video_id", "time_ms"])
    assert table["play_seconds"].sum() == pytest.approx(
        distinct["play_time_ms"].sum() / 1000, rel=1e-5
    )
