"""Prepares a process before TensorFlow is imported: Keras 2, messages, and deferred imports.

TensorFlow, TF-Agents and Gym print notices when they are imported, and TensorFlow reads its log
level from the environment at that moment, before flags are parsed. `--verbose` is therefore
looked up in the command line.

TensorFlow takes seconds to import, and `--help` does not need it. While a script defines its
flags, `import` of a module of this project only registers it: the module is loaded when one of
its names is used, or else before `main` begins.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import tfrec  # noqa: F401  selects Keras 2

_VERBOSE = ("--verbose", "--verbose=true", "--verbose=True", "--verbose=1", "-verbose")

# Level of TensorFlow's C++ messages: 0 shows all, 3 shows fatal ones alone. Errors that matter
# reach Python as exceptions.
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def prepare(arguments: Sequence[str]) -> None:
    """Hides the messages of other libraries, unless the command line has `--verbose`.

    Call it before anything imports TensorFlow. Child processes inherit the log level.

    Args:
      arguments: the command line; with `--verbose` all messages are shown.
    """
    if any(argument in _VERBOSE for argument in arguments):
        os.environ[_LOG_LEVEL] = "0"
    if is_verbose():
        return
    os.environ.setdefault(_LOG_LEVEL, "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # retracing and similar advice
    warnings.filterwarnings("ignore", message=".*pkg_resources is deprecated.*")
    # Code that AutoGraph generates from TF-Agents.
    warnings.filterwarnings("ignore", message='"is not" with', category=SyntaxWarning)
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _SilentTensorFlow())
    _hide_gym_notice()


def defer_imports() -> None:
    """Defers the project's modules until their first use; see `load_deferred`."""
    if _DEFERRING not in sys.meta_path:
        sys.meta_path.insert(0, _DEFERRING)


def load_deferred() -> None:
    """Ends deferring, and loads the modules that were imported but not used so far.

    Later imports are ordinary ones, so that threads may import, too: on Python 3.11, two
    threads that use a deferred module at once can read it half loaded.
    """
    if _DEFERRING in sys.meta_path:
        sys.meta_path.remove(_DEFERRING)
    while _DEFERRING.modules:
        _DEFERRING.modules.pop(0).__doc__  # noqa: B018  any attribute loads the module


def is_verbose() -> bool:
    """Whether the messages of other libraries are shown, in this process and its children."""
    return os.environ.get(_LOG_LEVEL) == "0"


class _DeferringFinder(importlib.abc.MetaPathFinder):
    """Finds modules of the project's packages and sets a loader that defers.

    Attributes:
      modules: the modules imported through this finder, in order.
    """

    def __init__(self) -> None:
        self.modules: list[types.ModuleType] = []

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] not in _PACKAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None or spec.submodule_search_locations is not None:
            return spec  # a package is loaded at once, as its modules need it
        spec.loader = _DeferringLoader(spec.loader)
        return spec


class _DeferringLoader(importlib.util.LazyLoader):
    """The standard library's lazy loader, with a list of the modules not loaded yet."""

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        _DEFERRING.modules.append(module)

    def __getattr__(self, name: str) -> Any:  # runpy reads the code of a script from its loader
        return getattr(self.__dict__["loader"], name)


_PACKAGES = ("tfrec", "tfgoalrec", "tfimrl", "launch")
_DEFERRING = _DeferringFinder()


class _SilentTensorFlow(importlib.abc.MetaPathFinder):
    """Imports TensorFlow with standard error redirected.

    Its C++ libraries report missing GPU drivers while they are loaded, before they have read
    the log level.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                with _redirected_stderr():
                    execute(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _redirected_stderr() -> Iterator[None]:
    """Redirects the file descriptor of standard error; shows the text if the body fails."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as text:
        os.dup2(text.fileno(), 2)
        try:
            yield
        except BaseException:
            text.seek(0)
            os.write(stderr, text.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _hide_gym_notice() -> None:
    """Empties the notices that Gym prints at import; only TF-Agents imports Gym."""
    try:
        from gym_notices import notices
    except ImportError:
        return
    notices.notices.clear()
