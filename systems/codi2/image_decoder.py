"""The picture of a feature: Stable unCLIP (unCLIP-h on Stable Diffusion 2.1 at full size), sampled as CoDi-2 does.

Conventions
- A feature is an image embedding before any normalisation, (B, D): what OpenCLIP's vision tower projects its class
  token to, and so ImageBind's, whose tower it is. D is 1024 at full size.
- The UNet's class vector (2 D) is the feature noised to `noise_level`, and that level's sinusoidal embedding. The text
  is TAGS in both branches and the unconditional class vector is zero, so that guidance acts on the feature alone.
- DDIM, eta 0, on the folder's noise schedule and for its prediction type (v at full size): systems.codi2.diffusion.
- A picture's noise comes from its own generator: first the feature's D numbers, then the latents. It is drawn on the
  CPU in float32 whatever the device and dtype, and latents stay float32 between the steps. Neighbours in a batch change
  nothing but rounding.
- The VAE decodes as many pictures at once as are one of 768 px: that is work enough for a GPU, and its largest
  activations, of 256 x 768 x 768, are 0.3 GB each in 16 bit, which would bound the batch before the UNet does. A VAE
  that says `force_upcast` (as Stable Diffusion's do) runs in float32 where the dtype is float16, in which it can
  overflow.
- The feature-scale trap. Noise at level 500 has length 0.71 sqrt(D), 23 at full size. A feature of length 1, which is
  what a normalised embedding or a projector trained on a cosine gives, drowns in it: the picture is then the seed's
  and says nothing of the feature. Such a picture is flagged "feature_lost_in_noise".
- A picture whose VAE left the finite numbers is flagged "nan", and those pixels are 0.

Editing: a source is scaled to cover the picture's size, its centre is cut out, and it becomes latents, the mode of the
VAE's posterior of its pixels in [-1, 1].
- With editing columns (CoDi-2 "concatenates" the source, no more is published) they follow the noisy channels into the
  UNet, without the VAE's scaling factor, as InstructPix2Pix's do. Guidance has three branches: of the class vectors
  only the last is not zero, and the source is zero in the first.
- Without, the source is edited by SDEdit at `strength`, and the picture is flagged "sdedit".
- Pictures with a source and those without are denoised apart, since they have three branches and two, or begin at other
  timesteps: the UNet sees 3 rows a picture with a source and 2 without.

Source: microsoft/i-Code at 9b16730, CoDi-2/core/models/mmllama/openllama.py `generate_image`; diffusers 0.42,
StableUnCLIPImg2ImgPipeline, which this equals bit for bit in float32 on the CPU (batch 1, a DDIM scheduler put in, no
source), and StableDiffusionInstructPix2PixPipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from harness.errors import UsageError, one_line
from systems.codi2 import diffusion
from systems.codi2.decoders import IMAGE as PIPELINE
from systems.codi2.diffusion import LEVELS
from systems.diffusers_pipeline import BROKEN_CHECKPOINT, cover, load_pipeline, picture_of
from systems.pipeline_folder import read_pipeline_folder

# Features are given: nothing here looks at a photograph.
NOT_NEEDED = ("image_encoder", "feature_extractor")
# The released code's words for both branches.
TAGS = (
    "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, cropped, worst quality, "
    "low quality"
)
LOST = "feature_lost_in_noise"
# What the VAE decodes at once: one picture of 768 px.
VAE_LATENTS = 96 * 96
# Ours: cosines of unrelated directions have the standard deviation 1 / sqrt(D), and 3 of them are hardly ever chance.
DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How pictures are drawn; the defaults are the released code's, and for edited ones those of diffusers.

    `steps` is 1 to 999, `noise_level` 0 to 999, `guidance_scale` at least 0; up to 1 there is no guidance, as in
    diffusers: the unconditional branch is left out. Of edited pictures alone: `source_guidance_scale` is at least 0,
    and SDEdit's `strength` above 0, which would be the source, and up to 1, which is all but noise. Raises UsageError
    out of these ranges.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    noise_level: int = 500
    source_guidance_scale: float = 1.5
    strength: float = 0.8

    def __post_init__(self) -> None:
        diffusion.require("steps", self.steps, 1, LEVELS - 1)
        diffusion.require("noise_level", self.noise_level, 0, LEVELS - 1)
        diffusion.require("guidance_scale", self.guidance_scale, 0)
        diffusion.require("source_guidance_scale", self.source_guidance_scale, 0)
        if not 0 < self.strength <= 1:
            raise UsageError(f"strength={self.strength}: must be above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, and what is to be said of it: "nan", "feature_lost_in_noise", "sdedit"."""

    image: Image.Image
    flags: tuple[str, ...]


class ImageDecoder:
    """Draws features.

    `module` holds all weights that decoding needs, and is moved as one: `module.to(device)`. `feature_size` is D.
    """

    def __init__(
        self, pipeline: Any, *, editing: Tensor | None = None, channels_last: bool = False, compile: bool = False
    ) -> None:
        """Takes a StableUnCLIPImg2ImgPipeline on the CPU over, whose text encoder it drops; ValueError for a misfit.

        `editing` are the columns (out, 4, 3, 3) of a source in the UNet's first convolution.
        """
        _refuse_misfits(pipeline)
        self._pipeline = pipeline
        self._scheduler = diffusion.ddim(pipeline.scheduler)
        self._latent_shape = _latent_shape(pipeline.unet.config)
        self.feature_size: int = pipeline.image_normalizer.mean.shape[-1]
        self._edits = editing is not None
        if editing is not None:
            pipeline.unet.conv_in = diffusion.SourceInput(pipeline.unet.conv_in, editing)
        self.module = _Weights(pipeline, _encode_tags(pipeline))
        if channels_last:
            self.module.unet.to(memory_format=torch.channels_last)
            self.module.vae.to(memory_format=torch.channels_last)
        if compile:
            self.module.unet.compile()
            self.module.vae.decoder.compile()

    @classmethod
    def load(
        cls,
        path: Path,
        dtype: torch.dtype,
        *,
        editing: Tensor | None = None,
        channels_last: bool = False,
        compile: bool = False,
    ) -> ImageDecoder:
        """Reads a pipeline's folder (without its image encoder), on the CPU; `editing` is as `__init__` has it.

        Raises UsageError, in one line that names the folder, for another pipeline, for weights that are missing or
        misshapen, and for parts that do not fit together, `editing` among them.
        """
        found = read_pipeline_folder(path).pipeline
        if found != PIPELINE:
            raise UsageError(f"{path}: a {found}, and CoDi-2 draws with a {PIPELINE}; give that one's folder")
        pipeline = load_pipeline(path, "auto", dtype, without=NOT_NEEDED)
        try:
            return cls(pipeline, editing=editing, channels_last=channels_last, compile=compile)
        except BROKEN_CHECKPOINT as error:
            raise UsageError(f"{path}: {one_line(error)}") from error

    @torch.no_grad()
    def decode(
        self,
        embeddings: Tensor,
        generators: Sequence[torch.Generator],
        sampling: Sampling,
        sources: Sequence[Image.Image | None] = (),
    ) -> list[Picture]:
        """A picture for each row of embeddings (B, D), un-normalised, each with a CPU generator of its own.

        A source, mode RGB, is what the picture of that row is made from; without sources no row has one. Raises
        UsageError where features are not of `feature_size`.
        """
        sources = sources or [None] * len(embeddings)
        latents = self.denoise(embeddings, generators, sampling, sources)
        lost = self._lost(embeddings, sampling.noise_level)
        together = max(1, VAE_LATENTS // latents[0, 0].numel())
        drawn = [pixels for some in torch.split(latents, together) for pixels in self._pixels(some)]
        return [
            _picture(pixels, is_lost=is_lost, by_sdedit=source is not None and not self._edits)
            for pixels, is_lost, source in zip(drawn, lost, sources, strict=True)
        ]

    @torch.no_grad()
    def denoise(
        self,
        embeddings: Tensor,
        generators: Sequence[torch.Generator],
        sampling: Sampling,
        sources: Sequence[Image.Image | None] = (),
    ) -> Tensor:
        """The latents (B, channels, height, width) of the pictures, float32, as the VAE takes them times its scale."""
        sources = sources or [None] * len(embeddings)
        if len(sources) != len(embeddings):
            raise ValueError(f"{len(embeddings)} features and {len(sources)} sources")
        classes = self._classes(embeddings, generators, sampling.noise_level)
        noise = diffusion.draw(generators, self._latent_shape).to(classes.device)
        latents = torch.empty_like(noise)
        for rows in diffusion.by_source(sources):
            given = [source for source in (sources[row] for row in rows) if source is not None]
            encoded = torch.stack([self._encode(source) for source in given]) if given else None
            latents[rows] = self._denoise(classes[rows], noise[rows], encoded, sampling)
        return latents

    def _denoise(self, classes: Tensor, noise: Tensor, sources: Tensor | None, sampling: Sampling) -> Tensor:
        """Latents of rows that all have a source, or none; sources are latents as `_encode` makes them."""
        two = diffusion.two_way(sampling.guidance_scale)
        if sources is None:
            return self._run(classes, noise, None, two, sampling.steps)
        if self._edits:
            three = diffusion.three_way(sampling.source_guidance_scale, sampling.guidance_scale)
            return self._run(classes, noise, sources, three, sampling.steps)
        scaled = sources * self.module.vae.config.scaling_factor
        skipped = diffusion.skipped_steps(sampling.steps, sampling.strength)
        started = diffusion.noised(scaled, noise, self._scheduler, sampling.steps, skipped)
        return self._run(classes, started, None, two, sampling.steps, skipped)

    def _run(
        self,
        classes: Tensor,
        latents: Tensor,
        sources: Tensor | None,
        scales: Sequence[float],
        steps: int,
        skipped: int = 0,
    ) -> Tensor:
        """Only the last branch is told the feature, and all but the first see the source."""
        unet, dtype, untold = self.module.unet, self.module.unet.dtype, len(scales)
        labels = diffusion.only_last(classes, untold).to(dtype)
        context = self.module.context.expand(len(labels), -1, -1)
        seen = None if sources is None else torch.cat([torch.zeros_like(sources), *([sources] * untold)])

        def predict(inputs: Tensor, timestep: Tensor) -> Tensor:
            inputs = inputs if seen is None else torch.cat([inputs, seen], dim=1)
            predicted: Tensor = unet(inputs.to(dtype), timestep, context, class_labels=labels, return_dict=False)[0]
            return predicted

        return diffusion.denoise(predict, latents, self._scheduler, steps, scales, skipped)

    def _encode(self, source: Image.Image) -> Tensor:
        """A source's latents (channels, height, width), float32, without the VAE's scaling factor."""
        vae, factor = self.module.vae, self._pipeline.vae_scale_factor
        _, height, width = self._latent_shape
        pixels = self._pipeline.image_processor.preprocess(cover(source, (factor * height, factor * width)))
        latents: Tensor = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()[0].float()
        return latents

    def _classes(self, embeddings: Tensor, generators: Sequence[torch.Generator], level: int) -> Tensor:
        """Class vectors (B, 2 D), float32: the features noised, and the noise level's embedding."""
        if embeddings.shape[1:] != (self.feature_size,):
            raise UsageError(
                f"features of shape {tuple(embeddings.shape[1:])}, and this image decoder takes {self.feature_size} "
                "numbers; the checkpoint was made for another one"
            )
        device = self.module.context.device
        noise = diffusion.draw(generators, (self.feature_size,)).to(device)
        classes: Tensor = self._pipeline.noise_image_embeddings(embeddings.to(device, torch.float32), level, noise)
        return classes

    def _lost(self, embeddings: Tensor, level: int) -> list[bool]:
        """Which features the noise drowns: what is left of them could be chance."""
        scaled = self.module.image_normalizer.scale(embeddings.to(self.module.context.device, torch.float32))
        kept = float(self._pipeline.image_noising_scheduler.alphas_cumprod[level])
        cosines = surviving_cosine(scaled.norm(dim=-1), self.feature_size, kept)
        lost: list[bool] = (cosines < DEVIATIONS / self.feature_size**0.5).tolist()
        return lost

    def _pixels(self, latents: Tensor) -> NDArray[Any]:
        """(B, height, width, 3) of floats in [0, 1], on the CPU; NaN is what the VAE gave no number for."""
        vae = self.module.vae
        decoded = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0].float()
        # Clamped, an overflow would be plain white.
        decoded = decoded.where(decoded.isfinite(), float("nan"))
        pixels: NDArray[Any] = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return pixels


def _picture(pixels: NDArray[Any], *, is_lost: bool, by_sdedit: bool) -> Picture:
    image, flags = picture_of(pixels)
    said = ((LOST, is_lost), (diffusion.SDEDIT, by_sdedit))
    return Picture(image, (*flags, *(flag for flag, holds in said if holds)))


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


def _latent_shape(config: Any) -> tuple[int, int, int]:
    """(channels, height, width) that a UNet was made for; its config has one number for both sides, or two."""
    match config.sample_size:
        case int(side):
            return config.in_channels, side, side
        case [int(height), int(width)]:
            return config.in_channels, height, width
    raise ValueError(f"the UNet's sample_size is {config.sample_size}, which is no size")


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
