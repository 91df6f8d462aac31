"""Exports a greedy TF-Agents policy as a versioned SavedModel, as `export` does a ranker.

    export/
      1/  saved_model.pb  variables/  manifest.json  model_card.md
          assets.extra/golden/act.npz  assets.extra/tf_serving_warmup_requests
      2/  ...

A request is an observation; reward, discount and step type are not asked for. That they
change nothing is part of what is verified before the version appears.
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
_QUESTIONS = 16
_CANDIDATES = 7
_MEANING = {
    "observation": "what the policy observes, finite",
    "candidates": "item vectors to choose from, finite",
    "action": "the policy's greedy action; whole numbers are positions",
    "position": "places in candidates by their inner product with the action, best first",
    "score": "these inner products",
}
_LIMITS = (
    "It acts as it did in the environment that it was trained in; observations must be made in "
    "the same way.",
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
      policy: greedy and without memory; it observes one float32 vector, or float32 tensors
        by name.
      directory: where versions lie; made if missing. One of rankers is rejected.
      version: its number, from 1; the next free one by default.
      metadata: where the policy comes from.
      observations: float32 [Q, ...] by name (`observation` if there is but one), as the
        environment gives them, to verify with; drawn from a normal distribution by default.

    Returns:
      The version directory.

    Raises:
      UserError: if the version exists, the directory cannot be written, the policy has a
        memory or draws its actions, or the saved model does not act as it does. Nothing is
        left behind then.
    """
    weights.check(((v.name, v) for v in policy.variables()), "not exported")
    graph = policy_lib.PolicyModel(policy)
    if observations is None:
        random = np.random.default_rng(0)
        observations = {
            name: random.normal(size=(_QUESTIONS, *spec.shape))
            for name, spec in graph.inputs.items()
        }
    asked = {name: np.asarray(value, np.float32) for name, value in observations.items()}
    if set(asked) != set(graph.inputs):
        raise errors.UserError(
            f"observations of {', '.join(asked)}; expected {', '.join(graph.inputs)}"
        )
    for name, spec in graph.inputs.items():
        found = asked[name]
        if found.shape[1:] != tuple(spec.shape) or not np.isfinite(found).all():
            raise errors.UserError(
                f"observations: {name} is {list(found.shape)}; expected finite "
                f"{['any', *spec.shape]}"
            )
    files.expect_kind(directory, "policy")
    frozen = asked | {"action": _actions(policy, graph, asked)}
    fill = functools.partial(_write, graph, frozen, metadata)
    return numbered.write(directory, version, fill)


def verify(version: pathlib.Path) -> None:
    """Loads an exported policy afresh and compares it with its golden answers.

    The frozen observations are asked together and one by one.

    Raises:
      UserError: naming the observation and the difference.
    """
    try:
        with model_path.literal(version) as path:
            signatures = tf.saved_model.load(path).signatures
        with np.load(version / golden.GOLDEN / "act.npz") as stored:
            frozen = {name: stored[name] for name in stored.files}
        rows = [slice(None), *(slice(row, row + 1) for row in range(len(frozen["action"])))]
        for name, function in signatures.items():
            for row in rows:
                some = {key: value[row] for key, value in frozen.items()}
                wrong = _difference(function, some)
                if wrong:
                    raise errors.UserError(
                        f"{version}: the exported model is not the policy: {name}, {wrong}"
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
    """Everything of a version, verified."""
    signatures = graph.signatures()
    tf.saved_model.save(graph.trackable(), str(version), signatures)
    if graph.chooses:  # `candidates` is free: the one input is `observation`
        shape = (len(frozen["action"]), _CANDIDATES, graph.action.shape[0])
        drawn = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        drawn[:, -1] = drawn[:, 0]  # a tie
        frozen = frozen | {"candidates": drawn}
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
    """The policy's own actions, in the middle of an episode and at its start.

    Raises:
      UserError: if they differ from one time to the next, or are not finite.
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
        raise errors.UserError(f"policy {policy.name!r}: its own actions are not finite")
    return first


def _inputs(function: Any) -> list[str]:
    """Names of what a signature takes, saved and loaded or not."""
    positional, named = function.structured_input_signature
    return [spec.name for spec in positional] + list(named)


def _difference(
    function: Callable[..., dict[str, tf.Tensor]], frozen: Mapping[str, np.ndarray]
) -> str | None:
    """What sets answers apart from the policy's, or None."""
    given = {name: tf.constant(frozen[name]) for name in _inputs(function)}
    answer = {name: value.numpy() for name, value in function(**given).items()}
    allowed = golden.TOLERANCE * max(1.0, float(np.max(np.abs(frozen["action"]), initial=0)))
    worst = float(np.max(np.abs(answer["action"] - frozen["action"]), initial=0))
    if not worst <= allowed:
        return f"actions differ by {worst:.3g}"
    if "position" not in answer:
        return None
    exact = np.einsum("bd,bmd->bm", frozen["action"], frozen["candidates"])
    allowed = 4 * golden.TOLERANCE * max(1.0, float(np.max(np.abs(exact))))
    order, places = answer["position"], np.arange(exact.shape[1])
    if not (np.sort(order, axis=1) == places).all():
        return f"positions are {order.tolist()}"
    chosen = np.take_along_axis(exact, order, axis=1)
    worst = float(np.max(np.abs(chosen - answer["score"])))
    if not worst <= allowed or not (np.diff(chosen) <= allowed).all():
        return f"scores differ by {worst:.3g}, in the order {order.tolist()}"
    return None


def _describe(
    graph: policy_lib.PolicyModel,
    signatures: Mapping[str, Any],
    number: int,
    metadata: manifest_lib.Metadata,
) -> dict[str, Any]:
    """The manifest, but for the checksums of files."""
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
    """The model card: the manifest for people."""
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

The saved model was loaded afresh and acted as the policy does for the frozen observations in
assets.extra/golden, together and one by one, within 1e-5. Checksums of all files are in
manifest.json.
"""
