"""launch.serve: starts, says where, ends on a signal; mistakes are messages."""

import os
import signal
import threading

import pytest
import urllib3

from launch import flags
from tests.tfrec.serving import fake_ranker
from tfrec.serving import export, rest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    export.export(fake_ranker.FakeRanker(), folder)
    return folder


@pytest.fixture(autouse=True)
def signals():
    """The script replaces signal handlers; this restores those of pytest."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_exits_with_0(folder, number, capsys, monkeypatch):
    seen = []

    class Endpoint(rest.RestServer):
        """Asks itself once, as a person would, then sends the signal."""

        def __init__(self, answers, host, port):
            super().__init__(answers, host, port)
            assert host == "127.0.0.1"
            threading.Thread(target=self.ask).start()

        def ask(self):
            url = f"http://127.0.0.1:{self.port}/v1/models/films"
            seen.append(urllib3.request("GET", url).status)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(rest, "RestServer", Endpoint)
    code = flags.call(
        "launch.serve", [f"--model={folder}", "--name=films", "--port=0", "--rest_port=0"]
    )
    printed = capsys.readouterr().out
    assert (code, seen) == (0, [200])
    assert "Development server: films, version 1" in printed
    assert printed.endswith("draining\ndone\n")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model=absent"], "absent: nothing to serve"),
        (["--config=absent"], "absent: not a models.config"),
        (["--max_rows=0"], "--max_rows=0: max_rows is 0; expected at least 1"),
    ],
)
def test_mistakes_are_messages(folder, arguments, message, capsys):
    given = [f"--model={folder}", "--port=0", "--rest_port=0", *arguments]
    assert flags.call("launch.serve", given) == 2
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_the_configuration_for_users_is_one_that_it_reads(folder):
    from tfrec.serving import versions

    plan = versions.read_plan("deploy/models.config")
    assert plan.name == "ranker"
    assert set(plan.labels.values()) <= set(plan.specific)
