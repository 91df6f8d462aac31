"""The embedded ground truth as a world; `exact_values` has its optimum and values of plans.

Axes: S segments, L fatigue levels, N items, Z clusters, T steps, P parts of the day. A segment
is a taste with a type of user (`SyntheticConfig.segments`); it determines the user's expected
responses. The segment of a session follows from the user's own segment and the hour
(`SyntheticConfig.session_segments`). A cell is a cluster with a kind; it determines what an
item does to fatigue and exits.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.data import identity, synthetic
from tfrec.data.vocabulary import Ids, Vocabulary
from tfrec.environments import user_models
from tfrec.errors import UserError

# Options that earlier versions did not have. At their defaults users are those of earlier
# versions, and so is the fingerprint.
_LATER_OPTIONS = ("fatigue_steps", "type_by_taste", "suited_fatigue", "exit_match", "day_parts")


class HiddenState(NamedTuple):
    """True state of the users, int32 [B] each.

    Attributes:
      segment: taste and type in the session, a row of `SyntheticConfig.segments`; the taste
        where there is one type.
      fatigue: fatigue level.
      step: steps taken in the session.
    """

    segment: tf.Tensor
    fatigue: tf.Tensor
    step: tf.Tensor


class EmbeddedWorld(tf.Module):
    """The users of `tfrec.data.synthetic`, in batches of thousands.

    Args:
      config: the ground truth that wrote the log.
      spec: the prepared log's spec.
      vocabulary: the prepared log's ids, which map dense ids to those of the ground truth.
        Items that the log never shows may be among them. Where tastes depend on the hour,
        its `state_encoder` decodes the hour of a start, which is in `context_values`.

    Raises:
      UserError: if tastes depend on the hour, and the context has no hour of UTC.
    """

    repeats = True

    def __init__(
        self, config: synthetic.SyntheticConfig, spec: types.DataSpec, vocabulary: Vocabulary
    ):
        super().__init__(name="embedded_world")
        self.spec = spec
        self.config = config
        self.vocabulary = vocabulary
        truth = synthetic.truth(config)
        raw_item = _numbers(vocabulary.items)  # [N] the truth's item index by dense id - 1
        raw_user = _numbers(vocabulary.users)  # [U]
        self.truth = synthetic.Truth(
            cluster=truth.cluster[raw_item],
            kind=truth.kind[raw_item],
            click_logit=truth.click_logit[raw_item],
            taste=truth.taste[raw_user],
            user_type=truth.user_type[raw_user],
        )
        self.user_segment = config.segment(self.truth.taste, self.truth.user_type)  # [U]
        self.session_segment = config.session_segments()  # [P, S]
        self.item_cell = self.truth.cluster * synthetic.NUM_KINDS + self.truth.kind  # [N]
        levels = np.arange(config.max_fatigue + 1)
        tastes = np.arange(config.num_tastes)
        grid_taste, grid_fatigue = (
            x.ravel() for x in np.meshgrid(tastes, levels, indexing="ij")
        )
        click = synthetic.click_probability(config, self.truth, grid_taste, grid_fatigue)
        click = click.astype(np.float32).reshape(len(tastes), len(levels), -1)
        self.after, leave = _transitions(config)  # [S, L, Z * 3]
        self._click = tf.constant(click[config.segments()[0]])  # [S, L, N]
        self._after = tf.constant(self.after, tf.int32)
        self._exit = tf.constant(leave, tf.float32)
        self._cell = tf.constant(self.item_cell, tf.int32)
        self._segment = tf.constant(np.concatenate([[0], self.user_segment]), tf.int32)
        self._session_segment = tf.constant(self.session_segment, tf.int32)
        self._hour_code = _hour_code(config, vocabulary)
        self._seconds = tf.constant(
            synthetic.expected_seconds(config, self.truth.kind), tf.float32
        )  # [N]
        self._median = tf.constant(
            np.asarray(config.watch_seconds)[self.truth.kind], tf.float32
        )  # [N]

    @property
    def fingerprint(self) -> str:
        """Hash of the ground truth, of its ids and of the candidates."""
        ids = identity.ids_of(self.vocabulary, self.spec)
        truth = dataclasses.asdict(self.config)
        defaults = dataclasses.asdict(synthetic.SyntheticConfig())
        for name in synthetic.NOT_OF_USERS:
            del truth[name]
        for name in _LATER_OPTIONS:
            if truth[name] == defaults[name]:
                del truth[name]
        return identity.fingerprint([truth, ids, self.spec.candidates])

    @property
    def new_items(self) -> np.ndarray:
        """int32 [K], dense ids of the items that the log never shows, ascending.

        The vocabulary of a prepared log has none of them; one that was extended may.
        """
        config = self.config
        new = synthetic.new_items(config, synthetic.truth(config))
        return (
            np.flatnonzero(np.isin(_numbers(self.vocabulary.items), new)).astype(np.int32) + 1
        )

    def logging_policy(self) -> np.ndarray:
        """Probability with which the log shows each of the items, float [S, L, N]."""
        click = self._click.numpy().astype(np.float64)
        flat = synthetic.logging_policy(self.config, click.reshape(-1, click.shape[-1]))
        return flat.reshape(click.shape)

    def part(self, starts: types.Starts) -> tf.Tensor:
        """Part of the day in which each session starts, int32 [B].

        Raises:
          ValueError: if tastes depend on the hour, and the starts have no `context_values`.
          tf.errors.InvalidArgumentError: likewise, and a start has a missing hour.
        """
        if self._hour_code is None:
            return tf.zeros_like(starts.user)
        slot, first = self._hour_code
        hour = tf.convert_to_tensor(types.context_values_of(starts))[:, slot] - first  # [B]
        known = tf.debugging.assert_non_negative(hour, "a start has no hour")
        with tf.control_dependencies([known] if known is not None else []):
            return self.config.part_of(hour)

    def reset(self, starts: types.Starts) -> HiddenState:
        zeros = tf.zeros_like(starts.user)
        own = tf.gather(self._segment, starts.user)  # [B]
        place = tf.stack([self.part(starts), own], axis=1)  # [B, 2]
        return HiddenState(tf.gather_nd(self._session_segment, place), zeros, zeros)

    def responses(self, state: HiddenState, candidates: tf.Tensor) -> user_models.Responses:
        place = tf.stack([state.segment, state.fatigue], axis=1)  # [B, 2]
        click = tf.gather(tf.gather_nd(self._click, place), candidates - 1, axis=1)  # [B, A]
        seconds = click * tf.gather(self._seconds, candidates - 1)[None, :]
        cell = tf.gather(self._cell, candidates - 1)  # [A]
        return user_models.Responses(
            feedback=tf.stack([click, seconds], axis=-1),  # [B, A, F]
            exit=tf.gather(tf.gather_nd(self._exit, place), cell, axis=1),  # [B, A]
        )

    def step(
        self,
        state: HiddenState,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[HiddenState, tf.Tensor, tf.Tensor]:
        seeds = tf.random.experimental.stateless_split(seed, 3)
        shape = tf.shape(item)
        probability, exits, after = self.expected(state, item)
        if distort is not None:
            probability = distort(tf.math.log(probability) - tf.math.log1p(-probability))
        click = tf.random.stateless_uniform(shape, seeds[0]) < probability
        spread = self.config.watch_spread * tf.random.stateless_normal(shape, seeds[1])
        seconds = tf.where(click, tf.gather(self._median, item - 1) * tf.exp(spread), 0.0)
        left = tf.random.stateless_uniform(shape, seeds[2]) < exits
        feedback = tf.stack([tf.cast(click, tf.float32), seconds], axis=-1)  # [B, F]
        return HiddenState(state.segment, after, state.step + 1), feedback, left

    def expected(
        self, state: HiddenState, item: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What one item does, for B users in states and an item of each.

        Returns:
          Probability of a click and of an exit, float32 [B] each, and the fatigue after the
          item, int32 [B].
        """
        place, index = [state.segment, state.fatigue], item - 1
        cell = tf.stack([*place, tf.gather(self._cell, index)], axis=1)
        click = tf.gather_nd(self._click, tf.stack([*place, index], axis=1))
        return click, tf.gather_nd(self._exit, cell), tf.gather_nd(self._after, cell)


def _hour_code(
    config: synthetic.SyntheticConfig, vocabulary: Vocabulary
) -> tuple[int, int] | None:
    """Column of the hour in `context_values`, and the number of hour 0 in it.

    Returns None where tastes do not depend on the hour.
    """
    if config.day_parts == 1:
        return None
    code = vocabulary.state_encoder.hour_code()
    if code is None:
        raise UserError(
            f"tastes depend on the hour (day_parts is {config.day_parts}), but the context has "
            'no hour of UTC; expected [context.hour] with kind = "hour" and utc_offset 0 in '
            "the declaration of features"
        )
    return code


def _transitions(config: synthetic.SyntheticConfig) -> tuple[np.ndarray, np.ndarray]:
    """Fatigue level after an item and p(exit), int and float [S, L, Z * 3], by cell."""
    taste, user_type = config.segments()
    cells = np.arange(config.num_tastes * synthetic.NUM_KINDS)
    cluster, kind = np.divmod(cells, synthetic.NUM_KINDS)
    suits = taste[:, None, None] == cluster  # [S, 1, Z * 3]
    levels = np.arange(config.max_fatigue + 1)[:, None]  # [L, 1]
    after = synthetic.next_fatigue(config, levels, kind, user_type[:, None, None], suits)
    return after, synthetic.exit_probability(config, after, suits)


def with_new_items(world: EmbeddedWorld) -> EmbeddedWorld:
    """The same users with the items that the log never shows.

    Args:
      world: of a prepared log.

    Returns:
      A world in which the items of the log have the same dense ids as before, and the new
      ones follow. Every item is a candidate.
    """
    config, old = world.config, world.vocabulary.items
    new = synthetic.item_ids(synthetic.new_items(config, synthetic.truth(config)))
    items = np.append(old, np.setdiff1d(new, old))
    vocabulary = dataclasses.replace(world.vocabulary, item_ids=Ids(items))
    spec = dataclasses.replace(world.spec, num_items=len(items), candidates=0)
    return EmbeddedWorld(config, spec, vocabulary)


def _numbers(raw: np.ndarray) -> np.ndarray:
    """Ground-truth indices of raw ids such as `i17` or `u3`."""
    return np.array([int(str(name)[1:]) - 1 for name in raw])
