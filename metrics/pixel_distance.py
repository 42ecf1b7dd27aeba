"""How far an edited image is from its source: L1, L2, SSIM, PSNR and LPIPS, whole and on each side of its mask.

Task. Did the edit keep what it was not to change? Outside the mask (white = what may change) an editor is best that
changes nothing; over the whole image doing nothing is best, so whole-image numbers are read beside `clip_dir`. Inside
the mask there is no better: the direction given there is that of "closer to the source", as for the others.

Conventions. A row of the feature is one output with its source (and mask), compared whole by its extractor, which has
the formulas: `metrics.extractors.pixel_distance` and `metrics.extractors.lpips`. A metric is one of its columns.

    l1, l2     mean absolute and mean squared difference, R, G, B in [0, 1]
    ssim       structural similarity on R, G, B, in [-1, 1]
    psnr       in dB, 100 for equal images (the cap)
    lpips      learned perceptual distance on AlexNet, 0 for equal images
    *_inside, *_outside   the same over the pixels inside or outside of the mask, where the case has one
    *_target   the same to the target instead, where the case has one: to the right answer, where targets are exact

An output of another size is brought to the source's. A mask of another size, or with nothing on one side, is an error
of that row, which is then not scored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.nouns import Features, Metric, Need

PIXEL_COLUMNS = ("l1", "l2", "ssim", "psnr")
WHOLE = ("output", "source")
MASKED = ("output", "source", "mask")
TARGET = ("output", "target")

BETTER: dict[str, Literal["higher", "lower"]] = {
    "l1": "lower",
    "l2": "lower",
    "ssim": "higher",
    "psnr": "higher",
    "lpips": "lower",
}
RANGES = {"l1": (0.0, 1.0), "l2": (0.0, 1.0), "ssim": (-1.0, 1.0), "psnr": (0.0, 100.0), "lpips": (0.0, np.inf)}


def column(number: int) -> Callable[[Features], NDArray[np.float64]]:
    """A metric's `compute` that takes one column of its only feature, `output`: (rows of output,)."""

    def compute(output: Features) -> NDArray[np.float64]:
        return output.values[:, number].astype(np.float64)

    return compute


def _metric(name: str, need: Need, number: int) -> Metric:
    base = name.removesuffix("-tiny").partition("_")[0]
    return Metric(name, 1, "sample", BETTER[base], RANGES[base], {"output": need}, column(number))


def _pixels(name: str) -> Metric:
    base, _, side = name.partition("_")
    number = PIXEL_COLUMNS.index(base)
    if not side:
        return _metric(name, Need("pixel-distance", WHOLE), number)
    if side == "target":
        return _metric(name, Need("pixel-distance", TARGET), number)
    after = {"inside": 0, "outside": len(PIXEL_COLUMNS)}[side]
    return _metric(name, Need("pixel-distance-masked", MASKED), number + after)


L1 = _pixels("l1")
L2 = _pixels("l2")
SSIM = _pixels("ssim")
PSNR = _pixels("psnr")
L1_TARGET = _pixels("l1_target")
SSIM_TARGET = _pixels("ssim_target")
L1_INSIDE = _pixels("l1_inside")
L2_INSIDE = _pixels("l2_inside")
SSIM_INSIDE = _pixels("ssim_inside")
PSNR_INSIDE = _pixels("psnr_inside")
L1_OUTSIDE = _pixels("l1_outside")
L2_OUTSIDE = _pixels("l2_outside")
SSIM_OUTSIDE = _pixels("ssim_outside")
PSNR_OUTSIDE = _pixels("psnr_outside")

# Columns of LPIPS: over the whole image, inside, outside.
LPIPS = _metric("lpips", Need("lpips-alex", WHOLE), 0)
LPIPS_INSIDE = _metric("lpips_inside", Need("lpips-alex", MASKED), 1)
LPIPS_OUTSIDE = _metric("lpips_outside", Need("lpips-alex", MASKED), 2)
LPIPS_TINY = _metric("lpips-tiny", Need("lpips-tiny", WHOLE), 0)
LPIPS_INSIDE_TINY = _metric("lpips_inside-tiny", Need("lpips-tiny", MASKED), 1)
LPIPS_OUTSIDE_TINY = _metric("lpips_outside-tiny", Need("lpips-tiny", MASKED), 2)
