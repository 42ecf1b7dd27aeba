"""The autoencoder of the drawn world's pictures: an AutoencoderKL, 64 x 64 px to latents of 4 x 16 x 16.

It is trained in two stages. First encoder and decoder together, on L1 + MSE + KL. Then the decoder alone, on latents
with noise in them: what a UNet draws is never quite a picture's latents, and a decoder that has seen noise gives such
latents back as the flat fields and the sharp edges that this world is made of.

Pixels are (B, 3, 64, 64) floats in [-1, 1] here, as diffusers' pipelines have them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SIDE = 64
WIDTHS = (16, 32, 48)
LATENT_CHANNELS = 4
# A nat of a latent number beside the mean error of a pixel: about what the evidence bound gives an error of 30 dB.
KL_WEIGHT = 1e-3
# The most noise a decoder is taught to see through, in standard deviations of the latents.
MOST_NOISE = 0.3
LARGEST_GRADIENT = 1.0
ENCODED_AT_ONCE = 64
# Pictures that the scale of latents is measured on.
MEASURED = 2000
SECONDS_BETWEEN_LINES = 20.0


@dataclass(frozen=True, slots=True)
class Cycle:
    """The first `steps` steps of a one-cycle rate that is made for `cycle` steps."""

    steps: int
    cycle: int


@dataclass(frozen=True, slots=True)
class VaePlan:
    """Steps of both stages, and pictures of a step."""

    joint: Cycle = Cycle(1700, cycle=1700)
    decoder: Cycle = Cycle(900, cycle=900)
    batch: int = 16
    joint_rate: float = 2.5e-3
    decoder_rate: float = 1.2e-3


def train_vae(pixels: NDArray[np.uint8], plan: VaePlan, seed: int, widths: Sequence[int] = WIDTHS) -> Any:
    """An autoencoder of pictures (n, 64, 64, 3) whose scaling factor makes its latents' variance 1; frozen, float32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = new_vae(widths)
    _train_jointly(vae, pixels, plan, generator)
    vae.requires_grad_(False).eval()
    vae.register_to_config(scaling_factor=1 / float(encode(vae, pixels[:MEASURED]).std()))
    _train_decoder(vae, pixels, plan, generator)
    return vae.requires_grad_(False).eval()


def new_vae(widths: Sequence[int] = WIDTHS) -> Any:
    """An untrained autoencoder of these widths, from the picture's side to the latents'."""
    return AutoencoderKL(**vae_sizes(widths))


def vae_sizes(widths: Sequence[int]) -> dict[str, Any]:
    """The arguments of its AutoencoderKL."""
    return {
        "sample_size": SIDE,
        "latent_channels": LATENT_CHANNELS,
        "block_out_channels": tuple(widths),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
        "force_upcast": False,
    }


def as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Pictures (n, height, width, 3) as the VAE takes them, (n, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encode(vae: Any, pixels: NDArray[np.uint8]) -> Tensor:
    """The modes of the pictures' posteriors, (n, 4, 16, 16) float32, without the scaling factor."""
    parts = range(0, len(pixels), ENCODED_AT_ONCE)
    modes = [vae.encode(as_input(pixels[at : at + ENCODED_AT_ONCE])).latent_dist.mode() for at in parts]
    return torch.cat(modes)


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> NDArray[np.uint8]:
    """Pictures (n, 64, 64, 3) of latents without the scaling factor."""
    decoded = torch.cat([vae.decode(part).sample for part in torch.split(latents, ENCODED_AT_ONCE)])
    pixels: NDArray[np.uint8] = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels


def peak_signal_to_noise(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.float64]:
    """PSNR of each picture in dB: 10 log10(255^2 / mean squared error)."""
    errors = ((made.astype(np.float64) - true) ** 2).mean(axis=(1, 2, 3))
    ratios: NDArray[np.float64] = 10 * np.log10(255.0**2 / np.maximum(errors, 1e-9))
    return ratios


def descend(
    name: str, parameters: list[nn.Parameter], course: Cycle, rate: float, loss: Callable[[], Tensor]
) -> Iterator[int]:
    """AdamW on a loss under a one-cycle rate, on bfloat16 autocast; yields the number of each step that was made.

    A line with step, loss and time left goes to stderr now and then.
    """
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=course.cycle, pct_start=0.08)
    steps, started, said, recent = course.steps, time.monotonic(), 0.0, 0.0
    for step in range(1, steps + 1):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        recent = value.item() if step == 1 else 0.98 * recent + 0.02 * value.item()
        passed = time.monotonic() - started
        if passed - said > SECONDS_BETWEEN_LINES or step == steps:
            said = passed
            left = passed / step * (steps - step)
            print(f"{name}: step {step}/{steps}, loss {recent:.4f}, {left:.0f} s left", file=sys.stderr, flush=True)
        yield step


def _train_jointly(vae: Any, pixels: NDArray[np.uint8], plan: VaePlan, generator: torch.Generator) -> None:
    def loss() -> Tensor:
        pictures = as_input(pixels[_draw_rows(len(pixels), plan.batch, generator)])
        posterior = vae.encode(pictures).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = vae.decode(posterior.mean.float() + posterior.std.float() * noise).sample
        divergence = posterior.kl().float().mean() / posterior.mean[0].numel()
        total: Tensor = _distance(decoded.float(), pictures) + KL_WEIGHT * divergence
        return total

    for _ in descend("autoencoder", list(vae.parameters()), plan.joint, plan.joint_rate, loss):
        pass


def _train_decoder(vae: Any, pixels: NDArray[np.uint8], plan: VaePlan, generator: torch.Generator) -> None:
    """The decoder alone, on latents with noise of up to `MOST_NOISE`, a level a picture."""
    most = MOST_NOISE / vae.config["scaling_factor"]
    trained = [*vae.post_quant_conv.parameters(), *vae.decoder.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)

    def loss() -> Tensor:
        rows = _draw_rows(len(pixels), plan.batch, generator)
        levels = most * torch.rand(plan.batch, 1, 1, 1, generator=generator)
        given = encode(vae, pixels[rows])
        decoded = vae.decode(given + levels * torch.randn(given.shape, generator=generator)).sample
        return _distance(decoded.float(), as_input(pixels[rows]))

    for _ in descend("decoder", trained, plan.decoder, plan.decoder_rate, loss):
        pass


def _distance(decoded: Tensor, pictures: Tensor) -> Tensor:
    return functional.l1_loss(decoded, pictures) + functional.mse_loss(decoded, pictures)


def _draw_rows(count: int, batch: int, generator: torch.Generator) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = torch.randint(count, (batch,), generator=generator).numpy()
    return rows
