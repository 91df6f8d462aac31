"""R7 in one place: the agent in Python and four ways to ask its export say the same.

The same frozen requests go to the agent itself, to the SavedModel in process, to
`saved_model_cli`, which knows nothing of this project, and to the development server over
gRPC and over REST.
"""

import pathlib
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from tests.tfrec.serving import goalrec_ranker
from tfrec.serving import client, export, files, golden, loaded, requests, server, service

pytestmark = pytest.mark.slow

WAYS = ("agent", "process", "saved_model_cli", "grpc", "rest")
K, COLUMNS = 5, 11
ITEMS, RECOMMENDED = 220, 200  # the last ones, `film 81` to `film 99`, are never shown
# Heads, and what their export takes beside the agent.
HEADS = {"bilinear": {}, "mlp": {"shortlist": 80}}

_RANDOM = np.random.default_rng(4)
_GOAL, _OTHER = (tuple(_RANDOM.normal(size=COLUMNS).tolist()) for _ in range(2))
_HISTORY = tuple(f"film {i}" for i in (3, 141, 59, 26))
_ROWS = ((1.0, 12.5), (0.0, 3.0), (1.0, 80.0), (0.0, 0.0))
_SOME = tuple(f"film {i}" for i in (7, 77, 177, 27, 87, 187, 8))
_JUNK = (1.0, 99.0)


def _request(history=_HISTORY, rows=_ROWS, step=2, **rest):
    return requests.Request(history, rows, step, k=K, **rest)


ASKED = {
    "a goal": _request(goal=_GOAL),
    "padded": _request(
        ("", *_HISTORY[:2], "", *_HISTORY[2:]),
        (_JUNK, *_ROWS[:2], _JUNK, *_ROWS[2:]),
        goal=_GOAL,
    ),
    "another goal": _request(goal=_OTHER),
    "a named goal": _request(goal_name="watch"),
    "no history": _request((), (), 0, goal=_GOAL),
    "an unknown event": _request(("nothing", *_HISTORY), (_JUNK, *_ROWS), goal=_GOAL),
    "excluded": _request(goal=_GOAL, exclude=(*_SOME, "nothing")),
    "candidates": _request(goal=_GOAL, candidates=_SOME, exclude=_SOME[:1]),
    "in another order": _request(
        goal=_GOAL,
        candidates=(*_SOME[:3], "nothing", *_SOME[:2], "", *reversed(_SOME)),
        exclude=_SOME[:1],
    ),
    "too few": _request(goal=_GOAL, candidates=(*_SOME[:3], "nothing", "film 87")),
}


class Answers(NamedTuple):
    """What each way answered: a list, with a row for each of ASKED."""

    ways: dict[str, list[tuple[list[str], np.ndarray, np.ndarray]]]
    mean: np.ndarray
    std: np.ndarray

    def of(self, way, request):
        return self.ways[way][list(ASKED).index(request)]


def by_cli(version, asked, folder):
    """The answer of `saved_model_cli run`."""
    stored = folder / "asked.npz"
    np.savez(stored, **requests.arrays(asked, "rank", "string", 2))
    inputs = ";".join(f"{name}={stored}[{name}]" for name in requests.SIGNATURES["rank"])
    subprocess.run(
        [pathlib.Path(sys.executable).with_name("saved_model_cli"), "run", "--dir", version,
         "--tag_set", "serve", "--signature_def", "rank", "--inputs", inputs,
         "--outdir", folder],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return {path.stem: np.load(path, allow_pickle=True) for path in folder.glob("*.npy")}


def rows(answer):
    """Arrays of all requests as a row for each."""
    return [
        (
            [x.decode() if isinstance(x, bytes) else x for x in answer["item"][row][valid]],
            answer["score"][row][valid],
            answer["measurements"][row][valid],
        )
        for row, valid in enumerate(answer["valid"])
    ]


@pytest.fixture(scope="module", params=list(HEADS))
def answers(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    agent = goalrec_ranker.make(request.param, ITEMS, RECOMMENDED)
    assert agent.measurements.dim == COLUMNS
    version = export.export(agent, folder / "export", **HEADS[request.param])
    manifest = files.open_manifest(version)
    assert manifest["item_id"]["recommended"] == RECOMMENDED
    assert manifest["table"].get("recall", 1.0) == 1.0
    asked = list(ASKED.values())
    found = {
        "agent": rows(golden.reference(agent, asked)),
        "process": [tuple(row) for row in loaded.ExportedModel(version).rank(asked)],
        "saved_model_cli": rows(by_cli(version, asked, folder)),
    }
    config = server.ServerConfig(port=0, rest_port=0, poll_seconds=3600)
    contract = client.Contract.read(version / "manifest.json")
    with server.Server(version.parent, config, service.LimitsConfig()) as running:
        for endpoint, address in (
            ("grpc", f"grpc://127.0.0.1:{running.port}"),
            ("rest", f"http://127.0.0.1:{running.rest_port}"),
        ):
            with client.connect(address, contract, seconds=120.0) as asks:
                found[endpoint] = [
                    (list(row.items), row.scores, row.measurements)
                    for row in asks.rank_batch(asked)
                ]
    return Answers(found, agent.measurements.mean.numpy(), agent.measurements.std.numpy())


@pytest.mark.parametrize("request_name", ASKED)
def test_all_ways_give_the_agents_items_scores_and_measurements(answers, request_name):
    items, scores, measurements = answers.of("agent", request_name)
    assert len(items) == (3 if request_name == "too few" else K)
    for way in WAYS[1:]:
        found = answers.of(way, request_name)
        assert found[0] == items, way
        np.testing.assert_allclose(found[1], scores, atol=1e-5, err_msg=way)
        np.testing.assert_allclose(
            found[2] / answers.std, measurements / answers.std, atol=1e-5, err_msg=way
        )


@pytest.mark.parametrize("way", WAYS)
def test_the_goal_orders_items_as_g_dot_m_says(answers, way):
    for request_name, goal in (("a goal", _GOAL), ("another goal", _OTHER)):
        _, scores, measurements = answers.of(way, request_name)
        unit = np.array(goal) / np.linalg.norm(goal)
        worth = (measurements - answers.mean) / answers.std @ unit
        np.testing.assert_allclose(worth, scores, atol=1e-4)
        assert (np.diff(worth) < 1e-4).all()
    # Another goal is another list, and so is another state.
    lists = {tuple(answers.of(way, name)[0]) for name in ("a goal", "another goal")}
    assert len(lists) == 2
    assert answers.of(way, "a goal")[1].tolist() != answers.of(way, "no history")[1].tolist()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "one, same", [("candidates", "in another order"), ("a goal", "padded")]
)
def test_order_of_candidates_and_padding_change_nothing(answers, way, one, same):
    expected, found = answers.of(way, one), answers.of(way, same)
    assert found[0] == expected[0]
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
