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
from tfrec.data import feature_encoding, state_encoding
from tfrec.serving import descriptions, files, rejection, requests, service, versions
from tfrec.serving import manifest as manifest_lib

_FILES = pathlib.Path(__file__).parent / "page_files"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_MANIFEST_FIELDS = ("history_length", "max_steps", "feedback", "measurements", "named_goals")
_MAX_SUGGESTIONS = 12  # suggestions for typed text
_MAX_TYPED = 200  # characters of typed text that are used
_MAX_DESCRIBED = 1000  # items of one request for descriptions
_MAX_CATEGORIES = 200  # categories of a column that the form gets

Reply = tuple[int, bytes, str]  # status, body, content type


@dataclasses.dataclass(frozen=True)
class User:
    """A user to rank for, with the last events of a log.

    Attributes:
      name: the user's id in the log.
      history: L raw ids, oldest first.
      feedback: L raw values for each feedback column, by its name.
      features: the user's features that the model reads, column -> value; missing ones have no
        entry.
    """

    name: str
    history: Sequence[requests.RawId]
    feedback: Mapping[str, Sequence[float]]
    features: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Described:
    """Data of one version for the page."""

    version: int
    manifest: dict[str, Any]
    items: str  # raw ids, each between two line ends
    descriptions: descriptions.Descriptions | None
    encoders: state_encoding.StateEncoder


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

    def post(self, path: str, body: bytes) -> Reply | None:
        """The answer to a POST; None for a path that does not belong to the page.

        Raises:
          Rejected: if the body is not as expected.
        """
        if path == "/page/descriptions":
            return _reply(self._descriptions(_field(_document(body), "items", list)))
        if path == "/page/context_values":
            document = _document(body)
            given = {owner: _field(document, owner, dict) for owner in state_encoding.OWNERS}
            return _reply(self._context_values(given))
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
            "has_descriptions": described.descriptions is not None,
            "user_features": _form(described.encoders.user),
            "context_features": _form(described.encoders.context),
            **{name: manifest[name] for name in _MANIFEST_FIELDS},
        }

    def _items(self, typed: str) -> dict[str, Any]:
        """Items that match typed text, with their names, and whether the text is an id.

        An equal id comes first, then ids and names with this beginning, then others.
        """
        newest = self._newest()
        matches: dict[str, None] = {}
        for item in _matches(newest, typed.partition("\n")[0][:_MAX_TYPED]):
            if len(matches) == _MAX_SUGGESTIONS:
                break
            matches[item] = None
        described = newest.descriptions.of(matches) if newest.descriptions else []
        names = {str(one.item): one.name for one in described if one.name is not None}
        return {"items": list(matches), "names": names, "known": typed in matches}

    def _descriptions(self, items: list) -> dict[str, Any]:
        """Names and features of items, by their ids as text."""
        if len(items) > _MAX_DESCRIBED:
            raise rejection.too_large(
                f"descriptions of {len(items)} items; the page takes at most {_MAX_DESCRIBED}"
            )
        if not all(isinstance(item, str) for item in items):
            raise rejection.invalid("items: expected ids as text")
        described = self._newest().descriptions
        return {
            "descriptions": {
                str(one.item): {"name": one.name, "features": one.features}
                for one in (described.of(items) if described else [])
            }
        }

    def _context_values(self, given: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Numbers of the features of a user and a context, or what is wrong with them.

        Args:
          given: `user` and `context` -> column -> value.
        """
        encoders = self._newest().encoders
        problems: dict[str, dict[str, str]] = {owner: {} for owner in given}
        for owner, features in given.items():
            for name, value in features.items():
                try:
                    encoders.encode_one(**{owner: {name: value}})
                except errors.UserError as error:
                    problems[owner][name] = str(error)
        if any(problems.values()):
            return {"context_values": [], "problems": problems}
        read = {owner: given[owner] for owner, part in encoders._asdict().items() if part}
        return {"context_values": encoders.encode_one(**read), "problems": problems}

    def _user(self, name: str) -> dict[str, Any]:
        if name not in self._users:
            raise rejection.not_found(f"no user {name[:_MAX_TYPED]!r}")
        user = self._users[name]
        # Ids as text, because JavaScript rounds large whole numbers.
        history = [str(item) for item in user.history]
        return {
            "history": history,
            "feedback": dict(user.feedback),
            "features": dict(user.features),
        }

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
                of_items = descriptions.load(version, manifest)
            except (OSError, errors.UserError) as error:
                raise rejection.not_found(
                    f"version {number} cannot be described: its files are missing"
                ) from error
            encoders = manifest_lib.state_encoder(manifest)
            described = _Described(number, manifest, f"\n{items}", of_items, encoders)
            self._described = described
        return described


def _matches(described: _Described, typed: str) -> Iterator[str]:
    """Yields ids of items that match typed text, the best first; some more than once."""
    text = re.escape(typed)
    yield from _lines(rf"\n{text}(?=\n)", described.items)
    for pattern, at_start in ((rf"\n{text}", True), (text, False)):
        yield from _lines(pattern, described.items)
        if described.descriptions:  # as many more as may be among the former
            yield from described.descriptions.like(typed, 2 * _MAX_SUGGESTIONS, at_start)


def _lines(pattern: str, text: str) -> Iterator[str]:
    """Yields lines of a text that match; lazy, so that the caller can stop the scan."""
    for match in re.finditer(pattern, text, re.IGNORECASE):
        start = text.rfind("\n", 0, match.start() + 1) + 1
        line, _, _ = text[start : start + 4096].partition("\n")
        if line:
            yield line


def _form(encoder: feature_encoding.FeatureEncoder | None) -> list[dict[str, Any]]:
    """The columns of the features of users or contexts, for the fields of the form.

    `categories` are the first ones of a column that lists its values; `are_all` says whether
    they are all of them. Hours and weekdays are listed, too.
    """
    fields = []
    for code in encoder.codes if encoder else ():
        values = code.categories or tuple(map(str, range(code.column.derived)))
        fields.append(
            {
                "name": code.column.name,
                "kind": code.column.kind,
                "separator": code.column.separator,
                "categories": list(values[:_MAX_CATEGORIES]),
                "are_all": 0 < len(values) <= _MAX_CATEGORIES,
            }
        )
    return fields


def _document(body: bytes) -> Any:
    """The JSON of a body.

    Raises:
      Rejected: if it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise rejection.invalid(f"not JSON: {error}") from error


def _field(document: Any, name: str, kind: type) -> Any:
    """A field of a JSON object.

    Raises:
      Rejected: if it has another form.
    """
    if not isinstance(document, dict) or not isinstance(document.get(name), kind):
        expected = "a list" if kind is list else "an object"
        raise rejection.invalid(f"expected an object with {name!r}, {expected}")
    return document[name]


def _reply(answer: dict[str, Any]) -> Reply:
    return 200, json.dumps(answer).encode(), "application/json"
