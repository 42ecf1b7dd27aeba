"""Pictures, videos and sounds as ImageBind takes them, equal to the official transforms (imagebind/data.py).

    pictures   bicubic to the short side, centre crop, scaled to [0, 1], normalised by CLIP's statistics
    videos     5 clips of 2 s equally spread over the video, of each the first and the last frame, bilinear (not
               antialiased) to the short side, normalised, 3 crops along the long side: 15 views
    sounds     3 clips of 2 s equally spread over the sound, each less its mean, Kaldi's log mel banks (`fbank`), filled
               with zeros or cut to the tower's frames, normalised by AudioSet's statistics: 3 views

What is shorter than 2 s is seen whole in every clip. Sources: imagebind/data.py, commit 53680b0, and pytorchvideo at
the commit that it pins, 6cdc929 (its releases spread the clips otherwise), ConstantClipsPerVideoSampler,
EncodedVideoDecord, UniformTemporalSubsample, ShortSideScale. Media come decoded by `harness.media`, whose sound is the
mean of the channels, where the official code takes the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision import transforms

from harness.errors import UsageError
from harness.media import Video
from systems.imagebind.config import Sheet, Vision
from systems.imagebind.fbank import RATE, WINDOW, fbank

# CLIP's, in RGB.
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
AUDIO_MEAN, AUDIO_DEVIATION = -4.268, 9.138
CLIP_SECONDS, SOUND_CLIPS, VIDEO_CLIPS, CROPS = 2, 3, 5, 3
# A strip is scaled until its short side fills the tower, which makes its long side as much longer.
LONGEST_ASPECT = 100


def images(pictures: Sequence[Image.Image], size: Vision) -> Tensor:
    """RGB pictures of any sizes as (B, 3, picture, picture), float32; UsageError for a strip over 100 : 1."""
    transform = transforms.Compose(
        [
            transforms.Resize(size.picture, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size.picture),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    for picture in pictures:
        _check_aspect("a picture", picture.width, picture.height)
    return torch.stack([transform(picture) for picture in pictures])


def sounds(signals: Sequence[NDArray[np.float32]], size: Sheet) -> Tensor:
    """Mono sounds (n,) at 16 kHz, at least 400 samples each, as (B, 3, 1, mel bands, frames), float32.

    Raises UsageError for a sound shorter than one window of 25 ms.
    """
    return torch.stack([_sound(torch.from_numpy(np.array(signal, dtype=np.float32)), size) for signal in signals])


def videos(clips: Sequence[Video], size: Vision) -> Tensor:
    """Videos as (B, 15, 3, frames, picture, picture), float32: for each clip, its crops left to right or top to bottom.

    Raises UsageError for frames over 100 : 1.
    """
    return torch.stack([_video(video, size) for video in clips])


def clip_times(seconds: float, clips: int) -> Iterator[tuple[Fraction, Fraction]]:
    """Beginning and end, in seconds, of clips of 2 s spread over a medium; the last one ends with it.

    Exact fractions, because the official code rounds them to samples and frames.
    """
    latest = Fraction(max(seconds - CLIP_SECONDS, 0))
    for number in range(clips):
        start = latest / (clips - 1) * number
        yield start, start + CLIP_SECONDS


def _sound(samples: Tensor, size: Sheet) -> Tensor:
    if len(samples) < WINDOW:
        raise UsageError(f"a sound of {len(samples)} samples at 16 kHz; ImageBind needs {WINDOW}, which are 25 ms")
    sheets = []
    for start, end in clip_times(len(samples) / RATE, SOUND_CLIPS):
        clip = samples[int(start * RATE) : int(end * RATE)]
        # In place, as the official code does it: under 6 s clips overlap, and see each other's means taken away.
        clip -= clip.mean()
        sheets.append(sheet(clip, size))
    return torch.stack(sheets)


def sheet(clip: Tensor, size: Sheet) -> Tensor:
    """One clip (n,) without its mean as the tower takes it, (1, mel bands, frames), float32."""
    bands = fbank(clip, size.height).T
    # A negative padding cuts.
    padded = functional.pad(bands, (0, size.length - bands.shape[1]))[None]
    return (padded - AUDIO_MEAN) / AUDIO_DEVIATION


def _video(video: Video, size: Vision) -> Tensor:
    count, height, width, _ = video.frames.shape
    _check_aspect("a video", width, height)
    numbers = np.array(
        [
            _frame_numbers(start, end, count, video.frames_per_second, size.frames)
            for start, end in clip_times(count / video.frames_per_second, VIDEO_CLIPS)
        ]
    )
    needed, places = np.unique(numbers, return_inverse=True)
    pixels = torch.from_numpy(video.frames[needed]).permute(0, 3, 1, 2)
    frames = _short_side(pixels / 255.0, size.picture)
    frames = (frames - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    crops = torch.stack(_crops(frames, size.picture))
    # (crops, clips, T, 3, H, W) -> (clips, crops, 3, T, H, W)
    return crops[:, places].permute(1, 0, 3, 2, 4, 5).flatten(0, 1)


def _frame_numbers(start: Fraction, end: Fraction, count: int, rate: float, wanted: int) -> list[int]:
    """`wanted` frames from the first to the last that begin within a clip.

    Where none does (less than a frame in 2 s; the official code fails), the one that is on screen.
    """
    first, stop = math.ceil(rate * start), min(math.ceil(rate * end), count)
    if first >= stop:
        return [min(first, count) - 1] * wanted
    return [first + int(place) for place in torch.linspace(0, stop - first - 1, wanted)]


def _short_side(frames: Tensor, side: int) -> Tensor:
    """Frames (F, 3, H, W), in [0, 1], scaled until the short side is `side`."""
    height, width = frames.shape[2:]
    tall = (math.floor(height / width * side), side)
    shape = tall if width < height else (side, math.floor(width / height * side))
    return functional.interpolate(frames, size=shape, mode="bilinear", align_corners=False)


def _crops(frames: Tensor, side: int) -> list[Tensor]:
    """Beginning, middle and end of the long side, square."""
    height, width = frames.shape[2:]
    long = 2 if height > width else 3
    spare = frames.shape[long] - side
    return [frames.narrow(long, start, side) for start in (0, math.ceil(spare / 2), spare)]


def _check_aspect(what: str, width: int, height: int) -> None:
    if max(width, height) > LONGEST_ASPECT * min(width, height):
        raise UsageError(f"{what} of {width} x {height} pixels; crop it to {LONGEST_ASPECT} : 1 at most")
