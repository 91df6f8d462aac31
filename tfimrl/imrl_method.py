"""IMRL in a live simulator: Algorithm 2, with the ablations as configurations of it.

What was played goes to a replay; a step whose reward reaches the threshold (eq 16) is
crossed with another one (Algorithm 1), and what comes of it lies beside, tagged; the agent
learns from both. The replay keeps what the simulator shows, and of an action the proto-action
that was chosen and the features of what it showed: the agent learns from the first, the
causal graph and, by default, the critics speak of the second.
"""

from typing import Any

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
    """Makes up steps from what was just played, and counts what comes of it.

    Args:
      config: the method's numbers.
      simulator: whose slots are known.
      replay: where pairs come from and synthetic transitions go to.
      shown: the columns of the replay's actions that are what was shown.
      seed: of the network that learns the graph.

    Attributes:
      attention: that network, or None.
      seen: numbers of the latest rollout, by name.
      checked: names of the losses that `learn` gives.

    Raises:
      ValueError: if the simulator's slots, or a graph of them, are not known.
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
        known = knowledge.of(simulator)
        self._known = lambda: known  # hidden from checkpoints
        self.attention = None
        names = ["informative", "threshold", "augmented", "warm"]
        if config.augmentation == "learned":
            sizes = causal_graph.SetAttentionConfig(
                units=config.mask_units, heads=config.mask_heads
            )
            self.attention = causal_graph.SetAttention(sizes, known.slots, seed)
        elif config.augmentation not in (*known.graphs, _COPIES):
            raise ValueError(
                f"augmentation is {config.augmentation}: no such graph is known of "
                f"{type(simulator).__name__}; expected learned, copies, none"
                + "".join(f", {name}" for name in known.graphs)
            )
        if known.ask is not None:
            names += ["reward_error", "reward_error_share"]
        self.seen = {name: tf.Variable(0.0, trainable=False, name=name) for name in names}

    def influence(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Of slot on slot, float32 [B, N, N]; action as the replay has it."""
        action = action[:, self._shown]
        if self.attention is not None:
            return self.attention(state, action)
        return self._known().graphs[self.config.augmentation](state, action)

    def make(self, steps: Steps, progress: tf.Tensor, seed: tf.Tensor) -> None:
        """Crosses those of the steps that are informative, as in Algorithm 2. Graph code.

        Args:
          steps: just played, N of them, in the replay already.
          progress: share of the run that is over; it stands for eq 16's share of episodes.
          seed: int32 [2].
        """
        config, known = self.config, self._known()
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
            second, found = self._partners(first, tf.shape(rows)[0], seeds)
            made = counterfactual.augment(
                first,
                second,
                self.influence,
                known.slots,
                seeds[2],
                threshold=config.mask_threshold,
            )
            synthetic, valid = made.steps, made.valid & found
        warm = self.warm()
        self._replay.add_synthetic(synthetic, valid & warm)
        seen = {
            "informative": tf.reduce_mean(tf.cast(triggered, tf.float32)),
            "threshold": limit,
            "augmented": _share(valid),
            "warm": tf.cast(warm, tf.float32),
        }
        if known.ask is not None:
            seen |= self._errors(first, synthetic, valid)
        for name, value in seen.items():
            self.seen[name].assign(value)

    def warm(self) -> tf.Tensor:
        """Whether the learned graph is used yet."""
        if self.attention is None:
            return tf.constant(True)
        return self.attention.optimizer.iterations >= self.config.mask_warm_up

    def learn(
        self, seed: tf.Tensor, updates: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, causal_graph.Batch]:
        """Updates of the network that learns the graph; see `schedule.repeat`. Graph code.

        Args:
          seed: int32 [2].
          updates: int32 scalar, how many, at most `config.mask_updates`.
        """
        seeds = tf.random.experimental.stateless_split(seed, self.config.mask_updates)
        return schedule.repeat(self._update, updates, seeds)

    @tf.function(autograph=False)
    def _update(
        self, number: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, causal_graph.Batch]:
        assert self.attention is not None
        rows = self._replay.sample_real(self.config.mask_batch, seeds[number])
        batch = causal_graph.Batch(
            rows.state,
            rows.action[:, self._shown],
            tf.where(rows.own_next[:, None], rows.next_state, rows.state),
            tf.cast(rows.own_next, tf.float32),
        )
        loss, bad = self.attention.update(batch)
        return {"loss": loss}, bad, batch

    def _partners(
        self, first: Steps, pairs: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[Steps, tf.Tensor]:
        """A second step for each first one, and whether there was one, bool."""
        config = self.config
        if config.partner == "uniform":
            return self._replay.sample_real(pairs, seeds[0]), tf.fill([pairs], True)
        pool = self._replay.sample_real(config.pool, seeds[0])
        columns = self._known().user_columns
        return counterfactual.nearest_partners(
            first, pool, columns, config.neighbours, seeds[1]
        )

    def _errors(self, first: Steps, made: Steps, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Difference between the expected rewards of the synthetic and the real transition."""
        ask = self._known().ask
        assert ask is not None
        weight = tf.cast(valid, tf.float32)
        action = first.action[:, self._shown]
        before, after = ask(first.state, action), ask(made.state, action)
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
      config: the method's numbers.
      simulator: who will be played with.
      seed: of the weights and of all later draws.

    Attributes:
      info_size: W, of the proto-action; 0 where the action is the proto-action.
      checked: names of the tensors that `learn` checks.
      sessions_before: sessions played for item vectors; counted in the run's.
      steps_before: recommendations made in them.

    Raises:
      ValueError: if the simulator lacks what the configuration asks for.
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
                "critics score what is shown"
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
        """Drawn from the policy; uniformly until the first update."""
        seeds = tf.random.experimental.stateless_split(timestep.seed, 2)
        weights = self.agent.act(self.adapter.encode(timestep.observation), seeds[0])
        uniform = tf.random.stateless_uniform(tf.shape(weights), seeds[1], -1.0, 1.0)
        weights = tf.where(self.agent.train_step_counter > 0, weights, uniform)
        return PolicyStep(self.adapter.to_action(weights, timestep), self._info(weights))

    def greedy(self, timestep: Timestep) -> tf.Tensor:
        """The policy's mean action, or the best by the critics of what it points at."""
        state = self.adapter.encode(timestep.observation)
        weights, several = self.agent.act(state), self.config.refined
        if several == 1:
            return self.adapter.to_action(weights, timestep)
        items = self.adapter.to_action(weights, timestep, several)  # [B, n]
        if self.config.critic == "bilinear" and self.adapter.catalogue is not None:
            each = self.agent.action_values(
                state, self.adapter.catalogue
            )  # [B, m], one product
            q_values = tf.gather(each, items, batch_dims=1)
        else:
            shown = self.adapter.slate_features(items, timestep.candidates)
            shown = tf.reshape(shown, [-1, self.adapter.slate_feature_size])  # [B n, D]
            q_values = self.agent.q_value(tf.repeat(state, several, axis=0), shown)
            q_values = tf.reshape(q_values, [-1, several])
        if timestep.blocked is not None:  # where fewer than `several` are left
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
        """Of the agent's parts; the network that learns the graph keeps its own."""
        config = self.config
        rate = schedule.annealed(config.learning_rate, config.final_rate, progress)
        self.agent.optimizer.learning_rate.assign(rate)

    def learn(
        self, updates: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, dict[str, Any]]:
        """Updates of the agent, then of the network that learns the graph.

        Its batch has two parts, `agent` and `graph`; that of the tensor named is the cause.
        """
        # The agent makes all of its updates in one call, which is repeated once or never.
        once = tf.minimum(updates, 1)
        report, bad, batch = schedule.repeat(
            self._train, once, updates * self.config.update_factor
        )
        batches: dict[str, Any] = {"agent": batch}
        report["graph_loss"] = tf.constant(0.0)
        if self.augmentation is not None and self.augmentation.attention is not None:
            graph_updates = tf.where(bad < 0, once * self.config.mask_updates, 0)
            graph, wrong, batches["graph"] = self.augmentation.learn(
                self._seed(), graph_updates
            )
            report["graph_loss"] = graph["loss"]
            bad = tf.where(wrong < 0, bad, len(self.agent.checked) + wrong)
        if self.augmentation is not None:
            report |= {f"augmentation/{k}": v for k, v in self.augmentation.seen.items()}
            real, made = (
                tf.cast(size, tf.float32)
                for size in (self.replay.size, self.replay.synthetic_size)
            )
            report["augmentation/batch_share"] = tf.minimum(made / (real + made), 0.5)
        return report, bad, batches

    @tf.function(autograph=False)
    def _train(
        self, number: tf.Tensor, updates: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, ImrlBatch]:
        del number  # it is called once
        info, batch = self.agent.learn(self.batches(updates))
        report = {name: getattr(info.extra, name) for name in _REPORTED}
        return report, info.extra.non_finite, batch

    def batches(self, updates: int | tf.Tensor) -> Steps:
        """Draws the batches of several updates, [N, B, ...], as the agent sees them."""
        return self.agent.batches(self._draw, updates)

    def _draw(self, shape: list[int | tf.Tensor], seed: tf.Tensor) -> Steps:
        """Rows [N, B, ...] as the agent's networks see them."""
        drawn = self.replay.sample(shape, seed)
        return drawn._replace(
            state=self._seen(drawn.state),
            action=(
                drawn.action
                if self._slate_actions
                else drawn.action[..., : self.adapter.action_size]
            ),
            next_state=self._seen(drawn.next_state),
        )

    def _seen(self, observation: tf.Tensor) -> tf.Tensor:
        """What networks see of observations [N, B, O]."""
        flat = tf.reshape(observation, [-1, observation.shape[-1]])
        seen = self.adapter.encode(flat)
        return tf.reshape(seen, [*tf.unstack(tf.shape(observation)[:-1]), seen.shape[-1]])

    def _steps(self, rollout: Rollout) -> Steps:
        """A rollout as rows of the replay, [T * B, ...]."""

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
    """Share of True, 0 of none."""
    number = tf.cast(tf.size(flags), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.cast(flags, tf.float32)), number)
