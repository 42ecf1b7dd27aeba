"""Log mel filter banks as Kaldi computes them (compute-fbank-feats), with the settings of ImageBind's sounds.

Settings, as the official imagebind/data.py gives them to torchaudio.compliance.kaldi.fbank, whose defaults fill the
rest: 16 kHz, windows of 25 ms every 10 ms that lie wholly inside the sound (snip_edges), no dither, each window's own
mean removed, pre-emphasis 0.97, Hann window (symmetric), FFT of 512, power, mel triangles from 20 Hz to 8 kHz that are
linear in mel and leave the Nyquist bin out, natural logarithm with a floor at float32's epsilon.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

RATE = 16000
WINDOW, SHIFT, TRANSFORM = 400, 160, 512
PRE_EMPHASIS = 0.97
LOWEST_HZ, HIGHEST_HZ = 20.0, 8000.0
FLOOR = torch.finfo(torch.float32).eps


def fbank(samples: Tensor, bands: int) -> Tensor:
    """Log mel energies (frames, bands) of float32 samples (n,) at 16 kHz; frames = 1 + (n - 400) // 160.

    `samples` holds at least one window, 400 samples.
    """
    windows = samples.unfold(0, WINDOW, SHIFT)
    windows = windows - windows.mean(dim=1, keepdim=True)
    # Each sample less most of the one before it; the first of a window counts as its own predecessor.
    before = functional.pad(windows[None], (1, 0), mode="replicate")[0, :, :-1]
    windows = (windows - PRE_EMPHASIS * before) * torch.hann_window(WINDOW, periodic=False)
    power: Tensor = torch.fft.rfft(windows, n=TRANSFORM).abs().square()[:, :-1]
    return (power @ mel_triangles(bands).T).clamp(min=FLOOR).log()


@cache
def mel_triangles(bands: int) -> Tensor:
    """Weights (bands, 256) of the FFT's bins below Nyquist, triangles with neighbouring corners equally far in mel."""
    lowest, highest = _mel(LOWEST_HZ), _mel(HIGHEST_HZ)
    step = (highest - lowest) / (bands + 1)
    # In float32 the order of these operations shows in the result: it is torchaudio's.
    number = torch.arange(bands)[:, None]
    left, centre, right = (lowest + (number + corner) * step for corner in (0.0, 1.0, 2.0))
    mel = 1127.0 * (1.0 + RATE / TRANSFORM * torch.arange(TRANSFORM // 2) / 700.0).log()
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


def _mel(hertz: float) -> float:
    return 1127.0 * math.log(1.0 + hertz / 700.0)
