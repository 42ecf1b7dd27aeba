"""A vocoder without weights: the samples whose spectrogram comes nearest to a log-mel one (systems.codi2.mel).

First magnitudes of all frequencies are found whose bands are those of the mel, none below zero: multiplicative updates
for the Kullback-Leibler divergence (Lee and Seung, 2001, equation 5), which fit a faint band as well as a loud one.
Then phases: Griffin and Lim's alternation of the magnitudes wanted and of spectrograms that a sound can have (1984),
with the momentum of Perraudin, Balazs and Sondergaard (2013, "fast Griffin-Lim").

What a mel says is heard at its own pitch, but phases are invented: transients are softer, steady tones rougher than
what a trained vocoder makes of it. Phases begin from fixed random numbers, so that the same mel gives the same samples.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from systems.codi2 import mel

ITERATIONS = 32
# Of the paper's section 4, as librosa has it.
MOMENTUM = 0.99
UPDATES = 40
SMALLEST = 1e-10


class GriffinLim(nn.Module):
    """Log-mel spectrograms (B, T, BANDS) to samples (B, T * HOP), float32, on the device of the spectrograms.

    Samples are as loud as the spectrogram says. It stands where the SpeechT5HifiGan of an AudioLDM2 does.
    """

    def __init__(self, iterations: int = ITERATIONS) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, spectrograms: Tensor) -> Tensor:
        """The samples; numbers that are not finite make their whole sound so."""
        return torch.stack([sound_of(magnitudes_of(one.exp()), self.iterations) for one in spectrograms.float()])


def magnitudes_of(bands: Tensor) -> Tensor:
    """Magnitudes (WINDOW / 2 + 1, T), at least 0, of bands (T, BANDS) that are no logarithms.

    They begin as the mean of the bands over a frequency; one that no band hears, 0 Hz, is silent.
    """
    filters = mel.filters().to(bands.device)
    heard = filters.sum(dim=1, keepdim=True)
    audible = heard.clamp(min=SMALLEST)
    found = filters @ (bands / filters.sum(dim=0)).T / audible
    for _ in range(UPDATES):
        ratio = bands.T / (filters.T @ found).clamp(min=SMALLEST)
        found = found * (filters @ ratio) / audible
    return found * (heard > 0)


def sound_of(magnitudes: Tensor, iterations: int) -> Tensor:
    """The samples (T * HOP,) whose spectrogram comes near to magnitudes (WINDOW / 2 + 1, T)."""
    # The last frame is centred on the end: a sound of T hops has one frame more than its mel.
    wanted = functional.pad(magnitudes[None], (0, 1), mode="replicate")[0]
    samples = magnitudes.shape[1] * mel.HOP
    before = torch.zeros_like(wanted, dtype=torch.complex64)
    phases = _first_phases(tuple(wanted.shape)).to(wanted.device)
    for _ in range(iterations):
        possible = spectrum(_samples(wanted * phases, samples))
        moved = possible + MOMENTUM * (possible - before)
        before = possible
        phases = moved / moved.abs().clamp(min=SMALLEST)
    return _samples(wanted * phases, samples)


def spectrum(samples: Tensor) -> Tensor:
    """The short-time Fourier transform of samples (n,) with the mel's window and hop, (WINDOW / 2 + 1, 1 + n / HOP)."""
    return torch.stft(
        samples, mel.WINDOW, mel.HOP, window=_window(samples.device), center=True, pad_mode="reflect",
        return_complex=True,
    )  # fmt: skip


def _samples(spectrogram: Tensor, count: int) -> Tensor:
    return torch.istft(spectrogram, mel.WINDOW, mel.HOP, window=_window(spectrogram.device), center=True, length=count)


@cache
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(mel.WINDOW, device=device)


def _first_phases(shape: tuple[int, ...]) -> Tensor:
    """Unit numbers, the same ones each time."""
    turns = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
