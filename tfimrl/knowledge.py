"""What is known of each public simulator: which parts its users have, and what reaches what.

Augmentation exchanges slots of a state. Here stand the slots of each simulator's observation,
the graphs that may stand in for a learned one, which columns tell users apart, and, where it
can be asked, the reward that a made-up step should have had. The action that graphs speak of is
what was shown: features of a slate's items side by side, or the continuous action itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfimrl import causal_graph
from tfrec.environments import contract, users
from tfrec.environments.ports import recogym, recsim, seen, virtualtb

# (observation [B, O], shown [B, A]) -> expected reward [B].
Ask = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Knowledge(NamedTuple):
    """A simulator's parts.

    Attributes:
      slots: of the observation and of what was shown.
      graphs: `heuristic` and `true` influence, where there is one without learning.
      user_columns: of the observation, that say how alike two users are.
      ask: the expected reward of a step; None where it depends on what is hidden.
    """

    slots: causal_graph.Slots
    graphs: dict[str, causal_graph.Influence]
    user_columns: list[int]
    ask: Ask | None


def of(simulator: contract.Simulator) -> Knowledge:
    """What is known of a simulator.

    Raises:
      ValueError: if it is none of those this module knows.
    """
    if isinstance(simulator, recsim.InterestEvolution):
        return _interest_evolution(simulator)
    if isinstance(simulator, virtualtb.VirtualTaobao):
        return _virtual_taobao(simulator)
    if isinstance(simulator, recogym.RecoGymV1 | recogym.RecoGymV0):
        return _recogym(simulator)
    if isinstance(simulator, users.UserEnvironment):
        return _users(simulator)
    raise ValueError(
        f"nothing is known of the slots of {type(simulator).__name__}: leave augmentation out, "
        "or add it to tfimrl/knowledge.py"
    )


def _interest_evolution(simulator: recsim.InterestEvolution) -> Knowledge:
    """A slot for each cluster: an action reaches the interests in the clusters it shows.

    This is exact for interests: which document is clicked depends on the interests in what
    is shown alone, and the interest in a watched cluster is all that changes. With remembered
    counts it is a heuristic, although `true` names it as well: the session ends when the
    hidden time budget is used up, which depends on the counts of all clusters, so an exchange
    of counts also changes the time that is left.
    """
    clusters, slate = recsim.CLUSTERS, simulator.slate_size
    remembers = isinstance(simulator, seen.RememberedEvolution)
    columns = [(c, clusters + c) if remembers else (c,) for c in range(clusters)]
    # Whether a slate was ignored depends on all of what it showed.
    ignored = [(2 * clusters,)] if remembers else []
    slots = causal_graph.Slots((*columns, *ignored), (tuple(range(slate * clusters)),))
    links = [
        (place * clusters + cluster, slot)
        for place in range(slate)
        for cluster in range(clusters)
        for slot in (cluster, *([clusters] if remembers else []))
    ]
    touched = causal_graph.touched(slots, links)
    watch_time = simulator.config.reward == "watch_time"
    most = recsim.VIDEO_MINUTES if watch_time else 1.0

    def ask(observation: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
        documents = tf.reshape(shown, [-1, slate, clusters])  # [B, k, 20]
        state = recsim.InterestEvolutionState(
            interests=observation[:, :clusters],
            budget=tf.zeros_like(observation[:, 0]),  # which no click depends on
            cluster=tf.argmax(documents, axis=2, output_type=tf.int32),
        )
        everything = tf.broadcast_to(tf.range(slate), tf.shape(state.cluster))
        return most * (1.0 - simulator.click_probabilities(state, everything)[:, -1])

    graphs = {"heuristic": touched, "true": touched}
    return Knowledge(slots, graphs, list(range(clusters)), ask)


def _virtual_taobao(simulator: virtualtb.VirtualTaobao) -> Knowledge:
    """A slot for each group of a user, the feedback and the page.

    The next feedback comes of user, page and action; user groups never change. So the true
    graph is one component, through the feedback, and allows no exchange at all. The rule of
    thumb leaves the user out of it, as if users answered alike: that changes what made-up
    steps should be paid, by as much as `ask` says.
    """
    slots = causal_graph.Slots.of_sizes([*virtualtb.GROUPS, 2, 1], [simulator.action_size])
    groups = len(virtualtb.GROUPS)
    feedback, page, action = groups, groups + 1, groups + 2
    known = np.zeros([slots.count, slots.count])
    known[np.arange(groups), np.arange(groups)] = 1.0  # of a user, forever
    known[page, page] = known[page, feedback] = known[action, feedback] = 1.0
    believed = known.copy()
    believed[action, page] = 1.0
    known[:groups, feedback] = 1.0

    scale = seen.TAOBAO_SCALE if isinstance(simulator, seen.ScaledTaobao) else 1.0

    def ask(observation: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
        raw = observation / scale
        logits = simulator.feedback_logits(raw[:, : virtualtb.USER_SIZE], raw[:, -1], shown)
        clicks = tf.nn.softmax(logits[:, : virtualtb.SHOWN + 1])  # [B, 11]
        return tf.linalg.matvec(clicks, tf.range(virtualtb.SHOWN + 1.0))

    graphs = {
        "heuristic": causal_graph.always(believed),
        "true": causal_graph.always(known),
    }
    columns = list(range(virtualtb.USER_SIZE))
    return Knowledge(slots, graphs, columns, ask)


def _recogym(simulator: recogym.RecoGymV1 | recogym.RecoGymV0) -> Knowledge:
    """A slot for each product, with all that is observed of its views.

    Views and clicks come of one hidden vector, so all views of a user hang together: in the
    true graph everything reaches everything, and nothing can be exchanged. The rule of thumb:
    recommending a product reaches that product's views alone. It makes up clicks of users who
    viewed something else, from which nobody learns what users differ in.
    """
    products = simulator.config.products
    slots = causal_graph.Slots(
        state=tuple((p, products + p, 2 * products + p) for p in range(products)),
        action=(tuple(range(products)),),
    )
    graphs = {
        "heuristic": causal_graph.touched(slots, [(p, p) for p in range(products)]),
        "true": causal_graph.always(np.ones([slots.count, slots.count])),
    }
    return Knowledge(slots, graphs, list(range(products)), None)


def _users(simulator: users.UserEnvironment) -> Knowledge:
    """A slot for what came before the session, which never changes, and one for the rest.

    The session goes on from itself, the item and, through the user's taste, from what came
    before: in the true graph nothing can be exchanged. The rule of thumb leaves taste out of
    it, as if users answered alike.
    """
    before = simulator.encoder.before.tolist()
    rest = range(len(before), simulator.observation_size)
    slots = causal_graph.Slots.of_sizes([len(before), len(rest)], [simulator.action_size])
    user, current, action = range(3)
    believed = np.zeros([slots.count, slots.count])
    believed[user, user] = believed[current, current] = believed[action, current] = 1.0
    known = believed.copy()
    known[user, current] = 1.0
    graphs = {
        "heuristic": causal_graph.always(believed),
        "true": causal_graph.always(known),
    }
    return Knowledge(slots, graphs, before, None)
