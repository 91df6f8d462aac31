"""KGRL online: an actor-critic whose items are vectors smoothed over a graph.

Chen X. et al., "Knowledge-guided Deep Reinforcement Learning for Interactive Recommendation",
arXiv:2004.08068: DDPG with item vectors from graph convolutions over the local part of a
knowledge graph. Removed, as IMRL's authors removed side information so that everybody sees
the same state: the knowledge graph and the attention over the items of a history. Filled in
by us:
- Where the catalogue is fixed, a graph of items that go together takes its place: its edges
  are each item's `neighbours` most frequent companions, and learned vectors go through two
  graph convolutions over it (Kipf and Welling, ICLR 2017), each a mean over an item and its
  neighbours:  Z = E + A relu(A E W1) W2, to length 1. E starts at the items' features, see
  `initial_vectors`.
  Items go together where a session has both: viewed, if the simulator declares the columns of
  views (RecoGym), else clicked.
- The actor points at a vector of length 1; the k items of the highest inner products are
  shown, and the critic values the mean vector of what was shown, which trains the vectors.
- Where candidates change, or the action is continuous, there can be no graph, and
  `item_graph` must be False: items are given by their features and the critic values the
  proto-action, which is DDPG.
"""

import numpy as np
import tensorflow as tf

from tfrec.baselines.online import base
from tfrec.baselines.online.config import KgrlConfig
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.methods.online import PolicyStep, Rollout
from tfrec.nn import networks
from tfrec.ops import selection, target_networks
from tfrec.replay.ring import Ring

_MOST_ITEMS = 20_000  # whose pairs are counted, in 1.6 GB


def companions(together: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The most frequent companions of each item; ties in the order of items.

    Args:
      together: number of times that items occur together, float [m, m].
      count: n, largest number of companions of an item.

    Returns:
      Positions of the items, int32 [m, n], and whether they are companions: items that never
      occur together are not, bool [m, n]. n is at most m.
    """
    others = tf.linalg.set_diag(together, tf.zeros(together.shape[0]))
    times, item = tf.math.top_k(others, min(count, together.shape[0]))
    return item, times > 0


def mean_with_companions(vectors: tf.Tensor, item: tf.Tensor, linked: tf.Tensor) -> tf.Tensor:
    """A Z: the mean vector of each item and its companions, float [m, W].

    Args:
      vectors: float [m, W].
      item: positions of the companions, int32 [m, n].
      linked: whether they are companions, bool [m, n].
    """
    weight = tf.cast(linked, vectors.dtype)[..., None]  # [m, n, 1]
    total = vectors + tf.reduce_sum(weight * tf.gather(vectors, item), axis=1)
    return total / (1.0 + tf.reduce_sum(weight, axis=1))


def co_occurrences(rollout: Rollout, items: int, views: np.ndarray | None) -> tf.Tensor:
    """Number of times that items occur together in this rollout, float [m, m].

    Args:
      rollout: T steps of B sessions.
      items: m.
      views: int [m], see `contract.Simulator.view_columns`: sessions that ended count, once
        each. None counts what was clicked by one session within the rollout.
    """
    if views is not None:
        ended = tf.boolean_mask(rollout.observation, rollout.done)  # [e, O]
        ended = tf.gather(ended, views, axis=1)  # [e, m]
        seen = tf.cast(ended > 0, tf.float32)
        return tf.matmul(seen, seen, transpose_a=True)
    clicked = tf.reduce_sum(tf.one_hot(rollout.action, items), axis=2)  # [T, B, m]
    clicked *= tf.cast(rollout.clicks > 0, tf.float32)[..., None]
    steps, sessions = tf.shape(clicked)[0], tf.shape(clicked)[1]
    # The number of sessions that ended before identifies a session of a column.
    part = tf.cumsum(tf.cast(rollout.done, tf.int32), exclusive=True)  # [T, B]
    part = part * sessions + tf.range(sessions)
    of_session = tf.math.unsorted_segment_sum(
        base.flat(clicked), tf.reshape(part, [-1]), (steps + 1) * sessions
    )
    # Few of the rows are sessions with a click.
    seen = tf.boolean_mask(of_session, tf.reduce_any(of_session > 0, axis=1))
    seen = tf.cast(seen > 0, tf.float32)
    return tf.matmul(seen, seen, transpose_a=True)


def initial_vectors(features: np.ndarray, width: int, draw: np.random.Generator) -> np.ndarray:
    """E before training: the items' features in W columns.

    Features that fit are kept but for their scale, which makes the mean square of the rows'
    lengths 1, and small random numbers fill the other columns. More features are projected at
    random, which makes independent random vectors of one-hot items.

    Args:
      features: float [m, D].
      width: W.
      draw: random numbers.

    Returns:
      Float [m, W].
    """
    count, known = features.shape
    if known > width:
        return features @ draw.normal(size=(known, width)) / width**0.5
    length = np.sqrt(np.mean(np.sum(features**2, axis=1)))
    other = draw.normal(size=(count, width - known)) * 0.1 / width**0.5
    return np.concatenate([features / max(length, 1e-6), other], axis=1)


class ItemGraph(tf.Module):
    """Item vectors after two graph convolutions.

    Args:
      features: of the items, float [m, D].
      width: of the vectors.
      neighbours: most companions of an item.
      seed: of the initial weights.
    """

    def __init__(self, features: np.ndarray, width: int, neighbours: int, seed: int):
        super().__init__(name="graph")
        draw, items = np.random.default_rng(seed), len(features)

        def weights(name: str) -> tf.Variable:
            values = draw.normal(size=(width, width)) / width**0.5
            return tf.Variable(values, dtype=tf.float32, name=name)

        self.embedding = tf.Variable(
            initial_vectors(features, width, draw), dtype=tf.float32, name="embedding"
        )
        self.first, self.second = weights("first"), weights("second")
        self.together = tf.Variable(tf.zeros([items, items]), trainable=False, name="together")
        item, linked = companions(self.together, neighbours)
        self.item = tf.Variable(item, trainable=False, name="item")
        self.linked = tf.Variable(linked, trainable=False, name="linked")

    def add(self, counts: tf.Tensor) -> None:
        """Counts items that occur together, float [m, m], and finds the companions anew."""
        item, linked = companions(self.together.assign_add(counts), self.item.shape[1])
        self.item.assign(item)
        self.linked.assign(linked)

    def vectors(self) -> tf.Tensor:
        """Z, float [m, width], rows of length 1."""
        smooth = mean_with_companions(self.embedding, self.item, self.linked)
        hidden = tf.nn.relu(tf.matmul(smooth, self.first))
        # E itself beside it: a relu may leave nothing of an item.
        smooth = mean_with_companions(hidden, self.item, self.linked)
        return tf.math.l2_normalize(tf.matmul(smooth, self.second) + self.embedding, axis=1)


class Kgrl(base.Baseline):
    """KGRL; arguments as in `base.Baseline`.

    Raises:
      ValueError: if it is to have a graph of items and the catalogue is not fixed, or larger
        than 20,000 items, whose pairs are counted in a matrix.
    """

    config: KgrlConfig

    def __init__(self, config: KgrlConfig, simulator: contract.Simulator, seed: int):
        super().__init__(config, simulator, seed)
        seeds, observed, hidden = self.weight_seeds(), self.observation_size, config.hidden
        self.graph = None
        self.width = self.adapter.action_size
        vector, number = tf.TensorSpec([observed], tf.float32), tf.TensorSpec([], tf.float32)
        shown = tf.TensorSpec([self.width], tf.float32)
        if config.item_graph:
            if self.catalogue is None:
                raise ValueError(
                    f"item_graph is True; {type(simulator).__name__} has no fixed catalogue of "
                    "items to build a graph of: expected False"
                )
            features = self.catalogue.numpy()
            if len(features) > _MOST_ITEMS:
                raise ValueError(
                    f"item_graph is True with {len(features):,} items; expected at most "
                    f"{_MOST_ITEMS:,}, because it counts all pairs of them, or False"
                )
            self.graph = ItemGraph(features, config.width, config.neighbours, next(seeds))
            self._views = simulator.view_columns
            self.width = config.width
            shown = tf.TensorSpec([self.slate_size], tf.int32)
        elif self.slate_size:
            self.info_size = self.width
        columns = {"state": vector, "next_state": vector, "action": shown}
        columns |= {"reward": number, "discount": number}
        self.replay = Ring(config.replay_size, columns)
        both = observed + self.width
        self.actor, self.target_actor = (
            networks.Perceptron(observed, hidden, self.width, seeds, name)
            for name in ("actor", "target_actor")
        )
        self.critic, self.target_critic = (
            networks.Perceptron(both, hidden, 1, seeds, name)
            for name in ("critic", "target_critic")
        )
        of_critic = [*self.critic.trainable_variables]
        if self.graph is not None:
            of_critic += self.graph.trainable_variables
        self.set_parts(critic=of_critic, actor=self.actor.trainable_variables)
        self._update_targets(1.0)

    def _update_targets(self, tau: float) -> None:
        target_networks.soft_update(self.target_actor.variables, self.actor.variables, tau)
        target_networks.soft_update(self.target_critic.variables, self.critic.variables, tau)

    def point(self, actor: networks.Perceptron, state: tf.Tensor) -> tf.Tensor:
        """Where the actor points, float [B, width]."""
        return self._bounded(actor(state))

    def _bounded(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.tanh(raw) if self.graph is None else tf.math.l2_normalize(raw, axis=1)

    def _shown(self, point: tf.Tensor, timestep: Timestep) -> tf.Tensor:
        if self.graph is None:
            return self.adapter.to_action(point, timestep)
        scores = tf.matmul(point, self.graph.vectors(), transpose_b=True)  # [B, m]
        return selection.best_slate(scores, self.slate_size, timestep.blocked)

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        return self._shown(
            self.point(self.actor, self.adapter.encode(timestep.observation)), timestep
        )

    def explore(self, timestep: Timestep) -> PolicyStep:
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        point = self.point(self.actor, self.adapter.encode(timestep.observation))
        noise = tf.random.stateless_normal(tf.shape(point), seeds[0])
        point += self.config.exploration_noise * noise
        point = tf.clip_by_value(point, -1.0, 1.0)
        anything = tf.random.stateless_uniform(tf.shape(point), seeds[1], -1.0, 1.0)
        point = tf.where(self.replay.added < self.config.random_steps, anything, point)
        info = point if self.info_size else base.no_note(tf.shape(point)[0])
        return PolicyStep(self._shown(point, timestep), info)

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        if self.graph is not None:
            items = self.graph.together.shape[0]
            self.graph.add(co_occurrences(rollout, items, self._views))
        alive = tf.logical_not(base.flat(rollout.done))
        rows = {
            "state": self.adapter.encode(base.flat(rollout.observation)),
            "next_state": self.adapter.encode(base.flat(rollout.next_observation)),
            "action": base.flat(rollout.info if self.info_size else rollout.action),
            "reward": base.flat(rollout.reward),
            "discount": tf.cast(alive, tf.float32),
        }
        self.replay.add(rows)

    def sample(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.replay.sample(self.config.batch, self.draw())

    def gradients(
        self, rows: dict[str, tf.Tensor]
    ) -> tuple[dict[str, base.LossGradients], dict[str, tf.Tensor]]:
        config, parts = self.config, self._parts()
        state, after = rows["state"], rows["next_state"]
        value = self.target_critic(after, self.point(self.target_actor, after))[:, 0]
        target = config.reward_scale * rows["reward"]
        target += config.discount * rows["discount"] * value
        with tf.GradientTape() as tape:
            shown = rows["action"]
            if self.graph is not None:
                shown = tf.reduce_mean(tf.gather(self.graph.vectors(), shown), axis=1)
            wrong = tf.math.squared_difference(self.critic(state, shown)[:, 0], target)
            loss = tf.reduce_mean(wrong)
        critic = base.loss_gradients(tape, loss, parts["critic"])
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self.critic(state, self.point(self.actor, state)))
        return {"critic": critic, "actor": base.loss_gradients(tape, loss, parts["actor"])}, {}

    def after_update(self) -> None:
        self._update_targets(self.config.tau)
