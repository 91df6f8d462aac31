"""Controls that permit only some environments say so."""

import pytest

from tests.tfrec.environments import embedded_test, restricted_test
from tfrec.environments import controls, users
from tfrec.errors import UserError


def test_a_constant_item_is_rejected_where_items_may_not_repeat():
    world = restricted_test.Catalogue([0.5, 0.4], [0.0, 0.0], steps=2, repeats=False)
    environment = users.UserEnvironment(world)
    with pytest.raises(UserError, match="shown once in a session of these users"):
        controls.ConstantItem().policy(None, environment, seed=0)


def test_lists_and_constant_items_are_no_standard_controls():
    world, _ = embedded_test.world()
    assert controls.names(controls.is_solvable(world)) == (
        "random",
        "popularity",
        "myopic",
        "optimum",
    )
    assert {"fixed_list", "constant_item"} <= set(controls.CONTROLS)
