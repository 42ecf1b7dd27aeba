"""A part of a kept run answered again under other conditions.

A sample's seed depends on the run's seed, the case and the sample alone, so its answer ought to be the same in another
batch, on another worker and on another device; what rounding leaves of that is measured here.

The run is only read. The answers go to `verify/<run id>-<hex>/` in the same store, which all workers see, and are
removed at the end; a process that is killed leaves them there. What stays is what all runs share: the suite's own
inputs, and those features of them that were lacking.
"""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.agreement import Agreement, Held, compare, read_held, without_damaged
from harness.comparison import unlike_results, whole
from harness.devices import pick_device
from harness.errors import UsageError
from harness.extraction import Source
from harness.identity import digest_bytes, digest_cases, digest_code
from harness.inputs import Inputs, in_full, media_of, read_cases
from harness.names import find
from harness.nouns import Case, Metric, Run, Selection, Suite, Summary, Worker
from harness.pool import Pool
from harness.redaction import HIDDEN, redact_values
from harness.scoring import signature
from harness.summary import read_beginning, read_summary
from runners.attendance import PATIENCE_SECONDS, Attended, Roll
from runners.evaluation import evaluate
from runners.preparation import (
    Prepared,
    Request,
    Scoring,
    find_checkpoint,
    load_metrics,
    select,
    sources_for,
    suite_for,
)
from systems import SYSTEMS

# How many cases at least are answered again, unless so many are asked for.
CASES = 8


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to answer again: how many samples together, on how many Ray workers (0: in this process).

    `needs` is how many samples it takes: a whole batch, or as many batches as workers.
    """

    name: str
    batch_size: int
    needs: int = 1
    workers: int = 0
    off_gpu: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A run that can be answered again.

    `prepared` is the cases that will be, prepared like a run of their own, with the metrics that can be compared;
    `held` is what the run holds of them, and `uncompared` what it lacks, a line each. `batch_size` is the most samples
    that the run answered together, and `cases` how many it has in all.
    """

    run_id: str
    prepared: Prepared
    held: Held
    batch_size: int
    cases: int
    conditions: tuple[Condition, ...]
    uncompared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of one condition: where and how many together it was answered, and how near that is.

    `workers` is how many Ray workers gave answers (0: this process), `rebatched` how many of the `samples` were made in
    another batch size than the kept ones.
    """

    condition: str
    devices: tuple[str, ...]
    workers: int
    batch_size: int
    rebatched: int
    samples: int
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of all conditions: of those that came about, and a line for each that did not."""

    verified: tuple[Verified, ...]
    unmet: tuple[str, ...]


def read_kept(request: Request, folder: str, count: int, ray_workers: Sequence[int]) -> Kept:
    """`count` cases of a run, spread over it by the digest of their ids: the same ones every time.

    0 is as many as the conditions need, and at least CASES; `ray_workers` are numbers of workers to answer on.
    `request` says which metrics (none: all that were scored), which weights, and the settings that are not stored.
    Raises UsageError naming what is no longer what the run was made with, or scored with.
    """
    store, beginning = request.store, read_beginning(request.store, folder)
    run, summary = beginning.run, read_summary(store, folder)
    worker, suite = find(run.system, SYSTEMS, "system"), suite_for(run.suite, run.system)
    request = dataclasses.replace(
        request,
        suite=run.suite,
        system=run.system,
        checkpoint=beginning.checkpoint,
        seed=run.seed,
        settings=_settings(run, request.settings),
    )
    cases = read_cases(store, folder)
    checkpoint, weights = find_checkpoint(request, worker)
    _require_unchanged(store.path(folder), beginning.checkpoint, run, _now(run, suite, worker, cases, weights))
    metrics, sources, absent = _comparable(request, folder, suite, summary)
    planned, samples = select(summary.selection, cases), summary.selection.samples
    whole_run = read_held(store, folder, {case.id for case in planned}, samples)
    if not whole_run.rows:
        raise UsageError(f"{store.path(folder)}: no answer is kept; run it again")
    conditions = _conditions(worker, whole_run.batch_size, ray_workers)
    needed = math.ceil(max(condition.needs for condition in conditions) / samples)
    chosen = _chosen(planned, count or max(CASES, needed))
    selection = Selection(samples, cases=tuple(case.id for case in chosen))
    inputs = Inputs(chosen, {one.uri: in_full(one, store) for case in chosen for one in media_of(case) if one.uri})
    scoring = Scoring(store, folder, suite, chosen, chosen, selection, metrics, sources, (), request.offline)
    prepared = Prepared(request, worker, checkpoint, inputs, dataclasses.replace(beginning, absent=()), scoring)
    held = whole_run.of(selection.cases)
    lacking = _unanswered(held, selection)
    held, damaged = without_damaged(held, store)
    return Kept(
        run_id=summary.run_id,
        prepared=prepared,
        held=held,
        batch_size=whole_run.batch_size,
        cases=len(planned),
        conditions=tuple(conditions),
        uncompared=(*absent, *lacking, *damaged),
    )


def answer_again(kept: Kept, pool_of: Callable[[int], Pool], patience: float = PATIENCE_SECONDS) -> Verification:
    """Answer, score and compare under each condition that can be made.

    `pool_of` makes the pool of so many Ray workers, which wait at most `patience` seconds for one another; 0 is this
    process.
    """
    store, scratch = kept.prepared.request.store, f"verify/{kept.run_id}-{uuid.uuid4().hex[:12]}"
    verified, unmet = [], []
    try:
        for number, condition in enumerate(kept.conditions):
            line = _beyond(kept, condition)
            if not line:
                roll = Roll(store, f"{scratch}/{number}/workers", condition.workers, patience)
                one = _answered(kept, condition, f"{scratch}/{number}", pool_of, roll)
                line = _missed(kept, condition, one)
            if line:
                unmet.append(line)
            else:
                verified.append(one)
    finally:
        store.remove_folder(scratch)
    return Verification(tuple(verified), tuple(unmet))


def _conditions(worker: Worker, own: int, ray_workers: Sequence[int]) -> list[Condition]:
    """The conditions to answer under, as far as this system and this machine have them; `own` is the kept batch size.

    Those on Ray come first: what this process leaves on a GPU would be in the workers' way.
    """
    conditions = [
        Condition(f"Ray workers: {count}", own, own * (count - 1) + 1, count)
        for count in ray_workers
        if not worker.in_driver
    ]
    if own > 1:
        conditions.append(Condition("one by one", 1))
    conditions.append(Condition("twice the batch", 2 * own, 2 * own))
    if worker.gpus and pick_device(worker) != "cpu":
        conditions.append(Condition("on the CPU", own, off_gpu=True))
    return conditions


def _beyond(kept: Kept, condition: Condition) -> str:
    """Why a condition cannot be made of the chosen cases, "" where it can."""
    selection = kept.prepared.scoring.selection
    have, needed = len(selection.cases) * selection.samples, math.ceil(condition.needs / selection.samples)
    if have >= condition.needs:
        return ""
    mend = f"--cases {needed} would do" if needed <= kept.cases else f"the run has only {kept.cases} cases"
    return f"{condition.name}: takes {condition.needs} samples, and {have} were to be answered again; {mend}"


def _missed(kept: Kept, condition: Condition, verified: Verified) -> str:
    """Why a condition did not come about though it was tried, "" where it did."""
    if verified.workers < condition.workers:
        return f"{condition.name}: only {verified.workers} of them gave answers"
    if condition.batch_size == kept.batch_size:
        return ""
    if verified.batch_size != condition.batch_size:
        return f"{condition.name}: at most {verified.batch_size} were answered together, not {condition.batch_size}"
    return "" if verified.rebatched else f"{condition.name}: no kept answer was made in another batch size"


def _answered(kept: Kept, condition: Condition, folder: str, pool_of: Callable[[int], Pool], roll: Roll) -> Verified:
    scoring, worker = kept.prepared.scoring, kept.prepared.worker
    request = dataclasses.replace(kept.prepared.request, batch_size=condition.batch_size)
    sources, _ = sources_for(scoring.metrics, request, folder)
    prepared = dataclasses.replace(
        kept.prepared,
        request=request,
        worker=dataclasses.replace(worker, gpus=0) if condition.off_gpu else worker,
        scoring=dataclasses.replace(scoring, folder=folder, sources=sources),
    )
    pool = pool_of(condition.workers)
    if condition.workers:
        pool = Attended(pool, roll)
    try:
        summary = evaluate(prepared, pool)
    finally:
        pool.close()
    again = read_held(scoring.store, folder, scoring.selection.cases, scoring.selection.samples)
    agreement = compare(kept.held, again, [metric.name for metric in scoring.metrics], scoring.store)
    lines = tuple(f"{condition.name}: {line}" for line in (*agreement.uncompared, *summary.absent))
    return Verified(
        condition=condition.name,
        devices=again.devices,
        workers=roll.count(),
        batch_size=again.batch_size,
        rebatched=_rebatched(kept.held, again),
        samples=len({(case, sample) for case, sample, _ in again.rows}),
        agreement=dataclasses.replace(agreement, uncompared=lines),
    )


def _rebatched(kept: Held, again: Held) -> int:
    """How many samples were made in another batch size than the kept ones."""
    pairs = [(where, row, again.rows[where]) for where, row in kept.rows.items() if where in again.rows]
    return len({(case, sample) for (case, sample, _), one, two in pairs if one.batch_size != two.batch_size})


def _settings(run: Run, given: Mapping[str, str]) -> dict[str, str]:
    """The run's settings, whole: those that are secret stand in no store, and are given again."""
    settings = {**run.settings, **given}
    for name, text in settings.items():
        if HIDDEN in text:
            raise UsageError(f"setting {name} is a secret, which the store does not hold; pass it once more by --set")
    shown = redact_values(settings)
    for name in given:
        if shown[name] != run.settings.get(name):
            raise UsageError(f"--set {name}: not the run's own ({run.settings.get(name, 'which has no such setting')})")
    return settings


def _now(run: Run, suite: Suite, worker: Worker, cases: Sequence[Case], weights: str) -> Run:
    """What the run's identity would be, answered with what is here."""
    return dataclasses.replace(
        run,
        version=suite.version,
        data=digest_cases(cases),
        system_version=worker.version,
        code=digest_code(worker.build),
        weights=weights,
    )


def _require_unchanged(place: str, checkpoint: str, then: Run, now: Run) -> None:
    fields = (
        (f"the version of suite {then.suite}", str(then.version), str(now.version)),
        ("the run's own cases.jsonl", then.data[:12], now.data[:12]),
        (f"the version of system {then.system}", str(then.system_version), str(now.system_version)),
        (f"the code of system {then.system}", then.code[:12], now.code[:12]),
        (f"checkpoint {checkpoint}", then.weights[:12], now.weights[:12]),
    )
    changed = [f"{what} was {one} and is {other}" for what, one, other in fields if one != other]
    if changed:
        raise UsageError(f"{place}: cannot be verified, what made it has changed: {'; '.join(changed)}")


def _comparable(
    request: Request, folder: str, suite: Suite, summary: Summary
) -> tuple[tuple[Metric, ...], Mapping[str, Source], list[str]]:
    """The metrics whose kept scores can be compared, their extractors, and a line for each other metric."""
    kept = whole(summary)
    for name in request.metrics:
        if name not in kept:
            raise UsageError(f"metric {name}: the run has no score of it; make one: anybench score {summary.run_id}")
    metrics = load_metrics(request.metrics or tuple(kept))
    sources, absent = sources_for(metrics, request, folder)
    lines = list(absent)
    lines += [f"metric {one.name}: one number of the whole set" for one in metrics if one.level == "set"]
    chosen = tuple(
        one
        for one in metrics
        if one.level == "sample" and all(need.extractor in sources for need in one.needs.values())
    )
    for one in chosen:
        here = dataclasses.replace(kept[one.name], signature=signature(one, suite, sources))
        if unlike := unlike_results(kept[one.name], here):
            raise UsageError(
                f"metric {one.name}: kept scores and this machine's differ in {'; '.join(unlike)}; "
                "pass the weights that the run was scored with: --weights EXTRACTOR=PATH"
            )
    return chosen, sources, lines


def _chosen(planned: Sequence[Case], count: int) -> tuple[Case, ...]:
    """So many of the cases, in plan order, those with the smallest digests of their ids."""
    smallest = sorted(planned, key=lambda case: digest_bytes(case.id.encode()))[:count]
    return tuple(case for case in planned if case in smallest)


def _unanswered(held: Held, selection: Selection) -> list[str]:
    """A line for each sample without a kept answer."""
    answered = {(case, sample) for case, sample, _ in held.rows}
    lines = [
        f"case {case}, sample {sample}: the kept answer is an error: {error}"
        for (case, sample), error in held.failed.items()
    ]
    wanted = [(case, sample) for case in selection.cases for sample in range(selection.samples)]
    return lines + [
        f"case {case}, sample {sample}: no answer is kept" for case, sample in wanted if (case, sample) not in answered
    ]
