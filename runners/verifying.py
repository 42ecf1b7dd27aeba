"""`anybench verify`: some cases of a kept run answered again under other conditions, and the largest differences."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from harness.agreement import Largest
from harness.errors import warn
from harness.pool import LocalPool, Pool
from harness.ray_pool import RayPool
from harness.summary import run_folder
from reports.render import Cell, Column, Row, Table, render
from runners import options
from runners.attendance import PATIENCE_SECONDS
from runners.preparation import Request
from runners.running import ABSENT
from runners.verification import CASES, Kept, Verified, answer_again, read_kept

RAY_WORKERS = 2
UNITS = {"image": "of 255", "video": "of 255", "audio": "of full scale"}


def verify(asked: argparse.Namespace) -> int:
    """`anybench verify`."""
    store = options.store_at(asked.store)
    request = Request(
        suite="",
        system="",
        store=store,
        metrics=asked.metrics,
        weights=dict(asked.weights),
        settings=dict(asked.settings),
        offline=asked.offline,
    )

    pool = options.pool_for(asked)
    workers = _ray_workers(pool)

    def pool_of(count: int) -> Pool:
        return RayPool(pool.address, count, pool.timeout) if count and isinstance(pool, RayPool) else LocalPool()

    kept = read_kept(request, run_folder(store, asked.run), asked.cases, workers)
    # A worker that waits for the others must not be taken for one that hangs.
    found = answer_again(kept, pool_of, min(PATIENCE_SECONDS, asked.timeout / 2))
    notes = _not_there(kept, found.verified, workers)
    lines = [*kept.uncompared, *found.unmet, *(line for one in found.verified for line in one.agreement.uncompared)]
    print(render(_table(kept, found.verified, notes), "terminal"))
    for line in lines:
        warn(f"not compared: {line}")
    if asked.json:
        print(json.dumps(_said(kept, found.verified, lines, notes)))
    return ABSENT if lines else 0


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run's id, or the beginning of it")
    parser.add_argument(
        "--cases", action=options.CommandLineOnly, type=options.count, default=0, metavar="N",
        help=f"how many cases (default: as many as the conditions need, and at least {CASES}); a condition that the "
        "cases are too few for is said to be not compared, and ends with exit status 3",
    )  # fmt: skip
    options.add_settings(parser)
    for add in (options.add_scoring, options.add_pool, options.add_common):
        add(parser)


COMMANDS = (
    ("verify", "answer some cases of a run again in other batches and on other workers: the largest differences",
     _add_verify, verify),
)  # fmt: skip


def _ray_workers(pool: Pool) -> list[int]:
    """One, and as many as are asked for; none for `--workers local`."""
    return list(dict.fromkeys((1, pool.workers or RAY_WORKERS))) if isinstance(pool, RayPool) else []


def _not_there(kept: Kept, verified: Sequence[Verified], workers: Sequence[int]) -> list[str]:
    """A line for each kind of condition that this system, this machine or the command does not have."""
    devices = {*kept.held.devices, *(device for one in verified for device in one.devices)}
    notes = []
    if kept.prepared.worker.in_driver:
        notes.append(f"other workers not compared: system {kept.prepared.request.system} stays in this process.")
    elif not workers:
        notes.append("other workers not compared: --workers local.")
    if kept.batch_size == 1:
        notes.append("a smaller batch not compared: the run was answered one by one.")
    if len(devices) < 2:
        notes.append(f"other devices not compared: one device ({', '.join(devices)}).")
    return notes


def _table(kept: Kept, verified: Sequence[Verified], notes: Sequence[str]) -> Table:
    metrics = [metric.name for metric in kept.prepared.scoring.metrics]
    names = ("condition", "device", "workers", "batch", "batch size changed", "identical", "largest in an output")
    columns = [Column(name, name) for name in names]
    rows = [
        Row(
            (
                Cell(one.condition),
                Cell(", ".join(one.devices)),
                Cell(str(one.workers or "here")),
                Cell(str(one.batch_size)),
                Cell(f"{one.rebatched} of {one.samples}"),
                Cell(f"{one.agreement.identical} of {one.agreement.outputs}"),
                Cell(_media(one)),
                *(Cell(_largest(largest)) for largest in one.agreement.metrics),
            )
        )
        for one in verified
    ]
    cases, samples = len(kept.prepared.scoring.planned), kept.prepared.scoring.selection.samples
    made = f"kept answers made on {', '.join(kept.held.devices)}, at most {kept.batch_size} together"
    read = "in each figure of a metric: the largest |difference| to a kept score, and where."
    return Table(
        f"{kept.run_id}: {cases} cases of {samples} samples answered again; {made}",
        (*columns, *(Column(name, name, figures=True) for name in metrics)),
        tuple(rows),
        (read, *notes),
    )


def _media(one: Verified) -> str:
    return ", ".join(f"{value:.3g} {UNITS[modality]}" for modality, value in one.agreement.media.items())


def _largest(one: Largest) -> str:
    if one.value is None:
        return "not compared"
    where = f" ({one.case}, sample {one.sample})" if one.value else ""
    lost = f" {one.compared}/{one.expected}" if one.compared < one.expected else ""
    return f"{one.value:.3g}{where}{lost}"


def _said(kept: Kept, verified: Sequence[Verified], lines: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    conditions = []
    for one in verified:
        agreement = dataclasses.asdict(one.agreement)
        del agreement["uncompared"]
        made = dataclasses.asdict(one)
        del made["agreement"]
        conditions.append(made | agreement)
    return {
        "run": kept.run_id,
        "store": kept.prepared.request.store.url,
        "cases": kept.prepared.scoring.selection.cases,
        "samples": kept.prepared.scoring.selection.samples,
        "kept": {"devices": kept.held.devices, "batch_size": kept.batch_size},
        "conditions": conditions,
        "not_compared": [*lines],
        "notes": [*notes],
    }
