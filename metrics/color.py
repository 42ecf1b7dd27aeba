"""Colour similarity without weights: the intersection of colour histograms.

Task. A companion to DINO and CLIP-I that needs no checkpoint: does an output have the colours of the reference
photographs? It knows nothing of shape or subject.

Conventions. Features are joint RGB histograms of whole images (`metrics.extractors.color`: 8 x 8 x 8 bins), brought to
sum one here in float64. The value is sum over bins of min(output, reference), in [0, 1]: 1 for equal histograms, 0 for
images that share no colour; averaged over the references of the output's own case and turn. NaN without a reference.

Source. Swain and Ballard, Color Indexing, IJCV 7(1), 1991, section 3.1 (histogram intersection; both histograms
are of equal mass here, so that the measure is symmetric). Their bins are 16 x 16 x 8 on opponent axes; ours are RGB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.nouns import Features, Metric, Need
from metrics.turns import rows_by_turn, turns_of


def mean_intersection(output: Features, reference: Features) -> NDArray[np.float64]:
    """Mean histogram intersection of each output with its own references: (rows of output,) in [0, 1], or NaN."""
    outputs, references = _shares(output.values), _shares(reference.values)
    own, values = rows_by_turn(reference), np.full(len(outputs), np.nan)
    for row, turn in enumerate(turns_of(output)):
        if turn in own:
            values[row] = np.minimum(outputs[row], references[own[turn]]).sum(axis=1).mean()
    return values


def _shares(values: NDArray[np.floating]) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


COLOR_HIST = Metric(
    name="color_hist",
    version=1,
    level="sample",
    better="higher",
    range=(0.0, 1.0),
    needs={"output": Need("color-hist", ("output",)), "reference": Need("color-hist", ("reference",))},
    compute=mean_intersection,
)
