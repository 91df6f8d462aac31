"""What an exported version says of itself: manifest.json and model_card.md."""

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrec.serving import ranker as ranker_lib
from tfrec.serving import requests

FORMAT = 1  # raise it when a reader of manifest.json has to change

_MEANING = {
    "history_item": "raw item ids of the last events, oldest first; padding and unknown items "
    "are dropped wherever they are",
    "history_feedback": "a row of raw feedback values for each event, columns as in `feedback`",
    "step": "steps already taken in this session; the last `step` events belong to it",
    "goal": "standardised weights, columns as in `measurements`, any length but zero; "
    "width 0 where goal_name is used",
    "goal_name": 'a named goal; "" to use `goal`',
    "weights": "worth of one raw unit of each measurement column",
    "candidates": "raw item ids to choose from; width 0 for the whole catalogue",
    "exclude": "raw item ids never to answer; width 0 for none",
    "k": "how many items, one number or one for each row; cut to the size of the catalogue",
    "item": "raw item ids, best first; padding where fewer than k remain",
    "score": "goal . (V + A), standardised; -inf where fewer than k remain",
    "measurements": "predicted measurements, raw units",
    "valid": "false where fewer than k remain",
    "known": "false for an item outside the vocabulary: it gets the average over items",
}
_PACKAGES = ("tensorflow", "tf-keras", "numpy", "tensorflow-serving-api")
_LIMITS = (
    "It predicts what followed in its log, or in the simulated users it was trained with; "
    "a live population may answer otherwise.",
    "Items outside the training log are unknown to it: their events are left out of the "
    "history, and they are never recommended.",
    "Scores of different goals are on different scales; compare predicted measurements.",
)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Where a model comes from, for its manifest and card.

    Attributes:
      name: what it is called.
      data: of the training data: source, fingerprint, counts.
      metrics: how good it was, e.g. the policies of results.json.
      limits: what it should not be used for, besides the general limits.
      fingerprint: of the agent or policy that is exported.
    """

    name: str = "ranker"
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limits: tuple[str, ...] = ()
    fingerprint: str = ""


def column_units(measurements: ranker_lib.Measurements) -> list[str]:
    """The unit of each of the M measurement columns."""
    return np.repeat(measurements.units, measurements.size).tolist()


def describe(
    ranker: ranker_lib.Ranker,
    version: int,
    item_dtype: str,
    signatures: Mapping[str, Any],
    metadata: Metadata,
    ranking: str,
) -> dict[str, Any]:
    """The manifest, but for the checksums of files.

    Args:
      ranker: the agent.
      version: the version number.
      item_dtype: `string` or `int64`.
      signatures: concrete functions by signature name.
      metadata: where the model comes from.
      ranking: how it finds the best items.

    Returns:
      A dict that json can write.
    """
    spec, measurements = ranker.spec, ranker.measurements
    units = column_units(measurements)
    mean, std = (np.asarray(x, float).tolist() for x in (measurements.mean, measurements.std))
    # serving_default is `rank` again.
    named = {name: signatures[name] for name in requests.SIGNATURES}
    return {
        **start("ranker", version, metadata),
        "item_id": {
            "dtype": item_dtype,
            "padding": "" if item_dtype == "string" else -1,
            "count": spec.num_items,
            "recommended": spec.num_candidates,
        },
        "history_length": spec.history_length,
        "max_steps": spec.max_steps,
        "feedback": [
            {"name": column.name, "kind": column.kind, "unit": column.unit}
            for column in spec.feedback
        ],
        "measurements": [
            {"column": column, "unit": unit, "mean": mean[j], "std": std[j]}
            for j, (column, unit) in enumerate(zip(measurements.columns, units, strict=True))
        ],
        "named_goals": {
            name: np.asarray(goal, float).tolist() for name, goal in ranker.named_goals.items()
        },
        "discarded": dict(ranker.discarded),
        "signatures": tensors(named, _MEANING),
        "ranking": ranking,
        "data": dict(metadata.data),
        "metrics": dict(metadata.metrics),
        "limits": [*_LIMITS, *metadata.limits],
        "packages": packages(),
    }


def start(kind: str, version: int, metadata: Metadata) -> dict[str, Any]:
    """What every manifest begins with."""
    return {
        "format": FORMAT,
        "kind": kind,
        "name": metadata.name,
        "fingerprint": metadata.fingerprint,
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def packages() -> dict[str, str]:
    """Versions of what a model is made with."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def tensors(signatures: Mapping[str, Any], meaning: Mapping[str, str]) -> dict[str, Any]:
    """Type, shape and meaning of what each concrete function takes and gives."""

    def row(name: str, tensor: Any) -> dict[str, Any]:
        shape = None if tensor.shape.rank is None else tensor.shape.as_list()
        return {"dtype": tensor.dtype.name, "shape": shape, "meaning": meaning[name]}

    return {
        name: {
            "inputs": {
                spec.name: row(spec.name, spec)
                for spec in function.structured_input_signature[0]
            },
            "outputs": {
                key: row(key, tensor) for key, tensor in function.structured_outputs.items()
            },
        }
        for name, function in signatures.items()
    }


def card(manifest: Mapping[str, Any]) -> str:
    """The model card: the manifest for people."""
    measurements = "\n".join(
        f"| `{row['column']}` | {row['unit']} | {row['mean']:.4g} | {row['std']:.4g} |"
        for row in manifest["measurements"]
    )
    columns = [row["column"] for row in manifest["measurements"]]
    goals = "\n".join(
        f"| `{name}` | {_weights(goal, columns)} |"
        for name, goal in manifest["named_goals"].items()
    )
    limits = "\n".join(f"- {limit}" for limit in manifest["limits"])
    signatures = ", ".join(f"`{name}`" for name in requests.SIGNATURES)
    return f"""# {manifest["name"]}, version {manifest["version"]}

Ranks {manifest["item_id"]["recommended"]} items for a user's history and a goal that comes
with the request, and says what it expects to follow each item: the measurements below, from
the recommendation on to the end of the session.

Made {manifest["created"]}. Signatures: {signatures} (`serving_default` is `rank`);
their inputs and outputs are in manifest.json.
{_table(manifest)}
## Input

The last {manifest["history_length"]} events, each with {_feedback(manifest["feedback"])}.
Item ids are the log's own ({manifest["item_id"]["dtype"]}).

## What it predicts

| measurement | unit | mean in training | standard deviation |
|---|---|---|---|
{measurements}

## Named goals (direction in standardised units)

| goal | weights |
|---|---|
{goals or "| none | |"}

## Trained on

{bullets(manifest["data"])}

## How good it was

{bullets(manifest["metrics"])}

## Limits

{limits}

## Checked at export

The saved model was loaded afresh and gave the agent's own answers to the frozen requests in
assets.extra/golden: the same items, scores within 1e-5. Checksums of all files are in
manifest.json.
"""


def _table(manifest: Mapping[str, Any]) -> str:
    """What a search that is not exact costs; of the others there is nothing to say."""
    table = manifest.get("table", {})
    if "recall" not in table:
        return ""
    return (
        f"\nItems are found by {manifest['ranking']}: of the exact best {table['k']}, "
        f"{table['recall']:.2%} were found for {table['queries']} random goals.\n"
    )


def _feedback(columns: list[dict[str, str]]) -> str:
    return ", ".join(f"`{column['name']}` ({column['unit']})" for column in columns)


def _weights(goal: list[float], columns: list[str]) -> str:
    """The weights that matter: a goal over embeddings has dozens of zeros."""
    terms = [f"{w:+.3g} `{name}`" for w, name in zip(goal, columns, strict=True) if w]
    return " ".join(terms)


def bullets(values: Mapping[str, Any], prefix: str = "") -> str:
    """A nested dict as a Markdown list; a mean with its interval takes one line."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping) and set(value) == {"mean", "low", "high"}:
            low, high = value["low"], value["high"]
            lines.append(f"- {prefix}{key}: {value['mean']:.4g} [{low:.4g}, {high:.4g}]")
        elif isinstance(value, Mapping):
            lines.append(bullets(value, f"{prefix}{key} / "))
        else:
            shown = f"{value:.6g}" if isinstance(value, float) else value
            lines.append(f"- {prefix}{key}: {shown}")
    return "\n".join(line for line in lines if line) or "Not recorded."
