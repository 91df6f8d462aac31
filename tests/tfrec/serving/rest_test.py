"""The REST server's handling of HTTP, tested over a bare socket."""

import contextlib
import json
import socket

import pytest

from tfrec.serving import rest, service

LIMITS = service.LimitsConfig(max_request_mib=0.001)  # 1048 bytes
PATH = "/v1/models/ranker:predict"


class Versions:
    """Stands in for the versions, which these requests do not need."""

    def available(self):
        return [1]


@pytest.fixture(scope="module")
def port():
    running = rest.RestServer(service.Service(LIMITS, Versions()), "127.0.0.1", 0)
    yield running.port
    assert running.stop(5.0)


@pytest.fixture
def client(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
        yield connection


def ask(client, text, body=b""):
    client.sendall(text.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)


def answer(client, has_body=True):
    """Status, headers and body of the next answer."""
    file = client.makefile("rb", buffering=0)
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    body, size = b"", int(headers.get("content-length", 0)) if has_body else 0
    while len(body) < size:
        body += file.read(size - len(body))
    return status, headers, body


def is_closed(client):
    with contextlib.suppress(ConnectionResetError):
        return client.recv(1) == b""
    return True


def test_expect_100_continue_is_answered_before_the_body(client):
    ask(client, f"POST {PATH} HTTP/1.1\nContent-Length: 3\nExpect: 100-continue")
    assert answer(client)[0] == 100
    client.sendall(b"no!")
    status, _, body = answer(client)
    assert status == 400 and "not JSON" in json.loads(body)["error"]
    ask(client, "GET /healthz HTTP/1.1")  # the connection goes on
    assert answer(client)[2] == b"ok\n"


def test_expect_100_continue_of_a_body_that_is_too_large(client):
    ask(client, f"POST {PATH} HTTP/1.1\nContent-Length: 99999\nExpect: 100-continue")
    status, headers, body = answer(client)  # at once, and without asking for the body
    assert status == 413 and "99999 bytes" in json.loads(body)["error"]
    assert headers["connection"] == "close"


@pytest.mark.parametrize("request_line", [f"POST {PATH} HTTP/1.1", f"POST {PATH} HTTP/1.0"])
def test_expect_100_continue_with_a_body_that_is_there(client, request_line):
    ask(client, f"{request_line}\nContent-Length: 3\nExpect: 100-continue", b"no!")
    status = answer(client)[0]
    if request_line.endswith("1.1"):
        assert status == 100
        status = answer(client)[0]
    assert status == 400  # HTTP/1.0 has no interim answers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: -1", 400),
        ("Content-Length: 1e3", 400),
        ("Content-Length: 3\nContent-Length: 4", 400),
        ("Content-Length: 3\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip", 501),
        ("Accept: */*", 411),
        ("Content-Length: 1049", 413),
        (f"Content-Length: {'9' * 40}", 413),
        (f"Content-Length: {'9' * 5000}", 413),
    ],
)
def test_a_body_whose_end_is_not_known_or_too_far(client, headers, status):
    ask(client, f"POST {PATH} HTTP/1.1\n{headers}", b"{} more than was said")
    actual_status, headers, body = answer(client)
    assert actual_status == status and headers["connection"] == "close"
    assert "error" in json.loads(body)
    assert is_closed(client)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'1\r\n{\r\n2;x=y\r\n"]\r\n0\r\nTrailer: 1\r\n\r\n', 400, "not JSON"),
        (b"2\r\n{}\r\n0\r\n\r\n", 400, "either 'instances' or 'inputs'"),
        (b"zz\r\n{}\r\n0\r\n\r\n", 400, "chunk size 'zz'"),
        (b"\r\n", 400, "chunk size ''"),
        (b"2\r\n{} \r\n0\r\n\r\n", 400, "longer than its size"),
        (b"fffffff\r\n{}", 413, "this server takes 1048"),
        (b"400\r\n" + b" " * 1024 + b"\r\n400\r\n", 413, "this server takes 1048"),
    ],
)
def test_chunks(client, body, status, message):
    ask(client, f"POST {PATH} HTTP/1.1\nTransfer-Encoding: chunked", body)
    actual_status, _, body = answer(client)
    assert actual_status == status and message in json.loads(body)["error"]


def test_a_body_of_a_get_is_not_taken_for_the_next_request(client):
    ask(client, "GET /healthz HTTP/1.1\nContent-Length: 26", b"GET /metrics HTTP/1.1\r\n\r\n ")
    assert answer(client)[2] == b"ok\n"
    ask(client, "GET /readyz HTTP/1.1")
    assert answer(client)[2] == b"ready\n"


def test_head_has_the_headers_of_get_and_no_body(client):
    ask(client, "HEAD /healthz HTTP/1.1")
    status, headers, _ = answer(client, has_body=False)
    assert status == 200 and headers["content-length"] == "3"
    ask(client, "GET /healthz HTTP/1.1")
    assert answer(client)[2] == b"ok\n"


def test_http_1_0_closes_unless_keep_alive_is_requested(port):
    for wish, stays in (("Accept: */*", False), ("Connection: keep-alive", True)):
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as client:
            ask(client, f"GET /healthz HTTP/1.0\n{wish}")
            _, headers, body = answer(client)
            assert body == b"ok\n"
            assert headers["connection"] == ("keep-alive" if stays else "close")
            if stays:
                ask(client, "GET /healthz HTTP/1.0")
                assert answer(client)[2] == b"ok\n"
            assert is_closed(client)


def test_another_method_with_a_body_gets_its_answer(client):
    ask(client, f"PUT {PATH} HTTP/1.1\nContent-Length: 1000", b" " * 1000)
    status, _, body = answer(client)
    assert status == 501 and "error" in json.loads(body)
    assert is_closed(client)


@pytest.mark.parametrize(
    "half",
    [
        f"POST {PATH} HT",
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\n",
        f"POST {PATH} HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
    ],
)
def test_half_a_request_is_not_answered_by_a_drain(half):
    """No error of the request's: the client hears that nobody is there, and asks elsewhere."""
    running = rest.RestServer(service.Service(LIMITS, Versions()), "127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", running.port), timeout=5.0) as client:
        ask(client, "GET /healthz HTTP/1.1")
        assert answer(client)[0] == 200
        client.sendall(half.encode())
        assert running.stop(5.0)
        assert is_closed(client)
