"""What the sound decoder of the tiny preset reaches: events that are there after encoding and decoding, and edits.

Log-spectral distances are those of the metric `lsd_clean` (metrics.extractors.log_spectral), written here once more
since systems do not know metrics: 743 samples, hop 160, powers of at least 1e-10; in decades, of sounds in 16 bits. An
edit is compared with its exact target; doing nothing, which gives the source back, stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from harness.drawn_world import World
from harness.recipes import Figure, share
from systems.codi2.sound_decoder import SoundDecoder, SoundSampling
from systems.imagebind.model import ImageBind
from systems.tiny.captions import sound as caption_of
from systems.tiny.imagebind_figures import sound_features, sounded, text_features
from systems.tiny.sound_lessons import EDITS, Edit, captions_of

# Samples (n, 32000) float32 in [-1, 1] at 16 kHz to which of the world's events are heard, (n, 16) bool.
Judge = Callable[[NDArray[np.float32]], NDArray[np.bool_]]

# What its sounds are best with, chosen on validation.
SAMPLING = SoundSampling(steps=20, guidance_scale=2.5, source_guidance_scale=1.5, seconds=2.0)
TOGETHER = 25
WINDOW, HOP, LEAST_POWER = 743, 160, 1e-10


def validated(decoder: SoundDecoder, imagebind: ImageBind, world: World, mixtures: int) -> Mapping[str, Figure]:
    """Figures of a set that need no judge.

    retrieved            the nearest of the captions of all events and pairs to a sound that was drawn of a caption's
                         feature is that caption: as ImageBind-tiny hears it
    lsd_EDIT, lsd_EDIT_copy_input    of edits by the feature of the target's caption, and of the source itself
    """
    heard = [(one.kept, one.first) for one in world.mixtures[:mixtures]]
    captions = captions_of(world, heard)
    drawn = sounds_of_features(decoder, text_features(imagebind, captions), [None] * len(heard))
    found = _nearest_captions(imagebind, drawn, world)
    return {"retrieved": share([a == b for a, b in zip(found, captions, strict=True)])} | {
        name: figure
        for edit in EDITS
        for name, figure in edited(decoder, imagebind, world, named(world, edit, mixtures), None).items()
    }


def held_out_of(
    decoder: SoundDecoder, imagebind: ImageBind, world: World, judge: Judge, mixtures: int = 150
) -> Mapping[str, Figure]:
    """Figures of a set.

    true                 how often the judge hears exactly the events that there are, in true sounds
    of_sounds, of_texts  ... in sounds drawn of the features of true sounds, and of their captions
    EDIT                 ... in edits by the feature of the target's caption, with the source
    EDIT_copy_input      ... in the source itself
    lsd_EDIT, lsd_EDIT_copy_input    the distance to the exact target
    """
    singles = [(row,) for row in range(0, len(world.stems), 4)]
    heard = [*[rows for one in world.mixtures[:mixtures] for rows in ((one.kept, one.first), (one.kept, one.second))],
             *singles]  # fmt: skip
    true = np.stack([sounded(world, rows) for rows in heard])
    features = {
        "of_sounds": sound_features(imagebind, list(true)),
        "of_texts": text_features(imagebind, captions_of(world, heard)),
    }
    figures = {"true": exact(judge, true, heard, world)}
    for name, told in features.items():
        figures[name] = exact(judge, sounds_of_features(decoder, told, [None] * len(told)), heard, world)
    for edit in EDITS:
        figures |= edited(decoder, imagebind, world, named(world, edit, mixtures), judge)
    return figures


def named(world: World, name: str, mixtures: int) -> list[Edit]:
    """The edits of that name of a set's first mixtures."""
    edits = []
    for one in world.mixtures[:mixtures]:
        first, second = (one.kept, one.first), (one.kept, one.second)
        source, target = {"add": ((one.kept,), first), "drop": (first, (one.kept,)), "replace": (first, second)}[name]
        edits.append(Edit(name, source, target))
    return edits


def edited(
    decoder: SoundDecoder, imagebind: ImageBind, world: World, edits: Sequence[Edit], judge: Judge | None
) -> dict[str, Figure]:
    """Figures of edits of one name, by the features of their targets' captions."""
    name, targets = edits[0].name, [edit.target for edit in edits]
    sources = np.stack([sounded(world, edit.source) for edit in edits])
    made = sounds_of_features(decoder, text_features(imagebind, captions_of(world, targets)), list(sources))
    true = [sounded(world, target) for target in targets]
    figures = {
        f"lsd_{name}": mean([log_spectral_distance(a, b) for a, b in zip(made, true, strict=True)]),
        f"lsd_{name}_copy_input": mean([log_spectral_distance(a, b) for a, b in zip(sources, true, strict=True)]),
    }
    if judge is not None:
        figures[name] = exact(judge, made, targets, world)
        figures[f"{name}_copy_input"] = exact(judge, sources, targets, world)
    return figures


def sounds_of_features(
    decoder: SoundDecoder,
    features: Tensor,
    sources: Sequence[NDArray[np.float32] | None],
    sampling: SoundSampling = SAMPLING,
) -> NDArray[np.float32]:
    """Sounds (n, 32000) of features (n, D), in 16 bits; the noise of row r is drawn by seed r."""
    drawn = []
    for start in range(0, len(features), TOGETHER):
        part = features[start : start + TOGETHER]
        generators = [torch.Generator().manual_seed(start + row) for row in range(len(part))]
        drawn += decoder.decode(part, generators, sampling, sources[start : start + TOGETHER])
    return np.stack([np.round(sound.samples * 32767) / np.float32(32768) for sound in drawn])


def exact(judge: Judge, sounds: NDArray[np.float32], heard: Sequence[tuple[int, ...]], world: World) -> Figure:
    """How often the judge hears the events of these stems and no others."""
    there = np.zeros((len(heard), len(world.events)), dtype=bool)
    for row, stems in enumerate(heard):
        there[row, [world.events.index(world.stem_events[stem]) for stem in stems]] = True
    return share((judge(sounds) == there).all(axis=1).tolist())


def log_spectral_distance(made: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """The mean over frames of the root of the mean over frequencies of (log10 power - log10 power)^2."""
    difference = _log_power(made) - _log_power(true)
    return float(difference.square().mean(dim=0).sqrt().mean())


def mean(values: Sequence[float]) -> Figure:
    """A mean with its normal 95 % interval."""
    value, half = float(np.mean(values)), 1.959964 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Figure(value, value - half, value + half, len(values))


def _log_power(sound: NDArray[np.float32]) -> Tensor:
    spectrum = torch.stft(
        torch.from_numpy(sound).double(), WINDOW, HOP, window=torch.hann_window(WINDOW, dtype=torch.float64),
        pad_mode="constant", return_complex=True,
    )  # fmt: skip
    return spectrum.abs().square().clamp(min=LEAST_POWER).log10()


def _nearest_captions(imagebind: ImageBind, sounds: NDArray[np.float32], world: World) -> list[str]:
    events = world.events
    sets = [{one} for one in events] + [{one, other} for one in events for other in events if one < other]
    captions = [caption_of(names, world) for names in sets]
    texts = normalize(text_features(imagebind, captions), dim=1)
    heard = normalize(sound_features(imagebind, list(sounds)), dim=1)
    return [captions[place] for place in (heard @ texts.T).argmax(dim=1).tolist()]
