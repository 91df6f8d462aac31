"""Logistic models of users and items, by variational Bayes in numpy.

The models have Gaussian posteriors, by the bound of Jaakkola and Jordan (2000) on the logistic
function, and prior variances that follow from the posteriors (EM). Terms of users and of items
are shrunk separately, and no penalty is tuned.

Axes: L rows, U users, N items, D terms of a user or an item: its level and K factors; B
sessions, T steps, H history.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.special

from tfrec import types

_ITERATIONS = 80
_FIXED = 8  # first iterations of `factors`, in which prior variances of factors are fixed
_ROWS = 50_000  # rows whose covariances are gathered together


class Gaussians(NamedTuple):
    """Independent Gaussian vectors.

    Attributes:
      mean: float [n, D].
      covariance: float [n, D, D].
    """

    mean: np.ndarray
    covariance: np.ndarray

    def spread(self, centre: np.ndarray) -> np.ndarray:
        """Expected squared distance of each entry from a point, averaged over vectors, [D]."""
        squares = (self.mean - centre) ** 2 + np.einsum("nii->ni", self.covariance)
        return squares.mean(axis=0)


class Terms(NamedTuple):
    """Parts of a logit, [L] each.

    Attributes:
      user: level of the user.
      item: level of the item.
      interaction: inner product of their factors.
    """

    user: np.ndarray
    item: np.ndarray
    interaction: np.ndarray


class Factors(NamedTuple):
    """logit = b + a + p . q of an item with terms [b, q] and a user with terms [a, p].

    Attributes:
      item: terms of items 0 to N; those of 0 are the prior.
      user_variance: prior variance of a; that of p is 1.
    """

    item: Gaussians
    user_variance: float

    def variances(self) -> dict[str, float]:
        """Variance of the logit by user, by item and by their interaction."""
        known = Gaussians(self.item.mean[1:], self.item.covariance[1:])
        centre = known.mean.mean(axis=0)
        level, *rest = known.spread(centre)
        user = self.user_variance + float(centre[1:] @ centre[1:])
        return {"user": user, "item": float(level), "interaction": float(sum(rest))}

    def terms(self, item: np.ndarray, user: np.ndarray) -> Terms:
        """Parts of the expected logit of each row.

        Args:
          item: int [L].
          user: mean terms of the user, [L, D].
        """
        own = self.item.mean[item]
        product = np.einsum("ld,ld->l", own[:, 1:], user[:, 1:])
        return Terms(user[:, 0], own[:, 0], product)


class Filtered(NamedTuple):
    """What is known before each step of sessions.

    Attributes:
      click: probability of a click of the shown item, float [B, T].
      user: mean terms of the user, float [B, T, D].
    """

    click: np.ndarray
    user: np.ndarray


class ItemTerms(NamedTuple):
    """logit = offset + w . x of an item with terms w, x given with each row.

    Attributes:
      terms: terms of items 0 to N; those of 0 are the prior.
      centre: prior mean of the terms, [D].
      variance: prior variance of the terms, [D].
    """

    terms: Gaussians
    centre: np.ndarray
    variance: np.ndarray

    def logit(self, item: np.ndarray, x: np.ndarray, offset: np.ndarray | float) -> np.ndarray:
        """Logit of the mean probability of each row, float [L]."""
        mean = offset + np.einsum("ld,ld->l", x, self.terms.mean[item])
        variance = np.einsum("ld,lde,le->l", x, self.terms.covariance[item], x)
        return _moderated(mean, variance)


def factors(
    user: np.ndarray,
    item: np.ndarray,
    clicked: np.ndarray,
    num_items: int,
    rank: int,
    seed: int = 0,
) -> Factors:
    """Fits levels and factors of users and items.

    Args:
      user: int [L], 0 to U - 1.
      item: int [L], 1 to N.
      clicked: bool [L].
      num_items: N.
      rank: K; 0 for levels alone.
      seed: seed of the first factors.
    """
    rng = np.random.default_rng(seed)
    users, width = int(user.max()) + 1, rank + 1
    people = _first(rng, users, width, level=0.0, scale=1.0, variance=0.1)
    level = float(scipy.special.logit(clicked.mean()))
    items = _first(rng, num_items + 1, width, level, scale=0.3, variance=0.01)
    of_user, of_item = np.ones(width), np.append(1.0, np.full(rank, 0.1))
    centre = np.zeros(width)
    for iteration in range(_ITERATIONS):
        weight = _weights(people, items, user, item)
        people = _posterior((user, item), clicked, weight, items, 0.0 * centre, of_user, users)
        centre[0] = items.mean[1:, 0].mean()
        items = _posterior(
            (item, user), clicked, weight, people, centre, of_item, num_items + 1
        )
        of_user[0] = people.spread(0.0 * centre)[0]
        if iteration >= _FIXED:
            people, items = _whitened(people, items)
        spread = Gaussians(items.mean[1:], items.covariance[1:]).spread(centre)
        moved = width if iteration >= _FIXED else 1
        of_item[:moved] = spread[:moved]
    items.mean[0], items.covariance[0] = centre, np.diag(of_item)
    return Factors(items, float(of_user[0]))


def filtered(model: Factors, episodes: types.Episodes, drift: float = 0.0) -> Filtered:
    """Predicts each click of sessions from the history and the session before it.

    Args:
      model: levels and factors of the items.
      episodes: B sessions, numpy arrays; nothing else is known of their users.
      drift: variance that a user's terms gain in each step, in prior variances.
    """
    item = np.concatenate([episodes.history_item, episodes.item], axis=1)  # [B, H + T]
    feedback = np.concatenate([episodes.history_feedback, episodes.feedback], axis=1)
    clicked = feedback[..., 0] > 0  # [B, H + T]
    width = model.item.mean.shape[1]
    prior = np.diag(np.append(model.user_variance, np.ones(width - 1)))
    mean, covariance = np.zeros([len(item), width]), np.tile(prior, [len(item), 1, 1])
    click, user = np.zeros(item.shape), np.zeros([*item.shape, width])
    for t in range(item.shape[1]):
        now, real = item[:, t], item[:, t] > 0
        user[:, t] = mean
        x = _with_one(model.item.mean[now])  # [B, D]
        gain = np.einsum("bde,be->bd", covariance, x)
        known = np.einsum("bd,bd->b", gain, x)  # variance of the logit for known items
        logit = model.item.mean[now, 0] + np.einsum("bd,bd->b", x, mean)
        variance = known + _of_other(Gaussians(mean, covariance), model.item, now)
        click[:, t] = scipy.special.expit(_moderated(logit, variance))
        weight = real * _tangent(logit**2 + variance)
        scale = 1.0 / (1.0 + weight * known)
        mean = mean + gain * (scale * (real * (clicked[:, t] - 0.5) - weight * logit))[:, None]
        covariance = covariance - np.einsum("b,bd,be->bde", weight * scale, gain, gain)
        covariance = covariance + drift * real[:, None, None] * prior
    start = episodes.history_item.shape[1]
    return Filtered(click[:, start:], user[:, start:])


def item_terms(
    item: np.ndarray,
    x: np.ndarray,
    offset: np.ndarray | float,
    happened: np.ndarray,
    num_items: int,
) -> ItemTerms:
    """Fits the terms of each item, with a common mean and variance.

    Args:
      item: int [L], 1 to N.
      x: float [L, D].
      offset: of the logit, [L] or one number.
      happened: bool [L].
      num_items: N.
    """
    rows, width = len(item), x.shape[1]
    offset = np.broadcast_to(offset, [rows])
    count = scipy.sparse.csr_matrix(
        (np.ones(rows), (item, np.arange(rows))), [num_items + 1, rows]
    )
    squares = np.einsum("ld,le->lde", x, x).reshape(rows, -1)
    centre, variance = np.zeros(width), np.full(width, 0.1)
    terms = Gaussians(
        np.zeros([num_items + 1, width]), np.tile(np.diag(variance), [num_items + 1, 1, 1])
    )
    for _ in range(_ITERATIONS):
        logit = offset + np.einsum("ld,ld->l", x, terms.mean[item])
        spread = np.einsum("ld,lde,le->l", x, terms.covariance[item], x)
        weight = _tangent(logit**2 + spread)
        precision = (count @ (weight[:, None] * squares)).reshape(-1, width, width)
        target = count @ ((happened - 0.5 - weight * offset)[:, None] * x)
        terms = _solved(precision, target, centre, variance)
        real = Gaussians(terms.mean[1:], terms.covariance[1:])
        centre = real.mean.mean(axis=0)
        variance = real.spread(centre)
    terms.mean[0], terms.covariance[0] = centre, np.diag(variance)
    return ItemTerms(terms, centre, variance)


def coefficients(
    x: np.ndarray, offset: np.ndarray, happened: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Maximum likelihood of logit = offset + x . c, by Newton's method.

    Args:
      x: float [L, D].
      offset: float [L].
      happened: bool [L].

    Returns:
      The coefficients and their standard errors, [D] each.
    """
    found = np.zeros(x.shape[1])
    for _ in range(20):
        expected = scipy.special.expit(offset + x @ found)
        precision = (x * (expected * (1.0 - expected))[:, None]).T @ x
        found = found + np.linalg.solve(precision, x.T @ (happened - expected))
    return found, np.sqrt(np.diag(np.linalg.inv(precision)))


def _first(
    rng: np.random.Generator,
    count: int,
    width: int,
    level: float,
    scale: float,
    variance: float,
) -> Gaussians:
    mean = rng.normal(0.0, scale, [count, width])
    mean[:, 0] = level
    return Gaussians(mean, np.tile(variance * np.eye(width), [count, 1, 1]))


def _with_one(terms: np.ndarray) -> np.ndarray:
    """The terms [n, D] with 1 in the place of the level."""
    return np.concatenate([np.ones_like(terms[:, :1]), terms[:, 1:]], axis=1)


def _moderated(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Logit of the mean of the logistic function of a Gaussian (MacKay 1992)."""
    return mean / np.sqrt(1.0 + np.pi / 8.0 * variance)


def _tangent(square: np.ndarray) -> np.ndarray:
    """Curvature of the bound that touches where the squared logit is `square`."""
    root = np.sqrt(np.maximum(square, 1e-12))
    return np.tanh(root / 2.0) / (2.0 * root)


def _of_other(user: Gaussians, items: Gaussians, item: np.ndarray) -> np.ndarray:
    """Variance of the logit of user l and item l that comes from the item's terms, [L]."""
    x, covariance = _with_one(user.mean), items.covariance[item]
    product = np.einsum("lde,lde->l", user.covariance[:, 1:, 1:], covariance[:, 1:, 1:])
    return np.einsum("ld,lde,le->l", x, covariance, x) + product


def _weights(
    people: Gaussians, items: Gaussians, user: np.ndarray, item: np.ndarray
) -> np.ndarray:
    """Curvature of the bound at each row, [L]."""
    weights = []
    for start in range(0, len(user), _ROWS):
        of_user, of_item = user[start : start + _ROWS], item[start : start + _ROWS]
        person = Gaussians(people.mean[of_user], people.covariance[of_user])
        x = _with_one(items.mean[of_item])
        logit = items.mean[of_item, 0] + np.einsum("ld,ld->l", x, person.mean)
        variance = np.einsum("ld,lde,le->l", x, person.covariance, x)
        weights.append(_tangent(logit**2 + variance + _of_other(person, items, of_item)))
    return np.concatenate(weights)


def _posterior(
    pairs: tuple[np.ndarray, np.ndarray],
    clicked: np.ndarray,
    weight: np.ndarray,
    others: Gaussians,
    centre: np.ndarray,
    variance: np.ndarray,
    count: int,
) -> Gaussians:
    """Posterior of one side's terms, given that of the other side.

    Args:
      pairs: int [L] each, of this side and of the other.
      clicked: bool [L].
      weight: curvature of the bound, [L].
      others: terms of the other side.
      centre: prior mean, [D].
      variance: prior variance, [D].
      count: vectors of this side.
    """
    shape = [count, len(others.mean)]
    curvature = scipy.sparse.csr_matrix((weight, pairs), shape)
    slope = scipy.sparse.csr_matrix((clicked - 0.5, pairs), shape)
    x = _with_one(others.mean)
    squares = np.einsum("nd,ne->nde", x, x)
    squares[:, 1:, 1:] += others.covariance[:, 1:, 1:]
    level = others.mean[:, :1] * x  # expected product of the other's level and x
    level[:, 1:] += others.covariance[:, 0, 1:]
    precision = (curvature @ squares.reshape(len(x), -1)).reshape(-1, x.shape[1], x.shape[1])
    return _solved(precision, slope @ x - curvature @ level, centre, variance)


def _solved(
    precision: np.ndarray, target: np.ndarray, centre: np.ndarray, variance: np.ndarray
) -> Gaussians:
    """Gaussians of a quadratic likelihood and a prior."""
    covariance = np.linalg.inv(precision + np.diag(1.0 / variance))
    mean = np.einsum("nde,ne->nd", covariance, target + centre / variance)
    return Gaussians(mean, covariance)


def _whitened(people: Gaussians, items: Gaussians) -> tuple[Gaussians, Gaussians]:
    """The same logits with users' factors of mean square 1 and no correlation."""
    factor = people.mean[:, 1:]
    square = factor.T @ factor + people.covariance[:, 1:, 1:].sum(axis=0)
    sizes, axes = np.linalg.eigh(square / len(factor))
    shrink, grow = np.eye(len(sizes) + 1), np.eye(len(sizes) + 1)
    shrink[1:, 1:] = (axes / np.sqrt(sizes)).T
    grow[1:, 1:] = (axes * np.sqrt(sizes)).T
    return _mapped(people, shrink), _mapped(items, grow)


def _mapped(terms: Gaussians, matrix: np.ndarray) -> Gaussians:
    return Gaussians(terms.mean @ matrix.T, matrix @ terms.covariance @ matrix.T)
