"""Recommenders that no log can train."""

import pytest

import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec.errors import UserError
from tfrec.methods import recommender


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_fit_rejects_an_agent_of_a_simulator(name):
    loaded = recommender.of(name, {"hidden": [8]}, seed=0)
    with pytest.raises(UserError, match=f"agent of {name} cannot be trained with fit"):
        loaded.fit(None)
