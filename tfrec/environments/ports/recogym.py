"""RecoGym's two environments, batched: Rohde et al. 2018, arXiv:1808.00720.

A user alternates between organic sessions, in which products are viewed, and bandit steps, at
which one product is recommended and perhaps clicked. Only bandit steps are decisions, so a step
here is a bandit step and the organic session that may follow. docs/public_simulators.md
summarises the dynamics.

The length of an organic session does not depend on the viewed products. All views of all users
in a session are therefore sampled at once as rows of a ragged table, without padding to the
longest session.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.environments import contract
from tfrec.environments.contract import Policy, Timestep
from tfrec.environments.ports import recogym_views
from tfrec.ops import selection
from tfrec.options import MAX_SEED, Options, option

LATEST = 48  # stored views of an organic session; 1 session in 2 million is longer


@dataclasses.dataclass(frozen=True)
class ChainConfig(Options):
    """Options of both environments: products and transitions between organic and bandit."""

    products: int = option(100, "products that are viewed and recommended", at_least=1)
    seed: int = option(
        42, "seed of the products' hidden parameters", at_least=0, at_most=MAX_SEED
    )
    organic_to_bandit: float = option(
        0.25, "probability of a bandit step after a view", at_least=0, at_most=1
    )
    bandit_to_organic: float = option(
        0.05, "probability of an organic session after a recommendation", at_least=0, at_most=1
    )
    leave: float = option(
        0.01, "probability of leaving after a view or recommendation", at_least=0, at_most=1
    )
    recent: float = option(
        0.95, "decay of a view in the recent views, per later view", at_least=0, below=1
    )


@dataclasses.dataclass(frozen=True)
class RecoGymV1Config(ChainConfig):
    """reco-gym-v1: users and products are vectors.

    With the original's defaults of 10 products and no flips, recommending the last viewed
    product is nearly optimal; with 100 products and 50 flips it is not.
    """

    width: int = option(5, "K, width of the vectors", at_least=1)
    flips: int = option(
        50, "pairs of similar products whose click parameters are swapped", at_least=0
    )
    drift: float = option(
        0.1, "standard deviation of a user's change between two views", at_least=0
    )
    popularity: float = option(3.0, "standard deviation of a product's popularity", at_least=0)


@dataclasses.dataclass(frozen=True)
class RecoGymV0Config(ChainConfig):
    """reco-gym-v0: clusters of products; a click depends on the view before it."""

    clusters: int = option(2, "clusters of products; a user stays in one", at_least=1)
    variance: float = option(
        0.1, "variance of the difference between products in click logits", at_least=0
    )


class RecoGymState(NamedTuple):
    """Users that wait for a recommendation.

    Attributes:
      omega: float32 [B, K], vector of the user's preferences; hidden. K is 0 in v0.
      counts: float32 [B, P], views of each product so far.
      recent: float32 [B, P], exponentially decayed views of each product.
      last: int32 [B], the last viewed product.
      latest: int32 [B, 48], views since the previous recommendation in order, left-padded with
        -1, as in the original's observation.
    """

    omega: tf.Tensor
    counts: tf.Tensor
    recent: tf.Tensor
    last: tf.Tensor
    latest: tf.Tensor


class _Views(NamedTuple):
    """Views of organic sessions, one row for each: T rows of R sessions.

    Attributes:
      session: int32 [T], session of the view, 0..R-1, ascending.
      place: int32 [T], number of the view in its session, from 0.
      length: int32 [R], views of each session, at least 1.
    """

    session: tf.Tensor
    place: tf.Tensor
    length: tf.Tensor


class _RecoGym(contract.Simulator):
    """The chain of both environments."""

    slate_size = 1

    def __init__(self, config: ChainConfig, width: int):
        self.config = config
        self.action_size = config.products
        self.catalogue = tf.eye(config.products)
        self.observation_size = 3 * config.products
        # All views, recent views and the last view of each product; a feature is a product.
        columns = np.arange(3 * config.products).reshape(3, config.products)
        self.feature_columns: np.ndarray | None = columns
        self.view_columns = columns[0]
        self._width = width

    def click_probabilities(self, state: RecoGymState) -> tf.Tensor:
        """Click probability of each product at the current step, float32 [B, P]."""
        raise NotImplementedError

    def _click_probability(self, state: RecoGymState, product: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _start(self, batch: int | tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Hidden vectors [B, K] and the products before the first view, int32 [B]."""
        raise NotImplementedError

    def _views(
        self,
        omega: tf.Tensor,
        last: tf.Tensor,
        moved: tf.Tensor,
        views: _Views,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Samples the views of R sessions.

        Args:
          omega: float32 [R, K], vectors before the sessions.
          last: int32 [R], last views before the sessions.
          moved: bool [R], whether the vector drifts before the first view.
          views: sessions and positions of the views.
          seed: int32 [2].

        Returns:
          The products, int32 [T], and the vectors after the sessions, [R, K].
        """
        raise NotImplementedError

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> RecoGymState:
        """Starts with users after their first organic session.

        Users who leave before the first recommendation (1 in 26) are excluded.
        """
        of_users, of_views = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        omega, last = self._start(batch, of_users)
        empty = tf.zeros([batch, self.config.products])
        latest = tf.fill([batch, LATEST], -1)
        state = RecoGymState(omega, empty, empty, last, latest)
        everyone = tf.range(batch)
        return self._organic(state, everyone, tf.zeros_like(everyone, tf.bool), of_views)

    def observation(self, state: RecoGymState) -> tf.Tensor:
        """log(1 + views) and log(1 + recent views) of each product, and the last (one-hot)."""
        return tf.concat(
            [
                tf.math.log1p(state.counts),
                tf.math.log1p(state.recent),
                tf.one_hot(state.last, self.config.products),
            ],
            axis=1,
        )

    def candidates(self, state: RecoGymState) -> tf.Tensor:
        """Every product, one-hot: products have no observable features."""
        products = self.config.products
        batch = tf.shape(state.last)[0]
        return tf.broadcast_to(self.catalogue, [batch, products, products])

    def views(self) -> recogym_views.RecoGymViews:
        """Representations from the views in organic sessions."""
        return recogym_views.RecoGymViews(self)

    def structure(self) -> contract.Structure:
        """One factor for each product, with all columns of its views.

        Views and clicks depend on one hidden vector, so that all views of a user depend on each
        other: the true graph is complete and admits no exchange. In the heuristic graph the
        recommendation of a product influences only the views of that product. Exchanges then
        give clicks to users with other views, which removes the differences between users.
        """
        products = self.config.products
        return contract.Structure(
            state=tuple((p, products + p, 2 * products + p) for p in range(products)),
            action=contract.neighbouring([products]),
            graphs={
                "heuristic": [(p, p) for p in range(products)],
                "true": np.ones([products + 1, products + 1]),
            },
            user_columns=list(range(products)),
        )

    def step(self, state: RecoGymState, action: tf.Tensor, seed: tf.Tensor) -> contract.Outcome:
        of_click, of_next, of_views, of_end = tf.unstack(
            tf.random.experimental.stateless_split(seed, 4)
        )
        batch = tf.shape(action)[0]
        probability = self._click_probability(state, action[:, 0])
        clicked = tf.random.stateless_uniform([batch], of_click) < probability
        drawn = tf.random.stateless_uniform([batch], of_next)
        moved = drawn < self.config.bandit_to_organic
        exits = drawn >= 1.0 - self.config.leave
        # A click always starts an organic session, even if the user would have left. The
        # user's vector drifts only if the chain also moved to an organic session.
        organic = moved | clicked
        rows = tf.cast(tf.where(organic)[:, 0], tf.int32)  # [R]
        state = state._replace(latest=tf.fill([batch, LATEST], -1))
        state = self._organic(state, rows, tf.gather(moved, rows), of_views)
        ends = self.config.leave / (self.config.leave + self.config.organic_to_bandit)
        exits = tf.where(organic, tf.random.stateless_uniform([batch], of_end) < ends, exits)
        clicks = tf.cast(clicked, tf.float32)
        return contract.Outcome(state, clicks, clicks, tf.ones_like(clicks), exits)

    def _organic(
        self, state: RecoGymState, rows: tf.Tensor, moved: tf.Tensor, seed: tf.Tensor
    ) -> RecoGymState:
        """Adds an organic session to the users in `rows`, int32 [R]; `moved` as in `_views`."""
        of_length, of_views = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        continuation = 1.0 - self.config.organic_to_bandit - self.config.leave
        uniform = tf.random.stateless_uniform(tf.shape(rows), of_length, 1e-30, 1.0)
        length = 1 + tf.cast(tf.math.log(uniform) / np.float32(np.log(continuation)), tf.int32)
        session = tf.repeat(tf.range(tf.size(rows)), length)  # [T]
        begin = tf.gather(tf.cumsum(length, exclusive=True), session)
        views = _Views(session, tf.range(tf.size(session)) - begin, length)
        product, omega = self._views(
            tf.gather(state.omega, rows), tf.gather(state.last, rows), moved, views, of_views
        )
        user = tf.gather(rows, session)  # [T]
        later = tf.gather(length, session) - 1 - views.place  # later views in the session
        recent = self.config.recent
        new_views = tf.scatter_nd(rows[:, None], length, [tf.shape(state.last)[0]])  # [B]
        decayed = (
            state.recent
            * tf.cast(recent, tf.float32) ** tf.cast(new_views, tf.float32)[:, None]
        )
        weight = tf.cast(recent, tf.float32) ** tf.cast(later, tf.float32)
        cell = tf.stack([user, product], axis=1)  # [T, 2]
        stored = tf.where(later < LATEST)[:, 0]
        position = tf.gather(tf.stack([user, LATEST - 1 - later], axis=1), stored)
        last = tf.gather(product, tf.cumsum(length) - 1)  # [R], each session's last view
        add = tf.tensor_scatter_nd_add
        update = tf.tensor_scatter_nd_update
        return RecoGymState(
            update(state.omega, rows[:, None], omega) if self._width else state.omega,
            add(state.counts, cell, tf.ones_like(weight)),
            add(decayed, cell, weight),
            update(state.last, rows[:, None], last),
            update(state.latest, position, tf.gather(product, stored)),
        )


class V1Parameters(NamedTuple):
    """Hidden parameters of the products of v1.

    Attributes:
      gamma: float64 [P, K], vectors of the products for views.
      mu: float64 [P], popularity of the products.
      beta: float64 [P, K], vectors of the products for clicks: gamma with rows swapped.
      mu_bandit: float64 [P], mu with the same swaps.
    """

    gamma: np.ndarray
    mu: np.ndarray
    beta: np.ndarray
    mu_bandit: np.ndarray


def v1_parameters(config: RecoGymV1Config) -> V1Parameters:
    """Samples the same parameters as the original with the same seed."""
    rng = np.random.RandomState(config.seed)
    gamma = rng.normal(size=(config.products, config.width))
    mu = rng.normal(0, config.popularity, size=(config.products, 1))[:, 0]
    order = np.arange(config.products)
    similarity = gamma @ gamma.T
    similarity -= np.diag(np.diag(similarity))
    used: set[int] = set()
    flips = 0
    for pair in similarity.ravel().argsort()[::-1]:  # the most similar first
        if flips == config.flips:
            break
        i, j = divmod(int(pair), config.products)
        if i not in used and j not in used:
            order[[i, j]] = j, i
            used |= {i, j}
            flips += 1
    return V1Parameters(gamma, mu, gamma[order], mu[order])


def click_curve(score: tf.Tensor) -> tf.Tensor:
    """Click probability of a score: between .0045 and .0293, .0094 at 0."""
    sigmoid = tf.sigmoid
    return sigmoid(5.0 * sigmoid(2.0 * sigmoid(0.3 * score) - 2.0) - 6.0)


class RecoGymV1(_RecoGym):
    """reco-gym-v1.

    A policy observes which products were viewed (see `observation`), never the user's vector.
    """

    def __init__(self, config: RecoGymV1Config = RecoGymV1Config()):  # noqa: B008  frozen
        super().__init__(config, config.width)
        self.config: RecoGymV1Config = config
        self.parameters = v1_parameters(config)
        self._gamma, self._mu, self._beta, self._mu_bandit = (
            tf.constant(x, tf.float32) for x in self.parameters
        )

    def click_probabilities(self, state: RecoGymState) -> tf.Tensor:
        scores = tf.matmul(state.omega, self._beta, transpose_b=True) + self._mu_bandit
        return click_curve(scores)

    def _click_probability(self, state: RecoGymState, product: tf.Tensor) -> tf.Tensor:
        affinity = tf.reduce_sum(tf.gather(self._beta, product) * state.omega, axis=1)
        return click_curve(affinity + tf.gather(self._mu_bandit, product))

    def view_logits(self, omega: tf.Tensor) -> tf.Tensor:
        """View logits of each product in an organic session: [T, K] -> [T, P]."""
        return tf.matmul(omega, self._gamma, transpose_b=True) + self._mu

    def controls(self) -> dict[str, Callable[[], tuple[contract.Simulator, Policy]]]:
        return {
            "random": lambda: (self, contract.random_policy(self)),
            "last_viewed": lambda: (self, last_viewed(self)),
            "most_viewed": lambda: (self, most_viewed(self)),
            "best_product": lambda: (self, best_product(self)),
            "oracle": lambda: (self, oracle(self)),
        }

    def _start(self, batch: int | tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        omega = tf.random.stateless_normal([batch, self._width], seed)
        return omega, tf.zeros([batch], tf.int32)

    def _views(
        self,
        omega: tf.Tensor,
        last: tf.Tensor,
        moved: tf.Tensor,
        views: _Views,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        of_drift, of_view = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        total = tf.size(views.session)
        steps = tf.random.stateless_normal([total, self._width], of_drift)
        drifts = (views.place > 0) | tf.gather(moved, views.session)
        steps *= self.config.drift * tf.cast(drifts, tf.float32)[:, None]
        walk = tf.cumsum(steps)  # of all sessions, one after the other
        before = tf.concat([tf.zeros([1, self._width]), walk], axis=0)
        begin = tf.cumsum(views.length, exclusive=True)  # [R]
        walk -= tf.gather(tf.gather(before, begin), views.session)
        now = tf.gather(omega, views.session) + walk  # [T, K]
        shape = [total, self.config.products]
        uniform = tf.random.stateless_uniform(shape, of_view, 1e-30, 1.0)
        gumbel = -tf.math.log(-tf.math.log(uniform))
        product = tf.argmax(self.view_logits(now) + gumbel, axis=1, output_type=tf.int32)
        return product, tf.gather(now, begin + views.length - 1)


class RecoGymV0(_RecoGym):
    """reco-gym-v0: a user views products of one cluster; clicks depend on the last view."""

    def __init__(self, config: RecoGymV0Config = RecoGymV0Config()):  # noqa: B008  frozen
        if config.products % config.clusters:
            raise ValueError(
                f"products={config.products}; expected a multiple of clusters={config.clusters}"
            )
        super().__init__(config, 0)
        self.config: RecoGymV0Config = config
        self._of_cluster = config.products // config.clusters
        rng = np.random.RandomState(config.seed)
        noise = rng.normal(scale=config.variance**0.5, size=(config.products,) * 2)
        cluster = np.arange(config.products) // self._of_cluster
        alike = (cluster[:, None] == cluster) / self._of_cluster
        logits = config.products / 5.0 * 2.0 * alike + noise - 5.0
        # [P, P]: row a, column v is the click on a after a view of v.
        self.click_table = 1.0 / (1.0 + np.exp(-logits))
        self._after = tf.constant(self.click_table.T, tf.float32)

    def click_probabilities(self, state: RecoGymState) -> tf.Tensor:
        return tf.gather(self._after, state.last)

    def _click_probability(self, state: RecoGymState, product: tf.Tensor) -> tf.Tensor:
        return tf.gather_nd(self._after, tf.stack([state.last, product], axis=1))

    def _start(self, batch: int | tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        last = tf.random.stateless_uniform([batch], seed, 0, self.config.products, tf.int32)
        return tf.zeros([batch, 0]), last

    def _views(
        self,
        omega: tf.Tensor,
        last: tf.Tensor,
        moved: tf.Tensor,
        views: _Views,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        total = tf.size(views.session)
        within = tf.random.stateless_uniform([total], seed, 0, self._of_cluster, tf.int32)
        cluster = tf.gather(last, views.session) // self._of_cluster
        return cluster * self._of_cluster + within, omega


def last_viewed(simulator: _RecoGym) -> Policy:
    """Recommends the last viewed product."""
    products = simulator.config.products

    def policy(timestep: Timestep) -> tf.Tensor:
        return selection.best_slate(timestep.observation[:, 2 * products :], 1)

    return policy


def most_viewed(simulator: _RecoGym) -> Policy:
    """Recommends the product with the most views of this user."""
    return lambda timestep: selection.best_slate(
        timestep.observation[:, : simulator.config.products], 1
    )


def best_product(simulator: RecoGymV1) -> Policy:
    """Recommends to all users the product with the most expected clicks of a new user."""
    parameters = simulator.parameters
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    # A new user's vector is N(0, I), so a product's score is N(mu, |beta|^2).
    spread = np.linalg.norm(parameters.beta, axis=1)
    scores = parameters.mu_bandit[:, None] + spread[:, None] * nodes  # [P, 20]
    clicks = click_curve(tf.constant(scores)).numpy() @ weights
    product = int(clicks.argmax())
    return lambda timestep: tf.fill([tf.shape(timestep.observation)[0], 1], product)


def oracle(simulator: _RecoGym) -> Policy:
    """Recommends the product with the highest true click probability; privileged."""
    return lambda timestep: selection.best_slate(
        simulator.click_probabilities(timestep.state), 1
    )
