"""The client: the same answers over gRPC, REST and in process; retries and deadlines."""

import grpc
import numpy as np
import pytest

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.serving import client, export, golden, loaded, requests, server, service, versions

CLICKS, WATCH = (1.0, 0.0), (0.0, 1.0)
RANKERS = {
    "strings": fake_ranker.FakeRanker(),
    "integers": fake_ranker.FakeRanker(False, fake_ranker.INT_IDS),
}


@pytest.fixture(scope="module", params=list(RANKERS))
def served(request, tmp_path_factory):
    """A version, a server over it, and a client at each endpoint."""
    path = export.export(RANKERS[request.param], tmp_path_factory.mktemp("export"))
    config = server.ServerConfig(port=0, rest_port=0, poll_seconds=3600)
    contract = client.Contract.read(path / "manifest.json")
    plan = versions.Plan("r", labels={"stable": 1})
    with server.Server(path.parent, config, service.LimitsConfig(), plan) as running:
        addresses = {
            "grpc": f"grpc://127.0.0.1:{running.port}",
            "rest": f"http://127.0.0.1:{running.rest_port}",
        }
        clients = {
            endpoint: client.connect(address, contract, "r", seconds=60.0)
            for endpoint, address in addresses.items()
        }
        yield request.param, path, clients, addresses
        for asks in clients.values():
            asks.close()


@pytest.fixture(params=["grpc", "rest"])
def asks(served, request):
    return served[2][request.param]


def test_python_saved_model_grpc_and_rest_agree_on_the_golden_requests(served):
    name, path, clients, _ = served
    ranker, model = RANKERS[name], loaded.ExportedModel(path)
    golden_requests = golden.sample_requests(ranker)
    for batch in (golden_requests, golden.weighted(ranker, golden_requests)):
        agent = golden.reference(ranker, batch)
        answers = {"process": model.rank(batch)}
        for endpoint, asks in clients.items():
            answers[endpoint] = [
                (list(ranking.items), ranking.scores, ranking.measurements)
                for ranking in asks.rank_batch(batch)
            ]
            alone = asks.rank(batch[0])
            assert list(alone.items) == answers[endpoint][0][0]
        for endpoint, rankings in answers.items():
            for row, (items, scores, measurements) in enumerate(rankings):
                valid = agent["valid"][row]
                assert items == agent["item"][row][valid].tolist(), endpoint
                np.testing.assert_allclose(scores, agent["score"][row][valid], atol=1e-5)
                np.testing.assert_allclose(
                    measurements, agent["measurements"][row][valid], rtol=1e-5
                )


def test_goals_by_vector_name_and_weights(served, asks):
    ids = RANKERS[served[0]].vocabulary.items.tolist()
    by_watch = tuple(ids[i - 1] for i in (6, 4, 7, 2, 3, 5, 1))
    assert asks.rank(requests.Request(goal=CLICKS)).items == tuple(ids)
    assert asks.rank(requests.Request(goal=WATCH)).items == by_watch
    assert asks.rank(requests.Request(goal_name="watch")).items == by_watch
    weights = asks.contract.weights({"watch@1..": 2.0})
    assert weights == (0.0, 2.0)
    assert asks.rank(requests.Request(weights=weights)).items == by_watch


def test_candidates_and_fewer_than_k(served, asks):
    ids = RANKERS[served[0]].vocabulary.items.tolist()
    few = requests.Request(goal=CLICKS, candidates=(ids[4], ids[1]), exclude=(ids[4],), k=5)
    ranking = asks.rank(few)
    assert ranking.items == (ids[1],)
    # i2 has A = (.6, .3): .6 x .5 + 2 clicks and .3 x 10 + 30 seconds.
    assert ranking.measurements == pytest.approx(np.array([[2.3, 33.0]]))
    assert asks.predict_measurements(few)[1] == pytest.approx([2.3, 33.0])


def test_the_version_that_answered_is_known_over_grpc(served):
    _, _, clients, addresses = served
    assert clients["grpc"].rank(requests.Request(goal=CLICKS)).version == 1
    assert clients["rest"].rank(requests.Request(goal=CLICKS)).version is None
    for address in addresses.values():
        contract = clients["grpc"].contract
        for named in ({"version": 1}, {"label": "stable"}):
            with client.connect(address, contract, "r", seconds=60.0, **named) as asks:
                assert asks.rank(requests.Request(goal=CLICKS, k=1)).items
        for named in ({"version": 2}, {"label": "canary"}, {"model": "x"}):
            with client.connect(address, contract, **{"model": "r", **named}) as asks:
                with pytest.raises(client.RequestError) as rejected:
                    asks.rank(requests.Request(goal=CLICKS), seconds=60.0)
                assert rejected.value.code == grpc.StatusCode.NOT_FOUND


def test_rejections_have_one_code_and_message_at_both_endpoints(served):
    rejections = []
    for asks in served[2].values():
        with pytest.raises(client.RequestError, match="unknown goal_name") as rejected:
            asks.rank(requests.Request(goal_name="profit"))
        rejections.append((rejected.value.code, str(rejected.value)))
        with pytest.raises(client.RequestError, match="RESOURCE_EXHAUSTED: k: 5000"):
            asks.rank(requests.Request(goal=CLICKS, k=5000))
    assert (
        rejections[0] == rejections[1] and rejections[0][0] == grpc.StatusCode.INVALID_ARGUMENT
    )


def test_a_server_that_is_not_there(served, monkeypatch):
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    contract = served[2]["grpc"].contract
    for address in ("grpc://127.0.0.1:1", "http://127.0.0.1:1"):
        with client.connect(address, contract, "r") as asks:
            with pytest.raises(client.RequestError) as rejected:
                asks.rank(requests.Request(goal=CLICKS), seconds=20.0)
        assert rejected.value.code == grpc.StatusCode.UNAVAILABLE


class Flaky:
    """A transport that fails so many times first."""

    def __init__(self, failures, code=grpc.StatusCode.UNAVAILABLE):
        self.failures, self.code, self.attempts = failures, code, 0

    def predict(self, signature, inputs, seconds):
        self.attempts += 1
        if self.attempts <= self.failures:
            raise client.RequestError(self.code, "not now")
        empty = np.zeros((1, 0), np.float32)
        return {"item": empty, "score": empty, "measurements": empty, "valid": empty}, 1

    def close(self):
        pass


CONTRACT = client.Contract("string", ("click",), ("click@0",), ("clicks",), ())


def test_only_unavailable_is_repeated(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.0)
    flaky = Flaky(3)
    client.Client(flaky, CONTRACT, 60.0).rank(requests.Request(goal=(1.0,)))
    assert flaky.attempts == 4
    for failures, code, attempts in (
        (9, grpc.StatusCode.UNAVAILABLE, 5),
        (9, grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
        (9, grpc.StatusCode.DEADLINE_EXCEEDED, 1),
    ):
        flaky = Flaky(failures, code)
        with pytest.raises(client.RequestError, match=code.name):
            client.Client(flaky, CONTRACT, 60.0).rank(requests.Request(goal=(1.0,)))
        assert flaky.attempts == attempts


def test_mistakes_before_anything_is_sent(tmp_path):
    with pytest.raises(errors.UserError, match="'seconds' is not a measurement; there are cl"):
        CONTRACT.weights({"seconds": 1.0})
    with pytest.raises(errors.UserError, match="grpc://host:port or http"):
        client.connect("localhost:8500", CONTRACT)
    with pytest.raises(errors.UserError, match="not the manifest of an export"):
        client.Contract.read(tmp_path / "manifest.json")
    silent = client.Client(Flaky(0), CONTRACT, 1.0)
    with pytest.raises(errors.UserError, match="at least one request"):
        silent.rank_batch([])
    with pytest.raises(errors.UserError, match="feedback for 1"):
        silent.rank(requests.Request(("a", "b"), ((1.0,),), goal=(1.0,)))
