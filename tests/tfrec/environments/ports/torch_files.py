"""Writes files of torch weights as `torch.save` did before 1.6, good ones and bad ones."""

import io
import pickle
import struct

import numpy as np

from tfrec.environments.ports import torch_weights


class Called:
    """Pickles as a call of a global by its name, without having it."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


class Stored:
    def __init__(self, key, count, kind="FloatStorage"):
        self.key, self.count, self.kind = key, count, kind


def dumped(value):
    """The opcodes that make a value."""
    if isinstance(value, Called):
        return b"c" + value.name.encode() + b"\n" + dumped(value.arguments) + b"R"
    if isinstance(value, Stored):
        pid = b"(" + dumped("storage") + b"ctorch\n" + value.kind.encode() + b"\n"
        return pid + dumped(value.key) + dumped("cpu") + dumped(value.count) + b"NtQ"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(dumped, value)) + b"t"
    if isinstance(value, dict):
        made = b"ccollections\nOrderedDict\n)R("
        return made + b"".join(dumped(x) for pair in value.items() for x in pair) + b"u"
    return pickle.dumps(value, 2)[2:-1]  # its PROTO and STOP belong to the whole


def tensor(key, shape, strides, kind="FloatStorage", count=None):
    count = int(np.prod(shape)) if count is None else count
    return Called(
        "torch._utils\n_rebuild_tensor_v2",
        Stored(key, count, kind),
        0,
        shape,
        strides,
        False,
        {},
    )


def write(path, state, storages, magic=torch_weights.MAGIC):
    """A file with any state dict and float32 storages, key -> values."""
    out = io.BytesIO()
    system = {"protocol_version": 1001, "little_endian": True}
    for head in (magic, torch_weights.PROTOCOL, system):
        out.write(pickle.dumps(head, 2))
    out.write(b"\x80\x02" + dumped(state) + b".")
    out.write(pickle.dumps(list(storages), 2))
    for values in storages.values():
        out.write(struct.pack("<q", values.size) + values.astype("<f4").tobytes())
    path.write_bytes(out.getvalue())
    return path


def write_arrays(path, arrays):
    """A file as torch writes it, name -> float32 array."""
    state = {
        name: tensor(name, values.shape, tuple(size // 4 for size in values.strides))
        for name, values in arrays.items()
    }
    return write(path, state, arrays)
