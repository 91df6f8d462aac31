"""Load on the development server while versions change.

    python -m benchmarks.serving_load --minutes=10 --clients=4

Starts `launch.serve` in a separate process with a small exported model. At intervals, a version
is added or the newest removed (a rollback); one version in the folder is always corrupt.
Meanwhile clients send requests over gRPC and REST, each as soon as the last is answered,
without retries. Printed: requests and failed requests,
latency percentiles, versions loaded, and the server's resident memory over time, which must
not grow. Linux only (/proc).
"""

import argparse
import collections
import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

import numpy as np
import rich

import tfrec  # noqa: F401  sets up Keras 2 before TensorFlow comes
from benchmarks import command_line
from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config, measurements
from tfrec import types
from tfrec.data import vocabulary
from tfrec.serving import client, export, requests

_CORRUPT = 9_000  # highest number, which the server prefers


def export_model(folder: pathlib.Path, items: int) -> pathlib.Path:
    """Exports a small untrained GoalRec."""
    spec = types.DataSpec(
        (types.FeedbackColumn("click", "binary", "clicks"),), items, 10, 20, 30
    )
    random = np.random.default_rng(0)
    vectors = random.normal(size=(items + 1, 16)).astype(np.float32)
    measured = measurements.Measurements((), spec, vectors[:, :2])
    agent = goalrec_agent.GoalRecAgent(config.GoalRecConfig(), spec, measured, vectors, 0)
    ids = vocabulary.Vocabulary(
        vocabulary.Ids(np.array(sorted(f"item {i:07d}" for i in range(items)))),
        vocabulary.Ids(np.arange(10)),
    )
    return export.export(agent.trained(ids, {"data": "none"}), folder)


class LoadClient(threading.Thread):
    """A client that sends requests until an event is set."""

    def __init__(
        self, connection: client.Client, items: list[str], end: threading.Event, seed: int
    ):
        super().__init__()
        self._client, self._items, self._end = connection, items, end
        self._random = np.random.default_rng(seed)
        self.seconds: list[float] = []
        self.failures: collections.Counter[str] = collections.Counter()
        self.versions: set[int | None] = set()

    def run(self) -> None:
        while not self._end.is_set():
            history = tuple(self._random.choice(self._items, 5).tolist())
            request = requests.Request(history, ((1.0,),) * 5, goal_name="click", k=10)
            start = time.perf_counter()
            try:
                self.versions.add(self._client.rank(request).version)
            except client.RequestError as error:
                self.failures[str(error)[:120]] += 1
            self.seconds.append(time.perf_counter() - start)


def resident(process: int) -> float:
    """Resident memory of a process, MiB."""
    text = pathlib.Path(f"/proc/{process}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(match[1]) / 1024 if match else float("nan")


def put(good: pathlib.Path, folder: pathlib.Path, number: int, damaged: bool = False) -> None:
    """Adds a complete version atomically, like an export."""
    unfinished = folder / f".unfinished-{number}"
    shutil.copytree(good, unfinished)
    if damaged:
        data = next((unfinished / "variables").glob("*.data*"))
        data.write_bytes(data.read_bytes()[:-8])
    os.rename(unfinished, folder / str(number))


def main() -> None:
    """Prints the table."""
    parser = command_line.parser(__doc__)
    parser.add_argument("--minutes", type=command_line.at_least(0, float), default=10.0)
    parser.add_argument(
        "--clients",
        type=command_line.at_least(2),
        default=4,
        help="half of them over each endpoint",
    )
    parser.add_argument(
        "--every",
        type=command_line.at_least(0, float),
        default=4.0,
        help="seconds between changes",
    )
    parser.add_argument("--items", type=command_line.at_least(1), default=1000)
    flags = parser.parse_args()
    client._ATTEMPTS = 1  # a failed request is a failed request
    with tempfile.TemporaryDirectory() as temporary:
        good = export_model(pathlib.Path(temporary, "good"), flags.items)
        folder = pathlib.Path(temporary, "served")
        folder.mkdir()
        put(good, folder, 1)
        put(good, folder, _CORRUPT, damaged=True)
        log = pathlib.Path(temporary, "log")
        with log.open("w") as errors:
            server = subprocess.Popen(
                [sys.executable, "-m", "launch.serve", f"--model={folder}", "--port=0",
                 "--rest_port=0", "--poll_seconds=0.5"],
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        try:
            measure(server, folder, good, flags)
        finally:
            server.kill()
            server.wait()
            loads = re.findall(r"version \d+ (loaded|rejected|unloaded)", log.read_text())
            rich.print("server's log:", dict(collections.Counter(loads)))


def addresses_of(server: subprocess.Popen) -> list[str]:
    """Waits until the server has printed its gRPC and REST addresses, and returns them."""
    addresses = []
    assert server.stdout is not None
    for line in server.stdout:
        if match := re.match(r"gRPC (\S+)", line):
            addresses.append(f"grpc://{match[1]}")
        elif match := re.match(r"REST (http://[^/]+)", line):
            addresses.append(match[1])
            break
    if len(addresses) != 2:
        raise SystemExit("the server did not start")
    return addresses


def report(clients: Sequence[LoadClient]) -> None:
    """Prints requests, failures and latency percentiles of each endpoint."""
    for first, name in enumerate(("gRPC", "REST")):
        seconds = np.concatenate([one.seconds for one in clients[first::2]])
        failures = sum((one.failures for one in clients[first::2]), collections.Counter())
        p50, p90, p99 = 1000 * np.percentile(seconds, (50, 90, 99))
        rich.print(
            f"{name}: {len(seconds):,} requests, {failures.total()} failed {dict(failures)}; "
            f"p50 {p50:.1f} p90 {p90:.1f} p99 {p99:.1f} max {1000 * seconds.max():.0f} ms"
        )
    versions = {version for one in clients for version in one.versions if version}
    rich.print(f"versions that answered over gRPC: {sorted(versions)}")


def measure(
    server: subprocess.Popen,
    folder: pathlib.Path,
    good: pathlib.Path,
    flags: argparse.Namespace,
) -> None:
    """Sends requests and changes versions for the given time, then prints the results."""
    addresses = addresses_of(server)
    contract = client.Contract.read(good / "manifest.json")
    items = [f"item {i:07d}" for i in range(flags.items)]
    end = threading.Event()
    clients = [
        LoadClient(client.connect(addresses[i % 2], contract, seconds=20.0), items, end, i)
        for i in range(flags.clients)
    ]
    for one in clients:
        one.start()
    start, memory = time.monotonic(), []
    live, number = [1], 1
    for change in itertools.cycle(("add", "add", "roll back")):
        time.sleep(flags.every)
        memory.append((time.monotonic() - start, resident(server.pid)))
        if memory[-1][0] > 60 * flags.minutes:
            break
        if change == "add":
            number += 1
            put(good, folder, number)
            live.append(number)
            obsolete = live.pop(0) if len(live) > 2 else None
        else:
            obsolete = live.pop()
        if obsolete is not None:
            removed = folder / f".removed-{obsolete}"
            os.rename(folder / str(obsolete), removed)
            shutil.rmtree(removed)
    end.set()
    for one in clients:
        one.join()
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
    report(clients)
    shown = memory[:: max(1, len(memory) // 12)]
    rich.print("resident MiB:", ", ".join(f"{at:.0f} s {size:.0f}" for at, size in shown))
    rich.print(f"the server's exit code: {server.returncode}")


if __name__ == "__main__":
    main()
