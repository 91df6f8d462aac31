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
      code: gRPC's status code.
      message: what was wrong and what was expected.
      http: HTTP's status code.
    """

    def __init__(self, code: grpc.StatusCode, message: str, http: int | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = http or _HTTP[code]


def invalid(message: str) -> Rejected:
    """A request that no server could answer."""
    return Rejected(grpc.StatusCode.INVALID_ARGUMENT, message)


def too_large(message: str) -> Rejected:
    """A request beyond this server's limits."""
    return Rejected(grpc.StatusCode.RESOURCE_EXHAUSTED, message, TOO_LARGE)


def not_found(message: str) -> Rejected:
    """A model, version, label or path that is not here."""
    return Rejected(grpc.StatusCode.NOT_FOUND, message)


def late(seconds: float) -> Rejected:
    """A request that took longer than it may."""
    return Rejected(
        grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within the {seconds:.3g} s allowed"
    )


def of_graph(error: tf.errors.OpError, seconds: float) -> Rejected:
    """What a graph's error means for a client: its own assertions are about the request."""
    if isinstance(error, tf.errors.DeadlineExceededError):
        return late(seconds)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return Rejected(grpc.StatusCode.RESOURCE_EXHAUSTED, "not enough memory for the request")
    if isinstance(error, tf.errors.InvalidArgumentError):
        return invalid(asserted.message(error) or error.message[:500])
    return Rejected(grpc.StatusCode.INTERNAL, "the model failed; the server's log says how")
