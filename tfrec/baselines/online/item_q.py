"""What SlateQ and DEERS have in common: values of items, a replay, epsilon-greedy slates."""

import abc
from collections.abc import Mapping

import tensorflow as tf

from tfrec.baselines.online import base, items
from tfrec.baselines.online.config import ItemQConfig
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.methods.online import PolicyStep, Rollout
from tfrec.ops import selection
from tfrec.replay.ring import Ring


class ItemQ(base.Baseline):
    """Learns values of items; arguments as in `base.Baseline`.

    Raises:
      ValueError: if the simulator asks for a continuous action.
    """

    config: ItemQConfig

    def __init__(self, config: ItemQConfig, simulator: contract.Simulator, seed: int):
        base.require_items(type(self).__name__, simulator)
        super().__init__(config, simulator, seed)
        self.feature_size = simulator.action_size
        vector = tf.TensorSpec([simulator.observation_size], tf.float32)
        number = tf.TensorSpec([], tf.float32)
        slate = [self.slate_size]
        columns = {"observation": vector, "next_observation": vector}
        columns |= dict.fromkeys(("reward", "clicks", "discount"), number)
        if self.catalogue is None:
            many = items.sampled(simulator, 1, seed).shape[1]
            columns["slate"] = tf.TensorSpec([*slate, self.feature_size], tf.float32)
            columns["next_candidates"] = tf.TensorSpec([many, self.feature_size], tf.float32)
        else:
            columns["action"] = tf.TensorSpec(slate, tf.int32)
        self.replay = Ring(config.replay_size, columns)
        self.epsilon = tf.Variable(config.epsilon, trainable=False, name="epsilon")

    @abc.abstractmethod
    def ranks(self, observation: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """What the k best of are shown, float [B, m].

        Args:
          observation: float [B, O], as the simulator gives it.
          features: float [B, m, D] or [m, D].
        """

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        features = items.offered(timestep, self.catalogue)
        scores = self.ranks(timestep.observation, features)
        return selection.best_slate(scores, self.slate_size, timestep.blocked)

    def explore(self, timestep: Timestep) -> PolicyStep:
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        greedy = self.greedy(timestep)
        batch, many = tf.shape(greedy)[0], tf.shape(timestep.candidates)[1]
        noise = tf.random.stateless_uniform([batch, many], seeds[0])
        anything = selection.best_slate(noise, self.slate_size, timestep.blocked)
        tried = tf.random.stateless_uniform([batch, 1], seeds[1]) < self.epsilon
        return PolicyStep(tf.where(tried, anything, greedy), base.no_note(batch))

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        self.epsilon.assign(base.random_share(self.config, progress))
        rows = {
            "observation": rollout.observation,
            "next_observation": rollout.next_observation,
            "reward": rollout.reward,
            "clicks": rollout.clicks,
            "discount": tf.cast(tf.logical_not(rollout.done), tf.float32),
        }
        if self.catalogue is None:
            shown = tf.gather(rollout.candidates, rollout.action, batch_dims=2)  # [T, B, k, D]
            rows |= {"slate": shown, "next_candidates": rollout.next_candidates}
        else:
            rows["action"] = rollout.action
        self.replay.add({name: base.flat(value) for name, value in rows.items()})

    def of_slate(
        self, scores: items.Scores, state: tf.Tensor, rows: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Scores of the items that were shown, float [B, k]; state is what `scores` takes."""
        if self.catalogue is None:
            return scores(state, rows["slate"])
        return tf.gather(scores(state, self.catalogue), rows["action"], batch_dims=1)

    def next_blocked(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
        """What could not be shown next, bool [B, m]; None if everything could."""
        return self.adapter.blocked(rows["next_observation"])

    def next_features(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What could be shown next, float [B, m, D] or [m, D]."""
        return rows["next_candidates"] if self.catalogue is None else self.catalogue

    def sample(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch of the replay, with rewards scaled and gamma in the discount."""
        rows = self.replay.sample(self.config.batch, self.draw())
        return rows | {
            "reward": self.config.reward_scale * rows["reward"],
            "discount": self.config.discount * rows["discount"],
        }
