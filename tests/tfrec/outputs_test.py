import errno
import os
import sqlite3

import pytest
import tensorflow as tf

from tfrec import errors, outputs


def below_a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "out"


def test_a_folder_that_can_be_made_is_left_as_it_was(tmp_path):
    outputs.check_folder(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "existing").mkdir()
    outputs.check_folder(tmp_path / "existing")
    assert [path.name for path in tmp_path.iterdir()] == ["existing"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "Not a directory"),
        ("file/out", "Not a directory"),
        ("x" * 300, "File name too long"),
        (f"new/{'x' * 300}", "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named(tmp_path, name, reason):
    below_a_file(tmp_path)
    with pytest.raises(errors.UserError) as error:
        outputs.check_folder(tmp_path / name, "--out")
    message = str(error.value)
    assert message.startswith(f"--out={tmp_path / name}: cannot be written: {reason}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_takes_nothing_is_named(tmp_path, monkeypatch, code):
    def reject(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", reject)
    with pytest.raises(errors.UserError, match=f"cannot be written: {os.strerror(code)}"):
        outputs.check_folder(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    made = outputs._try_folder
    tried = []

    def racing(directory):
        tried.append(directory)
        if len(tried) < 3:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        made(directory)

    monkeypatch.setattr(outputs, "_try_folder", racing)
    outputs.check_folder(tmp_path / "out")
    assert len(tried) == 3


def test_reasons_of_files_and_libraries(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    assert outputs.reason(full) == "No space left on device"
    with pytest.raises(OSError) as named:
        (below_a_file(tmp_path)).write_text("")
    assert outputs.reason(named.value) == f"{tmp_path / 'file' / 'out'}: Not a directory"
    with pytest.raises(tf.errors.OpError) as of_tensorflow:
        tf.io.write_file(str(tmp_path / "file" / "out"), "text")
    assert "Not a directory" in outputs.reason(of_tensorflow.value)
    text = "{{function_node __wrapped__SaveV2_dtypes_38}} out/x; No space left on device"
    of_graph = tf.errors.ResourceExhaustedError(None, None, f"{text} [Op:SaveV2]")
    assert outputs.reason(of_graph) == "out/x; No space left on device"
    of_sqlite = sqlite3.OperationalError("database or disk is full")
    assert outputs.reason(of_sqlite) == "database or disk is full"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "model.json"),
        tf.errors.InvalidArgumentError(None, None, "shapes differ"),
    ],
)
def test_a_bug_has_no_reason(error):
    assert outputs.reason(error) is None


def test_writing_names_the_path_and_lets_bugs_pass(tmp_path):
    with pytest.raises(errors.UserError, match="report.md: cannot be written: No space left"):
        with outputs.writing("report.md"), open("/dev/full", "wb", buffering=0) as file:
            file.write(b"text")
    with pytest.raises(KeyError), outputs.writing("report.md"):
        raise KeyError("ours")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "agent"
    for text in ("old", "new"):
        with outputs.replacing_folder(target) as partial:
            (partial / "weights").write_text(text)
    assert (target / "weights").read_text() == "new"
    with pytest.raises(errors.UserError, match="agent: cannot be written: No space left"):
        with outputs.replacing_folder(target) as partial:
            (partial / "weights").write_text("half")
            with open("/dev/full", "wb", buffering=0) as file:
                file.write(b"text")
    with pytest.raises(KeyError), outputs.replacing_folder(target):
        raise KeyError("ours")
    assert (target / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path, monkeypatch
):
    target = tmp_path / "agent"
    with outputs.replacing_folder(target) as partial:
        (partial / "weights").write_text("old")
    rename = type(target).rename

    def reject(path, to):
        if path.name.endswith(".partial"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(type(target), "rename", reject)
    with pytest.raises(errors.UserError, match="No space left"):
        with outputs.replacing_folder(target):
            pass
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]


def test_below_a_file_nothing_is_written(tmp_path):
    with pytest.raises(errors.UserError, match="out: cannot be written: Not a directory"):
        with outputs.replacing_folder(below_a_file(tmp_path)):
            pass
