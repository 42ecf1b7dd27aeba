"""What the sound decoder of the tiny preset learns from: sounds of the drawn world, and edits of one into another.

Of a mixture's stems (kept, first, second) there are two sounds, kept + first and kept + second, and three edits: kept
to kept + first is add, kept + first to kept is drop, kept + first to kept + second is replace.

A sound that is drawn without a source has its peak at 0.5, as everything that is read. The target of an edit is scaled
as its source is, so that what stays is in both the same, and what comes out can be as loud as the source was
(systems.codi2.sound_decoder).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.drawn_world import World
from systems.codi2 import mel
from systems.imagebind.model import ImageBind
from systems.tiny.captions import sound as caption_of
from systems.tiny.imagebind_figures import sound_features, sounded, text_features
from systems.tiny.sound_vae import FRAMES, encode, spectrogram

EDITS = ("add", "drop", "replace")


@dataclass(frozen=True, slots=True)
class Edit:
    """Stems that are heard in the source, none where there is no source, and in what is to be made of it."""

    name: str
    source: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Sounds:
    """Sounds by the stems that are heard in them: `number` says in which row of the arrays each is.

    `bands` (n, 200, 64), as loud as they are; `gains` (n,), what they are multiplied by when they are read.
    """

    number: dict[tuple[int, ...], int]
    bands: Tensor
    gains: Tensor

    def spectrograms(self, rows: Sequence[int], loud_as: Sequence[int]) -> Tensor:
        """Log-mel spectrograms (m, 200, 64) of these rows, scaled as those of `loud_as` are read."""
        return spectrogram(self.bands[list(rows)] * self.gains[list(loud_as), None, None])


@dataclass(frozen=True)
class Lessons:
    """Rows to learn from, a row an edit (or a sound without a source).

    `targets` and `sources` are rows of `latents` (n, 8, 25, 8), which are scaled to unit variance; -1 is no source.
    `features` (rows, 2, D) are of the target and of its caption, as ImageBind's heads give them. `names` are those of
    the edits, "" where there is no source.
    """

    latents: Tensor
    targets: Tensor
    sources: Tensor
    features: Tensor
    names: NDArray[np.str_]


def edits_of(world: World, mixtures: int) -> list[Edit]:
    """Every stem and the sounds of the first mixtures of a set without sources, and the edits of these mixtures."""
    edits = [Edit("", (), (stem,)) for stem in range(len(world.stems))]
    for one in world.mixtures[:mixtures]:
        first, second = (one.kept, one.first), (one.kept, one.second)
        edits += [Edit("", (), first), Edit("", (), second)]
        edits += [Edit("add", (one.kept,), first), Edit("drop", first, (one.kept,)), Edit("replace", first, second)]
    return edits


def sounds_of(world: World, edits: Sequence[Edit]) -> Sounds:
    """Everything that is heard in these edits."""
    rows = list(dict.fromkeys(rows for edit in edits for rows in (edit.source, edit.target) if rows))
    waves = [sounded(world, one) for one in rows]
    return Sounds(
        {one: number for number, one in enumerate(rows)},
        torch.stack([mel.bands(torch.from_numpy(wave - wave.mean())) for wave in waves]),
        torch.tensor([mel.gain_of(wave, FRAMES) for wave in waves]),
    )


def lessons_of(world: World, edits: Sequence[Edit], sounds: Sounds, vae: Any, imagebind: ImageBind) -> Lessons:
    """The latents and features of edits."""
    number = sounds.number
    targets = [(number[edit.target], number[edit.source or edit.target]) for edit in edits]
    sources = [(number[edit.source], number[edit.source]) for edit in edits if edit.source]
    different = {pair: place for place, pair in enumerate(dict.fromkeys([*targets, *sources]))}
    latents = encode(vae, sounds.spectrograms(*zip(*different, strict=True))) * vae.config["scaling_factor"]
    place_of_source = [different[number[edit.source], number[edit.source]] if edit.source else -1 for edit in edits]
    return Lessons(
        latents,
        torch.tensor([different[pair] for pair in targets]),
        torch.tensor(place_of_source),
        _features(world, [edit.target for edit in edits], imagebind),
        np.array([edit.name for edit in edits]),
    )


def captions_of(world: World, sounds: Sequence[tuple[int, ...]]) -> list[str]:
    """The caption of the sound of these stems."""
    return [caption_of({world.stem_events[stem] for stem in stems}, world) for stems in sounds]


def _features(world: World, heard: Sequence[tuple[int, ...]], imagebind: ImageBind) -> Tensor:
    """(n, 2, D), of sounds and of their captions; each different one goes through its tower once."""
    sounds, captions = list(dict.fromkeys(heard)), captions_of(world, heard)
    texts = list(dict.fromkeys(captions))
    of_sounds = dict(zip(sounds, sound_features(imagebind, [sounded(world, one) for one in sounds]), strict=True))
    of_texts = dict(zip(texts, text_features(imagebind, texts), strict=True))
    pairs = zip(heard, captions, strict=True)
    return torch.stack([torch.stack([of_sounds[one], of_texts[caption]]) for one, caption in pairs])
