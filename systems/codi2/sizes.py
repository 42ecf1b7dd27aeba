"""How large a CoDi-2 is: every part's configuration as data, at the paper's size and at a tiny one, and its builders.

    FULL    ImageBind-Huge, Llama-2-7b-chat, LoRA 128, Stable Diffusion 2.1 unCLIP-h
    TINY    about 3 million parameters in all, of the same classes: `anybench init codi2-tiny`

Builders give randomly initialised models in evaluation mode, made where they are wanted: on "meta" for counting, on
"cuda" in bfloat16 for measuring without any file. Random numbers are torch's own: seed them first.

Sources: the published configurations (ImageBind: systems/imagebind/config.py; Llama 2: its config.json; Stable unCLIP:
the config.json of each component of stabilityai/stable-diffusion-2-1-unclip). LoRA's rank is the paper's (appendix B);
its alpha is not published: 256 is our choice, twice the rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    PNDMScheduler,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, LlamaConfig, LlamaForCausalLM

from systems.codi2.checkpoint import Adapters, Widths, adapter_shapes, adapters_of
from systems.codi2.description import Lora
from systems.imagebind.config import HUGE, PERCEIVED, ImageBindConfig, Sheet, Text, Vision
from systems.imagebind.model import ImageBind

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Sizes:
    """A configuration for every part; `unet` and `vae` are the arguments of diffusers' UNet2DConditionModel and
    AutoencoderKL."""

    imagebind: ImageBindConfig
    language_model: LlamaConfig
    lora: Lora
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: CLIPTextConfig

    @property
    def widths(self) -> Widths:
        """The language model's; all of its heads together are as wide as its states."""
        hidden = self.language_model.hidden_size
        return Widths(hidden, self.language_model.num_hidden_layers, queries=hidden, keys=hidden)


FULL = Sizes(
    imagebind=HUGE.only(PERCEIVED),
    language_model=LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
    ),
    lora=Lora(rank=128, alpha=256),
    unet={
        "sample_size": 96,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 2 * 1024,
    },
    vae={
        "sample_size": 768,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    },
    text_encoder=CLIPTextConfig(
        vocab_size=49408,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=23,
        num_attention_heads=16,
        hidden_act="gelu",
        projection_dim=512,
    ),
)

TINY = Sizes(
    # The text tower is narrow since its vocabulary is CLIP's whole one.
    imagebind=ImageBindConfig(
        dimension=64,
        vision=Vision(width=64, blocks=2, heads=4, picture=32, patch=8),
        text=Text(width=16, blocks=2, heads=2),
        audio=Sheet(width=64, blocks=2, heads=4, height=128, length=204, patch=32, stride=32),
    ),
    language_model=LlamaConfig(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
    ),
    lora=Lora(rank=8, alpha=16),
    unet={
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (2, 4),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": 32,
        "use_linear_projection": True,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 2 * 64,
    },
    vae={
        "sample_size": 64,
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "norm_num_groups": 8,
    },
    # The vocabulary of systems.tiny.tokenizer.
    text_encoder=CLIPTextConfig(
        vocab_size=2514,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=2512,
        eos_token_id=2513,
        pad_token_id=2513,
    ),
)


def imagebind(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> ImageBind:
    """The encoder."""
    with _made(device, dtype):
        return _frozen(ImageBind(sizes.imagebind))


def language_model(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """The language model as it was before any training of CoDi-2: without LoRA, projectors and tags."""
    with _made(device, dtype):
        return _frozen(LlamaForCausalLM(sizes.language_model))


def adapters(sizes: Sizes, device: str = "cpu") -> Adapters:
    """What training adds, float32: every matrix and every row with entries of variance 1 / inputs, norms as they begin.

    LoRA's B, which training begins with at zero, is as random as A: a LoRA that is left out shall be seen.
    """
    shapes = adapter_shapes(sizes.widths, sizes.imagebind.dimension, sizes.lora)
    return adapters_of({key: _random(key, shape, device) for key, shape in shapes.items()})


def unet(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
    """The image decoder's denoiser."""
    with _made(device, dtype):
        return _frozen(UNet2DConditionModel(**sizes.unet))


def vae(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> AutoencoderKL:
    """The image decoder's autoencoder."""
    with _made(device, dtype):
        return _frozen(AutoencoderKL(**sizes.vae))


def text_encoder(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> CLIPTextModel:
    """The image decoder's, for its negative tags."""
    with _made(device, dtype):
        return _frozen(CLIPTextModel(sizes.text_encoder))


def image_decoder(
    sizes: Sizes, tokenizer: CLIPTokenizer, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> StableUnCLIPImg2ImgPipeline:
    """The pipeline of these parts, without the image encoder, which CoDi-2 does not use.

    `tokenizer` is CLIP's, or one with fewer words. The text encoder, which is used once, is on the CPU in float32
    wherever the others are.
    """
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=None,
        image_encoder=None,
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=sizes.imagebind.dimension),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizer,
        text_encoder=text_encoder(sizes),
        unet=unet(sizes, device, dtype),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        vae=vae(sizes, device, dtype),
    )


@contextmanager
def _made(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Modules are built right there, in that precision: at full size there may be no room for them twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def _frozen(part: Part) -> Part:
    module: Any = part
    module.eval().requires_grad_(False)
    return part


def _random(key: str, shape: tuple[int, ...], device: str) -> Tensor:
    """The entries of a weight; of a projector's LayerNorm (2.) ones, of a bias zeros."""
    if key.endswith(".bias"):
        return torch.zeros(shape, device=device)
    if len(shape) == 1:
        return torch.ones(shape, device=device)
    drawn: Tensor = torch.randn(shape, device=device) / shape[1] ** 0.5
    return drawn
