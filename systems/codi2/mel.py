"""Sounds as AudioLDM2's VAE takes them: log-mel spectrograms of 64 bands and 100 frames a second.

16 kHz, mono. The mean is subtracted and the peak brought to 0.5, as AudioLDM was trained; STFT of 1024 samples, Hann,
hop 160, reflected at both ends; magnitudes; Slaney's mel bands from 0 to 8 kHz, each of unit area; natural logarithm of
at least 1e-5.

Source: microsoft/i-Code at 9b16730, CoDi-2/core/models/latent_diffusion/vae/audioldm_modules/audio (`tools.py`,
`stft.py`), which are AudioLDM's. There the peak is that of the whole sound, before it is cut; here that of the part
that is seen, to which AudioLDM's own reader (`read_wav_file`) scales once more.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

RATE = 16_000
HOP = 160
BANDS = 64
WINDOW = 1024
PEAK = 0.5
FLOOR = 1e-5


def log_mel(samples: NDArray[np.float32], frames: int) -> Tensor:
    """The log-mel spectrogram (frames, BANDS), float32, of a sound (n,) at RATE, cut or padded with silence.

    `frames` is at least 4: reflection needs more samples than half of a window.
    """
    sound = normalised(torch.from_numpy(np.asarray(samples[: frames * HOP], dtype=np.float32)))
    sound = functional.pad(sound, (0, frames * HOP - len(sound)))
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(sound, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    # One frame more than there are hops: the last is centred on the end.
    bands: Tensor = spectrum.abs()[:, :frames].T @ _filters()
    return bands.clamp(min=FLOOR).log()


def normalised(sound: Tensor) -> Tensor:
    """A sound (n,) without its mean and with its peak at 0.5; silence stays silent."""
    # In double, or the rounding of the mean of a constant would be scaled up to a sound.
    centred = sound.double() - sound.double().mean()
    return (PEAK * centred / (centred.abs().max() + 1e-8)).float()


@cache
def _filters() -> Tensor:
    """(WINDOW / 2 + 1, BANDS), float32: librosa's `filters.mel` with its defaults, transposed."""
    filters = mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters).float()
