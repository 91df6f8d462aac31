"""Files of torch weights: what is read, and all else rejected."""

import collections

import numpy as np
import pytest

from tests.tfrec.environments.ports import torch_files
from tests.tfrec.environments.ports.torch_files import Called, tensor
from tfrec import errors
from tfrec.environments.ports import torch_weights

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
BIAS = np.array([-1.0, 2.5], np.float32)


def written(path, state, magic=torch_weights.MAGIC, storages=None):
    storages = {"a": WEIGHT, "b": BIAS} if storages is None else storages
    return torch_files.write(path, state, storages, magic)


GOOD = {"0.weight": tensor("a", (2, 3), (3, 1)), "0.bias": tensor("b", (2,), (1,))}


def test_reads_each_tensor(tmp_path):
    loaded = torch_weights.read(written(tmp_path / "model.pt", GOOD))
    assert list(loaded) == ["0.weight", "0.bias"]
    np.testing.assert_array_equal(loaded["0.weight"], WEIGHT)
    np.testing.assert_array_equal(loaded["0.bias"], BIAS)
    assert loaded["0.bias"].dtype == np.float32


def test_a_file_that_would_run_something_runs_nothing(tmp_path):
    sign = tmp_path / "sign"
    state = {"0.weight": Called("os\nmkdir", str(sign))}
    with pytest.raises(errors.UserError, match=r"model\.pt: damaged.*names os\.mkdir"):
        torch_weights.read(written(tmp_path / "model.pt", state))
    assert not sign.exists()


def test_a_builtin_is_no_exception(tmp_path):
    state = {"0.weight": Called("builtins\nlist", ())}
    with pytest.raises(errors.UserError, match=r"names builtins\.list"):
        torch_weights.read(written(tmp_path / "model.pt", state))


@pytest.mark.parametrize(
    ("state", "storages", "says"),
    [
        ({"w": tensor("a", (3, 2), (1, 3))}, None, "not stored row by row"),
        ({"w": tensor("a", (2, 3), (3, 1), "DoubleStorage")}, None, "torch.DoubleStorage"),
        ({"w": "text"}, None, "w is no tensor"),
        ({"w": tensor("a", (4, 3), (3, 1))}, None, "reshape"),
        ({"w": tensor("z", (2, 3), (3, 1))}, None, "'z'"),
        ({"w": tensor("a", (1,), (1,))}, {"a": np.array([np.nan])}, "w has values"),
    ],
)
def test_what_is_not_read(tmp_path, state, storages, says):
    path = written(tmp_path / "model.pt", state, storages=storages)
    with pytest.raises(errors.UserError, match=says) as raised:
        torch_weights.read(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_any_cut_is_found(tmp_path):
    path = written(tmp_path / "model.pt", GOOD)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(errors.UserError, match=r"model\.pt: damaged"):
            torch_weights.read(path)


def test_noise_instead_of_a_file(tmp_path):
    path = tmp_path / "model.pt"
    rng = np.random.default_rng(0)
    for size in (1, 10, 1000):
        path.write_bytes(rng.bytes(size))
        with pytest.raises(errors.UserError, match=r"model\.pt: damaged"):
            torch_weights.read(path)


def test_other_formats(tmp_path):
    with pytest.raises(errors.UserError, match="does not start as such a file does"):
        torch_weights.read(written(tmp_path / "model.pt", GOOD, magic=5))
    (tmp_path / "zip.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(errors.UserError, match="a zip archive, as newer versions of torch"):
        torch_weights.read(tmp_path / "zip.pt")
    with pytest.raises(errors.UserError, match=r"gone\.pt: cannot be read: No such file"):
        torch_weights.read(tmp_path / "gone.pt")


def test_the_dictionary_is_an_ordered_one():
    assert (
        torch_weights._Reader.allowed["collections", "OrderedDict"] is collections.OrderedDict
    )
