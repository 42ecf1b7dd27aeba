"""`anybench build tinyworld`: the drawn world as a data folder, the same bytes every time.

What decides the bytes: the seed, the plans, and the versions of what encodes. The folder:

    world.json                            the values of each attribute, the events, and the words for them
    training/, validation/, test/,        what models are trained on and measured by while training
    judge/, metrics/                      (benchmarks.tinyworld.training)
    validation-cases/, test-cases/        the cases of the suites (benchmarks.tinyworld.folder)
    manifest.jsonl                        a File for every other file: path, length and SHA-256
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.new_folder import aside, refuse_existing
from benchmarks.tinyworld.asking import dreambench, editing
from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    COLOURS,
    EVENTS,
    EXTRAS,
    HEARD,
    PATTERNS,
    SHAPES,
    WHERE,
    Split,
)
from benchmarks.tinyworld.conversing import conversation
from benchmarks.tinyworld.examples import incontext
from benchmarks.tinyworld.folder import Facts, File, Row, Studio, write_lines
from benchmarks.tinyworld.listening import audio, conversation_audio, incontext_audio
from benchmarks.tinyworld.plans import FULL, SMALL, CasePlan
from benchmarks.tinyworld.training import PLANS, Plan, write_set
from harness.errors import UsageError
from harness.identity import digest_file
from harness.progress import reported

WORLD, MANIFEST = "world.json", "manifest.jsonl"
# From here on stems of sets would have the numbers of those of cases (benchmarks.tinyworld.folder).
SEEDS = 10_000
SPLITS: tuple[Split, ...] = ("validation", "test")

CASES: Mapping[str, Callable[[Studio, CasePlan], Sequence[Row]]] = {
    "tiny-dreambench": dreambench,
    "tiny-editing": editing,
    "tiny-audio": audio,
    "tiny-incontext": incontext,
    "tiny-incontext-audio": incontext_audio,
    "tiny-conversation": conversation,
    "tiny-conversation-audio": conversation_audio,
}


@dataclass(frozen=True, slots=True)
class Built:
    """What came out: the pictures and sounds of each set, and the cases of each split by suite."""

    seed: int
    pictures: Mapping[str, int]
    stems: Mapping[str, int]
    cases: Mapping[str, Mapping[str, int]]
    files: int
    bytes: int


def build(out: Path, seed: int, processes: int, sets: Sequence[Plan] = PLANS, cases: CasePlan = FULL) -> Built:
    """Build the world in the new folder `out`; returns what came out.

    It is made aside and renamed at the end, so that an interrupted build leaves nothing. Raises UsageError for a folder
    that is not empty, and for a seed out of range.
    """
    refuse_existing(out)
    if not 0 <= seed < SEEDS:
        raise UsageError(f"--seed {seed}: 0 to {SEEDS - 1} would do")
    with aside(out) as folder, reported("parts drawn", len(sets) + len(SPLITS)) as report:
        _write_world(folder / WORLD, seed)
        for plan in sets:
            write_set(plan, folder / plan.name, seed, processes)
            report(1, 0)
        facts = {}
        for split in SPLITS:
            facts[split] = write_cases(folder / cases_folder(split), split, seed, cases)
            report(1, 0)
        files = _list(folder)
        built = Built(
            seed=seed,
            pictures={plan.name: _rows(folder / plan.name / "pictures.csv") for plan in sets},
            stems={plan.name: _rows(folder / plan.name / "stems.csv") for plan in sets},
            cases={split: said.cases for split, said in facts.items()},
            files=len(files),
            bytes=sum(file.bytes for file in files),
        )
        os.rename(folder, out)
    return built


def write_cases(folder: Path, split: Split, seed: int, plan: CasePlan) -> Facts:
    """Draw and play the cases of every suite into a new folder."""
    folder.mkdir()
    studio = Studio(folder, seed, split)
    return studio.write({suite: make(studio, plan) for suite, make in CASES.items()})


def write_small(folder: Path) -> Facts:
    """The cases that the repository ships (benchmarks/embedded/tinyworld), into a new folder."""
    return write_cases(folder, "test", 0, SMALL)


def cases_folder(split: Split) -> str:
    """Its name in a built folder."""
    return f"{split}-cases"


def _write_world(file: Path, seed: int) -> None:
    said = {
        "format": "anybench-tinyworld",
        "version": 1,
        "seed": seed,
        "shape": SHAPES,
        "colour": COLOURS,
        "pattern": PATTERNS,
        "background": BACKGROUNDS,
        "extra": EXTRAS,
        "events": EVENTS,
        "where": WHERE,
        "heard": HEARD,
    }
    file.write_text(f"{json.dumps(said, indent=2)}\n", encoding="utf-8")


def _list(folder: Path) -> list[File]:
    """Writes the manifest of all that is there."""
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    files = [File(file.relative_to(folder).as_posix(), file.stat().st_size, digest_file(file)) for file in found]
    write_lines(folder / MANIFEST, map(asdict, files))
    return files


def _rows(table: Path) -> int:
    """How many rows a CSV table has below its header; no field of the world's holds a line break."""
    return table.read_text(encoding="utf-8").count("\n") - 1
