"""Exports a greedy TF-Agents policy as a versioned SavedModel, as `export` does a ranker.

    export/
      1/  saved_model.pb  variables/  manifest.json  model_card.md
          assets.extra/golden/act.npz  assets.extra/tf_serving_warmup_requests
      2/  ...

A request is an observation, without reward, discount and step type. The export verifies that
the policy does not depend on them.
"""

import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.policies import tf_policy
from tf_agents.trajectories import time_step

from tfrec import errors, model_path, weights
from tfrec.serving import files, golden, numbered, warmup
from tfrec.serving import manifest as manifest_lib
from tfrec.serving import policy as policy_lib

_NOT_RECORDED = manifest_lib.Metadata(name="policy")
_NUM_SAMPLES = 16
_CANDIDATES = 7
_MEANING = {
    "observation": "what the policy observes, finite",
    "candidates": "item vectors to choose from, finite",
    "action": "the policy's greedy action; whole numbers are positions",
    "position": "places in candidates by their inner product with the action, best first",
    "score": "these inner products",
}
_LIMITS = (
    "The policy is trained for one environment; observations must be made in the same way as "
    "there.",
)


def export(
    policy: tf_policy.TFPolicy,
    directory: str | os.PathLike,
    version: int | None = None,
    metadata: manifest_lib.Metadata = _NOT_RECORDED,
    observations: Mapping[str, np.ndarray] | None = None,
) -> pathlib.Path:
    """Writes one version and verifies it.

    Args:
      policy: greedy policy without state, which observes one float32 vector, or float32
        tensors by name.
      directory: folder of the versions; created if missing. A folder of rankers is rejected.
      version: number of the version, from 1; the next free one by default.
      metadata: provenance of the policy.
      observations: observations of the environment for the verification, float32 [Q, ...]
        by name (a single one is `observation`); normally distributed by default.

    Returns:
      The version directory.

    Raises:
      UserError: if the version exists, the directory cannot be written, the policy has a
        state or samples its actions, or the actions of the saved model differ. No partial
        output is left.
    """
    weights.check(((v.name, v) for v in policy.variables()), "not exported")
    graph = policy_lib.PolicyModel(policy)
    if observations is None:
        random = np.random.default_rng(0)
        observations = {
            name: random.normal(size=(_NUM_SAMPLES, *spec.shape))
            for name, spec in graph.inputs.items()
        }
    samples = {name: np.asarray(value, np.float32) for name, value in observations.items()}
    if set(samples) != set(graph.inputs):
        raise errors.UserError(
            f"observations of {', '.join(samples)}; expected {', '.join(graph.inputs)}"
        )
    for name, spec in graph.inputs.items():
        sample = samples[name]
        if sample.shape[1:] != tuple(spec.shape) or not np.isfinite(sample).all():
            raise errors.UserError(
                f"observations: {name} is {list(sample.shape)}; expected finite "
                f"{['any', *spec.shape]}"
            )
    files.expect_kind(directory, "policy")
    frozen = samples | {"action": _actions(policy, graph, samples)}
    fill = functools.partial(_write, graph, frozen, metadata)
    return numbered.write(directory, version, fill)


def verify(version: pathlib.Path) -> None:
    """Loads an exported policy and compares it with its golden answers.

    The frozen observations are evaluated together and one by one.

    Raises:
      UserError: with the observation and the difference.
    """
    try:
        with model_path.literal(version) as path:
            signatures = tf.saved_model.load(path).signatures
        with np.load(version / golden.GOLDEN / "act.npz") as stored:
            frozen = {name: stored[name] for name in stored.files}
        rows = [slice(None), *(slice(row, row + 1) for row in range(len(frozen["action"])))]
        for name, function in signatures.items():
            for row in rows:
                batch = {key: value[row] for key, value in frozen.items()}
                difference = _difference(function, batch)
                if difference:
                    raise errors.UserError(
                        f"{version}: the exported model is not the policy: {name}, {difference}"
                    )
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise errors.UserError(f"{version}: not a whole exported policy: {error}") from error


def _write(
    graph: policy_lib.PolicyModel,
    frozen: dict[str, Any],
    metadata: manifest_lib.Metadata,
    version: pathlib.Path,
    number: int,
) -> None:
    """Writes all files of a version and verifies them."""
    signatures = graph.signatures()
    tf.saved_model.save(graph.trackable(), str(version), signatures)
    if graph.chooses:  # `candidates` is free: the one input is `observation`
        shape = (len(frozen["action"]), _CANDIDATES, graph.action.shape[0])
        candidates = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        candidates[:, -1] = candidates[:, 0]  # a tie
        frozen = frozen | {"candidates": candidates}
    (version / golden.GOLDEN).mkdir(parents=True)
    np.savez(version / golden.GOLDEN / "act.npz", **frozen)
    verify(version)

    warmup.record(
        version,
        (
            (name, {key: frozen[key][:rows] for key in _inputs(function)})
            for name, function in signatures.items()
            for rows in (1, len(frozen["action"]))
        ),
    )
    manifest = _describe(graph, signatures, number, metadata)
    (version / "model_card.md").write_text(_card(manifest), encoding="utf-8")
    manifest["files"] = files.checksums(version)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (version / files.MANIFEST).write_text(text + "\n", encoding="utf-8")


def _actions(
    policy: tf_policy.TFPolicy,
    graph: policy_lib.PolicyModel,
    observations: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Actions of the policy, which must be equal at the start and within an episode.

    Raises:
      UserError: if actions differ between calls, or are not finite.
    """
    batch = len(next(iter(observations.values())))
    observed = graph.observation({name: tf.constant(x) for name, x in observations.items()})
    start = time_step.restart(observed, batch_size=batch)
    middle = time_step.transition(observed, tf.fill([batch], 3.0), tf.fill([batch], 0.5))
    first, *others = [policy.action(step).action.numpy() for step in (start, start, middle)]
    if any(np.max(np.abs(first - other), initial=0) > golden.TOLERANCE for other in others):
        raise errors.UserError(
            f"policy {policy.name!r} acts differently each time, or by reward, discount or "
            "step type; export a greedy one, e.g. agent.policy"
        )
    if not np.isfinite(first).all():
        raise errors.UserError(f"policy {policy.name!r}: its actions are not finite")
    return first


def _inputs(function: Any) -> list[str]:
    """Names of the inputs of a signature, before or after saving."""
    positional, named = function.structured_input_signature
    return [spec.name for spec in positional] + list(named)


def _difference(
    function: Callable[..., dict[str, tf.Tensor]], frozen: Mapping[str, np.ndarray]
) -> str | None:
    """The difference between a signature's answers and the policy's, or None."""
    inputs = {name: tf.constant(frozen[name]) for name in _inputs(function)}
    answer = {name: value.numpy() for name, value in function(**inputs).items()}
    allowed = golden.TOLERANCE * max(1.0, float(np.max(np.abs(frozen["action"]), initial=0)))
    largest_error = float(np.max(np.abs(answer["action"] - frozen["action"]), initial=0))
    if not largest_error <= allowed:
        return f"actions differ by {largest_error:.3g}"
    if "position" not in answer:
        return None
    exact = np.einsum("bd,bmd->bm", frozen["action"], frozen["candidates"])
    allowed = 4 * golden.TOLERANCE * max(1.0, float(np.max(np.abs(exact))))
    order, places = answer["position"], np.arange(exact.shape[1])
    if not (np.sort(order, axis=1) == places).all():
        return f"positions are {order.tolist()}"
    ordered_scores = np.take_along_axis(exact, order, axis=1)
    largest_error = float(np.max(np.abs(ordered_scores - answer["score"])))
    if not largest_error <= allowed or not (np.diff(ordered_scores) <= allowed).all():
        return f"scores differ by {largest_error:.3g}, in the order {order.tolist()}"
    return None


def _describe(
    graph: policy_lib.PolicyModel,
    signatures: Mapping[str, Any],
    number: int,
    metadata: manifest_lib.Metadata,
) -> dict[str, Any]:
    """The manifest without the checksums of files."""
    named = {name: x for name, x in signatures.items() if name != "serving_default"}
    return {
        **manifest_lib.start("policy", number, metadata),
        "observation": {name: spec.shape.as_list() for name, spec in graph.inputs.items()},
        "action": {
            "dtype": graph.action.dtype.name,
            "shape": graph.action.shape.as_list(),
            # Bounds, where the spec has some.
            **{
                name: np.asarray(getattr(graph.action, name)).tolist()
                for name in ("minimum", "maximum")
                if hasattr(graph.action, name)
            },
        },
        "signatures": manifest_lib.tensors(named, _MEANING),
        "data": dict(metadata.data),
        "metrics": dict(metadata.metrics),
        "limits": [*_LIMITS, *metadata.limits],
        "packages": manifest_lib.packages(),
    }


def _card(manifest: Mapping[str, Any]) -> str:
    """The model card, a readable form of the manifest."""
    action = manifest["action"]
    bounds = ""
    if "minimum" in action:
        bounds = f", from {action['minimum']} to {action['maximum']}"
    seen = ", ".join(f"`{name}` {shape}" for name, shape in manifest["observation"].items())
    limits = "\n".join(f"- {limit}" for limit in manifest["limits"])
    return f"""# {manifest["name"]}, version {manifest["version"]}

Acts greedily: of {seen}, an action of shape {action["shape"]}
({action["dtype"]}{bounds}).

Made {manifest["created"]}. Signatures: {", ".join(f"`{n}`" for n in manifest["signatures"])}
(`serving_default` is `act`); their inputs and outputs are in manifest.json.

## Trained on

{manifest_lib.bullets(manifest["data"])}

## How good it was

{manifest_lib.bullets(manifest["metrics"])}

## Limits

{limits}

## Checked at export

The saved model was loaded again, and its actions for the frozen observations in
assets.extra/golden, together and one by one, equal those of the policy within 1e-5. Checksums
of all files are in manifest.json.
"""
