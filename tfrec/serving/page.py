"""A page to look at a served model with: its files, and what it asks besides `:predict`.

The page itself is page_files/: HTML, CSS and JavaScript without a build step and without
anything from another host. It ranks over the same REST paths as every other client.
"""

import dataclasses
import json
import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfrec import errors
from tfrec.serving import files, rejection, requests, service, versions

_FILES = pathlib.Path(__file__).parent / "page_files"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_SHOWN = ("history_length", "max_steps", "feedback", "measurements", "named_goals")
_MOST_ITEMS = 12  # suggestions for what was typed
_MOST_TYPED = 200  # characters of it that are looked at

Reply = tuple[int, bytes, str]  # status, body, content type


@dataclasses.dataclass(frozen=True)
class User:
    """Somebody to rank for: the last events of a log.

    Attributes:
      name: what the log calls the user.
      history: L raw ids, oldest first.
      feedback: L raw values for each feedback column, by its name.
    """

    name: str
    history: Sequence[requests.RawId]
    feedback: Mapping[str, Sequence[float]]


@dataclasses.dataclass(frozen=True)
class _Described:
    """What the page has to know of one version."""

    version: int
    manifest: dict[str, Any]
    items: str  # raw ids, each between two line ends


class Page:
    """Answers the page's own paths.

    Args:
      folder: where numbered versions lie.
      served: which of them answer requests.
      limits: what requests may ask.
      users: whom the page offers.

    Raises:
      UserError: if the newest version is not one that ranks.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        served: versions.Versions,
        limits: service.LimitsConfig,
        users: Sequence[User] = (),
    ):
        self._folder = pathlib.Path(folder)
        self._served = served
        self._limits = limits
        self._users = {user.name: user for user in users}
        self._described: _Described | None = None
        self._files: dict[str, Reply] = {
            f"/{path.name}": (200, path.read_bytes(), _KINDS[path.suffix])
            for path in _FILES.iterdir()
            if path.suffix in _KINDS
        }
        self._files["/"] = self._files.pop("/index.html")
        try:
            self._newest()
        except rejection.Rejected as rejected:
            raise errors.UserError(f"{folder}: {rejected.message}") from rejected

    def get(self, path: str, query: str) -> Reply | None:
        """The answer to a GET; None where the path is not the page's.

        Raises:
          Rejected: if what it asks for is not there.
        """
        if path in self._files:
            return self._files[path]
        asked = {name: values[-1] for name, values in urllib.parse.parse_qs(query).items()}
        if path == "/page/model":
            return _reply(self._model())
        if path == "/page/items":
            return _reply(self._items(asked.get("like", "")))
        if path == "/page/user":
            return _reply(self._user(asked.get("name", "")))
        return None

    def _model(self) -> dict[str, Any]:
        """Names, units and limits: all that the page shows before it asks for a list."""
        found = self._newest()
        manifest = found.manifest
        return {
            "name": self._served.plan.name,
            "version": found.version,
            "item_dtype": manifest["item_id"]["dtype"],
            "num_items": manifest["item_id"]["count"],
            "max_k": self._limits.max_k,
            "users": list(self._users),
            **{name: manifest[name] for name in _SHOWN},
        }

    def _items(self, typed: str) -> dict[str, Any]:
        """Items like the text typed: itself, then what begins with it, then what holds it."""
        lines = self._newest().items
        text = re.escape(typed.partition("\n")[0][:_MOST_TYPED])
        found: dict[str, None] = {}
        for pattern in (rf"\n{text}(?=\n)", rf"\n{text}", text):
            for item in _lines(pattern, lines):
                if len(found) == _MOST_ITEMS:
                    break
                found[item] = None
        return {"items": list(found), "known": typed in found}

    def _user(self, name: str) -> dict[str, Any]:
        if name not in self._users:
            raise rejection.not_found(f"no user {name[:_MOST_TYPED]!r}")
        user = self._users[name]
        # Ids as text: JavaScript would round the largest whole numbers.
        history = [str(item) for item in user.history]
        return {"history": history, "feedback": dict(user.feedback)}

    def _newest(self) -> _Described:
        """The highest version that answers; its files are read once."""
        number = max(self._served.available(), default=0)
        found = self._described
        if found is None or found.version != number:
            version = self._folder / str(number)
            try:
                manifest = json.loads((version / files.MANIFEST).read_text())
                if missing := sorted({"item_id", *_SHOWN} - set(manifest)):
                    raise rejection.invalid(
                        f"version {number} does not rank for goals (its manifest has no "
                        f"{', '.join(missing)}); the page cannot show it"
                    )
                items = (version / "assets" / "items.txt").read_bytes().decode()
            except OSError as error:
                raise rejection.not_found(
                    f"version {number} cannot be described, its files are gone"
                ) from error
            found = self._described = _Described(number, manifest, f"\n{items}")
        return found


def _lines(pattern: str, text: str) -> Iterator[str]:
    """Lines of a text that match; the scan ends where the caller has enough."""
    for found in re.finditer(pattern, text, re.IGNORECASE):
        start = text.rfind("\n", 0, found.start() + 1) + 1
        line, _, _ = text[start : start + 4096].partition("\n")
        if line:
            yield line


def _reply(answer: dict[str, Any]) -> Reply:
    return 200, json.dumps(answer).encode(), "application/json"
