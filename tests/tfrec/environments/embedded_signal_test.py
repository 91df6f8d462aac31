"""The effect of an item on later clicks, against simulation and by hand."""

import dataclasses

import numpy as np
import pytest

from tests.tfrec.environments import embedded_test
from tfrec.data import synthetic
from tfrec.environments import (
    contract,
    embedded_signal,
    exact_values,
    player,
    users,
)


def uniform(world):
    shape = (*world.after.shape[:2], world.spec.num_items)
    return np.full(shape, 1 / world.spec.num_items)


def test_it_is_that_of_played_sessions():
    world, _ = embedded_test.world()
    result = embedded_signal.far_effect(world, uniform(world))
    environment = users.UserEnvironment(world)
    random = contract.random_policy(environment)
    starts = embedded_test.starts(world, times=600)
    played = player.Player(environment, random).play(starts, seed=3)
    live = np.arange(world.spec.max_steps) < played.length[:, None]  # [B, T]
    clicks = np.where(live, played.feedback[..., 0], 0.0)
    after = np.cumsum(clicks[:, ::-1], axis=1)[:, ::-1] - clicks
    # The expected clicks after each step, with the fatigue of the session's items.
    value = exact_values.random_value(world, embedded_test.CLICKS)
    to_come = exact_values.values_to_come(world, np.eye(world.after.shape[-1]))
    segment = world.user_segment[starts.user - 1]
    fatigue, variances, errors = np.zeros(len(segment), int), [], []
    for step in range(world.spec.max_steps):
        rows = np.flatnonzero(live[:, step])
        cell = world.item_cell[played.item[rows, step] - 1]
        far = to_come(value[step + 1])[segment[rows], fatigue[rows]]  # [b, Z * 3]
        of_items = far[:, world.item_cell]
        variances.append(of_items.var(axis=1))
        errors.append(after[rows, step] - far[np.arange(len(rows)), cell])
        fatigue[rows] = world.after[segment[rows], fatigue[rows], cell]
    effect = np.sqrt(np.concatenate(variances).mean())
    noise = np.sqrt((np.concatenate(errors) ** 2).mean())
    assert result.effect == pytest.approx(effect, rel=0.02)
    assert result.noise == pytest.approx(noise, rel=0.02)
    assert result.ratio == pytest.approx(effect / noise, rel=0.03)


def test_without_a_later_step_nothing_follows():
    world, _ = embedded_test.world(dataclasses.replace(embedded_test.CONFIG, max_steps=1))
    assert embedded_signal.far_effect(world, uniform(world)) == (0.0, 0.0)
    assert embedded_signal.far_effect(world, uniform(world)).ratio == 0.0


def test_where_items_do_not_tire_an_item_has_no_later_effect():
    """Two steps, exits of .5, a click of .5 whatever is shown: Bernoulli(.25) follows."""
    config = synthetic.SyntheticConfig(
        num_users=4, num_items=6, num_tastes=2, max_steps=2, click_base=(0.0, 0.0, 0.0),
        match=0.0, quality=0.0, tiring=0.0, exit_base=0.0, exit_slope=0.0,
    )  # fmt: skip
    world, _ = embedded_test.world(config)
    result = embedded_signal.far_effect(world, uniform(world))
    assert result.effect == pytest.approx(0.0, abs=1e-7)
    # The first step, met by all, has variance .25 * .75; the second, met by half, has none.
    assert result.noise == pytest.approx(np.sqrt(0.1875 / 1.5), rel=1e-6)


def test_a_logged_policy_can_be_measured():
    world, _ = embedded_test.world()
    policy = world.logging_policy()
    np.testing.assert_allclose(policy.sum(axis=-1), 1.0)
    assert 0.0 < embedded_signal.far_effect(world, policy).ratio < 1.0
