"""Deep Dyna-Q (Peng et al., ACL 2018): a DQN that also learns from users it imagines.

Three things share each update:

- direct learning: a DQN (Mnih et al., Nature 2015) learns from real steps, of the log and
  of played sessions,
- user model learning: a model of what a user does next (see `window_user`) learns from
  the same real steps, supervised,
- planning: for each real step that the DQN learns from, K - 1 simulated ones. They follow
  real states drawn from the replay, with the DQN's own choices of items and the model's
  answers, and go into a replay of their own, from which (K - 1) / K of a batch is drawn.

Peng et al. simulate whole sessions from their start. Here a simulated session starts at
any real state and lasts `planning_depth` steps: errors of the model add up less, and no
simulated user is stepped on after leaving. K = 1 is the plain DQN.

Q(s, a) takes the item as an input, so that the loss costs one item per state and only the
maximum over s' costs all of them. TF-Agents' DqnAgent asks its network for the values of
all actions of s_t and picks one of them in the loss: a gradient through 10,000 candidates,
of which one is not zero. Hence a loss of our own. It is the squared error and not Huber's,
which tends to the median of a target that is r + V or, when the user leaves, r: with few
exits the median never sees them, and what drives users away is what there is to learn.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.baselines import learning, window_user
from tfrec.baselines.network import StateItemNetwork
from tfrec.replay.transitions import TransitionReplay, Transitions
from tfrec.simulators import session
from tfrec.training import finite
from tfrec.training.options import option

SPACE: dict[str, tuple] = {
    "learning_rate": (1e-3, 3e-4, 1e-4),
    "embedding": (16, 32, 64),
    "units": (32, 64),
    "hidden": (64, 128, 256),
    "batch": (128, 256),
    "discount": (0.9, 0.95, 1.0),
    "planning_steps": (2, 5, 10),
    "planning_depth": (1, 4),
    "averaging": (0.95, 0.99),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynaQConfig(learning.BaselineConfig):
    """The DQN, its user model and planning."""

    discount: float = option(0.95, "worth of the next step's reward against this one's")
    double_q: bool = option(
        False,
        "the network chooses the next item and the target values it; else the target both",
    )
    averaging: float = option(0.98, "decay of the averaged weights that are the target")
    auxiliary_weight: float = option(0.1, "weight of DIEN's auxiliary loss")
    planning_steps: int = option(
        5, "K: steps learned from, real and simulated, for each real one; 1 for a plain DQN"
    )
    planning_depth: int = option(4, "simulated steps in a row from one real state")
    planning_epsilon: float = option(0.2, "share of random items in simulated steps")
    planning_replay: int = option(4096, "simulated steps held, the latest")
    warm_up: int = option(120, "updates of the user model before it is planned with")

    def __post_init__(self):
        for name in ("planning_steps", "planning_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("discount", "averaging", "planning_epsilon"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to 1")
        if not 1 <= self.real <= self.batch:
            raise ValueError(
                f"batch is {self.batch}; expected at least planning_steps x planning_depth, "
                f"{self.planning_steps * self.planning_depth}"
            )
        if self.simulated > self.planning_replay:
            raise ValueError(
                f"planning_replay is {self.planning_replay}; expected at least the simulated "
                f"steps of an update, {self.simulated}"
            )

    @property
    def simulated(self) -> int:
        """Simulated steps of a batch: (K - 1) / K of it, in sessions of equal depth."""
        share = (self.planning_steps - 1) / self.planning_steps
        return self.planning_depth * round(self.batch * share / self.planning_depth)

    @property
    def real(self) -> int:
        """Real steps of a batch."""
        return self.batch - self.simulated


class Steps(NamedTuple):
    """Single steps, real or simulated: what the DQN learns from.

    Attributes:
      observation: s_t, [B, ...].
      item: int32 [B].
      reward: float [B].
      next_observation: s_{t+1}.
      stays: float [B], 0 where the user left after the item, else 1.
      next_blocked: bool [B, A] or None, see `Transitions`.
    """

    observation: types.Observation
    item: tf.Tensor
    reward: tf.Tensor
    next_observation: types.Observation
    stays: tf.Tensor
    next_blocked: tf.Tensor | None


class SimulatedReplay(tf.Module):
    """A ring of the latest simulated steps.

    Args:
      spec: the log's spec.
      capacity: steps it holds.
      repeats: whether an item may be shown twice in a session; if not, each step keeps
        which candidates may not follow, one byte each.
    """

    def __init__(self, spec: types.DataSpec, capacity: int, repeats: bool):
        super().__init__(name="simulated_replay")
        self.capacity = capacity
        h, f, a = spec.history_length, len(spec.feedback), spec.num_candidates
        # s_t and s_{t+1} are two windows on the same H + 1 events.
        self.history_item = _storage([capacity, h + 1], tf.int32, "history_item")
        self.history_feedback = _storage([capacity, h + 1, f], tf.float32, "history_feedback")
        self.step = _storage([capacity], tf.int32, "step")
        self.reward = _storage([capacity], tf.float32, "reward")
        self.stays = _storage([capacity], tf.float32, "stays")
        self.blocked = None if repeats else _storage([capacity, a], tf.bool, "blocked")
        self.added = tf.Variable(0, dtype=tf.int64, trainable=False, name="added")

    @property
    def size(self) -> tf.Tensor:
        """Steps held, int64."""
        return tf.minimum(self.added, self.capacity)

    def add(self, steps: Steps) -> None:
        """Stores B steps over the oldest ones, B at most the capacity."""
        batch = tf.shape(steps.item, tf.int64)[0]
        slot = tf.math.floormod(self.added + tf.range(batch), self.capacity)
        last = steps.next_observation
        first = steps.observation
        item = tf.concat([first.history_item, last.history_item[:, -1:]], axis=1)  # [B, H + 1]
        feedback = tf.concat([first.history_feedback, last.history_feedback[:, -1:]], axis=1)
        pairs = [
            (self.history_item, item),
            (self.history_feedback, feedback),
            (self.step, first.step),
            (self.reward, steps.reward),
            (self.stays, steps.stays),
        ]
        if self.blocked is not None:
            pairs.append((self.blocked, steps.next_blocked))
        for variable, value in pairs:
            variable.scatter_update(tf.IndexedSlices(value, slot))
        self.added.assign_add(batch)

    def sample(self, batch: int, seed: tf.Tensor) -> Steps:
        """Draws B of the steps that are held, with equal probability."""
        slot = tf.random.stateless_uniform([batch], seed, 0, self.size, tf.int64)
        item = tf.gather(self.history_item, slot)
        feedback = tf.gather(self.history_feedback, slot)
        step = tf.gather(self.step, slot)
        return Steps(
            types.Observation(item[:, :-1], feedback[:, :-1], step),
            item[:, -1],
            tf.gather(self.reward, slot),
            types.Observation(item[:, 1:], feedback[:, 1:], step + 1),
            tf.gather(self.stays, slot),
            None if self.blocked is None else tf.gather(self.blocked, slot),
        )


class DynaQLearner(learning.BaselineLearner):
    """The DQN, its target, its user model and both replays.

    Args:
      config: the method's numbers.
      spec: the log's spec.
      log: training sessions, numpy arrays.
      world: who answers, or None to learn from the log alone.
      item_vectors: float [N + 1, >= embedding], where the item embeddings start.
      seed: of the weights and of all later draws.
    """

    config: DynaQConfig

    def __init__(
        self,
        config: DynaQConfig,
        spec: types.DataSpec,
        log: types.Episodes,
        world: session.World | None,
        item_vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(config, spec, log, world, seed, name="dyna_q")
        sizes = {
            name: getattr(config, name)
            for name in ("embedding", "units", "state", "hidden", "crossed")
        }
        self.network = StateItemNetwork(spec, item_vectors, **sizes)
        # An average over the latest updates: the target, and what acts.
        self.target = StateItemNetwork(spec, item_vectors, **sizes, name="target")
        for average, variable in self._pairs():
            average.assign(variable)
        # Films are not shown twice in a session; without a world the log tells.
        repeats = world.repeats if world is not None else _has_repeats(log)
        # Its discount is 1 while the user stays: ours is multiplied in the target.
        self.replay = TransitionReplay(
            spec, config.replay_sessions, n_steps=1, discount=1.0, repeats=repeats
        )
        self.user: window_user.WindowUser | None = None
        if config.planning_steps > 1:
            self.user = window_user.WindowUser(spec, item_vectors, sizes)
            self.simulated = SimulatedReplay(spec, config.planning_replay, repeats)
        self.optimizer = tf.keras.optimizers.Adam(self.learning_rate, global_clipnorm=10.0)
        self.optimizer.build(self.variables_to_train)
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.checked = [
            "TD loss",
            "auxiliary loss",
            "user model loss",
            *(f"gradient of {v.name.removesuffix(':0')}" for v in self.variables_to_train),
        ]
        self.fill(log, config.replay_sessions)

    @property
    def variables_to_train(self) -> list[tf.Variable]:
        user = self.user.trainable_variables if self.user is not None else ()
        return [*self.network.trainable_variables, *user]

    @property
    def acting(self) -> tf.Module:
        return self.target

    def policy(self) -> session.Policy:
        return greedy(self.target)

    def store(self, episodes: types.Episodes, reward: tf.Tensor) -> None:
        self.replay.add(episodes, reward)

    def update(self) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        config = self.config
        seeds = tf.cast(tf.transpose(self.generator.make_seeds(5)), tf.int32)  # [5, 2]
        drawn = self.replay.sample(config.batch, seeds[0])
        batch = real = real_steps(drawn)
        if self.user is not None:
            batch = tf.cond(
                self.updates >= config.warm_up,
                lambda: self._planned(real, seeds[1], seeds[2]),
                lambda: real,
            )
        with tf.GradientTape() as tape:
            td_loss, auxiliary, report = self.td_loss(batch, seeds[3])
            user_loss, user_report = self.user_loss(real, seeds[4])
            loss = td_loss + config.auxiliary_weight * auxiliary + user_loss
        gradients = tape.gradient(loss, self.variables_to_train)
        named = dict(
            zip(self.checked, (td_loss, auxiliary, user_loss, *gradients), strict=True)
        )
        bad = tf.constant(-1)
        # Their joint norm is finite only if all are; only then is none to be searched for.
        if not tf.math.is_finite(tf.linalg.global_norm(list(named.values()))):
            bad = finite.first_non_finite(named)
        if bad < 0:
            self._apply(gradients)
        return report | user_report, bad

    def td_loss(
        self, steps: Steps, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Half the squared TD error, DIEN's auxiliary loss, and what to report."""
        following = self.target.all_values(self.target.encode(steps.next_observation).state)
        choosing = following
        if self.config.double_q:
            state = self.network.encode(steps.next_observation).state
            choosing = self.network.all_values(state)
        target = td_target(
            steps.reward,
            self.config.discount * steps.stays,
            following[..., 0],
            choosing[..., 0],
            steps.next_blocked,
        )
        history = self.network.encode(steps.observation)
        value = self.network.values(history.state, steps.item)[:, 0]  # [B]
        loss = 0.5 * tf.reduce_mean(tf.square(value - target))
        auxiliary = self.network.tower.auxiliary_loss(steps.observation, history, seed)
        report = {"td_loss": loss, "value": tf.reduce_mean(value)}
        return loss, auxiliary, report

    def user_loss(
        self, steps: Steps, seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The user model's loss on real steps; 0 without one."""
        if self.user is None:
            return tf.constant(0.0), {}
        answer = window_user.Answer(
            feedback=steps.next_observation.history_feedback[:, -1],
            reward=steps.reward,
            exited=steps.stays == 0.0,
        )
        loss, parts = self.user.loss(steps.observation, steps.item, answer, seed)
        loss += self.config.auxiliary_weight * parts["auxiliary"]
        return loss, {f"user/{name}": value for name, value in parts.items()}

    def _planned(self, real: Steps, plan_seed: tf.Tensor, seed: tf.Tensor) -> Steps:
        """The batch once there is a user model: its share of simulated steps is drawn anew."""
        self.plan(real, plan_seed)
        imagined = self.simulated.sample(self.config.simulated, seed)
        return _each(
            lambda one, other: tf.concat([one[: self.config.real], other], axis=0),
            real,
            imagined,
        )

    def plan(self, real: Steps, seed: tf.Tensor) -> None:
        """Simulates `config.simulated` steps, from the states of the first real ones on.

        A simulated user who left, or who took as many steps as a session may have, starts
        again at the real state.
        """
        config, limit = self.config, self.spec.max_steps
        count = config.simulated // config.planning_depth
        start = _each(lambda x: x[:count], real)
        blocked = None
        if start.next_blocked is not None:  # before the real item was shown
            own = tf.one_hot(start.item - 1, self.spec.num_candidates, True, False)
            blocked = tf.logical_and(start.next_blocked, tf.logical_not(own))
        origin = now = (start.observation, blocked)
        for depth in range(config.planning_depth):
            step_seed = tf.random.experimental.stateless_fold_in(seed, depth)
            steps = self._imagine(*now, step_seed)
            self.simulated.add(steps)
            over = tf.logical_or(steps.stays == 0.0, steps.next_observation.step >= limit)
            now = _each(
                lambda again, on: tf.where(_like(over, on), again, on),  # noqa: B023
                origin,
                (steps.next_observation, steps.next_blocked),
            )

    @tf.function  # traced once for all depths
    def _imagine(
        self, observation: types.Observation, blocked: tf.Tensor | None, seed: tf.Tensor
    ) -> Steps:
        """One step of B simulated users."""
        policy = self.explore(tf.constant(self.config.planning_epsilon))
        seeds = tf.random.experimental.stateless_split(seed, 2)
        item = policy(session.Turn(observation, blocked, None, seeds[0]))
        answer = self.user.answer(observation, item, seeds[1])
        if blocked is not None:
            shown = tf.one_hot(item - 1, self.spec.num_candidates, True, False)
            blocked = tf.logical_or(blocked, shown)
        return Steps(
            observation,
            item,
            answer.reward,
            window_user.shifted(observation, item, answer.feedback),
            tf.cast(tf.logical_not(answer.exited), tf.float32),
            blocked,
        )

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply_gradients(zip(gradients, self.variables_to_train, strict=True))
        self.updates.assign_add(1)
        for average, variable in self._pairs():
            average.assign_sub((1.0 - self.config.averaging) * (average - variable))

    def _pairs(self):
        return zip(
            self.target.trainable_variables, self.network.trainable_variables, strict=True
        )


def greedy(network: StateItemNetwork) -> session.Policy:
    """The item of the highest value among all that may be shown."""

    def policy(turn: session.Turn) -> tf.Tensor:
        state = network.encode(turn.observation).state
        return session.best(network.all_values(state)[..., 0], turn.blocked)

    return policy


def td_target(
    reward: tf.Tensor,
    discount: tf.Tensor,
    following: tf.Tensor,
    choosing: tf.Tensor,
    blocked: tf.Tensor | None,
) -> tf.Tensor:
    """The reward and discount * Q'(s', argmax_a Q(s', a)), over the items that may follow.

    Args:
      reward: float [B].
      discount: float [B], 0 where the user left.
      following: float [B, A], Q': the values of the next items.
      choosing: float [B, A], Q: the same as Q' in DQN, another network in double DQN
        (van Hasselt et al., AAAI 2016).
      blocked: bool [B, A] or None.

    Returns:
      float [B], without a gradient; just the reward where no item may follow.
    """
    best = session.best(choosing, blocked)[:, None] - 1
    value = tf.gather(following, best, axis=1, batch_dims=1)[:, 0]
    if blocked is not None:
        value = tf.where(tf.reduce_all(blocked, axis=1), 0.0, value)
    return tf.stop_gradient(reward + discount * value)


def real_steps(drawn: Transitions) -> Steps:
    """One-step transitions of a replay whose own discount is 1."""
    return Steps(
        drawn.observation,
        drawn.item,
        drawn.reward,
        drawn.next_observation,
        drawn.discount,
        drawn.next_blocked,
    )


def _has_repeats(log: types.Episodes) -> bool:
    item = np.sort(log.item, axis=1)  # padding comes first
    return bool(np.any((item[:, 1:] == item[:, :-1]) & (item[:, 1:] > types.PAD)))


def _each(function: Callable, *nests: Any) -> Any:
    """Applies a function to the tensors of nests of one structure; None stays None."""
    return tf.nest.map_structure(
        lambda first, *others: None if first is None else function(first, *others), *nests
    )


def _like(flag: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Flags [B] with as many axes as the value [B, ...]."""
    return tf.reshape(flag, [-1] + [1] * (len(value.shape) - 1))


def _storage(shape: list[int], dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)
