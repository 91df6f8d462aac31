"""GoalRec in live simulators that recommend items: RecSim's slates, RecoGym's products.

A `tfrec.methods.online.Method`. These parts are the paper's (Wang et al., AAAI 2021): the world
model of measurements M(s, a, g) = V(s, g) + A(s, g, a) (Figure 3, `streams`), its losses (eq 9
and that of V), hindsight goals, exploration by one random goal for each session, and
Q(s, a, g) = g . M(s, a, g) (eqs 7-8). The paper has neither slates nor these simulators, so
these parts are ours:

- **The state encoder** is a perceptron over the simulator's observation, and E(a) reads the
  features of an item.
- **Measurements** are sums over the next `horizon` steps of the session, this one included,
  discounted by `discount` a step. Goals weigh disjoint windows: with `reward@0` and
  `reward@1..` at weight 1 each, the goal is the discounted reward.
- **Slates**: M(s, slate, g) = V(s, g) + sum over the slate's items of A(s, g, a). The k items
  of the highest g . A are then the best slate. With k = 1 it is GoalRec itself.
- **Standardisation** by the running mean and standard deviation of all measured steps.
- **Goals of a batch**: a share of the rows has hindsight goals. Of the others, a share has the
  target goal, whatever goal they were played under, and the rest the goal of their session.
- **Random items** at a share of the steps, drawn from the best share of the candidates.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfgoalrec import goals, relabel
from tfgoalrec.learner import Batch
from tfgoalrec.measurements import MeasurementVector
from tfgoalrec.online_config import OnlineGoalRecConfig
from tfgoalrec.online_measurements import FEEDBACK, MeasuredReplay
from tfgoalrec.online_model import FeatureModel
from tfrec import names
from tfrec.baselines.online import base, items
from tfrec.environments import contract
from tfrec.environments.contract import Policy, Timestep
from tfrec.methods.online import PolicyStep, Rollout
from tfrec.ops import selection, target_networks
from tfrec.training import schedule

_RANDOM_GOALS = 4096  # sessions whose numbers are this far apart share their random goal


class OnlineGoalRec(base.Baseline):
    """GoalRec that learns by playing; arguments as in `base.Baseline`.

    Attributes:
      measurements: their columns, and the running mean and standard deviation.
      named_goals: name -> weight of one raw unit of each column, float32 [M]; the first is the
        target goal.
      world_model: the trained model.
      averaged: the average of its weights over updates (`tau`), which selects items.
      replay: measured steps.

    Raises:
      ValueError: if the simulator asks for a continuous action, or a measurement or a goal
        cannot be read.
    """

    config: OnlineGoalRecConfig
    extras = ("model_loss", "value_loss")

    def __init__(self, config: OnlineGoalRecConfig, simulator: contract.Simulator, seed: int):
        base.require_items("GoalRec", simulator)
        super().__init__(config, simulator, seed)
        self.measurements = MeasurementVector(config.measurements, FEEDBACK, 0)
        self.named_goals = named_goals(config.goals, self.measurements)
        self._target = next(iter(self.named_goals.values()))
        self.info_size = self.measurements.dim
        columns = {
            "observation": tf.TensorSpec([self.observation_size], tf.float32),
            "goal": tf.TensorSpec([self.measurements.dim], tf.float32),
            "item": tf.TensorSpec([self.slate_size, simulator.action_size], tf.float32),
        }
        if self.catalogue is not None:
            columns["item"] = tf.TensorSpec([self.slate_size], tf.int32)
        self.replay = MeasuredReplay(
            config.replay_size, config.horizon, config.discount, self.measurements, columns
        )
        sizes = (self.measurements.size, self.observation_size, config.hidden)
        self.world_model = FeatureModel(config, *sizes, simulator.action_size)
        self.averaged = FeatureModel(config, *sizes, simulator.action_size)
        self._update_average(1.0)
        # Goals and coins of sessions, by their number.
        seeds = self.generator.make_seeds(2)  # [2, 2]
        first, second = tf.unstack(tf.cast(seeds, tf.int32), axis=1)
        drawn = goals.random(self.measurements, _RANDOM_GOALS, first)
        coins = tf.random.stateless_uniform([_RANDOM_GOALS], second)
        self.random_goals = tf.Variable(drawn, trainable=False, name="random_goals")
        self.coins = tf.Variable(coins, trainable=False, name="coins")
        self.epsilon = tf.Variable(config.epsilon, trainable=False, name="epsilon")
        self.pool = tf.Variable(1.0, trainable=False, name="pool")
        self.goal_epsilon = tf.Variable(
            config.goal_epsilon, trainable=False, name="goal_epsilon"
        )
        self.set_parts(model=self.world_model.trainable_variables)

    def goal(self, raw_weights: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Returns a unit goal in standardised units, float [M], from weights in raw units."""
        return goals.normalise(tf.cast(raw_weights, tf.float32) * self.measurements.std)

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        """Returns the best slate for the target goal; see `tfrec.methods.online.Method`."""
        return self._best(timestep, self._target)

    def greedy_for(self, goal: str | Mapping[str, float]) -> Policy:
        """Returns the greedy policy of a goal other than the target goal.

        Args:
          goal: one of `named_goals`, or the weight of one raw unit of each measurement.

        Raises:
          ValueError: if there is no such goal or measurement.
        """
        if isinstance(goal, str):
            if goal not in self.named_goals:
                raise ValueError(f"no goal {goal!r}; there are {', '.join(self.named_goals)}")
            raw_weights = self.named_goals[goal]
        else:
            goals.named(self.measurements, goal)  # raises if all weights are 0
            raw_weights = goals.raw(self.measurements, goal)
        return lambda timestep: self._best(timestep, raw_weights)

    def explore(self, timestep: Timestep) -> PolicyStep:
        """Returns the best slate for the session's goal, and a random slate at some steps."""
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        goal = self.session_goal(timestep)
        scores = self._scores(timestep, goal)  # [B, m]
        num_candidates = tf.cast(tf.shape(scores)[1], tf.float32)
        size = tf.maximum(tf.round(self.pool * num_candidates), float(self.slate_size))
        edge = selection.pool_edge(scores, timestep.blocked, size)
        noise = tf.random.stateless_uniform(tf.shape(scores), seeds[0])
        random_ranks = tf.where(scores >= edge, noise, noise - 1.0)
        explores = (
            tf.random.stateless_uniform([tf.shape(scores)[0], 1], seeds[1]) < self.epsilon
        )
        ranking = tf.where(explores, random_ranks, scores)
        return PolicyStep(
            selection.best_slate(ranking, self.slate_size, timestep.blocked), goal
        )

    def session_goal(self, timestep: Timestep) -> tf.Tensor:
        """Returns the goals that sessions are played under during learning, float [B, M].

        The random goal of a session stays the same. Once the share of random goals is below
        the session's coin, its goal is the target goal. Without session numbers, the row of
        a session is its number.
        """
        batch = tf.shape(timestep.observation)[0]
        user = tf.range(batch) if timestep.user is None else timestep.user
        number = tf.math.floormod(user, _RANDOM_GOALS)
        has_random = tf.gather(self.coins, number) < self.goal_epsilon  # [B]
        random_goal = tf.gather(self.random_goals, number)  # [B, M]
        return tf.where(has_random[:, None], random_goal, self.goal(self._target))

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        config = self.config
        self.epsilon.assign(base.random_share(config, progress))
        self.pool.assign(
            schedule.linear(1.0, config.action_pool, config.epsilon_share, progress)
        )
        goal_epsilon = schedule.linear(
            config.goal_epsilon, 0.0, config.goal_epsilon_share, progress
        )
        self.goal_epsilon.assign(goal_epsilon)
        encoded = self.adapter.encode(base.flat(rollout.observation))
        shape = tf.concat([tf.shape(rollout.reward), [self.observation_size]], axis=0)
        slate = rollout.action
        if self.catalogue is None:
            slate = tf.gather(rollout.candidates, rollout.action, batch_dims=2)  # [T, B, k, D]
        columns = {
            "observation": tf.reshape(encoded, shape),  # [T, B, O]
            "goal": rollout.info,
            "item": slate,
        }
        self.replay.add(columns, rollout.clicks, rollout.reward, rollout.done, rollout.user)

    def planned(self, updates: tf.Tensor) -> tf.Tensor:
        """Returns the number of updates to make: 0 until a step was measured."""
        return tf.where(self.replay.ring.added > 0, super().planned(updates), 0)

    def sample(self, number: tf.Tensor) -> Batch:
        """Draws rows of the replay with the goals that they are trained under."""
        del number  # all updates are the same
        rows = self.replay.ring.sample(self.config.batch, self.draw())
        coin = tf.random.stateless_uniform([self.config.batch, 1], self.draw())
        target = self.goal(self._target)
        transition = relabel.Transition(
            observation=rows["observation"],
            item=rows["item"],
            measurement=self.measurements.standardise(rows["measurement"]),
            outcome=self.measurements.standardise(rows["outcome"]),
            goal=tf.where(coin < self.config.target_share, target, rows["goal"]),
        )
        transition = relabel.relabel(transition, self.config.hindsight_share, self.draw())
        return Batch(transition, self.draw())

    def gradients(
        self, batch: Batch
    ) -> tuple[dict[str, base.LossGradients], dict[str, tf.Tensor]]:
        rows, seed = batch
        slate = rows.item  # [B, k, D]
        if self.catalogue is not None:
            slate = tf.gather(self.catalogue, rows.item)
        with tf.GradientTape() as tape:
            loss, report = self.world_model.loss_of(
                rows.observation, rows.goal, slate, rows.measurement, seed
            )
        return {"model": base.loss_gradients(tape, loss, self._parts()["model"])}, report

    def after_update(self) -> None:
        self._update_average(self.config.tau)

    def _update_average(self, tau: float) -> None:
        target_networks.soft_update(self.averaged.variables, self.world_model.variables, tau)

    def _best(self, timestep: Timestep, raw_weights: np.ndarray) -> tf.Tensor:
        goal = self.goal(raw_weights)
        batch = tf.shape(timestep.observation)[0]
        goal = tf.broadcast_to(goal, [batch, self.measurements.dim])
        return selection.best_slate(
            self._scores(timestep, goal), self.slate_size, timestep.blocked
        )

    def _scores(self, timestep: Timestep, goal: tf.Tensor) -> tf.Tensor:
        """Q(s, a, g) of the candidates, float [B, m]."""
        encoded = self.adapter.encode(timestep.observation)
        return self.averaged.scores(encoded, goal, items.offered(timestep, self.catalogue))


def named_goals(
    texts: tuple[str, ...], measurements: MeasurementVector
) -> dict[str, np.ndarray]:
    """Returns the weights of one raw unit of each column by the name of their goal.

    Args:
      texts: e.g. `clicks = 1*click@0 + 0.5*click@1..`.
      measurements: the columns.

    Raises:
      ValueError: if a goal cannot be read, has only zero weights, or weighs an unmeasured
        column.
    """
    parsed = [goals.parse(text) for text in texts]
    names.check_distinct("goal", (name for name, _ in parsed))
    for _, weights in parsed:
        goals.named(measurements, weights)  # raises if all weights are 0
    return {name: goals.raw(measurements, weights) for name, weights in parsed}
