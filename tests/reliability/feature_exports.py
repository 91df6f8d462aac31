"""Agents of a few updates that read features, and what an export is made of."""

import tensorflow as tf

import tfgoalrec
import tfrec
from tfrec.nn import state_features
from tfrec.serving import score_ranker

KINDS = {"goalrec": tfgoalrec.GoalRec, "dien": tfrec.baselines.DIEN}
SMALL = {
    "sessions_per_round": 4, "log_rounds": 1, "updates_per_round": 2, "batch": 8,
    "replay_sessions": 8,
}  # fmt: skip


def with_large_effects(name, data, folder):
    """A trained agent, saved and opened, whose features of the state have a large effect."""
    trained = KINDS[name](seed=1, **SMALL).fit(data)
    for part in trained.agent.weights().submodules:
        if isinstance(part, state_features.StateFeatures):
            shape = part.context_embedding.shape
            part.context_embedding.assign(tf.random.stateless_normal(shape, [1, 2], stddev=9.0))
    trained.save(folder)
    return tfrec.load(folder)


def ranker_of(agent):
    """The ranker that an export of the agent is made of."""
    trained = agent.agent
    if trained.method == "goalrec":
        return trained
    return score_ranker.ScoreRanker(
        trained.learner, trained.weights(), trained.spec, trained.vocabulary
    )
