"""The command that trains a shipped part, and recipe.json, which says how the weights beside it were made.

    python -m systems.tiny.train PART --data DIR [--out DIR] [--seed N]

A part is a function train(data, folder, seed) that writes its files into a new folder and returns what it reached on
the validation split. The folder is put in place when all of it is there; a folder that is there already is refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError, one_line, shown
from harness.identity import digest_file
from harness.names import load
from harness.provenance import version_of

RECIPE = "recipe.json"
PACKAGES = ("torch", "diffusers", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Figure:
    """A share or a mean that was measured, its 95 % interval, and on how many."""

    value: float
    low: float
    high: float
    count: int


Train = Callable[[Path, Path, int], Mapping[str, Figure]]


def main(parts: Mapping[str, str], shipped: Path, command: Sequence[str]) -> int:
    """Trains the part that the command line names; `parts` maps a name to "module:function"."""
    parser = argparse.ArgumentParser(description="Train a part in the drawn world (docs/tinyworld.md).")
    parser.add_argument("part", choices=parts)
    parser.add_argument("--data", required=True, type=Path, help="a folder made by `anybench build tinyworld`")
    parser.add_argument("--out", type=Path, help=f"a new folder (default: {shipped.name}/PART of the package)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(command)
    if asked.seed < 0:
        parser.error(f"--seed {asked.seed}: a whole number from 0 on would do")
    out = asked.out or shipped / asked.part
    try:
        figures = train(load(parts[asked.part]), asked.part, asked.data, out, asked.seed)
    except UsageError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return error.exit_status
    for name, figure in figures.items():
        print(f"{name}: {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}] n={figure.count}")
    return 0


def train(part: Train, name: str, data: Path, out: Path, seed: int) -> Mapping[str, Figure]:
    """Runs a part into a new folder and writes its recipe; UsageError where `out` is there or `data` is no world."""
    if out.exists():
        raise UsageError(f"--out {out}: there already; remove it or name a new folder")
    if not (data / "world.json").is_file():
        raise UsageError(f"--data {data}: no drawn world; make one with `anybench build tinyworld --out {data}`")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {one_line(error)}") from error
    with aside as scratch:
        folder = Path(scratch) / out.name
        folder.mkdir()
        started = time.monotonic()
        figures = part(data, folder, seed)
        seconds = time.monotonic() - started
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        recipe = {
            "part": name,
            "seed": seed,
            "world": digest_file(data / "world.json"),
            "seconds": round(seconds),
            "versions": {package: version_of(package) for package in PACKAGES},
            "figures": {name: dataclasses.asdict(figure) for name, figure in figures.items()},
            "files": {str(file.relative_to(folder)): digest_file(file) for file in files},
        }
        (folder / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
        folder.rename(out)
    return figures


def share(right: Sequence[bool]) -> Figure:
    """How many are right, with Wilson's 95 % interval for a proportion (Wilson 1927)."""
    count, hits = len(right), sum(map(bool, right))
    if not count:
        raise ValueError("a share of nothing")
    z = 1.959964
    centre = (hits + z * z / 2) / (count + z * z)
    half = z / (count + z * z) * (hits * (count - hits) / count + z * z / 4) ** 0.5
    return Figure(hits / count, max(0.0, centre - half), min(1.0, centre + half), count)
