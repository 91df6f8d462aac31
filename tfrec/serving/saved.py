"""One exported version in memory: checked, loaded, warmed up, run under a time limit.

It has a separate session, as in tensorflow_model_server: tables and variables are freed when
the session closes, and a run that takes too long is stopped inside the graph, unlike a call of
a loaded function.
"""

import pathlib
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from tfrec import model_path
from tfrec.serving import files, rejection, warmup

_WARMUP_SECONDS = 120.0  # the first run of each signature optimises its graph


class SavedVersion:
    """A version directory, loaded.

    Args:
      path: the version directory, e.g. `export/1`.

    Attributes:
      number: its version number.
      signatures: SignatureDef by name.
      warmed: number of answered warm-up requests.

    Raises:
      UserError: if its files were changed.
      Exception: from TensorFlow, for a graph that it cannot load or run.
    """

    def __init__(self, path: pathlib.Path):
        self.number = int(path.name)
        files.open_manifest(path)
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default(), model_path.literal(path) as literal_path:
                saved = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], literal_path
                )
            self.signatures = {
                name: definition
                for name, definition in saved.signature_def.items()
                if not name.startswith("__")  # for the initialisation of SavedModel
            }
            graph.finalize()  # runs must not add to the graph
            warmup_requests = warmup.read(path)
            for signature, inputs in warmup_requests:
                arrays = {name: value.numpy() for name, value in inputs.items()}
                self.run(signature, arrays, (), _WARMUP_SECONDS)
            self.warmed = len(warmup_requests)
        except Exception:
            self.close()
            raise

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The SignatureDef of a name.

        Raises:
          Rejected: if there is no such signature.
        """
        if name not in self.signatures:
            names = ", ".join(sorted(self.signatures))
            raise rejection.invalid(f"no signature {name[:80]!r}; there are {names}")
        return self.signatures[name]

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Collection[str],
        seconds: float,
    ) -> dict[str, np.ndarray]:
        """Answers one request.

        Args:
          signature: name of the signature.
          inputs: an array for each of its inputs.
          outputs: names of the requested outputs; empty for all.
          seconds: time limit.

        Raises:
          Rejected: if inputs or outputs do not fit the signature, the graph rejects
            their values, or time runs out.
        """
        definition = self.signature(signature)
        check(definition, inputs)
        unknown = set(outputs) - set(definition.outputs)
        if unknown:
            raise rejection.invalid(
                f"no output {sorted(unknown)[0][:80]!r}; there are "
                f"{', '.join(sorted(definition.outputs))}"
            )
        fetches = {
            name: definition.outputs[name].name for name in outputs or definition.outputs
        }
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        limit = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(1000 * seconds)))
        try:
            return self._session.run(fetches, feeds, options=limit)
        except tf.errors.OpError as error:
            raise rejection.of_graph(error, seconds) from error

    def close(self) -> None:
        """Frees the session; no run may be in progress."""
        self._session.close()


def check(definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, np.ndarray]) -> None:
    """Checks that arrays fit a SignatureDef.

    Raises:
      Rejected: with the input, its value and what was expected.
    """
    missing = sorted(set(definition.inputs) - set(inputs))
    if missing:
        raise rejection.invalid(f"missing input(s): {', '.join(missing)}")
    for name, value in inputs.items():
        if name not in definition.inputs:
            names = ", ".join(sorted(definition.inputs))
            raise rejection.invalid(f"no input {name[:80]!r}; the inputs are {names}")
        dtype, shape = expected(definition, name)
        strings = dtype == tf.string and value.dtype.kind in "SO"
        if not strings and tf.as_dtype(value.dtype) != dtype:
            actual = tf.as_dtype(value.dtype).name
            raise rejection.invalid(f"{name}: {actual} values; expected {dtype.name}")
        if not shape.is_compatible_with(value.shape):
            raise rejection.invalid(
                f"{name}: shape {list(value.shape)}; expected {_readable(shape)}"
            )


def expected(
    definition: meta_graph_pb2.SignatureDef, name: str
) -> tuple[tf.DType, tf.TensorShape]:
    """Type and shape of an input of a SignatureDef; unknown sizes are None."""
    info = definition.inputs[name]
    return tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)


def _readable(shape: tf.TensorShape) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
