"""Bayes-optimal control of RecoGym v1 given the views of a user.

The control reads the products' true parameters and the dynamics, and of a user only the views.
The posterior of the user's vector is approximated by a normal distribution, which is updated
with every view: the vector drifts, then a Laplace approximation includes the view. The control
recommends the product with the highest posterior mean of the click probability. It is myopic;
only clicked recommendations affect the future, so that planning could gain little.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.environments import contract
from tfrec.environments.contract import Policy, Timestep
from tfrec.environments.ports import recogym

_NEWTON = 3  # Newton steps of a Laplace approximation; more have no effect
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)


class Belief(NamedTuple):
    """Normal posterior of the users' vectors.

    Attributes:
      mean: float32 [B, K].
      covariance: float32 [B, K, K].
    """

    mean: tf.Tensor
    covariance: tf.Tensor


class BelievingState(NamedTuple):
    """A simulator's state and its posterior.

    Attributes:
      inner: state of the simulator.
      belief: posterior of the users' vectors.
      product: int32 [B], product with the highest posterior mean click probability.
    """

    inner: recogym.RecoGymState
    belief: Belief
    product: tf.Tensor


class Believing(contract.Simulator):
    """RecoGym v1 with the posterior of each user in the state; a `contract.Simulator`."""

    slate_size = 1

    def __init__(self, inner: recogym.RecoGymV1):
        self.inner = inner
        self.observation_size = inner.observation_size
        self.action_size = inner.action_size
        self.catalogue = inner.catalogue
        self.feature_columns, self.view_columns = inner.feature_columns, inner.view_columns
        self._gamma, _, self._beta, self._mu_bandit = (
            tf.constant(x, tf.float32) for x in inner.parameters
        )
        # [P, K K]: sums of outer products are then matrix products.
        self._gamma_outer, self._beta_outer = (
            tf.reshape(x[:, :, None] * x[:, None, :], [len(x), -1])
            for x in (self._gamma, self._beta)
        )
        config = inner.config
        # After a click, the vector drifts only if the chain also moved to an organic session.
        self._drift = config.drift**2
        self._drift_clicked = self._drift * config.bandit_to_organic

    def prior(self, batch: int | tf.Tensor) -> Belief:
        width = self.inner.config.width
        eye = tf.eye(width)
        return Belief(tf.zeros([batch, width]), tf.broadcast_to(eye, [batch, width, width]))

    def expected_clicks(self, belief: Belief) -> tf.Tensor:
        """Posterior mean click probability of each product, float32 [B, P]."""
        mean = tf.matmul(belief.mean, self._beta, transpose_b=True) + self._mu_bandit
        flat = tf.reshape(belief.covariance, [-1, self._beta_outer.shape[1]])  # [B, K K]
        variance = tf.matmul(flat, self._beta_outer, transpose_b=True)
        spread = tf.sqrt(tf.maximum(variance, 0.0))
        nodes, weights = tf.constant(_NODES, tf.float32), _WEIGHTS / _WEIGHTS.sum()
        scores = mean[..., None] + spread[..., None] * nodes  # [B, P, 5]
        return tf.linalg.matvec(recogym.click_curve(scores), tf.constant(weights, tf.float32))

    def after_view(self, belief: Belief, view: tf.Tensor, drift: tf.Tensor) -> Belief:
        """The posterior after one view of each user.

        Args:
          belief: before it.
          view: int32 [B], the product.
          drift: float32 [B], variance of the vector's change since the previous view.
        """
        eye = tf.eye(self.inner.config.width)
        before = belief.covariance + drift[:, None, None] * eye
        precision = tf.linalg.inv(before)
        viewed = tf.gather(self._gamma, view)  # [B, K]
        omega = belief.mean
        for _ in range(_NEWTON):
            gradient, curvature = self._slopes(omega, viewed)
            pull = tf.linalg.matvec(precision, omega - belief.mean)
            step = tf.linalg.solve(precision + curvature, (gradient - pull)[..., None])
            omega += step[..., 0]
        _, curvature = self._slopes(omega, viewed)
        covariance = tf.linalg.inv(precision + curvature)
        return Belief(omega, covariance)

    def _slopes(self, omega: tf.Tensor, viewed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradient [B, K] of a view's log-likelihood and its negative Hessian [B, K, K]."""
        probability = tf.nn.softmax(self.inner.view_logits(omega))  # [B, P]
        expected = tf.matmul(probability, self._gamma)  # [B, K]
        width = self.inner.config.width
        second = tf.matmul(probability, self._gamma_outer)  # [B, K K]
        second = tf.reshape(second, [-1, width, width])
        outer = expected[:, :, None] * expected[:, None, :]
        return viewed - expected, second - outer

    def after_views(self, belief: Belief, latest: tf.Tensor, first: tf.Tensor) -> Belief:
        """The posterior after an organic session.

        Args:
          belief: before it.
          latest: int32 [B, 48], as in RecoGymState.
          first: float32 [B], variance of the vector's change before the first view.
        """

        def include_view(place: tf.Tensor, belief: Belief) -> tuple[tf.Tensor, Belief]:
            # Sessions are aligned at the last column, so few rows have views in the first ones.
            rows = tf.where(latest[:, place] >= 0)  # [R, 1]
            begins = tf.gather_nd(latest[:, tf.maximum(place - 1, 0)], rows) < 0
            drift = tf.where(begins, tf.gather_nd(first, rows), self._drift)
            some = tf.nest.map_structure(lambda x: tf.gather_nd(x, rows), belief)
            some = self.after_view(some, tf.gather_nd(latest[:, place], rows), drift)
            return place + 1, _put(belief, rows, some)

        viewed = tf.reduce_any(latest >= 0, axis=0)  # [48]; with no rows, nothing
        longest = tf.reduce_sum(tf.cast(viewed, tf.int32))
        return tf.while_loop(
            lambda place, _: place < recogym.LATEST,
            include_view,
            (recogym.LATEST - longest, belief),
        )[1]

    def updated_posterior(
        self,
        previous: BelievingState | None,
        inner: recogym.RecoGymState,
        clicked: tf.Tensor,
        fresh: tf.Tensor,
    ) -> BelievingState:
        """The state with a belief that includes the latest views.

        Args:
          previous: state at the previous step; None if all sessions are new.
          inner: the simulator's current state.
          clicked: bool [B], whether the latest recommendation was clicked.
          fresh: bool [B], whether the session is new.
        """
        batch = tf.shape(inner.last)[0]
        new = self.prior(batch)
        product = tf.zeros([batch], tf.int32)
        if previous is None:
            belief = new
        else:
            belief = Belief(
                tf.where(fresh[:, None], new.mean, previous.belief.mean),
                tf.where(fresh[:, None, None], new.covariance, previous.belief.covariance),
            )
            product = previous.product
        # Most users have no new views; only the others are updated.
        rows = tf.where(inner.latest[:, -1] >= 0)
        some = tf.nest.map_structure(lambda x: tf.gather_nd(x, rows), belief)
        first = tf.where(clicked, self._drift_clicked, self._drift)
        first = tf.where(fresh, 0.0, first)
        some = self.after_views(
            some, tf.gather_nd(inner.latest, rows), tf.gather_nd(first, rows)
        )
        best = tf.argmax(self.expected_clicks(some), axis=1, output_type=tf.int32)
        product = tf.tensor_scatter_nd_update(product, rows, best)
        return BelievingState(inner, _put(belief, rows, some), product)

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> BelievingState:
        inner = self.inner.reset(batch, seed)
        no = tf.zeros([batch], tf.bool)
        return self.updated_posterior(None, inner, no, tf.ones_like(no))

    def observation(self, state: BelievingState) -> tf.Tensor:
        return self.inner.observation(state.inner)

    def candidates(self, state: BelievingState) -> tf.Tensor:
        return self.inner.candidates(state.inner)

    def click_probabilities(self, state: BelievingState) -> tf.Tensor:
        return self.inner.click_probabilities(state.inner)

    def views(self) -> contract.Views:
        """As in the wrapped simulator."""
        return self.inner.views()

    def structure(self) -> contract.Structure:
        """As in the wrapped simulator."""
        return self.inner.structure()

    def step(
        self, state: BelievingState, action: tf.Tensor, seed: tf.Tensor
    ) -> contract.Outcome:
        outcome = self.inner.step(state.inner, action, seed)
        clicked = outcome.clicks > 0
        updated_posterior = self.updated_posterior(
            state, outcome.state, clicked, tf.zeros_like(clicked)
        )
        return outcome._replace(state=updated_posterior)


def _put(belief: Belief, rows: tf.Tensor, some: Belief) -> Belief:
    return Belief(
        tf.tensor_scatter_nd_update(belief.mean, rows, some.mean),
        tf.tensor_scatter_nd_update(belief.covariance, rows, some.covariance),
    )


def bayes_optimal(simulator: Believing) -> Policy:
    """Greedy on the posterior mean click probability."""
    del simulator  # the product is in the state

    def policy(timestep: Timestep) -> tf.Tensor:
        return timestep.state.product[:, None]

    return policy


class ControlledRecoGym(recogym.RecoGymV1):
    """RecoGym v1 with the Bayes-optimal policy among its controls."""

    def controls(self) -> dict[str, Callable[[], tuple[contract.Simulator, Policy]]]:
        controls = super().controls()
        oracle, posterior = controls.pop("oracle"), Believing(self)
        return controls | {
            "bayes": lambda: (posterior, bayes_optimal(posterior)),
            "oracle": oracle,  # privileged: last in tables
        }
