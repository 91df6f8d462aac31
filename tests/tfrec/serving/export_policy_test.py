"""Policies as SavedModels: inputs and outputs, and rejected policies."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import tf_policy
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step, time_step

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.serving import export, export_policy, files, loaded, manifest, numbered, warmup
from tfrec.serving import policy as policy_lib

WEIGHT = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]], np.float32)
ACTION = tensor_spec.BoundedTensorSpec([2], tf.float32, -100.0, 100.0, "action")


class Linear(tf_policy.TFPolicy):
    """action = observation . WEIGHT, and what a test adds to it."""

    def __init__(self, action=ACTION, state=(), observation=None, of_step=None):
        observation = observation or tf.TensorSpec([3], tf.float32, "observation")
        super().__init__(
            time_step.time_step_spec(observation), action, policy_state_spec=state, name="line"
        )
        self.weight = tf.Variable(WEIGHT)
        self.of_step = of_step

    def _variables(self):
        return [self.weight]

    def _action(self, time_step, policy_state, seed):
        action = tf.matmul(time_step.observation, self.weight)
        if self.of_step is not None:
            action += self.of_step(time_step)[:, None]
        if self.action_spec.dtype.is_integer:
            action = tf.argmax(action, axis=1, output_type=tf.int32)
        return policy_step.PolicyStep(action, policy_state, ())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    about = manifest.Metadata("liner", {"seed": 3}, {"reward": 2.5}, ("A line.",))
    folder = tmp_path_factory.mktemp("policies")
    return export_policy.export(Linear(), folder, metadata=about)


@pytest.fixture(scope="module")
def policy(exported):
    return loaded.ExportedPolicy(exported)


def test_a_request_is_an_observation(policy):
    assert policy.act([[1, 2, 3], [0, 0, 1]]).tolist() == [[7, -1], [2, -1]]
    signature = tf.saved_model.load(str(policy.version)).signatures["serving_default"]
    assert set(signature.structured_input_signature[1]) == {"observation"}


def test_candidates_come_in_the_order_of_their_inner_products(policy):
    # The action is (7, -1): inner products 7, -1, 6, 7. The first of equal ones comes first.
    vectors = [[[1, 0], [0, 1], [1, 1], [1, 0]]]
    ranked = policy.choose([[1, 2, 3]], vectors)
    assert ranked.action.tolist() == [[7, -1]]
    assert ranked.position.tolist() == [[0, 3, 2, 1]]
    assert ranked.score.tolist() == [[7, 7, 6, -1]]


@pytest.mark.parametrize(
    "observation, candidates, message",
    [
        ([[1, np.nan, 0]], None, "observation must be finite"),
        ([[1, np.inf, 0]], None, "observation must be finite"),
        ([[1, 2]], None, "observation must have 3 numbers a row"),
        ([1, 2, 3], None, r"observation: shape \[3\]; expected \[None, None\]"),
        ([[1, 2, 3]], [[[1, np.nan]]], "candidates must be finite"),
        ([[1, 2, 3]], [[[1, 2, 3]]], "a row of vectors of 2 numbers for each observation"),
        ([[1, 2, 3]], [[[1, 2]]] * 2, "a row of vectors of 2 numbers for each observation"),
        ([[1, 2, 3]], np.zeros((1, 0, 2)), "at least one vector"),
        ([[1, 2, 3]], [[[3e38, 0]]], "candidates are too large"),
    ],
)
def test_bad_requests_are_rejected_with_a_message(policy, observation, candidates, message):
    with pytest.raises(errors.UserError, match=message):
        if candidates is None:
            policy.act(observation)
        else:
            policy.choose(observation, candidates)


def test_manifest_card_and_warm_up(exported):
    said = files.open_manifest(exported)
    assert (said["kind"], said["observation"]) == ("policy", {"observation": [3]})
    assert said["action"] == {
        "dtype": "float32", "shape": [2], "minimum": -100.0, "maximum": 100.0,
    }  # fmt: skip
    assert set(said["signatures"]) == {"act", "choose"}
    assert set(said["signatures"]["choose"]["outputs"]) == {"action", "position", "score"}
    card = (exported / "model_card.md").read_text()
    for text in ("# liner, version 1", "of `observation` [3], an", "reward: 2.5", "A line."):
        assert text in card
    logged = warmup.read(exported)
    assert sorted(name for name, _ in logged) == sorted(
        2 * ["act", "choose", "serving_default"]
    )


def test_whole_numbers_choose_no_candidates(tmp_path):
    spec = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 1)
    version = export_policy.export(Linear(spec), tmp_path)
    policy = loaded.ExportedPolicy(version)
    assert policy.act([[1, 2, 3], [0, 5, 0]]).tolist() == [0, 1]
    with pytest.raises(errors.UserError, match="no signature 'choose'"):
        policy.choose([[1, 2, 3]], [[[1, 0]]])


def test_an_action_without_bounds_may_overflow(tmp_path):
    version = export_policy.export(Linear(tf.TensorSpec([2], tf.float32)), tmp_path)
    assert "minimum" not in files.open_manifest(version)["action"]
    with pytest.raises(errors.UserError, match="the action is not finite"):
        loaded.ExportedPolicy(version).act([[3e38, 0, 3e38]])


class Nearest(tf.Module):
    """A SavedModel's `act`: the two candidates that the observation points at."""

    def __init__(self):
        super().__init__()
        self.length = tf.Variable(2.0)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, "observation"),
            tf.TensorSpec([None, 4, 3], tf.float32, "candidates"),
        ]
    )
    def act(self, observation, candidates):
        return tf.math.top_k(tf.linalg.matvec(candidates, self.length * observation), 2)[1]


def test_a_saved_policy_is_exported_with_all_that_it_observes(tmp_path):
    tf.saved_model.save(Nearest(), str(tmp_path / "nearest"))
    saved = policy_lib.SavedPolicy(tmp_path / "nearest")
    version = export_policy.export(saved, tmp_path / "export")
    said = files.open_manifest(version)
    assert said["observation"] == {"observation": [3], "candidates": [4, 3]}
    assert said["action"] == {"dtype": "int32", "shape": [2]}
    policy = loaded.ExportedPolicy(version)
    vectors = np.eye(4, 3)[None] * [[[1], [2], [3], [4]]]
    assert policy.act([[1, 1, 1]], candidates=vectors).tolist() == [[2, 1]]
    for given, message in (
        ({"candidates": vectors[:, :3]}, r"shape \[1, 3, 3\]; expected \[None, 4, 3\]"),
        ({"candidates": vectors * np.nan}, "candidates must be finite"),
        ({"candidates": np.tile(vectors, (2, 1, 1))}, "as many rows as the others"),
        ({}, "act was given observation; expected observation, candidates"),
    ):
        with pytest.raises(errors.UserError, match=message):
            policy.act([[1, 1, 1]], **given)
    with pytest.raises(errors.UserError, match="nothing: no saved policy"):
        policy_lib.SavedPolicy(tmp_path / "nothing")


def test_a_policy_of_weights_that_are_not_finite_is_rejected(tmp_path):
    class Scaled(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable([1.0, np.inf])

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "observation")])
        def act(self, observation):
            return observation * self.scale

    tf.saved_model.save(Scaled(), str(tmp_path / "scaled"))
    with pytest.raises(errors.UserError, match="scaled: 1 of 2 numbers of .* are NaN or inf"):
        policy_lib.SavedPolicy(tmp_path / "scaled")


class Noisy(Linear):
    def _action(self, time_step, policy_state, seed):
        step = super()._action(time_step, policy_state, seed)
        return step._replace(action=step.action + tf.random.uniform(tf.shape(step.action)))


@pytest.mark.parametrize(
    "policy, message",
    [
        (lambda: Linear(state=tf.TensorSpec([1], tf.float32)), "'line' has a memory"),
        (lambda: Linear(observation={"x": tf.TensorSpec([3], tf.int32)}), "'line' observes"),
        (lambda: Linear(observation=tf.TensorSpec([3, 1], tf.float32)), "one float32 vector"),
        (lambda: Linear(observation=tf.TensorSpec([3], tf.int32)), "one float32 vector"),
        (lambda: Linear(action=(ACTION, ACTION)), "2 actions in one"),
        (Noisy, "acts differently each time"),
        (lambda: Linear(of_step=lambda step: step.reward), "reward, discount or step type"),
        (lambda: Linear(of_step=lambda step: step.reward * np.nan), "not finite"),
    ],
)
def test_policies_that_cannot_be_exported(policy, message, tmp_path):
    with pytest.raises(errors.UserError, match=message):
        export_policy.export(policy(), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_model_that_is_not_the_policy_is_rejected(tmp_path, monkeypatch):
    ask = export_policy.policy_lib.PolicyModel.act
    monkeypatch.setattr(
        export_policy.policy_lib.PolicyModel,
        "act",
        lambda self, observation: {"action": ask(self, observation)["action"] + 0.01},
    )
    with pytest.raises(errors.UserError, match="not the policy: .*actions differ by 0.01"):
        export_policy.export(Linear(), tmp_path)
    assert numbered.versions(tmp_path) == []


def test_versions_are_kept_apart_and_never_written_over(exported, tmp_path):
    with pytest.raises(errors.UserError, match="1: this version exists"):
        export_policy.export(Linear(), exported.parent, version=1)
    with pytest.raises(errors.UserError, match="of the kind policy, and this is a ranker"):
        export.export(fake_ranker.FakeRanker(), exported.parent)
    with pytest.raises(errors.UserError, match="an exported policy; expected a ranker"):
        loaded.ExportedModel(exported)
    for observations, message in (
        ({"observation": np.zeros((1, 2))}, r"is \[1, 2\]; expected finite \['any', 3\]"),
        ({"observation": np.full((1, 3), np.nan)}, "expected finite"),
        ({"state": np.zeros((1, 3))}, "observations of state; expected observation"),
    ):
        with pytest.raises(errors.UserError, match=message):
            export_policy.export(Linear(), tmp_path / "x", observations=observations)
    assert numbered.versions(exported.parent) == [1]
