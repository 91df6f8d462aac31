"""The exception of a rejected request, with the codes of gRPC and HTTP."""

import grpc
import tensorflow as tf

from tfrec.serving import asserted

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
TOO_LARGE = 413


class Rejected(Exception):
    """A request that is answered with an error.

    Attributes:
      code: status code of gRPC.
      message: the invalid part and what was expected.
      http: status code of HTTP.
    """

    def __init__(self, code: grpc.StatusCode, message: str, http: int | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = http or _HTTP[code]


def invalid(message: str) -> Rejected:
    """Rejects an invalid request."""
    return Rejected(grpc.StatusCode.INVALID_ARGUMENT, message)


def too_large(message: str) -> Rejected:
    """Rejects a request beyond the limits of this server."""
    return Rejected(grpc.StatusCode.RESOURCE_EXHAUSTED, message, TOO_LARGE)


def not_found(message: str) -> Rejected:
    """Rejects an unknown model, version, label or path."""
    return Rejected(grpc.StatusCode.NOT_FOUND, message)


def late(seconds: float) -> Rejected:
    """Rejects a request that exceeds its time limit."""
    return Rejected(
        grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within the {seconds:.3g} s allowed"
    )


def of_graph(error: tf.errors.OpError, seconds: float) -> Rejected:
    """Converts an error of a graph; failed assertions of the graph concern the request."""
    if isinstance(error, tf.errors.DeadlineExceededError):
        return late(seconds)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return Rejected(grpc.StatusCode.RESOURCE_EXHAUSTED, "not enough memory for the request")
    if isinstance(error, tf.errors.InvalidArgumentError):
        return invalid(asserted.message(error) or error.message[:500])
    return Rejected(grpc.StatusCode.INTERNAL, "the model failed; the server's log says how")
