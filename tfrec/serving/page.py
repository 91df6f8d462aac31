"""A web page to explore a served model: its files, and its requests besides `:predict`.

The page is page_files/: HTML, CSS and JavaScript without a build step and without resources of
other hosts. It ranks over the same REST paths as every other client.
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
_MANIFEST_FIELDS = ("history_length", "max_steps", "feedback", "measurements", "named_goals")
_MAX_SUGGESTIONS = 12  # suggestions for typed text
_MAX_TYPED = 200  # characters of typed text that are used

Reply = tuple[int, bytes, str]  # status, body, content type


@dataclasses.dataclass(frozen=True)
class User:
    """A user to rank for, with the last events of a log.

    Attributes:
      name: the user's id in the log.
      history: L raw ids, oldest first.
      feedback: L raw values for each feedback column, by its name.
      context_values: numbers of the user's features; empty if the model reads none.
    """

    name: str
    history: Sequence[requests.RawId]
    feedback: Mapping[str, Sequence[float]]
    context_values: Sequence[int] = ()


@dataclasses.dataclass(frozen=True)
class _Described:
    """Data of one version for the page."""

    version: int
    manifest: dict[str, Any]
    items: str  # raw ids, each between two line ends


class Page:
    """Answers the paths of the page.

    Args:
      folder: folder of the numbered versions.
      served: the versions that answer requests.
      limits: limits of requests.
      users: users for selection on the page.

    Raises:
      UserError: if the newest version does not rank items.
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
        """The answer to a GET; None for a path that does not belong to the page.

        Raises:
          Rejected: if the requested object does not exist.
        """
        if path in self._files:
            return self._files[path]
        parameters = {name: values[-1] for name, values in urllib.parse.parse_qs(query).items()}
        if path == "/page/model":
            return _reply(self._model())
        if path == "/page/items":
            return _reply(self._items(parameters.get("like", "")))
        if path == "/page/user":
            return _reply(self._user(parameters.get("name", "")))
        return None

    def _model(self) -> dict[str, Any]:
        """Names, units and limits that the page shows before its first request for a list."""
        described = self._newest()
        manifest = described.manifest
        return {
            "name": self._served.plan.name,
            "version": described.version,
            "item_dtype": manifest["item_id"]["dtype"],
            "num_items": manifest["item_id"]["count"],
            "max_k": self._limits.max_k,
            "users": list(self._users),
            "reads_context": "user_features" in manifest,
            **{name: manifest[name] for name in _MANIFEST_FIELDS},
        }

    def _items(self, typed: str) -> dict[str, Any]:
        """Items that match typed text: equal ids, then ids with this beginning, then others."""
        lines = self._newest().items
        text = re.escape(typed.partition("\n")[0][:_MAX_TYPED])
        matches: dict[str, None] = {}
        for pattern in (rf"\n{text}(?=\n)", rf"\n{text}", text):
            for item in _lines(pattern, lines):
                if len(matches) == _MAX_SUGGESTIONS:
                    break
                matches[item] = None
        return {"items": list(matches), "known": typed in matches}

    def _user(self, name: str) -> dict[str, Any]:
        if name not in self._users:
            raise rejection.not_found(f"no user {name[:_MAX_TYPED]!r}")
        user = self._users[name]
        # Ids as text, because JavaScript rounds large whole numbers.
        history = [str(item) for item in user.history]
        values = list(user.context_values)
        return {"history": history, "feedback": dict(user.feedback), "context_values": values}

    def _newest(self) -> _Described:
        """The highest loaded version; its files are read once."""
        number = max(self._served.available(), default=0)
        described = self._described
        if described is None or described.version != number:
            version = self._folder / str(number)
            try:
                manifest = json.loads((version / files.MANIFEST).read_text())
                if missing := sorted({"item_id", *_MANIFEST_FIELDS} - set(manifest)):
                    raise rejection.invalid(
                        f"version {number} does not rank for goals (its manifest has no "
                        f"{', '.join(missing)}); the page cannot show it"
                    )
                items = (version / "assets" / "items.txt").read_bytes().decode()
            except OSError as error:
                raise rejection.not_found(
                    f"version {number} cannot be described: its files are missing"
                ) from error
            described = self._described = _Described(number, manifest, f"\n{items}")
        return described


def _lines(pattern: str, text: str) -> Iterator[str]:
    """Yields lines of a text that match; lazy, so that the caller can stop the scan."""
    for match in re.finditer(pattern, text, re.IGNORECASE):
        start = text.rfind("\n", 0, match.start() + 1) + 1
        line, _, _ = text[start : start + 4096].partition("\n")
        if line:
            yield line


def _reply(answer: dict[str, Any]) -> Reply:
    return 200, json.dumps(answer).encode(), "application/json"
