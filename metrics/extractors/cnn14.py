"""Cnn14 of PANNs: what a sound tagger makes of a sound, an embedding and 527 logits.

Source: Kong et al. 2020, arXiv 1912.10211; qiuqiangkong/audioset_tagging_cnn `pytorch/models.py` (Cnn14, Cnn14_16k) and
torchlibrosa `stft.py` for its front end. The embedding is fc1 after its ReLU ("2048" in audioldm_eval), the logits are
what the sigmoid is applied to. A row is [embedding, logits], float32 (rows, 2048 + 527), neither of them normalised.

Front end: power of a centred STFT (reflected at both ends, periodic Hann), times the file's own mel filters,
10 log10(max(., 1e-10)). The STFT is torch's; the kernels that the file stores for it are checked, not convolved, and
may be left out.

Sounds: mono at the network's rate by `harness.media.read_audio`, then as audioldm_eval feeds them: the mean is
subtracted, and what is shorter than two seconds is padded to that with zeros at its end; no other length or level is
changed. audioldm_eval takes the first channel where the door takes the mean of them. Silence has features like any
other sound. Features depend on length and level, so both must be equal where they are compared.

Weights (CC BY 4.0, Zenodo 3987831): Cnn14_16k_mAP=0.438.pth and Cnn14_mAP=0.431.pth as they are, whose tensors lie
under the key "model", or a safetensors file of their 84 tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from harness.errors import UsageError
from harness.media import read_audio
from harness.nouns import Media
from metrics.extractors.checkpoint import Source, exact_arithmetic, fill, finite_rows, read_checkpoint
from metrics.tagging import CLASSES

MELS = 64
LOWEST_HZ = 50.0
FLOOR = 1e-10
BLOCKS = 6
POOLED = 5  # the last block keeps its frames
LEAST_FRAMES = 2**POOLED
LEAST_SECONDS = 2

KERNELS = ("spectrogram_extractor.stft.conv_real.weight", "spectrogram_extractor.stft.conv_imag.weight")

# Kernels of another window or rate are off by 1e-3 and more; those of the official files by rounding to float32.
KERNEL_TOLERANCE = 1e-5

# What numpy wrote into the official 16 kHz file beside the tensors (the state of its sampler); read, and left.
_rebuild_array = np.empty(0).__reduce__()[0]
SAMPLER_TYPES = (
    np.ndarray,
    np.dtype,
    np.dtypes.Int64DType,
    (_rebuild_array, "numpy.core.multiarray._reconstruct"),
    (_rebuild_array, "numpy._core.multiarray._reconstruct"),
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """Rate in Hz, STFT window and hop in samples, upper end of the mel filters in Hz, channels of the first block."""

    rate: int
    window: int
    hop: int
    highest: float
    width: int = 64

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.width << (BLOCKS - 1)

    def config(self) -> dict[str, Any]:
        """What a folder's config.json says of it."""
        return {"model_type": "cnn14", "hidden_size": self.dim, "sampling_rate": self.rate}


CNN14_16K = Architecture(rate=16_000, window=512, hop=160, highest=8_000.0)
CNN14_32K = Architecture(rate=32_000, window=1024, hop=320, highest=14_000.0)
TINY = Architecture(rate=16_000, window=512, hop=160, highest=8_000.0, width=3)


class Cnn14:
    """`cnn14-16k`. Raises UsageError for weights of another architecture, AbsentError where there are none."""

    architecture: ClassVar[Architecture] = CNN14_16K

    def __init__(self, weights: str, device: str) -> None:
        self.weights = weights
        self.device = device
        self.network = load(Path(weights), self.architecture).to(device)

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Embedding and logits of the one sound in each row: float32 (len(batch), dim + 527).

        Sounds of one length go through the network together, each at its own length.
        """
        rate = self.architecture.rate
        sounds = [prepare(read_audio(media, rate), rate) for (media,) in batch]
        features = np.empty((len(batch), self.architecture.dim + CLASSES), dtype=np.float32)
        for length in sorted({len(sound) for sound in sounds}):
            rows = [row for row, sound in enumerate(sounds) if len(sound) == length]
            waves = torch.from_numpy(np.stack([sounds[row] for row in rows])).to(self.device)
            with exact_arithmetic():
                features[rows] = finite_rows(self.network(waves), self.weights)
        return features


class Cnn14At32k(Cnn14):
    """`cnn14-32k`: window 1024, hop 320, mel filters up to 14 kHz."""

    architecture = CNN14_32K


class Cnn14Tiny(Cnn14):
    """`cnn14-tiny`: the same code at 16 kHz, embeddings of 96, 0.2 M numbers beside its STFT."""

    architecture = TINY


def prepare(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Mono sound (samples,) without its mean, with zeros behind it up to two seconds."""
    centred = samples - np.float32(samples.mean(dtype=np.float64))
    return np.pad(centred, (0, max(0, LEAST_SECONDS * rate - len(centred))))


def load(weights: Path, architecture: Architecture) -> Network:
    """The network with the weights of an official file, of a safetensors file, or of a folder that `init` wrote."""
    network = Network(architecture)
    state = read_checkpoint(weights, architecture.config(), under="model", allowed=SAMPLER_TYPES)
    if not any(name in state for name in KERNELS):
        state = {**state, **{name: network.get_parameter(name).detach() for name in KERNELS}}
    fill(network, state, Source, unused=r"(?!)", weights=weights)
    _check_kernels(network, architecture, weights)
    network.train(False)
    return network


class Network(nn.Module):
    """Cnn14 at random, under the names of the official file: 84 tensors. Dropout and SpecAugment belong to training."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.spectrogram_extractor = Spectrogram(architecture)
        self.logmel_extractor = LogMel(architecture)
        self.bn0 = nn.BatchNorm1d(MELS)
        channels = 1
        for number in range(1, BLOCKS + 1):
            wider = architecture.width * 2 ** (number - 1)
            self.add_module(f"conv_block{number}", ConvBlock(channels, wider, pool=2 if number <= POOLED else 1))
            channels = wider
        self.fc1 = nn.Linear(channels, channels)
        self.fc_audioset = nn.Linear(channels, CLASSES)
        self.least = (LEAST_FRAMES - 1) * architecture.hop

    def forward(self, waves: Tensor) -> Tensor:
        """Sounds (rows, samples) to (rows, dim + 527). UsageError where nothing would be left after the pools."""
        if waves.shape[1] < self.least:
            raise UsageError(f"a sound of {waves.shape[1]} samples is too short for Cnn14; {self.least} would do")
        return self.tag(self.hear(waves))

    def hear(self, waves: Tensor) -> Tensor:
        """The front end: sounds (rows, samples) to mel bands in dB, (rows, 64, frames)."""
        mel: Tensor = self.logmel_extractor(self.spectrogram_extractor(waves))
        return mel

    def tag(self, mel: Tensor) -> Tensor:
        """The network behind the front end: (rows, 64, frames) to (rows, dim + 527)."""
        x = self.bn0(mel).transpose(1, 2).unsqueeze(1)
        for number in range(1, BLOCKS + 1):
            x = self.get_submodule(f"conv_block{number}")(x)
        over_time = x.mean(dim=3)
        embedding = functional.relu(self.fc1(over_time.amax(dim=2) + over_time.mean(dim=2)))
        return torch.cat([embedding, self.fc_audioset(embedding)], dim=1)


class Spectrogram(nn.Module):
    """Power spectrum of a sound, with the stored kernels of torchlibrosa's STFT, which play no part in it."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.hop = architecture.hop
        kernels = dict(zip(("conv_real", "conv_imag"), dft_kernels(architecture.window), strict=True))
        self.stft = nn.ModuleDict({name: _convolution(kernel) for name, kernel in kernels.items()})
        self.register_buffer("window", torch.hann_window(architecture.window), persistent=False)
        self.window: Tensor

    def forward(self, waves: Tensor) -> Tensor:
        """(rows, samples) to |X|^2 (rows, window / 2 + 1, 1 + samples // hop)."""
        spectrum = torch.stft(waves, len(self.window), self.hop, window=self.window, return_complex=True)
        return spectrum.real.square() + spectrum.imag.square()


class LogMel(nn.Module):
    """Mel bands in dB; `melW` is (window / 2 + 1, 64), librosa's filters (Slaney's scale and norm) where it is ours."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        filters = mel_filter_bank(
            architecture.window // 2 + 1,
            MELS,
            LOWEST_HZ,
            architecture.highest,
            architecture.rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.melW = nn.Parameter(torch.from_numpy(filters.astype(np.float32)))

    def forward(self, power: Tensor) -> Tensor:
        """(rows, bins, frames) to (rows, 64, frames)."""
        return 10.0 * torch.log10((self.melW.T @ power).clamp(min=FLOOR))


class ConvBlock(nn.Module):
    """Twice: 3 x 3 convolution, batch norm, ReLU; then the mean of each `pool` x `pool` square."""

    def __init__(self, channels: int, wider: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, wider, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(wider)
        self.conv2 = nn.Conv2d(wider, wider, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(wider)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, frames, bands) to (rows, wider, frames // pool, bands // pool)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.avg_pool2d(x, self.pool) if self.pool > 1 else x


def dft_kernels(window: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the DFT under a periodic Hann window: twice float32 (window / 2 + 1, 1, window)."""
    turns = np.outer(np.arange(window // 2 + 1), np.arange(window)) % window
    wave = np.exp(-2j * np.pi * turns / window) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window))
    real, imaginary = (torch.from_numpy(part.astype(np.float32))[:, None] for part in (wave.real, wave.imag))
    return real, imaginary


def _convolution(kernel: Tensor) -> nn.Conv1d:
    convolution = nn.Conv1d(1, len(kernel), kernel.shape[-1], bias=False)
    convolution.weight.data.copy_(kernel)
    return convolution


def _check_kernels(network: Network, architecture: Architecture, weights: Path) -> None:
    stored = network.spectrogram_extractor.stft.named_parameters()
    for (name, kernel), expected in zip(stored, dft_kernels(architecture.window), strict=True):
        if (kernel.detach() - expected).abs().max() > KERNEL_TOLERANCE:
            raise UsageError(
                f"weights {weights}: spectrogram_extractor.stft.{name} is not the DFT of {architecture.window} samples "
                "under a periodic Hann window; the network was trained on other spectra than this one would see"
            )
