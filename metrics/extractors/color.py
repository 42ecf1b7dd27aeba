"""Joint RGB histogram of a whole image: how much of it has which colour. No weights.

Conventions: 8 equal bins for each of R, G and B, so 512 bins, red slowest and blue fastest; values are shares of the
pixels and sum to one: float32 (rows, 512). The image is counted at its own size: colour shares do not depend on it.
Source: Swain and Ballard, Color Indexing, IJCV 7(1), 1991.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UsageError
from harness.media import read_image
from harness.nouns import Media

BINS = 8


class ColorHistogram:
    """`color-hist`. It has no weights, so any are refused with a UsageError; the device plays no part."""

    def __init__(self, weights: str, device: str) -> None:
        if weights:
            raise UsageError(f"weights {weights}: color-hist has none; leave --weights color-hist out")

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Histograms of the one image in each row: float32 (len(batch), 512)."""
        return np.stack([histogram(read_image(media)) for (media,) in batch])


def histogram(image: Image.Image) -> NDArray[np.float32]:
    """Shares of the pixels of an RGB image in each of the 512 colour bins: float32 (512,), sum one."""
    red, green, blue = np.moveaxis(np.asarray(image, dtype=np.int64) * BINS // 256, -1, 0)
    counts = np.bincount(((red * BINS + green) * BINS + blue).ravel(), minlength=BINS**3)
    return np.asarray(counts / counts.sum(), dtype=np.float32)
