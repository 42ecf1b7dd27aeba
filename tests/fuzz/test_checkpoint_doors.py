"""Damaged and hostile weights, configs and pipeline folders: read, or refused in one line; nothing in them runs."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import hostile
import pytest
import torch
from doors import Door, portions
from mutations import damaged, swapped

from harness.weights import weights_digest
from metrics.extractors.checkpoint import Source, fill, read_checkpoint
from systems.pipeline_folder import read_pipeline_folder

CONFIG = {"model_type": "toy", "hidden_size": 2, "text_config": {"hidden_act": "gelu"}}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}


class Toy(torch.nn.Module):
    """One layer under a name with a dot, as checkpoints have."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x)


@functools.cache
def good() -> Mapping[str, bytes]:
    return hostile.files(Toy().state_dict(), Toy())


def poured(path: Path) -> None:
    """What an extractor does with weights."""
    weights_digest(path)
    fill(Toy(), read_checkpoint(path, CONFIG), Source, unused="$", weights=path)


@pytest.mark.parametrize("count", portions("weights"))
def test_damaged_and_hostile_weights_are_read_or_refused_in_one_line(root: Path, count: int) -> None:
    door, random, names = Door("weights", root), Random("weights"), sorted(good())
    for number in range(count):
        path = root / names[number % len(names)]
        path.write_bytes(
            damaged(good()[path.name], random, list(good().values())) if number >= len(names) else good()[path.name]
        )
        door.knock(lambda path=path: poured(path), named=path.name)
    assert door.knocks == count and door.taken and door.refused
    assert not (root / hostile.MARKER).exists()


@pytest.mark.parametrize("count", portions("config.json"))
def test_a_config_with_anything_in_it_is_agreed_with_or_refused_in_one_line(root: Path, count: int) -> None:
    door, random = Door("config.json", root), Random("config")
    (root / "model.safetensors").write_bytes(good()["plain.safetensors"])
    for _ in range(count):
        (root / "config.json").write_bytes(json_bytes(CONFIG, random))
        door.knock(lambda: poured(root), named="config.json")
    assert door.knocks == count and door.taken and door.refused


@pytest.mark.parametrize("count", portions("model_index.json"))
def test_a_pipeline_index_with_anything_in_it_is_read_or_refused_in_one_line(root: Path, count: int) -> None:
    door, random = Door("model_index.json", root), Random("index")
    for name in ("unet/config.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"):
        (root / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "folder" / name).write_text('{"sample_size": 8}')
    for number in range(count):
        which = ("model_index.json", "unet/config.json")[number % 4 == 3]
        data = json_bytes(INDEX if which == "model_index.json" else {"sample_size": [8, 8]}, random)
        (root / "folder/model_index.json").write_text(json.dumps(INDEX))
        (root / "folder" / which).write_bytes(data)
        door.knock(lambda: read_pipeline_folder(root / "folder"), named="folder")
    assert door.knocks == count and door.taken and door.refused


@pytest.mark.parametrize("count", portions("pipeline"))
def test_a_pipeline_whose_files_were_changed_is_built_or_refused_in_one_line(root: Path, count: int) -> None:
    from systems.diffusers_pipeline import DiffusersPipeline
    from systems.tiny import pipelines as tiny

    tiny.stable_diffusion(root / "good", 0)
    (root / "out").mkdir()
    files = sorted(path.relative_to(root / "good") for path in (root / "good").rglob("*") if path.is_file())
    door, random = Door("pipeline", root), Random("pipeline")
    for number in range(count):
        shutil.rmtree(root / "folder", ignore_errors=True)
        path = shutil.copytree(root / "good", root / "folder") / files[number % len(files)]
        data = path.read_bytes()
        path.write_bytes(json_bytes(json.loads(data), random) if path.suffix == ".json" else damaged(data, random))
        door.knock(lambda: DiffusersPipeline(str(root / "folder"), "cpu", steps=1), named="folder")
    assert door.knocks == count and door.taken and door.refused


def json_bytes(value: Any, random: Random) -> bytes:
    """A JSON value with other things in it, or its text damaged."""
    if random.random() < 0.7:
        return json.dumps(swapped(value, random)).encode()
    return damaged(json.dumps(value).encode(), random)
