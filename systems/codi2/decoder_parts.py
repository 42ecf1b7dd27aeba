"""The decoders of a CoDi-2 with random weights, at any size: their parts, and diffusers' pipelines of these.

They are made as the builders of systems/codi2/sizes.py make theirs. A pipeline says aloud what it lacks when it is
made, and that diffusers does not keep TextToVideoSDPipeline up: systems.diffusers_pipeline.quiet hushes that.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2UNet2DConditionModel,
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    StableUnCLIPImg2ImgPipeline,
    TextToVideoSDPipeline,
    UNet2DConditionModel,
    UNet3DConditionModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from transformers import CLIPTextModel, CLIPTokenizer, SpeechT5HifiGan

from systems.codi2.sizes import Sizes, frozen, made


def unet(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
    """The image decoder's denoiser."""
    with made(device, dtype):
        return frozen(UNet2DConditionModel(**sizes.unet))


def vae(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> AutoencoderKL:
    """The image decoder's autoencoder."""
    with made(device, dtype):
        return frozen(AutoencoderKL(**sizes.vae))


def text_encoder(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> CLIPTextModel:
    """The image decoder's, for its negative tags."""
    with made(device, dtype):
        return frozen(CLIPTextModel(sizes.text_encoder))


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


def sound_unet(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> AudioLDM2UNet2DConditionModel:
    """The sound decoder's denoiser."""
    with made(device, dtype):
        return frozen(AudioLDM2UNet2DConditionModel(**sizes.sound_unet))


def sound_vae(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> AutoencoderKL:
    """The sound decoder's autoencoder, of log-mel spectrograms."""
    with made(device, dtype):
        return frozen(AutoencoderKL(**sizes.sound_vae))


def vocoder(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> SpeechT5HifiGan:
    """What the sound decoder makes samples of a log-mel spectrogram with."""
    with made(device, dtype):
        return frozen(SpeechT5HifiGan(deepcopy(sizes.vocoder)))


def sound_decoder(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> AudioLDM2Pipeline:
    """The pipeline of these parts, without what AudioLDM2 reads texts with.

    VAE and vocoder are in float32 as the decoder has them, whatever the UNet is in.
    """
    return AudioLDM2Pipeline(
        unet=sound_unet(sizes, device, dtype),
        vae=sound_vae(sizes, device),
        vocoder=vocoder(sizes, device),
        scheduler=_ddim(beta_start=0.0015, beta_end=0.0195),
        text_encoder=None,
        text_encoder_2=None,
        projection_model=None,
        language_model=None,
        tokenizer=None,
        tokenizer_2=None,
        feature_extractor=None,
    )


def video_unet(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> UNet3DConditionModel:
    """The video decoder's denoiser."""
    with made(device, dtype):
        return frozen(UNet3DConditionModel(**sizes.video_unet))


def video_decoder(
    sizes: Sizes, tokenizer: CLIPTokenizer, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> TextToVideoSDPipeline:
    """The pipeline of these parts; tokenizer and text encoder are as the image decoder's."""
    return TextToVideoSDPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder(sizes),
        unet=video_unet(sizes, device, dtype),
        scheduler=_ddim(beta_start=0.00085, beta_end=0.012),
        vae=vae(sizes, device, dtype),
    )


def _ddim(beta_start: float, beta_end: float) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=beta_start,
        beta_end=beta_end,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
