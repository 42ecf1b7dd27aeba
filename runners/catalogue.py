"""`anybench list` and `anybench doctor`: what there is, and what this machine can run of it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Callable

from benchmarks import SUITES
from harness.errors import AbsentError, shown
from harness.names import find, load
from harness.nouns import Suite
from harness.provenance import PACKAGES, version_of
from harness.store import Store
from harness.summary import read_summaries
from harness.tracking import tracking_uri
from harness.weights import extractor_weights
from metrics import EXTRACTORS, METRICS
from reports.published import tables
from runners import options
from runners.anchors import POINTER, as_data, check_weights, verdict
from runners.folders import CHECKPOINTS
from systems import SYSTEMS

Lines = list[tuple[str, str]]

# `--weights` without a value: every extractor whose weights can be in the hub's cache.
FOUND = ("", "")


def show_list(asked: argparse.Namespace) -> int:
    """`anybench list KIND`."""
    lines = find(asked.kind, KINDS, "kind")(asked)
    width = max((len(name) for name, _ in lines), default=0)
    for name, said in lines:
        print(f"{name:{width}}  {said}".rstrip())
    if asked.json:
        print(json.dumps({asked.kind: [name for name, _ in lines]}))
    return 0


def doctor(asked: argparse.Namespace) -> int:
    """`anybench doctor`: the machine, the packages, the weights; with `--weights`, their published anchors."""
    if asked.weights:
        return _doctor_of_weights(asked)
    lines = [*_machine(asked.store), *_packages(), *_weights()]
    width = max(len(name) for name, _ in lines)
    for name, said in lines:
        print(f"{name:{width}}  {said}")
    if asked.json:
        print(json.dumps(dict(lines)))
    return 0


def _doctor_of_weights(asked: argparse.Namespace) -> int:
    given = dict(pair for pair in asked.weights if pair != FOUND)
    checked = check_weights(given, FOUND in asked.weights, asked.data)
    said, status = verdict(checked)
    print("\n".join([line for one in checked for line in one.lines()]))
    print(POINTER)
    print(said)
    if asked.json:
        print(json.dumps({"verdict": said, "extractors": as_data(checked)}))
    return status


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="|".join(KINDS))
    options.add_common(parser)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", type=options.pair, action="append", nargs="?", const=FOUND, default=[], metavar="EXTRACTOR=PATH",
        help="run the published anchors of these weights, or without a value of those in the hub's cache",
    )  # fmt: skip
    parser.add_argument("--data", default="", metavar="DIR", help="a root of data sets, for anchors that are pictures")
    options.add_common(parser)


def _suites(asked: argparse.Namespace) -> Lines:
    suites = {name: load(target) for name, target in SUITES.items()}
    return [
        (
            name,
            f"version {one.version}: {_size(one)} x {one.samples} samples, {one.policy}; {', '.join(one.metrics)}",
        )
        for name, one in suites.items()
    ]


def _size(suite: Suite) -> str:
    return f"{suite.size} cases" if suite.size else "as many cases as its data has"


def _systems(asked: argparse.Namespace) -> Lines:
    return [(name, f"version {one.version}: checkpoint {one.checkpoint}") for name, one in SYSTEMS.items()]


def _metrics(asked: argparse.Namespace) -> Lines:
    metrics = {name: load(target) for name, target in METRICS.items()}
    return [
        (
            name,
            f"v{one.version}, {one.better} is better: {', '.join(sorted({n.extractor for n in one.needs.values()}))}",
        )
        for name, one in metrics.items()
    ]


def _extractors(asked: argparse.Namespace) -> Lines:
    return [
        (name, f"v{one.worker.version}, {one.preprocessing}, {one.dtype}; {one.hub or one.shipped or 'no hub id'}")
        for name, one in EXTRACTORS.items()
    ]


def _checkpoints(asked: argparse.Namespace) -> Lines:
    return [(name, "") for name in CHECKPOINTS]


def _tables(asked: argparse.Namespace) -> Lines:
    return [(name, f"{one.paper}: {one.title}") for name, one in tables().items()]


def _runs(asked: argparse.Namespace) -> Lines:
    return [
        (one.run_id, f"{one.generated} of {one.expected} answered, {one.failed} failed, {one.started}")
        for one in read_summaries(Store.at(asked.store))
    ]


KINDS: dict[str, Callable[[argparse.Namespace], Lines]] = {
    "suites": _suites,
    "systems": _systems,
    "metrics": _metrics,
    "extractors": _extractors,
    "checkpoints": _checkpoints,
    "tables": _tables,
    "runs": _runs,
}

COMMANDS = (
    ("list", "what there is", _add_list, show_list),
    ("doctor", "what this machine can run, and what is missing for the rest", _add_doctor, doctor),
)


def _machine(store: str) -> Lines:
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    where = Store.at(store)
    free = f", {shutil.disk_usage(_existing(where.url)).free / 2**30:.0f} GiB free" if where.is_local else ""
    return [
        ("python", platform.python_version()),
        ("machine", f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"),
        ("GPUs", ", ".join(gpus) or "none: everything runs on the CPU"),
        ("store", shown(where.url) + free),
        ("MLflow", shown(tracking_uri(where.url))),
    ]


def _packages() -> Lines:
    return [(name, version_of(name)) for name in (*PACKAGES, "mlflow")]


def _weights() -> Lines:
    return [(f"weights {name}", _weights_line(name)) for name in EXTRACTORS]


def _weights_line(name: str) -> str:
    try:
        weights = extractor_weights(name, EXTRACTORS[name], offline=True)
    except AbsentError as error:
        return f"absent: {error}"
    if not weights.source:
        return "none needed"
    return f"{weights.source}, sha256 {weights.digest[:12]}, {'known' if weights.known else 'unknown'} digest"


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
