"""TPGR online: items are leaves of a balanced tree, and the policy samples a path to one.

Chen H. et al., "Large-scale Interactive Recommendation with Tree-structured Policy Gradient",
AAAI 2019. A tree of depth 2 has c = ceil(sqrt(m)) branches for m items, and each node has a
separate softmax network: pi(i|s) = P(branch of i|s) P(i|branch, s). It is trained by REINFORCE
with standardised returns and no baseline, and an entropy bonus.

Removed, so that all methods have the same state: its recurrent state over pre-trained vectors
of rated items, and the reward for runs of good ratings. Our choices:
- The tree is by principal components, as one of the authors' code: items in the order of
  the first one of their features (learned vectors, with `vectors=views`), cut into c parts
  of equal size.
- If the candidates change at each step, the candidates of 256 first steps define the cuts,
  which divide the feature space into c slabs. The slab of a candidate is its branch, and
  branches without a candidate have probability 0.
- A leaf's logit is linear in the item's features, with weights from its node's network of s:
  one output per item for one-hot items, as in the paper.
- A slate is sampled without replacement from pi. V is the value of a cut session's future.
Continuous actions have no items: ValueError.
"""

import math

import numpy as np
import tensorflow as tf

from tfrec.baselines.online import base, items, on_policy, reinforce
from tfrec.baselines.online.config import TpgrConfig
from tfrec.environments import contract
from tfrec.nn import networks
from tfrec.ops import selection

_NOBODY = -1e9
_SAMPLED = 256


class Slabs(tf.Module):
    """Which branch an item is of.

    Args:
      features: float [n, D], of items or of a sample of them.
      branches: c.

    Attributes:
      item: int32 [c, ceil(n / c)], the rows of each branch; -1 behind the last one. Their
        numbers are equal within one.
      leaf: int32 [n], the place of each row in `item`, row by row.
    """

    def __init__(self, features: np.ndarray, branches: int):
        super().__init__(name="slabs")
        mean = features.mean(axis=0)
        _, _, directions = np.linalg.svd(features - mean, full_matrices=False)
        direction = directions[0] * np.where(
            directions[0][np.abs(directions[0]).argmax()] < 0, -1, 1
        )
        place = (features - mean) @ direction  # [n]
        order = np.argsort(place, kind="stable")
        self.leaf = np.empty(len(order), np.int32)
        self.item = np.full([branches, -(-len(order) // branches)], -1, np.int32)
        for branch, rows in enumerate(np.array_split(order, branches)):
            self.item[branch, : len(rows)] = rows
            self.leaf[rows] = branch * self.item.shape[1] + np.arange(len(rows))
        self.branches = branches
        cuts = np.quantile(place, np.arange(1, branches) / branches)
        self._mean, self._direction = (tf.constant(x, tf.float32) for x in (mean, direction))
        self._cuts = tf.constant(cuts, tf.float32)

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """The branch of any item, int32 [B, m]; features are float [B, m, D]."""
        place = tf.einsum("bmd,d->bm", features - self._mean, self._direction)
        above = place[..., None] > self._cuts + 1e-6  # [B, m, c - 1]
        return tf.reduce_sum(tf.cast(above, tf.int32), axis=-1)


def path_log_prob(
    root: tf.Tensor, leaves: tf.Tensor, branch: tf.Tensor, blocked: tf.Tensor | None = None
) -> tf.Tensor:
    """Log probability of each item, the sum over its path, float [B, m].

    Args:
      root: logits of the branches, float [B, c].
      leaves: logits of every item at every branch's node, float [B, c, m].
      branch: int32 [B, m], branch of each item.
      blocked: bool [B, m], items that may not be shown; None if all may.
    """
    member = branch[:, None, :] == tf.range(root.shape[1])[:, None]  # [B, c, m]
    allowed = member if blocked is None else member & ~blocked[:, None, :]
    path = _paths(root, leaves, allowed)
    return selection.available(tf.reduce_sum(tf.where(member, path, 0.0), axis=-2), blocked)


def leaf_log_prob(
    root: tf.Tensor,
    leaves: tf.Tensor,
    leaf: tf.Tensor,
    item: tf.Tensor,
    blocked: tf.Tensor | None = None,
) -> tf.Tensor:
    """As `path_log_prob` for constant items, with the leaves of each node alone.

    Args:
      root: logits of the branches, float [B, c].
      leaves: logits of the items of each branch at its node, float [B, c, n].
      leaf: int32 [m], the place of each item among the c n leaves.
      item: int32 [c, n], the item of each leaf; -1 for none.
      blocked: bool [B, m], items that may not be shown; None if all may.

    Returns:
      Float [B, m].
    """
    allowed = tf.broadcast_to(item >= 0, tf.shape(leaves))
    if blocked is not None:
        allowed &= ~tf.gather(blocked, tf.maximum(item, 0), axis=1)
    path = _paths(root, leaves, allowed)
    flat = tf.reshape(path, [tf.shape(path)[0], item.shape.num_elements()])
    return selection.available(tf.gather(flat, leaf, axis=1), blocked)


def _paths(root: tf.Tensor, leaves: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
    """Log probability of each leaf, float [B, c, n]; nothing is meant where one is not allowed.

    Args:
      root: logits of the branches, float [B, c].
      leaves: logits of the leaves at their nodes, float [B, c, n].
      allowed: bool [B, c, n].
    """
    empty = tf.logical_not(tf.reduce_any(allowed, axis=-1))
    to_branch = tf.nn.log_softmax(tf.where(empty, _NOBODY, root))  # [B, c]
    to_leaf = tf.nn.log_softmax(tf.where(allowed, leaves, _NOBODY), axis=-1)
    return to_branch[..., None] + to_leaf


class Tpgr(reinforce.Reinforce):
    """TPGR; arguments as in `base.Baseline`.

    Raises:
      ValueError: if the simulator asks for a continuous action.
    """

    config: TpgrConfig

    def __init__(self, config: TpgrConfig, simulator: contract.Simulator, seed: int):
        base.require_items("Tpgr", simulator)
        super().__init__(config, simulator, seed)

    def build(self, simulator: contract.Simulator, seed: int) -> None:
        config, seeds, inputs = self.config, self.weight_seeds(), self.observation_size
        sample = items.sampled(simulator, _SAMPLED if self.catalogue is None else 1, seed)
        learned = self.adapter.variables  # vectors of the items, or nothing
        of_items = sample.reshape(-1, sample.shape[-1]) if not learned else learned[0].numpy()
        self.slabs = Slabs(of_items, math.ceil(math.sqrt(sample.shape[1])))
        self.root = networks.Perceptron(
            inputs, config.hidden, self.slabs.branches, seeds, "root"
        )
        self.nodes = [
            networks.Perceptron(
                inputs, config.hidden, simulator.action_size, seeds, f"node_{i}"
            )
            for i in range(self.slabs.branches)
        ]
        self.critic = networks.Perceptron(inputs, config.hidden, 1, seeds, "critic")
        tree = [v for n in (self.root, *self.nodes) for v in n.trainable_variables]
        self.set_parts(policy=tree, value=self.critic.trainable_variables)

    def scores(
        self, observation: tf.Tensor, features: tf.Tensor, blocked: tf.Tensor | None
    ) -> tf.Tensor:
        """Log probabilities of the candidates as the first pick, float [B, m]."""
        state = self.encoded(observation)
        queries = tf.stack([node(state) for node in self.nodes], axis=1)  # [B, c, D]
        if features.shape.rank == 2:
            # A node scores the items of its branch alone: m logits of a state, and not c m.
            item, leaf = tf.constant(self.slabs.item), tf.constant(self.slabs.leaf)
            of_leaves = tf.gather(features, tf.maximum(item, 0))  # [c, n, D]
            leaves = tf.einsum("bcd,cnd->bcn", queries, of_leaves)
            return leaf_log_prob(self.root(state), leaves, leaf, item, blocked)
        leaves = tf.einsum("bcd,bmd->bcm", queries, features)
        return path_log_prob(self.root(state), leaves, self.slabs(features), blocked)

    def advantage(self, piece: on_policy.Piece) -> tf.Tensor:
        return on_policy.standardised(piece.returns)
