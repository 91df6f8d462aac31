"""One exported version in memory: checked, loaded, warmed up, run under a time limit.

It runs in a session of its own, as tensorflow_model_server runs it: tables and
variables go when the session closes, and a run that takes too long is stopped inside
the graph, which a call of a loaded function cannot be.
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
      warmed: how many warm-up requests it has answered.

    Raises:
      UserError: if its files are not the ones that were written.
      Exception: whatever TensorFlow raises for a graph that it cannot load or run.
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
                if not name.startswith("__")  # SavedModel's own, for initialisation
            }
            graph.finalize()  # a run that added to the graph would be a leak
            asked = warmup.read(path)
            for signature, inputs in asked:
                arrays = {name: value.numpy() for name, value in inputs.items()}
                self.run(signature, arrays, (), _WARMUP_SECONDS)
            self.warmed = len(asked)
        except Exception:
            self.close()
            raise

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The SignatureDef of a name.

        Raises:
          Rejected: if there is none.
        """
        if name not in self.signatures:
            known = ", ".join(sorted(self.signatures))
            raise rejection.invalid(f"no signature {name[:80]!r}; there are {known}")
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
          signature: its name.
          inputs: an array for each of its inputs.
          outputs: which of its outputs to give; empty for all.
          seconds: how long it may take.

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
        wanted = {name: definition.outputs[name].name for name in outputs or definition.outputs}
        fed = {definition.inputs[name].name: value for name, value in inputs.items()}
        limit = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(1000 * seconds)))
        try:
            return self._session.run(wanted, fed, options=limit)
        except tf.errors.OpError as error:
            raise rejection.of_graph(error, seconds) from error

    def close(self) -> None:
        """Frees what it holds; no run may be under way."""
        self._session.close()


def check(definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, np.ndarray]) -> None:
    """Whether arrays are what a SignatureDef takes.

    Raises:
      Rejected: naming the input, what came and what was expected.
    """
    missing = sorted(set(definition.inputs) - set(inputs))
    if missing:
        raise rejection.invalid(f"missing input(s): {', '.join(missing)}")
    for name, value in inputs.items():
        if name not in definition.inputs:
            known = ", ".join(sorted(definition.inputs))
            raise rejection.invalid(f"no input {name[:80]!r}; the inputs are {known}")
        dtype, shape = expected(definition, name)
        strings = dtype == tf.string and value.dtype.kind in "SO"
        if not strings and tf.as_dtype(value.dtype) != dtype:
            came = tf.as_dtype(value.dtype).name
            raise rejection.invalid(f"{name}: {came} values; expected {dtype.name}")
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
