"""The base of online baselines: several updates in one graph, none from bad numbers."""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec.baselines.online.config import EpsilonConfig, NetworkConfig, UpdateConfig
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.methods.action_adapter import ActionAdapter
from tfrec.methods.online import PolicyStep, Rollout
from tfrec.ops import autodiff
from tfrec.training import finite, schedule


class LossGradients(NamedTuple):
    """Loss and gradients of a part at the current weights.

    Attributes:
      loss: scalar.
      gradients: gradients of the part's variables, in their order.
    """

    loss: tf.Tensor
    gradients: Sequence[tf.Tensor]


class Baseline(tf.Module, abc.ABC):
    """Learns online; a `tfrec.methods.online.Method`. All its state is variables.

    A subclass builds its networks and then calls `set_parts`.

    Args:
      config: the method's numbers.
      simulator: the simulator of play, of which only sizes and items are read.
      seed: seed of the weights and of all random numbers.

    Attributes:
      extras: names of the scalars that `gradients` reports beside the losses.
      face: what networks see of the simulator.
      observation_size: width of that.
      catalogue: features of items that are always the same, float32 [m, D]; else None.
      weight_seeds: gives the seeds of initial weights, one after the other.
    """

    info_size = 0
    extras: tuple[str, ...] = ()

    def __init__(self, config: NetworkConfig, simulator: contract.Simulator, seed: int):
        super().__init__(name=type(self).__name__.lower())
        self.config = config
        self.adapter = ActionAdapter(
            simulator, config.vectors, config.vector_width, config.vector_sessions, seed
        )
        self.steps_before = self.adapter.steps_before
        self.sessions_before = self.adapter.sessions_before
        self.observation_size = self.adapter.observation_size
        self.slate_size = simulator.slate_size
        self.catalogue = simulator.catalogue
        # For layers that can only be seeded so: TF-Agents'.
        tf_keras.utils.set_random_seed(seed)
        seeds: Iterator[int] = map(int, np.random.default_rng(seed).integers(2**31, size=1000))
        self.weight_seeds = lambda: seeds  # hidden from checkpoints
        self.generator = tf.random.Generator.from_seed(seed, alg="philox")

    def set_parts(self, **parts: Sequence[tf.Variable]) -> None:
        """Sets the groups of variables; each has a separate loss and optimiser."""
        self._parts = lambda: {name: list(variables) for name, variables in parts.items()}
        self.optimizers = {}
        for name, variables in self._parts().items():
            optimizer = tf_keras.optimizers.Adam(self.config.learning_rate, jit_compile=False)
            optimizer.build(variables)
            self.optimizers[name] = optimizer
        self.checked = tuple(
            [f"{part} loss" for part in parts]
            + [
                f"gradient of {part} {v.name.removesuffix(':0')} {i}"
                for part, variables in self._parts().items()
                for i, v in enumerate(variables)
            ]
        )

    # What a method provides.

    @abc.abstractmethod
    def explore(self, timestep: Timestep) -> PolicyStep:
        """See `tfrec.methods.online.Method`."""

    @abc.abstractmethod
    def greedy(self, timestep: Timestep) -> tf.Tensor:
        """See `tfrec.methods.online.Method`."""

    @abc.abstractmethod
    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        """See `tfrec.methods.online.Method`."""

    @abc.abstractmethod
    def sample(self, number: tf.Tensor) -> Any:
        """Draws everything random that an update needs. Graph code.

        Args:
          number: int32 scalar, index of the update in this `learn`.

        Returns:
          The batch: a nest of tensors, including the seeds of the update. A run saves it if a
          tensor is not finite, so `gradients` must be a function of it.
        """

    @abc.abstractmethod
    def gradients(
        self, batch: Any
    ) -> tuple[Mapping[str, LossGradients], Mapping[str, tf.Tensor]]:
        """Every part's gradient at the present weights, and `extras`. Graph code.

        Args:
          batch: what `sample` returned.
        """

    def planned(self, updates: tf.Tensor) -> tf.Tensor:
        """Number of updates for a scheduled number of updates."""
        config = self.config
        return updates * config.update_factor if isinstance(config, UpdateConfig) else updates

    def due(self, part: str) -> tf.Tensor | bool:
        """Whether this update changes the part."""
        return True

    def after_update(self) -> None:
        """Called when weights have moved. Graph code."""
        return

    # What all do.

    def set_learning_rate(self, progress: tf.Tensor) -> None:
        """See `tfrec.methods.online.Method`."""
        config = self.config
        rate = schedule.annealed(config.learning_rate, config.final_rate, progress)
        for optimizer in self.optimizers.values():
            optimizer.learning_rate.assign(rate)

    def learn(self, updates: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        """See `tfrec.methods.online.Method`."""
        updates = self.planned(tf.convert_to_tensor(updates))
        return schedule.repeat(self._update, updates)

    @tf.function(autograph=False)
    def _update(self, number: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, Any]:
        batch = self.sample(number)
        return *self.update_on(batch), batch

    def update_on(self, batch: Any) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Updates every part that is due. Graph code.

        Args:
          batch: result of `sample`.

        Returns:
          Scalars to report; and the index in `checked` of the first tensor that is not
          finite, or -1. If there is one, no variable changes.
        """
        by_part, report = self.gradients(batch)
        bad = finite.guarded(self._named(by_part), lambda: self._apply(by_part))
        report = {name: report[name] for name in self.extras}
        return {f"{part}_loss": each.loss for part, each in by_part.items()} | report, bad

    def draw(self) -> tf.Tensor:
        """The next seed, int32 [2]."""
        return tf.cast(self.generator.make_seeds(1)[:, 0], tf.int32)

    def _named(self, by_part: Mapping[str, LossGradients]) -> dict[str, tf.Tensor]:
        tensors = [each.loss for each in by_part.values()]
        tensors += [g for each in by_part.values() for g in each.gradients]
        return dict(zip(self.checked, tensors, strict=True))

    def _apply(self, by_part: Mapping[str, LossGradients]) -> None:
        for part, variables in self._parts().items():
            due = self.due(part)
            apply = _applied(self.optimizers[part], by_part[part].gradients, variables)
            if due is True:
                apply()
            else:
                tf.cond(due, apply, lambda: tf.constant(False))
        self.after_update()


def _applied(
    optimizer: tf_keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[tf.Variable],
) -> Callable[[], tf.Tensor]:
    def apply() -> tf.Tensor:
        autodiff.apply_gradients(optimizer, gradients, variables)
        return tf.constant(False)

    return apply


def loss_gradients(
    tape: tf.GradientTape, loss: tf.Tensor, variables: Sequence[tf.Variable]
) -> LossGradients:
    """The loss with its gradients; it must depend on every variable."""
    gradients = tape.gradient(loss, list(variables))
    for variable, gradient in zip(variables, gradients, strict=True):
        if gradient is None:
            raise ValueError(f"the loss does not depend on {variable.name}")
    return LossGradients(loss, gradients)


def random_share(config: EpsilonConfig, progress: tf.Tensor) -> tf.Tensor:
    """The share of random slates, float scalar.

    Args:
      config: epsilon and how it falls.
      progress: share of the run that is over, float scalar.
    """
    return schedule.linear(config.epsilon, config.epsilon_end, config.epsilon_share, progress)


def flat(x: tf.Tensor) -> tf.Tensor:
    """[T, B, ...] -> [T * B, ...]."""
    return tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0))


def no_note(batch: tf.Tensor) -> tf.Tensor:
    """A note of no numbers, float32 [B, 0]."""
    return tf.zeros([batch, 0])


def require_items(name: str, simulator: contract.Simulator) -> None:
    """Raises ValueError for a method that has no continuous form."""
    if not simulator.slate_size:
        raise ValueError(
            f"{name} recommends items; {type(simulator).__name__} asks for a continuous "
            f"action of {simulator.action_size} numbers"
        )
