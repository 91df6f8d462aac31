"""Serves an exported model over gRPC and REST: a development server.

    python -m launch.serve --model=export

It speaks TensorFlow Serving's protocols and follows the folder: a new version is loaded and
warmed up beside the former before it takes requests; a damaged one is refused; a removed one
gives way to the one before. SIGTERM and Ctrl-C let running requests end. For production use
TensorFlow Serving itself: docs/serving.md.
"""

import dataclasses
import signal
import threading

import rich
import tensorflow as tf
from absl import logging
from rich import markup

from launch import flags
from tfrec.serving import server, service, versions
from tfrec.training.options import option, required


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """What to serve."""

    model: str = required("folder of numbered versions, written by launch.export_model")
    name: str = option("ranker", "what requests call the model; --config says it instead")
    config: str = option(
        "",
        "a models.config of TensorFlow Serving (text) with the model's name, versions and "
        "labels; read again when it changes. Its base_path is passed over",
    )


flags.define(ServeConfig)
flags.define(server.ServerConfig)
flags.define(service.LimitsConfig)

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(_):
    config = flags.read(ServeConfig)
    listen = flags.read(server.ServerConfig)
    limits = flags.read(service.LimitsConfig)
    logging.set_verbosity(logging.INFO)
    tf.get_logger().setLevel("ERROR")  # it calls the way to load without leaks deprecated
    asked_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_end.set())
    plan = None if config.config else versions.Plan(config.name)
    running = server.Server(config.model, listen, limits, plan, config.config)
    if listen.host not in _LOOPBACK:
        logging.warning("%s: whoever reaches it can ask; no password, no TLS", listen.host)
    name = running.versions.plan.name
    rich.print(
        f"[bold]Development server[/]: {markup.escape(name)}, "
        f"version {max(running.versions.available())}"
    )
    print(f"gRPC {listen.host}:{running.port}", flush=True)
    print(f"REST http://{listen.host}:{running.rest_port}/v1/models/{name}:predict", flush=True)
    asked_to_end.wait()
    print("draining", flush=True)
    running.stop()
    print("done", flush=True)


if __name__ == "__main__":
    flags.run(main)
