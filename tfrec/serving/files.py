"""Checksums of the files of an exported version."""

import contextlib
import hashlib
import json
import os
import pathlib
from typing import Any

from tfrec import errors, weights
from tfrec.serving import numbered

MANIFEST = "manifest.json"


def checksums(version: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file of a version except its manifest, by relative path."""
    sums = {}
    for path in sorted(version.rglob("*")):
        if path.is_file() and path != version / MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[path.relative_to(version).as_posix()] = digest
    return sums


def open_manifest(version: pathlib.Path) -> dict[str, Any]:
    """Reads the manifest of an exported version and checks the files against it.

    Raises:
      UserError: if there is no export, a file is missing, added or changed, or a weight is
        not finite.
    """
    path = version / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        recorded = manifest["files"]
    except FileNotFoundError as error:
        raise errors.UserError(
            f"{version}: no exported model here ({MANIFEST} is missing); expected a version "
            "directory such as export/1, written by launch.export_model"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(f"{path}: not a manifest: {error}") from error
    present = checksums(version)
    for name in sorted(set(recorded) | set(present)):
        if recorded.get(name) != present.get(name):
            problem = "missing" if name not in present else "changed"
            problem = problem if name in recorded else "not part of the export"
            raise errors.UserError(
                f"{version / name}: {problem}; the model is not the one that was exported. "
                "Restore the directory or export again"
            )
    weights.check_saved_model(version)
    return manifest


def expect_kind(directory: str | os.PathLike, kind: str) -> None:
    """Checks that an export directory is empty or holds models of a kind.

    A server switches from one version of a directory to the next, so that all of them must
    accept the same requests.

    Args:
      directory: folder of the versions; may be missing.
      kind: `ranker` or `policy`.

    Raises:
      UserError: if its newest version is of another kind.
    """
    newest: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # absent, empty or not readable
        last = pathlib.Path(directory, str(max(numbered.versions(directory))))
        newest = json.loads((last / MANIFEST).read_text())
    newest_kind = newest.get("kind", kind)
    if newest_kind != kind:
        raise errors.UserError(
            f"{directory}: its versions are of the kind {newest_kind}, and this is a {kind}; "
            "export it to a separate directory"
        )
