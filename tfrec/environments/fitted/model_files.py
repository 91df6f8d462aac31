"""The folder of a fitted user model: user_model.json, weights.npz and the ids."""

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from tfrec import errors, outputs, types, weights
from tfrec.data import identity
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.environments.fitted import kinds

_DEFAULT_KIND = kinds.RECURRENT  # for files of an earlier version, which record no kind


class Model(Protocol):
    """The attributes of a user model that are saved in its files.

    Attributes:
      spec: spec of the fitted log.
      config: a dataclass with the sizes and the training options.
      data: the prepared data of the fit, if `load` has read its record.
      content: fingerprint of weights, configuration and ids; empty before loading.
    """

    spec: types.DataSpec
    config: Any
    data: identity.Origin | None
    content: str

    @property
    def variables(self) -> Any: ...


AnyModel = TypeVar("AnyModel", bound=Model)


def save(
    model: Model,
    kind: str,
    directory: str | os.PathLike,
    data: identity.Origin | None = None,
) -> None:
    """Writes a model; the directory appears whole or not at all.

    Args:
      model: the user model.
      kind: name of its class.
      directory: target folder; an existing model is replaced.
      data: the prepared data of the fit. The launch scripts reject a model without it,
        because they cannot check its dense ids.

    Raises:
      NonFiniteWeightsError: if a weight is not finite; nothing is written.
      UserError: if the directory cannot be written; nothing is left behind.
    """
    target = pathlib.Path(directory)
    weights.check(((_key(v), v) for v in model.variables), f"{target}: not written")
    with outputs.replacing_folder(target) as beside:
        manifest: dict[str, Any] = {
            "kind": kind,
            "config": dataclasses.asdict(model.config),
            "spec": model.spec.described(),
            "weights": identity.fingerprint(_weights(model)),
        }
        if data:
            data.vocabulary.save(beside)
            ids = identity.ids_of(data.vocabulary, data.spec)
            manifest |= {"data": data.data, "split": data.split, "ids": ids}
        (beside / "user_model.json").write_text(json.dumps(manifest, indent=2) + "\n")
        np.savez(beside / "weights.npz", **_weights(model))


def load(
    directory: str | os.PathLike,
    builders: Mapping[str, Callable[[types.DataSpec, Mapping[str, Any]], AnyModel]],
) -> AnyModel:
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


def fingerprint(model: Model) -> str:
    """Hash of a model's weights, configuration, ids and candidates."""
    content = model.content or identity.fingerprint([model.config, _weights(model)])
    return identity.fingerprint([content, model.spec.candidates])


def _weights(model: Model) -> dict[str, Any]:
    return {_key(variable): variable.numpy() for variable in model.variables}


def _key(variable: tf.Variable) -> str:
    return variable.name.removesuffix(":0")
