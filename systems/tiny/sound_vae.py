"""The autoencoder of the drawn world's sounds: an AutoencoderKL of log-mel spectrograms, 200 x 64 to 8 x 25 x 8.

Spectrograms are systems.codi2.mel's, 2 s. A sound is read with its peak at 0.5, but what is edited comes out as loud as
its source says (systems.codi2.sound_decoder), so that it is trained on sounds of many levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from systems.codi2 import mel
from systems.tiny.picture_vae import Cycle, descend

FRAMES = 200
WIDTHS = (8, 16, 24, 32)
LATENT_CHANNELS = 8
FACTOR = 2 ** (len(WIDTHS) - 1)
KL_WEIGHT = 1e-3
ENCODED_AT_ONCE = 32
# Spectrograms that the mean of all and the scale of latents are measured on.
MEASURED = 320


@dataclass(frozen=True, slots=True)
class VaePlan:
    """Steps, and spectrograms of a step."""

    steps: int = 900
    batch: int = 16
    rate: float = 3e-3


# A batch of spectrograms (n, 200, 64), drawn by a generator.
Draw = Callable[[int, torch.Generator], Tensor]


def train_vae(draw: Draw, plan: VaePlan, seed: int, widths: tuple[int, ...] = WIDTHS) -> Any:
    """An autoencoder of what is drawn, whose scaling factor makes its latents' variance 1; frozen, float32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = new_vae(widths)
    measured = draw(MEASURED, generator)
    with torch.no_grad():
        # A spectrogram's numbers lie far from 0 and wide apart: silence is -11.5, the loudest 2.
        vae.decoder.conv_out.bias.fill_(measured.mean())
        vae.decoder.conv_out.weight.mul_(measured.std())

    def loss() -> Tensor:
        spectrograms = draw(plan.batch, generator)[:, None]
        posterior = vae.encode(spectrograms).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = vae.decode(posterior.mean.float() + posterior.std.float() * noise).sample.float()
        divergence = posterior.kl().float().mean() / posterior.mean[0].numel()
        total: Tensor = _distance(decoded, spectrograms) + KL_WEIGHT * divergence
        return total

    course = Cycle(plan.steps, cycle=plan.steps)
    for _ in descend("sound autoencoder", list(vae.parameters()), course, plan.rate, loss):
        pass
    vae.requires_grad_(False).eval()
    vae.register_to_config(scaling_factor=1 / float(encode(vae, measured).std()))
    return vae


def _distance(decoded: Tensor, spectrograms: Tensor) -> Tensor:
    return functional.l1_loss(decoded, spectrograms) + 0.5 * functional.mse_loss(decoded, spectrograms)


def new_vae(widths: tuple[int, ...] = WIDTHS) -> Any:
    """An untrained autoencoder of these widths, from the spectrogram's resolution to the latents'."""
    return AutoencoderKL(
        sample_size=FRAMES,
        in_channels=1,
        out_channels=1,
        latent_channels=LATENT_CHANNELS,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        norm_num_groups=8,
        mid_block_add_attention=False,
        force_upcast=False,
    )


@torch.no_grad()
def encode(vae: Any, spectrograms: Tensor) -> Tensor:
    """The modes of the posteriors of spectrograms (n, 200, 64), (n, 8, 25, 8) float32, without the scaling factor."""
    return torch.cat(
        [vae.encode(part[:, None]).latent_dist.mode() for part in torch.split(spectrograms, ENCODED_AT_ONCE)]
    )


def spectrogram(bands: Tensor) -> Tensor:
    """The logarithm of bands (..., 200, 64), floored as in systems.codi2.mel."""
    return bands.clamp(min=mel.FLOOR).log()
