"""`anybench build`: a suite's cases out of data of one's own."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.audioset.building import PROFILES, Plan, build
from benchmarks.audioset.layouts import LAYOUTS, Sources
from harness.errors import shown, warn
from runners import options
from runners.building_coco import add_build_coco, build_coco
from runners.building_tinyworld import add_build_tinyworld, build_tinyworld
from runners.running import ABSENT

QUOTA = "400,500"


def build_audioset(asked: argparse.Namespace) -> int:
    """`anybench build audioset-editing`."""
    facts = build(_plan(asked), Path(asked.out))
    print(asked.out)
    print(f"{_counted(facts.built)}; {facts.eligible} clips eligible, {sum(facts.rejected.values())} rejected")
    for reason, times in facts.rejected.items():
        print(f"{times:6} {shown(reason)}")
    short = {task: wanted for task, wanted in facts.wanted.items() if facts.built[task] < wanted}
    for task, wanted in short.items():
        warn(f"{facts.built[task]} {task} cases of {wanted}: the clips give no more; give more clips, or ask for fewer")
    if asked.json:
        print(json.dumps(dataclasses.asdict(facts)))
    return ABSENT if short else 0


def _add_build_audioset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", required=True, metavar="DIR", help="the folder of sound files")
    parser.add_argument("--segments", default="", metavar="CSV", help="AudioSet's list of segments and their labels")
    parser.add_argument("--labels", default="", metavar="CSV", help="class_labels_indices.csv: the names of labels")
    parser.add_argument("--ontology", default="", metavar="JSON", help="ontology.json: what is a kind of what")
    parser.add_argument("--captions", default="", metavar="CSV", help="AudioCaps' captions of the clips")
    parser.add_argument("--layout", default="auto", metavar="|".join(("auto", *LAYOUTS)), help="default: auto")
    parser.add_argument(
        "--seconds", type=_seconds, default=0.0, metavar="S", help="length of a case (default: 10; 5 for ESC clips)"
    )
    parser.add_argument(
        "--cases", type=_cases, default=QUOTA, metavar="N|ADD,REPLACE", action=options.CommandLineOnly,
        help="how many of each task; drop has as many as add (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--profile", choices=PROFILES, default="clean", help="how sounds are mixed (default: clean)")
    parser.add_argument(
        "--label-cap", type=options.count, default=0, metavar="N", help="at most N cases of a task with one label added"
    )
    parser.add_argument(
        "--seed", type=options.whole, default=0, metavar="N", action=options.CommandLineOnly, help="default: 0"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder that is not there yet, or is empty")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line of stdout")
    options.add_config(parser)


DATASETS = (
    ("audioset-editing", "mixes of clips to add to, drop from, replace in", _add_build_audioset, build_audioset),
    ("coco-editing", "edits of COCO's photographs", add_build_coco, build_coco),
    ("tinyworld", "a drawn world: cases with their truth, and what to train on", add_build_tinyworld, build_tinyworld),
)


def _add_build(parser: argparse.ArgumentParser) -> None:
    datasets = parser.add_subparsers(dest="dataset", required=True, metavar="data set to build")
    for name, help_line, add_arguments, command in DATASETS:
        dataset = datasets.add_parser(name, help=help_line, description=help_line)
        add_arguments(dataset)
        dataset.set_defaults(build=command)


def build_data_set(asked: argparse.Namespace) -> int:
    """`anybench build`."""
    status: int = asked.build(asked)
    return status


COMMANDS = (("build", "make a suite's cases out of data of your own", _add_build, build_data_set),)


def _plan(asked: argparse.Namespace) -> Plan:
    sources = Sources(
        clips=Path(asked.clips),
        segments=asked.segments,
        labels=asked.labels,
        ontology=asked.ontology,
        captions=asked.captions,
        layout=asked.layout,
    )
    add, replace = asked.cases
    return Plan(sources, asked.seconds, add, replace, asked.profile, asked.label_cap, asked.seed)


def _counted(built: Mapping[str, int]) -> str:
    return ", ".join(f"{cases} {task}" for task, cases in built.items()) + " cases"


def _seconds(text: str) -> float:
    """Seconds, 1 to 60."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 60")
    return seconds


def _cases(text: str) -> tuple[int, int]:
    """N for each task, or how many for add (and drop), and how many for replace."""
    words = options.words(text)
    if len(words) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not N or ADD,REPLACE")
    counts = tuple(map(options.count, words))
    return counts[0], counts[-1]
