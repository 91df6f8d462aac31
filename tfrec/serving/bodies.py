"""Bodies of HTTP requests: how long they are announced to be, and chunks put together."""

import email.message
import io

import grpc

from tfrec.serving import rejection

_MOST_DIGITS = 19  # of a length; more are no size that anything has
_MOST_LINE = 4096  # bytes of a chunk's size with its extensions, or of a trailer
_MOST_TRAILERS = 100


def announced(headers: email.message.Message, is_needed: bool) -> int | None:
    """Bytes of a request's body, 0 without one; None if it comes in chunks.

    Args:
      headers: of the request.
      is_needed: whether a request without a body is rejected.

    Raises:
      Rejected: if the headers contradict each other or give no length: where the body ends is
        not known then.
    """
    lengths = {length.strip() for length in headers.get_all("Content-Length", [])}
    codings = [coding.strip().lower() for coding in headers.get_all("Transfer-Encoding", [])]
    if codings:
        if codings != ["chunked"]:
            raise rejection.Rejected(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Transfer-Encoding {', '.join(codings)[:80]!r}; expected chunked",
                501,
            )
        if lengths:
            raise rejection.invalid("a Content-Length beside chunks; expected one of them")
        return None
    if not lengths:
        if is_needed:
            raise rejection.Rejected(
                grpc.StatusCode.INVALID_ARGUMENT, "a Content-Length is needed, or chunks", 411
            )
        return 0
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()):
        raise rejection.invalid(f"Content-Length {length[:40]!r}; expected one whole number")
    if len(length.lstrip("0")) > _MOST_DIGITS:
        raise rejection.too_large(f"a body of {length[:_MOST_DIGITS]}... bytes")
    return int(length)


def read_chunks(stream: io.BufferedIOBase, most: int) -> bytes:
    """A body that comes in chunks, RFC 9112, section 7.1.

    Args:
      stream: after the headers.
      most: bytes that the whole body may have.

    Raises:
      Rejected: if a chunk is not well formed, or the body is too large.
      ConnectionResetError: if the stream ends in the middle.
    """
    body = bytearray()
    while size := _size(stream):
        if len(body) + size > most:
            raise rejection.too_large(
                f"chunks of more than {most} bytes; this server takes {most}"
            )
        chunk = stream.read(size)
        if len(chunk) < size:
            raise ConnectionResetError
        body += chunk
        if _line(stream):
            raise rejection.invalid("a chunk is longer than its size")
    for _ in range(_MOST_TRAILERS):
        if not _line(stream):
            return bytes(body)
    raise rejection.invalid(f"more than {_MOST_TRAILERS} trailers behind the chunks")


def _size(stream: io.BufferedIOBase) -> int:
    """The size of the next chunk; extensions are passed over."""
    text = _line(stream).partition(b";")[0].strip()
    if (
        not text
        or len(text) > 16
        or not all(digit in b"0123456789abcdefABCDEF" for digit in text)
    ):
        raise rejection.invalid(
            f"chunk size {text[:40].decode('latin-1')!r}; expected hex digits"
        )
    return int(text, 16)


def _line(stream: io.BufferedIOBase) -> bytes:
    """The next line without its end."""
    line = stream.readline(_MOST_LINE)
    if not line.endswith(b"\n"):
        if len(line) == _MOST_LINE:
            raise rejection.invalid(
                f"a line of more than {_MOST_LINE} bytes between the chunks"
            )
        raise ConnectionResetError
    return line.rstrip(b"\r\n")
