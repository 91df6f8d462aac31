"""The served versions of a watched folder, which are replaced without a gap.

A new version is loaded and warmed up beside the current one before it receives requests. The
old version is unloaded after its last request. A version that cannot be loaded is rejected
until its files change, and the current one stays.
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
    """Which versions to serve.

    Attributes:
      name: name of the model in requests.
      newest: number of the highest versions to serve; 0 for all.
      specific: versions to serve instead, unless empty.
      labels: version by label.
    """

    name: str = "ranker"
    newest: int = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def select(self, available: Collection[int]) -> set[int]:
        """Selects the versions to serve among the available ones."""
        if self.specific:
            return set(self.specific) & set(available)
        return set(sorted(available)[-self.newest :])


def read_plan(path: str | os.PathLike) -> Plan:
    """Reads a plan from a models.config of TensorFlow Serving (ModelServerConfig, text).

    Its base_path is ignored.

    Raises:
      UserError: if the file is not valid, or does not list exactly one model.
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
    """The loaded versions of one model, and the thread that watches its folder.

    Args:
      folder: folder of the numbered versions.
      plan: versions to serve.
      config: path of a models.config instead of a plan; read again when it changes.
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
        # Version -> (state of its files, reason of the rejection).
        self._rejected: dict[int, tuple[frozenset, str]] = {}
        self._last_warning = ""
        self._freed = False
        self.loads = 0
        self.rejections = 0
        self._end = threading.Event()
        self._watcher: threading.Thread | None = None

    def watch(self, seconds: float) -> None:
        """Polls the folder in a thread, at an interval in seconds, until `close`."""

        def look() -> None:
            while not self._end.wait(seconds):
                try:
                    self.poll()
                except Exception:  # the watcher must survive errors of one poll
                    logging.exception("%s: could not be looked at", self._folder)

        self._watcher = threading.Thread(target=look, name="versions", daemon=True)
        self._watcher.start()

    def poll(self) -> None:
        """Loads the selected versions, moves labels, and retires other versions."""
        self._look()
        if self._freed:
            self._freed = False
            # A loaded model has reference cycles, which Python would free much later.
            gc.collect()

    def _look(self) -> None:
        self._read_config()
        try:
            present = set(numbered.versions(self._folder))
        except OSError as error:
            present = set()
            self._warn_once(f"{self._folder}: {error.strerror}")
        if not present:
            if self._loaded:
                self._warn_once(f"{self._folder}: no version left; the loaded ones stay")
            return
        for number in list(self._rejected):
            if number not in present or self._rejected[number][0] != self._files(number):
                del self._rejected[number]
        while missing := self._selected(present) - set(self._loaded):
            self._load(max(missing))
        selected = self._selected(present)
        with self._lock:
            for label, number in self.plan.labels.items():
                if number in self._loaded:
                    self._labels[label] = number
                else:
                    self._warn_once(
                        f"label {label}: version {number} is not loaded; it stays put"
                    )
            for label in set(self._labels) - set(self.plan.labels):
                del self._labels[label]
            if selected:
                for number in set(self._loaded) - selected - set(self._labels.values()):
                    self._retire(number)

    @contextlib.contextmanager
    def lease(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Iterator[saved.SavedVersion]:
        """Yields a version, the highest by default, which stays loaded during the context.

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
        """Loaded versions, which answer requests."""
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
                labels = ", ".join(sorted(self._labels)) or "none"
                raise rejection.not_found(
                    f"{name}: no label {label[:80]!r}; there are {labels}"
                )
            number = self._labels[label]
        if not self._loaded:
            raise rejection.Rejected(
                grpc.StatusCode.UNAVAILABLE, f"{name}: no version is loaded"
            )
        number = max(self._loaded) if number is None else number
        if number not in self._loaded:
            versions = ", ".join(map(str, sorted(self._loaded)))
            raise rejection.not_found(f"{name}: no version {number}; there are {versions}")
        return self._loaded[number]

    def _unknown(self, name: str) -> rejection.Rejected:
        return rejection.not_found(f"no model {name[:80]!r}; there is {self.plan.name}")

    def _selected(self, present: set[int]) -> set[int]:
        # Rejected versions count as absent, so that the next lower one is served.
        return self.plan.select(present - set(self._rejected))

    def _load(self, number: int) -> None:
        path, start, before = self._folder / str(number), time.monotonic(), self._files(number)
        self._loading = number
        try:
            version = saved.SavedVersion(path)
        except Exception as error:  # the current version stays, for any error of the new one
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
        """State of the files of a version, to detect changes."""
        stats = set()
        for path in (self._folder / str(number)).rglob("*"):
            with contextlib.suppress(OSError):  # removed since the listing
                status = path.stat()
                stats.add((str(path), status.st_size, status.st_mtime_ns))
        return frozenset(stats)

    def _read_config(self) -> None:
        changed = _changed(self._config)
        if changed == self._config_time:
            return
        self._config_time = changed
        try:
            plan = read_plan(self._config)
        except errors.UserError as error:
            logging.error("%s; the served versions stay", error)
            return
        if plan.name != self.plan.name:
            logging.error("%s: the model's name cannot change while serving", self._config)
            return
        self.plan = plan
        logging.info("%s read again", self._config)

    def _warn_once(self, message: str) -> None:
        """Logs a warning unless it repeats the last one."""
        if message != self._last_warning:
            self._last_warning = message
            logging.warning(message)


def _changed(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
