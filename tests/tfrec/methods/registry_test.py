"""Which fields a method declares about its configuration."""

import dataclasses

import pytest

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec.methods import registry


@pytest.mark.parametrize(
    "name, fields, width",
    [
        ("rainbow", {"embedding": 24}, 24),
        ("item_counts", {}, 1),
        ("goalrec", {"embedding": 24, "frozen_embedding": 40}, 40),
        ("goalrec", {"embedding": 24, "frozen_embedding": 8}, 24),
    ],
)
def test_item_vectors_have_the_width_of_the_configuration(name, fields, width):
    method = registry.get(name)
    config = dataclasses.replace(method.config(), **fields)
    assert method.log_form.vector_width(config) == width


def test_item_counts_have_no_updates():
    method = registry.get("item_counts")
    fields = [field.name for field in dataclasses.fields(method.config)]
    assert "updates_per_round" not in fields
    assert method.updates_per_round(method.config()) == 0


@pytest.mark.parametrize("name", ["rainbow", "goalrec"])
def test_updates_are_those_of_the_configuration(name):
    method = registry.get(name)
    config = dataclasses.replace(method.config(), updates_per_round=7)
    assert method.updates_per_round(config) == 7


@pytest.mark.parametrize("name", registry.names(registry.LOG))
def test_fields_that_count_sessions_may_be_1(name):
    method = registry.get(name)
    fields = method.log_form.session_fields
    small = dataclasses.replace(method.config(), **dict.fromkeys(fields, 1))
    assert [getattr(small, field) for field in fields] == [1] * len(fields)
