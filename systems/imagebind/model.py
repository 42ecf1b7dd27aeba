"""ImageBind: six transformers whose outputs share one space, under the official names of their weights.

    stem (patches or words -> tokens) -> trunk (pre-norm transformer) -> head (LayerNorm, Linear) -> post (norm, scale)

Sources: the ImageBind paper (arXiv 2305.05665), sections 3 and 4; the official code, commit 53680b0,
imagebind/models/. For inference: drop path (audio 0.1, IMU 0.7) and the IMU head's dropout are left out, and hold no
weights. Positions are not interpolated: inputs have the size that the configuration states.

    modality   input of `embed`                                     the official huge model
    vision     (B, 3, H, W) pictures, (B, S, 3, T, H, W) views      224 px, T = 2; a picture is a clip of itself
               of videos
    text       (B, L) ids                                           L = 77
    audio      (B, S, 1, mel bands, frames)                         128 x 204, S = 3
    depth      (B, 1, H, W)                                         224 px
    thermal    (B, 1, H, W)                                         224 px
    imu        (B, channels, samples)                               6 x 2000

Inputs of five or more dimensions are views, folded into the batch and averaged at the end, so a lone clip is given as
(B, 1, 3, T, H, W). Embeddings come out in float32, whatever the precision of the weights.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from systems.imagebind.config import ImageBindConfig, Imu, Sheet, Text, Trunk, Vision

TRUNK_EPSILON = 1e-6
MLP_RATIO = 4
LARGEST_SCALE = 100.0
# What normalised embeddings are multiplied by before training; text's is learned, the others are kept as buffers.
SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}
# Tokens that a softmax may look at besides the input's own (a learned key and value in each block).
WITH_BIAS_TOKEN = frozenset({"audio", "depth", "thermal", "imu"})


class ImageBind(nn.Module):
    """The towers that `config` names, at random until weights are loaded."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        self.config = config
        towers = config.towers()
        self.modality_preprocessors = nn.ModuleDict({name: _stem(name, tower) for name, tower in towers.items()})
        self.modality_trunks = nn.ModuleDict({name: Transformer(name, tower) for name, tower in towers.items()})
        self.modality_heads = nn.ModuleDict(
            {name: _head(name, tower.width, config.dimension) for name, tower in towers.items()}
        )
        self.modality_postprocessors = nn.ModuleDict({name: _post(name) for name in towers})
        self.eval()

    def embed(self, modality: str, inputs: Tensor, normalize: bool = True) -> Tensor:
        """Embeddings (B, dimension), float32.

        With `normalize` what the official forward returns: each view divided by its norm and multiplied by the
        modality's scale, then the mean over views. Without: the mean over views of what the head gives.
        """
        views = self.views(modality, inputs)
        if normalize:
            views = self.modality_postprocessors[modality](views)
        mean: Tensor = views.mean(dim=1)
        return mean

    def views(self, modality: str, inputs: Tensor) -> Tensor:
        """What the head gives for each view, (B, S, dimension), float32, not normalised; S is 1 without views."""
        shape = inputs.shape[:2] if inputs.ndim >= 5 else (len(inputs), 1)
        flat = inputs.flatten(0, 1) if inputs.ndim >= 5 else inputs
        tokens = self._tokens(modality, flat)
        # A text's state stands at its end, which is its largest id; every other modality's at the class token.
        pooled = tokens[torch.arange(len(flat)), flat.argmax(dim=-1)] if modality == "text" else tokens[:, 0]
        projected: Tensor = self.modality_heads[modality](pooled).float()
        return projected.reshape(*shape, -1)

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """The vision head applied to every token of pictures (B, 3, H, W): (B, 1 + patches, dimension), float32.

        Row 0 is the class token's, and equal to `views("vision", pixels)[:, 0]`; nothing is normalised.
        """
        projected: Tensor = self.modality_heads["vision"](self._tokens("vision", pixels)).float()
        return projected

    def _tokens(self, modality: str, inputs: Tensor) -> Tensor:
        stem = self.modality_preprocessors[modality]
        tokens: Tensor = self.modality_trunks[modality](stem(inputs), getattr(stem, "mask", None))
        return tokens


class Transformer(nn.Module):
    """Blocks over tokens (B, L, width)."""

    def __init__(self, modality: str, trunk: Trunk) -> None:
        super().__init__()
        normalized = [nn.LayerNorm(trunk.width, eps=TRUNK_EPSILON)] if modality == "vision" else []
        self.pre_transformer_layer = nn.Sequential(*normalized)
        with_bias_token = modality in WITH_BIAS_TOKEN
        self.blocks = nn.ModuleList(Block(trunk.width, trunk.heads, with_bias_token) for _ in range(trunk.blocks))

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """The tokens after the last block; `mask` (L, L) is added to what the softmax sees."""
        tokens = self.pre_transformer_layer(tokens)
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, with_bias_token: bool) -> None:
        super().__init__()
        self.attn = Attention(width, heads, with_bias_token)
        self.norm_1 = nn.LayerNorm(width, eps=TRUNK_EPSILON)
        self.mlp = Mlp(width)
        self.norm_2 = nn.LayerNorm(width, eps=TRUNK_EPSILON)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        tokens = tokens + self.attn(self.norm_1(tokens), mask)
        result: Tensor = tokens + self.mlp(self.norm_2(tokens))
        return result


class Attention(nn.Module):
    """Self-attention with the weights of torch's nn.MultiheadAttention, `add_bias_kv` where there is a bias token."""

    def __init__(self, width: int, heads: int, with_bias_token: bool) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = _linear(width, width)
        self.bias_k = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, width))) if with_bias_token else None
        self.bias_v = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, width))) if with_bias_token else None

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = functional.linear(tokens, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        if self.bias_k is not None and self.bias_v is not None:
            key = torch.cat([key, self.bias_k.expand(len(key), -1, -1)], dim=1)
            value = torch.cat([value, self.bias_v.expand(len(value), -1, -1)], dim=1)
        query, key, value = self._by_head(query), self._by_head(key), self._by_head(value)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        result: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return result

    def _by_head(self, tokens: Tensor) -> Tensor:
        """(B, L, width) as (B, heads, L, width / heads)."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class Mlp(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = _linear(width, MLP_RATIO * width)
        self.fc2 = _linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return result


class PatchStem(nn.Module):
    """Tokens of pictures, clips or sheets: the class token, then patches; `name` is what the stem is called."""

    def __init__(self, name: str, patches: nn.Module, count: int, width: int) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, patches)
        self.cls_token = _scaled(1, 1, width)
        self.pos_embedding_helper = Positions(1 + count, width)

    def forward(self, inputs: Tensor) -> Tensor:
        patches: Tensor = getattr(self, self.name)(inputs.to(self.cls_token.dtype))
        tokens: Tensor = self.pos_embedding_helper(_with_class_token(self.cls_token, patches))
        return tokens


class TextStem(nn.Module):
    """Tokens of ids (B, L), and the causal mask that the trunk adds."""

    mask: Tensor

    def __init__(self, size: Text) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(size.vocabulary, size.width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.pos_embed = nn.Parameter(0.01 * torch.randn(1, size.context, size.width))
        self.register_buffer("mask", causal_mask(size.context))

    def forward(self, ids: Tensor) -> Tensor:
        tokens: Tensor = self.token_embedding(ids) + self.pos_embed
        return tokens


class ImuStem(nn.Module):
    """Tokens of inertial signals (B, channels, samples): the class token, then windows, channel by channel."""

    def __init__(self, size: Imu) -> None:
        super().__init__()
        self.window = size.window
        projection = nn.Linear(size.channels * size.window, size.width, bias=False)
        self.imu_stem = _named(proj=projection, norm_layer=nn.LayerNorm(size.width))
        self.cls_token = _scaled(1, 1, size.width)
        self.pos_embed = nn.Parameter(0.01 * torch.randn(1, 1 + size.samples // size.window, size.width))

    def forward(self, signals: Tensor) -> Tensor:
        windows = signals.to(self.cls_token.dtype).unfold(-1, self.window, self.window).transpose(1, 2).flatten(2)
        tokens: Tensor = self.imu_stem(windows)
        return _with_class_token(self.cls_token, tokens) + self.pos_embed


class Repeat(nn.Module):
    """Pictures (B, 3, H, W) as clips of `frames` equal ones, (B, 3, T, H, W); clips as they are."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels if pixels.ndim == 5 else pixels.unsqueeze(2).expand(-1, -1, self.frames, -1, -1)


class Rows(nn.Module):
    """What a convolution gives, (B, width, ...), as tokens (B, L, width)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).transpose(1, 2)


class Positions(nn.Module):
    """Learned positions, added to tokens (B, count, width)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.pos_embed = _scaled(1, count, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.pos_embed


class Normalize(nn.Module):
    """Vectors divided by their norm."""

    def forward(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, dim=-1)


class LogitScale(nn.Module):
    """Vectors multiplied by exp(log_logit_scale), at most 100."""

    log_logit_scale: Tensor

    def __init__(self, scale: float, learned: bool) -> None:
        super().__init__()
        logarithm = torch.tensor(math.log(scale))
        if learned:
            self.log_logit_scale = nn.Parameter(logarithm)
        else:
            self.register_buffer("log_logit_scale", logarithm)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.log_logit_scale.float().exp().clamp(max=LARGEST_SCALE) * vectors


class TextHead(nn.Module):
    """The head under the name that the official text head has."""

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=TRUNK_EPSILON), nn.Linear(width, dimension, bias=False))

    def forward(self, states: Tensor) -> Tensor:
        projected: Tensor = self.proj(states)
        return projected


def causal_mask(length: int) -> Tensor:
    """0 on and below the diagonal, minus infinity above, (length, length)."""
    return torch.full((length, length), float("-inf")).triu(1)


def parameter_counts(model: nn.Module) -> Mapping[str, int]:
    """Numbers held, buffers too, of each part that the official names begin with (`modality_trunks.vision`, say)."""
    counts: dict[str, int] = {}
    for key, tensor in model.state_dict().items():
        part = ".".join(key.split(".")[:2])
        counts[part] = counts.get(part, 0) + tensor.numel()
    return counts


def _stem(modality: str, size: Trunk) -> nn.Module:
    match size:
        case Vision():
            return _vision_stem(size)
        case Text():
            return TextStem(size)
        case Sheet():
            return _sheet_stem("depth_stem" if modality == "depth" else "rgbt_stem", size)
        case Imu():
            return ImuStem(size)
    raise TypeError(f"{modality}: {type(size).__name__}")


def _vision_stem(size: Vision) -> PatchStem:
    side = size.patch >> len(size.stem)
    kernel = (size.frames, side, side)
    tubes = nn.Conv3d((3, *size.stem)[-1], size.width, kernel_size=kernel, stride=kernel, bias=False)
    patches = _named(proj=nn.Sequential(Repeat(size.frames), *_clip_halvings(size), tubes), rows=Rows())
    return PatchStem("rgbt_stem", patches, (size.picture // size.patch) ** 2, size.width)


def _clip_halvings(size: Vision) -> Iterator[nn.Sequential]:
    """Convolutions that halve each frame of clips (B, channels, T, H, W); a norm in training is folded into them."""
    for before, after in pairwise((3, *size.stem)):
        yield nn.Sequential(nn.Conv3d(before, after, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)), nn.GELU())


def _sheet_stem(name: str, size: Sheet) -> PatchStem:
    patch, stride = size.patch >> len(size.stem), size.stride >> len(size.stem)
    squares = nn.Conv2d((1, *size.stem)[-1], size.width, kernel_size=patch, stride=stride, bias=False)
    projection = nn.Sequential(*_sheet_halvings(size), squares) if size.stem else squares
    patches = _named(proj=projection, rows=Rows(), norm_layer=nn.LayerNorm(size.width))
    # What a convolution leaves of an odd side is the larger half.
    down, along = (((side - 1 >> len(size.stem)) + 1 - patch) // stride + 1 for side in (size.height, size.length))
    return PatchStem(name, patches, down * along, size.width)


def _sheet_halvings(size: Sheet) -> Iterator[nn.Sequential]:
    for before, after in pairwise((1, *size.stem)):
        yield nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU())


def _head(modality: str, width: int, dimension: int) -> nn.Module:
    if modality == "text":
        return TextHead(width, dimension)
    # Between them the official heads pick the class token, IMU's also drops out: steps without weights, but counted.
    steps = [nn.Identity()] * (2 if modality == "imu" else 1)
    return nn.Sequential(nn.LayerNorm(width, eps=TRUNK_EPSILON), *steps, nn.Linear(width, dimension, bias=False))


def _post(modality: str) -> nn.Module:
    scale = [LogitScale(SCALES[modality], learned=modality == "text")] if modality in SCALES else []
    return nn.Sequential(Normalize(), *scale)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _named(**steps: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(steps))


def _scaled(*shape: int) -> nn.Parameter:
    """OpenCLIP's beginning of class tokens and positions: normal, divided by the root of the width."""
    return nn.Parameter(torch.randn(*shape) * shape[-1] ** -0.5)


def _with_class_token(token: Tensor, patches: Tensor) -> Tensor:
    return torch.cat([token.expand(len(patches), -1, -1), patches], dim=1)
