"""The denoiser of the drawn world's sounds: AudioLDM2's UNet on latents, told a feature and perhaps given a source.

It is trained for what systems.codi2.sound_decoder does with it. A feature is the one token of the text stream, and a
linear layer of it the 8 tokens of the other; where it is left out, for guidance, both streams are zero. A source's
latents, of unit variance as the noisy ones are, go through columns of their own of the first convolution, zeros
standing for no source.

What it is told is what CoDi-2 may predict: features of sounds and as often of their captions, of the norm that they
have or of norm sqrt(D), with a little noise in them, since no prediction is exact.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AudioLDM2UNet2DConditionModel, DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn import functional

from systems.codi2 import diffusion
from systems.codi2.checkpoint import SOUND_TOKENS
from systems.tiny.picture_unet import with_weights
from systems.tiny.picture_vae import Cycle, descend
from systems.tiny.sound_lessons import EDITS, Lessons
from systems.tiny.sound_vae import FACTOR, FRAMES, LATENT_CHANNELS

WIDTHS = (48, 56)
HEADS = 2
TOKEN_WIDTH = 32
TEXT_SHARE, UNIT_SHARE, LEFT_OUT_SHARE, EDIT_SHARE = 0.5, 0.5, 0.1, 0.6
# In standard deviations of a number of a feature, at most.
MOST_NOISE = 0.3
AVERAGE_DECAY = 0.998
STEPS_BETWEEN_FIGURES = 500
VALIDATED_AT_ONCE = 48


@dataclass(frozen=True, slots=True)
class UnetPlan:
    """How long it is trained."""

    steps: int = 4000
    batch: int = 32
    rate: float = 1.5e-3


class Denoiser(nn.Module):
    """All that is trained: the UNet, whose first convolution is a SourceInput, and `language_of_audio`.

    `ddim` is systems.codi2.diffusion.ddim's scheduler, of velocities.
    """

    def __init__(self, unet: Any, dimension: int) -> None:
        super().__init__()
        self.unet = unet
        # The same attention as torch's fused one, which takes twice as long for so few and so narrow positions.
        unet.set_attn_processor(AttnProcessor())
        unet.conv_in = diffusion.SourceInput(unet.conv_in, torch.zeros_like(unet.conv_in.weight))
        self.language_of_audio = nn.Linear(dimension, SOUND_TOKENS * TOKEN_WIDTH)
        self.ddim: Any = diffusion.ddim(new_scheduler())

    def forward(self, latents: Tensor, timesteps: Tensor, features: Tensor, kept: Tensor) -> Tensor:
        """The velocities (B, 8, 25, 8) of noisy latents, the source's behind them (B, 16, 25, 8).

        `features` (B, D) are told where `kept` (B, 1) is 1, and left out where it is 0.
        """
        tokens = self.language_of_audio(features).unflatten(1, (SOUND_TOKENS, -1)) * kept[:, None]
        predicted: Tensor = self.unet(
            latents,
            timesteps,
            encoder_hidden_states=tokens,
            encoder_hidden_states_1=(features * kept)[:, None],
            encoder_attention_mask_1=torch.ones(len(features), 1),
        ).sample
        return predicted.float()

    def loss(self, lessons: Lessons, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean squared error of the predicted velocity of these rows, all else drawn."""
        count = len(rows)
        # One timestep of each part of the schedule.
        parts = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        timesteps = (parts * diffusion.LEVELS).long().clamp(max=diffusion.LEVELS - 1)
        clean = lessons.latents[lessons.targets[rows]]
        noise = torch.randn(clean.shape, generator=generator)
        given = (lessons.sources[rows] >= 0)[:, None, None, None]
        sources = lessons.latents[lessons.sources[rows].clamp(min=0)] * given
        inputs = torch.cat([self.ddim.add_noise(clean, noise, timesteps), sources], dim=1)
        kept = ~_chance(count, LEFT_OUT_SHARE, generator)[:, None]
        predicted = self(inputs, timesteps, _told(lessons.features[rows], generator), kept.float())
        return functional.mse_loss(predicted, self.ddim.get_velocity(clean, noise, timesteps))


def new_denoiser(dimension: int, seed: int) -> Denoiser:
    """An untrained one for features of `dimension` numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Denoiser(AudioLDM2UNet2DConditionModel(**unet_sizes(dimension)), dimension)


def unet_sizes(dimension: int) -> dict[str, Any]:
    """The arguments of diffusers' AudioLDM2UNet2DConditionModel."""
    return {
        "sample_size": FRAMES // FACTOR,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": WIDTHS,
        "layers_per_block": 1,
        # Attention is in the middle alone, where all positions see each other at the least cost.
        "down_block_types": ("DownBlock2D",) * len(WIDTHS),
        "up_block_types": ("UpBlock2D",) * len(WIDTHS),
        "attention_head_dim": HEADS,
        "norm_num_groups": 8,
        "cross_attention_dim": ([None, TOKEN_WIDTH, dimension],) * len(WIDTHS),
        "resnet_time_scale_shift": "scale_shift",
    }


def new_scheduler() -> DDIMScheduler:
    """AudioLDM2's noise schedule, for a UNet that predicts velocities."""
    return DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train_unet(denoiser: Denoiser, lessons: Lessons, validation: Lessons, plan: UnetPlan, seed: int) -> float:
    """Trains the denoiser, which is then the average of what it was lately; its loss on validation."""
    generator = torch.Generator().manual_seed(seed)
    denoiser.requires_grad_(True).train()
    parameters = list(denoiser.parameters())
    averages = [parameter.detach().clone() for parameter in parameters]

    def loss() -> Tensor:
        return denoiser.loss(lessons, _drawn(lessons, plan.batch, generator), generator)

    course = Cycle(plan.steps, cycle=plan.steps)
    for step in descend("sound unet", parameters, course, plan.rate, loss):
        decay = min(AVERAGE_DECAY, step / (step + 10))
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in parameters], 1 - decay)
        if step % STEPS_BETWEEN_FIGURES == 0:
            figure = with_weights(parameters, averages, lambda: validation_loss(denoiser, validation))
            print(f"sound unet: step {step}, validation loss {figure:.4f}", file=sys.stderr, flush=True)
    for parameter, average in zip(parameters, averages, strict=True):
        parameter.data.copy_(average)
    denoiser.requires_grad_(False).eval()
    return validation_loss(denoiser, validation)


@torch.no_grad()
def validation_loss(denoiser: Denoiser, validation: Lessons) -> float:
    """The loss of every row, its draws always the same."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.split(torch.arange(len(validation.targets)), VALIDATED_AT_ONCE)
    losses = [len(part) * float(denoiser.loss(validation, part, generator)) for part in parts]
    return sum(losses) / len(validation.targets)


def _drawn(lessons: Lessons, count: int, generator: torch.Generator) -> Tensor:
    """Rows of a step: sounds without a source, and as many of each edit."""
    by_name = [torch.from_numpy(np.flatnonzero(lessons.names == name)) for name in ("", *EDITS)]
    shares = torch.tensor([1 - EDIT_SHARE, *[EDIT_SHARE / len(EDITS)] * len(EDITS)])
    names = torch.multinomial(shares, count, replacement=True, generator=generator).tolist()
    places = torch.rand(count, generator=generator).tolist()
    return torch.stack(
        [by_name[name][int(place * len(by_name[name]))] for name, place in zip(names, places, strict=True)]
    )


def _told(features: Tensor, generator: torch.Generator) -> Tensor:
    """(B, D), of what there is (B, 2, D): a sound's or its caption's, of either norm, with noise of any level."""
    count, _, dimension = features.shape
    told = features[torch.arange(count), _chance(count, TEXT_SHARE, generator).long()]
    of_unit_variance = functional.normalize(told, dim=1) * dimension**0.5
    told = torch.where(_chance(count, UNIT_SHARE, generator)[:, None], of_unit_variance, told)
    levels = MOST_NOISE * torch.rand(count, 1, generator=generator)
    return told + levels * torch.randn(told.shape, generator=generator)


def _chance(count: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share
