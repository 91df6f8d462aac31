"""The REST endpoint: TensorFlow Serving's paths and JSON, health and metrics.

It uses the standard library's ThreadingHTTPServer: there are few paths and at most one page,
and its handler controls when a body is read, how many connections are open and how they end.
Werkzeug, which the lock has too, is based on the same server.
"""

import base64
import binascii
import contextlib
import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import json_format
from tensorflow.core.protobuf import meta_graph_pb2

from tfrec import errors
from tfrec.serving import bodies, rejection, rpc, saved, service
from tfrec.serving import page as page_lib

_MODEL = re.compile(
    r"/v1/models/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>\d{1,19})|/labels/(?P<label>[^/:]+))?"
    r"(?P<what>:predict|/metadata)?"
)
_METRICS = ("/metrics", "/monitoring/prometheus/metrics")  # the second is TF Serving's
_IDLE_SECONDS = 30.0  # without a byte from a client
_LINGER_SECONDS = 2.0  # reading time for a rejected body, so that its sender reads the answer
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "f": ((int, float), "numbers"),
    "i": ((int,), "whole numbers"),
    "u": ((int,), "whole numbers"),
    "b": ((bool,), "booleans"),
    "O": ((str, dict), "strings"),
}


class RestServer:
    """The endpoint, open from the start until `stop`.

    Args:
      answers: the service that answers.
      host: address to listen on.
      port: port; 0 for any free one.

    Attributes:
      port: the bound port.

    Raises:
      UserError: if the port is not available.
    """

    def __init__(self, answers: service.Service, host: str, port: int):
        try:
            self._http = _Http(answers, host, port)
        except OSError as error:
            raise errors.UserError(
                f"REST cannot listen on {host}:{port}: {error.strerror}"
            ) from error
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, name="rest"
        )
        self._thread.start()

    def show(self, page: page_lib.Page) -> None:
        """Adds the paths of a page."""
        self._http.page = page

    def stop(self, seconds: float) -> bool:
        """Stops accepting requests and waits for running ones; whether all ended in time."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        return self._http.drained(time.monotonic() + seconds)


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True  # `drained` waits for their end, with a limit
    request_queue_size = 128

    def __init__(self, answers: service.Service, host: str, port: int):
        self.service = answers
        self.page: page_lib.Page | None = None
        self._open: set[socket.socket] = set()
        self._change = threading.Condition()
        self.draining = False
        super().__init__((host, port), _Handler)

    def process_request(self, request, client_address):
        with self._change:
            full = len(self._open) >= self.service.limits.max_connections
            if not full:
                self._open.add(request)
        if full:
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            super().shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request):
        super().shutdown_request(request)
        with self._change:
            self._open.discard(request)
            self._change.notify_all()

    def drained(self, deadline: float) -> bool:
        """Ends idle connections and waits for the others; whether all ended in time."""
        with self._change:
            self.draining = True
            for connection in self._open:
                # A thread that waits for a next request reads the end; answers are still sent.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
            return self._change.wait_for(
                lambda: not self._open, max(0.0, deadline - time.monotonic())
            )

    def handle_error(self, request, client_address):
        logging.info("%s: connection failed", client_address, exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Http
    _expects_continue = False  # the client waits for 100 Continue before it sends the body
    _is_body_left = False  # unread after the headers

    def handle(self):
        # The client closed the connection or stopped sending, which needs no answer.
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def handle_expect_100(self):
        """Postpones the interim answer until the body's size has been checked."""
        self._expects_continue = True
        return True

    def do_GET(self):  # noqa: N802  the base class's name
        self._answer(self._get)

    def do_HEAD(self):  # noqa: N802
        self._answer(self._get)

    def do_POST(self):  # noqa: N802
        self._answer(self._post)

    def _answer(self, act):
        answers = self.server.service
        try:
            with answers.metrics.observed("rest", self._method()):
                # Also the body of a GET, because the next request follows it.
                request_body = self._body(answers.limits.max_bytes)
                status, body, kind = act(answers, request_body)
        except rejection.Rejected as rejected:
            status, kind = rejected.http, "application/json"
            body = json.dumps({"error": rejected.message}).encode()
        self._reply(status, body, kind)
        self._expects_continue = False
        self._linger()

    def _method(self) -> str:
        """The method for the metrics, one of a few, for any requested path."""
        match = _MODEL.fullmatch(self._path())
        if not match:
            return "other"
        return {":predict": "Predict", "/metadata": "GetModelMetadata"}.get(
            match["what"], "GetModelStatus"
        )

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _get(self, answers: service.Service, _: bytes) -> tuple[int, bytes, str]:
        path = self._path()
        if path in _METRICS:
            return 200, answers.metrics.text(), "text/plain; version=0.0.4; charset=utf-8"
        if path == "/healthz":
            return 200, b"ok\n", "text/plain"
        if path == "/readyz":
            ready = answers.ready()
            return 200 if ready else 503, b"ready\n" if ready else b"not ready\n", "text/plain"
        if self.server.page:
            query = self.path.partition("?")[2]
            if (reply := self.server.page.get(path, query)) is not None:
                return reply
        match = self._model(path)
        if match["what"] == ":predict":
            raise rejection.Rejected(
                grpc.StatusCode.INVALID_ARGUMENT, ":predict takes a POST", 405
            )
        act = rpc.metadata if match["what"] else rpc.status
        message = act(answers, _model_spec(match))
        body = json_format.MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return 200, body.encode(), "application/json"

    def _post(self, answers: service.Service, body: bytes) -> tuple[int, bytes, str]:
        path = self._path()
        if self.server.page and (reply := self.server.page.post(path, body)) is not None:
            return reply
        match = self._model(path)
        if match["what"] != ":predict":
            raise rejection.not_found(f"{path[:200]} takes no POST; expected :predict")
        answer = predict(answers, _model_spec(match), body)
        return 200, json.dumps(answer).encode(), "application/json"

    def _model(self, path: str) -> re.Match:
        match = _MODEL.fullmatch(path)
        if not match:
            raise rejection.not_found(
                f"{path[:200]}: no such path; there are "
                "/v1/models/<name>[/versions/<n>|/labels/<label>][:predict|/metadata], "
                "/healthz, /readyz and /metrics"
            )
        return match

    def _body(self, most: int) -> bytes:
        """Reads the body after a check of its size.

        Raises:
          Rejected: if its size is unknown or too large; the connection is then closed.
        """
        self._is_body_left = True
        try:
            size = bodies.body_size(self.headers, is_needed=self.command == "POST")
            if size is not None and size > most:
                raise rejection.too_large(f"a body of {size} bytes; this server takes {most}")
            if self._expects_continue and size != 0:
                self.send_response_only(http.HTTPStatus.CONTINUE)
                self.end_headers()
                self.wfile.flush()
            body = bodies.read_chunks(self.rfile, most) if size is None else self._read(size)
        except rejection.Rejected:
            self._end_if_draining()
            self.close_connection = True
            raise
        self._is_body_left = False
        return body

    def _read(self, size: int) -> bytes:
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionResetError
        return body

    def _linger(self) -> None:
        """Reads past a rejected body, because unread bytes at the close drop the answer."""
        if not self._is_body_left:
            return
        self._is_body_left = False
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER_SECONDS)
        deadline = time.monotonic() + _LINGER_SECONDS
        while time.monotonic() < deadline and self.rfile.read1(2**16):  # type: ignore[attr-defined]
            pass

    def _reply(self, status: int, body: bytes, kind: str) -> None:
        if self.server.draining:
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        elif self.request_version == "HTTP/1.0":  # clients close by default
            self.send_header("Connection", "keep-alive")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code, message=None, explain=None):
        """Sends rejections of the base class (no HTTP, unknown method) as JSON."""
        self._end_if_draining()
        self.close_connection = True
        text = message or http.HTTPStatus(code).phrase
        self._reply(code, json.dumps({"error": text}).encode(), "application/json")
        self._is_body_left = bool(self.command)  # there may be a body after the headers
        self._linger()

    def _end_if_draining(self) -> None:
        """Ends a partial request during a drain, instead of rejecting it as malformed.

        Raises:
          ConnectionAbortedError: if the server is draining; ends the connection without answer.
        """
        if self.server.draining:
            raise ConnectionAbortedError

    def log_message(self, format, *args):  # noqa: A002  the base class's name
        pass  # metrics count requests


def predict(answers: service.Service, spec: service.ModelSpec, body: bytes) -> dict[str, Any]:
    """Answers a `:predict` body in the same format, row or column.

    Raises:
      Rejected: if the body has another form, or the request is rejected.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8
        raise rejection.invalid(f"not JSON: {error}") from error
    if not isinstance(document, dict) or len({"instances", "inputs"} & set(document)) != 1:
        raise rejection.invalid("expected an object with either 'instances' or 'inputs'")
    signature = document.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise rejection.invalid("signature_name: expected a string")
    spec = service.ModelSpec(spec.model, spec.version, spec.label, signature)
    by_row = "instances" in document

    def read(definition: meta_graph_pb2.SignatureDef) -> dict[str, np.ndarray]:
        values: Any = document.get("inputs")
        if by_row:
            values = _columns(document["instances"], definition)
        if not isinstance(values, dict):  # with one input, its name is optional
            if len(definition.inputs) != 1:
                raise rejection.invalid(
                    f"expected an object with the inputs {', '.join(sorted(definition.inputs))}"
                )
            values = {next(iter(definition.inputs)): values}
        return {name: _array(name, value, definition) for name, value in values.items()}

    _, outputs = answers.predict(spec, read)
    plain = {name: _plain(value) for name, value in outputs.items()}
    if not by_row:
        return {"outputs": plain if len(plain) > 1 else next(iter(plain.values()))}
    if len(plain) == 1:
        return {"predictions": next(iter(plain.values()))}
    rows = zip(*plain.values(), strict=True)
    return {"predictions": [dict(zip(plain, row, strict=True)) for row in rows]}


def _model_spec(match: re.Match) -> service.ModelSpec:
    version = None if match["version"] is None else int(match["version"])
    return service.ModelSpec(match["name"], version, match["label"])


def _columns(instances: Any, definition: meta_graph_pb2.SignatureDef) -> dict[str, list]:
    """Rows of named values as one list for each name."""
    if not isinstance(instances, list) or not instances:
        raise rejection.invalid("instances: expected a list of at least one")
    if not isinstance(instances[0], dict) or set(instances[0]) == {"b64"}:
        if len(definition.inputs) != 1:
            raise rejection.invalid(
                "instances: expected objects with the inputs "
                f"{', '.join(sorted(definition.inputs))}"
            )
        return {next(iter(definition.inputs)): instances}
    names = set(instances[0])
    for row, instance in enumerate(instances):
        if not isinstance(instance, dict) or set(instance) != names:
            raise rejection.invalid(f"instances[{row}]: its inputs are not those of the first")
    return {name: [instance[name] for instance in instances] for name in names}


def _array(name: str, value: Any, definition: meta_graph_pb2.SignatureDef) -> np.ndarray:
    """Converts a nested list to an array of the input's type, or rejects it."""
    if name not in definition.inputs:
        input_names = ", ".join(sorted(definition.inputs))
        raise rejection.invalid(f"no input {name[:80]!r}; the inputs are {input_names}")
    dtype, _ = saved.expected(definition, name)
    numpy_dtype = np.dtype(dtype.as_numpy_dtype)
    allowed, readable = _TYPES[numpy_dtype.kind]
    try:
        array = np.array(value, dtype=object)
    except ValueError as error:
        raise rejection.invalid(f"{name}: not a rectangle: {error}") from error
    for kind in set(map(type, array.flat)):
        if kind is list:
            raise rejection.invalid(f"{name}: lists of one level must have one length")
        if kind not in allowed:
            raise rejection.invalid(f"{name}: a {kind.__name__}; expected {readable}")
    try:
        if dtype == tf.string:
            flat = [_bytes(name, text) for text in array.flat]
            strings = np.empty(len(flat), object)
            strings[:] = flat
            return strings.reshape(array.shape)
        with np.errstate(over="ignore"):  # overflow gives infinity, which is rejected later
            return array.astype(numpy_dtype)
    except (OverflowError, ValueError) as error:
        raise rejection.invalid(f"{name}: {error}; expected {dtype.name}") from error


def _bytes(name: str, text: str | Mapping[str, Any]) -> bytes:
    """Bytes of a JSON string, or of {"b64": ...} for bytes that are not text."""
    try:
        if isinstance(text, str):
            return text.encode()
        if set(text) == {"b64"} and isinstance(text["b64"], str):
            return base64.b64decode(text["b64"], validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise rejection.invalid(f"{name}: {error}") from error
    raise rejection.invalid(f'{name}: expected a string or {{"b64": "..."}}')


def _plain(value: np.ndarray) -> Any:
    """Converts an array for JSON; infinity and NaN become the tokens Infinity and NaN."""
    if value.dtype.kind not in "SO":
        return value.tolist()
    texts = np.empty(value.size, object)
    texts[:] = [_text(item) for item in value.flat]
    return texts.reshape(value.shape).tolist()


def _text(item: bytes) -> str | dict[str, str]:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(item).decode()}
