"""Random checkpoints of FID's Inception, for `anybench init`: the published keys, the full size and its tiny twin."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from metrics.extractors import inception_v3


def write_inception(folder: Path, seed: int) -> None:
    """`inception-v3-fid` and `inception-v3-cleanfid`, 24 M parameters, 96 MB."""
    _write(folder, inception_v3.FULL, seed)


def write_inception_tiny(folder: Path, seed: int) -> None:
    """`inception-tiny`, 0.2 M parameters."""
    _write(folder, inception_v3.TINY, seed)


def random_network(architecture: inception_v3.Architecture, seed: int) -> inception_v3.Network:
    """The network at random, of one seed always the same; its features tell pictures apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = inception_v3.Network(architecture)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # PyTorch's own are so small that after so many of them all pictures are alike.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def _write(folder: Path, architecture: inception_v3.Architecture, seed: int) -> None:
    network = random_network(architecture, seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(architecture.config(), indent=2) + "\n", encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
