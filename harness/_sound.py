"""Sound with soundfile: encoded bytes to mono float32 at their own rate, and the checks that all sound passes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from harness._files import Limits, MediaError, within

# 18 dB over full scale is no overshoot but another scale (integers); AUDIT's loudest mixes reach 3.
LOUDEST = 8.0
# Samples of all channels that are decoded at once.
BLOCK = 1 << 18


class _Buffer(io.BytesIO):
    """On damaged files libsndfile seeks before the start, inside a callback that can only print what it raises."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def decode_sound(data: bytes, limits: Limits) -> tuple[NDArray[np.float32], int]:
    with soundfile.SoundFile(_Buffer(data)) as file:
        if file.frames == np.iinfo(np.int64).max:
            raise MediaError("its header does not say how long it is; write it again to a file, not a pipe")
        within(file.frames / file.samplerate, limits.seconds, "seconds")
        within(file.frames, limits.samples, "samples")
        blocks, together = [np.zeros(0, np.float32)], max(1, BLOCK // file.channels)
        while len(block := file.read(together, dtype="float32", always_2d=True)):
            blocks.append(mono(block.T))
        samples = np.concatenate(blocks)
        if len(samples) != file.frames:
            raise MediaError(f"truncated: {len(samples):,} of {file.frames:,} samples")
        return samples, file.samplerate


def mono(channels: NDArray[Any]) -> NDArray[np.float32]:
    """Mean over the first axis of (channels, samples); in double, so that equal channels give themselves."""
    with np.errstate(all="ignore"):  # damaged floats: `sounding` refuses what comes of them
        mean: NDArray[np.float64] = channels.mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)


def sounding(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    if not samples.size:
        raise MediaError("holds no sound")
    if not np.isfinite(samples).all():
        raise MediaError(f"sample {int(np.argmin(np.isfinite(samples)))} is not a finite number")
    return samples


def checked(samples: NDArray[Any]) -> NDArray[Any]:
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise MediaError(f"{samples.dtype} of shape {samples.shape}; mono floating point of shape (samples,) would do")
    sounding(samples)
    if (peak := float(np.abs(samples).max())) > LOUDEST:
        raise MediaError(f"peak of {peak:g}, where full scale is 1; divide integers by 32768")
    return samples
