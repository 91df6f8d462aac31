"""A small development server with the protocols of TensorFlow Serving.

It answers like `tensorflow_model_server`, over gRPC and REST, so that clients, version switches
and invalid requests can be tested without the server binary. It is for development: Python, one
process, no batching of requests, no encryption, no authentication.
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
    """Addresses of the endpoints and polling of the folder."""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 accepts other machines")
    port: int = option(8500, "gRPC port; 0 for any free one", at_least=0, at_most=65535)
    rest_port: int = option(8501, "REST port; 0 for any free one", at_least=0, at_most=65535)
    poll_seconds: float = option(
        2.0, "how often to look for new or removed versions, seconds", above=0, at_most=86400
    )


class Server:
    """Both endpoints, open from the start until `stop`.

    Args:
      folder: folder of the numbered versions.
      config: addresses of the endpoints.
      limits: limits of requests.
      plan: versions to serve; the newest by default.
      models_config: path of a models.config of TensorFlow Serving instead of a plan, which is
        read again when it changes.

    Attributes:
      versions: the served versions.
      port: port of gRPC.
      rest_port: port of REST.

    Raises:
      UserError: if no version can be loaded or a port is not available.
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
        """Adds the page of the model to the REST port, with users for selection."""
        self._rest.show(page.Page(self._folder, self.versions, self._limits, users))

    def stop(self) -> bool:
        """Stops accepting requests and waits for running ones; whether all ended in time."""
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
