"""A typed client for TensorFlow Serving and for `launch.serve`, over gRPC or REST.

    contract = client.Contract.read("export/1/manifest.json")
    with client.connect("grpc://localhost:8500", contract, model="ranker") as ranker:
        ranking = ranker.rank(requests.Request(history=("i5",), goal_name="click"))

A request has a deadline. A server that is not there, or going, is asked again until then.
"""

import dataclasses
import json
import os
import pathlib
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc
import numpy as np
import tensorflow as tf
import urllib3
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfrec import errors
from tfrec.serving import requests

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
    """What a client must know of a model; every version of one contract fits it.

    Attributes:
      item_dtype: `string` or `int64`, the type of item ids.
      feedback: names of the F feedback columns.
      columns: names of the M measurement columns.
      units: their units, [M].
      named_goals: goals that can be asked for by name.
    """

    item_dtype: str
    feedback: tuple[str, ...]
    columns: tuple[str, ...]
    units: tuple[str, ...]
    named_goals: tuple[str, ...]

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Contract":
        """From the manifest.json of an exported version.

        Raises:
          UserError: if it is no manifest.
        """
        try:
            manifest = json.loads(pathlib.Path(path).read_text())
            measured = manifest["measurements"]
            return cls(
                manifest["item_id"]["dtype"],
                tuple(column["name"] for column in manifest["feedback"]),
                tuple(row["column"] for row in measured),
                tuple(row["unit"] for row in measured),
                tuple(manifest["named_goals"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.UserError(f"{path}: not the manifest of an export: {error}") from error

    def weights(self, worth: Mapping[str, float]) -> tuple[float, ...]:
        """Weights for a Request: what one raw unit of each named column is worth.

        Raises:
          UserError: naming the column that the model does not have.
        """
        for name in worth:
            if name not in self.columns:
                raise errors.UserError(
                    f"{name!r} is not a measurement; there are {', '.join(self.columns)}"
                )
        return tuple(float(worth.get(name, 0.0)) for name in self.columns)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A ranked list of n items, n at most k, best first.

    Attributes:
      items: raw ids, [n].
      scores: float32 [n].
      measurements: float32 [n, M], predicted, raw units, columns as in the contract.
      version: which version answered; None over REST, which does not say.
    """

    items: tuple[requests.RawId, ...]
    scores: np.ndarray
    measurements: np.ndarray
    version: int | None


Arrays = dict[str, np.ndarray]


class Transport(Protocol):
    """How one request travels."""

    def predict(
        self, signature: str, inputs: Arrays, seconds: float
    ) -> tuple[Arrays, int | None]:
        """Outputs by name, and the version that gave them; raises RequestError."""

    def close(self) -> None: ...


class Client:
    """Asks one model; threads may share it.

    Args:
      transport: how.
      contract: what of.
      seconds: a request's deadline where the call names none.
    """

    def __init__(self, transport: Transport, contract: Contract, seconds: float):
        self.contract = contract
        self._transport = transport
        self._seconds = seconds

    def rank(self, asked: requests.Request, seconds: float | None = None) -> Ranking:
        """The ranked list for one request: by named goal, goal or weights.

        Raises:
          RequestError: if it is rejected, or not answered in time.
        """
        return self.rank_batch([asked], seconds)[0]

    def rank_batch(
        self, asked: Sequence[requests.Request], seconds: float | None = None
    ) -> list[Ranking]:
        """Ranked lists for a batch; all of its requests have weights, or none has."""
        weighted = {bool(request.weights) for request in asked}
        if len(weighted) != 1:
            raise errors.UserError(
                "expected at least one request, and those with weights in a batch of their own"
            )
        signature = "rank_weights" if weighted == {True} else "rank"
        answer, version = self._predict(signature, asked, seconds)
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
        self, asked: requests.Request, seconds: float | None = None
    ) -> np.ndarray:
        """What is expected to follow each candidate, [A, M], raw units."""
        answer, _ = self._predict("predict_measurements", [asked], seconds)
        return answer["measurements"][0]

    def close(self) -> None:
        """Ends the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _predict(
        self, signature: str, asked: Sequence[requests.Request], seconds: float | None
    ) -> tuple[Arrays, int | None]:
        try:
            inputs = requests.arrays(
                asked, signature, self.contract.item_dtype, len(self.contract.feedback)
            )
        except (ValueError, OverflowError) as error:
            raise errors.UserError(str(error)) from error
        return _retried(
            lambda left: self._transport.predict(signature, inputs, left),
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
    """A client; it connects at the first request.

    Args:
      address: `grpc://host:port` or `http://host:port`.
      contract: what the model takes and gives.
      model: its name there.
      version: ask this version; by default the one that the server prefers.
      label: or the version of this label.
      seconds: deadline of a request.

    Raises:
      UserError: if the address is neither.
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
            # We never cancel: a server that shuts down lets go of calls that it has not begun.
            # A connection that ends under a call is sometimes reported as a stream's removal.
            gone = code == grpc.StatusCode.CANCELLED or (
                code == grpc.StatusCode.UNKNOWN and "Stream removed" in (error.details() or "")
            )
            code = grpc.StatusCode.UNAVAILABLE if gone else code
            raise RequestError(code, error.details()) from error
        outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def close(self) -> None:
        self._channel.close()


class RestTransport:
    """`:predict` in the column format."""

    def __init__(self, address: str, model: str, version: int | None, label: str | None):
        quoted = urllib.parse.quote(model, safe="")
        where = "" if version is None else f"/versions/{version}"
        if label is not None and version is None:
            where = f"/labels/{urllib.parse.quote(label, safe='')}"
        self._url = f"{address.rstrip('/')}/v1/models/{quoted}{where}:predict"
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
            # urllib3 takes a rejected connection for a kind of timeout.
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
    ask: Callable[[float], tuple[Arrays, int | None]], seconds: float
) -> tuple[Arrays, int | None]:
    """Asks again while the server is unavailable and time is left: asking changes nothing."""
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return ask(max(0.001, deadline - time.monotonic()))
        except RequestError as error:
            last = attempt == _ATTEMPTS or time.monotonic() + pause >= deadline
            if error.code != grpc.StatusCode.UNAVAILABLE or last:
                raise
        time.sleep(pause)
        pause *= 2
    raise AssertionError("the last attempt raises")


def _one_padding_event(inputs: Arrays) -> Arrays:
    """An empty history for JSON, where an empty list cannot show its width."""
    rows, _, width = inputs["history_feedback"].shape
    strings = inputs["history_item"].dtype.kind == "S"
    item = np.full((rows, 1), b"") if strings else np.full((rows, 1), -1)
    return {"history_item": item, "history_feedback": np.zeros((rows, 1, width), np.float32)}


def _jsonable(value: np.ndarray) -> Any:
    return (np.char.decode(value, "utf-8") if value.dtype.kind == "S" else value).tolist()


def _array(value: Any) -> np.ndarray:
    """An output's array: floats as float32, texts as they are."""
    found = np.array(value)
    if found.dtype.kind == "f":
        return found.astype(np.float32)
    return found.astype(object) if found.dtype.kind == "U" else found
