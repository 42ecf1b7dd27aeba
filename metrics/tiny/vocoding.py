"""Sounds as generators make them, to teach a judge on: smeared into mel bands, their phases lost and made up again.

Generators of mel spectrograms end in a vocoder; the plainest is that of Griffin and Lim (1984, Signal estimation from
modified short-time Fourier transform): begin with phases at random, and repeat the way to a sound and back, putting the
magnitudes in again each time. A few rounds leave more damage than the many that a vocoder does.

Sounds are (n, samples) float32; all draws come from torch's global generator.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

RATE = 16_000
WINDOW = 1024
HOP = 256
BANDS = 64
ROUNDS = 1


def vocoded(sounds: Tensor) -> Tensor:
    """Each sound from its magnitudes alone, half of them smeared: over a mel band, over three frames, or both."""
    magnitudes = _spectrum(sounds).abs()
    power = magnitudes.square()
    by_band = _smeared(power) if torch.rand(()) < 0.5 else power
    in_time = functional.avg_pool1d(by_band, 3, 1, padding=1, count_include_pad=False)
    wanted = torch.where(torch.rand(len(sounds), 1, 1) < 0.3, in_time, by_band).sqrt()
    turned = torch.polar(wanted, 2 * math.pi * torch.rand(wanted.shape))
    for _ in range(ROUNDS):
        again = _spectrum(_sound(turned, sounds.shape[1]))
        turned = wanted * again / again.abs().clamp(min=1e-8)
    return _sound(turned, sounds.shape[1])


def _smeared(power: Tensor) -> Tensor:
    """Power (n, 513, frames) as 64 overlapping mel bands tell it."""
    filters = torch.from_numpy(
        mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, mel_scale="slaney").astype(np.float32)
    )
    bands = filters.T @ power / filters.sum(dim=0)[:, None].clamp(min=1e-6)
    return filters @ bands


def _spectrum(sounds: Tensor) -> Tensor:
    return torch.stft(sounds, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)


def _sound(spectrum: Tensor, samples: int) -> Tensor:
    return torch.istft(spectrum, WINDOW, HOP, window=torch.hann_window(WINDOW), length=samples)
