"""What the trained extractors of the tiny preset share: losses; with the judges: how weights are written and measured.

Extractors learn from the set "metrics" of the drawn world, which nothing else sees. Where a contrast alone would take
hours to find shapes, linear heads on the embedding name what is seen or heard; they are thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from harness.drawn_world import World
from harness.recipes import Figure

TEMPERATURE = 0.07
HEADS_SCALE = 8.0
NAMING = 1.0


def contrast(ours: Tensor, theirs: Tensor) -> Tensor:
    """Which of `theirs` belongs to which of `ours`, both ways; rows (n, dim) of a pair have the same number.

    Source: InfoNCE (van den Oord et al. 2018, arXiv 1807.03748), both ways as in CLIP, at a fixed temperature.
    """
    logits = functional.normalize(ours) @ functional.normalize(theirs).T / TEMPERATURE
    right = torch.arange(len(logits))
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def heads_for(world: World, attributes: Sequence[str], width: int) -> nn.ModuleDict:
    """A linear head on an embedding for each attribute."""
    return nn.ModuleDict({name: nn.Linear(width, len(world.attributes[name])) for name in attributes})


def named_wrongly(heads: nn.ModuleDict, embeddings: Tensor, classes: Mapping[str, NDArray[np.int64]]) -> Tensor:
    """The weighted sum of the heads' cross entropies on directions of embeddings (n, dim)."""
    directions = HEADS_SCALE * functional.normalize(embeddings)
    losses = [
        functional.cross_entropy(head(directions), torch.from_numpy(classes[name])) for name, head in heads.items()
    ]
    return NAMING * torch.stack(losses).sum()


def save_halved(state: Mapping[str, Tensor], folder: Path, config: Mapping[str, Any]) -> None:
    """model.safetensors with real numbers as float16, and config.json: what the extractor reads, and upcasts."""
    halved = {
        key: (tensor.half() if tensor.is_floating_point() else tensor).detach().contiguous()
        for key, tensor in state.items()
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of every row (n, dim) with every other (m, dim): (n, m)."""
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours, theirs))
    return np.asarray(one @ other.T)


def mean_of(values: Sequence[float]) -> Figure:
    """A mean of shares with the 95 % interval of the normal law, cut at 0 and 1."""
    mean = float(np.mean(values))
    half = 1.959964 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Figure(mean, max(0.0, mean - half), min(1.0, mean + half), len(values))
