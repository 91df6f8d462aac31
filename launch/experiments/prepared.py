"""The prepared log of a table's data set, with a record of its log and settings.

<folder>/data             the prepared log
<folder>/prepared.json    hashes of the log's files and the flags of its preparation
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from launch import flags
from tfrec import options, outputs
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.training import records

_RECORD = "prepared.json"


def check(folder: pathlib.Path, inputs: Mapping[str, Any]) -> None:
    """Checks that prepared data of a folder, if any, were made from these inputs.

    Args:
      folder: folder of the data set.
      inputs: log and settings of the preparation.

    Raises:
      UserError: if they were made from another log or with other settings; it names them.
    """
    path = folder / _RECORD
    subject = f"{folder} was prepared from another log or with other settings"
    advice = f"Choose another --out, or remove {folder} to prepare it and run its cells again"
    saved = records.check(
        path, lambda saved: options.differences(saved, dict(inputs)), subject, advice
    )
    if saved is None and (folder / "data" / storage.MANIFEST).exists():
        absent = f"{path}: absent (an earlier version prepared it)"
        options.check_unchanged([absent], subject, advice)


def make(folder: pathlib.Path, source: str, inputs: Mapping[str, Any]) -> pathlib.Path:
    """Prepares the data of a folder, unless they are prepared.

    Args:
      folder: folder of the data set.
      source: path of its log; empty for a generated log.
      inputs: recorded log and settings; `prepare` has the flags of `launch.prepare_data`.

    Returns:
      The folder of the prepared log.

    Raises:
      UserError: if the log cannot be prepared.
    """
    data = folder / "data"
    # The record is written first, so that an interrupted preparation always has one.
    folder.mkdir(parents=True, exist_ok=True)
    outputs.write_json(folder / _RECORD, dict(inputs))
    if not (data / storage.MANIFEST).exists():
        path = [f"--path={source}"] if source else []
        call("launch.prepare_data", *path, *inputs["prepare"], f"--out={data}", "--overwrite")
    return data


def call(script: str, *arguments: str) -> None:
    """Runs a launch script in this process and prints its command line.

    Raises:
      UserError: if it ends with an exit code other than 0.
    """
    print(f"python -m {script} {' '.join(arguments)}", flush=True)
    code = flags.call(script, arguments)
    if code:
        raise UserError(f"{script} ended with exit code {code}; see its message above")
