"""launch.train: a method in a live simulator, resumed, evaluated and saved."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfimrl  # noqa: F401  registers IMRL
import tfrec
from launch import flags
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.serving import files

pytestmark = pytest.mark.slow

TINY = (
    "--hidden=8", "--batch=16", "--sessions=8", "--rollout_steps=4", "--updates=2",
    "--total_iterations=4", "--warm_up=40", "--test_every=2", "--test_sessions=8",
    "--final_sessions=20", "--save_every=1",
)  # fmt: skip
MASK = ("--mask_units=8", "--mask_batch=8", "--mask_updates=1", "--mask_warm_up=1")


def train(*arguments):
    return flags.call("launch.train", arguments)


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def command():
    return ("--environment=recsim", "--method=imrl", *TINY, *MASK)


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("imrl") / "run"
    assert train(*command, f"--out={out}") == 0
    return out


def test_the_output_of_a_run(run, capsys):
    metrics = rows(run)
    assert [row["iteration"] for row in metrics] == [1, 2, 3, 4]
    assert [row["steps"] for row in metrics] == [32, 64, 96, 128]
    assert ["evaluate/ctr" in row for row in metrics] == [False, True, False, True]
    assert metrics[0]["q_loss"] == 0 and metrics[1]["q_loss"] > 0  # learning from 40 steps on
    for name in ("informative", "augmented", "threshold", "reward_error", "batch_share"):
        assert f"augmentation/{name}" in metrics[0]
    assert metrics[3]["empowerment"] != 0
    assert list((run / "tensorboard").iterdir())
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 128 and result["method"] == "imrl"
    assert 100 < result["tests"]["port"]["reward"] < 250


def test_the_policy_stands_alone(run):
    policy = tf.saved_model.load(str(run / "policy"))
    candidates = tf.one_hot(np.arange(30).reshape(3, 10) % 20, 20)
    action = policy.act(tf.zeros([3, 41]), candidates)
    assert action.shape == [3, 2] and action.dtype == tf.int32
    # No replay among what it keeps: 41 x 8 and 8 x 40 weights, and their biases.
    assert sum(np.prod(weight.shape) for weight in policy.weights) == 41 * 8 + 8 + 8 * 40 + 40


def test_the_policy_is_exported_with_its_final_test(run, tmp_path):
    command = [f"--policy={run / 'policy'}", f"--results={run / 'result.json'}"]
    assert flags.call("launch.export_model", [*command, f"--out={tmp_path / 'out'}"]) == 0
    exported = files.open_manifest(tmp_path / "out" / "1")
    tests = json.loads((run / "result.json").read_text())["tests"]
    assert exported["metrics"] == tests and "port" in tests


def test_a_stopped_run_ends_with_the_same_weights(command, run, tmp_path):
    out = tmp_path / "run"
    assert train(*command, f"--out={out}") == 0
    for iteration in (3, 4):  # as if it had been stopped after the second iteration
        for file in (out / "checkpoints" / f"ckpt-{iteration}").iterdir():
            file.unlink()
        (out / "checkpoints" / f"ckpt-{iteration}").rmdir()
    assert train(*command, f"--out={out}") == 0
    assert rows(out) == rows(run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--environment=recsim", "--method=imrls"), "no method 'imrls'"),
        (("--environment=virtualtb", "--method=imrl"), "--virtualtb_path"),
        (
            ("--environment=recsim", "--method=imrl", "--refined=10"),
            "refined is 10; expected 1, unless slates have one item",
        ),
        (("--environment=recsim", "--method=imrl", "--vectors=viewers"), "shows no views"),
        (("--environment=recsim", "--method=imrl", "--partner=best"), "--partner=best"),
        (
            ("--environment=recsim", "--method=imrl", "--total_iterations=0"),
            "--total_iterations=0",
        ),
        (("--environment=recsim", "--method=imrl", "--slate=11"), "slate=11"),
        (
            ("--environment=recsim", "--method=imrl", "--original_sessions=5"),
            "--original_sessions=5: the original of recsim",
        ),
    ],
)
def test_mistakes(tmp_path, capfd, arguments, message):
    assert train(*arguments, f"--out={tmp_path / 'out'}") == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_configuration_is_rejected(command, run, capfd):
    assert train(*command, f"--out={run}", "--discount=0.5") == 2
    assert "discount: was 0.9995, is now 0.5" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["imrl_ea", "sac"])
def test_recogym(tmp_path, method):
    views = ("--vector_width=3", "--vector_sessions=40")
    vectors = views if method == "imrl_ea" else ("--vectors=own",)
    small = ("--environment=recogym", "--products=10", "--flips=5", f"--method={method}")
    assert train(*small, *TINY, *vectors, f"--out={tmp_path / 'run'}") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 <= result["tests"]["port"]["ctr"] < 0.1
    # The sessions that item vectors came from are part of the run.
    assert (rows(tmp_path / "run")[0]["sessions"] >= 40) == (method == "imrl_ea")
    policy = tf.saved_model.load(str(tmp_path / "run" / "policy"))
    assert policy.act(tf.zeros([3, 30])).shape == [3, 1]


def test_virtual_taobao(tmp_path):
    folder = pathlib.Path(os.environ.get("TFREC_DATA", "")) / "virtualtb"
    if "TFREC_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("TFREC_DATA has no folder virtualtb")
    where = (
        "--environment=virtualtb",
        f"--virtualtb_path={folder}",
        f"--out={tmp_path / 'run'}",
    )
    assert train(*where, "--method=imrl", "--partner=nearest", *TINY, *MASK,
                 "--neighbours=4", "--pool=16", "--augmentation=learned",
                 "--threshold_ramp=0.5") == 0  # fmt: skip
    metrics = rows(tmp_path / "run")
    assert metrics[0]["augmentation/threshold"] < metrics[-1]["augmentation/threshold"] == 10
    policy = tf.saved_model.load(str(tmp_path / "run" / "policy"))
    action = policy.act(tf.zeros([3, 91]))
    assert action.shape == [3, 27] and np.abs(action).max() <= 1


GYM = ("--environment=gymnasium", "--gym_module=tests.tfrec.environments.adapters.gym_envs")


@pytest.mark.slow
def test_a_gymnasium_environment_and_a_resumed_run(tmp_path, caplog):
    pytest.importorskip("gymnasium", reason="the package gymnasium is not installed")
    out = tmp_path / "run"
    # Sessions of 4 steps, which the rollouts of 3 steps leave under way.
    command = (*GYM, "--gym_id=Limited-v0", "--method=ddpg", *TINY, "--rollout_steps=3")
    assert train(*command, f"--out={out}") == 0
    first = rows(out)
    assert first[-1]["evaluate/steps"] == 4 and "begin anew" not in caplog.text
    for file in (out / "checkpoints" / "ckpt-4").iterdir():
        file.unlink()
    (out / "checkpoints" / "ckpt-4").rmdir()
    assert train(*command, f"--out={out}") == 0
    assert caplog.text.count("sessions that were under way begin anew") == 1
    assert rows(out)[:3] == first[:3] and rows(out)[3]["iteration"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "gym_id is empty"),
        (("--gym_id=Nothing-v0",), "gym_id=Nothing-v0: "),
        (("--gym_id=SumMixed-v0",), "expected k times the same number n of items"),
        (("--gym_id=SumBox-v0", "--gym_steps=0"), "--gym_steps=0"),
        (("--gym_id=FailingRaises-v0",), "ZeroDivisionError: no dealer"),
        (("--gym_id=SumBox-v0", "--method=slateq"), "recommends items"),
        (("--gym_id=SumSlate-v0", "--method=deers"), "deers learns in"),
    ],
)
def test_mistakes_with_gymnasium(tmp_path, capfd, arguments, message):
    pytest.importorskip("gymnasium", reason="the package gymnasium is not installed")
    out = f"--out={tmp_path / 'out'}"
    assert train(*GYM, "--method=reinforce", *arguments, out) == 2
    assert message in capfd.readouterr().err


def test_a_method_learns_with_simulated_users_of_a_log(tmp_path, capsys):
    data = tmp_path / "data"
    prepare = ("--source=embedded", "--embedded_num_users=60", "--embedded_num_items=30")
    steps = ("--max_steps=6", "--history_length=5")
    assert flags.call("launch.prepare_data", (*prepare, *steps, f"--out={data}")) == 0
    command = (
        "--environment=users",
        "--method=imrl",
        f"--data={data}",
        "--item_width=6",
        *TINY,
    )
    assert train(*command, f"--out={tmp_path / 'run'}") == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    evaluated = {name: numbers["reward"] for name, numbers in result["tests"].items()}
    assert evaluated["random"] < evaluated["optimum"] and set(evaluated) == {
        "port", "random", "popularity", "myopic", "optimum",
    }  # fmt: skip
    assert "Optimum: ctr" in capsys.readouterr().out
    policy = tf.saved_model.load(str(tmp_path / "run/policy"))
    assert set(result["inputs"]) == {"data", "world"}
    width = policy.act.concrete_functions[0].structured_input_signature[0][0].shape[1]
    assert policy.act(tf.zeros([3, width])).shape == [3, 1]

    agent = tfrec.load(tmp_path / "run/agent")
    items = storage.PreparedData.open(data).vocabulary.items.tolist()
    best = agent.rank(history=items[:3], feedback={"click": [1, 0, 1]}, k=30)
    assert sorted(best) == sorted(items) and best.scores[:2] == (30.0, 29.0)
    assert (
        agent.rank(items[:3], {"click": [1, 0, 1]}, exclude=[best.items[0]], k=4).items
        == (best.items[1:5])
    )
    assert agent.rank(items[:3], candidates=items[5:7]).items in (
        tuple(items[5:7]), tuple(items[6:4:-1])
    )  # fmt: skip
    with pytest.raises(UserError, match="ranks for the reward alone"):
        agent.rank(items[:3], goal="click")
    evaluate = ("--world=truth", f"--data={data}", "--max_users=6", f"--out={tmp_path / 'e'}")
    agents = f"--agents=imrl={tmp_path / 'run/agent'}"
    assert flags.call("launch.evaluate", (*evaluate, agents)) == 0
    assert "imrl" in json.loads((tmp_path / "e/results.json").read_text())["policies"]
    (tmp_path / "run/agent/policy/saved_model.pb").write_bytes(b"")
    with pytest.raises(UserError, match="policy: cannot be read"):
        tfrec.load(tmp_path / "run/agent")

    assert train("--environment=users", "--method=imrl", *TINY, f"--out={tmp_path / 'b'}") == 2
    assert "runs/data: no prepared data here" in capsys.readouterr().err
