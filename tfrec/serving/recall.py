"""How many of the best items a reduced item table finds. Measured at every export."""

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
    asked: Sequence[requests.Request],
    item_dtype: str,
    draws: int = 5,
) -> dict[str, Any]:
    """Recall at k of an exported `rank` against the agent's own sort of all items.

    Args:
      ranker: the agent.
      rank: the exported signature.
      asked: requests over the whole catalogue, all with the same k; each is asked again
        with `draws` random goals.
      item_dtype: `string` or `int64`.
      draws: goals for each request.

    Returns:
      `k`, `queries` and `recall`, the mean share of the exact best k that was found. An
      item that changes places with one of equal score counts as lost.
    """
    random = np.random.default_rng(1)
    found = []
    for _ in range(draws):
        goals = golden.random_goals(ranker, random, len(asked))
        questions = [
            dataclasses.replace(request, goal=tuple(goal), goal_name="")
            for request, goal in zip(asked, goals.tolist(), strict=True)
        ]
        named = requests.arrays(questions, "rank", item_dtype, len(ranker.spec.feedback))
        answer = rank(**{name: tf.constant(value) for name, value in named.items()})
        exact = golden.reference(ranker, questions)
        for row, valid in enumerate(exact["valid"]):
            best = {str(item) for item in exact["item"][row][valid]}
            if not best:
                continue  # all of a small catalogue are excluded
            got = {tf.compat.as_str_any(item) for item in answer["item"].numpy()[row]}
            found.append(len(best & got) / len(best))
    return {"k": questions[0].k, "queries": len(found), "recall": float(np.mean(found))}
