"""Images as the networks see them: the shorter side resized, the centre cut out, each channel normalised.

Conventions: PIL RGB images in, float32 arrays (3, crop, crop) out, channels first. Resizing is PIL's bicubic on 8-bit
pixels, which is antialiased when it shrinks; bicubic resizing of tensors without antialias is 11 grey levels (RMS) away
on the DreamBench photographs and shifts large photographs more than small generations. Sizes and offsets round as in
torchvision's Resize and CenterCrop, through which DINO (`eval_knn.py`) and CLIP (`clip.py`) publish their transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UsageError
from harness.media import read_image
from harness.nouns import Media

# Resizing comes before cropping, so the resized strip is held whole: a side may be this many times the other.
LONGEST_STRIP = 64


@dataclass(frozen=True, slots=True)
class Transform:
    """Shorter side and crop in pixels; mean and standard deviation of R, G, B on the scale 0 to 1."""

    shorter_side: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def preprocess(image: Image.Image, transform: Transform) -> NDArray[np.float32]:
    """An RGB image of any size as float32 (3, crop, crop)."""
    cropped = center_crop(resize_shorter_side(image, transform.shorter_side), transform.crop)
    scaled = np.asarray(cropped, dtype=np.float32) / np.float32(255)
    mean, std = (np.array(values, dtype=np.float32) for values in (transform.mean, transform.std))
    normalised = (scaled - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def resize_shorter_side(image: Image.Image, size: int) -> Image.Image:
    """The image with its shorter side `size` pixels long, the longer one in proportion, rounded down."""
    width, height = image.size
    longer = int(size * max(width, height) / min(width, height))
    return image.resize((size, longer) if width <= height else (longer, size), Image.Resampling.BICUBIC)


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """The middle `size` x `size` pixels of an image that is at least as large."""
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def read_pixels(batch: Sequence[tuple[Media, ...]], transform: Transform) -> NDArray[np.float32]:
    """The one image of each row, preprocessed: float32 (len(batch), 3, crop, crop).

    Raises UsageError that names the file for what is no image, or an image more than 64 times longer than wide.
    """
    with ThreadPoolExecutor(max_workers=4) as threads:
        return np.stack(list(threads.map(lambda row: _pixels(row, transform), batch)))


def _pixels(row: tuple[Media, ...], transform: Transform) -> NDArray[np.float32]:
    (media,) = row
    image = read_image(media)
    if max(image.size) > LONGEST_STRIP * min(image.size):
        raise UsageError(f"{media.uri}: {image.width} x {image.height} pixels is too long a strip to embed; crop it")
    return preprocess(image, transform)
