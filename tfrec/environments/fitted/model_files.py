"""The folder of a fitted user model: user_model.json, weights.npz and the ids."""

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import tensorflow as tf

from tfrec import errors, outputs, types, weights
from tfrec.data import identity
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.environments.fitted import kinds

_DEFAULT_KIND = kinds.RECURRENT  # for files of an earlier version, which record no kind


class FittedModel(tf.Module):
    """Users fitted on a log, who can be saved.

    Args:
      name: name of the module.
      spec: spec of the fitted log.
      config: a dataclass with the sizes and the training options.

    Attributes:
      kind: name of the class in files.
      data: the prepared data of the fit, if `load` has read its record.
      content: fingerprint of weights, configuration and ids; empty before loading.
    """

    kind: ClassVar[str]
    data: identity.Origin | None = None
    content: str = ""

    def __init__(self, name: str, spec: types.DataSpec, config: Any):
        super().__init__(name=name)
        self.spec, self.config = spec, config
        self.repeats = bool(config.repeats)

    @property
    def fingerprint(self) -> str:
        """Hash of weights, configuration, ids and candidates."""
        content = self.content or identity.fingerprint([self.config, _weights(self)])
        return identity.fingerprint([content, self.spec.candidates])

    def save(self, directory: str | os.PathLike, data: identity.Origin | None = None) -> None:
        """Writes the model; the directory appears whole or not at all.

        Args:
          directory: target folder; an existing model is replaced.
          data: the prepared data of the fit. The launch scripts reject a model without it,
            because they cannot check its dense ids.

        Raises:
          NonFiniteWeightsError: if a weight is not finite; nothing is written.
          UserError: if the directory cannot be written; nothing is left behind.
        """
        target = pathlib.Path(directory)
        weights.check(((_key(v), v) for v in self.variables), f"{target}: not written")
        with outputs.replacing_folder(target) as beside:
            manifest: dict[str, Any] = {
                "kind": self.kind,
                "config": dataclasses.asdict(self.config),
                "spec": self.spec.described(),
                "weights": identity.fingerprint(_weights(self)),
            }
            if data:
                data.vocabulary.save(beside)
                ids = identity.ids_of(data.vocabulary, data.spec)
                manifest |= {"data": data.data, "split": data.split, "ids": ids}
            (beside / "user_model.json").write_text(json.dumps(manifest, indent=2) + "\n")
            np.savez(beside / "weights.npz", **_weights(self))


Model = TypeVar("Model", bound=FittedModel)


def load(
    directory: str | os.PathLike,
    builders: Mapping[str, Callable[[types.DataSpec, Mapping[str, Any]], Model]],
) -> Model:
    """Reads a saved user model.

    Args:
      directory: its folder.
      builders: kind -> builds an untrained model of a spec and the fields of a configuration.

    Raises:
      UserError: if there is none, its files do not fit together, or a weight is not finite.
    """
    folder = pathlib.Path(directory)
    path = folder / "user_model.json"
    try:
        manifest = json.loads(path.read_text())
        spec = types.DataSpec.restored(manifest["spec"])
        kind = manifest.get("kind", _DEFAULT_KIND)
        if kind not in builders:
            raise ValueError(f"its kind is {kind!r}; expected {' or '.join(builders)}")
        model = builders[kind](spec, manifest["config"])
        with np.load(folder / "weights.npz") as stored:
            saved = {name: stored[name] for name in stored.files}
        unmatched = {_key(v) for v in model.variables} ^ set(saved)
        if unmatched:
            raise ValueError(f"missing or unexpected weights: {', '.join(sorted(unmatched))}")
        weights.check(saved.items(), str(folder))
        for variable in model.variables:
            variable.assign(saved[_key(variable)])
        computed: dict[str, Any] = {"weights": identity.fingerprint(_weights(model))}
        if "ids" in manifest:
            vocabulary = vocabulary_lib.load(folder)
            computed["ids"] = identity.ids_of(vocabulary, spec)
            model.data = identity.Origin(
                str(folder),
                vocabulary,
                spec,
                manifest["data"],
                manifest["split"],
                made="fitted",
                remedy="run launch.fit_simulator",
            )
        verified = identity.verified(path, manifest, computed, "Fit it again")
        decisive = ("config", "weights", "ids")
        model.content = identity.fingerprint({name: verified.get(name) for name in decisive})
    except FileNotFoundError as error:
        raise errors.UserError(
            f"{error.filename}: no such file; expected a user model written by "
            "launch.fit_simulator"
        ) from error
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise errors.UserError(
            f"{folder}: not a readable user model ({error}); fit it again with "
            "launch.fit_simulator"
        ) from error
    return model


def _weights(model: FittedModel) -> dict[str, Any]:
    return {_key(variable): variable.numpy() for variable in model.variables}


def _key(variable: tf.Variable) -> str:
    return variable.name.removesuffix(":0")
