import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import goals, measurements
from tfrec.errors import UserError


def measured(*names):
    return measurements.Measurements(names, small.SPEC, small.VECTORS)


def test_weights_in_raw_units_become_a_unit_goal():
    measurement_vector = measured("click@0", "watch@0..", "exit@0")
    measurement_vector.std.assign([0.5, 10.0, 0.25])
    # 6 x .5 = 3, .4 x 10 = 4: the goal is (3, 4, 0) / 5.
    goal = goals.named(measurement_vector, {"click@0": 6.0, "watch@0..": 0.4})
    np.testing.assert_allclose(goal, [0.6, 0.8, 0.0], rtol=1e-6)
    assert goal.dtype == np.float32


def test_a_goal_orders_outcomes_as_the_weights_do():
    measurement_vector = small.fitted(("click@0", "watch@0..", "exit@0"))
    weights = {"click@0": 2.0, "watch@0..": 0.1, "exit@0": -3.0}
    raw = measurement_vector.raw(small.tensors(small.sessions())).numpy().reshape(-1, 3)
    standardised = (
        measurement_vector.standardised(small.tensors(small.sessions())).numpy().reshape(-1, 3)
    )
    value = raw @ list(weights.values())
    score = standardised @ goals.named(measurement_vector, weights)
    slope = np.polyfit(value, score, 1)[0]
    assert slope > 0
    np.testing.assert_allclose(score - score[0], slope * (value - value[0]), atol=1e-5)


def test_a_goal_may_name_one_column_of_an_embedding():
    measurement_vector = measured("click@0", "embedding(click)")
    goal = goals.named(measurement_vector, {"embedding(click)[1]": -2.0})
    np.testing.assert_allclose(goal, [0, 0, -1])


def test_goals_without_weights_are_rejected():
    measurement_vector = measured("click@0", "exit@0")
    with pytest.raises(ValueError, match="goal names 'click'; the measurements are click@0, e"):
        goals.named(measurement_vector, {"click": 1.0})
    with pytest.raises(ValueError, match="weighs nothing"):
        goals.named(measurement_vector, {"click@0": 0.0})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clicks = 1*click@0", ("clicks", {"click@0": 1.0})),
        ("a=.5*click@0+-2*exit@0", ("a", {"click@0": 0.5, "exit@0": -2.0})),
        (
            " long stay = 1*step@1.. + 0.25*mean(click) ",
            ("long stay", {"step@1..": 1.0, "mean(click)": 0.25}),
        ),
    ],
)
def test_a_goal_is_read(text, expected):
    assert goals.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "clicks", "clicks =", "= 1*click@0", "a = click@0", "a = x*click@0",
     "a = 1*click@0 +", "a = 1*click@0 2*exit@0", "a = 1*click@0--1*exit@0"],
)  # fmt: skip
def test_a_bad_goal_is_named(text):
    with pytest.raises(ValueError, match="expected e.g. 'clicks = ") as caught:
        goals.parse(text)
    assert repr(text) in str(caught.value)


def test_half_of_the_random_unit_goals_weigh_amounts_alone():
    measurement_vector = measured("click@0", "exit@0", "embedding(click)", "watch@0..")
    goal = goals.random(measurement_vector, tf.constant(4000), tf.constant([1, 2])).numpy()
    assert goal.shape == (4000, 5)
    np.testing.assert_allclose(np.linalg.norm(goal, axis=1), 1.0, rtol=1e-5)
    weighs_amounts = (goal[:, 2:4] == 0).all(axis=1)
    # Four standard errors of a fair coin tossed 4000 times.
    assert weighs_amounts.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4000))
    assert (goal[weighs_amounts][:, [0, 4]] >= 0).all() and (
        goal[weighs_amounts][:, 1] <= 0
    ).all()
    # The other goals weigh every column positively about half of the time.
    assert (
        np.abs((goal[~weighs_amounts] > 0).mean(axis=0) - 0.5) < 4 * 0.5 / np.sqrt(1900)
    ).all()
    again = goals.random(measurement_vector, tf.constant(4000), tf.constant([1, 2])).numpy()
    assert (again == goal).all()
    other = goals.random(measurement_vector, tf.constant(4000), tf.constant([1, 3])).numpy()
    assert (other != goal).any(axis=1).all()


def test_a_zero_goal_stays_zero():
    goal = goals.normalise(tf.constant([[3.0, 4.0], [0.0, 0.0]])).numpy()
    np.testing.assert_allclose(goal, [[0.6, 0.8], [0.0, 0.0]])


@pytest.mark.parametrize("unit", [2.0**-70, 2.0**-27, 2.0**70])
def test_a_goal_over_tiny_or_huge_units(unit):
    measurement_vector = measured("click@0", "watch@0..", "watch@1..")
    measurement_vector.std.assign([0.5, 10.0 * unit, 5.0 * unit])
    goal = goals.named(measurement_vector, {"watch@0..": 0.3, "watch@1..": 0.8})
    np.testing.assert_allclose(goal, [0, 0.6, 0.8], rtol=1e-6)
    # A weight may be as large as its unit is small.
    goal = goals.named(measurement_vector, {"click@0": 6.0, "watch@0..": 0.4 / unit})
    np.testing.assert_allclose(goal, [0.6, 0.8, 0], rtol=1e-6)


def test_a_weight_may_be_in_scientific_notation_and_a_term_subtracted():
    _, weights = goals.parse("a = 1e8*watch@0 - 2.5e-3*exit@0 + 1E+2*mean(click) -.5*step@1..")
    assert weights == {"watch@0": 1e8, "exit@0": -0.0025, "mean(click)": 100, "step@1..": -0.5}


def test_a_measurement_is_weighed_once():
    with pytest.raises(ValueError, match="weighs 'click@0' twice"):
        goals.parse("a = 1*click@0 + 2*click@0")


def test_the_name_of_a_goal_is_checked():
    with pytest.raises(UserError, match="goal name 'a/b'"):
        goals.parse("a/b = 1*click@0")
