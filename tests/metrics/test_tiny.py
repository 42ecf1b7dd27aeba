"""Checkpoints that `init` writes: the hub's own format, the same bytes for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPModel, ViTModel

from metrics.tiny import checkpoints as tiny

Write = Callable[[Path, int], None]
TINY = pytest.mark.parametrize("write", [tiny.write_dino_tiny, tiny.write_clip_tiny])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@TINY
def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_weights(write: Write, tmp_path: Path) -> None:
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        write(tmp_path / "made" / name, seed)
        torch.rand(3)
    one, again, other = (contents(tmp_path / "made" / name) for name in ("one", "again", "other"))
    assert one == again
    assert one["config.json"] == other["config.json"] and one["model.safetensors"] != other["model.safetensors"]


@TINY
def test_writing_leaves_the_global_generator_alone(write: Write, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    write(tmp_path, 1)
    assert torch.equal(torch.rand(3), expected)


@TINY
def test_the_tiny_ones_are_tiny(write: Write, tmp_path: Path) -> None:
    write(tmp_path, 0)
    assert (tmp_path / "model.safetensors").stat().st_size < 3_250_000


def test_transformers_loads_the_folders_with_no_key_missing_or_unexpected(dino_folder: Path, clip_folder: Path) -> None:
    dino: Any = ViTModel.from_pretrained(dino_folder, add_pooling_layer=False, output_loading_info=True)
    clip: Any = CLIPModel.from_pretrained(clip_folder, output_loading_info=True)
    for _, info in (dino, clip):
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
