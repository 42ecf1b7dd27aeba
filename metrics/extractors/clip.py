"""CLIP ViT-B/32 and ViT-L/14: images and texts in one space.

Source: Radford et al. 2021, arXiv 2103.00020; openai/CLIP `clip/model.py` and `clip/clip.py`: QuickGELU
x * sigmoid(1.702 x) in both towers, shorter side to 224 bicubic, centre crop 224, texts cut at 77 tokens with the end
token kept. The feature is the projected embedding: float32 (rows, 512), of ViT-L/14 (rows, 768), not normalised, always
computed in float32 (the official loader takes float16 on CUDA). Texts and images lie in one array when a batch holds
both.

Weights: the hub's folder (openai/clip-vit-base-patch32, openai/clip-vit-large-patch14), the official ViT-B-32.pt or
ViT-L-14.pt, or a state dict with the official keys (open_clip's format). Tokens come from the vocabulary that open_clip
ships, so nothing is looked up on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPConfig, CLIPModel

from harness.nouns import Media
from metrics.extractors.checkpoint import Source, State, exact_arithmetic, fill, finite_rows, read_checkpoint
from metrics.extractors.pixels import Transform, read_pixels

TRANSFORM = Transform(
    shorter_side=224,
    crop=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
TOKENS = 77

# Names in transformers' module (and in the hub's file), then in the official file, in the order of replacement.
OFFICIAL_NAMES = (
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.encoder.layers", "transformer.resblocks"),
    ("text_model.final_layer_norm", "ln_final"),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding", "visual.conv1"),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm", "visual.ln_pre"),
    ("vision_model.encoder.layers", "visual.transformer.resblocks"),
    ("vision_model.post_layernorm", "visual.ln_post"),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
)
PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
FUSED = re.compile(r"self_attn\.([qkv])_proj\.")

# Buffers of old files that no number depends on.
UNUSED = r"(text|vision)_model\.embeddings\.position_ids|input_resolution|context_length|vocab_size"


@dataclass(frozen=True, slots=True)
class Tower:
    """Sizes of a transformer: width in units (the MLP is four times as wide), layers, heads."""

    width: int
    layers: int
    heads: int

    def fields(self) -> dict[str, object]:
        """The sizes in transformers' words."""
        return {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "hidden_act": "quick_gelu",
        }


@dataclass(frozen=True, slots=True)
class Architecture:
    """Two towers that project to `dim`; patches of `patch` x `patch` pixels of a square image."""

    vision: Tower
    text: Tower
    dim: int
    patch: int = 32
    side: int = TRANSFORM.crop

    @property
    def transform(self) -> Transform:
        """How a picture becomes `side` x `side` pixels."""
        return replace(TRANSFORM, shorter_side=self.side, crop=self.side)

    def config(self) -> CLIPConfig:
        """The sizes in transformers' words."""
        vision = {"image_size": self.side, "patch_size": self.patch, "projection_dim": self.dim}
        text = {"max_position_embeddings": TOKENS, "projection_dim": self.dim}
        return CLIPConfig(
            vision_config=self.vision.fields() | vision,
            text_config=self.text.fields() | text,
            projection_dim=self.dim,
        )


VITB32 = Architecture(vision=Tower(768, 12, 12), text=Tower(512, 12, 8), dim=512)
VITL14 = Architecture(vision=Tower(1024, 24, 16), text=Tower(768, 12, 12), dim=768, patch=14)
VITL14_336 = replace(VITL14, side=336)
# The vocabulary of 49,408 tokens leaves the text tower twelve units in 0.8 M parameters.
TINY = Architecture(vision=Tower(48, 2, 4), text=Tower(12, 2, 3), dim=32, patch=28)


class CLIP:
    """`clip-vit-b32`. Raises UsageError for weights of another architecture, AbsentError where there are none."""

    architecture: ClassVar[Architecture] = VITB32

    def __init__(self, weights: str, device: str) -> None:
        self.weights = weights
        self.device = device
        self.network = load(Path(weights), self.architecture).to(device)  # type: ignore[arg-type]
        self.tokenizer = SimpleTokenizer(context_length=TOKENS)

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Projected embeddings of the one image or text in each row: float32 (len(batch), dim)."""
        features = np.empty((len(batch), self.architecture.dim), dtype=np.float32)
        texts = [index for index, (media,) in enumerate(batch) if media.modality == "text"]
        images = [index for index in range(len(batch)) if index not in set(texts)]
        if texts:
            features[texts] = self.embed_texts([batch[index][0].text for index in texts])
        if images:
            pixels = read_pixels([batch[index] for index in images], self.architecture.transform)
            features[images] = self.embed_images(pixels)
        return features

    def embed_images(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Projected embeddings of preprocessed images (n, 3, 224, 224): float32 (n, dim)."""
        with exact_arithmetic():
            embeddings = self.network.get_image_features(pixel_values=torch.from_numpy(pixels).to(self.device))
            return finite_rows(embeddings.pooler_output, self.weights)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Projected embeddings of texts, each cut at 77 tokens: float32 (n, dim).

        Texts of one length go through the network together, without the padding that no token of them sees.
        """
        tokens = self.tokenizer(list(texts)).to(self.device)
        lengths = (tokens.argmax(dim=1) + 1).tolist()  # the end of a text has the largest token
        features = np.empty((len(texts), self.architecture.dim), dtype=np.float32)
        for length in sorted({*lengths}):
            rows = [row for row, own in enumerate(lengths) if own == length]
            with exact_arithmetic():
                embeddings = self.network.get_text_features(input_ids=tokens[rows, :length])
                features[rows] = finite_rows(embeddings.pooler_output, self.weights)
        return features


class CLIPL14(CLIP):
    """`clip-vit-l14`: patches of 14 pixels, 428 M parameters."""

    architecture = VITL14


class CLIPL14At336(CLIP):
    """`clip-vit-l14-336`: other weights, for pictures of 336 pixels."""

    architecture = VITL14_336


class CLIPTiny(CLIP):
    """`clip-tiny`: the same code, 0.8 M parameters."""

    architecture = TINY


def build(architecture: Architecture) -> CLIPModel:
    """The network at random, in evaluation mode."""
    network = CLIPModel(architecture.config())
    network.set_attn_implementation("eager")
    network.train(False)
    return network


def load(weights: Path, architecture: Architecture) -> CLIPModel:
    """The network with the weights of a hub folder or of a file with the official keys."""
    network = build(architecture)
    state = read_checkpoint(weights, architecture.config().to_dict())
    official = weights.is_file() and not _from_hub(state)
    fill(network, state, locate_official if official else Source, unused=UNUSED, weights=weights)
    return network


def locate_official(name: str) -> Source:
    """Where a parameter lies in the official file: query, key and value fused in this order, projections transposed."""
    if name in PROJECTIONS:
        return Source(PROJECTIONS[name], transposed=True)
    fused = FUSED.search(name)
    for old, new in OFFICIAL_NAMES:
        name = name.replace(old, new)
    if fused is None:
        return Source(name)
    return Source(FUSED.sub("attn.in_proj_", name), third="qkv".index(fused.group(1)))


def _from_hub(state: State) -> bool:
    return any(key.startswith("vision_model.") for key in state)
