"""The gRPC endpoint: TensorFlow Serving's PredictionService and ModelService."""

import contextlib
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfrec import errors
from tfrec.serving import rejection, saved, service


def start(answers: service.Service, host: str, port: int) -> tuple[grpc.Server, int]:
    """Opens the endpoint; returns the server and the bound port.

    Raises:
      UserError: if the port is not available.
    """
    limits = answers.limits
    threads = limits.concurrency + limits.queue + 4  # four to reject requests and report status
    server = grpc.server(
        futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", limits.max_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a second server on this port is a mistake
        ],
        maximum_concurrent_rpcs=threads,
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(answers), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(answers), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise errors.UserError(f"gRPC cannot listen on {host}:{port}: {error}") from error
    server.start()
    return server, bound


def metadata(
    answers: service.Service, spec: service.ModelSpec
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with answers.versions.lease(spec.model, spec.version, spec.label) as version:
        response.model_spec.name = spec.model
        response.model_spec.version.value = version.number
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in version.signatures.items():
            signatures.signature_def[name].CopyFrom(definition)
        response.metadata["signature_def"].Pack(signatures)
    return response


def status(
    answers: service.Service, spec: service.ModelSpec
) -> get_model_status_pb2.GetModelStatusResponse:
    """The states of a model's versions."""
    response = get_model_status_pb2.GetModelStatusResponse()
    states = answers.versions.status(spec.model, spec.version, spec.label)
    for number, state, error in states:
        row = response.model_version_status.add(version=number, state=state)
        if error:
            row.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
            row.status.error_message = error
    return response


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, answers: service.Service):
        self._service = answers

    def Predict(self, request, context):  # noqa: N802  the protocol's name
        with _answered(self._service, context, "Predict"):
            spec = _model_spec(request.model_spec, tuple(request.output_filter))
            remaining = context.time_remaining()
            number, outputs = self._service.predict(
                spec, lambda definition: self._inputs(definition, request.inputs), remaining
            )
            response = predict_pb2.PredictResponse()
            response.model_spec.name = spec.model
            response.model_spec.version.value = number
            response.model_spec.signature_name = spec.signature
            for name, value in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        with _answered(self._service, context, "GetModelMetadata"):
            unknown = set(request.metadata_field) - {"signature_def"}
            if unknown or not request.metadata_field:
                raise rejection.invalid("metadata_field: expected 'signature_def'")
            return metadata(self._service, _model_spec(request.model_spec))

    def _inputs(
        self, definition: meta_graph_pb2.SignatureDef, protos: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        return {
            name: _array(name, proto, definition, self._service.limits.max_values)
            for name, proto in protos.items()
        }


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, answers: service.Service):
        self._service = answers

    def GetModelStatus(self, request, context):  # noqa: N802
        with _answered(self._service, context, "GetModelStatus"):
            return status(self._service, _model_spec(request.model_spec))


@contextlib.contextmanager
def _answered(
    answers: service.Service, context: grpc.ServicerContext, method: str
) -> Iterator[None]:
    """Ends the RPC with a rejection's code; `abort` raises."""
    try:
        with answers.metrics.observed("grpc", method):
            yield
    except rejection.Rejected as rejected:
        context.abort(rejected.code, rejected.message)


def _model_spec(proto: model_pb2.ModelSpec, outputs: tuple[str, ...] = ()) -> service.ModelSpec:
    choice = proto.WhichOneof("version_choice")
    return service.ModelSpec(
        proto.name,
        proto.version.value if choice == "version" else None,
        proto.version_label if choice == "version_label" else None,
        proto.signature_name or "serving_default",
        outputs,
    )


def _array(
    name: str, proto: Any, definition: meta_graph_pb2.SignatureDef, max_values: int
) -> np.ndarray:
    """Converts a TensorProto; its type and shape are checked before memory is allocated."""
    if name in definition.inputs:
        dtype, _ = saved.expected(definition, name)
        if proto.dtype != dtype.as_datatype_enum:
            try:
                actual = tf.as_dtype(proto.dtype).name
            except TypeError:
                actual = f"type {proto.dtype}"
            raise rejection.invalid(f"{name}: {actual} values; expected {dtype.name}")
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0 or len(sizes) > 8:
        raise rejection.invalid(f"{name}: its shape must be known")
    count = 1
    for size in sizes:
        count *= size
    # A size of 0 beside a huge one would pass a check of the product only.
    if max(count, *sizes, 0) > max_values:
        raise rejection.too_large(
            f"{name}: shape {sizes}; this server takes at most {max_values} values"
        )
    try:
        array = tf.make_ndarray(proto)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise rejection.invalid(f"{name}: not a tensor: {error}") from error
    if list(array.shape) != sizes:
        raise rejection.invalid(f"{name}: {array.size} values for shape {sizes}")
    return array
