"""IMRL's agent as a SavedModel: mean actions of batches, single rows and the server."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfimrl import agent as imrl
from tfimrl import config
from tfrec import errors
from tfrec.serving import export_policy, loaded, server, service, versions

OBSERVATION, ACTION = 6, 3


@pytest.fixture(scope="module")
def agent():
    """An untrained agent."""
    small = config.ImrlConfig(hidden=(16, 16), batch=8)
    return imrl.ImrlAgent(small, OBSERVATION, ACTION, seed=2, jit_compile=False)


@pytest.fixture(scope="module")
def version(agent, tmp_path_factory):
    return export_policy.export(agent.policy, tmp_path_factory.mktemp("imrl"))


@pytest.fixture(scope="module")
def inputs():
    random = np.random.default_rng(5)
    observation = random.normal(size=(20, OBSERVATION)).astype(np.float32)
    return observation, random.normal(size=(20, 9, ACTION)).astype(np.float32)


def test_the_saved_model_is_the_agent_together_and_one_by_one(agent, version, inputs):
    observation, candidates = inputs
    policy = loaded.ExportedPolicy(version)
    expected = agent.act(tf.constant(observation)).numpy()
    assert np.ptp(expected, axis=0).min() > 0.1  # actions differ between observations
    np.testing.assert_allclose(policy.act(observation), expected, atol=1e-6)
    scores = np.einsum("bd,bmd->bm", expected, candidates)
    ranked = policy.choose(observation, candidates)
    np.testing.assert_array_equal(ranked.position, np.argsort(-scores, axis=1))
    np.testing.assert_allclose(ranked.score, -np.sort(-scores, axis=1), atol=1e-5)
    for row in range(len(observation)):
        alone = policy.choose(observation[row : row + 1], candidates[row : row + 1])
        np.testing.assert_allclose(alone.action[0], expected[row], atol=1e-6)
        assert alone.position[0].tolist() == ranked.position[row].tolist()


def test_it_is_served(agent, version, inputs):
    observation, candidates = inputs
    limits, plan = service.LimitsConfig(max_rows=32), versions.Plan("imrl")
    ports = server.ServerConfig(port=0, rest_port=0, poll_seconds=3600)
    with server.Server(version.parent, ports, limits, plan) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def ask(signature, **inputs):
                request = predict_pb2.PredictRequest()
                request.model_spec.name = "imrl"
                request.model_spec.signature_name = signature
                for name, value in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
                outputs = stub.Predict(request, timeout=60).outputs
                return {name: tf.make_ndarray(value) for name, value in outputs.items()}

            expected = agent.act(tf.constant(observation)).numpy()
            answer = ask("act", observation=observation)
            np.testing.assert_allclose(answer["action"], expected, atol=1e-6)
            answer = ask("choose", observation=observation, candidates=candidates)
            np.testing.assert_allclose(answer["action"], expected, atol=1e-6)
            assert answer["position"].shape == (20, 9)

            wrong = observation.copy()
            wrong[3, 1] = np.nan
            for bad_inputs, code, message in (
                ({"observation": wrong}, "INVALID_ARGUMENT", "observation must be finite"),
                ({"observation": wrong[:, :2]}, "INVALID_ARGUMENT", "6 numbers a row"),
                ({"observation": wrong[0]}, "INVALID_ARGUMENT", "shape .6."),
                ({"observation": np.tile(wrong, (2, 1))}, "RESOURCE_EXHAUSTED", "40 rows"),
                ({"observation": wrong, "reward": wrong}, "INVALID_ARGUMENT", "no input"),
            ):
                with pytest.raises(grpc.RpcError, match=message) as rejected:
                    ask("act", **bad_inputs)
                assert rejected.value.code().name == code


def test_a_non_finite_observation_is_rejected(version):
    policy = loaded.ExportedPolicy(version)
    for value in (np.nan, np.inf):
        with pytest.raises(errors.UserError, match="observation must be finite"):
            policy.act(np.full((1, OBSERVATION), value))


def test_only_the_greedy_policy_can_be_exported(agent, tmp_path):
    with pytest.raises(errors.UserError, match="'stochastic' acts differently each time"):
        export_policy.export(agent.collect_policy, tmp_path / "export")
    assert not (tmp_path / "export").exists()
