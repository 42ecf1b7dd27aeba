"""The folder of cases: what is written into it, and how it is read back.

    suite.json            Facts: the seed, the split, how many cases each suite has
    SUITE.jsonl           a Row a case
    files.jsonl           a File for each picture and sound: path, length and SHA-256
    pictures/, masks/     PNG, 64 x 64, named by what they show
    sounds/               FLAC, 16 kHz, 16 bit, named by the stems that are heard

The rows are the cases themselves, what is asked and what metrics may look at, so that one reader serves every suite.
Everything is written from the dataclasses below, one way only, so that equal folders are equal bytes; and read back
with every field checked.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from PIL import Image

from benchmarks.tinyworld.attributes import EVENTS, Scene, Split
from benchmarks.tinyworld.drawing import draw
from benchmarks.tinyworld.sounding import RATE, Samples, mixed, sound
from benchmarks.tinyworld.training import STEMS_A_PLAN
from harness.errors import UsageError, one_line
from harness.identity import digest_bytes, digest_file
from harness.media import encode_audio, encode_image
from harness.nouns import Modality
from harness.provenance import version_of
from harness.records import parse, read_record

VERSION = 1
SPLITS: tuple[Split, ...] = get_args(Split)
FACTS, FILES = "suite.json", "files.jsonl"
MEND = "build the world again"

# Numbers of stems that no set reaches, so that no sound of a case was trained on.
CASE_STEMS = 10**9

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Medium:
    """A text, or a picture or sound by its path in the folder."""

    modality: Modality
    text: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """A turn of a case: harness.nouns.Turn with paths."""

    inputs: tuple[Medium, ...]
    wants: tuple[Modality, ...]
    parts: Mapping[str, tuple[Medium, ...]]


@dataclass(frozen=True, slots=True)
class Row:
    """A case: harness.nouns.Case with paths."""

    id: str
    rounds: tuple[Round, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class File:
    """A file of a folder: its path there, its length in bytes, its SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the cases have in common; `cases` is how many each suite has."""

    suite: str
    version: int
    seed: int
    split: Split
    cases: Mapping[str, int]
    encoder: str


@dataclass(frozen=True, slots=True)
class Stem:
    """A sound of one event, by its number among those of the cases."""

    event: str
    number: int

    @property
    def name(self) -> str:
        """Unique, and safe as a file name: "bell-3"."""
        return f"{self.event}-{self.number}"


@dataclass
class Studio:
    """Draws and plays into a folder what cases need, each picture and sound once."""

    folder: Path
    seed: int
    split: Split
    _files: dict[str, File] = field(default_factory=dict)
    _stems: dict[Stem, Samples] = field(default_factory=dict)

    def draws(self, what: str, number: int) -> np.random.Generator:
        """The draws of a case, which no other case shares, so that how many there are of others changes nothing."""
        return np.random.default_rng((self.seed, SPLITS.index(self.split), number, *what.encode()))

    def picture(self, scene: Scene) -> Medium:
        """A scene as it is drawn."""
        pose = scene.pose
        name = f"{scene.subject.name}-{scene.background}-{scene.extra}{pose.right:+d}{pose.down:+d}"
        path = f"pictures/{name}-{pose.radius}{pose.tilt:+d}.png"
        if path not in self._files:
            self._keep(path, encode_image(Image.fromarray(draw(scene))))
        return Medium("image", path=path)

    def difference(self, name: str, before: Scene, after: Scene) -> Medium:
        """A mask: white where the two scenes differ, to the pixel."""
        differs = (draw(before) != draw(after)).any(axis=2)
        path = f"masks/{name}.png"
        self._keep(path, encode_image(Image.fromarray(np.where(differs, np.uint8(255), np.uint8(0)))))
        return Medium("image", path=path)

    def sound(self, *stems: Stem) -> Medium:
        """The sum of stems."""
        ordered = sorted(stems, key=lambda stem: EVENTS.index(stem.event))
        path = f"sounds/{'+'.join(stem.name for stem in ordered)}.flac"
        if path not in self._files:
            samples = mixed([self._samples(stem) for stem in ordered])
            self._keep(path, encode_audio(samples / np.float32(32768), RATE))
        return Medium("audio", path=path)

    def write(self, suites: Mapping[str, Sequence[Row]]) -> Facts:
        """The rows of each suite, the list of files, and what all have in common."""
        for suite, rows in suites.items():
            write_lines(self.folder / f"{suite}.jsonl", [_shown(row) for row in rows])
        write_lines(self.folder / FILES, [asdict(self._files[path]) for path in sorted(self._files)])
        facts = Facts(
            suite="tinyworld",
            version=VERSION,
            seed=self.seed,
            split=self.split,
            cases={suite: len(rows) for suite, rows in suites.items()},
            encoder=f"PNG, Pillow {version_of('pillow')}; FLAC 16 bit, soundfile {version_of('soundfile')}",
        )
        (self.folder / FACTS).write_text(f"{json.dumps(asdict(facts), indent=2)}\n", encoding="utf-8")
        return facts

    def _samples(self, stem: Stem) -> Samples:
        if stem not in self._stems:
            first = CASE_STEMS + (len(SPLITS) * self.seed + SPLITS.index(self.split)) * STEMS_A_PLAN
            self._stems[stem] = sound(stem.event, first + stem.number)
        return self._stems[stem]

    def _keep(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self._files[path] = File(path, len(data), digest_bytes(data))


@dataclass(frozen=True)
class Found:
    """A folder of cases as it lies there: its facts, and the files that are listed."""

    folder: Path
    facts: Facts
    files: Mapping[str, File]

    def rows(self, suite: str) -> tuple[Row, ...]:
        """The rows of a suite; UsageError where they are not those that were written."""
        file = self.folder / f"{suite}.jsonl"
        rows = read_lines(Row, file)
        if len(rows) != (built := self.facts.cases.get(suite, 0)):
            raise UsageError(f"{file}: {len(rows)} cases, {FACTS} says {built}; {MEND}")
        if twice := [name for name, times in Counter(row.id for row in rows).items() if times > 1]:
            raise UsageError(f"{file}: case {twice[0]} stands there twice; {MEND}")
        return rows

    def gone(self, path: str) -> str:
        """The line about a file that is not there, "" where it is; UsageError where it is another than is listed."""
        listed = self.files.get(path)
        if listed is None:
            raise UsageError(f"{self.folder / FILES}: {path} is not listed; {MEND}")
        file = Path(os.path.realpath(self.folder / path.replace("\0", "?")))
        if not file.is_relative_to(os.path.realpath(self.folder)):
            raise UsageError(f"{self.folder / path}: outside the folder of cases; {MEND}")
        if not file.is_file():
            return f"no file {path} in {self.folder}"
        if file.stat().st_size != listed.bytes or digest_file(file) != listed.sha256:
            raise UsageError(f"{self.folder / path}: not the file that {FILES} describes; {MEND}")
        return ""


def open_folder(folder: Path) -> Found:
    """A folder of cases; UsageError where its facts or its list of files are not as they were written."""
    name = folder / FACTS
    try:
        facts = read_record(Facts, parse(name.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {one_line(error)}; {MEND}") from None
    if (facts.suite, facts.version) != ("tinyworld", VERSION):
        raise UsageError(f"{name}: {facts.suite} version {facts.version}, tinyworld {VERSION} is read; {MEND}")
    return Found(folder, facts, {file.path: file for file in read_lines(File, folder / FILES)})


def write_lines(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """JSON, a record a line."""
    lines = (f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
    file.write_text("".join(lines), encoding="utf-8")


def read_lines(kind: type[Kind], file: Path) -> tuple[Kind, ...]:
    """The records of a file; UsageError, naming the line, for what is not as it was written."""
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({one_line(error)}); {MEND}") from None
    return tuple(_record(kind, line, f"{file} line {number}") for number, line in enumerate(lines, 1) if line)


def _record(kind: type[Kind], line: str, name: str) -> Kind:
    try:
        return read_record(kind, parse(line))
    except ValueError as error:
        raise UsageError(f"{name}: {one_line(error)}; {MEND}") from None


def _shown(row: Row) -> dict[str, Any]:
    """A row without what is empty."""
    rounds = [
        {
            "inputs": [_filled(one) for one in turn.inputs],
            "wants": turn.wants,
            "parts": {role: [_filled(one) for one in part] for role, part in turn.parts.items()},
        }
        for turn in row.rounds
    ]
    return {"id": row.id, "rounds": rounds, "tags": row.tags}


def _filled(medium: Medium) -> dict[str, str]:
    return {name: value for name, value in asdict(medium).items() if value}
