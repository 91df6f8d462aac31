"""The server as a process: versions switched under load, a corrupt one, and the drain."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import grpc
import pytest
import urllib3

from tests.tfrec.serving import fake_ranker
from tfrec.serving import client, export, requests

ASKED = requests.Request(("i1", "i2"), ((1, 3.0), (0, 8.0)), step=1, goal_name="watch", k=3)
POLL = 0.1  # seconds


class ServerProcess:
    """`launch.serve` in a process of its own, over a folder of versions."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launch.serve", f"--model={folder}", "--port=0",
                 "--rest_port=0", f"--poll_seconds={POLL}", "--concurrency=2"],
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.grpc = f"grpc://{self.said('gRPC (.*)')}"
        self.rest = self.said("REST (http://[^/]*)")
        self.contract = client.Contract.read(folder / "1" / "manifest.json")

    def said(self, pattern):
        """Reads its output up to a line."""
        for line in self.process.stdout:
            if found := re.match(pattern, line):
                return found[1] if found.groups() else line
        pytest.fail(f"it never said {pattern}: {self.log.read_text()}")

    def states(self):
        """State of each version by number."""
        found = urllib3.request("GET", f"{self.rest}/v1/models/ranker", retries=False)
        return {
            int(row["version"]): row["state"]
            for row in json.loads(found.data)["model_version_status"]
        }

    def wait_until(self, wanted):
        """Asks until the states are these: another process tells nobody when it changes."""
        limit, ask_again = 300, threading.Event()
        while self.states() != wanted:
            limit -= 1
            assert limit and self.process.poll() is None, (self.states(), self.log.read_text())
            ask_again.wait(POLL)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    export.export(fake_ranker.FakeRanker(), folder)
    shutil.copytree(folder / "1", folder / "2")
    return folder


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server") / "served"
    shutil.copytree(exported / "1", folder / "1")
    found = ServerProcess(folder)
    yield found
    found.process.kill()
    found.process.communicate()


class Load:
    """Clients that ask over both endpoints until the context ends."""

    def __init__(self, server):
        self._end = threading.Event()
        self.answers, self.failures, self.versions = [], [], set()
        self._clients = [
            client.connect(address, server.contract, seconds=20.0)
            for address in (server.grpc, server.rest)
        ]
        self._threads = [
            threading.Thread(target=self._ask, args=(asks,)) for asks in self._clients
        ]

    def _ask(self, asks):
        # Past the client's retries: a failed request is a failed request.
        while not self._end.wait(0.005):  # leaves the one process time to load, too
            try:
                ranking = asks.rank(ASKED)
            except client.RequestError as error:
                self.failures.append(error)
            else:
                self.answers.append(ranking.items)
                self.versions.add(ranking.version)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()
        for asks in self._clients:
            asks.close()


def put(version, folder, damaged=False):
    """Adds a version as an export does: complete at once."""
    unfinished = folder / f".unfinished-{version.name}"
    shutil.copytree(version, unfinished)
    if damaged:
        data = next((unfinished / "variables").glob("*.data*"))
        first, *rest = data.read_bytes()
        data.write_bytes(bytes([first ^ 255, *rest]))
    os.rename(unfinished, folder / version.name)


@pytest.mark.slow
def test_versions_are_switched_and_rolled_back_without_a_failed_request(
    server, exported, monkeypatch
):
    monkeypatch.setattr(client, "_ATTEMPTS", 1)
    server.wait_until({1: "AVAILABLE"})
    with Load(server) as load:
        put(exported / "2", server.folder)
        server.wait_until({2: "AVAILABLE"})
        # A corrupt third one is rejected, and the second goes on.
        shutil.copytree(exported / "2", server.folder.parent / "3")
        put(server.folder.parent / "3", server.folder, damaged=True)
        server.wait_until({3: "END", 2: "AVAILABLE"})
        shutil.rmtree(server.folder / "2")  # rolled back past the corrupt one
        server.wait_until({3: "END", 1: "AVAILABLE"})
        shutil.rmtree(server.folder / "3")
        server.wait_until({1: "AVAILABLE"})
    assert load.failures == []
    assert load.versions == {None, 1, 2}
    assert len(load.answers) > 20 and len(set(load.answers)) == 1
    log = server.log.read_text()
    assert "version 3 rejected" in log and "changed; the model is not the one" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_sigterm_lets_running_requests_end(server):
    """Requests under way are answered, new ones find nobody, and the exit code is 0."""
    outcomes = []

    def ask(address):
        with client.connect(address, server.contract, seconds=20.0) as asks:
            while True:
                try:
                    outcomes.append(asks.rank(ASKED).items)
                except client.RequestError as error:
                    outcomes.append(error.code)
                    return

    threads = [threading.Thread(target=ask, args=(x,)) for x in (server.grpc, server.rest)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_ATTEMPTS", 1)
        for thread in threads:
            thread.start()
        while len(outcomes) < 10:
            assert server.process.poll() is None
            threading.Event().wait(0.01)
        assert server.end() == 0
        for thread in threads:
            thread.join()
    rejected = [outcome for outcome in outcomes if isinstance(outcome, grpc.StatusCode)]
    # Nothing but "not there any more": no half answer, no internal error, no timeout.
    assert rejected == [grpc.StatusCode.UNAVAILABLE] * 2
    assert "Traceback" not in server.log.read_text()
