"""A trained agent with the interface of its export."""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from tfrec.serving import export, loaded, model
from tfrec.serving import manifest as manifest_lib
from tfrec.serving import ranker as ranker_lib


class UnsavedModel(loaded.RankingModel):
    """A trained agent with the interface of its export.

    Args:
      ranker: the agent. If items are searched in a table, later changes of its weights have no
        effect on the table.
    """

    def __init__(self, ranker: ranker_lib.Ranker):
        self.item_dtype = export.check(ranker)
        with tempfile.TemporaryDirectory() as folder:
            vocabulary = export.write_vocabulary(ranker, pathlib.Path(folder))
            dtype = tf.as_dtype(self.item_dtype)
            self._model = model.ServingModel(ranker, str(vocabulary), dtype)
        self.columns = tuple(ranker.measurements.columns)
        self.units = tuple(manifest_lib.column_units(ranker.measurements))
        self.feedback_names = tuple(ranker.spec.feedback_names)
        self.state_encoder = manifest_lib.encoder_of(ranker)

    def _answer(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return loaded.run_signature("the request", getattr(self._model, signature), inputs)
