"""Bodies of HTTP requests: their announced size, and the assembly of chunks."""

import email.message
import io

import grpc

from tfrec.serving import rejection

_MOST_DIGITS = 19  # of a length; larger ones cannot be sizes
_MOST_LINE = 4096  # bytes of a chunk's size with its extensions, or of a trailer
_MOST_TRAILERS = 100


def body_size(headers: email.message.Message, is_needed: bool) -> int | None:
    """Reads the size of a request's body from its headers.

    Args:
      headers: headers of the request.
      is_needed: whether a request without a body is rejected.

    Returns:
      Bytes, 0 without a body; None if the body comes in chunks.

    Raises:
      Rejected: if the headers contradict each other or give no length.
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
    """Reads a chunked body (RFC 9112, section 7.1).

    Args:
      stream: stream, positioned after the headers.
      most: maximum size of the whole body, bytes.

    Raises:
      Rejected: if a chunk is not well formed, or the body is too large.
      ConnectionResetError: if the stream ends inside the body.
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
    raise rejection.invalid(f"more than {_MOST_TRAILERS} trailers after the chunks")


def _size(stream: io.BufferedIOBase) -> int:
    """The size of the next chunk; extensions are ignored."""
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
