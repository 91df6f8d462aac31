import dataclasses
import json
import random

import numpy as np
import pytest
import tensorflow as tf

from tfrec import errors
from tfrec.data import identity
from tfrec.options import option
from tfrec.training import run as runs


@dataclasses.dataclass(frozen=True)
class Config:
    units: tuple[int, ...] = option((4,), "widths")
    rate: float = option(0.1, "learning rate")


def test_a_run_keeps_configuration_seed_and_versions(tmp_path):
    run = runs.Run.open(tmp_path / "a" / "run", Config(), 7, {"data": "f00d"})
    saved = json.loads((run.directory / "config.json").read_text())
    assert saved["config"] == run.config == {"units": [4], "rate": 0.1}
    assert saved["seed"] == run.seed == 7 and saved["extra"] == {"data": "f00d"}
    assert saved["versions"]["tensorflow"] == tf.__version__
    assert saved["versions"]["tf-agents"] and saved["versions"]["tensorflow-recommenders"]
    assert [path.name for path in run.directory.iterdir()] == ["config.json"]  # no writer yet


def test_the_same_configuration_goes_on(tmp_path):
    runs.Run.open(tmp_path, Config(), 7)
    before = (tmp_path / "config.json").read_bytes()
    assert runs.Run.open(tmp_path, Config(), 7).config["rate"] == 0.1
    assert (tmp_path / "config.json").read_bytes() == before


def test_another_configuration_is_rejected_by_field(tmp_path):
    runs.Run.open(tmp_path, Config(), 7, {"data": "f00d"})
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(errors.UserError) as error:
        runs.Run.open(tmp_path, Config(units=(8,)), 8, {"data": "beef"})
    for line in (
        "config.units: was [4], is now [8]",
        "seed: was 7, is now 8",
        "extra.data: was 'f00d', is now 'beef'",
        f"{tmp_path} holds a run",
    ):
        assert line in str(error.value)
    assert "rate" not in str(error.value)
    assert (tmp_path / "config.json").read_bytes() == before


def test_inputs_are_compared_by_content_and_not_by_path(tmp_path):
    def inputs(path, fingerprint):
        return {"world": identity.Source(path, fingerprint)}

    first = runs.Run.open(tmp_path, Config(), 7, inputs=inputs("runs/world", "1234"))
    assert first.identity["inputs"] == {"world": "1234"}
    assert json.loads((tmp_path / "config.json").read_text())["inputs"] == {
        "world": {"path": "runs/world", "fingerprint": "1234"}
    }
    again = runs.Run.open(tmp_path, Config(), 7, inputs=inputs("/moved/world/", "1234"))
    assert again.identity == first.identity  # as are its checkpoints
    with pytest.raises(errors.UserError, match="world: was runs/world .* 1234, is now .* 5678"):
        runs.Run.open(tmp_path, Config(), 7, inputs=inputs("runs/world", "5678"))
    with pytest.raises(errors.UserError, match="world: was runs/world .* 1234, is now none"):
        runs.Run.open(tmp_path, Config(), 7)


def test_a_run_that_did_not_record_its_inputs_is_rejected(tmp_path):
    runs.Run.open(tmp_path, Config(), 7)
    path = tmp_path / "config.json"
    saved = json.loads(path.read_text())
    del saved["inputs"]
    path.write_text(json.dumps(saved))
    runs.Run.open(tmp_path, Config(), 7)  # it had none
    with pytest.raises(errors.UserError, match="data: their fingerprints were not recorded"):
        runs.Run.open(tmp_path, Config(), 7, inputs={"data": identity.Source("d", "1234")})


def test_other_versions_warn(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        runs.logging, "warning", lambda text, *values: said.append(text % values)
    )
    runs.Run.open(tmp_path, Config(), 7)
    path = tmp_path / "config.json"
    path.write_text(
        path.read_text().replace(f'"tensorflow": "{tf.__version__}', '"tensorflow": "1.15')
    )
    runs.Run.open(tmp_path, Config(), 7)
    assert len(said) == 1 and "tensorflow: was '1.15'" in said[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": '])
def test_a_folder_that_is_no_run_is_rejected(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(errors.UserError, match="config.json is not a run's configuration"):
        runs.Run.open(tmp_path, Config(), 7)


def test_a_folder_that_cannot_be_made_is_the_user_s_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.UserError, match="file/run"):
        runs.Run.open(tmp_path / "file" / "run", Config(), 7)


def test_what_is_built_is_seeded_before_in_python_numpy_and_tensorflow():
    def build():
        return random.random(), np.random.rand(), float(tf.random.uniform([]))

    def draws(seed):
        return runs.seeded(seed, build, deterministic=False)

    assert draws(1) == draws(1)
    assert all(a != b for a, b in zip(draws(1), draws(2), strict=True))
