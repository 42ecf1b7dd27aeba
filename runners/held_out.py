"""`python -m runners.held_out --data DIR`: what the shipped tiny parts reach on the test split of the drawn world.

The figures of docs/tinyworld.md, as Markdown, each with its 95 % interval. Choices are made on the validation split,
whose figures stand in each part's recipe.json; the test split is for this alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from harness.errors import UsageError, shown
from harness.names import load
from harness.recipes import Figure

HeldOut = Callable[..., Mapping[str, Figure]]

# Whatever draws or sounds is judged: "module:function" of the part, then the judge's reader and its weights.
PICTURES = ("metrics.tiny.judge:read_judge", "judge")
SOUNDS = ("metrics.tiny.sound_judge:read_sound_judge", "sound-judge")
PARTS: Mapping[str, tuple[str, tuple[str, str] | None]] = {
    "judge": ("metrics.tiny.judge:held_out", None),
    "sound-judge": ("metrics.tiny.sound_judge:held_out", None),
    "imagebind": ("systems.tiny.imagebind:held_out", None),
    "image_decoder": ("systems.tiny.image_decoder_figures:held_out", PICTURES),
    "sound_decoder": ("systems.tiny.sound_decoder:held_out", SOUNDS),
    "language_model": ("systems.tiny.language_model:held_out", None),
    "dino": ("metrics.tiny.dino:held_out", None),
    "clip": ("metrics.tiny.clip:held_out", None),
    "cnn14": ("metrics.tiny.cnn14:held_out", None),
    "clap": ("metrics.tiny.clap:held_out", None),
}


def main(command: Sequence[str]) -> int:
    """Prints the tables of the parts that are named, or of all."""
    parser = argparse.ArgumentParser(description="What the shipped tiny parts reach on held-out data.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--data", required=True, type=Path, help="a folder made by `anybench build tinyworld`")
    asked = parser.parse_args(command)
    unknown = [name for name in asked.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    try:
        for name in asked.parts or PARTS:
            print(table(name, held_out(name)(asked.data)), flush=True)
    except UsageError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return error.exit_status
    return 0


def held_out(name: str) -> HeldOut:
    """What measures a part, with its judge where it has one."""
    target, judge = PARTS[name]
    measure: HeldOut = load(target)
    if judge is None:
        return measure
    reader, weights = judge
    shipped: Path = load("metrics.tiny.train:SHIPPED")
    return partial(measure, judge=load(reader)(shipped / weights))


def table(name: str, figures: Mapping[str, Figure]) -> str:
    """Figures as a Markdown table."""
    rows = [
        f"| {label} | {each.value:.3f} | {each.low:.3f} to {each.high:.3f} | {each.count} |"
        for label, each in figures.items()
    ]
    return "\n".join([f"### {name}", "", "| figure | value | 95 % interval | n |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
