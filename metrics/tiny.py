"""Checkpoints at random, for `anybench init`: the hub's own folder format, the full architectures and their tiny twins.

Each writer takes a folder, made where it is not there, and a seed, and writes config.json and model.safetensors; the
same seed gives the same bytes. Random weights test the machinery; their scores mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from metrics.extractors import clip, dino
from metrics.extractors.checkpoint import Source


def write_dino(folder: Path, seed: int) -> None:
    """`dino-vits16`, 22 M parameters, 87 MB."""
    _write(folder, _random(lambda: dino.build(dino.VITS16), seed), dino.locate_hub)


def write_dino_tiny(folder: Path, seed: int) -> None:
    """`dino-tiny`, 0.2 M parameters."""
    _write(folder, _random(lambda: dino.build(dino.TINY), seed), dino.locate_hub)


def write_clip(folder: Path, seed: int) -> None:
    """`clip-vit-b32`, 151 M parameters, 605 MB."""
    _write(folder, _random(lambda: clip.build(clip.VITB32), seed), Source)


def write_clip_tiny(folder: Path, seed: int) -> None:
    """`clip-tiny`, 0.3 M parameters."""
    _write(folder, _random(lambda: clip.build(clip.TINY), seed), Source)


def _random(build: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _write(folder: Path, network: PreTrainedModel, locate: Callable[[str], Source]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    network.config.architectures = [type(network).__name__]
    network.config.to_json_file(folder / "config.json")
    tensors = {locate(name).key: tensor.detach().contiguous() for name, tensor in network.named_parameters()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
