"""The served versions: a watched folder, loaded and retired without a gap.

A version is loaded and warmed up beside the former, then takes its requests; the
former ends when the requests that it still answers have ended. One that cannot be
loaded is rejected until its files change, and the former stays.
"""

import collections
import contextlib
import dataclasses
import gc
import os
import pathlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping

import grpc
from absl import logging
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfrec import errors
from tfrec.serving import numbered, rejection, saved


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to serve.

    Attributes:
      name: the model's name in requests.
      newest: serve this many of the highest versions; 0 for all.
      specific: serve exactly these instead, where there are any.
      labels: version by label.
    """

    name: str = "ranker"
    newest: int = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def wanted(self, found: Collection[int]) -> set[int]:
        """Those of the versions found that are to be served."""
        if self.specific:
            return set(self.specific) & set(found)
        return set(sorted(found)[-self.newest :])


def read_plan(path: str | os.PathLike) -> Plan:
    """The plan in a models.config of TensorFlow Serving (ModelServerConfig, text).

    Its base_path is the server's own business and is passed over.

    Raises:
      UserError: if it is no such file, or does not list exactly one model.
    """
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(pathlib.Path(path).read_text(), config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise errors.UserError(f"{path}: not a models.config: {error}") from error
    models = config.model_config_list.config
    if len(models) != 1 or not models[0].name:
        raise errors.UserError(f"{path}: {len(models)} models; expected one, with a name")
    policy = models[0].model_version_policy
    newest = {"latest": policy.latest.num_versions or 1, "all": 0}
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "specific" and not policy.specific.versions:
        raise errors.UserError(f"{path}: the policy 'specific' names no versions")
    return Plan(
        models[0].name,
        newest.get(kind, 1),
        tuple(policy.specific.versions),
        dict(models[0].version_labels),
    )


class Versions:
    """The versions of one model that are loaded, and the thread that watches its folder.

    Args:
      folder: where numbered versions lie.
      plan: what to serve; or
      config: a models.config that says so and is read again when it changes.
    """

    def __init__(self, folder: str | os.PathLike, plan: Plan | None = None, config: str = ""):
        self._folder = pathlib.Path(folder)
        self._config = config
        self._config_time = _changed(config)
        self.plan = plan or (read_plan(config) if config else Plan())
        self._lock = threading.Condition()
        self._loaded: dict[int, saved.SavedVersion] = {}
        self._labels: dict[str, int] = {}
        self._leases: collections.Counter[saved.SavedVersion] = collections.Counter()
        self._retired: set[saved.SavedVersion] = set()
        self._loading: int | None = None
        # Version -> (its files as they were, why it was rejected).
        self._rejected: dict[int, tuple[frozenset, str]] = {}
        self._said = ""
        self._freed = False
        self.loads = 0
        self.rejections = 0
        self._end = threading.Event()
        self._watcher: threading.Thread | None = None

    def watch(self, seconds: float) -> None:
        """Looks at the folder every so many seconds, in a thread, until `close`."""

        def look() -> None:
            while not self._end.wait(seconds):
                try:
                    self.poll()
                except Exception:  # the watcher must outlive whatever one look meets
                    logging.exception("%s: could not be looked at", self._folder)

        self._watcher = threading.Thread(target=look, name="versions", daemon=True)
        self._watcher.start()

    def poll(self) -> None:
        """One look: loads what is wanted, moves labels, retires what is wanted no more."""
        self._look()
        if self._freed:
            self._freed = False
            # A loaded model is full of cycles: left to itself, Python frees it much later.
            gc.collect()

    def _look(self) -> None:
        self._read_config()
        try:
            found = set(numbered.versions(self._folder))
        except OSError as error:
            found = set()
            self._say(f"{self._folder}: {error.strerror}")
        if not found:
            if self._loaded:
                self._say(f"{self._folder}: no version left; the loaded ones stay")
            return
        for number in list(self._rejected):
            if number not in found or self._rejected[number][0] != self._files(number):
                del self._rejected[number]
        while missing := self._wanted(found) - set(self._loaded):
            self._load(max(missing))
        wanted = self._wanted(found)
        with self._lock:
            for label, number in self.plan.labels.items():
                if number in self._loaded:
                    self._labels[label] = number
                else:
                    self._say(f"label {label}: version {number} is not loaded; it stays put")
            for label in set(self._labels) - set(self.plan.labels):
                del self._labels[label]
            if wanted:
                for number in set(self._loaded) - wanted - set(self._labels.values()):
                    self._retire(number)

    @contextlib.contextmanager
    def lease(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Iterator[saved.SavedVersion]:
        """A version that stays loaded while the context lasts; the highest by default.

        Raises:
          Rejected: if there is no such model, version or label.
        """
        with self._lock:
            version = self._find(name, number, label)
            self._leases[version] += 1
        try:
            yield version
        finally:
            with self._lock:
                self._leases[version] -= 1
                if not self._leases[version]:
                    del self._leases[version]
                    if version in self._retired:
                        self._free(version)

    def status(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> list[tuple[int, str, str]]:
        """Number, state and error of each version, highest first.

        States are those of ModelVersionStatus: LOADING, AVAILABLE, UNLOADING, END.
        """
        with self._lock:
            if name != self.plan.name:
                raise self._unknown(name)
            states = {n: ("END", reason) for n, (_, reason) in self._rejected.items()}
            states |= {version.number: ("UNLOADING", "") for version in self._retired}
            states |= {n: ("AVAILABLE", "") for n in self._loaded}
            if self._loading is not None:
                states[self._loading] = ("LOADING", "")
            if label is not None:
                number = self._find(name, None, label).number
        if number is not None and number not in states:
            raise rejection.not_found(f"{name}: no version {number}")
        return [(n, *states[n]) for n in sorted(states, reverse=True) if number in (None, n)]

    def available(self) -> list[int]:
        """Versions that answer requests."""
        with self._lock:
            return sorted(self._loaded)

    def close(self) -> None:
        """Ends the watcher and frees every version that no request uses."""
        self._end.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            for number in list(self._loaded):
                self._retire(number)

    def _find(self, name: str, number: int | None, label: str | None) -> saved.SavedVersion:
        if name != self.plan.name:
            raise self._unknown(name)
        if label is not None:
            if label not in self._labels:
                known = ", ".join(sorted(self._labels)) or "none"
                raise rejection.not_found(f"{name}: no label {label[:80]!r}; there are {known}")
            number = self._labels[label]
        if not self._loaded:
            raise rejection.Rejected(
                grpc.StatusCode.UNAVAILABLE, f"{name}: no version is loaded"
            )
        number = max(self._loaded) if number is None else number
        if number not in self._loaded:
            known = ", ".join(map(str, sorted(self._loaded)))
            raise rejection.not_found(f"{name}: no version {number}; there are {known}")
        return self._loaded[number]

    def _unknown(self, name: str) -> rejection.Rejected:
        return rejection.not_found(f"no model {name[:80]!r}; there is {self.plan.name}")

    def _wanted(self, found: set[int]) -> set[int]:
        # Rejected ones are as good as absent, so that the next best is served.
        return self.plan.wanted(found - set(self._rejected))

    def _load(self, number: int) -> None:
        path, start, before = self._folder / str(number), time.monotonic(), self._files(number)
        self._loading = number
        try:
            version = saved.SavedVersion(path)
        except Exception as error:  # whatever is wrong with it, the former goes on
            reason = str(error) or type(error).__name__
            logging.error("version %d rejected: %s", number, reason)
            with self._lock:
                self._rejected[number] = (before, reason)
                self.rejections += 1
                self._loading = None
            return
        with self._lock:
            self._loaded[number] = version
            self.loads += 1
            self._loading = None
        logging.info(
            "version %d loaded in %.1f s, %d warm-up requests answered",
            number,
            time.monotonic() - start,
            version.warmed,
        )

    def _retire(self, number: int) -> None:
        version = self._loaded.pop(number)
        self._retired.add(version)
        if not self._leases[version]:
            self._free(version)

    def _free(self, version: saved.SavedVersion) -> None:
        self._retired.discard(version)
        self._leases.pop(version, None)
        version.close()
        self._freed = True
        logging.info("version %d unloaded", version.number)

    def _files(self, number: int) -> frozenset:
        """The files of a version, so that a change of any is seen."""
        found = set()
        for path in (self._folder / str(number)).rglob("*"):
            with contextlib.suppress(OSError):  # gone since it was listed
                status = path.stat()
                found.add((str(path), status.st_size, status.st_mtime_ns))
        return frozenset(found)

    def _read_config(self) -> None:
        changed = _changed(self._config)
        if changed == self._config_time:
            return
        self._config_time = changed
        try:
            plan = read_plan(self._config)
        except errors.UserError as error:
            logging.error("%s; what was served before stays", error)
            return
        if plan.name != self.plan.name:
            logging.error("%s: the model's name cannot change while serving", self._config)
            return
        self.plan = plan
        logging.info("%s read again", self._config)

    def _say(self, what: str) -> None:
        """Warns once, not at every look."""
        if what != self._said:
            self._said = what
            logging.warning(what)


def _changed(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
