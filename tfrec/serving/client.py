"""A typed client for TensorFlow Serving and for `launch.serve`, over gRPC or REST.

    contract = client.Contract.read("export/1/manifest.json")
    with client.connect("grpc://localhost:8500", contract, model="ranker") as ranker:
        ranking = ranker.rank(requests.Request(history=("i5",), goal_name="click"))

A request has a deadline. Until then, it is repeated while the server is unavailable.
"""

import dataclasses
import functools
import json
import os
import pathlib
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import grpc
import numpy as np
import tensorflow as tf
import urllib3
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfrec import errors
from tfrec.data import state_encoding
from tfrec.serving import descriptions, requests
from tfrec.serving import manifest as manifest_lib

_ATTEMPTS = 5
_FIRST_PAUSE = 0.1  # seconds, doubled at each attempt
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class RequestError(errors.UserError):
    """A request that was not answered.

    Attributes:
      code: gRPC's status code, over REST too.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(f"{code.name}: {message}")
        self.code = code


@dataclasses.dataclass(frozen=True)
class Contract:
    """The interface of a model, which all its versions share.

    Attributes:
      item_dtype: `string` or `int64`, the type of item ids.
      feedback: names of the F feedback columns.
      columns: names of the M measurement columns.
      units: their units, [M].
      named_goals: names of the goals that requests may use.
      state_encoder: encoders of the features of users and contexts that the model reads.
      item_descriptions: entry of the manifest on the names and features of the items; None if
        the export has none.
      version_folder: folder of the manifest.
    """

    item_dtype: str
    feedback: tuple[str, ...]
    columns: tuple[str, ...]
    units: tuple[str, ...]
    named_goals: tuple[str, ...]
    state_encoder: state_encoding.StateEncoder = state_encoding.StateEncoder()
    item_descriptions: Mapping[str, Any] | None = None
    version_folder: pathlib.Path = dataclasses.field(default=pathlib.Path(), compare=False)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Contract":
        """Reads the contract from the manifest.json of an exported version.

        Raises:
          UserError: if the file is not a manifest.
        """
        try:
            manifest = json.loads(pathlib.Path(path).read_text())
            measurements = manifest["measurements"]
            return cls(
                manifest["item_id"]["dtype"],
                tuple(column["name"] for column in manifest["feedback"]),
                tuple(row["column"] for row in measurements),
                tuple(row["unit"] for row in measurements),
                tuple(manifest["named_goals"]),
                manifest_lib.state_encoder(manifest),
                manifest.get("item_descriptions"),
                pathlib.Path(path).parent,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.UserError(f"{path}: not the manifest of an export: {error}") from error

    def weights(self, unit_values: Mapping[str, float]) -> tuple[float, ...]:
        """Converts values of one raw unit of each named column to weights of a Request.

        Raises:
          UserError: with the name of a column that the model does not have.
        """
        for name in unit_values:
            if name not in self.columns:
                raise errors.UserError(
                    f"{name!r} is not a measurement; there are {', '.join(self.columns)}"
                )
        return tuple(float(unit_values.get(name, 0.0)) for name in self.columns)

    def context_values(
        self,
        user: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> tuple[int, ...]:
        """Converts features, column -> value, to `context_values` of a Request.

        Args:
          user: features of the user, who may be new; absent columns are missing.
          context: features of the context, e.g. `{"hour": 14, "device": "phone"}`; absent
            columns are missing.

        Raises:
          UserError: naming the column, the value and what was expected.
        """
        return self.state_encoder.encode_one(user, context)

    def describe(self, items: Iterable[requests.RawId]) -> list[descriptions.Description]:
        """Names and features of items, of the version whose manifest was read.

        The first call reads the file of the descriptions, from the manifest's folder. An item
        that this version does not have has neither name nor features.

        Raises:
          UserError: if the export has no descriptions, or their file is absent or damaged.
        """
        if self._descriptions is None:
            raise errors.UserError(
                f"{self.version_folder}: no descriptions of items; expected an export with "
                "items or item_name"
            )
        return self._descriptions.of(items)

    @functools.cached_property
    def _descriptions(self) -> descriptions.Descriptions | None:
        entry = {"item_descriptions": self.item_descriptions}
        return descriptions.load(self.version_folder, entry)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A ranked list of n items, n at most k, best first.

    Attributes:
      items: raw ids, [n].
      scores: float32 [n].
      measurements: float32 [n, M], predicted, raw units, columns as in the contract.
      version: number of the model version; None over REST, whose answers lack it.
    """

    items: tuple[requests.RawId, ...]
    scores: np.ndarray
    measurements: np.ndarray
    version: int | None


Arrays = dict[str, np.ndarray]


class Transport(Protocol):
    """Connection that sends requests and receives answers."""

    def predict(
        self, signature: str, inputs: Arrays, seconds: float
    ) -> tuple[Arrays, int | None]:
        """Outputs by name, and the version of the model; raises RequestError."""

    def close(self) -> None: ...


class Client:
    """Client of one model; threads may share it.

    Args:
      transport: connection to the server.
      contract: interface of the model.
      seconds: default deadline of a request.
    """

    def __init__(self, transport: Transport, contract: Contract, seconds: float):
        self.contract = contract
        self._transport = transport
        self._seconds = seconds

    def rank(self, request: requests.Request, seconds: float | None = None) -> Ranking:
        """The ranked list for one request: by named goal, goal or weights.

        Raises:
          RequestError: if it is rejected, or not answered in time.
        """
        return self.rank_batch([request], seconds)[0]

    def rank_batch(
        self, batch: Sequence[requests.Request], seconds: float | None = None
    ) -> list[Ranking]:
        """Ranked lists for a batch; either all of its requests have weights or none."""
        weighted = {bool(request.weights) for request in batch}
        if len(weighted) != 1:
            raise errors.UserError(
                "expected at least one request, and either all or none with weights"
            )
        signature = "rank_weights" if weighted == {True} else "rank"
        answer, version = self._predict(signature, batch, seconds)
        return [
            Ranking(
                tuple(map(self._readable, answer["item"][row][valid].tolist())),
                answer["score"][row][valid],
                answer["measurements"][row][valid],
                version,
            )
            for row, valid in enumerate(answer["valid"].astype(bool))
        ]

    def predict_measurements(
        self, request: requests.Request, seconds: float | None = None
    ) -> np.ndarray:
        """Predicted measurements of each candidate, [A, M], raw units."""
        answer, _ = self._predict("predict_measurements", [request], seconds)
        return answer["measurements"][0]

    def describe(self, items: Iterable[requests.RawId]) -> list[descriptions.Description]:
        """Names and features of items, such as those of a ranking; asks no server.

        See `Contract.describe`.
        """
        return self.contract.describe(items)

    def close(self) -> None:
        """Ends the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _predict(
        self, signature: str, batch: Sequence[requests.Request], seconds: float | None
    ) -> tuple[Arrays, int | None]:
        try:
            inputs = requests.arrays(
                batch,
                signature,
                self.contract.item_dtype,
                len(self.contract.feedback),
                self.contract.state_encoder.slots,
            )
        except (ValueError, OverflowError) as error:
            raise errors.UserError(str(error)) from error
        return _retried(
            lambda remaining: self._transport.predict(signature, inputs, remaining),
            self._seconds if seconds is None else seconds,
        )

    def _readable(self, item: Any) -> requests.RawId:
        return item.decode() if isinstance(item, bytes) else item


def connect(
    address: str,
    contract: Contract,
    model: str = "ranker",
    version: int | None = None,
    label: str | None = None,
    seconds: float = 2.0,
) -> Client:
    """Makes a client, which connects at the first request.

    Args:
      address: `grpc://host:port` or `http://host:port`.
      contract: interface of the model.
      model: name of the model on the server.
      version: version of the model; by default that of the server.
      label: label of a version, instead of a number.
      seconds: deadline of a request.

    Raises:
      UserError: if the address has another form.
    """
    scheme, _, host = address.partition("://")
    if scheme == "grpc" and host:
        return Client(GrpcTransport(host, model, version, label), contract, seconds)
    if scheme in ("http", "https") and host:
        return Client(RestTransport(address, model, version, label), contract, seconds)
    raise errors.UserError(f"{address}: expected grpc://host:port or http://host:port")


class GrpcTransport:
    """PredictionService.Predict."""

    def __init__(self, host: str, model: str, version: int | None, label: str | None):
        self._spec = {"name": model, "version": version, "version_label": label}
        self._channel = grpc.insecure_channel(
            host,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 100),
            ],
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(
        self, signature: str, inputs: Arrays, seconds: float
    ) -> tuple[Arrays, int | None]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._spec["name"]
        request.model_spec.signature_name = signature
        if self._spec["version"] is not None:
            request.model_spec.version.value = self._spec["version"]
        elif self._spec["version_label"] is not None:
            request.model_spec.version_label = self._spec["version_label"]
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self._stub.Predict(request, timeout=seconds)
        except grpc.RpcError as error:
            code = error.code()
            # This client never cancels: CANCELLED means that a server shut down before a call
            # began. A connection that ends during a call is sometimes reported as a removed
            # stream.
            unavailable = code == grpc.StatusCode.CANCELLED or (
                code == grpc.StatusCode.UNKNOWN and "Stream removed" in (error.details() or "")
            )
            code = grpc.StatusCode.UNAVAILABLE if unavailable else code
            raise RequestError(code, error.details()) from error
        outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def close(self) -> None:
        self._channel.close()


class RestTransport:
    """`:predict` in the column format."""

    def __init__(self, address: str, model: str, version: int | None, label: str | None):
        quoted_model = urllib.parse.quote(model, safe="")
        version_path = "" if version is None else f"/versions/{version}"
        if label is not None and version is None:
            version_path = f"/labels/{urllib.parse.quote(label, safe='')}"
        self._url = f"{address.rstrip('/')}/v1/models/{quoted_model}{version_path}:predict"
        self._pool = urllib3.PoolManager(maxsize=64, retries=False)

    def predict(
        self, signature: str, inputs: Arrays, seconds: float
    ) -> tuple[Arrays, int | None]:
        if not inputs["history_item"].shape[1]:
            inputs = inputs | _one_padding_event(inputs)
        body = {
            "signature_name": signature,
            "inputs": {name: _jsonable(value) for name, value in inputs.items()},
        }
        try:
            response = self._pool.request(
                "POST", self._url, json=body, timeout=urllib3.Timeout(total=seconds)
            )
        except urllib3.exceptions.HTTPError as error:
            late = isinstance(error, urllib3.exceptions.TimeoutError)
            # In urllib3, a refused connection is a subclass of a timeout.
            if late and not isinstance(error, urllib3.exceptions.NewConnectionError):
                raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, str(error)) from error
            raise RequestError(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = {"error": response.data[:200].decode(errors="replace")}
        if response.status != 200:
            code = _CODES.get(response.status, grpc.StatusCode.UNKNOWN)
            raise RequestError(code, str(answer.get("error", answer)))
        return {name: _array(value) for name, value in answer["outputs"].items()}, None

    def close(self) -> None:
        self._pool.clear()


def _retried(
    send: Callable[[float], tuple[Arrays, int | None]], seconds: float
) -> tuple[Arrays, int | None]:
    """Repeats an idempotent request while the server is unavailable and time is left."""
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return send(max(0.001, deadline - time.monotonic()))
        except RequestError as error:
            last = attempt == _ATTEMPTS or time.monotonic() + pause >= deadline
            if error.code != grpc.StatusCode.UNAVAILABLE or last:
                raise
        time.sleep(pause)
        pause *= 2
    raise AssertionError("the last attempt raises")


def _one_padding_event(inputs: Arrays) -> Arrays:
    """An empty history for JSON, where an empty list does not carry its width."""
    rows, _, width = inputs["history_feedback"].shape
    strings = inputs["history_item"].dtype.kind == "S"
    item = np.full((rows, 1), b"") if strings else np.full((rows, 1), -1)
    return {"history_item": item, "history_feedback": np.zeros((rows, 1, width), np.float32)}


def _jsonable(value: np.ndarray) -> Any:
    return (np.char.decode(value, "utf-8") if value.dtype.kind == "S" else value).tolist()


def _array(value: Any) -> np.ndarray:
    """An output as an array: floats as float32, texts unchanged."""
    array = np.array(value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(object) if array.dtype.kind == "U" else array
