"""Tastes that depend on the hour: answers, exact values and bounds, by hand and by play."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import embedded_test
from tfrec import types
from tfrec.data import feature_encoding, feature_schema, vocabulary
from tfrec.environments import (
    embedded,
    embedded_belief,
    embedded_hours,
    exact_values,
    player,
    users,
)
from tfrec.errors import UserError

CLICKS = np.array([1.0, 0.0])
# Two tastes, of which 0 is that of all users in the afternoon. Items of a kind are equal, and
# every item is followed by an exit with the same probability.
CONFIG = dataclasses.replace(
    embedded_test.TINY, day_parts=2, quality=0.0, tiring=0.0, click_base=(1.0, 0.0, -1.0),
    match=1.0, exit_base=-1.0, exit_slope=0.0, max_steps=2,
)  # fmt: skip


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


SUITS, ELSE, STAYS = sigmoid(2.0), sigmoid(1.0), 1 - sigmoid(-1.0)  # clicks of bait


def encoder(kind, owner, **fields):
    column = feature_schema.FeatureColumn(name=kind, kind=kind, **fields)
    return feature_encoding.FeatureEncoder(
        (feature_encoding.ColumnCode(column, 1, ("a", "b") if owner == "user" else ()),), owner
    )


def world(config=CONFIG, **fields):
    """A world whose states hold a category of the user, then the hour."""
    spec, ids = embedded_test.world(dataclasses.replace(config, day_parts=1))[0].spec, {}
    for name, count in (("item", config.num_items), ("user", config.num_users)):
        raw = np.array(sorted(f"{name[0]}{n + 1}" for n in range(count)))
        ids[f"{name}_ids"] = vocabulary.Ids(raw)
    ids["user_features"] = encoder("category", "user")
    ids["context_features"] = encoder("hour", "context", **fields)
    return embedded.EmbeddedWorld(config, spec, vocabulary.Vocabulary(**ids))


def starts(made, hour, times=1):
    """Starts of every user, all at one hour; None for a missing hour."""
    plain = embedded_test.starts(made, times)
    row = made.vocabulary.state_encoder.encode_one({"category": "b"}, {"hour": hour})
    return plain._replace(context_values=np.tile(np.array(row, np.int32), (len(plain.user), 1)))


@pytest.mark.parametrize(("hour", "part"), [(0, 0), (11, 0), (12, 1), (23, 1)])
def test_users_answer_with_the_taste_of_the_hour(hour, part):
    made = world()
    begun = starts(made, hour)
    assert set(made.part(begun).numpy()) == {part}
    state = made.reset(types.constants(begun))
    taste = made.truth.taste if part == 0 else np.zeros(40, int)
    np.testing.assert_array_equal(state.segment, taste)
    click = made.responses(state, tf.range(1, 7)).feedback[..., 0].numpy()
    suits = made.truth.cluster[None] == taste[:, None]
    logit = np.asarray(CONFIG.click_base)[made.truth.kind] + suits
    np.testing.assert_allclose(click, 1 / (1 + np.exp(-logit)), rtol=1e-5)


def test_exact_values_by_hand():
    made = world()
    optimum = exact_values.solve(made, CLICKS)
    best, own = SUITS * (1 + STAYS), made.truth.taste
    np.testing.assert_allclose(
        exact_values.session_values(made, optimum.value), best, rtol=1e-6
    )
    # Bait of taste 1 all the time: users of taste 0 never like it, others in the morning.
    item = np.array([[1 + int(np.flatnonzero(made.item_cell == 3)[0])]])
    value = exact_values.plan_value(made, CLICKS, item)
    mean = np.where(own == 1, (SUITS + ELSE) / 2, ELSE) * (1 + STAYS)
    np.testing.assert_allclose(exact_values.session_values(made, value), mean, rtol=1e-6)
    morning, evening = (
        exact_values.start_values(made, value, starts(made, h)) for h in (9, 18)
    )
    np.testing.assert_allclose(
        morning, np.where(own == 1, SUITS, ELSE) * (1 + STAYS), rtol=1e-6
    )
    np.testing.assert_allclose(evening, ELSE * (1 + STAYS), rtol=1e-6)


def test_bounds_without_the_hour_by_hand():
    made = world()
    bounds = embedded_hours.without_hour(made, CLICKS)
    # A user of taste 0 has the same taste all day: the hour is worth nothing.
    np.testing.assert_allclose(bounds.low[:, 0], SUITS * (1 + STAYS), rtol=1e-6)
    np.testing.assert_allclose(bounds.high[:, 0], SUITS * (1 + STAYS), rtol=1e-6)
    # One of taste 1 is shown the bait of one taste, which suits in half of the sessions.
    half = (SUITS + ELSE) / 2
    assert bounds.low[:, 1].mean() == pytest.approx(half * (1 + STAYS), rel=1e-6)
    np.testing.assert_allclose(
        np.sort(bounds.low[:, 1]), np.array([ELSE, SUITS]) * (1 + STAYS), rtol=1e-6
    )
    assert bounds.high[:, 1].mean() == pytest.approx(half + STAYS * SUITS, rel=1e-6)
    # Some items alone: the calm items of taste 1.
    calm = np.flatnonzero(made.item_cell == 4) + 1
    bounds = embedded_hours.without_hour(made, CLICKS, calm)
    clicks = np.array([[sigmoid(0.0), sigmoid(1.0)], [sigmoid(0.0), sigmoid(0.0)]])
    np.testing.assert_allclose(bounds.low, clicks * (1 + STAYS), rtol=1e-6)
    np.testing.assert_allclose(bounds.high, bounds.low, rtol=1e-6)
    # In the morning calm of taste 1 is best for its users, on average bait of taste 0.
    other = world(dataclasses.replace(CONFIG, match=2.0))
    either = np.array([np.flatnonzero(other.item_cell == cell)[0] + 1 for cell in (4, 0)])
    bounds = embedded_hours.without_hour(other, CLICKS, either)
    clicks = np.array([sigmoid(1.0), sigmoid(3.0)])
    np.testing.assert_allclose(bounds.low[:, 1], clicks * (1 + STAYS), rtol=1e-6)
    best = np.array([sigmoid(2.0), sigmoid(3.0)])
    np.testing.assert_allclose(bounds.high[:, 1], clicks + STAYS * best, rtol=1e-6)
    bounds, own = embedded_hours.without_hour(made, CLICKS, calm), made.user_segment
    for hour, part in ((3, 0), (20, 1)):
        of_starts = embedded_hours.of_starts(made, bounds.low, starts(made, hour))
        np.testing.assert_array_equal(of_starts, bounds.low[part, own])


def test_without_the_hour_nobody_earns_more_than_the_bounds():
    """Longer sessions with fatigue: the posterior of known users, who are shown any item."""
    config = dataclasses.replace(
        embedded_test.CONFIG, day_parts=2, max_steps=8, match=4.0, num_users=60
    )
    made = world(config)
    bounds = embedded_hours.without_hour(made, CLICKS)
    low, high = (value[:, made.user_segment].mean() for value in bounds)
    optimum = exact_values.session_values(made, exact_values.solve(made, CLICKS).value).mean()
    assert low < high < optimum
    # An observer who knows the user's own segment and infers that of the session.
    known = np.eye(len(made.after))[made.user_segment]  # [U, S]
    of_part = np.eye(len(made.after))[made.session_segment[1]]
    prior = np.log(np.concatenate([np.ones((1, 3)), (known + known @ of_part) / 2]) + 1e-30)
    plain = embedded_test.world(dataclasses.replace(config, day_parts=1))[0]
    clicks = []
    for hour in (0, 12):
        # Users of the hour, whose segments are given, and an observer without the hour.
        fixed = _Fixed(plain, made.session_segment[hour // 12, made.user_segment])
        observed = embedded_belief.Observed(fixed, prior)
        runner = player.Player(
            users.UserEnvironment(observed), embedded_belief.posterior_policy(fixed)
        )
        played = runner.play(embedded_test.starts(plain, 30), seed=3)
        clicks.append(played.feedback[..., 0].sum(axis=1))
    total = (clicks[0] + clicks[1]) / 2
    error = total.std() / math.sqrt(len(total))
    assert low - 3 * error < total.mean() < high + 3 * error


class _Fixed(embedded.EmbeddedWorld):
    """Users whose segments are given."""

    def __init__(self, made, segment):
        super().__init__(made.config, made.spec, made.vocabulary)
        self._segment = tf.constant(np.concatenate([[0], segment]), tf.int32)


def test_played_sessions_earn_the_value_of_their_hour():
    config = dataclasses.replace(embedded_test.CONFIG, day_parts=2)
    made = world(config)
    optimum = exact_values.solve(made, CLICKS)
    runner = player.Player(users.UserEnvironment(made), exact_values.optimal_policy(optimum))
    means = []
    for hour in (5, 17):
        begun = starts(made, hour, 100)
        clicks = runner.play(begun, seed=3).feedback[..., 0].sum(axis=1)
        above = clicks - exact_values.start_values(made, optimum.value, begun)
        assert abs(above.mean()) < 3 * above.std() / math.sqrt(len(above))
        means.append(exact_values.start_values(made, optimum.value, begun)[:40])
    np.testing.assert_allclose(
        exact_values.session_values(made, optimum.value), np.mean(means, axis=0)
    )
    assert not np.allclose(*means)


def test_the_posterior_over_the_session_follows_from_the_user_and_the_hour():
    made = world()
    prior = np.log(np.tile([0.3, 0.7], (41, 1)))
    observed = embedded_belief.Observed(made, prior)
    for hour, expected in ((3, [0.3, 0.7]), (15, [1.0, 0.0])):
        _, log_prior, _ = observed.reset(types.constants(starts(made, hour)))
        np.testing.assert_allclose(np.exp(log_prior), np.tile(expected, (40, 1)), rtol=1e-5)
    # Sessions of the afternoon tell nothing about the user's own taste; others do.
    sessions = types.Episodes(
        user=np.array([9], np.int32), history_item=None, history_feedback=None,
        item=np.array([[1, 2]], np.int32), feedback=np.ones((1, 2, 2), np.float32),
        length=np.array([2], np.int32), exited=np.array([True]),
    )  # fmt: skip
    for hour in (15, 3):
        values = starts(made, hour).context_values[:1]
        evidence = embedded_belief.log_evidence(made, sessions._replace(context_values=values))
        assert (evidence[9, 0] == evidence[9, 1]) == (hour == 15)
    plain, _ = embedded_test.world(dataclasses.replace(CONFIG, day_parts=1))
    np.testing.assert_array_equal(evidence, embedded_belief.log_evidence(plain, sessions))


def test_worlds_with_hours_are_other_worlds():
    plain, _ = embedded_test.world(dataclasses.replace(CONFIG, day_parts=1))
    assert world().fingerprint != plain.fingerprint


def test_starts_without_an_hour_are_rejected():
    made = world()
    with pytest.raises(ValueError, match=r"context_values of Starts is \(\)"):
        made.reset(types.constants(embedded_test.starts(made)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="a start has no hour"):
        made.reset(types.constants(starts(made, None)))
    runner = player.Player(
        users.UserEnvironment(made), exact_values.plan_policy(np.ones((2, 2, 4), int))
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="a start has no hour"):
        runner.play(starts(made, None), seed=0)


@pytest.mark.parametrize("fields", [{"utc_offset": 8.0}, None])
def test_data_without_an_hour_of_utc_are_rejected(fields):
    with pytest.raises(UserError, match=r"no hour of UTC; expected \[context\.hour\]"):
        embedded_test.world(CONFIG) if fields is None else world(**fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"suited_fatigue": 1},
        {"exit_match": -1.0},
        {"fatigue_steps": (2, -1, 1, 0, 1, -1), "type_by_taste": True},
    ],
)
def test_bounds_need_an_hour_that_only_clicks_tell(changes):
    with pytest.raises(UserError, match="fatigue and exits depend on the hour; expected"):
        embedded_hours.without_hour(world(dataclasses.replace(CONFIG, **changes)), CLICKS)
    drawn = dataclasses.replace(CONFIG, fatigue_steps=(2, -1, 1, 0, 1, -1))
    assert embedded_hours.without_hour(world(drawn), CLICKS).low.shape == (2, 4)
