"""The judge of the drawn world's sounds: which of its 16 events are heard.

A row is the probability of each event (metrics.drawn_words.EVENTS), float32 (rows, 16), each for itself: none may be
heard, or several. An event is *heard* where its probability is over one half.

Sounds: mono at 16 kHz by `harness.media.read_audio`, the first two seconds of them, with zeros behind what is shorter.
Front end: power of 64 mel bands up to 8 kHz (centred STFT, periodic Hann window of 512 samples every 256) in dB below
the most that the sound has anywhere, 60 at most; so levels and phases play no part, and silence stays silent.

Weights: `python -m metrics.tiny.train sound-judge` (metrics.tiny.sound_judge), 0.1 M numbers; the ones that are shipped
are used where no others are given. They share no data, seed or weights with any generator or other extractor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from harness.media import read_audio
from harness.nouns import Media
from metrics.drawn_words import EVENTS
from metrics.extractors.checkpoint import Source, exact_arithmetic, fill, finite_rows, read_checkpoint

RATE = 16_000
SAMPLES = 2 * RATE
TOGETHER = 64

WINDOW = 512
HOP = 256
MELS = 64
# Power of a band: nothing is louder in a sound that this counts as silent.
QUIET = 1e-6
RANGE = 1e-6

CHANNELS = (24, 32, 48, 64)
HIDDEN = 64
CONFIG = {"model_type": "anybench-sound-judge", "hidden_size": HIDDEN}


class SoundJudgeTiny:
    """`sound-judge-tiny`. Raises UsageError for weights of another architecture, AbsentError where there are none."""

    def __init__(self, weights: str, device: str) -> None:
        self.judge = SoundJudge(load(Path(weights)).to(device), FrontEnd().to(device), weights, device)

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Probabilities of the one sound in each row: float32 (len(batch), 16)."""
        return self.judge.probabilities(np.stack([fitted(read_audio(media, RATE)) for (media,) in batch]))


@dataclass(frozen=True, slots=True)
class SoundJudge:
    """A network that judges, on its device; `weights` is what errors name."""

    network: Network
    front_end: FrontEnd
    weights: str
    device: str

    def probabilities(self, sounds: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of sounds (n, 32000) float32: float32 (n, 16)."""
        parts = [self._few(sounds[start : start + TOGETHER]) for start in range(0, len(sounds), TOGETHER)]
        return np.concatenate(parts) if parts else np.empty((0, len(EVENTS)), np.float32)

    def _few(self, sounds: NDArray[np.float32]) -> NDArray[np.float32]:
        with exact_arithmetic():
            logits = self.network(self.front_end(torch.from_numpy(sounds).to(self.device)))
            return finite_rows(logits.sigmoid(), self.weights)


def fitted(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sound (samples,) of any length as (32000,)."""
    first = samples[:SAMPLES]
    return np.pad(first, (0, SAMPLES - len(first)))


def load(weights: Path) -> Network:
    """The judge with the weights of a folder that training wrote."""
    network = Network()
    fill(network, read_checkpoint(weights, CONFIG), Source, unused=r"(?!)", weights=weights)
    network.train(False)
    return network


class Network(nn.Module):
    """Four convolutions with batch norm and ReLU, each halving; mean and maximum over time through two layers."""

    def __init__(self) -> None:
        super().__init__()
        channels = (1, *CHANNELS)
        pairs = itertools.pairwise(channels)
        self.blocks = nn.ModuleList(Block(*pair, first=number == 0) for number, pair in enumerate(pairs))
        self.hidden = nn.Linear(2 * CHANNELS[-1] * MELS // 2 ** len(CHANNELS), HIDDEN)
        self.events = nn.Linear(HIDDEN, len(EVENTS))

    def forward(self, bands: Tensor) -> Tensor:
        """(n, 64, 126) in [-1, 1] to logits (n, 16)."""
        x = bands[:, None]
        for number, block in enumerate(self.blocks):
            x = block(x) if number == 0 else functional.max_pool2d(block(x), 2)
        over_time = torch.cat([x.mean(dim=3), x.amax(dim=3)], dim=1)
        logits: Tensor = self.events(functional.relu(self.hidden(over_time.flatten(1))))
        return logits


class Block(nn.Module):
    """A convolution, batch norm, ReLU; the first sees 5 x 5 and halves bands and frames, the others see 3 x 3."""

    def __init__(self, before: int, after: int, first: bool) -> None:
        super().__init__()
        side, stride = (5, 2) if first else (3, 1)
        self.convolution = nn.Conv2d(before, after, side, stride, padding=side // 2, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, bands, frames) to (n, after, bands, frames), or half of both."""
        normed: Tensor = self.norm(self.convolution(x))
        return functional.relu(normed)


class FrontEnd(nn.Module):
    """Sounds as the network sees them; nothing in it is learned."""

    def __init__(self) -> None:
        super().__init__()
        filters = mel_filter_bank(WINDOW // 2 + 1, MELS, 50.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", torch.from_numpy(filters.astype(np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.filters: Tensor
        self.window: Tensor

    def forward(self, sounds: Tensor) -> Tensor:
        """(n, 32000) to (n, 64, 126): 1 for the band and moment of most power, -1 for 60 dB less and all below."""
        spectrum = torch.stft(sounds, WINDOW, HOP, window=self.window, return_complex=True)
        power = self.filters.T @ (spectrum.real.square() + spectrum.imag.square())
        highest = power.amax(dim=(1, 2), keepdim=True).clamp(min=QUIET)
        return 1 + 2 * torch.log10((power / highest).clamp(min=RANGE)) / -math.log10(RANGE)
