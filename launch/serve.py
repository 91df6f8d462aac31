"""Serves an exported model over gRPC and REST: a development server.

    python -m launch.serve --model=export
    python -m launch.serve --model=export --ui --users=runs/demo/data

The second command also serves a page, which ranks for a user or a history under any goal.

The server has the protocols of TensorFlow Serving and watches the folder: a new version is
loaded and warmed up before it takes requests, a damaged version is rejected, and a removed
version is replaced by the one before. SIGTERM and Ctrl-C let running requests finish. For
production use TensorFlow Serving itself: docs/serving.md.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import pathlib
import signal
import time
from typing import Any, cast

import numpy as np
import polars as pl
import rich
from absl import logging
from rich import markup

from launch import flags
from tfrec import errors
from tfrec.data import declared_values, storage
from tfrec.options import Options, option, required
from tfrec.serving import client, page, server, service, versions


@dataclasses.dataclass(frozen=True)
class ServeConfig(Options):
    """The model, its name and the page."""

    model: str = required("folder of numbered versions, written by launch.export_model")
    name: str = option("ranker", "the model's name in requests; not with --config")
    config: str = option(
        "",
        "a models.config of TensorFlow Serving (text) with the model's name, versions and "
        "labels; read again when it changes. Its base_path is ignored",
    )
    ui: bool = option(False, "also serve a page for inspecting the model, on the REST port")
    users: str = option("", "folder of prepared data, for test users on the page")
    num_users: int = option(50, "number of users on the page", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        if self.users and not self.ui:
            raise ValueError("users are for the page: pass --ui, too")


flags.define(ServeConfig)
flags.define(server.ServerConfig)
flags.define(service.LimitsConfig)

_SESSIONS = 20  # sessions read per user of the page; sessions are ordered by user
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(_):
    config = flags.read(ServeConfig)
    listen = flags.read(server.ServerConfig)
    limits = flags.read(service.LimitsConfig)
    logging.set_verbosity(logging.INFO)
    stop_signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stop_signals.append(received))
    # Imported modules are excluded from garbage collection, so that a collection when a version
    # is unloaded takes milliseconds and delays no request.
    gc.freeze()
    plan = None if config.config else versions.Plan(config.name)
    data = storage.PreparedData.open(config.users) if config.users else None
    with server.Server(config.model, listen, limits, plan, config.config) as running:
        newest = max(running.versions.available())
        if config.ui:
            users = []
            if data:
                version = pathlib.Path(config.model, str(newest))
                contract = client.Contract.read(version / "manifest.json")
                _check_same_log(data, contract, version)
                users = _users(data, contract, config.num_users)
            running.show(users)
        if listen.host not in _LOOPBACK:
            logging.warning(
                "%s: open to everyone who reaches it; no password, no TLS", listen.host
            )
        name = running.versions.plan.name
        rich.print(f"[bold]Development server[/]: {markup.escape(name)}, version {newest}")
        rest = f"http://{listen.host}:{running.rest_port}"
        print(f"gRPC {listen.host}:{running.port}", flush=True)
        print(f"REST {rest}/v1/models/{name}:predict", flush=True)
        if config.ui:
            print(f"page {rest}/", flush=True)
        # Waiting for a lock would miss a signal just before the wait, and deadlock with a
        # handler that acquires the lock.
        while not stop_signals:
            time.sleep(0.1)
        print("draining", flush=True)
    print("done", flush=True)


def _check_same_log(
    data: storage.PreparedData, contract: client.Contract, version: pathlib.Path
) -> None:
    """Compares raw item ids and feedback of prepared data with those of a model.

    Raises:
      UserError: if the model has none of the data's items, ids are text in one and numbers
        in the other, or a feedback column has another kind or unit.
    """
    manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
    columns = {column.name: (column.kind, column.unit) for column in data.spec.feedback}
    for column in manifest["feedback"]:
        kind_and_unit = (column["kind"], column["unit"])
        if columns.get(column["name"], kind_and_unit) != kind_and_unit:
            raise errors.UserError(
                f"--users={data.directory}: feedback {column['name']!r} is "
                f"{' of '.join(columns[column['name']])}, and "
                f"{' of '.join(kind_and_unit)} in {version}"
            )
    model_items = (
        (version / "assets" / "items.txt").read_text(encoding="utf-8").split("\n")[:-1]
    )
    items = data.vocabulary.items.astype(np.str_)
    same_type = (contract.item_dtype == "string") == (data.vocabulary.items.dtype.kind == "U")
    shared = int(np.isin(items, model_items).sum()) if same_type else 0
    if not shared:
        raise errors.UserError(
            f"--users={data.directory} has no item of {version}: its first item is "
            f"{data.vocabulary.items[0].item()!r}, and the model's is {model_items[0]!r} "
            f"({contract.item_dtype}). Pass data of the log that the model was trained on"
        )
    if shared < len(items):
        logging.warning(
            "%s: %d of its %d items are unknown to %s; their events are left out",
            data.directory, len(items) - shared, len(items), version,
        )  # fmt: skip


def _users(
    data: storage.PreparedData, contract: client.Contract, count: int
) -> list[page.User]:
    """Returns test users with their last events, up to the end of their last session.

    Raises:
      UserError: if the data lacks feedback that the model reads.
    """
    spec = data.spec
    for name in contract.feedback:
        if name not in spec.feedback_names:
            raise errors.UserError(
                f"--users={data.directory}: no feedback {name!r}, which the model reads; "
                f"there is {', '.join(spec.feedback_names)}"
            )
    sessions = data.dataset("test", batch_size=_SESSIONS * count).as_numpy_iterator()
    episodes = next(sessions, None)
    if episodes is None:
        raise errors.UserError(f"--users={data.directory}: no test users")
    last = np.flatnonzero(np.diff(episodes.user, append=-1))[
        :count
    ]  # last session of each user
    items = np.hstack([episodes.history_item[last], episodes.item[last]])  # [U, H + T]
    feedback = np.hstack([episodes.history_feedback[last], episodes.feedback[last]])
    features = _features(data, contract, episodes.user[last] - 1)
    raw, names = data.vocabulary.decode(items), data.vocabulary.users[episodes.user[last] - 1]
    users = []
    for row, name in enumerate(names):
        real = np.flatnonzero(items[row])[-spec.history_length :]
        values = {
            column: feedback[row, real, spec.feedback_index(column)].tolist()
            for column in contract.feedback
        }
        users.append(page.User(str(name), raw[row, real].tolist(), values, features[row]))
    return users


def _features(
    data: storage.PreparedData, contract: client.Contract, rows: np.ndarray
) -> list[dict[str, Any]]:
    """Returns the features of users that the model reads, column -> value; no missing ones.

    Args:
      data: the prepared data.
      contract: interface of the model.
      rows: rows of the users in the data's table.
    """
    encoder = contract.state_encoder.user
    if encoder is None:
        return [{} for _ in rows]
    data.user_values(encoder)  # checks the table
    table = cast(pl.DataFrame, data.features("user"))[rows]
    columns = [
        declared_values.as_declared(code.column, table[code.column.name])
        for code in encoder.codes
    ]
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in pl.DataFrame(columns).iter_rows(named=True)
    ]


if __name__ == "__main__":
    flags.run(main)
