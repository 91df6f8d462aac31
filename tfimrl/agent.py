"""The IMRL agent: soft actor-critic with empowerment (Algorithm 2), as a TF-Agents TFAgent.

Without empowerment (`exploration="entropy"`, mode fixed) the agent is the soft actor-critic of
Haarnoja et al. (2018, arXiv:1801.01290) with a learned temperature (arXiv:1812.05905).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tf_agents.agents import tf_agent
from tf_agents.policies import tf_policy
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step, time_step

from tfimrl import empowerment, losses
from tfimrl.config import ImrlConfig
from tfimrl.slate_actions import SlateAction, SlateActions
from tfrec.nn import networks
from tfrec.ops import autodiff, target_networks
from tfrec.replay.steps import Steps
from tfrec.training import finite

# Bounds of the policy's log standard deviation, those of SAC.
_POLICY_LOG_STDS = (-20.0, 2.0)
# The first fields of `ImrlInfo`, in order.
_LOSSES = ("q", "value", "policy", "inverse", "forward", "temperature")


class ImrlInfo(NamedTuple):
    """Metrics of an update, means over the batch; for several updates, their mean.

    Attributes:
      q_loss: eq 10, the sum over both critics.
      value_loss: eq 11.
      policy_loss: eq 13.
      inverse_loss: eq 14; 0 without empowerment.
      forward_loss: loss of the forward model, nats; 0 without it.
      temperature_loss: eq 15; 0 in mode faithful, which has no temperature.
      temperature: weight of -log pi: alpha of eq 15, or beta in mode faithful.
      entropy: -log pi of fresh actions, nats.
      empowerment: g of eq 12, nats; without empowerment its -log pi alone.
      q: Q of eqs 11 and 13 at fresh actions, in scaled reward.
      error: |Q_1 - target| of real rows, in scaled reward.
      synthetic_error: the same of synthetic rows; 0 if there is none.
      non_finite: int32, index in `ImrlAgent.checked` of the first bad tensor, -1 if none.
      updates: int32, number of updates made: all, or those before the bad one.
    """

    q_loss: tf.Tensor
    value_loss: tf.Tensor
    policy_loss: tf.Tensor
    inverse_loss: tf.Tensor
    forward_loss: tf.Tensor
    temperature_loss: tf.Tensor
    temperature: tf.Tensor
    entropy: tf.Tensor
    empowerment: tf.Tensor
    q: tf.Tensor
    error: tf.Tensor
    synthetic_error: tf.Tensor
    non_finite: tf.Tensor
    updates: tf.Tensor


_MEANS = len(ImrlInfo._fields) - 2


class ImrlBatch(NamedTuple):
    """The input of an update.

    Attributes:
      steps: B rows.
      weight: float [B], importance weights.
      noise: float [B, W], standard normal, for the actions and the forward model.
    """

    steps: Steps
    weight: tf.Tensor
    noise: tf.Tensor


# Draws rows in graph code: source(shape [N, B], seed int32 [2]) -> Steps [N, B, ...]
Source = Callable[[list[int | tf.Tensor], tf.Tensor], Steps]


class _Fresh(NamedTuple):
    """Quantities of an action drawn from the policy, all float [B].

    Attributes:
      log_policy: log pi(a|s).
      log_inverse: log p_xi(a|s', s), see `ImrlConfig.successor`; 0 without empowerment.
      bonus: beta g(s, a), see `losses.gain`.
      q: minimum or mean of the critics, see `ImrlConfig.target_q`.
    """

    log_policy: tf.Tensor
    log_inverse: tf.Tensor
    bonus: tf.Tensor
    q: tf.Tensor


class ImrlNetworks(tf.Module):
    """All learned functions.

    Attributes:
      policy: pi_phi, a squashed Gaussian.
      critics: Q_theta, two of them.
      value: V_psi.
      target_value: V_psi', its exponential average.
      inverse: p_xi, or None where no loss has it.
      forward: P_eta, or None.
      log_temperature: log alpha of eq 15; None in mode faithful, which has none.
    """

    def __init__(
        self,
        config: ImrlConfig,
        observation_size: int,
        action_size: int,
        critic_input_size: int,
        seed: int,
    ):
        super().__init__(name="networks")
        seeds = map(int, np.random.default_rng(seed).integers(2**31, size=1000))
        sizes = (observation_size, action_size)
        hidden = config.hidden
        self.policy = networks.Gaussian(
            observation_size, hidden, action_size, seeds, "policy", _POLICY_LOG_STDS
        )
        self.critics: list[networks.Perceptron | networks.Bilinear] = [
            networks.Bilinear(observation_size, critic_input_size, name)
            if config.critic == "bilinear"
            else networks.Perceptron(
                observation_size + critic_input_size, hidden, 1, seeds, name
            )
            for name in ("critic_1", "critic_2")
        ]
        self.value = networks.Perceptron(observation_size, hidden, 1, seeds, "value")
        self.target_value = networks.Perceptron(
            observation_size, hidden, 1, seeds, "target_value"
        )
        self.inverse = self.forward = None
        if config.uses_inverse:
            self.inverse = empowerment.InverseDynamics(*sizes, hidden, seeds)
            if config.successor == "forward":
                self.forward = empowerment.ForwardModel(*sizes, hidden, seeds)
        self.log_temperature = None
        if config.mode != "faithful":
            self.log_temperature = tf.Variable(
                np.log(config.initial_temperature), dtype=tf.float32, name="log_temperature"
            )
        self.update_target(1.0)

    def parts(self) -> dict[str, list[tf.Variable]]:
        """Returns the variables of each part with a separate loss."""
        named: dict[str, list[tf.Variable]] = {
            "q": [v for critic in self.critics for v in critic.trainable_variables],
            "value": list(self.value.trainable_variables),
            "policy": list(self.policy.trainable_variables),
        }
        if self.log_temperature is not None:
            named["temperature"] = [self.log_temperature]
        if self.inverse is not None:
            named["inverse"] = list(self.inverse.trainable_variables)
        if self.forward is not None:
            named["forward"] = list(self.forward.trainable_variables)
        return named

    def trained(self) -> list[tf.Variable]:
        """Returns all variables of `parts`, in order."""
        return [v for variables in self.parts().values() for v in variables]

    def q_values(self, observation: tf.Tensor, critic_input: tf.Tensor) -> list[tf.Tensor]:
        """Returns Q_1 and Q_2, each float [B]; `critic_input` is a, or its slate features."""
        return [critic(observation, critic_input)[:, 0] for critic in self.critics]

    def update_target(self, tau: float) -> None:
        """Moves psi' <- tau psi + (1 - tau) psi' (below eq 15)."""
        target_networks.soft_update(self.target_value.variables, self.value.variables, tau)


class ImrlPolicy(tf_policy.TFPolicy):
    """The agent's policy as a TFPolicy: stochastic in training, the mean action at test.

    Args:
      steps: spec of the time steps.
      action_spec: spec of the actions.
      learned: the networks.
      generator: generator of the seeds of sampled actions; None for the mean action.
      name: name of the policy.
    """

    def __init__(
        self,
        steps: time_step.TimeStep,
        action_spec: tensor_spec.BoundedTensorSpec,
        learned: ImrlNetworks,
        generator: tf.random.Generator | None,
        name: str,
    ):
        super().__init__(steps, action_spec, name=name)
        self._policy_network = learned.policy
        self._generator = generator

    def _variables(self) -> list[tf.Variable]:
        return list(self._policy_network.variables)

    def _distribution(
        self, time_step: time_step.TimeStep, policy_state: Any
    ) -> policy_step.PolicyStep:
        mean, log_std = self._policy_network(time_step.observation)
        if self._generator is None:
            distribution = tfp.distributions.Deterministic(tf.tanh(mean))
        else:
            gaussian = tfp.distributions.MultivariateNormalDiag(mean, tf.exp(log_std))
            distribution = tfp.distributions.TransformedDistribution(
                gaussian, tfp.bijectors.Tanh()
            )
        return policy_step.PolicyStep(distribution, policy_state, ())

    def _action(
        self, time_step: time_step.TimeStep, policy_state: Any, seed: Any
    ) -> policy_step.PolicyStep:
        mean, log_std = self._policy_network(time_step.observation)
        if self._generator is not None:
            seed = self._generator.make_seeds(1)[:, 0] if seed is None else seed
            noise = tf.random.stateless_normal(tf.shape(mean), seed)
            mean += tf.exp(log_std) * noise
        return policy_step.PolicyStep(tf.tanh(mean), policy_state, ())


class ImrlAgent(tf_agent.TFAgent):
    """Learns from batches of `Steps`; all state is in variables.

    Args:
      config: the method's configuration.
      observation_size: O.
      action_size: D.
      seed: seed of the weights and of all later random draws.
      jit_compile: compile updates with XLA.
      slate_actions: rows of slates, if critics score the shown items; the action of a batch
        is then a `SlateActions.row`.

    Attributes:
      networks: all learned functions.
      checked: names of the tensors that every update checks for NaN and infinity.
    """

    def __init__(
        self,
        config: ImrlConfig,
        observation_size: int,
        action_size: int,
        seed: int = 0,
        jit_compile: bool = True,
        slate_actions: SlateActions | None = None,
    ):
        steps = time_step.time_step_spec(
            tf.TensorSpec([observation_size], tf.float32, "observation")
        )
        action_spec = tensor_spec.BoundedTensorSpec(
            [action_size], tf.float32, -1.0, 1.0, "action"
        )
        critic_input_size = slate_actions.size if slate_actions else action_size
        learned = ImrlNetworks(config, observation_size, action_size, critic_input_size, seed)
        generator = tf.random.Generator.from_seed(seed, alg="philox")
        super().__init__(
            steps,
            action_spec,
            ImrlPolicy(steps, action_spec, learned, None, "mean_action"),
            ImrlPolicy(steps, action_spec, learned, generator, "stochastic"),
            train_sequence_length=None,
            num_outer_dims=1,
            training_data_spec=_steps_spec(
                observation_size, slate_actions.row_size if slate_actions else action_size
            ),
            train_step_counter=tf.Variable(0, dtype=tf.int64, trainable=False, name="updates"),
        )
        self.config = config
        self._slate_actions = slate_actions
        self.networks = learned
        self.generator = generator
        self._target_entropy = networks.target_entropy(config.target_entropy, action_size)
        parts = learned.parts()
        self.optimizer = tf_keras.optimizers.Adam(config.learning_rate, jit_compile=False)
        self.optimizer.build(learned.trained())
        self.checked = tuple(
            [f"{part} loss" for part in parts]
            + [
                f"gradient of {part} {v.name.removesuffix(':0')} {i}"
                for part, variables in parts.items()
                for i, v in enumerate(variables)
            ]
        )
        self._compiled = tf.function(self._updates, jit_compile=jit_compile, autograph=False)
        self._seeded = tf.function(self._draw_and_update, autograph=False)

    def act(self, observation: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Returns actions in (-1, 1), float [B, D]; graph code.

        Args:
          observation: float [B, O].
          seed: int32 [2] to draw from the policy; None for its mean action.
        """
        mean, log_std = self.networks.policy(observation)
        if seed is not None:
            mean += tf.exp(log_std) * tf.random.stateless_normal(tf.shape(mean), seed)
        return tf.tanh(mean)

    def q_value(self, observation: tf.Tensor, critic_input: tf.Tensor) -> tf.Tensor:
        """Returns the Q value of eqs 11 and 13, float [B], in scaled reward; graph code.

        The option `target_q` selects the minimum of the twin critics or their mean.

        Args:
          observation: float32 [B, O].
          critic_input: float32 [B, ...], the action, or the features of the slate.
        """
        return self._min_or_mean(self.networks.q_values(observation, critic_input))

    def action_values(self, observation: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns the Q value of every item, float [B, m], from bilinear critics.

        Args:
          observation: float32 [B, O].
          items: float32 [m, ...], features of each item, the same for all rows.
        """
        critics = (c for c in self.networks.critics if isinstance(c, networks.Bilinear))
        return self._min_or_mean([critic.of_each(observation, items) for critic in critics])

    def _min_or_mean(self, q_values: list[tf.Tensor]) -> tf.Tensor:
        return (
            tf.minimum(*q_values) if self.config.target_q == "min" else tf.add_n(q_values) / 2.0
        )

    def train_many(
        self,
        source: Steps | Source,
        updates: int | None = None,
        weights: tf.Tensor | None = None,
    ) -> tf_agent.LossInfo:
        """Makes several updates in one compiled call, checked outside of graphs.

        Args:
          source: rows stacked [N, B, ...], one batch for each update; or a function that
            draws them.
          updates: N, required if the source is a function.
          weights: float [N, B], importance weights.

        Returns:
          Means over the updates.

        Raises:
          NonFiniteError: if a loss or gradient is not finite, outside of graphs. That update
            and the later ones are not made.
          ValueError: if the source is a function and `updates` is None.
        """
        if callable(source):
            if updates is None:
                raise ValueError("updates is None; expected a number, as the source draws rows")
            source = self.batches(source, updates)
        info, batch = self.learn(source, weights)
        if tf.executing_eagerly():
            finite.check(self.checked, info.extra.non_finite, batch)
        return info

    def learn(
        self, experience: Steps, weights: tf.Tensor | None = None
    ) -> tuple[tf_agent.LossInfo, ImrlBatch]:
        """Makes several updates in one compiled call. Graph code.

        Args:
          experience: rows stacked [N, B, ...], one batch for each update.
          weights: float [N, B], importance weights.

        Returns:
          Means over the updates, and the batch of the last attempted one, for
          `finite.check` with `extra.non_finite`.
        """
        return self._seeded(experience, weights)

    def batches(self, source: Source, updates: int | tf.Tensor) -> Steps:
        """Draws the batches of several updates from a source, [N, B, ...]. Graph code."""
        return source([updates, self.config.batch], self._seeds(1)[0])

    def _seeds(self, number: int | tf.Tensor) -> tf.Tensor:
        """Returns seeds, int32 [number, 2]."""
        return tf.cast(tf.transpose(self.generator.make_seeds(number)), tf.int32)

    def _train(self, experience: Steps, weights: tf.Tensor | None = None) -> tf_agent.LossInfo:
        one = tf.nest.map_structure(lambda x: tf.convert_to_tensor(x)[None], experience)
        return self.train_many(one, weights=None if weights is None else weights[None])

    def _draw_and_update(
        self, experience: Steps, weights: tf.Tensor | None
    ) -> tuple[tf_agent.LossInfo, ImrlBatch]:
        if weights is None:
            weights = tf.ones_like(experience.reward)
        # Drawn outside the compiled function, as XLA draws other numbers from the same seed.
        width = self._noise_width()
        shape = tf.concat([tf.shape(experience.reward), [width]], axis=0)  # N, B, width
        noise = tf.random.stateless_normal(shape, self._seeds(1)[0])
        noise = tf.ensure_shape(noise, [None, None, width])
        info = self._compiled(experience, weights, noise)
        last = tf.minimum(info.extra.updates, tf.shape(noise)[0] - 1)
        batches = ImrlBatch(experience, weights, noise)
        return info, tf.nest.map_structure(lambda x: x[last], batches)

    def _noise_width(self) -> int:
        """Returns the normal numbers of a row: for its action, and s' of the forward model."""
        return self.action_spec.shape[0] + (
            self.time_step_spec.observation.shape[0] if self.networks.forward else 0
        )

    def _updates(
        self, experience: Steps, weights: tf.Tensor, noise: tf.Tensor
    ) -> tf_agent.LossInfo:
        """Makes an update for each of N batches until one is not finite; arguments [N, ...]."""

        def update(i, first_bad, total, done):
            batch = tf.nest.map_structure(lambda x: x[i], experience)
            non_finite, gradients, means = self._gradients(batch, weights[i], noise[i])
            attempted = first_bad < 0
            first_bad = tf.where(attempted, non_finite, first_bad)

            def apply():
                self._apply(gradients)
                return first_bad

            first_bad = tf.cond(first_bad < 0, apply, lambda: first_bad)
            total += tf.where(attempted, means, 0.0)
            return i + 1, first_bad, total, done + tf.cast(first_bad < 0, tf.int32)

        start = (tf.constant(0), tf.constant(-1), tf.zeros([_MEANS]), tf.constant(0))
        _, first_bad, total, done = tf.while_loop(
            lambda i, *_: i < tf.shape(noise)[0], update, start
        )
        self._train_step_counter.assign_add(tf.cast(done, tf.int64))
        attempts = tf.cast(done + tf.cast(first_bad >= 0, tf.int32), tf.float32)
        means = tf.unstack(total / attempts, num=_MEANS)
        info = ImrlInfo(*means, first_bad, done)  # type: ignore[call-arg]
        loss = info.q_loss + info.value_loss + info.policy_loss + info.inverse_loss
        return tf_agent.LossInfo(loss, info)

    def _gradients(
        self, batch: Steps, weight: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]:
        """Computes every part's gradient at the current weights (Algorithm 2, lines 14-18).

        Returns:
          The index of the first tensor that is not finite, or -1; the gradients, in the
          order of `networks.trained()`; the first fields of `ImrlInfo`, float [_MEANS].
        """
        learned, parts = self.networks, self.networks.parts()
        batch, critic_input, slate_action = self._network_input(batch)
        results: dict[str, tuple[tf.Tensor, list[tf.Tensor]]] = self._models(batch, weight)

        with _tape(parts["policy"]) as tape:
            fresh = self._fresh(batch, slate_action, noise)
            loss = losses.policy_loss(fresh.q, fresh.bonus, weight)
        results["policy"] = loss, tape.gradient(loss, parts["policy"])

        target = self._q_target(batch)
        with _tape(parts["q"]) as tape:
            q_values = learned.q_values(batch.state, critic_input)
            loss = tf.add_n([losses.q_loss(q, target, weight) for q in q_values])
            if self.config.critic_decay:
                squares = tf.add_n([tf.reduce_sum(v**2) for v in parts["q"]])
                loss += self.config.critic_decay * squares
        results["q"] = loss, tape.gradient(loss, parts["q"])

        with _tape(parts["value"]) as tape:
            value = learned.value(batch.state)[:, 0]
            loss = losses.value_loss(value, fresh.q, fresh.bonus, weight)
        results["value"] = loss, tape.gradient(loss, parts["value"])

        if learned.log_temperature is not None:
            with _tape(parts["temperature"]) as tape:
                loss = losses.temperature_loss(
                    self._entropy_weight(), fresh.log_policy, self._target_entropy, weight
                )
            results["temperature"] = loss, tape.gradient(loss, parts["temperature"])

        gradients = [g for part in parts for g in results[part][1]]
        checked = [results[part][0] for part in parts] + gradients
        non_finite = finite.first_non_finite(dict(zip(self.checked, checked, strict=True)))
        part_losses = [results[p][0] if p in results else tf.constant(0.0) for p in _LOSSES]
        error = tf.abs(q_values[0] - target)
        return non_finite, gradients, self._means(part_losses, fresh, error, batch.synthetic)

    def _network_input(self, batch: Steps) -> tuple[Steps, tf.Tensor, SlateAction | None]:
        """Returns the batch as the networks read it, the critic input and the slate action."""
        # The next state of another user is replaced before any network reads it.
        own_next = batch.own_next[:, None]
        batch = batch._replace(next_state=tf.where(own_next, batch.next_state, batch.state))
        if self._slate_actions is None:
            return batch, batch.action, None
        slate_action = self._slate_actions.split(batch.action)
        return batch._replace(action=slate_action.weights), slate_action.shown, slate_action

    def _means(
        self,
        part_losses: list[tf.Tensor],
        fresh: _Fresh,
        error: tf.Tensor,
        synthetic: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the first fields of `ImrlInfo`, float [_MEANS]."""
        is_synthetic = tf.cast(synthetic, tf.float32)
        return tf.stack(
            [
                *part_losses,
                self._entropy_weight(),
                -tf.reduce_mean(fresh.log_policy),
                tf.reduce_mean(fresh.log_inverse - fresh.log_policy),
                tf.reduce_mean(fresh.q),
                _mean_where(error, 1 - is_synthetic),
                _mean_where(error, is_synthetic),
            ]
        )

    def _models(
        self, batch: Steps, weight: tf.Tensor
    ) -> dict[str, tuple[tf.Tensor, list[tf.Tensor]]]:
        """Returns the losses and gradients of p_xi and P_eta, where they exist."""
        learned, parts = self.networks, self.networks.parts()
        weight = weight * tf.cast(batch.own_next, tf.float32)
        results = {}
        if learned.inverse is not None:
            with _tape(parts["inverse"]) as tape:
                loss = losses.inverse_loss(self._stored_log_inverse(batch), weight)
            results["inverse"] = loss, tape.gradient(loss, parts["inverse"])
        if learned.forward is not None:
            with _tape(parts["forward"]) as tape:
                log_prob = learned.forward.log_prob(batch.state, batch.action, batch.next_state)
                loss = -losses.weighted_mean(log_prob, weight)
            results["forward"] = loss, tape.gradient(loss, parts["forward"])
        return results

    def _fresh(
        self, batch: Steps, slate_action: SlateAction | None, noise: tf.Tensor
    ) -> _Fresh:
        """Draws an action for each row, and computes its terms of eqs 11-13."""
        learned, config = self.networks, self.config
        mean, log_std = learned.policy(batch.state)
        size = mean.shape[-1]
        u = mean + tf.exp(log_std) * noise[:, :size]
        log_policy = networks.squashed_log_prob(mean, log_std, u)
        critic_input = tf.tanh(u)
        if self._slate_actions and slate_action is not None:
            critic_input = self._slate_actions.relaxed(
                critic_input, slate_action.items, slate_action.blocked
            )
        q = self.q_value(batch.state, critic_input)
        if learned.inverse is None:
            log_inverse = tf.zeros_like(q)
        elif learned.forward is None:
            log_inverse = empowerment.replay_log_inverse(
                self._stored_log_inverse(batch), batch.own_next
            )
        else:
            log_inverse = empowerment.forward_log_inverse(
                learned.inverse, learned.forward, batch.state, u, noise[:, size:]
            )
        inverse_weight = config.beta
        if config.bonus_share:
            reward = config.reward_scale * batch.reward
            inverse_weight = losses.bonus_weight(config.bonus_share, reward, log_inverse)
        bonus = losses.gain(log_inverse, log_policy, inverse_weight, self._entropy_weight())
        return _Fresh(log_policy, log_inverse, bonus, q)

    def _entropy_weight(self) -> tf.Tensor:
        """Returns the weight of -log pi: the temperature, or beta in mode faithful."""
        if self.networks.log_temperature is None:
            return tf.constant(self.config.beta)
        return tf.exp(self.networks.log_temperature)

    def _stored_log_inverse(self, batch: Steps) -> tf.Tensor:
        """Returns log p_xi(a|s', s) of the stored actions, float [B], nats."""
        assert self.networks.inverse is not None
        return self.networks.inverse.log_prob(
            batch.state, batch.next_state, networks.unsquashed(batch.action)
        )

    def _q_target(self, batch: Steps) -> tf.Tensor:
        """Returns the target of eq 10, float [B], without bootstrapping from unknown s'."""
        config, target_network = self.config, self.networks.target_value
        reward = config.reward_scale * batch.reward
        if config.exploration == "kl":
            features = (
                target_network.features(batch.state),
                target_network.features(batch.next_state),
            )
            reward += config.beta * losses.kl_bonus(*features)
        discount = tf.where(batch.own_next, config.discount * batch.discount, 0.0)
        return losses.q_target(reward, discount, target_network(batch.next_state)[:, 0])

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        autodiff.apply_gradients(self.optimizer, gradients, self.networks.trained())
        self.networks.update_target(self.config.tau)


def _steps_spec(state_size: int, action_size: int) -> Steps:
    """Returns the shapes and dtypes of one row."""
    number, flag = tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.bool)
    state = tf.TensorSpec([state_size], tf.float32)
    return Steps(
        state=state,
        action=tf.TensorSpec([action_size], tf.float32),
        reward=number,
        next_state=state,
        discount=number,
        user=tf.TensorSpec([], tf.int32),
        own_next=flag,
        synthetic=flag,
    )


@contextlib.contextmanager
def _tape(variables: list[tf.Variable]) -> Iterator[tf.GradientTape]:
    """Yields a tape that watches these variables alone."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        yield tape


def _mean_where(value: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of value [B] where mask [B] is 1; 0 if it is 1 nowhere."""
    return tf.math.divide_no_nan(tf.reduce_sum(value * mask), tf.reduce_sum(mask))
