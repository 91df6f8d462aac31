"""Golden requests and their answers, which verify that an export equals its agent.

The reference answers are computed in Python by the agent itself, with `scores` of every item
and a plain sort, and not by the exported graph. An error in padding, lookup, exclusion, top-k
or units in the graph therefore causes a difference.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfrec import errors, model_path, types
from tfrec.data import observations
from tfrec.serving import ranker as ranker_lib
from tfrec.serving import requests

TOLERANCE = 1e-5  # in standardised units, relative to the largest value of an answer if above 1
_SAME = 1e-6  # range of scores that differ only by rounding; relative as above
GOLDEN = pathlib.Path("assets.extra", "golden")


def sample_requests(ranker: ranker_lib.Ranker) -> list[requests.Request]:
    """Requests that cover every path of the graph, reproducible for an agent."""
    random = np.random.default_rng(0)
    items = ranker.vocabulary.items.tolist()
    horizon, k = ranker.spec.history_length, min(10, ranker.spec.num_candidates)
    unknown_item = _unknown_item(items)

    def draw(count: int) -> tuple[requests.RawId, ...]:
        return tuple(items[place] for place in random.integers(len(items), size=count))

    def feedback(column: types.FeedbackColumn) -> float:
        if column.kind == "binary":
            return float(random.integers(2))
        return float(np.float32(random.exponential(column.scale)))

    def make_request(history: tuple[requests.RawId, ...], **rest: Any) -> requests.Request:
        if "goal_name" not in rest:
            rest["goal"] = tuple(random_goals(ranker, random, 1)[0].tolist())
        rows = tuple(tuple(map(feedback, ranker.spec.feedback)) for _ in history)
        sizes = ranker.spec.state_features
        if sizes is not None and history:  # the features of the first request are missing
            values = random.integers(sizes.values, endpoint=True, size=sizes.slots)
            rest["context_values"] = tuple(values.tolist())
        return requests.Request(history, rows, k=k, **rest)

    some = draw(2 * k)  # with repeats
    return [
        make_request(()),
        make_request(draw(1)),
        make_request(draw(horizon), step=1),
        make_request(draw(horizon + 3), step=ranker.spec.max_steps),
        *(make_request(draw(horizon), goal_name=name) for name in ranker.named_goals),
        make_request(draw(2), exclude=some[:k]),
        make_request(draw(2), candidates=some),
        make_request(
            (*draw(2), unknown_item, *draw(1)),
            step=2,
            candidates=(unknown_item, *some),
            exclude=(unknown_item, *some[:2]),
        ),
    ]


def random_goals(
    ranker: ranker_lib.Ranker, random: np.random.Generator, count: int
) -> np.ndarray:
    """Normal weights of the columns that goals may weight, else 0; float32 [count, M]."""
    drawn = random.normal(size=(count, len(ranker.measurements.columns)))
    return (drawn * weighable(ranker)).astype(np.float32)


def weighable(ranker: ranker_lib.Ranker) -> np.ndarray:
    """1 for columns that goals may weight, else 0; float [M]."""
    return np.array([float(c not in ranker.discarded) for c in ranker.measurements.columns])


def weighted(
    ranker: ranker_lib.Ranker, batch: Sequence[requests.Request]
) -> list[requests.Request]:
    """The same requests for `rank_weights`: their goals used as weights in raw units."""
    all_weights = tuple(weighable(ranker).tolist())
    return [
        dataclasses.replace(request, goal=(), goal_name="", weights=request.goal or all_weights)
        for request in batch
    ]


def tied_goals(ranker: ranker_lib.Ranker) -> list[str]:
    """Named goals under which every item has the same score, in every golden request.

    Such a goal recommends the first item of the vocabulary to everyone; a warning is logged.
    """
    if ranker.spec.num_candidates < 2:
        return []
    dense = {raw: place + 1 for place, raw in enumerate(ranker.vocabulary.items.tolist())}
    observation = observations.of_events(ranker.spec, sample_requests(ranker), dense)
    model, rows = ranker.world_model, len(observation.step)

    @tf.function(autograph=False)
    def score_all(goals: tf.Tensor) -> tf.Tensor:
        return model.scores(model.encode(observation, goals), goals)

    tied = []
    for name, goal in ranker.named_goals.items():
        unit = np.float32(goal / np.linalg.norm(goal))
        scores = score_all(tf.constant(np.tile(unit, (rows, 1)))).numpy()  # [B, A]
        largest = np.maximum(1.0, np.abs(scores).max(axis=1))
        if (np.ptp(scores, axis=1) <= _SAME * largest).all():
            tied.append(name)
            logging.warning(
                "goal %r: every item has the same score in all %d requests that were tried, so "
                "the first item is recommended to everyone; train longer, or state the goal by "
                "other measurements",
                name,
                rows,
            )
    return tied


def _unknown_item(items: Sequence[Any]) -> requests.RawId:
    """An id outside the vocabulary."""
    if isinstance(items[0], str):
        return max(items, key=len) + "?"
    return max(items) + 1 if max(items) < np.iinfo(np.int64).max else min(items) - 1


def reference(
    ranker: ranker_lib.Ranker, batch: Sequence[requests.Request]
) -> dict[str, np.ndarray]:
    """Computes answers of the agent to `rank`, or `rank_weights` for requests with weights.

    Args:
      ranker: the agent.
      batch: B requests with the same k.

    Returns:
      The outputs of `rank`, and `settled`, bool [B, k]: whether a position's score
      differs from its neighbours beyond rounding, so that its item is unique.
    """
    raw_ids = ranker.vocabulary.items.tolist()
    dense = {raw: index + 1 for index, raw in enumerate(raw_ids)}
    mean = np.asarray(ranker.measurements.mean, np.float32)
    std = np.asarray(ranker.measurements.std, np.float32)
    padding = "" if isinstance(raw_ids[0], str) else -1
    goals = tf.stack([_goal(ranker, request, std) for request in batch])
    observation = observations.of_events(ranker.spec, batch, dense)
    model = ranker.world_model

    @tf.function(autograph=False)
    def score_all():
        return model.scores(model.encode(observation, goals), goals)

    @tf.function(autograph=False)
    def predict(item):
        code = model.encode(observation, goals)
        return model.value(code)[:, None] + model.advantage(code, item)

    scores = score_all().numpy()  # [B, N]
    candidates = range(1, ranker.spec.num_candidates + 1)
    width = min(batch[0].k, len(candidates))
    item = np.zeros((len(batch), width), np.int32)
    score = np.full((len(batch), width), -np.inf, np.float32)
    settled = np.ones((len(batch), width), bool)
    for row, request in enumerate(batch):
        allowed = {dense[raw] for raw in request.candidates or raw_ids if raw in dense}
        allowed &= set(candidates) - {dense.get(raw, 0) for raw in request.exclude}
        places = np.array(sorted(allowed), np.int32)
        order = places[np.argsort(-scores[row, places - 1], kind="stable")]
        sorted_scores = scores[row, order - 1]
        count = min(width, len(order))
        item[row, :count], score[row, :count] = order[:count], sorted_scores[:count]
        largest = max(1.0, np.max(np.abs(sorted_scores), initial=0.0))
        apart = np.diff(sorted_scores) < -4 * TOLERANCE * largest
        settled[row, :count] = (np.r_[True, apart] & np.r_[apart, True])[:count]
    predicted = predict(tf.constant(np.maximum(item, 1))).numpy()  # [B, k, M]
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


def write(
    ranker: ranker_lib.Ranker, batch: Sequence[requests.Request], version: pathlib.Path
) -> None:
    """Writes requests and the agent's answers to a version directory.

    rank.npz and rank_weights.npz hold the named inputs, in the format of
    `saved_model_cli run --inputs`, and the answers as `expected_item` and so on.
    """
    item_dtype = "string" if isinstance(ranker.vocabulary.items.tolist()[0], str) else "int64"
    (version / GOLDEN).mkdir(parents=True)
    for signature, queries in (("rank", batch), ("rank_weights", weighted(ranker, batch))):
        answers = reference(ranker, queries)
        if item_dtype == "string":
            encoded = [[raw.encode() for raw in row] for row in answers["item"]]
            answers["item"] = np.array(encoded, np.bytes_)
        else:
            answers["item"] = answers["item"].astype(np.int64)
        frozen: dict[str, Any] = {
            **requests.arrays(
                queries,
                signature,
                item_dtype,
                len(ranker.spec.feedback),
                ranker.spec.context_slots,
            ),
            "measurement_std": np.asarray(ranker.measurements.std, np.float32),
        }
        frozen |= {f"expected_{name}": value for name, value in answers.items()}
        np.savez(version / GOLDEN / f"{signature}.npz", **frozen)


def verify(version: pathlib.Path) -> None:
    """Loads an exported version and compares it with its golden answers.

    The frozen requests are evaluated together and one by one, because padding to a common
    length must have no effect.

    Raises:
      UserError: with the file, the request and the difference.
    """
    try:
        with model_path.literal(version) as folder:
            loaded = tf.saved_model.load(folder)
        for signature in ("rank", "rank_weights"):
            path = version / GOLDEN / f"{signature}.npz"
            with np.load(path) as stored:
                frozen = {name: stored[name] for name in stored.files}
            difference = _compare(loaded.signatures[signature], signature, frozen)
            if difference:
                raise errors.UserError(
                    f"{version}: the exported model is not the agent: {path.name}, {difference}"
                )
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise errors.UserError(f"{version}: not a whole exported model: {error}") from error


def _compare(
    function: Callable[..., dict[str, tf.Tensor]],
    signature: str,
    frozen: Mapping[str, np.ndarray],
) -> str | None:
    """The first golden request of a signature with a wrong answer, or None."""
    scores = frozen["expected_score"][frozen["expected_valid"]]
    if not np.isfinite(scores).all():
        return f"the agent's scores are not finite: {scores}"
    names = (*requests.SIGNATURES[signature], "context_values")
    inputs = {name: tf.constant(frozen[name]) for name in names if name in frozen}
    together = function(**inputs)
    for row in range(len(frozen["step"])):
        alone = function(**{name: value[row : row + 1] for name, value in inputs.items()})
        for answer, index in ((together, row), (alone, 0)):
            actual = {name: value.numpy()[index] for name, value in answer.items()}
            expected = {name: frozen[f"expected_{name}"][row] for name in (*actual, "settled")}
            difference = _difference(actual, expected, frozen["measurement_std"])
            if difference:
                return f"golden request {row}: {difference}"
    return None


def _difference(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], std: np.ndarray
) -> str | None:
    """The difference between an answer and the expected one, or None."""
    valid = expected["valid"]
    if not np.array_equal(actual["valid"], valid):
        return f"{actual['valid'].sum()} items, expected {valid.sum()}"
    same = actual["item"] == expected["item"]
    for place in np.flatnonzero(~same & expected["settled"]):
        return f"place {place + 1}: {actual['item'][place]!r}, not {expected['item'][place]!r}"
    # Relative to the largest value of a row, because terms of g.M may cancel.
    for name, unit, where in (("score", 1.0, valid), ("measurements", std, same & valid)):
        values, reference_values = actual[name][where] / unit, expected[name][where] / unit
        if values.size:
            largest_error = float(np.max(np.abs(values - reference_values)))
            largest = max(1.0, float(np.max(np.abs(reference_values))))
            if not largest_error <= TOLERANCE * largest:
                return f"{name} differ by {largest_error:.3g} at a size of {largest:.3g}"
    return None
