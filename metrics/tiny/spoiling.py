"""Pictures as generators draw them, to teach a judge on: moved a little, soft, off in colour, blotched, noisy.

And what is no picture of the drawn world at all, of which a judge must say that it reads nothing: noise, plain fields,
bands of colours, and clouds with the spectrum of photographs.

Pictures here are (n, 3, 64, 64) float32 in [-1, 1]; all draws come from torch's global generator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SPOILED = 0.75
"""The share of pictures that are spoiled; the others are as they were drawn."""

# Standard deviations of the blur in pixels, all as often: no more than an autoencoder of a factor 4 blurs.
BLURS = (0.0, 0.0, 0.5, 0.8, 1.1)
HALVED = 0.15

# At most; how much is drawn for each picture. Grey levels on the scale of 2.
NOISE = 0.12
BLOTCHES = 0.25
COLOUR_GAIN = 0.07
COLOUR_SHIFT = 0.06

# At most: of the size, degrees, pixels; waves of the outline, pixels (standard deviation).
ZOOM = 0.08
TURN = 8.0
SHIFT = 3.0
WAVES = 0.6


def spoiled(pictures: Tensor) -> Tensor:
    """The pictures, about three of four of them spoiled in every way at once, each as much as it draws."""
    chosen = torch.rand(len(pictures)) < SPOILED
    worse = _blotched(_coloured(_softened(_moved(pictures[chosen]))))
    noise = torch.rand(len(worse), 1, 1, 1) * NOISE * torch.randn_like(worse)
    shown = pictures.clone()
    shown[chosen] = (worse + noise).clamp(-1, 1)
    return shown


def no_pictures(count: int, side: int) -> Tensor:
    """Noise, plain fields, bands and clouds by turns."""
    kinds = (_noise, _plain, _bands, _clouds)
    return torch.stack([kinds[number % len(kinds)](side) for number in range(count)]).clamp(-1, 1)


def _moved(pictures: Tensor) -> Tensor:
    count, side = len(pictures), pictures.shape[-1]
    angle = torch.deg2rad(TURN * _even(count))
    zoom = 1 + ZOOM * _even(count)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    right, down = (2 * SHIFT / side * _even(count) for _ in range(2))
    turns = torch.stack([cosine, -sine, right, sine, cosine, down], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(turns, list(pictures.shape), align_corners=False)
    waves = functional.interpolate(torch.randn(count, 2, 8, 8), size=side, mode="bicubic", align_corners=False)
    depth = torch.rand(count, 1, 1, 1) * 2 * 2 * WAVES / side
    return functional.grid_sample(
        pictures, grid + (depth * waves).permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )


def _softened(pictures: Tensor) -> Tensor:
    chosen = torch.randint(len(BLURS), (len(pictures),))
    soft = pictures.clone()
    for number, deviation in enumerate(BLURS):
        if deviation and bool((chosen == number).any()):
            soft[chosen == number] = _blurred(pictures[chosen == number], deviation)
    half = functional.interpolate(functional.avg_pool2d(soft, 2), scale_factor=2, mode="bilinear", align_corners=False)
    return torch.where(torch.rand(len(pictures), 1, 1, 1) < HALVED, half, soft)


def _blurred(pictures: Tensor, deviation: float) -> Tensor:
    """Gaussian, seven pixels wide, edges repeated."""
    line = torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * deviation**2))
    line = (line / line.sum()).expand(pictures.shape[1], 1, 1, 7)
    wide = functional.pad(pictures, (3, 3, 3, 3), mode="replicate")
    return functional.conv2d(functional.conv2d(wide, line, groups=len(line)), line.transpose(2, 3), groups=len(line))


def _coloured(pictures: Tensor) -> Tensor:
    """Each channel stretched and shifted, all of them washed out towards grey a little."""
    shape = (len(pictures), 3, 1, 1)
    grey = pictures.mean(dim=1, keepdim=True)
    washed = grey + (1 - 0.15 * torch.rand(len(pictures), 1, 1, 1)) * (pictures - grey)
    return washed * (1 + COLOUR_GAIN * torch.randn(shape)) + COLOUR_SHIFT * torch.randn(shape)


def _blotched(pictures: Tensor) -> Tensor:
    """Soft stains of 4 to 16 pixels."""
    side = pictures.shape[-1]
    stains = sum(
        functional.interpolate(torch.randn(len(pictures), 3, cells, cells), size=side, mode="bilinear")
        for cells in (side // 16, side // 8, side // 4)
    )
    return pictures + torch.rand(len(pictures), 1, 1, 1) * BLOTCHES / 3 * stains


def _noise(side: int) -> Tensor:
    return 2 * torch.rand(()) * torch.randn(3, side, side) + _even(3).view(3, 1, 1)


def _plain(side: int) -> Tensor:
    return _even(3).view(3, 1, 1).expand(3, side, side)


def _bands(side: int) -> Tensor:
    """Two to five fields of any colours, one above or beside the other, of any heights."""
    number = int(torch.randint(2, 6, ()))
    ends = torch.sort(torch.randint(1, side, (number - 1,))).values
    rows = torch.bucketize(torch.arange(side), ends, right=True)
    field = (2 * torch.rand(number, 3) - 1)[rows].T.view(3, side, 1).expand(3, side, side)
    return field if torch.rand(()) < 0.5 else field.transpose(1, 2)


def _clouds(side: int) -> Tensor:
    """Noise of all sizes from 2 pixels to the whole, each as strong as it is large, as in photographs."""
    cells = [2**power for power in range(1, 6)]
    layers = [
        functional.interpolate(torch.randn(1, 3, one, one), size=side, mode="bicubic", align_corners=False) * (2 / one)
        for one in cells
    ]
    cloud = sum(layers[1:], layers[0])[0]
    own = 0.3 + 0.7 * torch.rand(())
    grey = cloud.mean(dim=0, keepdim=True)
    shaded: Tensor = grey + own * (cloud - grey) + 0.5 * _even(3).view(3, 1, 1)
    return shaded


def _even(count: int) -> Tensor:
    """Evenly drawn from -1 to 1."""
    return 2 * torch.rand(count) - 1
