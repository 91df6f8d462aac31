"""Shared parts of both endpoints of the server: limits, queue, deadlines and counters."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import prometheus_client
from absl import logging

from tfrec.options import Options, option
from tfrec.serving import rejection, versions

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclasses.dataclass(frozen=True)
class LimitsConfig(Options):
    """Limits of single requests and of concurrent requests."""

    concurrency: int = option(4, "requests that the model processes at a time", at_least=1)
    queue: int = option(64, "further requests that may wait; more are rejected", at_least=0)
    time_limit: float = option(
        10.0, "time limit of a request, waiting included, seconds", above=0, at_most=86400
    )
    max_request_mib: float = option(
        4.0, "largest body of a request, MiB", above=0, at_most=2047
    )
    max_rows: int = option(128, "largest number of rows in a batch", at_least=1)
    max_values: int = option(
        100_000,
        "largest number of values in one input, e.g. candidates of all rows",
        at_least=1,
    )
    max_k: int = option(1000, "largest k of a request, items", at_least=1)
    max_connections: int = option(256, "largest number of open REST connections", at_least=1)
    drain_seconds: float = option(
        30.0, "time for running requests at shutdown, seconds", above=0, at_most=86400
    )

    @property
    def max_bytes(self) -> int:
        return int(self.max_request_mib * 2**20)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Model version, signature and outputs of a request.

    Attributes:
      model: name of the model.
      version: number of the version, or None.
      label: label of the version instead of a number, or None.
      signature: name of the signature.
      outputs: names of the requested outputs; empty for all.
    """

    model: str
    version: int | None = None
    label: str | None = None
    signature: str = "serving_default"
    outputs: Collection[str] = ()


class Metrics:
    """Counters in a separate registry, so that two servers share none.

    Args:
      served: the served versions, for gauges.
    """

    def __init__(self, served: versions.Versions):
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self._requests = prometheus_client.Counter(
            "tfrec_requests", "Requests answered.", ("endpoint", "method", "code"),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = prometheus_client.Histogram(
            "tfrec_request_seconds", "Time to answer a request.", ("endpoint", "method"),
            registry=self.registry, buckets=_BUCKETS,
        )  # fmt: skip
        for name, text, value in (
            ("tfrec_newest_version", "Highest version that answers.",
             lambda: max(served.available(), default=0)),
            ("tfrec_versions", "Versions that answer.", lambda: len(served.available())),
            ("tfrec_version_loads", "Versions loaded so far.", lambda: served.loads),
            ("tfrec_version_rejections", "Rejected so far.", lambda: served.rejections),
        ):  # fmt: skip
            self.gauge(name, text, value)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge with a value that is computed on each request for metrics."""
        prometheus_client.Gauge(name, text, registry=self.registry).set_function(value)

    @contextlib.contextmanager
    def observed(self, endpoint: str, method: str) -> Iterator[None]:
        """Counts and times a request; unexpected errors are logged and become INTERNAL."""
        start, code = time.perf_counter(), grpc.StatusCode.OK
        try:
            yield
        except rejection.Rejected as rejected:
            code = rejected.code
            raise
        except (
            ConnectionError
        ):  # closed by the client or by a drain, so that no answer can be sent
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:  # a request must not stop the server
            logging.exception("%s %s failed", endpoint, method)
            code = grpc.StatusCode.INTERNAL
            raise rejection.Rejected(
                code, "internal error; the server's log says more"
            ) from error
        finally:
            self._requests.labels(endpoint, method, code.name).inc()
            self._seconds.labels(endpoint, method).observe(time.perf_counter() - start)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return prometheus_client.generate_latest(self.registry)


class _Gate:
    """Limits the running and the waiting requests, and rejects the others."""

    def __init__(self, inside: int, waiting: int):
        self._inside = threading.BoundedSemaphore(inside)
        self._places = threading.BoundedSemaphore(inside + waiting)

    @contextlib.contextmanager
    def passed(self, deadline: float, limit: float) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise rejection.Rejected(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests at once; try again later"
            )
        try:
            if not self._inside.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise rejection.late(limit)
            try:
                yield
            finally:
                self._inside.release()
        finally:
            self._places.release()


class Service:
    """Answers predictions within the limits.

    Args:
      limits: limits of requests.
      served: the served versions.
    """

    def __init__(self, limits: LimitsConfig, served: versions.Versions):
        self.limits = limits
        self.versions = served
        self.metrics = Metrics(served)
        self.draining = False
        self._gate = _Gate(limits.concurrency, limits.queue)

    def predict(
        self,
        spec: ModelSpec,
        read: Callable[[Any], Mapping[str, np.ndarray]],
        seconds: float | None = None,
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Answers one request.

        Args:
          spec: model version, signature and outputs.
          read: returns the inputs for a SignatureDef; may raise Rejected.
          seconds: time limit of the client, or None.

        Returns:
          The number of the version that answered, and its outputs.

        Raises:
          Rejected: if the request is not answered, with the reason.
        """
        limit = min(self.limits.time_limit, math.inf if seconds is None else seconds)
        deadline = time.monotonic() + limit
        with self.versions.lease(spec.model, spec.version, spec.label) as version:
            inputs = read(version.signature(spec.signature))
            self._check_size(inputs)
            with self._gate.passed(deadline, limit):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise rejection.late(limit)
                return version.number, version.run(
                    spec.signature, inputs, spec.outputs, remaining
                )

    def _check_size(self, inputs: Mapping[str, np.ndarray]) -> None:
        limits = self.limits
        for name, value in inputs.items():
            if value.size > limits.max_values:
                raise rejection.too_large(
                    f"{name}: {value.size} values; this server takes at most "
                    f"{limits.max_values}"
                )
            if value.ndim and value.shape[0] > limits.max_rows:
                raise rejection.too_large(
                    f"{name}: {value.shape[0]} rows; this server takes at most "
                    f"{limits.max_rows}"
                )
        k = inputs.get("k")
        if k is not None and k.size and k.dtype.kind == "i" and k.max() > limits.max_k:
            raise rejection.too_large(f"k: {k.max()}; this server takes at most {limits.max_k}")

    def ready(self) -> bool:
        """Whether the server accepts requests."""
        return not self.draining and bool(self.versions.available())
