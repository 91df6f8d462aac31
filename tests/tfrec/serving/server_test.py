"""The development server inside this process: both endpoints, hostile requests, versions."""

import concurrent.futures
import gc
import json
import logging
import re
import shutil
import threading
import types
import weakref

import grpc
import numpy as np
import pytest
import tensorflow as tf
import urllib3
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.serving import (
    export,
    golden,
    rejection,
    requests,
    rest,
    rpc,
    server,
    service,
    versions,
)

Code = grpc.StatusCode
LIMITS = service.LimitsConfig(
    concurrency=2, queue=2, time_limit=20.0, max_request_mib=0.05, max_values=1000,
    max_rows=16, max_k=50, drain_seconds=5.0,
)  # fmt: skip
CLICKS, WATCH = (1.0, 0.0), (0.0, 1.0)
BY_WATCH = ["i6", "i4", "i7", "i2", "i3", "i5", "i1"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Versions 1 and 2 of a fake ranker; tests copy them."""
    folder = tmp_path_factory.mktemp("export")
    export.export(fake_ranker.FakeRanker(), folder)
    shutil.copytree(folder / "1", folder / "2")
    return folder


class Endpoints:
    """A running server and both ways in."""

    def __init__(self, running):
        self.server = running
        self.http = urllib3.PoolManager(retries=False)
        self.url = f"http://127.0.0.1:{running.rest_port}"
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{running.port}", options=[("grpc.max_send_message_length", -1)]
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.status = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def grpc(self, inputs, signature="rank", **spec):
        """Outputs of Predict and the version; a status code if it is rejected."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = spec.pop("name", "ranker")
        request.model_spec.signature_name = signature
        if "version" in spec:
            request.model_spec.version.value = spec.pop("version")
        request.output_filter.extend(spec.pop("output_filter", ()))
        for name, value in inputs.items():
            proto = value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(proto)
        response = self.prediction.Predict(request, timeout=30)
        outputs = {name: tf.make_ndarray(x) for name, x in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def rejected(self, *arguments, **named):
        with pytest.raises(grpc.RpcError) as rejected:
            self.grpc(*arguments, **named)
        return rejected.value.code(), rejected.value.details()

    def post(self, body, path="/v1/models/ranker:predict", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.http.request("POST", self.url + path, body=data, headers=headers)
        return response.status, json.loads(response.data)

    def get(self, path):
        response = self.http.request("GET", self.url + path)
        return response.status, response.data.decode()

    def close(self):
        self.channel.close()
        self.http.clear()
        self.server.stop()


def start(folder, limits=LIMITS, **named):
    config = server.ServerConfig(port=0, rest_port=0, poll_seconds=3600)
    return Endpoints(server.Server(folder, config, limits, **named))


@pytest.fixture(scope="module")
def endpoints(exported):
    running = start(exported)
    yield running
    running.close()


def arrays(*batch, signature="rank"):
    return requests.arrays(batch, signature, "string", num_feedback=2)


def listed(inputs):
    """Arrays as JSON has them."""
    return {
        name: (np.char.decode(value) if value.dtype.kind == "S" else value).tolist()
        for name, value in inputs.items()
    }


ASKED = requests.Request(("i1", "i2"), ((1, 3.0), (0, 8.0)), step=1, goal=WATCH, k=3)


@pytest.mark.parametrize("signature", ["rank", "rank_weights"])
def test_both_endpoints_answer_the_golden_requests_as_the_agent(endpoints, exported, signature):
    with np.load(exported / "2" / golden.GOLDEN / f"{signature}.npz") as stored:
        frozen = dict(stored)
    inputs = {name: frozen[name] for name in requests.SIGNATURES[signature]}
    by_grpc, version = endpoints.grpc(inputs, signature)
    assert version == 2
    status, answer = endpoints.post({"signature_name": signature, "inputs": listed(inputs)})
    assert status == 200
    by_rest = {name: np.array(value) for name, value in answer["outputs"].items()}
    by_rest["item"] = np.char.encode(by_rest["item"])
    for outputs in (by_grpc, by_rest):
        np.testing.assert_array_equal(outputs["item"], frozen["expected_item"])
        np.testing.assert_array_equal(outputs["valid"], frozen["expected_valid"])
        for name in ("score", "measurements"):
            np.testing.assert_allclose(outputs[name], frozen[f"expected_{name}"], atol=1e-4)


def test_rows_and_columns_and_another_goal(endpoints):
    inputs = listed(arrays(ASKED, requests.Request(("i2",), ((1, 1),), goal=CLICKS, k=3)))
    _, columns = endpoints.post({"signature_name": "rank", "inputs": inputs})
    rows = [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
    _, by_row = endpoints.post({"instances": rows})
    for row, prediction in enumerate(by_row["predictions"]):
        assert prediction == {name: value[row] for name, value in columns["outputs"].items()}
    # The state of the first is i1's click alone, halved: s = (.35, 0); watch ranks by e_1.
    assert columns["outputs"]["item"][0] == BY_WATCH[:3]
    assert columns["outputs"]["item"][1] == ["i1", "i2", "i3"]


def test_an_output_can_be_chosen(endpoints):
    outputs, _ = endpoints.grpc(arrays(ASKED), output_filter=["item"])
    assert list(outputs) == ["item"]
    assert endpoints.rejected(arrays(ASKED), output_filter=["x"])[0] == Code.INVALID_ARGUMENT


def test_metadata_and_status_over_both_endpoints(endpoints):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "ranker"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    endpoints.prediction.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", *requests.SIGNATURES}
    code, text = endpoints.get("/v1/models/ranker/metadata")
    signatures = json.loads(text)["metadata"]["signature_def"]["signature_def"]
    assert code == 200 and set(signatures["rank"]["inputs"]) == set(requests.SIGNATURES["rank"])

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "ranker"
    (row,) = endpoints.status.GetModelStatus(request).model_version_status
    assert (row.version, row.state) == (2, row.AVAILABLE)
    code, text = endpoints.get("/v1/models/ranker/versions/2")
    (row,) = json.loads(text)["model_version_status"]
    assert (row["version"], row["state"]) == ("2", "AVAILABLE")
    assert endpoints.get("/v1/models/ranker/versions/9")[0] == 404
    assert endpoints.get("/v1/models/other")[0] == 404


def test_health_and_metrics(endpoints):
    endpoints.post({"inputs": listed(arrays(ASKED))})
    endpoints.rejected(arrays(ASKED), "nothing")
    assert endpoints.get("/healthz") == (200, "ok\n")
    assert endpoints.get("/readyz") == (200, "ready\n")
    code, text = endpoints.get("/metrics")
    assert code == 200
    assert 'tfrec_requests_total{code="OK",endpoint="rest",method="Predict"}' in text
    assert 'code="INVALID_ARGUMENT",endpoint="grpc",method="Predict"' in text
    assert "tfrec_newest_version 2.0" in text
    assert "tfrec_request_seconds_bucket" in text


def claims(*sizes, of=tf.string, **values):
    """A TensorProto with a shape that its content does not have."""
    proto = tf.make_tensor_proto(["i1"] if of == tf.string else [1.0], of)
    del proto.tensor_shape.dim[:]
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    for name, value in values.items():
        setattr(proto, name, value)
    return proto


NAN = np.array([[np.nan, 1]], np.float32)
HOSTILE = [
    ({"goal": NAN}, Code.INVALID_ARGUMENT, "goal.*must be finite"),
    ({"goal": np.zeros((1, 2), np.float32)}, Code.INVALID_ARGUMENT, "weight other than 0"),
    ({"goal": np.ones((1, 3), np.float32)}, Code.INVALID_ARGUMENT, "goal must have 2 columns"),
    ({"goal": np.ones((1, 2), np.int32)}, Code.INVALID_ARGUMENT, "goal: int32.*float32"),
    ({"goal": np.ones(2, np.float32)}, Code.INVALID_ARGUMENT, r"goal: shape \[2\]; expected"),
    ({"goal_name": np.array([b"profit"])}, Code.INVALID_ARGUMENT, "goals are clicks, watch"),
    ({"k": np.array([0], np.int32)}, Code.INVALID_ARGUMENT, "k must be at least 1"),
    ({"k": np.array([51], np.int32)}, Code.RESOURCE_EXHAUSTED, "k: 51; .*at most 50"),
    ({"candidates": np.full((1, 1001), b"i")}, Code.RESOURCE_EXHAUSTED, "candidates: .*1000"),
    ({"extra": np.ones(1, np.float32)}, Code.INVALID_ARGUMENT, "no input 'extra'"),
    ({"history_feedback": np.full((1, 2, 2), 3e38, np.float32)}, Code.INVALID_ARGUMENT, "far"),
]


@pytest.mark.parametrize("wrong, code, message", HOSTILE)
def test_hostile_inputs_over_grpc(endpoints, wrong, code, message):
    actual_code, details = endpoints.rejected(arrays(ASKED) | wrong)
    assert actual_code == code
    assert len(re.findall(message, details)) == 1, details


def test_too_many_rows_are_rejected_at_both_endpoints(endpoints):
    many = arrays(*[ASKED] * 17)
    code, details = endpoints.rejected(many)
    assert (
        code == Code.RESOURCE_EXHAUSTED and "17 rows; this server takes at most 16" in details
    )
    status, answer = endpoints.post({"inputs": listed(many)})
    assert status == 413 and "17 rows" in answer["error"]


# Requests that are unusual but not wrong: what `docs/serving.md` promises of them. Under the
# goal of clicks items come as i1, i2, ..., whatever the history.
UNUSUAL = {
    "no history": (requests.Request(goal=CLICKS, k=2), ["i1", "i2"]),
    "an unknown event": (requests.Request(("zz",), ((1, 3.0),), 1, CLICKS, k=2), ["i1", "i2"]),
    "unknown candidates": (
        requests.Request(goal=CLICKS, candidates=("zz", "i3", "i2", "i3"), k=3),
        ["i2", "i3", ""],
    ),
    "unknown candidate": (requests.Request(goal=CLICKS, candidates=("zz",), k=2), ["", ""]),
    "a k above the catalogue": (
        requests.Request(goal=CLICKS, k=50),
        ["i1", "i2", "i3", "i4", "i5", "i6", "i7"],
    ),
    "a step beyond the longest session": (
        requests.Request(goal=CLICKS, k=1, step=2**31 - 1), ["i1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("request_, items", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_requests_are_answered_alike_at_both_endpoints(endpoints, request_, items):
    by_grpc, _ = endpoints.grpc(arrays(request_))
    assert [item.decode() for item in by_grpc["item"][0]] == items
    assert by_grpc["valid"][0].tolist() == [item != "" for item in items]
    inputs = listed(arrays(request_))
    if not request_.history:  # JSON has no width of an empty list: one event of padding
        inputs |= {"history_item": [[""]], "history_feedback": [[[0, 0]]]}
    status, answer = endpoints.post({"inputs": inputs})
    assert status == 200 and answer["outputs"]["item"][0] == items


@pytest.mark.parametrize(
    "wrong, code",
    [
        ({"candidates": claims(1, 10**12)}, Code.RESOURCE_EXHAUSTED),
        ({"candidates": claims(10**12, 0)}, Code.RESOURCE_EXHAUSTED),
        ({"candidates": claims(1, -1)}, Code.INVALID_ARGUMENT),
        ({"candidates": claims(1, 1, of=tf.float32)}, Code.INVALID_ARGUMENT),
        ({"candidates": claims(1, 1, dtype=99)}, Code.INVALID_ARGUMENT),
        ({"goal": claims(1, 2, of=tf.float32, tensor_content=b"abc")}, Code.INVALID_ARGUMENT),
        ({"goal": claims(*[1] * 9, of=tf.float32)}, Code.INVALID_ARGUMENT),
    ],
)  # fmt: skip
def test_tensors_that_lie_get_no_memory(endpoints, wrong, code):
    assert endpoints.rejected(arrays(ASKED) | wrong)[0] == code
    endpoints.grpc(arrays(ASKED))  # and the server goes on


def test_unknown_names_over_grpc(endpoints):
    inputs = arrays(ASKED)
    assert endpoints.rejected(inputs, "nothing")[0] == Code.INVALID_ARGUMENT
    assert endpoints.rejected(inputs, name="other")[0] == Code.NOT_FOUND
    assert endpoints.rejected(inputs, version=9) == (
        Code.NOT_FOUND, "ranker: no version 9; there are 2",
    )  # fmt: skip
    assert endpoints.rejected({})[0] == Code.INVALID_ARGUMENT
    assert endpoints.rejected({"candidates": np.full((1, 60_000), b"i1")})[0] == (
        Code.RESOURCE_EXHAUSTED
    )  # above the limit of a message


@pytest.mark.parametrize(
    "body, status, message",
    [
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 40_000, 400, "not JSON"),
        (b"1" * 5000, 400, "not JSON"),
        (b"[]", 400, "expected an object with either"),
        (b"{}", 400, "expected an object with either"),
        ({"inputs": {}, "instances": []}, 400, "either"),
        ({"instances": []}, 400, "at least one"),
        ({"instances": [{"k": 1}, {"goal": [1]}]}, 400, r"instances\[1\]"),
        ({"instances": [1]}, 400, "expected objects"),
        ({"inputs": 3}, 400, "expected an object with the inputs"),
        ({"inputs": {"k": [1]}}, 400, "missing input"),
        ({"signature_name": 3, "inputs": {}}, 400, "signature_name"),
        ({"signature_name": "nothing", "inputs": {}}, 400, "no signature 'nothing'"),
        ({"goal": [[1, "2"]]}, 400, "goal: a str; expected numbers"),
        ({"goal": [[1, True]]}, 400, "goal: a bool; expected numbers"),
        ({"goal": [[1, None]]}, 400, "goal: a NoneType"),
        ({"goal": [[1, 2], [3]]}, 400, "goal: lists of one level"),
        ({"goal": [[float("nan"), 1]]}, 400, "must be finite"),
        ({"goal": [[10**400, 1]]}, 400, "goal: "),
        ({"goal": [[[]]]}, 400, "goal: shape"),
        ({"k": [1.5]}, 400, "k: a float; expected whole numbers"),
        ({"k": [2**40]}, 400, "k: "),
        ({"k": [51]}, 413, "k: 51"),
        ({"goal_name": [3]}, 400, "goal_name: a int; expected strings"),
        ({"goal_name": [{"b64": "?"}]}, 400, "goal_name: "),
        ({"goal_name": ["\ud800"]}, 400, "goal_name: "),
        ({"candidates": [["i1"] * 1001]}, 413, "candidates: 1001 values"),
        ({"surprise": 1}, 400, "no input 'surprise'"),
        (b" " * 60_000, 413, "a body of 60000 bytes"),
    ],
)
def test_hostile_bodies_over_rest(endpoints, body, status, message):
    if isinstance(body, dict) and not {"inputs", "instances"} & set(body):
        body = {"signature_name": "rank", "inputs": listed(arrays(ASKED)) | body}
    actual_status, answer = endpoints.post(body)
    assert actual_status == status, answer
    assert re.search(message, answer["error"]), answer
    assert endpoints.post({"inputs": listed(arrays(ASKED))})[0] == 200  # and the server goes on


@pytest.mark.parametrize(
    "path, status",
    [
        ("/v1/models/ranker/versions/9:predict", 404),
        ("/v1/models/ranker/versions/9999999999999999999:predict", 404),
        ("/v1/models/ranker/labels/stable:predict", 404),
        ("/v1/models/other:predict", 404),
        ("/v1/models/ranker:classify", 404),
        ("/../../etc/passwd", 404),
        ("/v1/models/ranker/versions/2:predict", 200),
    ],
)
def test_paths(endpoints, path, status):
    assert endpoints.post({"inputs": listed(arrays(ASKED))}, path)[0] == status


def test_bytes_that_are_no_text_travel_as_base64(endpoints):
    body = listed(arrays(ASKED)) | {"goal_name": [{"b64": "d2F0Y2g="}]}  # watch
    assert endpoints.post({"inputs": body})[1]["outputs"]["item"][0] == BY_WATCH[:3]


def test_a_body_in_chunks(endpoints):
    body = json.dumps({"inputs": listed(arrays(ASKED))}).encode()
    parts = (body[:10], body[10:])
    response = endpoints.http.request(
        "POST", f"{endpoints.url}/v1/models/ranker:predict", body=iter(parts), chunked=True
    )
    assert response.status == 200
    assert json.loads(response.data)["outputs"]["item"][0] == BY_WATCH[:3]


def test_wrong_method_is_rejected(endpoints):
    assert endpoints.get("/v1/models/ranker:predict")[0] == 405
    response = endpoints.http.request("BREW", f"{endpoints.url}/healthz")
    assert response.status == 501 and "error" in json.loads(response.data)


@pytest.fixture
def folder(exported, tmp_path, monkeypatch):
    """A folder with version 1 alone; versions warm up with one request, to be quick."""
    read = versions.saved.warmup.read
    monkeypatch.setattr(versions.saved.warmup, "read", lambda path: read(path)[:1])
    shutil.copytree(exported / "1", tmp_path / "served" / "1")
    return tmp_path / "served"


def damage(version):
    """Cuts the variables short, as a broken copy would."""
    data = next((version / "variables").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:-7])


def test_versions_come_and_go(folder, exported, caplog):
    served = versions.Versions(folder)
    served.poll()
    assert served.available() == [1]
    shutil.copytree(exported / "2", folder / "2")
    with served.lease("ranker") as former:
        served.poll()
        assert served.available() == [2]
        assert [row[:2] for row in served.status("ranker")] == [
            (2, "AVAILABLE"),
            (1, "UNLOADING"),
        ]
        assert former.number == 1
        former.run("rank", arrays(ASKED), (), 20.0)  # it still answers
    assert [row[:2] for row in served.status("ranker")] == [(2, "AVAILABLE")]
    with pytest.raises(RuntimeError, match="closed"):
        former.run("rank", arrays(ASKED), (), 20.0)
    # Removed: rolled back.
    shutil.rmtree(folder / "2")
    served.poll()
    assert served.available() == [1]
    shutil.rmtree(folder / "1")
    served.poll()
    assert served.available() == [1], "the last one stays"
    served.close()
    with pytest.raises(rejection.Rejected) as rejected, served.lease("ranker"):
        pass
    assert rejected.value.code == Code.UNAVAILABLE


def test_an_unloaded_version_leaves_nothing_behind(folder, exported):
    served = versions.Versions(folder)
    served.poll()
    with served.lease("ranker") as version:
        former = weakref.ref(version._session.graph)  # what is large, and full of cycles
        del version
    gc.disable()  # what is left to Python itself happens who knows when
    try:
        shutil.copytree(exported / "2", folder / "2")
        served.poll()
        assert served.available() == [2]
        assert former() is None
    finally:
        gc.enable()
        served.close()


def test_a_corrupt_version_is_rejected_until_it_changes(folder, exported, caplog):
    served = versions.Versions(folder)
    shutil.copytree(exported / "2", folder / "2")
    damage(folder / "2")
    with caplog.at_level(logging.ERROR, "absl"):
        served.poll()
    assert served.available() == [1]
    assert "version 2 rejected" in caplog.text and "changed" in caplog.text
    caplog.clear()
    served.poll()
    assert served.rejections == 1 and not caplog.text  # not tried at every look
    (rejected, _) = served.status("ranker")
    assert rejected[:2] == (2, "END") and "changed" in rejected[2]
    shutil.rmtree(folder / "2")
    shutil.copytree(exported / "2", folder / "2")
    served.poll()
    assert served.available() == [2]
    served.close()


def test_a_version_whose_warm_up_fails_is_rejected(folder, exported, monkeypatch):
    served = versions.Versions(folder)
    served.poll()
    shutil.copytree(exported / "2", folder / "2")
    read = versions.saved.warmup.read
    monkeypatch.setattr(
        versions.saved.warmup, "read", lambda path: [*read(path), ("nothing", {})]
    )
    served.poll()
    assert served.available() == [1]
    served.close()


def models_config(path, policy, labels="", name="ranker"):
    path.write_text(
        f'model_config_list {{ config {{ name: "{name}" base_path: "/models/ranker" '
        f'model_platform: "tensorflow" model_version_policy {{ {policy} }} {labels} }} }}'
    )
    return str(path)


def label(name, number):
    return f'version_labels {{ key: "{name}" value: {number} }}'


def test_labels_move_and_roll_back(folder, exported, tmp_path, caplog):
    shutil.copytree(exported / "2", folder / "2")
    path = tmp_path / "models.config"
    both = "specific { versions: 1 versions: 2 }"
    config = models_config(path, both, label("stable", 1) + label("canary", 2))
    served = versions.Versions(folder, config=config)
    served.poll()
    assert served.available() == [1, 2]

    def at(name):
        with served.lease("ranker", label=name) as version:
            return version.number

    assert (at("stable"), at("canary")) == (1, 2)
    models_config(path, both, label("stable", 2) + label("canary", 2))
    served.poll()
    assert at("stable") == 2
    # A label cannot move to what is not loaded, and a broken file changes nothing.
    models_config(path, "specific { versions: 2 versions: 7 }", label("stable", 7))
    served.poll()
    assert at("stable") == 2
    assert served.available() == [2]
    path.write_text("model_config_list {")
    with caplog.at_level(logging.ERROR, "absl"):
        served.poll()
    assert at("stable") == 2 and "the served versions stay" in caplog.text
    models_config(path, "specific { versions: 1 }", label("stable", 1))
    served.poll()
    assert at("stable") == 1 and served.available() == [1]
    served.close()


@pytest.mark.parametrize(
    "text, message",
    [
        ("nonsense", "not a models.config"),
        ("", "0 models; expected one"),
        ('model_config_list { config { base_path: "/m" } }', "expected one, with a name"),
    ],
)
def test_a_wrong_models_config(tmp_path, text, message):
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(errors.UserError, match=message):
        versions.read_plan(path)


def test_plans():
    assert versions.Plan().select({1, 2, 10}) == {10}
    assert versions.Plan(newest=2).select({1, 2, 10}) == {2, 10}
    assert versions.Plan(newest=0).select({1, 2, 10}) == {1, 2, 10}
    assert versions.Plan(specific=(2, 7)).select({1, 2, 10}) == {2}


def test_nothing_to_serve_is_an_error_that_says_why(folder, tmp_path):
    with pytest.raises(errors.UserError, match="nothing to serve"):
        start(tmp_path / "absent")
    damage(folder / "1")
    with pytest.raises(errors.UserError, match="version 1: .*changed"):
        start(folder)


def test_a_taken_port_is_an_error(endpoints, folder):
    for taken in ({"port": endpoints.server.port}, {"rest_port": endpoints.server.rest_port}):
        config = server.ServerConfig(**({"port": 0, "rest_port": 0} | taken))
        with pytest.raises(errors.UserError, match="cannot listen on"):
            server.Server(folder, config, LIMITS)


class Slow:
    """Stands in for the versions: a run lasts until it is let go."""

    def __init__(self):
        self.plan, self.loads, self.rejections = versions.Plan(), 0, 0
        self.entered, self.go = threading.Semaphore(0), threading.Event()

    def available(self):
        return [1]

    def lease(self, *_):
        return self

    def __enter__(self):
        return types.SimpleNamespace(number=1, signature=lambda name: None, run=self.run)

    def __exit__(self, *_):
        pass

    def run(self, *_):
        self.entered.release()
        assert self.go.wait(20)
        return {"y": np.int32(3)}


def test_the_queue_is_bounded_and_waiting_counts():
    slow = Slow()
    busy = service.Service(service.LimitsConfig(concurrency=1, queue=1), slow)

    def ask(seconds=None):
        return busy.predict(service.ModelSpec("ranker"), lambda _: {}, seconds)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(ask)
        assert slow.entered.acquire(timeout=20)
        with pytest.raises(rejection.Rejected) as late:
            ask(0.01)  # waits in the queue, in vain
        assert late.value.code == Code.DEADLINE_EXCEEDED and late.value.http == 504
        second = pool.submit(ask)
        # The second takes the one place in the queue; then there is none.
        codes = set()
        while Code.RESOURCE_EXHAUSTED not in codes:
            with pytest.raises(rejection.Rejected) as rejected:
                ask(0.01)
            codes.add(rejected.value.code)
        slow.go.set()
        assert first.result(20) == second.result(20) == (1, {"y": 3})


@pytest.mark.parametrize(
    "queue, code, status, message",
    [
        (1, Code.DEADLINE_EXCEEDED, 504, "no answer within the 0.05 s allowed"),
        (0, Code.RESOURCE_EXHAUSTED, 429, "too many requests at once"),
    ],
)
def test_a_busy_server_says_so_at_both_endpoints(queue, code, status, message):
    slow = Slow()
    limits = service.LimitsConfig(concurrency=1, queue=queue, time_limit=0.05)
    answers = service.Service(limits, slow)
    by_grpc, port = rpc.start(answers, "127.0.0.1", 0)
    by_rest = rest.RestServer(answers, "127.0.0.1", 0)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "ranker"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(answers.predict, service.ModelSpec("ranker"), lambda _: {})
        assert slow.entered.acquire(timeout=20)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as rejected:
                stub.Predict(request, timeout=20)
        assert rejected.value.code() == code and message in rejected.value.details()
        url = f"http://127.0.0.1:{by_rest.port}/v1/models/ranker:predict"
        response = urllib3.request("POST", url, json={"inputs": {}}, retries=False, timeout=20)
        assert response.status == status and message in response.json()["error"]
        slow.go.set()
        assert first.result(20) == (1, {"y": 3})
    by_grpc.stop(0).wait(20)
    assert by_rest.stop(20)


@pytest.mark.parametrize("endpoint", ["grpc", "rest"])
def test_a_door_that_closes_answers_what_is_under_way(endpoint):
    slow = Slow()
    answers = service.Service(service.LimitsConfig(), slow)
    if endpoint == "grpc":
        opened, port = rpc.start(answers, "127.0.0.1", 0)
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "ranker"

        def ask():
            return stub.Predict(request, timeout=20).model_spec.version.value
    else:
        opened = rest.RestServer(answers, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{opened.port}"

        def ask():
            response = urllib3.request(
                "POST", f"{url}/v1/models/ranker:predict", retries=False, timeout=20,
                json={"inputs": {}},
            )  # fmt: skip
            assert response.headers["Connection"] == "close"
            return response.status

    with concurrent.futures.ThreadPoolExecutor() as pool:
        under_way = pool.submit(ask)
        assert slow.entered.acquire(timeout=20)
        if endpoint == "grpc":
            closed = opened.stop(20)
            assert not closed.is_set()
        else:
            closed = pool.submit(opened.stop, 20)
            while True:  # until nobody listens
                try:
                    urllib3.request("GET", f"{url}/healthz", retries=False, timeout=20)
                except urllib3.exceptions.HTTPError:
                    break
            assert not closed.done()
        with pytest.raises((grpc.RpcError, urllib3.exceptions.HTTPError)):
            ask()
        slow.go.set()
        assert under_way.result(20) == (1 if endpoint == "grpc" else 200)
        assert closed.wait(20) if endpoint == "grpc" else closed.result(20)


def test_a_run_that_takes_too_long_is_stopped_in_the_graph(tmp_path):
    class Endless(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "x")])
        def spin(self, x):
            return {"y": tf.while_loop(lambda y: y >= 0, lambda y: y * 0, [x])[0]}

    model = Endless()
    path = tmp_path / "1"
    tf.saved_model.save(model, str(path), {"spin": model.spin})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions.saved.files, "open_manifest", lambda path: {})
        patch.setattr(versions.saved.warmup, "read", lambda path: [])
        version = versions.saved.SavedVersion(path)
    with pytest.raises(rejection.Rejected) as late:
        version.run("spin", {"x": np.int32(1)}, (), 0.2)
    assert late.value.code == Code.DEADLINE_EXCEEDED
    version.close()


def test_limits_are_checked():
    with pytest.raises(ValueError, match="max_rows is 0; expected at least 1"):
        service.LimitsConfig(max_rows=0)
    assert service.LimitsConfig(queue=0).queue == 0


def test_too_many_connections_are_turned_away(folder):
    limited = start(folder, service.LimitsConfig(max_connections=1))
    try:
        assert limited.get("/healthz")[0] == 200  # this connection stays open
        with urllib3.PoolManager(retries=False) as other:
            assert other.request("GET", f"{limited.url}/healthz").status == 503
        assert limited.get("/healthz")[0] == 200
    finally:
        limited.close()
