"""`anybench build tinyworld`: the drawn world, out of a seed."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from benchmarks.tinyworld.building import build
from runners import options


def build_tinyworld(asked: argparse.Namespace) -> int:
    """`anybench build tinyworld`."""
    built = build(Path(asked.out), asked.seed, asked.processes)
    print(asked.out)
    for name, pictures in built.pictures.items():
        print(f"{pictures:6} pictures, {built.stems[name]:5} sounds  {name}")
    for split, cases in built.cases.items():
        counted = ", ".join(f"{count} {suite}" for suite, count in cases.items())
        print(f"{sum(cases.values()):6} cases of {split}: {counted}")
    print(f"{built.files} files, {built.bytes / 1e6:.0f} MB")
    if asked.json:
        print(json.dumps(dataclasses.asdict(built)))
    return 0


def add_build_tinyworld(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument(
        "--seed", type=options.whole, default=0, metavar="N", action=options.CommandLineOnly,
        help="another world of the same kind; the parts that are shipped were trained in 0 (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=options.count, default=2, metavar="N", help="how many draw; changes no byte (default: 2)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder that is not there yet, or is empty")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line of stdout")
    options.add_config(parser)
