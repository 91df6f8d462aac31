"""Description of an exported version: manifest.json and model_card.md."""

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrec.data import feature_encoding, state_encoding
from tfrec.serving import ranker as ranker_lib
from tfrec.serving import requests

FORMAT = 1  # raise it when a reader of manifest.json has to change

_MEANING = {
    "history_item": "raw item ids of the last events, oldest first; padding and unknown items "
    "are dropped at any position",
    "history_feedback": "a row of raw feedback values for each event, columns as in `feedback`",
    "step": "steps already taken in this session; the last `step` events belong to it",
    "goal": "standardised weights, columns as in `measurements`, any nonzero vector; "
    "width 0 if goal_name is used",
    "goal_name": 'a named goal; "" to use `goal`',
    "weights": "value of one raw unit of each measurement column",
    "candidates": "raw item ids to choose from; width 0 for the whole catalogue",
    "exclude": "raw item ids to leave out of the answer; width 0 for none",
    "k": "number of items, one or one for each row; at most the size of the catalogue",
    "context_values": "numbers of the values of the features of users, then of contexts, which "
    "`user_features` and `context_features` define; zeros or width 0 if they are missing",
    "item": "raw item ids, best first; padding if fewer than k remain",
    "score": "goal . (V + A), standardised; -inf if fewer than k remain",
    "measurements": "predicted measurements, raw units",
    "valid": "false for positions without an item, if fewer than k remain",
    "known": "false for an item outside the vocabulary, which gets the average over items",
}
_PACKAGES = ("tensorflow", "tf-keras", "numpy", "tensorflow-serving-api")
_LIMITS = (
    "Predictions describe the training log, or the simulated users of the training; live users "
    "may behave differently.",
    "Items outside the training log are unknown: their events are left out of the history, and "
    "they are never recommended.",
    "Scores of different goals are on different scales; compare predicted measurements.",
)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Provenance of a model, for its manifest and card.

    Attributes:
      name: name of the model.
      data: source, fingerprint and counts of the training data.
      metrics: results of its evaluation, e.g. the policies of results.json.
      limits: unsuitable uses, besides the general limits.
      fingerprint: fingerprint of the exported agent or policy.
    """

    name: str = "ranker"
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limits: tuple[str, ...] = ()
    fingerprint: str = ""


def encoder_of(ranker: ranker_lib.Ranker) -> state_encoding.StateEncoder:
    """The encoders of the features of users and contexts that a ranker reads."""
    if ranker.spec.state_features is None:
        return state_encoding.StateEncoder()
    return ranker.vocabulary.state_encoder.of(ranker.spec)


def state_encoder(manifest: Mapping[str, Any]) -> state_encoding.StateEncoder:
    """The encoders of the features of users and contexts that a manifest describes."""
    described = (manifest.get(f"{owner}_features") for owner in state_encoding.OWNERS)
    encoders = (
        None if content is None else feature_encoding.restored(content, owner)
        for owner, content in zip(state_encoding.OWNERS, described, strict=True)
    )
    return state_encoding.StateEncoder(*encoders)


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
    """Makes the manifest, without the checksums of files.

    Args:
      ranker: the agent.
      version: the version number.
      item_dtype: `string` or `int64`.
      signatures: concrete functions by signature name.
      metadata: provenance of the model.
      ranking: search of the best items.

    Returns:
      A dict that json can write.
    """
    spec, measurements = ranker.spec, ranker.measurements
    units = column_units(measurements)
    mean, std = (np.asarray(x, float).tolist() for x in (measurements.mean, measurements.std))
    # serving_default repeats `rank`.
    named = {name: signatures[name] for name in requests.SIGNATURES}
    encoders = encoder_of(ranker)._asdict()
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
        **{
            f"{owner}_features": encoder.described()
            for owner, encoder in encoders.items()
            if encoder is not None
        },
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
    """The first fields of every manifest."""
    return {
        "format": FORMAT,
        "kind": kind,
        "name": metadata.name,
        "fingerprint": metadata.fingerprint,
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that a model depends on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def tensors(signatures: Mapping[str, Any], meaning: Mapping[str, str]) -> dict[str, Any]:
    """Type, shape and meaning of the inputs and outputs of each concrete function."""

    def row(name: str, tensor: Any) -> dict[str, Any]:
        shape = None if tensor.shape.rank is None else tensor.shape.as_list()
        return {"dtype": tensor.dtype.name, "shape": shape, "meaning": meaning[name]}

    return {
        name: {
            "inputs": {
                spec.name: row(spec.name, spec)
                for spec in function.structured_input_signature[0]
                if spec is not None  # `context_values` of a model that reads none
            },
            "outputs": {
                key: row(key, tensor) for key, tensor in function.structured_outputs.items()
            },
        }
        for name, function in signatures.items()
    }


def card(manifest: Mapping[str, Any]) -> str:
    """The model card, a readable form of the manifest."""
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

Ranks {manifest["item_id"]["recommended"]} items for a user's history and a goal in the
request, and predicts the measurements below for each item, from the recommendation to the end
of the session.

Made {manifest["created"]}. Signatures: {signatures} (`serving_default` is `rank`);
their inputs and outputs are in manifest.json.
{_table(manifest)}
## Input

The last {manifest["history_length"]} events, each with {_feedback(manifest["feedback"])}.
Item ids are those of the log ({manifest["item_id"]["dtype"]}).{_people(manifest)}

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

The saved model was loaded again, and its answers to the frozen requests in assets.extra/golden
equal those of the agent: the same items, scores within 1e-5. Checksums of all files are in
manifest.json.
"""


def _table(manifest: Mapping[str, Any]) -> str:
    """The recall of an approximate search, or nothing for an exact one."""
    table = manifest.get("table", {})
    if "recall" not in table:
        return ""
    return (
        f"\nItems are found by {manifest['ranking']}: of the exact best {table['k']}, "
        f"{table['recall']:.2%} were found for {table['queries']} random goals.\n"
    )


def _people(manifest: Mapping[str, Any]) -> str:
    """Sentences on the descriptions of the items and on the features of users and contexts."""
    return _items(manifest) + _features(manifest)


def _items(manifest: Mapping[str, Any]) -> str:
    """A sentence on the descriptions of the items; nothing without them."""
    entry = manifest.get("item_descriptions")
    if entry is None:
        return ""
    shown = [f"names (`{entry['name']}`)"] if entry["name"] else []
    shown += [f"`{column}`" for column in entry["columns"]]
    return f"\nDescriptions of the items for people: {', '.join(shown)} in {entry['file']}."


def _features(manifest: Mapping[str, Any]) -> str:
    """A sentence on the features of users, and one on those of contexts, if there are any."""
    sentences = ""
    for owner, encoder in state_encoder(manifest)._asdict().items():
        if encoder is None:
            continue
        columns = ", ".join(
            f"`{code.column.name}` ({code.column.kind})" for code in encoder.codes
        )
        sentences += (
            f"\nFeatures of the {owner}: {columns}; `{owner}_features` in manifest.json has "
            "their values."
        )
    return sentences


def _feedback(columns: list[dict[str, str]]) -> str:
    return ", ".join(f"`{column['name']}` ({column['unit']})" for column in columns)


def _weights(goal: list[float], columns: list[str]) -> str:
    """The nonzero weights: a goal over embeddings has dozens of zeros."""
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
