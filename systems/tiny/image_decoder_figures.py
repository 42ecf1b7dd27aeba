"""What the shipped image decoder's pictures show, by a judge: of features of pictures, of captions, and in edits.

Every picture that is asked for is of a combination that was never trained on. What a picture shows is what the judge
says; it is right where that is what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.drawn_world import ATTRIBUTES, World, read_world
from harness.recipes import Figure, share
from systems.codi2.image_decoder import ImageDecoder, Sampling
from systems.imagebind.loading import load
from systems.imagebind.model import ImageBind
from systems.tiny.image_decoder import (
    IMAGEBIND,
    SAMPLING,
    as_pictures,
    caption_features,
    mean,
    picture_features,
    read_shipped,
)

# Of pictures (n, 64, 64, 3) the number of each one's value, (n,), by attribute.
Judge = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.int64]]]
Shown = Mapping[str, NDArray[np.bool_]]

COUNT = 400
DRAWN_AT_ONCE = 32
# What a background is apart from, and what the recipe counts as all.
FOUR = ("shape", "colour", "pattern", "background")


@dataclass(frozen=True)
class Asked:
    """Changed pictures of a set: their rows, and the rows of what they were changed from."""

    world: World
    rows: NDArray[np.int64]
    sources: NDArray[np.int64]

    @property
    def changes(self) -> list[str]:
        """The attribute in which each differs from its source."""
        return [self.world.pictures[row].change for row in self.rows]


def asked_of(data: Path, name: str, count: int = COUNT) -> Asked:
    """That many changed pictures, evenly out of a set."""
    world = read_world(data, name)
    firsts = {one.group: row for row, one in enumerate(world.pictures) if not one.change}
    changed = [row for row, one in enumerate(world.pictures) if one.change]
    rows = np.array(changed)[np.linspace(0, len(changed) - 1, min(count, len(changed))).astype(int)]
    return Asked(world, rows, np.array([firsts[world.pictures[row].group] for row in rows]))


def figures(
    decoder: ImageDecoder, imagebind: ImageBind, asked: Asked, judge: Judge, sampling: Sampling = SAMPLING
) -> dict[str, Figure]:
    """Shares that are right, and of edits the mean distance to what was asked for, in [0, 1]."""
    world, rows = asked.world, asked.rows
    true = world.pixels[rows]
    seen = picture_features(imagebind, true)
    told = caption_features(imagebind, [world.pictures[row].caption for row in rows])
    edited = draw(decoder, seen, sampling, world.pixels[asked.sources])
    return {
        **_kept("of a picture", shown(asked, judge(draw(decoder, seen, sampling)))),
        **_kept("of a caption", shown(asked, judge(draw(decoder, told, sampling)))),
        **_edits(asked, shown(asked, judge(edited))),
        "edit: L1 to the target": _distance(edited, true),
        "edit: L1 of the source to the target": _distance(world.pixels[asked.sources], true),
    }


def draw(
    decoder: ImageDecoder, features: Tensor, sampling: Sampling, sources: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Pictures (n, 64, 64, 3) of features (n, D), perhaps of sources (n, 64, 64, 3); row i is drawn with seed i."""
    given: list[Image.Image] | list[None] = [None] * len(features) if sources is None else as_pictures(sources)
    drawn: list[NDArray[np.uint8]] = []
    for part in torch.split(torch.arange(len(features)), DRAWN_AT_ONCE):
        generators = [torch.Generator().manual_seed(row) for row in part.tolist()]
        pictures = decoder.decode(features[part], generators, sampling, [given[row] for row in part.tolist()])
        drawn += [np.asarray(picture.image) for picture in pictures]
    return np.stack(drawn)


def shown(asked: Asked, judged: Mapping[str, NDArray[np.int64]]) -> Shown:
    """By attribute, which pictures show what they should."""
    return {name: judged[name] == asked.world.classes(name)[asked.rows] for name in ATTRIBUTES}


def _kept(what: str, right: Shown) -> dict[str, Figure]:
    named = {f"{what}: {name}": share(right[name].tolist()) for name in ATTRIBUTES}
    return {
        f"{what}: all but extra": share(_all(right, FOUR)),
        f"{what}: all": share(_all(right, ATTRIBUTES)),
        **named,
    }


def _edits(asked: Asked, right: Shown) -> dict[str, Figure]:
    changes = asked.changes
    followed = [bool(right[change][place]) for place, change in enumerate(changes)]
    rest = [all(right[name][place] for name in ATTRIBUTES if name != change) for place, change in enumerate(changes)]
    return {
        "edit: changed attribute": share(followed),
        "edit: the rest": share(rest),
        "edit: both": share([one and other for one, other in zip(followed, rest, strict=True)]),
    }


def _all(right: Shown, names: Sequence[str]) -> list[bool]:
    every: list[bool] = np.logical_and.reduce([right[name] for name in names]).tolist()
    return every


def _distance(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> Figure:
    return mean(np.abs(made.astype(np.float64) - true).mean(axis=(1, 2, 3)) / 255)


def held_out(data: Path, judge: Judge) -> Mapping[str, Figure]:
    """The figures of the test split, of what is shipped; UsageError where that or the world is not there."""
    imagebind = load(IMAGEBIND, modalities=("vision", "text"))
    return figures(read_shipped(), imagebind, asked_of(data, "test"), judge)
