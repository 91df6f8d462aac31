"""launch.serve --ui: the page on the REST port, and users of a prepared log on it."""

import dataclasses
import json
import os
import signal
import threading

import numpy as np
import pytest
import urllib3

from launch import flags
from tests.tfrec.serving import fake_ranker
from tfrec import types
from tfrec.data import storage, vocabulary
from tfrec.serving import export, rest

COLUMNS = """
[user.age]
kind = "number"
[user.region]
kind = "category"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of the embedded log's feedback: click and watch_seconds."""
    ranker = fake_ranker.FakeRanker()
    watch = types.FeedbackColumn("watch_seconds", "amount", "seconds", scale=20.0)
    ranker.spec = types.DataSpec(
        feedback=(ranker.spec.feedback[0], watch), num_items=7, num_users=3,
        history_length=8, max_steps=12,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("export")
    export.export(ranker, folder)
    return folder


@pytest.fixture
def ask(monkeypatch):
    """Runs the script; while it serves, gets paths from it, then sends the signal."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(arguments, *paths):
        answers = {}

        class Endpoint(rest.RestServer):
            def show(self, page):
                super().show(page)
                threading.Thread(target=self.visit).start()

            def visit(self):
                for path in paths:
                    response = urllib3.request("GET", f"http://127.0.0.1:{self.port}{path}")
                    answers[path] = response.status, response.data.decode()
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(rest, "RestServer", Endpoint)
        return flags.call("launch.serve", ["--port=0", "--rest_port=0", *arguments]), answers

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_page_is_served_and_said(ask, folder, capsys):
    code, answers = ask([f"--model={folder}", "--ui"], "/", "/page/model", "/healthz")
    assert code == 0
    assert answers["/"][0] == 200 and "<!doctype html>" in answers["/"][1]
    assert json.loads(answers["/page/model"][1])["users"] == []
    assert answers["/healthz"] == (200, "ok\n")
    said = capsys.readouterr().out
    assert "\npage http://127.0.0.1:" in said and said.endswith("draining\ndone\n")


def test_users_are_offered_as_the_log_ends(ask, folder, embedded_data):
    data = storage.PreparedData.open(embedded_data)
    test = data.episodes("test")
    first = data.vocabulary.users[test.user[0] - 1]
    n = (test.user == test.user[0]).nonzero()[0][-1]  # the first user's last session
    length = test.length[n]
    expected = [*test.history_item[n], *test.item[n][:length]][-8:]
    seconds = [*test.history_feedback[n][:, 1], *test.feedback[n][:length, 1]][-8:]

    arguments = [f"--model={folder}", "--ui", f"--users={embedded_data}", "--num_users=2"]
    code, answers = ask(arguments, "/page/model", f"/page/user?name={first}")
    assert code == 0
    offered = json.loads(answers["/page/model"][1])["users"]
    assert len(offered) == 2 and offered[0] == str(first)
    user = json.loads(answers[f"/page/user?name={first}"][1])
    assert user["history"] == [str(i) for i in data.vocabulary.decode(expected) if i]
    assert user["feedback"]["watch_seconds"] == pytest.approx(seconds[-len(user["history"]) :])
    assert set(user["feedback"]["click"]) <= {0.0, 1.0}


def test_users_bring_their_features(ask, tmp_path):
    (tmp_path / "features.toml").write_text(COLUMNS)
    size = ("--embedded_num_users=40", "--embedded_num_items=20", "--max_steps=12")
    arguments = (
        f"--out={tmp_path / 'data'}", f"--attributes_out={tmp_path / 'attributes'}",
        f"--feature_columns={tmp_path / 'features.toml'}", "--history_length=8", *size,
    )  # fmt: skip
    assert flags.call("launch.prepare_data", arguments) == 0
    data = storage.PreparedData.open(tmp_path / "data")
    ranker = fake_ranker.FakeRanker()
    ranker.spec = dataclasses.replace(data.spec, num_items=7, item_features=None)
    ranker.vocabulary = vocabulary.Vocabulary(
        vocabulary.Ids(fake_ranker.STRING_IDS.astype(str)),
        data.vocabulary.user_ids,
        user_features=data.vocabulary.user_features,
    )
    export.export(ranker, tmp_path / "export")

    table, values = data.features("user"), data.user_values()
    tested = dict.fromkeys(data.episodes("test").user.tolist())
    names = {user: str(data.vocabulary.users[user - 1]) for user in tested}
    arguments = [f"--model={tmp_path / 'export'}", "--ui", f"--users={tmp_path / 'data'}"]
    code, answers = ask(arguments, *(f"/page/user?name={name}" for name in names.values()))
    assert code == 0
    encoder = data.vocabulary.user_features
    for user, name in names.items():
        features = json.loads(answers[f"/page/user?name={name}"][1])["features"]
        row = table.row(user - 1, named=True)
        expected = {key: row[key] for key in ("age", "region") if row[key] is not None}
        assert features == expected
        # The fields of the form give the numbers that the data has.
        np.testing.assert_array_equal(encoder.encode_one(features), values[user])


def test_mistakes_are_messages(folder, embedded_data, tmp_path, capsys):
    other = tmp_path / "other"  # its model reads feedback that the log has not
    export.export(fake_ranker.FakeRanker(), other)
    for arguments, message in (
        ([f"--model={folder}", f"--users={embedded_data}"], "pass --ui, too"),
        ([f"--model={folder}", "--ui", "--users=absent"], "absent: no prepared data here"),
        ([f"--model={folder}", "--ui", "--num_users=0"], "--num_users=0: "),
        (
            [f"--model={other}", "--ui", f"--users={embedded_data}"],
            "no feedback 'watch', which the model reads; there is click, watch_seconds",
        ),
    ):
        assert flags.call("launch.serve", ["--port=0", "--rest_port=0", *arguments]) == 2
        printed = capsys.readouterr().err
        assert message in printed and "Traceback" not in printed
