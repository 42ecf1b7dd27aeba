"""The tensors of a TorchScript archive, without TorchScript.

`torch.jit.load` runs code that the archive brings (a module's `__setstate__`, which may write any file). Here the
archive is what it is on disk: a zip whose `data.pkl` describes the modules and their tensors, and whose `data/N` are
the raw storages. The description is read by an unpickler that knows names and builds nothing but dictionaries.

Source: torch/csrc/jit/serialization (export.cpp, unpickler.cpp), torch/_utils.py (_rebuild_tensor_v2).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
LISTS = ("restore_type_tag", "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


class ArchiveError(Exception):
    """The archive is damaged, or holds something else than modules and tensors."""


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """ArchiveError where the records of a zip of `size` bytes are packed: torch stores them as they are.

    A packed one of a few kilobytes could fill the memory.
    """
    if sum(record.file_size for record in archive.infolist()) > size:
        raise ArchiveError("its records are compressed, or overlap; torch.save and torch.jit.save do neither")


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether a zip is a TorchScript archive, and not what torch.save writes."""
    return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the archive's modules, by its dotted name; on the CPU, in its own precision.

    Raises ArchiveError, and whatever zipfile and pickle raise on damaged files.
    """
    with zipfile.ZipFile(path) as archive:
        check_stored(archive, path.stat().st_size)
        top = next((name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")), "")
        prefix = top.removesuffix("data.pkl")
        if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
            raise ArchiveError("its numbers are big-endian")
        described = _Description(io.BytesIO(archive.read(top))).load()
        storages: dict[str, bytearray] = {}
        tensors = {}
        for name, tensor in _named(described):
            if tensor.key not in storages:
                storages[tensor.key] = bytearray(archive.read(f"{prefix}data/{tensor.key}"))
            tensors[name] = _tensor(tensor, storages[tensor.key])
        return tensors


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the description has it: where its storage is, and which part of it."""

    storage: str
    key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Module:
    """A module of the archive: its attributes, whatever its class was."""

    def __init__(self) -> None:
        self.attributes: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ArchiveError("a module whose state is made by its own code, which is never run")
        self.attributes = state


@dataclass(frozen=True)
class _Name:
    """A global of the description: a name, which stands for nothing of this process."""

    name: str

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "torch._utils._rebuild_tensor_v2":
            (_, storage, key, _, _), offset, shape, stride = arguments[:4]
            return _Tensor(storage.name, key, offset, shape, stride)
        if self.name == "collections.OrderedDict":
            return {}
        if self.name.removeprefix("torch.jit._pickle.") in LISTS:
            return arguments[0]
        raise ArchiveError(f"it holds a {self.name}, where modules and tensors are expected")


class _Description(pickle._Unpickler):
    """Reads `data.pkl`. Python's own unpickler, not the one in C, whose memory a single number can fill."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return type(name, (_Module,), {})  # a class of its own, for what the file does to it
        return _Name(f"{module}.{name}")

    def persistent_load(self, said: Any) -> Any:
        return said


def _named(module: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, _Tensor]]:
    if not isinstance(module, _Module) or any(module is one for one in above):
        raise ArchiveError("it does not hold a module, or one that holds itself")
    for name, value in module.attributes.items():
        if isinstance(value, _Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _named(value, f"{prefix}{name}.", (*above, module))


def _tensor(described: _Tensor, storage: bytearray) -> torch.Tensor:
    dtype = STORAGES[described.storage]
    flat = torch.frombuffer(storage, dtype=dtype) if storage else torch.zeros(0, dtype=dtype)
    shape, stride, offset = described.shape, described.stride, described.offset
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if min((offset, *shape, *stride)) < 0 or (0 not in shape and last >= len(flat)):
        raise ArchiveError("a tensor that reaches beyond its storage")
    return flat.as_strided(shape, stride, offset)
