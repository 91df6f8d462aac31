r"""Compares fitted users with simple models of clicks and exits, on sessions of test users.

    python -m benchmarks.fitted_users --data=runs/ml/data \
        --worlds=runs/ml/users-0,runs/ml/users-1

Prints the held-out log-loss of each model, and how much of the variance of the click's logit
comes from interactions of user and item. References are fitted on the training split, and
worlds should be (`launch.fit_simulator --split=train`). Each model predicts the responses at
each step from the item, the history and the session before it.

Clicks: `constant`; `item`, the rate of each item; `user + item`, levels of both; `factors`,
with `--factors` factors of users and items as well. A user's terms may drift, at the rate that
is best on the validation split.

Exits: `constant`; `step`, the rate at each step; `step + item`; `step + terms`, with a
coefficient of the click, of the levels of user and item and of their interaction in `factors`.

Variational Bayes underestimates the variance of factors. The last line shows by how much: the
same rows with simulated clicks, in which the share of interactions is known.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from benchmarks import command_line, logistic_bayes, timing
from tfrec import types
from tfrec.data import storage
from tfrec.environments.fitted import calibration, recurrent_model, simulated
from tfrec.errors import UserError
from tfrec.metrics import intervals, variance_components

DRIFTS = (0.0, 0.003, 0.01, 0.03)  # variance gained in a step, in prior variances
SIMULATED = 0.25  # share of interactions in simulated clicks
_SMALLEST = 1e-3  # standard deviation of a term, in logits, from which it has a coefficient
STATES = 4  # states of each test user in which variance is measured


class Rows(NamedTuple):
    """The steps of B sessions, flat: [L] each.

    Attributes:
      user: dense ids.
      session: position among the sessions.
      step: from 0.
      item: dense ids.
      clicked: bool.
      exited: bool, whether the user left after the step.
    """

    user: np.ndarray
    session: np.ndarray
    step: np.ndarray
    item: np.ndarray
    clicked: np.ndarray
    exited: np.ndarray


class References(NamedTuple):
    """Predictions of the references at the L test rows, and what they say of the variance.

    Attributes:
      click: name -> probability of a click, [L].
      leave: name -> probability of an exit, [L].
      drift: the chosen drift of `factors`.
      shares: what is measured -> part -> its share of the variance of the click's logit.
      of_exit: name -> coefficient of the exit for a standard deviation, and standard error.
      simulated: share of interactions that is found where it is `SIMULATED`.
    """

    click: dict[str, np.ndarray]
    leave: dict[str, np.ndarray]
    drift: float
    shares: dict[str, dict[str, float]]
    of_exit: dict[str, tuple[float, float]]
    simulated: float


def rows(episodes: types.Episodes) -> Rows:
    """The steps of sessions; numpy arrays."""
    length = np.asarray(episodes.length)
    session, step = np.nonzero(np.arange(episodes.item.shape[1]) < length[:, None])
    return Rows(
        episodes.user[session],
        session,
        step,
        episodes.item[session, step],
        episodes.feedback[session, step, 0] > 0,
        (step == length[session] - 1) & np.asarray(episodes.exited)[session],
    )


def log_loss(probability: np.ndarray, happened: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each row, nats."""
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    return -np.where(happened, np.log(clipped), np.log1p(-clipped))


def references(splits: Mapping[str, types.Episodes], num_items: int, rank: int) -> References:
    """Fits the references on training sessions and predicts test sessions.

    Args:
      splits: `train`, `validation` and `test`.
      num_items: N.
      rank: K, factors of users and items.
    """
    train, test = rows(splits["train"]), rows(splits["test"])
    one, of_test = np.ones([len(train.item), 1]), np.ones([len(test.item), 1])
    rate = logistic_bayes.item_terms(train.item, one, 0.0, train.clicked, num_items)
    click = {
        "constant": np.full(len(test.item), train.clicked.mean()),
        "item": scipy.special.expit(rate.logit(test.item, of_test, 0.0)),
    }
    _, user = np.unique(train.user, return_inverse=True)
    levels, model = (
        logistic_bayes.factors(user, train.item, train.clicked, num_items, width)
        for width in (0, rank)
    )
    drift = _best_drift(model, splits["validation"])
    before, known = (
        logistic_bayes.filtered(model, splits[s], drift) for s in ("train", "test")
    )
    alone = _best_drift(levels, splits["validation"])
    for name, each in (
        ("user + item", logistic_bayes.filtered(levels, splits["test"], alone)),
        ("factors", known),
    ):
        click[name] = each.click[test.session, test.step]
    train_terms, test_terms = (
        model.terms(flat.item, state.user[flat.session, flat.step])
        for flat, state in ((train, before), (test, known))
    )
    leave, of_exit = _exits(train, test, train_terms, test_terms, num_items)
    shares = {
        "prior of the factors": _shares(model.variances()),
        "states of test users": state_components(model, known, splits["test"]).shares(),
    }
    simulated = _simulated_share(model, user, train.item, num_items, rank)
    return References(click, leave, drift, shares, of_exit, simulated)


def _best_drift(model: logistic_bayes.Factors, episodes: types.Episodes) -> float:
    flat = rows(episodes)

    def loss(drift: float) -> float:
        known = logistic_bayes.filtered(model, episodes, drift)
        return float(log_loss(known.click[flat.session, flat.step], flat.clicked).mean())

    return min(DRIFTS, key=loss)


def _exits(
    train: Rows,
    test: Rows,
    train_terms: logistic_bayes.Terms,
    test_terms: logistic_bayes.Terms,
    num_items: int,
) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Predictions of exits at the test rows, and the coefficients of the terms of the click."""
    one, of_test = np.ones([len(train.item), 1]), np.ones([len(test.item), 1])
    last = int(max(train.step.max(), test.step.max())) + 1
    hazard = logistic_bayes.item_terms(train.step + 1, one, 0.0, train.exited, last)
    offset = hazard.logit(train.step + 1, one, 0.0)
    step = hazard.logit(test.step + 1, of_test, 0.0)
    level = logistic_bayes.item_terms(train.item, one, offset, train.exited, num_items)
    names = ("intercept", "click", *logistic_bayes.Terms._fields)
    x = np.stack([one[:, 0], train.clicked, *train_terms], axis=1)
    of_test_x = np.stack([of_test[:, 0], test.clicked, *test_terms], axis=1)
    scale = np.append(1.0, x[:, 1:].std(axis=0))
    varies = scale > _SMALLEST
    x, of_test_x = x[:, varies] / scale[varies], of_test_x[:, varies] / scale[varies]
    found, error = logistic_bayes.coefficients(x, offset, train.exited)
    leave = {
        "constant": np.full(len(test.item), train.exited.mean()),
        "step": scipy.special.expit(step),
        "step + item": scipy.special.expit(level.logit(test.item, of_test, step)),
        "step + terms": scipy.special.expit(step + of_test_x @ found),
    }
    named = zip(np.array(names)[varies].tolist(), found.tolist(), error.tolist(), strict=True)
    return leave, {name: (value, deviation) for name, value, deviation in named}


def state_components(
    model: logistic_bayes.Factors,
    known: logistic_bayes.Filtered,
    episodes: types.Episodes,
    seed: int = 0,
) -> variance_components.Components:
    """Variance of the expected logit over users, states and items, as in `discrimination`.

    Args:
      model: levels and factors of the items.
      known: what is known of the users before each step of `episodes`.
      episodes: B sessions.
      seed: seed of the states, random steps of each session.
    """
    length = np.asarray(episodes.length)[:, None]
    step = np.random.default_rng(seed).integers(0, length, [len(length), STATES])  # [B, S]
    user = known.user[np.arange(len(length))[:, None], step]  # [B, S, D]
    item = model.item.mean[1:]
    logit = item[:, 0] + user[..., :1] + user[..., 1:] @ item[:, 1:].T  # [B, S, N]
    return variance_components.components(logit)


def _simulated_share(
    model: logistic_bayes.Factors, user: np.ndarray, item: np.ndarray, num_items: int, rank: int
) -> float:
    """Share of interactions found in simulated clicks of the same rows.

    Levels are drawn from the model, factors of equal size from Gaussians.

    Args:
      model: the fitted model.
      user: int [L].
      item: int [L].
      num_items: N.
      rank: K.
    """
    rng, parts = np.random.default_rng(0), model.variances()
    centre, users = model.item.mean[1:, 0].mean(), int(user.max()) + 1
    of_item = rng.normal(centre, parts["item"] ** 0.5, num_items + 1)
    of_user = rng.normal(0.0, parts["user"] ** 0.5, users)
    wanted = SIMULATED / (1.0 - SIMULATED) * (parts["item"] + parts["user"])
    factor = rng.normal(0.0, (wanted / rank) ** 0.5, [num_items + 1, rank])
    taste = rng.normal(0.0, 1.0, [users, rank])
    logit = of_item[item] + of_user[user] + np.sum(factor[item] * taste[user], axis=1)
    clicked = rng.random(len(item)) < scipy.special.expit(logit)
    refitted = logistic_bayes.factors(user, item, clicked, num_items, rank)
    return _shares(refitted.variances())["interaction"]


def _shares(variances: Mapping[str, float]) -> dict[str, float]:
    total = sum(variances.values())
    return {name: part / total for name, part in variances.items()}


def loss_table(
    title: str,
    predictions: Mapping[str, np.ndarray],
    happened: np.ndarray,
    user: np.ndarray,
    base: str,
) -> str:
    """Log-loss of each model and its difference from one of them, as Markdown.

    Args:
      title: of the first column.
      predictions: name -> probability of each row.
      happened: bool [L].
      user: int [L]; the 95% intervals are over users.
      base: name of the model that the others are compared with.
    """
    lines = [f"| {title} | log-loss, nats per step | less than of {base} |", "|---|---:|---:|"]
    losses = {name: log_loss(p, happened) for name, p in predictions.items()}
    _, person = np.unique(user, return_inverse=True)
    count = np.bincount(person)
    for name, loss in losses.items():
        saved = np.bincount(person, losses[base] - loss)
        cells = np.stack([saved, count], axis=-1)[:, None]  # [U, 1, 2]
        table = intervals.pseudo_values(lambda s: s[..., 0] / s[..., 1], cells)
        mean, low, high, *_ = intervals.of_table(table)
        difference = "" if name == base else f"{mean:.5f} [{low:.5f}, {high:.5f}]"
        lines.append(f"| {name} | {loss.mean():.5f} | {difference} |")
    return "\n".join(lines)


def main(data: str, worlds: Sequence[str] = (), factors: int = 4) -> References:
    """Prints the tables; see the module's docstring.

    Args:
      data: folder of prepared data.
      worlds: folders of recurrent user models.
      factors: factors of users and items.
    """
    prepared = storage.PreparedData.open(data)
    splits = {name: prepared.episodes(name) for name in ("train", "validation", "test")}
    found = references(splits, prepared.spec.num_items, factors)
    test = rows(splits["test"])
    for world in worlds:
        model = simulated.load(world)
        if not isinstance(model, recurrent_model.RecurrentModel):
            raise UserError(f"{world} is an adversarial model; expected a recurrent one")
        heads = calibration.expectations(model, splits["test"])
        found.click[world], found.leave[world] = heads[0].expected, heads[-1].expected
    print(f"{len(test.item):,} steps of {len(np.unique(test.user)):,} test users\n")
    print(loss_table("click", found.click, test.clicked, test.user, "user + item"))
    print(f"\n(drift {found.drift:g} a step)\n")
    print(loss_table("exit", found.leave, test.exited, test.user, "step"), "\n")
    total = float(np.var(scipy.special.logit(found.leave["step + terms"])))
    for name, (value, error) in found.of_exit.items():
        low, high = value - 1.96 * error, value + 1.96 * error
        if name != "intercept":
            share = f"{value**2 / total:.1%} of the variance"
            print(f"logit of the exit, {name}: {value:+.3f} [{low:+.3f}, {high:+.3f}], {share}")
    for name, parts in found.shares.items():
        text = ", ".join(f"{part} {value:.1%}" for part, value in parts.items())
        print(f"variance of the click's logit, {name}: {text}")
    print(f"interactions in simulated clicks: {SIMULATED:.0%}, found {found.simulated:.1%}")
    return found


if __name__ == "__main__":
    timing.one_thread()
    parser = command_line.parser(__doc__)
    parser.add_argument("--data", type=command_line.folder, required=True)
    parser.add_argument(
        "--worlds", type=command_line.separated(command_line.folder), default=()
    )
    parser.add_argument("--factors", type=command_line.at_least(1), default=4)
    main(**vars(parser.parse_args()))
