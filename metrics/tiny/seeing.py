"""Pictures of the drawn world as a vision transformer sees them, without enlarging them in every step of training.

The extractors enlarge a picture of 64 pixels to 224 or 256 by Pillow's bicubic filter and cut it into patches. Both,
and the network's first convolution, are linear: one smaller convolution of the picture itself does what all three do,
but for the rounding of levels and for the outermost row, where Pillow leaves out what is beyond the border and this
repeats it. What is reported of a network goes through its extractor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from metrics.extractors.pixels import Transform, preprocess

# Pixels on either side that the bicubic filter looks at.
REACH = 2

# Pictures whose patches are looked at before training.
LOOKED_AT = 100


@dataclass(frozen=True)
class FirstLayer:
    """A transformer's first convolution, (width, 3, patch, patch) with stride `patch`, laid on pictures of `side`."""

    transform: Transform
    patch: int
    side: int = 64

    def tokens(self, pictures: NDArray[np.uint8], kernel: Tensor) -> Tensor:
        """What the convolution makes of the patches of pictures (n, side, side, 3): (n, patches, width)."""
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (self.transform.mean, self.transform.std))
        levels = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / deviation
        margin = self._pixels((self.transform.shorter_side - self.transform.crop) // 2)
        around = REACH - margin
        cut = functional.pad(levels, (around,) * 4, "replicate") if around > 0 else levels[:, :, -around:, -around:]
        spread = self._spread().to(kernel)
        small = torch.einsum("wcyx,ya,xb->wcab", kernel, spread, spread)
        return functional.conv2d(cut, small, stride=self._pixels(self.patch)).flatten(2).transpose(1, 2)

    def _spread(self) -> Tensor:
        """How a patch comes of the pixels under and around it: (patch, pixels), taken from the middle of a picture."""
        whole = functional.interpolate(
            torch.eye(self.side)[None, None], (self.transform.shorter_side, self.side), mode="bicubic", antialias=True
        )[0, 0]
        first = self.side // 2
        start = first * self.transform.shorter_side // self.side
        return whole[start : start + self.patch, first - REACH : first + self._pixels(self.patch) + REACH]

    def _pixels(self, enlarged: int) -> int:
        """Pixels of the picture that are as long as so many of the enlarged one."""
        pixels, rest = divmod(enlarged * self.side, self.transform.shorter_side)
        if rest:
            raise ValueError(f"{enlarged} enlarged pixels are no whole number of pixels")
        return pixels


def through_the_extractor(pictures: Iterable[NDArray[np.uint8]], transform: Transform) -> NDArray[np.float32]:
    """The input of a network as its extractor prepares it, (n, 3, crop, crop)."""
    return np.stack([preprocess(Image.fromarray(picture), transform) for picture in pictures])


def start_from_components(kernel: Tensor, pictures: NDArray[np.uint8], transform: Transform) -> Tensor:
    """Start a first convolution (width, 3, patch, patch) as principal components of patches, each of variance 1.

    Neighbouring pixels of enlarged pictures are nearly alike: a random start sees the mean of a patch and hardly any
    edge (compare Krähenbühl et al. 2016, arXiv 1511.06856). Returns the bias (width,) that makes the mean patch zero.
    """
    width, _, patch, _ = kernel.shape
    seen = torch.from_numpy(through_the_extractor(pictures[:LOOKED_AT], transform))
    patches = functional.unfold(seen, patch, stride=patch).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(dim=0)
    _, lengths, directions = torch.pca_lowrank(patches - mean, q=width, center=False)
    components = (directions / lengths * len(patches) ** 0.5).T
    with torch.no_grad():
        kernel.copy_(components.reshape(kernel.shape))
    bias: Tensor = -components @ mean
    return bias


def place_by_sines(positions: Tensor) -> None:
    """Start the positions of patches, (patches, width), as sines of row and column, so that near ones are alike."""
    count, width = positions.shape
    across = round(count**0.5)
    rates = 100.0 ** (-torch.arange(width // 4) / (width // 4))
    turns = torch.arange(across)[:, None] * rates
    waves = torch.cat([turns.sin(), turns.cos()], dim=1)
    down = waves[:, None].expand(across, across, -1)
    with torch.no_grad():
        positions.copy_(0.2 * torch.cat([down, down.transpose(0, 1)], dim=2).flatten(0, 1))
