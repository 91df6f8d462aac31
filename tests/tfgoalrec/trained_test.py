"""A trained agent's folder: saving, loading, and errors of damaged folders."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.tfgoalrec import small
from tfgoalrec import trained
from tfrec.environments import contract
from tfrec.errors import UserError


@pytest.fixture(scope="module", params=["bilinear", "mlp"])
def saved(request, tmp_path_factory):
    made = small.agent(
        advantage=request.param,
        measurements=(),
        goals=("clicks = 1*click@0 + 0.5*click@1..3", "stay = 1*step@1.. + -2*exit@0"),
    ).trained(small.ids(), {"data": "a log", "seed": 3})
    folder = tmp_path_factory.mktemp("agent")
    made.save(folder)
    return made, folder


@pytest.fixture
def folder(tmp_path):
    small.agent().trained(small.ids(), {}).save(tmp_path)
    return tmp_path


def test_the_loaded_agent_scores_as_the_saved_one(saved):
    made, folder = saved
    opened = trained.load(folder)
    observation, goal = small.observations(9), small.unit_goals(9, made.measurements.dim)
    saved_scores, loaded_scores = (
        agent.world_model.scores(agent.world_model.encode(observation, goal), goal).numpy()
        for agent in (made, opened)
    )
    np.testing.assert_array_equal(saved_scores, loaded_scores)
    for name in ("mean", "std", "item_embedding"):
        np.testing.assert_array_equal(
            getattr(made.measurements, name), getattr(opened.measurements, name)
        )
    assert opened.measurements.names == made.measurements.names
    assert opened.config == made.config
    assert opened.spec == made.spec
    assert opened.about == {"data": "a log", "seed": 3, "updates": 0}
    assert opened.vocabulary.items.tolist() == made.vocabulary.items.tolist()


def test_a_goal_that_ranks_nothing_is_rejected(tmp_path):
    made = small.agent(far_windows="exit", goals=("now = 1*click@0",))
    made.named_goals["taste"] = np.ones(made.measurements.dim, np.float32)
    made.trained(small.ids(), {}).save(tmp_path)
    message = r"agent.json: goal 'taste' weighs mean\(click\), embedding.*far_windows=exit"
    with pytest.raises(UserError, match=message):
        trained.load(tmp_path)


def test_the_named_goals_are_saved(saved):
    made, folder = saved
    opened = trained.load(folder)
    assert list(opened.named_goals) == ["clicks", "stay"]  # the first is the target
    for name, goal in made.named_goals.items():
        np.testing.assert_allclose(opened.goal(name), goal, rtol=1e-6)
        assert np.linalg.norm(goal) == pytest.approx(1.0)
    with pytest.raises(UserError, match="no goal 'money'; the agent has clicks, stay"):
        opened.goal("money")


def test_the_policy_is_greedy_among_allowed_items(saved):
    made, _ = saved
    observation, goal = small.observations(9), made.goal("clicks")
    goals = tf.constant(np.tile(goal, (9, 1)))
    scores = made.world_model.scores(made.world_model.encode(observation, goals), goals).numpy()
    timestep = contract.history_timestep(observation, tf.constant([0, 0]))
    first = scores.argmax(axis=1)
    np.testing.assert_array_equal(made.policy(goal)(timestep), first[:, None])
    blocked = np.eye(6, dtype=bool)[first]
    second = np.where(blocked, -np.inf, scores).argmax(axis=1)
    timestep = timestep._replace(blocked=tf.constant(blocked))
    np.testing.assert_array_equal(made.policy(goal)(timestep), second[:, None])


def test_saving_again_replaces(folder):
    other = small.agent(seed=5).trained(small.ids(), {"run": 2})
    other.save(folder)
    opened = trained.load(folder)
    assert opened.about["run"] == 2
    np.testing.assert_array_equal(
        opened.world_model.item_embedding, other.world_model.item_embedding
    )


def test_a_folder_without_an_agent(tmp_path):
    with pytest.raises(UserError, match="no trained agent here .*launch.train"):
        trained.load(tmp_path / "nowhere")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "pattern",
    ["agent.json", "checkpoint/**/manifest.json", "checkpoint/**/*.npz", "vocabulary_items*"],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damage_is_named(folder, pattern, damage):
    (path,) = folder.glob(pattern)
    cut(path) if damage == "cut" else path.unlink()
    with pytest.raises(UserError) as caught:
        trained.load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("field", ["config", "spec", "measurements", "goals"])
def test_an_agent_json_without_a_field_is_named(folder, field):
    path = folder / "agent.json"
    about = json.loads(path.read_text())
    del about[field]
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=rf"agent.json.*{field}"):
        trained.load(folder)


def test_widths_that_differ_from_the_weights_are_rejected(folder):
    path = folder / "agent.json"
    about = json.loads(path.read_text())
    about["config"]["stream"] += 1
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"value_net/0/bias has shape \[8\] saved, \[9\]"):
        trained.load(folder)


def test_weights_that_are_not_finite_leave_the_saved_agent_unchanged(folder):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    made = small.agent()
    variable = made.averaged.variables[0]
    variable.assign(variable * np.nan)
    with pytest.raises(UserError, match=f"{folder}: not written: .* are NaN or infinite"):
        made.trained(small.ids(), {}).save(folder)
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
