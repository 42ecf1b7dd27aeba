"""Cosine similarity of an output to its own case: DINO, CLIP-I, CLIP-T.

Task. Does a generated image show the subject of the reference photographs (DINO, CLIP-I) and what the prompt says
(CLIP-T)? Defined by DreamBooth (Ruiz et al. 2023, arXiv 2208.12242, section 4.1).

Conventions. Features are embeddings as the network gives them, any length; they are brought to unit length here, in
float64. A value is a cosine in [-1, 1]: not times 100, and negative values stand (the Kosmos-G scripts
`eval/dino_score.py` and `eval/clip_score.py` do both otherwise: x100 and max(mean, 0)). A row belongs to the case and
turn it names; an output is compared with all rows of its own case and turn and with no other. A row of zeros has no
direction, so whatever it takes part in is NaN; so is an output without a reference.

Metrics, by level:
    sample   dino, clip_i             mean cosine of an output to each of its references
             clip_t                   cosine of an output to its prompt
             dino_self_macro, ...     the same to all photographs of the subject, the answer itself among them
    set      dino_distinct_micro, ... mean over all (output, own reference) pairs of the whole set
             dino_self_micro, ...     the same over all photographs, the answer itself among them

The last three readings are for the published row "Real Images" (0.774 / 0.885), whose pairs no source states. With x
the mean cosine of the distinct pairs of one subject with n photographs, the reading that includes the answer itself
is ((n - 1) x + 1) / n for that subject. Which reading a table means is decided by running all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.nouns import Features, Metric, Need
from metrics.turns import rows_by_turn, turns_of

COSINE_RANGE = (-1.0, 1.0)


def mean_cosine(output: Features, reference: Features) -> NDArray[np.float64]:
    """Mean cosine of each output to all references of its case and turn: (rows of output,) in [-1, 1], or NaN.

    The mean of cosines is the dot product with the mean of the unit references, so a case costs one product.
    """
    references, own = unit(reference.values), rows_by_turn(reference)
    outputs = unit(output.values)
    centers = np.full(outputs.shape, np.nan)
    center = {turn: references[rows].mean(axis=0) for turn, rows in own.items()}
    for row, turn in enumerate(turns_of(output)):
        if turn in center:
            centers[row] = center[turn]
    return np.asarray(np.einsum("rd,rd->r", outputs, centers))


def cosine_to_prompt(output: Features, prompt: Features) -> NDArray[np.float64]:
    """Cosine of each output to the prompt of its case and turn: (rows of output,) in [-1, 1], or NaN."""
    return mean_cosine(output, prompt)


def pair_mean_cosine(output: Features, reference: Features) -> float:
    """Mean cosine over all (output, own reference) pairs, so that a case weighs as much as it has references.

    NaN where there is no pair, or where a pair has no cosine.
    """
    own = rows_by_turn(reference)
    pairs = np.array([len(own.get(turn, ())) for turn in turns_of(output)])
    if not pairs.any():
        return float("nan")
    return float(mean_cosine(output, reference)[pairs > 0] @ pairs[pairs > 0] / pairs.sum())


def unit(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows brought to length one, (rows, dim) float64; NaN for a row of zeros, which has no direction."""
    rows = np.asarray(values, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, np.nan)


def _image_metric(name: str, extractor: str, part: str = "reference") -> Metric:
    needs = {"output": Need(extractor, ("output",)), "reference": Need(extractor, (part,))}
    return Metric(name, 1, "sample", "higher", COSINE_RANGE, needs, mean_cosine)


def _pair_metric(name: str, extractor: str, part: str) -> Metric:
    needs = {"output": Need(extractor, ("output",)), "reference": Need(extractor, (part,))}
    return Metric(name, 1, "set", "higher", COSINE_RANGE, needs, pair_mean_cosine)


def _text_metric(name: str, extractor: str) -> Metric:
    needs = {"output": Need(extractor, ("output",)), "prompt": Need(extractor, ("prompt",))}
    return Metric(name, 1, "sample", "higher", COSINE_RANGE, needs, cosine_to_prompt)


DINO = _image_metric("dino", "dino-vits16")
DINO_SELF_MACRO = _image_metric("dino_self_macro", "dino-vits16", "subject")
DINO_DISTINCT_MICRO = _pair_metric("dino_distinct_micro", "dino-vits16", "reference")
DINO_SELF_MICRO = _pair_metric("dino_self_micro", "dino-vits16", "subject")

CLIP_I = _image_metric("clip_i", "clip-vit-b32")
CLIP_I_SELF_MACRO = _image_metric("clip_i_self_macro", "clip-vit-b32", "subject")
CLIP_I_DISTINCT_MICRO = _pair_metric("clip_i_distinct_micro", "clip-vit-b32", "reference")
CLIP_I_SELF_MICRO = _pair_metric("clip_i_self_micro", "clip-vit-b32", "subject")
CLIP_T = _text_metric("clip_t", "clip-vit-b32")

DINO_TINY = _image_metric("dino-tiny", "dino-tiny")
CLIP_I_TINY = _image_metric("clip_i-tiny", "clip-tiny")
CLIP_T_TINY = _text_metric("clip_t-tiny", "clip-tiny")
