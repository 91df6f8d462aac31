"""The likelihood of held-out users' choices under the adversarial user model and simpler ones.

    uniform             equal probabilities of the displayed items and of nothing
    popularity          reward a + b log(1 + clicks of the item) with fitted a and b
    maximum_likelihood  the reward before the mini-max passes
    adversarial         the reward after the mini-max passes, if there are any

Precision@k is the share of clicks whose item is among the k displayed items of the highest
reward.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import tensorflow as tf

from tfrec import outputs, types
from tfrec.environments import lookup
from tfrec.environments.fitted import choice_fitting, fitting
from tfrec.environments.fitted.choice_model import ChoiceModel, ChoiceNetwork, logged_steps

_BATCH = 64  # sessions in a batch
_POPULARITY_SESSIONS = 2000  # training sessions to which the popularity model is fitted
_SEED = 23  # of the alternatives: all models are compared on the same displays


class Choices(NamedTuple):
    """E choices of some sessions, numpy arrays.

    Attributes:
      user: int [E].
      item: int [E, 1 + K], the logged item, then its alternatives.
      clicked: bool [E], True for the logged item, False for nothing.
      rewards: reward of the displayed items by model, float [E, 1 + K] each.
    """

    user: np.ndarray
    item: np.ndarray
    clicked: np.ndarray
    rewards: dict[str, np.ndarray]


def report(
    fit: choice_fitting.ChoiceFit, episodes: types.Episodes, directory: str | os.PathLike
) -> dict[str, Any]:
    """Measures the model on its test users and writes simulator.{json,md}.

    Args:
      fit: the fitted model.
      episodes: the sessions of the fit, numpy arrays.
      directory: output folder, which is created.

    Returns:
      The content of simulator.json: `choices`, `clicks` and `users` of the test users,
      `displayed` items of a choice, `item_start` of `ChoiceFit`, and `models`: for each its
      `log_likelihood` (nats per choice) and `precision@1`, `precision@2`, each with a 95%
      interval over users.
    """
    config, spec = fit.model.config, fit.model.spec
    networks = {"maximum_likelihood": fit.maximum_likelihood}
    if config.adversarial_epochs:
        networks["adversarial"] = fit.model.reward
    key, _ = lookup.logged_pairs(episodes, spec.num_items)
    held_out = _choices(fit.model, networks, episodes, np.flatnonzero(fit.split.test), key)
    clicks = item_clicks(episodes, fit.split.training, spec.num_items)
    training = np.flatnonzero(fit.split.training)
    if len(training) > _POPULARITY_SESSIONS:
        training = np.random.default_rng(_SEED).choice(
            training, _POPULARITY_SESSIONS, replace=False
        )
    training_choices = _choices(fit.model, {}, episodes, training, key)
    popularity = popularity_reward(
        np.log1p(clicks[training_choices.item]), training_choices.clicked
    )
    rewards = {"popularity": popularity(np.log1p(clicks[held_out.item]))}
    rewards |= {name: config.eta * reward for name, reward in held_out.rewards.items()}
    measured: dict[str, Any] = {
        "choices": len(held_out.clicked),
        "clicks": int(held_out.clicked.sum()),
        "users": len(np.unique(held_out.user)),
        "displayed": 1 + config.alternatives,
        "item_start": fit.item_start,
        "models": {
            name: scores(reward, held_out)
            for name, reward in {"uniform": np.zeros(held_out.item.shape), **rewards}.items()
        },
    }
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    outputs.write_json(folder / "simulator.json", measured)
    with outputs.replacing_file(folder / "simulator.md") as path:
        path.write_text(_markdown(measured))
    return measured


_STARTS = {
    "random": "Item embeddings started at random values.",
    "factors": "Item embeddings started at the factors of the users' clicks.",
}


def table(measured: Mapping[str, Any]) -> str:
    """The report's numbers as a Markdown table."""
    columns = list(next(iter(measured["models"].values())))
    headings = {"log_likelihood": "log-likelihood, nats per choice"}
    names = " | ".join(headings.get(column, column) for column in columns)
    lines = [f"| model | {names} |", "|---" * (1 + len(columns)) + "|"]
    for name, metrics in measured["models"].items():
        cells = (metrics[column] for column in columns)
        row = (f"{c['mean']:.4f} [{c['low']:.4f}, {c['high']:.4f}]" for c in cells)
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _markdown(measured: Mapping[str, Any]) -> str:
    return (
        "# Simulated choices against the log\n\n"
        f"{measured['choices']:,} choices of {measured['users']:,} held-out users, "
        f"{measured['clicks']:,} of them clicks. Items in a display: {measured['displayed']}, "
        "the logged one and sampled ones that the log never shows to the user. Brackets are "
        "95% intervals over users. Precision@k is the share of clicks on one of the k "
        f"displayed items of the highest reward. {_STARTS[measured['item_start']]}\n\n"
        f"{table(measured)}"
    )


def scores(reward: np.ndarray, held_out: Choices) -> dict[str, dict[str, float]]:
    """The log-likelihood of the choices, and the precision of the predicted clicks.

    Args:
      reward: logits of the displayed items, float [E, 1 + K]; nothing has 0.
      held_out: the choices.
    """
    logits = np.concatenate([np.zeros_like(reward[:, :1]), reward], axis=1)  # [E, 2 + K]
    log_probability = scipy.special.log_softmax(logits, axis=1)
    log_likelihood = np.where(held_out.clicked, log_probability[:, 1], log_probability[:, 0])
    summary = {"log_likelihood": mean_over_users(log_likelihood, held_out.user)}
    user, clicked = held_out.user[held_out.clicked], reward[held_out.clicked]
    for k in (1, 2):
        if len(clicked) and k < reward.shape[1]:
            summary[f"precision@{k}"] = mean_over_users(first_among(clicked, k), user)
    return summary


def first_among(reward: np.ndarray, k: int) -> np.ndarray:
    """The probability that column 0 is among the k highest of its row, with random ties.

    Args:
      reward: float [E, D].
      k: 1 to D.

    Returns:
      float [E].
    """
    above = (reward[:, 1:] > reward[:, :1]).sum(axis=1)
    ties = (reward[:, 1:] == reward[:, :1]).sum(axis=1)
    return np.clip((k - above) / (1 + ties), 0.0, 1.0)


def mean_over_users(values: np.ndarray, user: np.ndarray) -> dict[str, float]:
    """The mean of values with a 95% interval that allows for dependence within users.

    Args:
      values: float [E].
      user: int [E].
    """
    mean = float(values.mean())
    _, row = np.unique(user, return_inverse=True)
    error = np.bincount(row, values - mean)  # by user
    half = 1.96 * float(np.sqrt((error**2).sum())) / len(values)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def popularity_reward(
    log_clicks: np.ndarray, clicked: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """The maximum-likelihood reward a + b log(1 + clicks).

    Args:
      log_clicks: log(1 + clicks) of the displayed items, float [E, 1 + K].
      clicked: bool [E], True for the first item, False for nothing.

    Returns:
      The reward of an array of log(1 + clicks).
    """
    clicked_log_clicks = np.where(clicked, log_clicks[:, 0], 0.0)

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        reward = weights[0] + weights[1] * log_clicks
        logits = np.concatenate([np.zeros_like(reward[:, :1]), reward], axis=1)
        total = scipy.special.logsumexp(logits, axis=1)
        phi = np.exp(reward - total[:, None])  # [E, 1 + K]
        slope = np.array(
            [
                (phi.sum(axis=1) - clicked).mean(),
                ((phi * log_clicks).sum(axis=1) - clicked_log_clicks).mean(),
            ]
        )
        return float((total - np.where(clicked, reward[:, 0], 0.0)).mean()), slope

    bounds = [(-20.0, 20.0), (-20.0, 20.0)]  # a log of clicks alone would drive a to infinity
    optimum = scipy.optimize.minimize(cost, np.zeros(2), jac=True, bounds=bounds)
    return lambda x: optimum.x[0] + optimum.x[1] * x


def item_clicks(episodes: types.Episodes, sessions: np.ndarray, num_items: int) -> np.ndarray:
    """Clicks of each dense item in selected sessions, float [N + 1].

    Args:
      episodes: numpy arrays.
      sessions: bool [S], mask of the selected sessions.
      num_items: N.
    """
    clicked = np.asarray(episodes.feedback)[sessions, :, 0] > 0
    item = np.asarray(episodes.item)[sessions][clicked]
    return np.bincount(item, minlength=num_items + 1).astype(np.float64)


def _choices(
    model: ChoiceModel,
    networks: Mapping[str, ChoiceNetwork],
    episodes: types.Episodes,
    sessions: np.ndarray,
    key: np.ndarray,
) -> Choices:
    """Displays of sessions with the rewards of each network."""
    pairs = tf.constant(key)
    config = model.config

    @tf.function(reduce_retracing=True, autograph=False)
    def read(batch: types.Episodes, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logged = logged_steps(batch, config.clicks)
        shown = choice_fitting.displays(
            logged, pairs, model.spec.num_items, config.alternatives, seed
        )
        rewards = {
            name: choice_fitting.display_reward(network, shown)
            for name, network in networks.items()
        }
        return logged.user, shown.item, shown.clicked, rewards

    parts = []
    for number, rows in enumerate(fitting.session_batches(sessions, _BATCH)):
        batch = types.rows(episodes, rows[rows >= 0])
        tensors = types.constants(batch)
        parts.append(
            tf.nest.map_structure(np.asarray, read(tensors, tf.constant([_SEED, number])))
        )
    user, item, clicked, rewards = tf.nest.map_structure(
        lambda *arrays: np.concatenate(arrays), *parts
    )
    return Choices(user, item, clicked, rewards)
