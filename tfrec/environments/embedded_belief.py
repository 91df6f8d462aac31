"""The embedded users as an observer sees them who knows the generator but not the user.

    observed = Observed(world, log_evidence(world, earlier_sessions))
    policy = posterior_policy(world)

The observer knows every parameter of the world and every item. Of a user it knows what the log
shows of earlier sessions, and the answers in this session. By Bayes' rule it holds a posterior
over the segment of the session (taste and type), which follows from the user's own segment and
the hour; the fatigue follows from the segment and the shown
items. The policy maximises the expectation, under the posterior, of the optimal value of the
true state. It plans as if the segment became known after the next step, so it never pays for
information, and what it earns is a lower bound of the best that can be earned from
observations. The optimum of the true state is the upper bound.

Axes: B sessions, S segments, G cells, T steps, U users.
"""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.environments import contract, embedded, exact_values, user_models


class Observed(tf.Module):
    """A world whose state also holds an observer's posterior over the user's segment.

    Users respond and move on as in the given model.

    Args:
      world: the embedded world.
      log_prior: float [U + 1, S], logarithm of the prior of each user's own segment up to a
        constant; None for equal probabilities.
    """

    def __init__(self, world: embedded.EmbeddedWorld, log_prior: np.ndarray | None = None):
        super().__init__(name="observed")
        self._world = world
        self.spec = world.spec
        self.repeats = world.repeats
        self._segments = len(world.after)
        if log_prior is None:
            log_prior = np.zeros([world.spec.num_users + 1, self._segments])
        self._log_prior = tf.constant(log_prior, tf.float32)
        leads = np.eye(self._segments)[world.session_segment]  # [P, S, S]
        self._log_leads = tf.constant(np.where(leads > 0, 0.0, -np.inf), tf.float32)

    @property
    def fingerprint(self) -> str:
        """That of the given model: users respond alike."""
        return self._world.fingerprint

    def reset(self, starts: types.Starts) -> tuple:
        prior = tf.gather(self._log_prior, starts.user)  # [B, S]
        if len(self._log_leads) > 1:
            leads = tf.gather(self._log_leads, self._world.part(starts))  # [B, S, S]
            prior = tf.reduce_logsumexp(prior[..., None] + leads, axis=1)
        return self._world.reset(starts), prior, tf.zeros_like(prior, tf.int32)

    def responses(self, state: tuple, candidates: tf.Tensor) -> user_models.Responses:
        return self._world.responses(state[0], candidates)

    def step(
        self,
        state: tuple,
        item: tf.Tensor,
        seed: tf.Tensor,
        distort: user_models.Distortion | None = None,
    ) -> tuple[tuple, tf.Tensor, tf.Tensor]:
        hidden, posterior, fatigue = state
        after, feedback, left = self._world.step(hidden, item, seed, distort)
        click, exits, fatigue = _of_each_segment(self._world, fatigue, item)
        clicked = feedback[:, :1] > 0
        # A session goes on only if the user stays.
        posterior += tf.math.log(tf.where(clicked, click, 1 - click)) + tf.math.log1p(-exits)
        return (after, posterior, fatigue), feedback, left


def posterior_policy(world: embedded.EmbeddedWorld) -> contract.Policy:
    """Maximises the expected optimal value under the posterior, in clicks.

    It requires a `users.UserEnvironment` of an `Observed` of that world.
    """
    best = exact_values.cell_values(world)
    items, value = tf.constant(best.item, tf.int32), tf.constant(best.value)  # [T, S, L, G]
    segments = tf.range(value.shape[1])[None]

    def policy(timestep: contract.Timestep) -> tf.Tensor:
        hidden, posterior, fatigue = timestep.state.world
        # A loop may step sessions that are over; items shown in them have no meaning.
        step = tf.minimum(hidden.step, value.shape[0] - 1)[:, None]
        place = tf.stack([step + 0 * fatigue, segments + 0 * fatigue, fatigue], axis=2)
        q = tf.gather_nd(value, place)  # [B, S, G]
        expected = tf.einsum("bs,bsg->bg", tf.nn.softmax(posterior), q)
        return contract.action_of(tf.gather(items, tf.argmax(expected, axis=1)))

    return policy


def log_evidence(world: embedded.EmbeddedWorld, sessions: types.Episodes) -> np.ndarray:
    """Log-likelihood of each user's logged sessions under each segment of the user.

    The sessions tell of the user by the answers and by the shown items, because the logging
    policy knows the taste.

    Args:
      world: the embedded world.
      sessions: logged sessions, numpy arrays; each has every step of the session.

    Returns:
      float [U + 1, S], by dense user id; 0 for users without a session.
    """
    segments = len(world.after)
    fatigue = tf.zeros([len(sessions.user), segments], tf.int32)
    total = np.zeros([len(sessions.user), segments])
    policy = world.logging_policy()  # [S, L, N]
    for step in range(int(np.max(sessions.length, initial=0))):
        item = np.maximum(sessions.item[:, step], 1)
        place = (np.arange(segments), fatigue.numpy(), item[:, None] - 1)
        click, exits, fatigue = (
            x for x in _of_each_segment(world, fatigue, tf.constant(item, tf.int32))
        )
        clicked = sessions.feedback[:, step, :1] > 0
        last = (sessions.length == step + 1)[:, None]
        stays = np.where(last & sessions.exited[:, None], exits, 1 - exits)
        stays = np.where(last & ~sessions.exited[:, None], 1.0, stays)  # cut at the cap
        likelihood = np.log(policy[place]) + np.log(np.where(clicked, click, 1 - click))
        here = (step < sessions.length)[:, None]
        total += np.where(here, likelihood + np.log(stays), 0.0)
    part = np.asarray(world.part(user_models.starts_of(sessions)))
    total = np.take_along_axis(total, world.session_segment[part], axis=1)  # of own segments
    evidence = np.zeros([world.spec.num_users + 1, segments])
    np.add.at(evidence, np.asarray(sessions.user), total)
    return evidence


def _of_each_segment(
    world: embedded.EmbeddedWorld, fatigue: tf.Tensor, item: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What an item does if the user is of each segment; [B, S] each, as `expected` gives it.

    Args:
      world: the embedded world.
      fatigue: int32 [B, S], fatigue of the user in each case.
      item: int32 [B], dense ids.
    """
    batch, segments = tf.shape(fatigue)[0], fatigue.shape[1]
    segment = tf.tile(tf.range(segments), [batch])  # [B * S]
    state = embedded.HiddenState(segment, tf.reshape(fatigue, [-1]), tf.zeros_like(segment))
    parts = world.expected(state, tf.repeat(item, segments))
    click, exits, after = (tf.reshape(part, [batch, segments]) for part in parts)
    return click, exits, after
