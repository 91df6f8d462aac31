"""Reads the weights in a file of `torch.save` without torch and without running its code.

Such a file is a sequence of pickles, and a pickle may call any name. The reader accepts three
names: the dictionary, the tensor and its float32 storage. It rejects all others.
"""

import collections
import io
import pathlib
import pickle
from typing import Any, NamedTuple

import numpy as np

from tfrec import errors

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER, the first pickle
PROTOCOL = 1001  # torch.serialization.PROTOCOL_VERSION, the second


class _Storage(NamedTuple):
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stands in for `torch._utils._rebuild_tensor_v2`."""
    rowwise = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    if not isinstance(storage, _Storage) or tuple(strides) != rowwise or min(shape) < 1:
        raise pickle.UnpicklingError("a tensor that is not stored row by row")
    return _Tensor(storage, int(offset), tuple(shape))


class _Reader(pickle.Unpickler):
    allowed = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch", "FloatStorage"): "FloatStorage",
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not read")
        return self.allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, _, view = pid
        if (kind, storage, view) != ("storage", "FloatStorage", None):
            raise pickle.UnpicklingError("a storage that is not whole float32")
        return _Storage(str(key))


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict in the format of torch before 1.6, on little-endian.

    Args:
      path: a file written by `torch.save(model.state_dict(), path)`.

    Returns:
      Name -> float32 array, in the order of the file.

    Raises:
      errors.UserError: if the file cannot be read, is damaged or cut short, names anything
        but float32 tensors, or holds a value that is not finite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read: {error.strerror}") from error
    if data[:2] == b"PK":
        raise errors.UserError(
            f"{path}: a zip archive, as newer versions of torch write; expected the file as "
            "published (a sequence of pickles). Fetch it again, e.g. by git checkout."
        )
    try:
        tensors = _tensors(io.BytesIO(data))
    except Exception as error:  # a damaged pickle raises nearly anything
        raise errors.UserError(
            f"{path}: damaged, or no file of torch weights ({error}); expected it as "
            "published. Fetch it again, e.g. by git checkout."
        ) from error
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise errors.UserError(f"{path}: {name} has values that are not finite numbers")
    return tensors


def _tensors(file: io.BytesIO) -> dict[str, np.ndarray]:
    """Five pickles (magic, protocol, system, state dict, storage keys), then the storages.

    A storage is its length as int64 and its values.
    """
    if (_Reader(file).load(), _Reader(file).load()) != (MAGIC, PROTOCOL):
        raise pickle.UnpicklingError("it does not start as such a file does")
    if not _Reader(file).load()["little_endian"]:
        raise pickle.UnpicklingError("written on a big-endian machine")
    state_dict, keys = _Reader(file).load(), _Reader(file).load()
    storages = {}
    for key in keys:
        size = 4 * int.from_bytes(file.read(8), "little")
        stored = file.read(size)
        if len(stored) != size:
            raise pickle.UnpicklingError("it ends early")
        storages[key] = np.frombuffer(stored, "<f4")
    tensors = {}
    for name, tensor in state_dict.items():
        if not isinstance(tensor, _Tensor):
            raise pickle.UnpicklingError(f"{name} is no tensor")
        end = tensor.offset + int(np.prod(tensor.shape))
        values = storages[tensor.storage.key][tensor.offset : end]
        tensors[name] = values.reshape(tensor.shape).astype(np.float32)
    return tensors
