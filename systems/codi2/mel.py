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
    return bands(functional.pad(sound, (0, frames * HOP - len(sound)))).clamp(min=FLOOR).log()


def bands(sound: Tensor) -> Tensor:
    """The mel spectrogram (n / HOP, BANDS) of a sound (n,) as loud as it is, without floor and logarithm."""
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(sound, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    # One frame more than there are hops: the last is centred on the end.
    return spectrum.abs()[:, : len(sound) // HOP].T @ filters()


def normalised(sound: Tensor) -> Tensor:
    """A sound (n,) without its mean and with its peak at 0.5; silence stays silent."""
    # In double, or the rounding of the mean of a constant would be scaled up to a sound.
    centred = sound.double() - sound.double().mean()
    return (PEAK * centred / (centred.abs().max() + 1e-8)).float()


def gain_of(samples: NDArray[np.float32], frames: int) -> float:
    """What `log_mel` multiplies a sound by; 1 for silence, which is no sample beyond the last step of 16 bits."""
    heard = np.asarray(samples[: frames * HOP], dtype=np.float64)
    peak = float(np.abs(heard - heard.mean()).max())
    return PEAK / peak if peak > 2**-15 else 1.0


@cache
def filters() -> Tensor:
    """(WINDOW / 2 + 1, BANDS), float32: librosa's `filters.mel` with its defaults, transposed."""
    slaney = mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(slaney).float()
