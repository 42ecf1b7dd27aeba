"""The clip of a feature: a text-to-video diffusion (zeroscope_v2_576w at full size) that reads the feature as its text.

Conventions
- A feature is an image embedding before any normalisation, (B, D), as the image decoder takes it; D is 1024 at full
  size. The checkpoint's own Linear makes n tokens of it, 1 to 8, in the place of the text encoder's 77: those and
  nothing else. Padding them with zeros to 77 is the other reading; the UNet's keys and values have no bias, so that
  such a pad takes attention and gives nothing, and would leave the feature n parts in 77.
- No noise is added to the feature and nothing normalises it: there is no length at which it is lost, but the Linear
  was trained on one length, and only on that one.
- The unconditional branch is the empty prompt, all 77 states of the folder's own text encoder. Branches have different
  lengths, and UNet3DConditionModel takes no mask for what it reads: each runs by itself.
- DDIM, eta 0, on the folder's noise schedule (systems/codi2/diffusion.py), all frames of a clip together.
- A clip's noise, (4, frames, height / 8, width / 8) at full size, comes from its own generator, drawn on the CPU in
  float32 whatever the device and dtype. Neighbours in a batch change nothing but rounding.
- The size is the UNet's `sample_size`, one number or height and width, in latent pixels. Where it is 32 it says
  nothing: models made from ModelScope's keep that number whatever they draw (zeroscope_v1_320s, zeroscope_v2_XL). 40 x
  72 is taken for it: zeroscope_v2_576w was trained at 320 x 576 px, and its card draws at that size. A model of
  another size says so by a pair.
- The VAE decodes 4 frames at once, about as many pixels as one picture of the image decoder. A VAE that says
  `force_upcast` runs in float32 where the dtype is float16.
- A clip whose VAE left the finite numbers is flagged "nan", and those pixels are 0.

The paper names zeroscope and says nothing of how a feature is put in; the Linear is ours (docs/codi2.md).
Source: diffusers 0.42, TextToVideoSDPipeline, which this equals to rounding. That class is deprecated and warns: it is
never made here, its parts are read one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from harness.errors import UsageError, one_line
from systems.codi2.checkpoint import MOST_VIDEO_TOKENS
from systems.codi2.decoders import VIDEO as PIPELINE
from systems.codi2.diffusion import LEVELS, ddim, denoise, draw, require, two_way
from systems.diffusers_pipeline import BROKEN_CHECKPOINT, load_model, quiet
from systems.pipeline_folder import read_pipeline_folder

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
# "16 frames which at 8 frames per seconds amounts to 2 seconds of video": diffusers, of this pipeline's default.
FRAMES_PER_SECOND = 8.0
TOKENS = range(1, MOST_VIDEO_TOKENS + 1)
# The sample_size that models made from ModelScope's keep, and what zeroscope_v2_576w draws instead.
INHERITED = 32
ZEROSCOPE = (40, 72)
FRAMES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class VideoSampling:
    """How clips are drawn; the defaults are TextToVideoSDPipeline's.

    `steps` is 1 to 999, `frames` at least 1, `guidance_scale` at least 0; up to 1 there is no guidance, as in
    diffusers: the unconditional branch is left out. Raises UsageError out of these ranges.
    """

    steps: int = 50
    guidance_scale: float = 9.0
    frames: int = 16

    def __post_init__(self) -> None:
        require("steps", self.steps, 1, LEVELS - 1)
        require("frames", self.frames, 1)
        require("guidance_scale", self.guidance_scale, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames (frames, height, width, 3) uint8 RGB of even height and width, and what is wrong with them: "nan"."""

    frames: NDArray[np.uint8]
    flags: tuple[str, ...]


class VideoDecoder:
    """Draws features, as clips of FRAMES_PER_SECOND.

    `module` holds all weights that decoding needs, and is moved as one: `module.to(device)`. `feature_size` is D.
    """

    def __init__(
        self, unet: Any, vae: Any, scheduler: Any, empty_prompt: Tensor, context: Mapping[str, Tensor]
    ) -> None:
        """Takes parts on the CPU over; ValueError for a misfit.

        `empty_prompt` (1, 77, width) is what the UNet reads in the unconditional branch. `context` has the "weight"
        (n width, D) and the "bias" (n width) of the Linear that makes n tokens of a feature.
        """
        _refuse_misfits(unet, vae, empty_prompt, context)
        self._scheduler = ddim(scheduler)
        self._latent_size = _latent_size(unet.config.sample_size)
        self.module = _Weights(unet, vae, empty_prompt, context)
        self.feature_size: int = self.module.context.in_features

    @classmethod
    def load(cls, path: Path, dtype: torch.dtype, context: Mapping[str, Tensor]) -> VideoDecoder:
        """Reads a pipeline's folder, on the CPU; `context` is the checkpoint's Linear, as `__init__` has it.

        Raises UsageError, in one line that names the folder, for another pipeline, for weights that are missing or
        misshapen, and for parts that do not fit together.
        """
        _refuse_other_pipelines(path)
        with quiet():
            unet = load_model(UNet3DConditionModel, path / "unet", dtype)
            vae = load_model(AutoencoderKL, path / "vae", dtype)
            # Used once, and CPUs may lack half precision.
            text_encoder = load_model(CLIPTextModel, path / "text_encoder", torch.float32)
            try:
                tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)
                scheduler = DDIMScheduler.from_pretrained(path / "scheduler", local_files_only=True)
                return cls(unet, vae, scheduler, _encode_nothing(tokenizer, text_encoder), context)
            except BROKEN_CHECKPOINT as error:
                raise UsageError(f"{path}: {one_line(error)}") from error

    @torch.no_grad()
    def decode(self, embeddings: Tensor, generators: Sequence[torch.Generator], sampling: VideoSampling) -> list[Clip]:
        """A clip for each row of embeddings (B, D), un-normalised, each with a CPU generator of its own.

        Raises UsageError where features are not of `feature_size`.
        """
        return [self._clip(latents) for latents in self.denoise(embeddings, generators, sampling)]

    @torch.no_grad()
    def denoise(self, embeddings: Tensor, generators: Sequence[torch.Generator], sampling: VideoSampling) -> Tensor:
        """The clips' latents (B, channels, frames, height, width), float32, as the VAE takes them times its scale."""
        unet, device = self.module.unet, self.module.unconditional.device
        scales = two_way(sampling.guidance_scale)
        conditional = self._tokens(embeddings.to(device, torch.float32))
        unconditional = self.module.unconditional.expand(len(conditional), -1, -1)
        branches = [unconditional, conditional] if scales else [conditional]

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            inputs = latents.to(unet.dtype).chunk(len(branches))
            predicted = [
                unet(noisy, timestep, tokens, return_dict=False)[0]
                for noisy, tokens in zip(inputs, branches, strict=True)
            ]
            return torch.cat(predicted)

        noise = draw(generators, (unet.config.in_channels, sampling.frames, *self._latent_size)).to(device)
        return denoise(predict, noise, self._scheduler, sampling.steps, scales)

    def _tokens(self, embeddings: Tensor) -> Tensor:
        """What the UNet reads of features (B, D): (B, n, width), in its dtype."""
        if embeddings.shape[1:] != (self.feature_size,):
            raise UsageError(
                f"features of shape {tuple(embeddings.shape[1:])}, and this video decoder takes {self.feature_size} "
                "numbers; the checkpoint was made for another one"
            )
        tokens: Tensor = self.module.context(embeddings).unflatten(1, (-1, self.module.unconditional.shape[-1]))
        return tokens.to(self.module.unet.dtype)

    def _clip(self, latents: Tensor) -> Clip:
        """The clip of its latents (channels, frames, height, width)."""
        pixels = torch.cat([self._pixels(some) for some in torch.split(latents.transpose(0, 1), FRAMES_AT_ONCE)]).cpu()
        finite = pixels.isfinite()
        levels = (255 * pixels.where(finite, 0.0)).round().byte()
        return Clip(levels.permute(0, 2, 3, 1).contiguous().numpy(), () if finite.all() else ("nan",))

    def _pixels(self, latents: Tensor) -> Tensor:
        """Frames (frames, 3, height, width) in [0, 1], float32; NaN is what the VAE gave no number for."""
        vae = self.module.vae
        decoded = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0].float()
        # Clamped, an overflow would be plain white.
        decoded = decoded.where(decoded.isfinite(), float("nan"))
        pixels: Tensor = (decoded / 2 + 0.5).clamp(0, 1)
        return pixels


class _Weights(nn.Module):
    """What must be on the device while decoding; `unconditional` is the empty prompt as the UNet reads it."""

    unconditional: Tensor

    def __init__(self, unet: Any, vae: Any, empty_prompt: Tensor, context: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.unet: Any = unet
        self.vae: Any = vae
        if vae.dtype == torch.float16 and vae.config.force_upcast:
            vae.float()
        rows, columns = context["weight"].shape
        # Small beside the UNet: it stays in float32, as the embeddings are.
        self.context = nn.Linear(columns, rows, device="meta")
        self.context.load_state_dict({name: tensor.float() for name, tensor in context.items()}, assign=True)
        self.context.requires_grad_(False)
        self.register_buffer("unconditional", empty_prompt.to(unet.dtype))


@torch.no_grad()
def _encode_nothing(tokenizer: Any, text_encoder: Any) -> Tensor:
    """The states (1, 77, width) of the empty prompt, which is padded as every prompt of this model was."""
    tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
    states: Tensor = text_encoder(tokens.input_ids)[0]
    return states


def _latent_size(said: Any) -> tuple[int, int]:
    """Height and width in latent pixels of the UNet's `sample_size`: one number, or both."""
    match said:
        case int(side):
            return ZEROSCOPE if side == INHERITED else (side, side)
        case [int(height), int(width)]:
            return height, width
    raise ValueError(f"the UNet's sample_size is {said}, which is no size")


def _refuse_other_pipelines(path: Path) -> None:
    folder = read_pipeline_folder(path)
    if folder.pipeline != PIPELINE:
        raise UsageError(
            f"{path}: a {folder.pipeline}, and CoDi-2 draws clips with a {PIPELINE}; give that one's folder"
        )
    missing = [name for name in PARTS if name not in folder.components]
    if missing:
        raise UsageError(f"{path}: model_index.json names no {missing[0]}; a {PIPELINE} has {', '.join(PARTS)}")


def _refuse_misfits(unet: Any, vae: Any, empty_prompt: Tensor, context: Mapping[str, Tensor]) -> None:
    width, text_width = unet.config.cross_attention_dim, empty_prompt.shape[-1]
    if width != text_width:
        raise ValueError(f"the UNet reads text {width} wide, the text encoder's is {text_width}")
    if not unet.config.in_channels == unet.config.out_channels == vae.config.latent_channels:
        raise ValueError(
            f"the UNet turns {unet.config.in_channels} channels into {unet.config.out_channels}, the VAE has "
            f"{vae.config.latent_channels}"
        )
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    height, size = (factor * side for side in _latent_size(unet.config.sample_size))
    if height % 2 or size % 2:
        raise ValueError(f"frames would be {height} x {size} px, and H.264 holds even numbers of pixels only")
    rows = len(context["weight"])
    if rows not in [tokens * width for tokens in TOKENS] or rows != len(context["bias"]):
        raise ValueError(
            f"the checkpoint's video.context has {rows} rows and a bias of {len(context['bias'])}, and the UNet reads "
            f"{TOKENS[0]} to {TOKENS[-1]} tokens of {width}"
        )
