"""A small development server on TensorFlow Serving's own protocols.

It answers what `tensorflow_model_server` answers, over gRPC and REST, so that clients,
version switches and bad requests can be tried where no server binary is. It is for
development: Python, one process, no batching of requests, no encryption, no
authentication.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Sequence

from absl import logging

from tfrec import errors
from tfrec.options import Options, option
from tfrec.serving import page, rest, rpc, service, versions


@dataclasses.dataclass(frozen=True)
class ServerConfig(Options):
    """Where to listen and what to watch."""

    host: str = option("127.0.0.1", "address to listen on; others can reach 0.0.0.0")
    port: int = option(8500, "gRPC port; 0 for any free one", at_least=0, at_most=65535)
    rest_port: int = option(8501, "REST port; 0 for any free one", at_least=0, at_most=65535)
    poll_seconds: float = option(
        2.0, "how often to look for new or removed versions, seconds", above=0, at_most=86400
    )


class Server:
    """Both endpoints, open from the start until `stop`.

    Args:
      folder: where numbered versions lie.
      config: where to listen.
      limits: what requests may ask.
      plan: what to serve; the newest version by default.
      models_config: a models.config of TensorFlow Serving instead, followed as it changes.

    Attributes:
      versions: what is served.
      port: of gRPC.
      rest_port: of REST.

    Raises:
      UserError: if no version can be loaded or a port cannot be had.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        config: ServerConfig,
        limits: service.LimitsConfig,
        plan: versions.Plan | None = None,
        models_config: str = "",
    ):
        self._folder = folder
        self._limits = limits
        self.versions = versions.Versions(folder, plan, models_config)
        self.versions.poll()
        if not self.versions.available():
            states = self.versions.status(self.versions.plan.name)
            reasons = [f"version {number}: {error}" for number, _, error in states]
            raise errors.UserError(
                f"{folder}: nothing to serve; expected numbered versions written by "
                f"launch.export_model. {'; '.join(reasons)}".rstrip()
            )
        self._service = service.Service(limits, self.versions)
        self._rest = rest.RestServer(self._service, config.host, config.rest_port)
        self.rest_port = self._rest.port
        try:
            self._rpc, self.port = rpc.start(self._service, config.host, config.port)
        except errors.UserError:
            self._rest.stop(0.0)
            self.versions.close()
            raise
        self.versions.watch(config.poll_seconds)

    def show(self, users: Sequence[page.User] = ()) -> None:
        """Opens the page to look at the model with, on the REST port, and offers users."""
        self._rest.show(page.Page(self._folder, self.versions, self._limits, users))

    def stop(self) -> bool:
        """Accepts nothing more, lets running requests end; whether all did in time."""
        self._service.draining = True
        rejected: threading.Event = self._rpc.stop(self._limits.drain_seconds)
        ended = self._rest.stop(self._limits.drain_seconds)
        rejected.wait()
        self.versions.close()
        if not ended:
            logging.warning("requests were still running after the drain; they were cut")
        return ended

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
