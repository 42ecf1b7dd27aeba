"""A tiny AudioLDM2 in diffusers' folder format, of the published structure but for widths, that can be heard."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AudioLDM2Pipeline, AudioLDM2UNet2DConditionModel, AutoencoderKL, DDIMScheduler
from torch import Tensor, nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from systems.diffusers_pipeline import quiet

FEATURE, TOKEN_WIDTH, TOKENS, LATENTS = 32, 16, 8, 8
SCALING_FACTOR = 0.4110932946205139


def write_audioldm2(folder: Path, seed: int) -> None:
    """Writes the pipeline without its text encoders."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        AudioLDM2Pipeline(
            unet=_unet(),
            vae=_vae(),
            vocoder=_vocoder(),
            scheduler=DDIMScheduler(
                beta_start=0.0015,
                beta_end=0.0195,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            text_encoder=None,
            text_encoder_2=None,
            projection_model=None,
            language_model=None,
            tokenizer=None,
            tokenizer_2=None,
            feature_extractor=None,
        ).save_pretrained(folder)


def language_of_audio(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(TOKENS * TOKEN_WIDTH, FEATURE, generator=generator) / FEATURE**0.5,
        "bias": torch.randn(TOKENS * TOKEN_WIDTH, generator=generator),
    }


def _unet() -> AudioLDM2UNet2DConditionModel:
    return AudioLDM2UNet2DConditionModel(
        sample_size=64,
        in_channels=LATENTS,
        out_channels=LATENTS,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=([None, TOKEN_WIDTH, FEATURE],) * 3,
        attention_head_dim=4,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=256,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        scaling_factor=SCALING_FACTOR,
    )


def _vocoder() -> SpeechT5HifiGan:
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16000,
            upsample_initial_channel=32,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )
    )
    for layer in vocoder.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            # transformers' own are so small that nothing is heard.
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    return vocoder
