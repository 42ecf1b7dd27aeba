"""What models are trained on: pictures in groups of one layout, sounds as stems to be mixed.

    SET/pictures.csv, pictures.npz    a row a picture; array "pictures" (rows, 64, 64, 3) uint8
    SET/stems.csv, stems.npz          a row a sound of one event; array "stems" (rows, 32000) int16, 16 kHz
    SET/mixtures.csv                  rows of stems to be heard together: `kept` with `first`, or `kept` with `second`

A *group* is a picture and the pictures that differ from it by one attribute alone, to the pixel: what is to be told
apart, and what an edit changes. In a set that is held out every changed picture is of a held-out combination; the
picture they are changed from is of one too, or of one that is known from training.

    training      what generators and their encoders learn from
    validation    every choice made while training looks here
    test          looked at once
    judge         what the judge learns from, and nothing else does
    metrics       what the tiny metric extractors learn from, and nothing else does

The last two have pictures of their own of the combinations and pairs that training may show, without groups.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    COLOURS,
    EVENTS,
    EXTRAS,
    PATTERNS,
    RADII,
    SHAPES,
    SHIFTS,
    TILTS,
    Pose,
    Scene,
    Split,
    Subject,
    heard,
    split_of,
    split_of_events,
)
from benchmarks.tinyworld.drawing import draw
from benchmarks.tinyworld.sounding import sound

CHANGES = {"shape": SHAPES, "colour": COLOURS, "pattern": PATTERNS, "background": BACKGROUNDS, "extra": EXTRAS}
EXTRA_SHARES = (0.6, 0.2, 0.2)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what is drawn: `groups` of pictures, or `scenes` of their own; `stems` of each event; mixtures.

    `number` makes its draws its own, and `stems` begin at a number that no other set reaches.
    """

    name: str
    number: int
    split: Split
    groups: int = 0
    scenes: int = 0
    stems: int = 0
    mixtures: int = 0


PLANS = (
    Plan("training", 1, "training", groups=3000, stems=100, mixtures=6000),
    Plan("validation", 2, "validation", groups=200, stems=20, mixtures=400),
    Plan("test", 3, "test", groups=300, stems=20, mixtures=400),
    Plan("judge", 4, "training", scenes=12000, stems=60, mixtures=3000),
    Plan("metrics", 5, "training", scenes=9000, stems=60, mixtures=3000),
)
STEMS_A_PLAN = 10_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture of a set: its group, and what was changed from the group's first ("" for that one)."""

    group: int
    change: str
    scene: Scene


def write_set(plan: Plan, folder: Path, seed: int, processes: int) -> None:
    """Writes the five files of a set into a new folder; the same seed gives the same bytes."""
    folder.mkdir()
    _write_pictures(list(_pictures(plan, np.random.default_rng((seed, plan.number, 0)))), folder, processes)
    _write_stems(plan, folder, seed, processes)


def _pictures(plan: Plan, draws: np.random.Generator) -> Iterator[Drawn]:
    for group in range(plan.groups):
        yield from _group(group, plan.split, draws)
    for group in range(plan.scenes):
        yield Drawn(group, "", scene_in((plan.split,), draws))


def _group(number: int, split: Split, draws: np.random.Generator) -> Iterator[Drawn]:
    """A first picture with at least two that differ from it by one attribute and are in the split."""
    while True:
        first = scene_in(("training", split), draws)
        changed = [(name, scene) for name in CHANGES if (scene := changed_in(first, name, split, draws)) is not None]
        if len(changed) >= 2:
            break
    yield Drawn(number, "", first)
    for name, scene in changed:
        yield Drawn(number, name, scene)


def scene_in(splits: Sequence[Split], draws: np.random.Generator) -> Scene:
    """One of any combination in these splits, all as likely."""
    while True:
        subject = Subject(one_of(SHAPES, draws), one_of(COLOURS, draws), one_of(PATTERNS, draws))
        background = one_of(BACKGROUNDS, draws)
        if split_of(subject, background) in splits:
            break
    return Scene(subject, background, str(draws.choice(EXTRAS, p=EXTRA_SHARES)), pose(draws))


def pose(draws: np.random.Generator) -> Pose:
    """Any of the 225."""
    return Pose(*(int(draws.choice(values)) for values in (SHIFTS, SHIFTS, RADII, TILTS)))


def changed_in(scene: Scene, name: str, split: Split, draws: np.random.Generator) -> Scene | None:
    """The scene with another value of one attribute, in the split; None where there is no such value."""
    others = [with_attribute(scene, name, value) for value in CHANGES[name] if value != attribute(scene, name)]
    fitting = [other for other in others if split_of(other.subject, other.background) == split]
    return fitting[draws.integers(len(fitting))] if fitting else None


def attribute(scene: Scene, name: str) -> str:
    """The value of "shape", "colour", "pattern", "background" or "extra"."""
    value: str = getattr(scene if name in ("background", "extra") else scene.subject, name)
    return value


def with_attribute(scene: Scene, name: str, value: str) -> Scene:
    """The scene with that attribute alone changed."""
    if name == "background":
        return replace(scene, background=value)
    if name == "extra":
        return replace(scene, extra=value)
    return replace(scene, subject=replace(scene.subject, **{name: value}))


def one_of(values: Sequence[str], draws: np.random.Generator) -> str:
    return values[int(draws.integers(len(values)))]


def _write_pictures(pictures: Sequence[Drawn], folder: Path, processes: int) -> None:
    fields = ("id", "group", "change", *CHANGES, "right", "down", "radius", "tilt", "caption")
    rows: list[tuple[int | str, ...]] = [
        (
            number,
            drawn.group,
            drawn.change,
            *(attribute(drawn.scene, name) for name in CHANGES),
            drawn.scene.pose.right,
            drawn.scene.pose.down,
            drawn.scene.pose.radius,
            drawn.scene.pose.tilt,
            drawn.scene.caption,
        )
        for number, drawn in enumerate(pictures)
    ]
    _write_table(folder / "pictures.csv", fields, rows)
    pixels = np.stack(_made(draw, [(drawn.scene,) for drawn in pictures], processes))
    np.savez_compressed(folder / "pictures.npz", pictures=pixels)


def _write_stems(plan: Plan, folder: Path, seed: int, processes: int) -> None:
    numbers = [seed * len(PLANS) * STEMS_A_PLAN + plan.number * STEMS_A_PLAN + number for number in range(plan.stems)]
    asked = [(event, number) for event in EVENTS for number in numbers]
    _write_table(folder / "stems.csv", ("id", "event"), [(row, event) for row, (event, _) in enumerate(asked)])
    samples = np.stack(_made(sound, asked, processes))
    np.savez_compressed(folder / "stems.npz", stems=samples)
    draws = np.random.default_rng((seed, plan.number, 1))
    fields = ("id", "kept", "first", "second", "kept_event", "first_event", "second_event", "caption_first",
              "caption_second")  # fmt: skip
    rows = [(number, *_mixture(plan, draws)) for number in range(plan.mixtures)]
    _write_table(folder / "mixtures.csv", fields, rows)


def _made(make: Callable[..., NDArray[Any]], asked: Sequence[tuple[object, ...]], processes: int) -> list[NDArray[Any]]:
    """What a function gives for each of these arguments, in order."""
    if processes == 1:
        return [make(*arguments) for arguments in asked]
    with get_context("spawn").Pool(processes) as pool:
        return pool.starmap(make, asked, chunksize=50)


def _mixture(plan: Plan, draws: np.random.Generator) -> tuple[int | str, ...]:
    """Three stems of different events, the first of which may be heard with either of the others in this split."""
    while True:
        rows = [int(row) for row in draws.integers(len(EVENTS) * plan.stems, size=3)]
        kept, first, second = (EVENTS[row // plan.stems] for row in rows)
        pairs = ((kept, first), (kept, second))
        if len({kept, first, second}) == 3 and all(split_of_events(pair) == plan.split for pair in pairs):
            return (*rows, kept, first, second, *(heard(pair) for pair in pairs))


def _write_table(file: Path, fields: Sequence[str], rows: Sequence[tuple[int | str, ...]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(fields)
        writer.writerows(rows)
