"""A CoDi-2 checkpoint's folder, damaged one way or another, and what the driver says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import UsageError
from systems.codi2.checkpoint import TENSORS, check
from systems.codi2.description import FILE


def rewrite(folder: Path, section: str, **changes: Any) -> None:
    """Changes keys of one section of codi2.json; `...` takes a key away."""
    said = json.loads((folder / FILE).read_text())
    said[section] = {key: value for key, value in (said[section] | changes).items() if value is not ...}
    (folder / FILE).write_text(json.dumps(said))


def retensor(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Changes codi2.safetensors."""
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS)


def reconfigure(file: Path, **changes: Any) -> None:
    """Changes keys of a JSON object."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def complaint(folder: Path) -> str:
    """What the driver says of a checkpoint, which is one line."""
    with pytest.raises(UsageError) as caught:
        check(str(folder), [], 1)
    assert "\n" not in str(caught.value)
    return str(caught.value)
