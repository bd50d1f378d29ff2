"""A checkpoint as Python 2 with PyTorch 0.2 wrote it: old container, large integers as text."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_MAGIC = 0x1950A86A20F9469CFC6C
_SIZES = {"short": 2, "int": 4, "long": 4}


class _Global:
    def __init__(self, module: str, name: str) -> None:
        self.line = f"c{module}\n{name}\n".encode()


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Protocol 2 with the opcodes of Python 2; tensors are collected by the name of their data."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, 2)
        self.tensors: dict[str, Tensor] = {}

    def save(self, value: Any, *_: object) -> None:
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, _Global):
            self.write(value.line)
        elif isinstance(value, str):
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value.encode())
        elif type(value) is int and 2**31 <= value < 2**63:
            self.write(b"I" + str(value).encode() + b"\n")
        else:
            super().save(value)

    def _tensor(self, value: Tensor) -> None:
        key = str(140000000000000 + len(self.tensors))
        self.tensors[key] = value
        self.write(_Global("torch._utils", "_rebuild_tensor").line + pickle.MARK)
        storage = _Global("torch.cuda", "FloatStorage")
        self.save(("storage", storage, key, "cuda:0", value.numel(), None))
        self.write(pickle.BINPERSID)
        for part in (0, tuple(value.shape), tuple(value.stride())):
            self.save(part)
        self.write(pickle.TUPLE + pickle.REDUCE)


def write(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write float32 tensors with the state of an optimiser, by the addresses of parameters."""
    address = 140000000000064
    optimiser = {
        "state": {address: {"momentum_buffer": torch.zeros(3)}},
        "param_groups": [{"lr": 0.01, "params": [address]}],
    }
    content = {"epoch": 10, "state_dict": dict(state), "optimizer": optimiser}
    file = io.BytesIO()
    for part in (_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True} | _sizes()):
        _Pickler(file).dump(part)
    pickler = _Pickler(file)
    pickler.dump(content)
    _Pickler(file).dump(sorted(pickler.tensors))
    for key in sorted(pickler.tensors):
        value = pickler.tensors[key].contiguous()
        file.write(struct.pack("<q", value.numel()) + value.numpy().tobytes())
    path.write_bytes(file.getvalue())


def _sizes() -> dict[str, object]:
    return {"type_sizes": _SIZES}
