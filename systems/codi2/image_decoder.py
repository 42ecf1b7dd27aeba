"""The picture of a feature: Stable unCLIP (unCLIP-h on Stable Diffusion 2.1 at full size), sampled as CoDi-2 does.

Conventions
- A feature is an image embedding before any normalisation, (B, D): what OpenCLIP's vision tower projects its class
  token to, and so ImageBind's, whose tower it is. D is 1024 at full size.
- The UNet's class vector (2 D) is the feature noised to `noise_level`, and that level's sinusoidal embedding. The text
  is TAGS in both branches and the unconditional class vector is zero, so that guidance acts on the feature alone.
- DDIM, eta 0, on the folder's noise schedule and for its prediction type (v at full size); timesteps are 1 above the
  multiples of 1000 // steps, so that only steps that divide 1000 start from the top of the schedule.
- A picture's noise comes from its own generator: first the feature's D numbers, then the latents. It is drawn on the
  CPU in float32 whatever the device and dtype, and latents stay float32 between the steps. Neighbours in a batch change
  nothing but rounding.
- The VAE decodes picture by picture: one of 768 px is work enough for a GPU, and its largest activations, of
  256 x 768 x 768, are 0.3 GB each in 16 bit, which would bound the batch before the UNet does. A VAE that says
  `force_upcast` (as Stable Diffusion's do) runs in float32 where the dtype is float16, in which it can overflow.
- The feature-scale trap. Noise at level 500 has length 0.71 sqrt(D), 23 at full size. A feature of length 1, which is
  what a normalised embedding or a projector trained on a cosine gives, drowns in it: the picture is then the seed's
  and says nothing of the feature. Such a picture is flagged "feature_lost_in_noise".
- A picture whose VAE left the finite numbers is flagged "nan", and those pixels are 0.

Source: microsoft/i-Code at 9b16730, CoDi-2/core/models/mmllama/openllama.py `generate_image`; diffusers 0.42,
StableUnCLIPImg2ImgPipeline, which this equals bit for bit in float32 on the CPU (batch 1, a DDIM scheduler put in).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from harness.errors import UsageError, one_line
from systems.diffusers_pipeline import BROKEN_CHECKPOINT, load_pipeline, picture_of
from systems.pipeline_folder import read_pipeline_folder

PIPELINE = "StableUnCLIPImg2ImgPipeline"
# Features are given: nothing here looks at a photograph.
NOT_NEEDED = ("image_encoder", "feature_extractor")
# The released code's words for both branches.
TAGS = (
    "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, cropped, worst quality, "
    "low quality"
)
# Of both diffusions, the feature's and the latents'.
LEVELS = 1000
PREDICTIONS = ("epsilon", "sample", "v_prediction")
LOST = "feature_lost_in_noise"
# Ours: cosines of unrelated directions have the standard deviation 1 / sqrt(D), and 3 of them are hardly ever chance.
DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How pictures are drawn; the defaults are the released code's.

    `steps` is 1 to 999, `noise_level` 0 to 999, `guidance_scale` at least 0; up to 1 there is no guidance, as in
    diffusers: the unconditional branch is left out. Raises UsageError out of these ranges.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    noise_level: int = 500

    def __post_init__(self) -> None:
        for name, value, low in (("steps", self.steps, 1), ("noise_level", self.noise_level, 0)):
            if not low <= value < LEVELS:
                raise UsageError(f"{name}={value}: must be from {low} to {LEVELS - 1}")
        if not 0 <= self.guidance_scale < float("inf"):
            raise UsageError(f"guidance_scale={self.guidance_scale}: must be a number of at least 0")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, and what is wrong with it: "nan", "feature_lost_in_noise"."""

    image: Image.Image
    flags: tuple[str, ...]


class ImageDecoder:
    """Draws features.

    `module` holds all weights that decoding needs, and is moved as one: `module.to(device)`. `feature_size` is D.
    """

    def __init__(self, pipeline: Any, *, channels_last: bool = False, compile: bool = False) -> None:
        """Takes a StableUnCLIPImg2ImgPipeline on the CPU over, whose text encoder it drops; ValueError for a misfit."""
        _refuse_misfits(pipeline)
        self._pipeline = pipeline
        self._scheduler = _ddim(pipeline.scheduler)
        self._latent_shape = _latent_shape(pipeline.unet.config)
        self.feature_size: int = pipeline.image_normalizer.mean.shape[-1]
        self.module = _Weights(pipeline, _encode_tags(pipeline))
        if channels_last:
            self.module.unet.to(memory_format=torch.channels_last)
            self.module.vae.to(memory_format=torch.channels_last)
        if compile:
            self.module.unet.compile()
            self.module.vae.decoder.compile()

    @classmethod
    def load(
        cls, path: Path, dtype: torch.dtype, *, channels_last: bool = False, compile: bool = False
    ) -> ImageDecoder:
        """Reads a pipeline's folder (without its image encoder), on the CPU.

        Raises UsageError, in one line that names the folder, for another pipeline, for weights that are missing or
        misshapen, and for parts that do not fit together.
        """
        found = read_pipeline_folder(path).pipeline
        if found != PIPELINE:
            raise UsageError(f"{path}: a {found}, and CoDi-2 draws with a {PIPELINE}; give that one's folder")
        pipeline = load_pipeline(path, "auto", dtype, without=NOT_NEEDED)
        try:
            return cls(pipeline, channels_last=channels_last, compile=compile)
        except BROKEN_CHECKPOINT as error:
            raise UsageError(f"{path}: {one_line(error)}") from error

    @torch.no_grad()
    def decode(self, embeddings: Tensor, generators: Sequence[torch.Generator], sampling: Sampling) -> list[Picture]:
        """A picture for each row of embeddings (B, D), un-normalised, each with a CPU generator of its own.

        Raises UsageError where features are not of `feature_size`.
        """
        latents = self.denoise(embeddings, generators, sampling)
        lost = self._lost(embeddings, sampling.noise_level)
        drawn = [picture_of(self._pixels(latent)) for latent in latents]
        return [
            Picture(image, (*flags, LOST) if is_lost else flags)
            for (image, flags), is_lost in zip(drawn, lost, strict=True)
        ]

    @torch.no_grad()
    def denoise(self, embeddings: Tensor, generators: Sequence[torch.Generator], sampling: Sampling) -> Tensor:
        """The latents (B, channels, height, width) of the pictures, float32, as the VAE takes them times its scale."""
        device, dtype, unet = self.module.context.device, self.module.unet.dtype, self.module.unet
        classes = self._classes(embeddings, generators, sampling.noise_level).to(device)
        latents = _draw(generators, self._latent_shape).to(device)
        guided = sampling.guidance_scale > 1
        labels = torch.cat([torch.zeros_like(classes), classes]).to(dtype) if guided else classes.to(dtype)
        context = self.module.context.expand(len(labels), -1, -1)
        self._scheduler.set_timesteps(sampling.steps)
        for timestep in self._scheduler.timesteps:
            inputs = torch.cat([latents, latents]) if guided else latents
            predicted: Tensor = unet(
                inputs.to(dtype), timestep.to(device), context, class_labels=labels, return_dict=False
            )[0].float()
            if guided:
                unconditional, conditional = predicted.chunk(2)
                predicted = unconditional + sampling.guidance_scale * (conditional - unconditional)
            latents = self._scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        return latents

    def _classes(self, embeddings: Tensor, generators: Sequence[torch.Generator], level: int) -> Tensor:
        """Class vectors (B, 2 D), float32: the features noised, and the noise level's embedding."""
        if embeddings.shape[1:] != (self.feature_size,):
            raise UsageError(
                f"features of shape {tuple(embeddings.shape[1:])}, and this image decoder takes {self.feature_size} "
                "numbers; the checkpoint was made for another one"
            )
        device = self.module.context.device
        noise = _draw(generators, (self.feature_size,)).to(device)
        classes: Tensor = self._pipeline.noise_image_embeddings(embeddings.to(device, torch.float32), level, noise)
        return classes

    def _lost(self, embeddings: Tensor, level: int) -> list[bool]:
        """Which features the noise drowns: what is left of them could be chance."""
        scaled = self.module.image_normalizer.scale(embeddings.to(self.module.context.device, torch.float32))
        kept = float(self._pipeline.image_noising_scheduler.alphas_cumprod[level])
        cosines = surviving_cosine(scaled.norm(dim=-1), self.feature_size, kept)
        lost: list[bool] = (cosines < DEVIATIONS / self.feature_size**0.5).tolist()
        return lost

    def _pixels(self, latent: Tensor) -> NDArray[Any]:
        """One picture (height, width, 3) of floats in [0, 1], on the CPU; NaN is what the VAE gave no number for."""
        vae = self.module.vae
        decoded = vae.decode((latent / vae.config.scaling_factor).to(vae.dtype)[None], return_dict=False)[0][0].float()
        # Clamped, an overflow would be plain white.
        decoded = decoded.where(decoded.isfinite(), float("nan"))
        pixels: NDArray[Any] = (decoded / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return pixels


def surviving_cosine(norm: Tensor, size: int, kept: float) -> Tensor:
    """Expected cosine between vectors of this norm and what noise makes of them, of the shape of `norm`.

    `kept` is the diffusion's cumulative alpha: z = sqrt(kept) c + sqrt(1 - kept) e with e standard normal of `size`
    numbers. Then c z / |c| has the mean sqrt(kept) |c|, and |z|^2 the mean kept |c|^2 + (1 - kept) size; the cosine
    spreads around their ratio by at most 1 / sqrt(size).
    """
    signal = kept**0.5 * norm
    cosine: Tensor = signal / (signal**2 + (1 - kept) * size).sqrt()
    return cosine


class _Weights(nn.Module):
    """What must be on the device while decoding; `context` is TAGS as the UNet reads them, (1, 77, width)."""

    context: Tensor

    def __init__(self, pipeline: Any, context: Tensor) -> None:
        super().__init__()
        self.unet: Any = pipeline.unet
        self.vae: Any = pipeline.vae
        self.image_normalizer: Any = pipeline.image_normalizer.float()
        if self.vae.dtype == torch.float16 and self.vae.config.force_upcast:
            self.vae.float()
        self.register_buffer("context", context.to(self.unet.dtype))


def _encode_tags(pipeline: Any) -> Tensor:
    """TAGS as states (1, 77, width) of the text encoder, which is dropped: nothing else is ever encoded.

    Computed in float32, since it is done once, and where CPUs may lack half precision.
    """
    with torch.no_grad():
        pipeline.text_encoder.float()
        context: Tensor = pipeline.encode_prompt(TAGS, "cpu", 1, do_classifier_free_guidance=False)[0]
    pipeline.text_encoder = pipeline.tokenizer = None
    return context


def _ddim(scheduler: Any) -> Any:
    """DDIM on another scheduler's noise schedule, with the released sampler's timesteps and end."""
    return DDIMScheduler.from_config(
        scheduler.config,
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
        thresholding=False,
    )


def _latent_shape(config: Any) -> tuple[int, int, int]:
    """(channels, height, width) that a UNet was made for; its config has one number for both sides, or two."""
    match config.sample_size:
        case int(side):
            return config.in_channels, side, side
        case [int(height), int(width)]:
            return config.in_channels, height, width
    raise ValueError(f"the UNet's sample_size is {config.sample_size}, which is no size")


def _draw(generators: Sequence[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers (B, *shape), each row from its own generator."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def _refuse_misfits(pipeline: Any) -> None:
    unet, vae, text = pipeline.unet.config, pipeline.vae.config, pipeline.text_encoder.config
    size = pipeline.image_normalizer.mean.shape[-1]
    if unet.class_embed_type != "projection" or unet.projection_class_embeddings_input_dim != 2 * size:
        raise ValueError(
            f"the UNet takes class vectors of {unet.projection_class_embeddings_input_dim} numbers by "
            f"{unet.class_embed_type}, and features of {size} make projections of {2 * size}"
        )
    if unet.cross_attention_dim != text.hidden_size:
        raise ValueError(
            f"the UNet reads text {unet.cross_attention_dim} wide, the text encoder's is {text.hidden_size}"
        )
    if not unet.in_channels == unet.out_channels == vae.latent_channels:
        raise ValueError(
            f"the UNet turns {unet.in_channels} channels into {unet.out_channels}, the VAE has {vae.latent_channels}"
        )
    for scheduler in (pipeline.scheduler.config, pipeline.image_noising_scheduler.config):
        if scheduler.num_train_timesteps != LEVELS:
            raise ValueError(
                f"a scheduler has {scheduler.num_train_timesteps} timesteps, Stable unCLIP's have {LEVELS}"
            )
    if pipeline.scheduler.config.prediction_type not in PREDICTIONS:
        raise ValueError(f"the scheduler's prediction_type is none of {', '.join(PREDICTIONS)}")
