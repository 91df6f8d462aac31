"""Is an exported model the agent it came from? Golden requests, files, checksums.

The reference answers are worked out in Python from the agent itself, through
`scores` of every item and a plain sort, and not through the exported graph: an error
in padding, lookup, exclusion, top-k or units in the graph shows as a difference.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrec import errors, types
from tfrec.serving import ranker as ranker_lib
from tfrec.serving import requests

TOLERANCE = 1e-5  # of scores, relative above 1; of measurements, in standard deviations
GOLDEN = pathlib.Path("assets.extra", "golden")
MANIFEST = "manifest.json"


def golden_requests(ranker: ranker_lib.Ranker) -> list[requests.Request]:
    """Requests that meet every path of the graph; the same agent gives the same ones."""
    random = np.random.default_rng(0)
    items = ranker.vocabulary.items.tolist()
    width = len(ranker.measurements.columns)

    def history(length):
        raw = tuple(items[i] for i in random.integers(len(items), size=length))
        return raw, tuple(
            tuple(
                float(random.integers(2))
                if column.kind == "binary"
                else float(np.float32(random.exponential(column.scale)))
                for column in ranker.spec.feedback
            )
            for _ in range(length)
        )

    def goal():
        return tuple(float(np.float32(x)) for x in random.normal(size=width))

    horizon, k = ranker.spec.history_length, min(10, len(items))
    some = tuple(items[i] for i in random.integers(len(items), size=2 * k))  # with repeats
    asked = [requests.Request(goal=goal(), k=k)]  # an empty history
    for length, step in ((1, 0), (horizon, 1), (horizon + 3, ranker.spec.max_steps)):
        asked.append(requests.Request(*history(length), step=step, goal=goal(), k=k))
    asked += [
        requests.Request(*history(horizon), goal_name=name, k=k) for name in ranker.named_goals
    ]
    asked.append(requests.Request(*history(2), goal=goal(), exclude=some[:k], k=k))
    asked.append(requests.Request(*history(2), goal=goal(), candidates=some, k=k))
    asked.append(
        requests.Request(*history(2), goal=goal(), candidates=some, exclude=some[:2], k=k)
    )
    return asked


def reference(
    ranker: ranker_lib.Ranker, asked: Sequence[requests.Request]
) -> dict[str, np.ndarray]:
    """What the agent itself answers to `rank` (or `rank_weights`, where given).

    Args:
      ranker: the agent.
      asked: B requests with the same k.

    Returns:
      The outputs of `rank`, and `settled`, bool [B, k]: whether a position's score
      stands apart from its neighbours, so that only one item can be there.
    """
    raw_ids = ranker.vocabulary.items.tolist()
    dense = {raw: index + 1 for index, raw in enumerate(raw_ids)}
    mean = np.asarray(ranker.measurements.mean, np.float32)
    std = np.asarray(ranker.measurements.std, np.float32)
    padding = "" if isinstance(raw_ids[0], str) else -1
    goals = np.stack([_goal(ranker, request, std) for request in asked])
    observation = _observation(ranker.spec, asked, dense)
    model = ranker.world_model

    @tf.function
    def everything(item):
        code = model.encode(observation, tf.constant(goals))
        return (
            model.scores(code, tf.constant(goals)),
            model.value(code)[:, None] + model.advantage(code, item),
        )

    first = everything(tf.ones([len(asked), 1], tf.int32))[0].numpy()  # [B, N]
    width = min(asked[0].k, len(raw_ids))
    item = np.zeros((len(asked), width), np.int32)
    score = np.full((len(asked), width), -np.inf, np.float32)
    settled = np.ones((len(asked), width), bool)
    for row, request in enumerate(asked):
        allowed = {dense[raw] for raw in request.candidates or raw_ids if raw in dense}
        allowed -= {dense.get(raw, 0) for raw in request.exclude}
        places = np.array(sorted(allowed), np.int32)
        order = places[np.argsort(-first[row, places - 1], kind="stable")]
        sorted_scores = first[row, order - 1]
        count = min(width, len(order))
        item[row, :count], score[row, :count] = order[:count], sorted_scores[:count]
        apart = np.diff(sorted_scores) < -4 * TOLERANCE * np.maximum(1, abs(sorted_scores[1:]))
        settled[row, :count] = (np.r_[True, apart] & np.r_[apart, True])[:count]
    predicted = everything(tf.constant(np.maximum(item, 1)))[1].numpy()  # [B, k, M]
    lookup = np.array([padding, *raw_ids], dtype=object)
    valid = item > 0
    return {
        "item": lookup[item],
        "score": score,
        "measurements": np.where(valid[..., None], predicted * std + mean, 0.0),
        "valid": valid,
        "settled": settled,
    }


def _goal(ranker: ranker_lib.Ranker, request: requests.Request, std: np.ndarray) -> np.ndarray:
    """The unit goal of one request, [M]."""
    if request.goal_name:
        goal = np.asarray(ranker.named_goals[request.goal_name], np.float32)
    elif request.weights:
        goal = np.asarray(request.weights, np.float32) * std
    else:
        goal = np.asarray(request.goal, np.float32)
    return goal / np.linalg.norm(goal)


def _observation(
    spec: types.DataSpec, asked: Sequence[requests.Request], dense: Mapping[requests.RawId, int]
) -> types.Observation:
    horizon = spec.history_length
    item = np.zeros((len(asked), horizon), np.int32)
    feedback = np.zeros((len(asked), horizon, len(spec.feedback)), np.float32)
    for row, request in enumerate(asked):
        last = [dense.get(raw, types.PAD) for raw in request.history][-horizon:]
        if last:
            item[row, -len(last) :] = last
            feedback[row, -len(last) :] = request.feedback[-horizon:]
    step = np.array([min(request.step, spec.max_steps - 1) for request in asked], np.int32)
    return types.Observation(*map(tf.constant, (item, feedback, step)))


def write_golden(
    ranker: ranker_lib.Ranker, asked: Sequence[requests.Request], version: pathlib.Path
) -> None:
    """Freezes requests and the agent's own answers inside a version directory.

    `rank.npz` holds the named inputs as `saved_model_cli run --inputs` takes them, and
    the answers as `expected_item` and so on.
    """
    folder = version / GOLDEN
    folder.mkdir(parents=True)
    item_dtype = "string" if isinstance(ranker.vocabulary.items.tolist()[0], str) else "int64"
    inputs = requests.arrays(asked, "rank", item_dtype, len(ranker.spec.feedback))
    answers = reference(ranker, asked)
    if item_dtype == "string":
        encoded = [[raw.encode() for raw in row] for row in answers["item"]]
        answers["item"] = np.array(encoded, np.bytes_)
    else:
        answers["item"] = answers["item"].astype(np.int64)
    std = np.asarray(ranker.measurements.std, np.float32)
    expected = {f"expected_{name}": value for name, value in answers.items()}
    np.savez(folder / "rank.npz", **inputs, **expected, measurement_std=std)


def golden(version: pathlib.Path) -> None:
    """Loads an exported version afresh and compares it with its golden answers.

    The frozen requests are asked together and one by one: padding to a common length
    must change nothing.

    Raises:
      UserError: naming the file, the request and the difference.
    """
    path = version / GOLDEN / "rank.npz"
    try:
        loaded = tf.saved_model.load(str(version))
        rank = loaded.signatures["rank"]
        with np.load(path) as stored:
            frozen = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise errors.UserError(f"{version}: not a whole exported model: {error}") from error
    inputs = {name: frozen[name] for name in requests.SIGNATURES["rank"]}
    together = rank(**{name: tf.constant(value) for name, value in inputs.items()})
    rows = len(frozen["step"])
    for row in range(rows):
        alone = rank(**{name: tf.constant(value[row : row + 1]) for name, value in inputs.items()})
        for answer, at in ((together, row), (alone, 0)):
            found = {name: value.numpy()[at] for name, value in answer.items()}
            expected = {
                name: frozen[f"expected_{name}"][row] for name in (*found, "settled")
            }
            difference = _difference(found, expected, frozen["measurement_std"])
            if difference:
                raise errors.UserError(
                    f"{version}: the exported model is not the agent: golden request {row} "
                    f"of {path.name}: {difference}"
                )


def _difference(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], std: np.ndarray
) -> str | None:
    """What sets an answer apart from the expected one, or None."""
    valid = expected["valid"]
    if not np.array_equal(found["valid"], valid):
        return f"{found['valid'].sum()} items, expected {valid.sum()}"
    score, wanted = found["score"][valid], expected["score"][valid]
    if not np.all(np.isfinite(wanted)):
        return f"the agent's own scores are not finite: {wanted}"
    if not np.all(np.abs(score - wanted) <= TOLERANCE * np.maximum(1, np.abs(wanted))):
        return f"scores {score}, expected {wanted}"
    same = found["item"] == expected["item"]
    if not np.all(same | ~expected["settled"]):
        return f"items {found['item']}, expected {expected['item']}"
    predicted, wanted = found["measurements"][same], expected["measurements"][same]
    if not np.all(np.abs(predicted - wanted) <= TOLERANCE * (std + np.abs(wanted))):
        return f"measurements {predicted}, expected {wanted}"
    return None


def checksums(version: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file of a version but its manifest, by relative path."""
    sums = {}
    for path in sorted(version.rglob("*")):
        if path.is_file() and path != version / MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[path.relative_to(version).as_posix()] = digest
    return sums


def files(version: pathlib.Path) -> dict:
    """The manifest of an exported version, after its files were checked against it.

    Raises:
      UserError: if there is no export, or a file is missing, added or changed.
    """
    path = version / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        recorded = manifest["files"]
    except FileNotFoundError as error:
        raise errors.UserError(
            f"{version}: no exported model here ({MANIFEST} is missing); expected a version "
            "directory such as export/1, written by launch.export_model"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(f"{path}: not a manifest: {error}") from error
    present = checksums(version)
    for name in sorted(set(recorded) | set(present)):
        if recorded.get(name) != present.get(name):
            wrong = "missing" if name not in present else "changed"
            wrong = wrong if name in recorded else "not part of the export"
            raise errors.UserError(
                f"{version / name}: {wrong}; the model is not the one that was exported. "
                "Restore the directory or export again"
            )
    return manifest
