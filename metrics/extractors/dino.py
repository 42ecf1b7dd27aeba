"""DINO ViT-S/16: the class token of a self-supervised vision transformer.

Source: Caron et al. 2021, arXiv 2104.14294; facebookresearch/dino `vision_transformer.py` (vit_small: width 384, depth
12, 6 heads, exact GELU, LayerNorm epsilon 1e-6) and `eval_knn.py` (shorter side to 256, bicubic, centre crop 224,
ImageNet mean and standard deviation). The feature is the class token after the final LayerNorm: float32 (rows, 384),
not normalised. There is no pooler; the hub's own image processor (squash to 224, bilinear) is not used.

Weights: the hub's folder (facebook/dino-vits16), or the official dino_deitsmall16_pretrain.pth, whose keys are mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import ViTConfig, ViTModel

from harness.nouns import Media
from metrics.extractors.checkpoint import Source, State, exact_arithmetic, fill, finite_rows, read_checkpoint
from metrics.extractors.pixels import Transform, read_pixels

TRANSFORM = Transform(shorter_side=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

# In the order in which they are replaced: names in transformers' module, then in the hub's file or the official one.
HUB_NAMES = (
    ("layers.", "encoder.layer."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
)
OFFICIAL_NAMES = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("layers.", "blocks."),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("layernorm", "norm"),
    ("attention.o_proj", "attn.proj"),
)
FUSED = ("attention.q_proj", "attention.k_proj", "attention.v_proj")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of a vision transformer: width and MLP width in units, patch in pixels, input 224 x 224."""

    width: int
    layers: int
    heads: int
    patch: int = 16

    def config(self) -> ViTConfig:
        """The sizes in transformers' words. The hub's config.json says epsilon 1e-12; DINO was trained with 1e-6."""
        return ViTConfig(
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.width,
            patch_size=self.patch,
            image_size=TRANSFORM.crop,
            hidden_act="gelu",
            layer_norm_eps=1e-6,
        )


VITS16 = Architecture(width=384, layers=12, heads=6)
TINY = Architecture(width=48, layers=2, heads=4, patch=32)


class DINO:
    """`dino-vits16`. Raises UsageError for weights of another architecture, AbsentError where there are none."""

    architecture: ClassVar[Architecture] = VITS16

    def __init__(self, weights: str, device: str) -> None:
        self.weights = weights
        self.device = device
        self.network = load(Path(weights), self.architecture).to(device)  # type: ignore[arg-type]

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Class tokens of the one image in each row: float32 (len(batch), width)."""
        pixels = torch.from_numpy(read_pixels(batch, TRANSFORM)).to(self.device)
        with exact_arithmetic():
            return finite_rows(self.network(pixels).last_hidden_state[:, 0], self.weights)


class DINOTiny(DINO):
    """`dino-tiny`: the same code, 0.2 M parameters."""

    architecture = TINY


def build(architecture: Architecture) -> ViTModel:
    """The network at random, without a pooler, in evaluation mode."""
    network = ViTModel(architecture.config(), add_pooling_layer=False)
    network.set_attn_implementation("eager")
    network.train(False)
    return network


def load(weights: Path, architecture: Architecture) -> ViTModel:
    """The network with the weights of a hub folder or of the official file."""
    network = build(architecture)
    state = read_checkpoint(weights, architecture.config().to_dict())
    official = weights.is_file() and not _from_hub(state)
    fill(network, state, locate_official if official else locate_hub, unused=r"pooler\.", weights=weights)
    return network


def locate_hub(name: str) -> Source:
    """Where a parameter lies in a file of the hub (transformers' own format)."""
    return Source(_rename(name, HUB_NAMES))


def locate_official(name: str) -> Source:
    """Where a parameter lies in dino_deitsmall16_pretrain.pth, which fuses query, key and value in this order."""
    for third, fused in enumerate(FUSED):
        if fused in name:
            return Source(_rename(name.replace(fused, "attn.qkv"), OFFICIAL_NAMES), third=third)
    return Source(_rename(name, OFFICIAL_NAMES))


def _rename(name: str, names: Sequence[tuple[str, str]]) -> str:
    for old, new in names:
        name = name.replace(old, new)
    return name


def _from_hub(state: State) -> bool:
    return any(key.startswith("embeddings.") for key in state)
