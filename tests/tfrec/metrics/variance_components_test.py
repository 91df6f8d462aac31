"""Variance components: tables whose effects are known."""

import numpy as np
import pytest

from tfrec.metrics import variance_components


def test_an_item_effect_alone_is_the_variance_of_items():
    values = np.broadcast_to([0.0, 1.0, 2.0], [4, 2, 3])
    found = variance_components.components(values)
    assert found == pytest.approx((0, 1, 0, 0, 0))  # the sample variance of 0, 1, 2
    assert found.shares()["item"] == 1
    assert found.interaction == 0


def test_a_taste_that_no_state_changes_is_user_item():
    # Users want opposite items: no level differs, neither of users nor of items.
    values = np.array([[[1.0, -1.0], [1.0, -1.0]], [[-1.0, 1.0], [-1.0, 1.0]]])
    found = variance_components.components(values)
    # Sum of squares 2 * 4 over 1 degree of freedom, each cell twice: 8 / 2 states = 4.
    assert found.user_item == pytest.approx(4 * 2 / 2)
    assert found.interaction == pytest.approx(1)


def test_a_state_that_turns_the_order_round_is_state_item():
    values = np.array([[[1.0, -1.0], [-1.0, 1.0]], [[1.0, -1.0], [-1.0, 1.0]]])
    found = variance_components.components(values)
    # Squares sum to 8, over 2 users * 1 * 1 degrees of freedom.
    assert found.state_item == pytest.approx(4)
    assert found.user_item == found.item == found.state == 0


def test_levels_of_users_and_states_are_told_apart():
    values = np.zeros([2, 2, 3])
    values[0] += 10  # users: 10 and 0
    assert variance_components.components(values) == pytest.approx((50, 0, 0, 0, 0))
    values = np.zeros([2, 2, 3])
    values[:, 0] += 2  # states: 2 and 0 within each user
    found = variance_components.components(values)
    assert found.state == pytest.approx(2)
    assert found.interaction == 0


def test_drawn_effects_are_found_again():
    rng = np.random.default_rng(0)
    users, states, items = 200, 6, 150

    def drawn(deviation, *shape):
        return rng.normal(0, deviation, shape)

    values = (
        drawn(0.5, users, 1, 1)
        + drawn(1.0, 1, 1, items)
        + drawn(0.3, users, states, 1)
        + drawn(0.7, users, 1, items)
        + drawn(0.4, users, states, items)
    )
    found = variance_components.components(values)
    expected = (0.25, 1.0, 0.09, 0.49, 0.16)
    # Standard errors of the components of levels are variance * sqrt(2 / count).
    assert np.asarray(found) == pytest.approx(expected, rel=0.35)
    assert found.user_item == pytest.approx(0.49, rel=0.02)
    assert found.state_item == pytest.approx(0.16, rel=0.02)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_an_axis_that_cannot_vary_is_rejected(shape):
    with pytest.raises(ValueError, match="each >= 2"):
        variance_components.components(np.zeros(shape))


def test_a_value_that_is_not_finite_is_rejected():
    values = np.zeros([2, 2, 2])
    values[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        variance_components.components(values)


def test_a_constant_has_no_variance_at_all():
    # The mean of many equal numbers differs from them in the last digit.
    components = variance_components.components(np.full((30, 4, 70), -13.815509557963773))
    assert components == (0.0, 0.0, 0.0, 0.0, 0.0)
    assert components.interaction == 0.0
