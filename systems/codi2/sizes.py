"""How large a CoDi-2 is: every part's configuration as data, at the paper's size and at a tiny one, and its builders.

    FULL    ImageBind-Huge, Llama-2-7b-chat, LoRA 128, Stable Diffusion 2.1 unCLIP-h, AudioLDM2, zeroscope v2 576w
    TINY    about 4 million parameters in all, of the same classes: `anybench init codi2-tiny`

Builders, those of the decoders in systems/codi2/decoder_parts.py, give randomly initialised models in evaluation mode,
made where they are wanted: on "meta" for counting, on "cuda" in bfloat16 for measuring without any file. Random numbers
are torch's own: seed them first.

Sources: the published configurations (ImageBind: systems/imagebind/config.py; Llama 2: its config.json; the decoders:
the config.json of each component of stabilityai/stable-diffusion-2-1-unclip, cvssp/audioldm2 and
cerspense/zeroscope_v2_576w, whose VAE and text encoder are those of Stable Diffusion 2.1). LoRA's rank is the paper's
(appendix B); its alpha is not published: 256 is our choice, twice the rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import CLIPTextConfig, LlamaConfig, LlamaForCausalLM, SpeechT5HifiGanConfig

from systems.codi2.checkpoint import (
    IMAGE_EDITING,
    SOUND_EDITING,
    Adapters,
    Widths,
    adapter_shapes,
    adapters_of,
    sound_shapes,
    video_shapes,
)
from systems.codi2.decoders import Shape, SoundWidths, VideoWidths
from systems.codi2.description import Lora
from systems.imagebind.config import HUGE, PERCEIVED, ImageBindConfig, Sheet, Text, Vision
from systems.imagebind.model import ImageBind

# How many tokens zeroscope is told of a feature; ours, 1 to 8 would do.
VIDEO_TOKENS = 4

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Sizes:
    """A configuration for every part.

    `unet`, `sound_unet` and `video_unet` are the arguments of diffusers' UNet2DConditionModel,
    AudioLDM2UNet2DConditionModel and UNet3DConditionModel, `vae` and `sound_vae` those of its AutoencoderKL. `vae` and
    `text_encoder` are the video decoder's too.
    """

    imagebind: ImageBindConfig
    language_model: LlamaConfig
    lora: Lora
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: CLIPTextConfig
    sound_unet: Mapping[str, Any]
    sound_vae: Mapping[str, Any]
    vocoder: SpeechT5HifiGanConfig
    video_unet: Mapping[str, Any]

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
    sound_unet={
        # Rows of the mel's latents, 4 x 10 ms each: 10.24 s.
        "sample_size": 256,
        "in_channels": 8,
        "out_channels": 8,
        "block_out_channels": (128, 256, 384, 640),
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        "up_block_types": (*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
        "attention_head_dim": 8,
        "cross_attention_dim": ([None, 768, 1024],) * 4,
    },
    sound_vae={
        "sample_size": 1024,
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 8,
        "block_out_channels": (128, 256, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "scaling_factor": 0.4110932946205139,
    },
    vocoder=SpeechT5HifiGanConfig(
        model_in_dim=64,
        sampling_rate=16000,
        upsample_initial_channel=1024,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        normalize_before=False,
    ),
    video_unet={
        # It says nothing: systems/codi2/video_decoder.py.
        "sample_size": 32,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 64,
        "cross_attention_dim": 1024,
    },
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
    # The vocabulary of systems.tiny.pipelines.clip_tokenizer.
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
    sound_unet={
        "sample_size": 52,
        "in_channels": 8,
        "out_channels": 8,
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "attention_head_dim": 4,
        "cross_attention_dim": ([None, 16, 64],) * 3,
    },
    sound_vae={
        "sample_size": 256,
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 8,
        "block_out_channels": (8, 16, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "norm_num_groups": 8,
        "scaling_factor": 0.4110932946205139,
    },
    vocoder=SpeechT5HifiGanConfig(
        model_in_dim=64,
        sampling_rate=16000,
        upsample_initial_channel=32,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        normalize_before=False,
    ),
    video_unet={
        "sample_size": 4,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
    },
)


def imagebind(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> ImageBind:
    """The encoder."""
    with made(device, dtype):
        return frozen(ImageBind(sizes.imagebind))


def language_model(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """The language model as it was before any training of CoDi-2: without LoRA, projectors and tags."""
    with made(device, dtype):
        # A copy: what is done to the model, such as adding tags, is written into its configuration.
        return frozen(LlamaForCausalLM(deepcopy(sizes.language_model)))


def adapters(sizes: Sizes, device: str = "cpu") -> Adapters:
    """What training adds, float32: every matrix and every row with entries of variance 1 / inputs, norms as they begin.

    LoRA's B and the columns for editing, which training begins with at zero, are as random as all else: what is left
    out shall be seen.
    """
    shapes = {**adapter_shapes(sizes.widths, sizes.imagebind.dimension, sizes.lora), **_decoder_shapes(sizes)}
    return adapters_of({key: _random(key, shape, device) for key, shape in shapes.items()})


def _decoder_shapes(sizes: Sizes) -> dict[str, Shape]:
    """Of what is trained for the decoders."""
    features, unet, sound = sizes.imagebind.dimension, sizes.unet, sizes.sound_unet
    _, width, _ = sound["cross_attention_dim"][0]
    columns = (sound["block_out_channels"][0], sound["in_channels"], 3, 3)
    return {
        **sound_shapes(SoundWidths(width, columns), features),
        **video_shapes(VideoWidths(sizes.video_unet["cross_attention_dim"]), features, VIDEO_TOKENS),
        IMAGE_EDITING: (unet["block_out_channels"][0], 4, 3, 3),
        SOUND_EDITING: columns,
    }


@contextmanager
def made(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Modules are built right there, in that precision: at full size there may be no room for them twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def frozen(part: Part) -> Part:
    """The module itself, in evaluation mode and without gradients."""
    module: Any = part
    module.eval().requires_grad_(False)
    return part


def _random(key: str, shape: tuple[int, ...], device: str) -> Tensor:
    """The entries of a weight; of a projector's LayerNorm (2.) ones, of a bias zeros."""
    if key.endswith(".bias"):
        return torch.zeros(shape, device=device)
    if len(shape) == 1:
        return torch.ones(shape, device=device)
    drawn: Tensor = torch.randn(shape, device=device) / prod(shape[1:]) ** 0.5
    return drawn
