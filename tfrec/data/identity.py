"""Identity by content: fingerprints of ids, weights and configurations, and their comparison.

Dense ids mean nothing without the vocabulary that they were made with. Each artefact with dense
ids (prepared data, a simulator, an agent) has an `Origin`, and code that combines two artefacts
calls `check`. A run or a study records a `Source` of each input and calls `changes` when it
resumes. Paths serve messages only; fingerprints decide.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrec import types
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError


def fingerprint(content: Any) -> str:
    """Hashes content. Equal values have equal hashes, regardless of path or file.

    Args:
      content: numbers, strings, None, numpy arrays and dataclasses, in any nest of dicts,
        lists and tuples. The order of a dict's keys does not count.

    Returns:
      16 hexadecimal digits.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            if value.dtype.kind == "U":  # equal texts may lie in arrays of unequal width
                longest = int(np.char.str_len(value).max(initial=0))
                value = value.astype(f"<U{max(1, longest)}")
            digest = hashlib.sha256(value.tobytes()).hexdigest()
            return {"array": [value.dtype.str, value.shape, digest]}
        if isinstance(value, np.generic):
            return value.item()
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        raise TypeError(f"no fingerprint of {type(value).__name__}: {value!r}")

    text = json.dumps(content, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_variables(variables: Iterable[Any]) -> str:
    """Fingerprint of variables in any order, for graphs that do not name them."""
    return fingerprint(sorted(fingerprint(variable.numpy()) for variable in variables))


def ids_of(vocabulary: vocabulary_lib.Vocabulary, spec: types.DataSpec) -> dict[str, str]:
    """Fingerprints of what dense ids and feedback columns stand for.

    Returns:
      `items` and `users`, of the raw ids in order; `feedback`, of the feedback columns.
    """
    return {
        "items": fingerprint(vocabulary.items),
        "users": fingerprint(vocabulary.users),
        "feedback": fingerprint(spec.feedback),
    }


@dataclasses.dataclass(frozen=True)
class Origin:
    """The prepared log that an artefact belongs to.

    Attributes:
      path: path of the artefact, for messages.
      vocabulary: raw ids of its dense ids.
      spec: its feedback columns and sizes.
      data: fingerprint of the prepared data; empty if it was not recorded.
      split: which users or times it was trained and tested on; None if not recorded.
      earlier: `data` and `split` of each agent that its training started from.
      made: how the artefact was made: `prepared`, `fitted` or `trained`.
      remedy: how to make the artefact for other data.
    """

    path: str
    vocabulary: vocabulary_lib.Vocabulary
    spec: types.DataSpec
    data: str = ""
    split: Mapping[str, Any] | None = None
    earlier: Sequence[Mapping[str, Any]] = ()
    made: str = "prepared"
    remedy: str = "run launch.prepare_data"


def trained(
    path: Any,
    vocabulary: vocabulary_lib.Vocabulary,
    spec: types.DataSpec,
    about: Mapping[str, Any],
) -> Origin:
    """The origin of a trained agent.

    Args:
      path: its folder.
      vocabulary: raw ids.
      spec: the log's spec.
      about: provenance, with the fields of `storage.PreparedData.provenance`.
    """
    remedy = "train the agent"
    return Origin(
        str(path),
        vocabulary,
        spec,
        about.get("data", ""),
        about.get("split"),
        about.get("started from", ()),
        "trained",
        remedy,
    )


def verified(
    path: pathlib.Path, saved: Mapping[str, Any], computed: Mapping[str, Any], remedy: str
) -> dict[str, Any]:
    """Compares the fingerprints of a manifest with those of the files beside it.

    Args:
      path: path of the manifest, for the message.
      saved: the manifest. Earlier versions wrote no fingerprints.
      computed: fingerprints of the files, e.g. `ids` and `weights`.
      remedy: advice for the message.

    Returns:
      The manifest, with the computed fingerprints.

    Raises:
      UserError: if a file is not the one that the manifest was written for.
    """
    for name, fingerprint_now in computed.items():
        if saved.get(name, fingerprint_now) != fingerprint_now:
            raise UserError(
                f"{path}: damaged: the fingerprint of its {name} is {saved[name]}, and that of "
                f"the files beside it {fingerprint_now}: they were not saved together. {remedy}"
            )
    return {**saved, **computed}


def check(one: Origin, other: Origin, same_split: bool = False) -> None:
    """Checks that the dense ids of an artefact are those of other data.

    Features of items and scales of feedback are not compared: an agent ranks with those that it
    was trained with. Features of users and contexts are numbers in the data, which must mean
    the same to an agent that reads them.

    Args:
      one: the artefact.
      other: the prepared data (or another artefact) that it is used with.
      same_split: whether `one` must not be trained on test users of `other`. Both then need the
        same split, because scores of users that `one` was trained on are too high. Data that
        its training started from must be the same, or end before the test sessions of `other`.

    Raises:
      UserError: with both paths, both fingerprints and the first difference.
    """
    advice = (
        f"Pass the data that {one.path} was {one.made} on, or {one.remedy} again with "
        f"{other.path}"
    )
    specs = [x.spec.ids_alone.unscaled for x in (one, other)]
    before, now = (
        ids_of(x.vocabulary, spec) for x, spec in zip((one, other), specs, strict=True)
    )
    if before != now or specs[0] != specs[1]:
        prints = "; ".join(
            f"fingerprints of {name}: {before[name]} and {now[name]}"
            for name in before
            if before[name] != now[name]
        )
        raise UserError(
            f"{one.path} was {one.made} on another log, or on another preparation of it, than "
            f"{other.path}: {_difference(one, other)}{prints and f' ({prints})'}. {advice}"
        )
    for agent, data in ((one, other), (other, one)):
        if agent.made != "trained":
            continue
        encoders = (x.vocabulary.state_encoder.of(agent.spec) for x in (agent, data))
        for name, read, stored in zip(("users", "contexts"), *encoders, strict=True):
            if read != stored:
                raise UserError(
                    f"{agent.path} was trained on other features of {name} than those of "
                    f"{data.path}: their columns, categories or bins differ. {advice}"
                )
    if not same_split:
        return
    _check_earlier(one, other)
    if one.data and one.data == other.data:
        return
    if one.split is None or other.split is None:
        unknown = one if one.split is None else other
        raise UserError(
            f"{unknown.path} does not record how its log was split into training and test "
            f"(fingerprints {one.data or 'not recorded'} and {other.data or 'not recorded'}): "
            f"test users of {other.path} may be among those that {one.path} was {one.made} "
            f"on. {advice}"
        )
    if dict(one.split) != dict(other.split):
        differing = ", ".join(
            f"{name} is {one.split.get(name)!r} in {one.path} and {other.split.get(name)!r} "
            f"in {other.path}"
            for name in sorted({*one.split, *other.split})
            if one.split.get(name) != other.split.get(name)
        )
        raise UserError(
            f"{one.path} was {one.made} on another split of the log than {other.path} "
            f"(fingerprints {one.data} and {other.data}): {differing}. It has seen test users "
            f"of {other.path}, and a score on them would be too high. {advice}"
        )


def _check_earlier(one: Origin, other: Origin) -> None:
    """Rejects an artefact whose training started from one that may have seen test users."""

    def until(split: Mapping[str, Any]) -> int:
        """The end of the training and validation sessions."""
        return max(split["train_until_ms"], split["validation_until_ms"])

    for start in one.earlier:
        splits = [x or {} for x in (start.get("split"), other.split)]
        if start.get("data") and start["data"] == other.data:
            continue
        if all(x.get("split") == "time" for x in splits) and (
            splits[0]["train_until_ms"] <= until(splits[1])
        ):
            continue
        raise UserError(
            f"{one.path} started from an agent that was trained on other data (fingerprint "
            f"{start.get('data') or 'not recorded'}, split {start.get('split')}): test users "
            f"of {other.path} may be among those that it was trained on. Prepare the data with "
            "split=time, so that test sessions are later than all that was learned"
        )


class Source(NamedTuple):
    """An input of a run or a study.

    Attributes:
      path: path of the input, for messages.
      fingerprint: fingerprint of its content.
    """

    path: str
    fingerprint: str


Sources = Mapping[str, Source]


def recorded(sources: Sources) -> dict[str, dict[str, str]]:
    """The sources as JSON: name -> path and fingerprint."""
    return {name: source._asdict() for name, source in sources.items()}


def fingerprints(sources: Sources) -> dict[str, str]:
    """The sources' fingerprints by name."""
    return {name: source.fingerprint for name, source in sources.items()}


def changes(before: Mapping[str, Any] | None, now: Sources) -> list[str]:
    """Lists the inputs that differ from the recorded ones, one line for each.

    Args:
      before: output of `recorded` at the start of the run, study or result; None if it was
        started before inputs were recorded.
      now: the current inputs.

    Returns:
      Lines such as `world: was runs/world with fingerprint 12ab, is now ...`. Equal content
      under another path is no change.
    """
    if before is None:
        if not now:
            return []
        return [
            f"{', '.join(now)}: their fingerprints were not recorded (an earlier version "
            "began it), so it is unknown whether they have changed"
        ]
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old is None or new is None or old["fingerprint"] != new.fingerprint:
            replaced = old and new and pathlib.Path(old["path"]) == pathlib.Path(new.path)
            lines.append(
                f"{name}: was {_described(old)}, is now {_described(new and new._asdict())}"
                + (": it was replaced since" if replaced else "")
            )
    return lines


def _described(source: Mapping[str, str] | None) -> str:
    if source is None:
        return "none"
    return f"{source['path']} with fingerprint {source['fingerprint']}"


def _difference(one: Origin, other: Origin) -> str:
    """The first way in which two origins differ, in words."""
    for kind in ("item", "user"):
        here, there = (getattr(x.vocabulary, f"{kind}s") for x in (one, other))
        if here.dtype.kind != there.dtype.kind:
            kinds = ["numbers" if ids.dtype.kind == "i" else "text" for ids in (here, there)]
            return f"{kind} ids are {kinds[0]} in {one.path} and {kinds[1]} in {other.path}"
        shared = min(len(here), len(there))
        unequal = np.flatnonzero(here[:shared] != there[:shared])
        if unequal.size:
            place = int(unequal[0])
            return (
                f"{kind} ids differ: position {place + 1} is {here[place].item()!r} in "
                f"{one.path} and {there[place].item()!r} in {other.path}"
            )
        if len(here) != len(there):
            return (
                f"{kind} ids differ: {len(here):,} in {one.path} and {len(there):,} in "
                f"{other.path}"
            )
    for field in dataclasses.fields(types.DataSpec):
        plain = [getattr(x.spec.ids_alone.unscaled, field.name) for x in (one, other)]
        if plain[0] != plain[1]:
            before, now = (_readable(getattr(x.spec, field.name)) for x in (one, other))
            return f"{field.name} is {before} in {one.path} and {now} in {other.path}"
    raise AssertionError("called for two equal origins")


def _readable(value: Any) -> str:
    """A field of a spec in words."""
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join(f"{c.name} ({c.kind}, {c.unit}, scale {c.scale!r})" for c in value)
