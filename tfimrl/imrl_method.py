"""IMRL in a live simulator: Algorithm 2, with the ablations as configurations.

Played steps go to a replay. A step whose reward reaches the threshold (eq 16) exchanges slots
with another step (Algorithm 1), the resulting synthetic steps are stored with a tag, and the
agent learns from real and synthetic steps. The replay stores the simulator's observations, and
for each action the proto-action and the features of the shown items: the policy learns from
the proto-action, the causal graph and, by default, the critics read the features.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfimrl import causal_graph, counterfactual, knowledge, threshold
from tfimrl.agent import ImrlAgent, ImrlBatch, ImrlInfo
from tfimrl.config import OnlineImrlConfig
from tfimrl.slate_actions import SlateActions
from tfrec.environments import contract
from tfrec.environments.contract import Timestep
from tfrec.methods import action_adapter
from tfrec.methods.online import PolicyStep, Rollout
from tfrec.ops import selection
from tfrec.replay.steps import StepReplay, Steps
from tfrec.training import schedule

_NONE = "none"
_COPIES = "copies"
_REPORTED = [name for name in ImrlInfo._fields if name not in ("non_finite", "updates")]


class Augmentation(tf.Module):
    """Makes synthetic steps from the latest rollout, and reports on them.

    Args:
      config: the method's configuration.
      simulator: a simulator that declares its slots.
      replay: the replay of pairs and of synthetic transitions.
      shown: columns of the replay's actions with the features of the shown items.
      seed: seed of the network that learns the graph.

    Attributes:
      attention: that network, or None.
      seen: metrics of the latest rollout, by name.

    Raises:
      ValueError: if the simulator does not declare its slots, or the configured graph.
    """

    def __init__(
        self,
        config: OnlineImrlConfig,
        simulator: contract.Simulator,
        replay: StepReplay,
        shown: slice,
        seed: int,
    ):
        super().__init__(name="augmentation")
        self.config, self._replay, self._shown = config, replay, shown
        parts = knowledge.of(simulator)
        self._parts = lambda: parts  # hidden from checkpoints
        # The network reads no numbers of items: as large as the catalogue, they would make up
        # the whole error. They are exchanged with their slot.
        readable = np.ones(simulator.observation_size, np.float32)
        if simulator.shown_columns is not None:
            readable[simulator.shown_columns] = 0.0
        self._readable = tf.constant(readable)  # [S]
        self.attention = None
        names = ["informative", "threshold", "augmented", "warm"]
        if config.augmentation == "learned":
            sizes = causal_graph.SetAttentionConfig(
                units=config.mask_units, heads=config.mask_heads
            )
            self.attention = causal_graph.SetAttention(sizes, parts.slots, seed)
        elif config.augmentation not in (*parts.graphs, _COPIES):
            raise ValueError(
                f"augmentation is {config.augmentation}, but {type(simulator).__name__} "
                "declares no such graph; expected learned, copies, none"
                + "".join(f", {name}" for name in parts.graphs)
            )
        if parts.expected_reward is not None:
            names += ["reward_error", "reward_error_share"]
        self.seen = {name: tf.Variable(0.0, trainable=False, name=name) for name in names}

    def influence(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Returns influences between slots, float32 [B, N, N]; action is a replay's action."""
        action = action[:, self._shown]
        if self.attention is not None:
            return self.attention(self._readable * state, action)
        return self._parts().graphs[self.config.augmentation](state, action)

    def make(self, steps: Steps, progress: tf.Tensor, seed: tf.Tensor) -> None:
        """Augments the informative steps of a rollout (Algorithm 2). Graph code.

        Args:
          steps: N steps of the rollout, already in the replay.
          progress: finished share of the run, used as eq 16's share of episodes.
          seed: int32 [2].
        """
        config, parts = self.config, self._parts()
        seeds = tf.random.experimental.stateless_split(seed, 4)
        limit = threshold.threshold(
            progress, 1, config.threshold_start, config.threshold_max, config.threshold_ramp
        )
        triggered = threshold.informative(steps.reward, limit) & steps.own_next  # [N]
        rows = tf.where(triggered)[:, 0]
        order = tf.argsort(tf.random.stateless_uniform(tf.shape(rows), seeds[3]))
        rows = tf.repeat(tf.gather(rows, order[: config.pairs]), config.copies)
        first = tf.nest.map_structure(lambda column: tf.gather(column, rows), steps)
        if config.augmentation == _COPIES:
            valid = tf.fill(tf.shape(rows), True)
            synthetic = first._replace(synthetic=valid)
        else:
            second, has_partner = self._partners(first, tf.shape(rows)[0], seeds)
            exchanged = counterfactual.augment(
                first,
                second,
                self.influence,
                parts.slots,
                seeds[2],
                threshold=config.mask_threshold,
            )
            synthetic, valid = exchanged.steps, exchanged.valid & has_partner
        warm = self.warm()
        self._replay.add_synthetic(synthetic, valid & warm)
        metrics = {
            "informative": tf.reduce_mean(tf.cast(triggered, tf.float32)),
            "threshold": limit,
            "augmented": _share(valid),
            "warm": tf.cast(warm, tf.float32),
        }
        if parts.expected_reward is not None:
            metrics |= self._errors(first, synthetic, valid)
        for name, value in metrics.items():
            self.seen[name].assign(value)

    def warm(self) -> tf.Tensor:
        """Returns whether the learned graph is in use; always True for other graphs."""
        if self.attention is None:
            return tf.constant(True)
        return self.attention.optimizer.iterations >= self.config.mask_warm_up

    def learn(
        self, seed: tf.Tensor, updates: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, causal_graph.Batch]:
        """Updates the network that learns the graph; see `schedule.repeat`. Graph code.

        Args:
          seed: int32 [2].
          updates: int32 scalar, number of updates, at most `config.mask_updates`.
        """
        seeds = tf.random.experimental.stateless_split(seed, self.config.mask_updates)
        return schedule.repeat(self._update, updates, seeds)

    @tf.function(autograph=False)
    def _update(
        self, number: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, causal_graph.Batch]:
        assert self.attention is not None
        rows = self._replay.sample_real(self.config.mask_batch, seeds[number])
        after = tf.where(rows.own_next[:, None], rows.next_state, rows.state)
        batch = causal_graph.Batch(
            self._readable * rows.state,
            rows.action[:, self._shown],
            self._readable * after,
            tf.cast(rows.own_next, tf.float32),
        )
        loss, non_finite = self.attention.update(batch)
        return {"loss": loss}, non_finite, batch

    def _partners(
        self, first: Steps, pairs: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[Steps, tf.Tensor]:
        """Returns a partner of each step, and whether it is valid, bool."""
        config = self.config
        if config.partner == "uniform":
            return self._replay.sample_real(pairs, seeds[0]), tf.fill([pairs], True)
        pool = self._replay.sample_real(config.pool, seeds[0])
        columns = self._parts().user_columns
        return counterfactual.nearest_partners(
            first, pool, columns, config.neighbours, seeds[1]
        )

    def _errors(self, first: Steps, synthetic: Steps, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Difference between the expected rewards of the synthetic and the real transition."""
        expected_reward = self._parts().expected_reward
        assert expected_reward is not None
        weight = tf.cast(valid, tf.float32)
        action = first.action[:, self._shown]
        before = expected_reward(first.state, action)
        after = expected_reward(synthetic.state, action)
        number = tf.reduce_sum(weight)
        error = tf.math.divide_no_nan(tf.reduce_sum(weight * tf.abs(after - before)), number)
        level = tf.math.divide_no_nan(tf.reduce_sum(weight * before), number)
        return {
            "reward_error": error,
            "reward_error_share": tf.math.divide_no_nan(error, level),
        }


class ImrlMethod(tf.Module):
    """IMRL and its ablations; a `tfrec.methods.online.Method`.

    Args:
      config: the method's configuration.
      simulator: the simulator of play.
      seed: seed of the weights and of all later random draws.

    Attributes:
      info_size: W, size of the proto-action; 0 where the action is the proto-action.
      checked: names of the tensors that `learn` checks.
      sessions_before: sessions played for item vectors, counted as part of the run.
      steps_before: recommendations in those sessions.

    Raises:
      ValueError: if the simulator does not support the configuration.
    """

    def __init__(self, config: OnlineImrlConfig, simulator: contract.Simulator, seed: int):
        super().__init__(name="imrl")
        self.config = config
        adapter = action_adapter.ActionAdapter(
            simulator, config.vectors, config.vector_width, config.vector_sessions, seed
        )
        self.adapter = adapter
        self._slate_actions = None
        if config.refined > 1 and (simulator.slate_size != 1 or config.critic_input != "shown"):
            raise ValueError(
                f"refined is {config.refined}; expected 1, unless slates have one item and "
                "critic_input is shown"
            )
        if simulator.slate_size and config.critic_input == "shown":
            self._slate_actions = SlateActions(simulator, config.softness)
        self.agent = ImrlAgent(
            config,
            adapter.observation_size,
            adapter.action_size,
            seed,
            config.jit_compile,
            self._slate_actions,
        )
        self.info_size = adapter.action_size if simulator.slate_size else 0
        shown = slice(
            self.info_size,
            self.info_size + simulator.action_size * max(1, simulator.slate_size),
        )
        augments = config.augmentation != _NONE
        self.replay = StepReplay(
            simulator.observation_size,
            self._slate_actions.row_size if self._slate_actions else shown.stop,
            config.replay_size,
            config.synthetic_size if augments else 0,
        )
        self.augmentation = (
            Augmentation(config, simulator, self.replay, shown, seed) if augments else None
        )
        self.checked = self.agent.checked
        if self.augmentation is not None and self.augmentation.attention is not None:
            self.checked += self.augmentation.attention.checked
        self._generator = tf.random.Generator.from_seed(seed + 1, alg="philox")
        self.sessions_before, self.steps_before = adapter.sessions_before, adapter.steps_before

    def explore(self, timestep: Timestep) -> PolicyStep:
        """Draws actions from the policy, and uniform ones until the first update."""
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        weights = self.agent.act(self.adapter.encode(timestep.observation), seeds[0])
        uniform = tf.random.stateless_uniform(tf.shape(weights), seeds[1], -1.0, 1.0)
        weights = tf.where(self.agent.train_step_counter > 0, weights, uniform)
        return PolicyStep(self.adapter.to_action(weights, timestep), self._info(weights))

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        """Returns the mean action's items, or the best by the critics of its nearest ones."""
        state = self.adapter.encode(timestep.observation)
        weights, refined = self.agent.act(state), self.config.refined
        if refined == 1:
            return self.adapter.to_action(weights, timestep)
        offered = self.adapter.catalogue
        offered = timestep.candidates if offered is None else offered
        assert offered is not None, "slates have candidates"
        refined = min(refined, offered.shape[-2] or refined)
        items = self.adapter.to_action(weights, timestep, refined)  # [B, n]
        if self.config.critic == "bilinear" and self.adapter.catalogue is not None:
            each = self.agent.action_values(
                state, self.adapter.catalogue
            )  # [B, m], one product
            q_values = tf.gather(each, items, batch_dims=1)
        else:
            shown = self.adapter.slate_features(items, timestep.candidates)
            shown = tf.reshape(shown, [-1, self.adapter.slate_feature_size])  # [B n, D]
            q_values = self.agent.q_value(tf.repeat(state, refined, axis=0), shown)
            q_values = tf.reshape(q_values, [-1, refined])
        if timestep.blocked is not None:  # where fewer than `refined` are allowed
            q_values = selection.available(
                q_values, tf.gather(timestep.blocked, items, batch_dims=1)
            )
        return tf.gather(items, tf.argmax(q_values, axis=1), batch_dims=1)[:, None]

    def observe(self, rollout: Rollout, progress: tf.Tensor) -> None:
        """Stores the rollout and the synthetic transitions made from it."""
        steps = self._steps(rollout)
        self.replay.add(steps)
        if self.augmentation is not None:
            self.augmentation.make(steps, progress, self._seed())

    def set_learning_rate(self, progress: tf.Tensor) -> None:
        """Sets the learning rate of the agent; that of the graph network is constant."""
        config = self.config
        rate = schedule.annealed(config.learning_rate, config.final_rate, progress)
        self.agent.optimizer.learning_rate.assign(rate)

    def learn(
        self, updates: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, dict[str, Any]]:
        """Updates the agent, then the network that learns the graph.

        The returned batch has two parts, `agent` and `graph`, for the tensors of each.
        """
        # The agent makes all of its updates in one call, which is made once or not at all.
        once = tf.minimum(updates, 1)
        report, first_bad, batch = schedule.repeat(
            self._train, once, updates * self.config.update_factor
        )
        batches: dict[str, Any] = {"agent": batch}
        report["graph_loss"] = tf.constant(0.0)
        if self.augmentation is not None and self.augmentation.attention is not None:
            graph_updates = tf.where(first_bad < 0, once * self.config.mask_updates, 0)
            graph, graph_bad, batches["graph"] = self.augmentation.learn(
                self._seed(), graph_updates
            )
            report["graph_loss"] = graph["loss"]
            first_bad = tf.where(graph_bad < 0, first_bad, len(self.agent.checked) + graph_bad)
        if self.augmentation is not None:
            report |= {f"augmentation/{k}": v for k, v in self.augmentation.seen.items()}
            real, synthetic = (
                tf.cast(size, tf.float32)
                for size in (self.replay.size, self.replay.synthetic_size)
            )
            report["augmentation/batch_share"] = tf.minimum(synthetic / (real + synthetic), 0.5)
        return report, first_bad, batches

    @tf.function(autograph=False)
    def _train(
        self, number: tf.Tensor, updates: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, ImrlBatch]:
        del number  # there is one call
        info, batch = self.agent.learn(self.batches(updates))
        report = {name: getattr(info.extra, name) for name in _REPORTED}
        return report, info.extra.non_finite, batch

    def batches(self, updates: int | tf.Tensor) -> Steps:
        """Draws the batches of several updates, [N, B, ...], as input of the agent."""
        return self.agent.batches(self._draw, updates)

    def _draw(self, shape: list[int | tf.Tensor], seed: tf.Tensor) -> Steps:
        """Draws rows [N, B, ...], as input of the agent's networks."""
        drawn = self.replay.sample(shape, seed)
        return drawn._replace(
            state=self._encoded(drawn.state),
            action=(
                drawn.action
                if self._slate_actions
                else drawn.action[..., : self.adapter.action_size]
            ),
            next_state=self._encoded(drawn.next_state),
        )

    def _encoded(self, observation: tf.Tensor) -> tf.Tensor:
        """Encodes observations [N, B, O] for the networks."""
        flat = tf.reshape(observation, [-1, observation.shape[-1]])  # [N * B, O]
        encoded = self.adapter.encode(flat)
        shape = [*tf.unstack(tf.shape(observation)[:-1]), encoded.shape[-1]]
        return tf.reshape(encoded, shape)  # [N, B, state]

    def _steps(self, rollout: Rollout) -> Steps:
        """Returns a rollout as rows of the replay, [T * B, ...]."""

        def flat(column: tf.Tensor) -> tf.Tensor:
            return tf.reshape(column, [-1, *column.shape[2:]])

        candidates = None if rollout.candidates is None else flat(rollout.candidates)
        if self._slate_actions:
            action = self._slate_actions.row(
                flat(rollout.info),
                flat(rollout.action),
                candidates,
                flat(rollout.observation),
            )
        else:
            shown = self.adapter.slate_features(flat(rollout.action), candidates)
            action = tf.concat([flat(rollout.info), shown], axis=1)
        done = flat(rollout.done)
        return Steps(
            state=flat(rollout.observation),
            action=action,
            reward=flat(rollout.reward),
            next_state=flat(rollout.next_observation),
            discount=1.0 - tf.cast(done, tf.float32),
            user=flat(rollout.user),
            own_next=~done,
            synthetic=tf.zeros_like(done),
        )

    def _info(self, weights: tf.Tensor) -> tf.Tensor:
        return weights if self.info_size else weights[:, :0]

    def _seed(self) -> tf.Tensor:
        return tf.cast(self._generator.make_seeds(1)[:, 0], tf.int32)


def _share(flags: tf.Tensor) -> tf.Tensor:
    """Returns the share of True, and 0 for no flags."""
    number = tf.cast(tf.size(flags), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.cast(flags, tf.float32)), number)
