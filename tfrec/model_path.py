"""Paths of SavedModels, read literally by TensorFlow."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

_PATTERN_CHARACTERS = frozenset("[]*?\\")


@contextlib.contextmanager
def literal(path: str | os.PathLike) -> Iterator[str]:
    """Yields a path without pattern characters, to load a SavedModel from.

    TensorFlow expands patterns in the path of a model's variables and therefore misses those
    of a folder `model[1]`. The path to such a folder is a temporary symbolic link, which is
    not needed after the model is loaded.
    """
    text = os.fspath(path)
    if not _PATTERN_CHARACTERS & set(text):
        yield text
        return
    with tempfile.TemporaryDirectory(prefix="tfrec-") as folder:
        link = pathlib.Path(folder) / "model"
        link.symlink_to(pathlib.Path(path).absolute(), target_is_directory=True)
        yield str(link)
