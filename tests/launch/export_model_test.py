"""launch.export_model, from an agent's folder to a version directory."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from launch import flags
from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.baselines.sequential import sasrec, trained
from tfrec.data import storage, vocabulary
from tfrec.methods import ranking, registry
from tfrec.serving import files, loaded, numbered, requests
from tfrec.serving import policy as policy_lib


def loaded_ranker(**about):
    """The fake ranker as it would be loaded from a folder."""
    agent = fake_ranker.FakeRanker()
    agent.about = {"data": "abc123", **about}
    agent.fingerprint, agent.method = "f00d", "goalrec"
    agent.contents = lambda: {"ids": {"items": "beef"}}
    return agent


@pytest.fixture(autouse=True)
def agents(monkeypatch):
    """Every folder except `nowhere` holds the fake ranker."""

    def load(directory):
        if directory == "nowhere":
            raise errors.UserError("nowhere: no agent here")
        return loaded_ranker(seed=4)

    monkeypatch.setattr(registry, "load", load)


def test_exports_with_metrics_and_never_over_a_version(tmp_path, capsys):
    results = tmp_path / "results.json"
    document = {
        "policies": {"goalrec": {"reward": {"mean": 3.5}}},
        "fingerprints": {"agents": {"goalrec": ["cafe", "f00d"]}},
    }
    results.write_text(json.dumps(document))
    out = tmp_path / "export"
    command = ["--agent=agent", f"--out={out}", "--name=shop"]
    assert flags.call("launch.export_model", [*command, f"--results={results}"]) == 0
    assert "verified" in capsys.readouterr().out
    manifest = files.open_manifest(out / "1")
    assert manifest["metrics"]["goalrec"]["reward"]["mean"] == 3.5
    assert manifest["name"] == "shop"
    assert manifest["fingerprint"] == "f00d"
    ids = {"items": "beef"}
    assert manifest["data"] == {"fingerprint": "abc123", "seed": 4, "ids": ids}

    assert flags.call("launch.export_model", [*command, "--version=1"]) == 2
    assert "this version exists" in capsys.readouterr().err
    assert numbered.versions(out) == [1]


class Policy(tf.Module):
    def __init__(self):
        super().__init__()
        self.factor = tf.Variable(-1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "observation")])
    def act(self, observation):
        return self.factor * observation


def test_a_policy_is_exported_with_its_results(tmp_path, capsys):
    tf.saved_model.save(Policy(), str(tmp_path / "policy"))
    results = tmp_path / "result.json"
    document = {"tests": {"port": {"ctr": 0.25}}, "fingerprints": {"policy": "another"}}
    results.write_text(json.dumps(document))
    command = [f"--policy={tmp_path / 'policy'}", f"--out={tmp_path / 'out'}"]
    assert flags.call("launch.export_model", [*command, f"--results={results}"]) == 2
    assert f"--results={results}: evaluated another, and not" in capsys.readouterr().err
    fingerprint = policy_lib.SavedPolicy(tmp_path / "policy").fingerprint
    document["fingerprints"]["policy"] = fingerprint
    results.write_text(json.dumps(document))
    assert flags.call("launch.export_model", [*command, f"--results={results}"]) == 0
    assert "verified against the policy" in " ".join(capsys.readouterr().out.split())
    policy = loaded.ExportedPolicy(tmp_path / "out" / "1")
    assert policy.manifest["metrics"] == {"port": {"ctr": 0.25}}
    assert policy.manifest["fingerprint"] == fingerprint
    assert policy.act([[1.0, -0.5]]).tolist() == [[-1.0, 0.5]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--agent=nowhere"], "nowhere: no agent here"),
        (["--agent=a", "--version=0"], "--version=0: version is 0; expected 1 to"),
        (
            ["--agent=a", "--table=int4"],
            "--table=int4: value should be one of <float32|bfloat16|int8>",
        ),
        (["--agent=a", "--results=none.json"], "--results=none.json: expected the results"),
        (["--agent=a", "--shortlist=5"], "shortlist 5: this agent's head is bilinear"),
        (["--agent=a", "--policy=b"], "give --agent or --policy"),
        (["--policy=b", "--table=int8"], "--table is for agents"),
        (["--policy=b", "--item_name=x"], "--item_name is for agents"),
        (["--policy=nowhere"], "nowhere: no saved policy"),
        (["--agent=a", "--data=none"], "none: no prepared data here"),
        ([], "--agent"),
    ],
)
def test_mistakes_are_messages_and_leave_nothing(arguments, message, tmp_path, capsys):
    out = tmp_path / "export"
    assert flags.call("launch.export_model", [*arguments, f"--out={out}"]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_card_has_the_items_without_training_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "load", lambda _: loaded_ranker(**{storage.UNTRAINED: 3}))
    out = tmp_path / "export"
    assert flags.call("launch.export_model", ["--agent=agent", f"--out={out}"]) == 0
    said = "3 of its 7 items stand in no stored training step."
    assert f"warning: {said}" in capsys.readouterr().err
    card = (out / "1" / "model_card.md").read_text()
    assert f"- {said}" in card and "- items without a training step: 3" in card


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """The folder of a SASRec at random weights."""
    config = sasrec.SasrecConfig(width=8, inner=8, length=4, blocks=1)
    net, rng = sasrec.Sasrec(config, 5, seed=1), np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    items = np.array(["lamp", "mug", "pen", "cup", "sofa"])
    ids = vocabulary.Vocabulary(vocabulary.Ids(items), vocabulary.Ids(np.arange(3)))
    folder = tmp_path_factory.mktemp("sequential") / "model"
    trained.TrainedSequence("sasrec", net, ids, {"data": "abc", "seed": 1}).save(folder)
    return folder


def test_a_sequential_model_is_exported_and_answers_as_it_does(
    sequential, tmp_path, monkeypatch
):
    monkeypatch.setattr(registry, "load", trained.load)
    out, agent = tmp_path / "export", trained.load(sequential)
    command = [f"--agent={sequential}", f"--out={out}"]
    assert flags.call("launch.export_model", command) == 0
    model = loaded.ExportedModel(out / "1")
    assert model.manifest["name"] == "sasrec"
    assert model.manifest["fingerprint"] == agent.fingerprint
    for history in ((), ("pen",), ("lamp", "sofa", "cup", "cup", "mug", "pen")):
        request = requests.Request(history, goal_name="score", exclude=("mug",), k=3)
        [answer] = model.rank([request])
        expected = agent.rank(
            ranking.checked_request(agent.vocabulary, agent.spec, history, exclude=["mug"], k=3)
        )
        assert tuple(answer.item) == expected.items
        assert answer.score == pytest.approx(np.array(expected.scores), abs=1e-5)


def test_options_of_other_agents_are_rejected_for_a_sequential_model(
    sequential, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(registry, "load", trained.load)
    command = [f"--agent={sequential}", f"--out={tmp_path / 'export'}", "--table=int8"]
    assert flags.call("launch.export_model", command) == 2
    assert "sasrec scores every item at once; expected --table and" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_the_export_has_the_names_of_its_items(sequential, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "load", trained.load)
    table = tmp_path / "items.csv"
    table.write_text("id,title,price\nmug,A mug,3\nlamp,<b>Lamp</b>,20\nchair,A chair,9\n")
    command = [f"--agent={sequential}", f"--out={tmp_path / 'export'}", f"--items={table}"]
    assert flags.call("launch.export_model", [*command, "--item_name=label"]) == 2
    assert f"{table}: no column 'label' of names; it has 'title', 'price'" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert flags.call("launch.export_model", command) == 2
    assert "nothing to show of the items" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()
    assert flags.call("launch.export_model", [*command, "--item_name=title"]) == 0
    described = loaded.ExportedModel(tmp_path / "export" / "1").descriptions
    names = [one.name for one in described.of(["lamp", "mug", "pen", "chair"])]
    assert names == ["<b>Lamp</b>", "A mug", None, None]


@pytest.mark.slow
def test_a_new_process_opens_any_folder_of_an_agent(sequential, tmp_path):
    command = [sys.executable, "-m", "launch.export_model", f"--agent={sequential}"]
    run = subprocess.run([*command, f"--out={tmp_path / 'export'}"], capture_output=True)
    assert run.returncode == 0, run.stderr
    code = f"import tfrec; print(tfrec.load({str(sequential)!r}).rank(['pen'], k=2).items)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    agent = trained.load(sequential)
    request = ranking.checked_request(agent.vocabulary, agent.spec, ["pen"], k=2)
    assert run.stdout == f"{agent.rank(request).items}\n"
