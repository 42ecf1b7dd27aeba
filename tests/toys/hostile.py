"""Checkpoints that would do something when they are read: run a command, write a file, fill the memory."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

MARKER = "pwned"


class Command:
    """Unpickling it would run a command that leaves MARKER behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {MARKER}",))


class Evaluated:
    """Unpickling it would run Python that leaves MARKER behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({MARKER!r}, 'w').close()",))


class Setter(torch.nn.Module):
    """A TorchScript module whose own code, run by `torch.jit.load`, writes MARKER."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.weight = state[0]
        self.training = state[1]
        torch.save(state[0], "pwned")

    def forward(self, x: Tensor) -> Tensor:
        return x


def torch_file(content: object, **options: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def torchscript(module: torch.nn.Module) -> bytes:
    """What torch.jit.save writes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; published checkpoints are what they are
        torch.jit.save(torch.jit.script(module), buffer)
    return buffer.getvalue()


def packed(data: bytes) -> bytes:
    """A zip with the same records, compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


def files(state: Mapping[str, Tensor], module: torch.nn.Module) -> dict[str, bytes]:
    """Checkpoints in every format that is read, and hostile ones, by a name with the format's suffix."""
    evil = {"cls": Command(), **state}
    return {
        "plain.safetensors": save(dict(state)),
        "plain.pth": torch_file(dict(state)),
        "legacy.pt": torch_file(dict(state), _use_new_zipfile_serialization=False),
        "script.pt": torchscript(module),
        "command.pkl": pickle.dumps(evil),
        "command.pth": torch_file(evil),
        "evaluated.bin": pickle.dumps(Evaluated(), protocol=0),
        "legacy-evil.pt": torch_file(evil, _use_new_zipfile_serialization=False),
        "setter.pt": torchscript(Setter()),
        "packed.pth": packed(torch_file({"a.weight": torch.zeros(1 << 20)})),
        "pickled.safetensors": pickle.dumps(evil),
    }


def write(folder: Path, made: Mapping[str, bytes]) -> None:
    """Write them all into a folder."""
    for name, data in made.items():
        (folder / name).write_bytes(data)
