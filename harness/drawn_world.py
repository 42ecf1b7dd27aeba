"""The folder that `anybench build tinyworld` makes, as whoever trains in that world reads it.

    world.json                      the values of each attribute, and the names of events
    SET/pictures.csv, pictures.npz  a row a picture
    SET/stems.csv, stems.npz        a row a sound of one event
    SET/mixtures.csv                which sounds are heard together

SET is training, validation, test, judge or metrics (benchmarks.tinyworld.training says what each is for).
"""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError, one_line

RATE, SAMPLES = 16_000, 32_000
SIDE = 64
ATTRIBUTES = ("shape", "colour", "pattern", "background", "extra")
# What the readers of JSON, CSV and NPZ raise of a file that is not there or not whole.
DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, csv.Error, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class Picture:
    """A row of pictures.csv: what is drawn (`values` by attribute), in which group, and what was changed in it.

    Pictures of a group have one layout; each differs from the first, whose `change` is "", by the attribute `change`.
    `pose` is (right, down, radius, tilt): pixels and degrees.
    """

    group: int
    change: str
    values: Mapping[str, str]
    pose: tuple[int, int, int, int]
    caption: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """Rows of stems: `kept` is heard with `first`, or with `second`; a mixture is the sum of its stems."""

    kept: int
    first: int
    second: int
    caption_first: str
    caption_second: str


@dataclass(frozen=True)
class World:
    """A set of the drawn world, and what there is in it to be told apart.

    `attributes` has the values of shape, colour, pattern, background and extra, `events` the names of what is heard, in
    the order in which classes are numbered; `where` and `heard` the words for backgrounds and events.
    `pixels` is (pictures, 64, 64, 3) uint8, `stems` (stems, 32000) int16 at 16 kHz, `stem_events` names each one's.
    """

    attributes: Mapping[str, tuple[str, ...]]
    events: tuple[str, ...]
    where: Mapping[str, str]
    heard: Mapping[str, str]
    pictures: tuple[Picture, ...]
    pixels: NDArray[np.uint8]
    stems: NDArray[np.int16]
    stem_events: tuple[str, ...]
    mixtures: tuple[Mixture, ...]

    def classes(self, attribute: str) -> NDArray[np.int64]:
        """The number of each picture's value of an attribute, (pictures,)."""
        values = self.attributes[attribute]
        return np.array([values.index(picture.values[attribute]) for picture in self.pictures])


def read_world(data: Path, name: str) -> World:
    """A set of a built folder; UsageError naming the file that is not there or is not what it should be."""
    folder = data / name
    if not (data / "world.json").is_file():
        raise UsageError(f"{data}: no drawn world: world.json is not there; make one with `anybench build tinyworld`")
    try:
        said = json.loads((data / "world.json").read_text("utf-8"))
        pictures = _rows(folder / "pictures.csv")
        stems = _rows(folder / "stems.csv")
        world = World(
            attributes={attribute: tuple(said[attribute]) for attribute in ATTRIBUTES},
            events=tuple(said["events"]),
            where=said["where"],
            heard=said["heard"],
            pictures=tuple(map(_picture, pictures)),
            pixels=_array(folder / "pictures.npz", "pictures", (len(pictures), SIDE, SIDE, 3), np.uint8),
            stems=_array(folder / "stems.npz", "stems", (len(stems), SAMPLES), np.int16),
            stem_events=tuple(row["event"] for row in stems),
            mixtures=tuple(map(_mixture, _rows(folder / "mixtures.csv"))),
        )
        _refuse_misfits(world)
    except DAMAGED as error:
        raise UsageError(f"{folder}: damaged: {one_line(error)}; build the world again") from error
    return world


def _refuse_misfits(world: World) -> None:
    """ValueError where a table names what world.json or the table of stems does not have."""
    shown = {(name, value) for picture in world.pictures for name, value in picture.values.items()}
    if unknown := [pair for pair in sorted(shown) if pair[1] not in world.attributes[pair[0]]]:
        raise ValueError("pictures.csv has {}={}, and world.json does not".format(*unknown[0]))
    if unheard := {*world.stem_events} - {*world.events}:
        raise ValueError(f"stems.csv has {min(unheard)}, and world.json does not")
    rows = {row for one in world.mixtures for row in (one.kept, one.first, one.second)}
    if rows and not 0 <= min(rows) <= max(rows) < len(world.stems):
        raise ValueError(f"mixtures.csv has a row of stems that is not there, of {len(world.stems)}")


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def _array(file: Path, name: str, shape: tuple[int, ...], kind: type[np.generic]) -> Any:
    """The array of that name; ValueError where it is not of this shape, with a row for each of the table beside it."""
    # Opened here, since NumPy leaves a damaged file open.
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        array = arrays[name]
    if array.shape != shape or array.dtype != kind:
        raise ValueError(f"{file.name} is {array.dtype} {array.shape}, and with its table {kind.__name__} {shape}")
    return array


def _picture(row: Mapping[str, str]) -> Picture:
    values = {attribute: row[attribute] for attribute in ATTRIBUTES}
    pose = (int(row["right"]), int(row["down"]), int(row["radius"]), int(row["tilt"]))
    return Picture(int(row["group"]), row["change"], values, pose, row["caption"])


def _mixture(row: Mapping[str, str]) -> Mixture:
    kept, first, second = (int(row[name]) for name in ("kept", "first", "second"))
    return Mixture(kept, first, second, row["caption_first"], row["caption_second"])
