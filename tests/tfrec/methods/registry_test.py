"""Which fields a method declares about its configuration."""

import dataclasses

import numpy as np
import pytest

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec import types
from tfrec.methods import log_config, online_config, registry


def test_options_of_play_are_tuned_only_for_methods_that_play():
    plays, off = registry.get("goalrec").space, registry.get("goalrec_off").space
    assert plays.keys() - off.keys() == {"keep_log", "play_learning_rate"}
    assert off == {field: plays[field] for field in off}


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


@pytest.mark.parametrize(
    "form, base",
    [
        ("config", log_config.RoundsConfig),
        ("config", log_config.StateConfig),
        ("online", online_config.ReplaySizeConfig),
        ("online", online_config.RandomStartConfig),
    ],
)
def test_configurations_inherit_the_fields_that_others_read(form, base):
    """A field that is declared again, outside of its base, would not be read."""
    shared = {field.name for field in dataclasses.fields(base)}
    environments = (registry.LOG,) if form == "config" else ("recsim", "virtualtb")
    methods = [registry.get(name) for at in environments for name in registry.names(at)]
    for method in methods:
        config = method.config if form == "config" else method.online.config
        fields = {field.name for field in dataclasses.fields(config)}
        assert issubclass(config, base) or not fields & shared


def test_features_are_read_only_if_the_configuration_says_so():
    spec = types.DataSpec(
        num_users=1,
        num_items=3,
        history_length=2,
        max_steps=2,
        feedback=(types.FeedbackColumn("click", "binary", "click"),),
        item_features=types.FeatureSpec(values=5, slots=1),
    )
    made = []
    form = registry.get("rainbow").log_form._replace(
        learner=lambda config, spec, *_: made.append(spec.item_features)
    )
    method = registry.Method("planted", "Planted", form)
    for reads in (True, False):
        config = method.config(use_features=reads)
        method.make(config, spec, None, None, np.zeros([4, 16]), seed=0)
    assert made == [spec.item_features, None]
