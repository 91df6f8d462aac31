"""The registry: every method is made, learns, acts, is saved and loaded unchanged."""

import dataclasses
import json

import numpy as np
import pytest

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec import errors, types
from tfrec.data import storage
from tfrec.environments import player, user_models, users, worlds
from tfrec.methods import registry
from tfrec.training import checkpoint

pytestmark = pytest.mark.slow

SMALL = {
    "embedding": 4, "frozen_embedding": 2, "units": 6, "state": 8, "goal_units": 4,
    "stream": 8, "hidden": 8, "item_vector": 4, "batch": 16, "replay_sessions": 128,
    "sessions_per_round": 32, "updates_per_round": 2, "log_rounds": 1, "play_rounds": 1,
}  # fmt: skip


def small(method, **fields):
    """Returns a small configuration of a method."""
    names = {field.name for field in dataclasses.fields(method.config)}
    return method.config(**{k: v for k, v in (SMALL | fields).items() if k in names})


@pytest.fixture(scope="module")
def data(embedded_data):
    return storage.PreparedData.open(embedded_data)


@pytest.fixture(scope="module")
def log(data):
    return data.episodes("train")


@pytest.fixture(scope="module")
def world(data):
    return worlds.load(worlds.TRUTH, data)


def make(name, data, log, world, **fields):
    method = registry.get(name)
    config = small(method, **fields)
    vectors = registry.item_vectors(method, config, log, data.spec)
    return config, method.make(config, data.spec, log, world, vectors, seed=3)


def played(world, policy, starts):
    return player.Player(users.UserEnvironment(world), policy).play(starts, seed=5).item


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names(registry.LOG))
def test_a_method_learns_is_saved_and_loaded(name, data, log, world, tmp_path):
    config, learner = make(name, data, log, world)
    assert learner.total_iterations == (1 if name == "goalrec_off" else 2)
    before = checkpoint.named_variables(learner).keys()
    for iteration in range(learner.total_iterations):
        numbers = learner.advance()
        assert int(learner.iteration) == iteration + 1
        assert ("play/reward_clicks" in numbers) == (iteration == 1)
    assert checkpoint.named_variables(learner).keys() == before  # no new variables
    folder = tmp_path / "agent"
    about = {"data": data.fingerprint, "seed": 3}
    registry.get(name).trained(config, data.spec, learner, data.vocabulary, about).save(folder)
    agent = registry.load(folder)
    assert agent.spec == data.spec
    assert agent.vocabulary.items.tolist() == data.vocabulary.items.tolist()
    assert agent.about["data"] == data.fingerprint
    starts = types.rows(user_models.starts_of(log), np.s_[:40])
    goal = next(iter(agent.named_goals.values()))
    now = played(world, learner.policy(), starts)
    np.testing.assert_array_equal(played(world, agent.policy(goal), starts), now)
    assert len(np.unique(now)) > 1  # the policy shows several items


@pytest.mark.parametrize("name", registry.names(registry.LOG))
def test_a_space_is_of_the_configuration(name):
    method = registry.get(name)
    fields = {field.name for field in dataclasses.fields(method.config)}
    fitted = {"learning_rate", "embedding", "batch"}
    assert method.space.keys() <= fields
    assert name == "item_counts" or fitted <= method.space.keys()  # counts are not fitted
    for field, choices in method.space.items():
        assert len(set(choices)) == len(choices) > 1, field
        for choice in choices:
            dataclasses.replace(method.config(), **{field: choice})


def test_what_goalrec_rejects_names_its_field(data, log, world):
    for field, value in (("measurements", ("clicks@0",)), ("goals", ("a = 1*click@9",))):
        with pytest.raises(ValueError, match=f"^{field}: "):
            make("goalrec", data, log, world, **{field: value})


def test_mistakes_are_messages(tmp_path):
    with pytest.raises(errors.UserError, match="no method 'sarsa'; there are .*wide_and_deep"):
        registry.get("sarsa")
    with pytest.raises(errors.UserError, match="no trained agent here"):
        registry.load(tmp_path)
    (tmp_path / "method.json").write_text("{")
    with pytest.raises(errors.UserError, match="not readable as JSON"):
        registry.load(tmp_path)
    (tmp_path / "method.json").write_text(json.dumps({"method": "dien"}))
    with pytest.raises(errors.UserError, match="damaged: no config, spec, about"):
        registry.load(tmp_path)
