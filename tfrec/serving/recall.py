"""Recall of the best items by a reduced item table, measured at every export."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.serving import golden, requests
from tfrec.serving import ranker as ranker_lib


def measure(
    ranker: ranker_lib.Ranker,
    rank: Callable[..., Mapping[str, tf.Tensor]],
    batch: Sequence[requests.Request],
    item_dtype: str,
    draws: int = 5,
) -> dict[str, Any]:
    """Recall at k of an exported `rank` against the agent's sort of all items.

    Args:
      ranker: the agent.
      rank: the exported signature.
      batch: requests over the whole catalogue, all with the same k; each is repeated with
        `draws` random goals.
      item_dtype: `string` or `int64`.
      draws: number of random goals for each request.

    Returns:
      `k`, `queries` and `recall`, the mean share of the exact best k in the answers.
      Items that are replaced by others of equal score count as missed.
    """
    random = np.random.default_rng(1)
    recalls = []
    for _ in range(draws):
        goals = golden.random_goals(ranker, random, len(batch))
        questions = [
            dataclasses.replace(request, goal=tuple(goal), goal_name="")
            for request, goal in zip(batch, goals.tolist(), strict=True)
        ]
        spec = ranker.spec
        named = requests.arrays(
            questions, "rank", item_dtype, len(spec.feedback), spec.context_slots
        )
        answer = rank(**{name: tf.constant(value) for name, value in named.items()})
        exact = golden.reference(ranker, questions)
        for row, valid in enumerate(exact["valid"]):
            best = {str(item) for item in exact["item"][row][valid]}
            if not best:
                continue  # all of a small catalogue are excluded
            answered = {tf.compat.as_str_any(item) for item in answer["item"].numpy()[row]}
            recalls.append(len(best & answered) / len(best))
    return {"k": questions[0].k, "queries": len(recalls), "recall": float(np.mean(recalls))}
