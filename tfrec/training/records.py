"""Records of the settings and inputs of a folder, which later calls compare with theirs."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

from tfrec import errors, options, outputs


def check(
    path: pathlib.Path,
    differences: Callable[[Any], list[str]],
    subject: str,
    advice: str,
    kind: str = "a record of settings",
) -> Any:
    """Compares a record with the current settings.

    Args:
      path: the record, a JSON file.
      differences: lists the differences of the saved document from the current settings.
      subject: what has other settings, e.g. `runs/a holds a run with other settings`.
      advice: what the user can do then.
      kind: what the file holds, for messages.

    Returns:
      The saved document; None if there is no record.

    Raises:
      UserError: if there are differences, which it lists, or the file is damaged.
    """
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise TypeError("expected a JSON object")
        different = differences(saved)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(f"{path} is not {kind}: {error!r}") from error
    options.check_unchanged(different, subject, advice)
    return saved


def keep(
    path: pathlib.Path,
    document: Any,
    differences: Callable[[Any], list[str]],
    subject: str,
    advice: str,
    kind: str = "a record of settings",
) -> Any:
    """Compares a record as `check` does, or writes it and its folder if there is none.

    Args:
      path: the record, a JSON file.
      document: its content.
      differences: see `check`.
      subject: see `check`.
      advice: see `check`.
      kind: see `check`.

    Returns:
      The saved document.

    Raises:
      UserError: see `check`.
    """
    saved = check(path, differences, subject, advice, kind)
    if saved is not None:
        return saved
    path.parent.mkdir(parents=True, exist_ok=True)
    outputs.write_json(path, document)
    return document
