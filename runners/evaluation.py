"""From names on a command line to a finished run: the wiring of `anybench run` and `anybench score`."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import SUITES
from harness.errors import AbsentError, UsageError
from harness.extraction import Row, Source, extract
from harness.generation import GENERATIONS, GenerationTask, generate, outstanding, plan, read_generations
from harness.identity import digest_cases, digest_tree, run_id
from harness.inputs import Inputs, by_digest, put, read_cases, write_cases
from harness.names import find, load
from harness.nouns import Case, Generation, Listing, Metric, Result, Run, Suite, Summary, Worker
from harness.pool import Batch, LocalPool, Pool
from harness.progress import Progress
from harness.provenance import provenance
from harness.scoring import Answers, applies, rows_by_extractor, score, write_scores
from harness.store import Store, StoreError, Table
from harness.summary import Beginning, read_beginning, summarise, write_beginning, write_summary
from harness.weights import checkpoint_path, extractor_weights
from metrics import EXTRACTORS, METRICS
from systems import SYSTEMS


@dataclass(frozen=True, slots=True)
class Request:
    """What `anybench run` was asked for; `anybench run --help` says what each field means."""

    suite: str
    system: str
    store: Store
    checkpoint: str = ""
    data: str = ""
    limit: str = ""
    cases: tuple[str, ...] = ()
    samples: int = 0
    seed: int = 0
    batch_size: int = 0
    metrics: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    retry_failed: bool = False
    offline: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is scored, and with what.

    `cases` are those of the data folder, `planned` those of them that were asked for; `sources` are the extractors
    whose weights are here, and `absent` has a line for each whose weights are not.
    """

    store: Store
    folder: str
    suite: Suite
    cases: tuple[Case, ...]
    planned: tuple[Case, ...]
    metrics: tuple[Metric, ...]
    sources: Mapping[str, Source]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that has been checked and not begun."""

    request: Request
    worker: Worker
    checkpoint: str
    inputs: Inputs
    beginning: Beginning
    scoring: Scoring

    @property
    def table(self) -> Table:
        """The run's generations."""
        return Table(self.scoring.store, f"{self.scoring.folder}/generations", GENERATIONS)


def prepare(request: Request) -> Prepared:
    """Check all that can be checked before anything runs; UsageError for the first thing that is wrong."""
    worker = find(request.system, SYSTEMS, "system")
    suite = _suite(request.suite, request.system)
    metrics = _metrics(request.metrics or suite.metrics)
    for name in request.weights:
        find(name, EXTRACTORS, "extractor")
    checkpoint, digest = _checkpoint(request, worker)
    listing = _read(suite, request.data)
    inputs = by_digest(listing.cases)
    planned = _planned(request, inputs.cases)
    samples = _samples(request.samples, suite)
    if worker.check:
        load(worker.check)(checkpoint, inputs.cases, suite.samples)
    run = Run(
        suite=suite.name,
        version=suite.version,
        data=digest_cases(inputs.cases),
        system=request.system,
        system_version=worker.version,
        weights=digest,
        seed=request.seed,
        settings=dict(sorted(request.settings.items())),
    )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    beginning = Beginning(run, checkpoint, samples, listing.absent, started, provenance(request.command))
    folder = f"runs/{run_id(run)}"
    sources, absent = sources_for(metrics, request, folder)
    scoring = Scoring(request.store, folder, suite, inputs.cases, planned, metrics, sources, absent)
    return Prepared(request, worker, checkpoint, inputs, beginning, scoring)


def evaluate(prepared: Prepared, pool: Pool) -> Summary:
    """Answer what is unanswered, score what is answered, and leave a summary in the run's folder."""
    scoring, beginning = prepared.scoring, prepared.beginning
    with scoring.store.lock(scoring.folder):
        if not scoring.store.exists(f"{scoring.folder}/run.json"):
            scoring.store.write(f"{scoring.folder}/cases.jsonl", write_cases(scoring.cases))
            write_beginning(scoring.store, scoring.folder, beginning)
        _answer(prepared, pool)
        generations = _planned_ones(read_generations(prepared.table), scoring.planned, beginning.samples)
        return _finish(scoring, beginning, generations, pool)


def rescore(request: Request, folder: str, pool: Pool) -> Summary:
    """Score the kept outputs of a run with the metrics asked for, else its suite's; generates nothing."""
    store, beginning = request.store, read_beginning(request.store, folder)
    suite = _suite(beginning.run.suite, beginning.run.system)
    if suite.version != beginning.run.version:
        raise UsageError(
            f"{store.path(folder)}: made with version {beginning.run.version} of {suite.name}, and this is version "
            f"{suite.version}; run it again"
        )
    cases = read_cases(store.read(f"{folder}/cases.jsonl"))
    with store.lock(folder):
        generations = read_generations(Table(store, f"{folder}/generations", GENERATIONS))
        answered = {one.case for one in generations}
        planned = tuple(case for case in cases if case.id in answered)
        metrics = _metrics(request.metrics or suite.metrics)
        sources, absent = sources_for(metrics, request, folder)
        scoring = Scoring(store, folder, suite, cases, planned, metrics, sources, absent)
        return _finish(scoring, beginning, generations, pool)


def describe(prepared: Prepared) -> str:
    """What `evaluate` would do, for `--dry-run`."""
    scoring, samples = prepared.scoring, prepared.beginning.samples
    batches = _unanswered(prepared)
    lines = [
        f"run        {run_id(prepared.beginning.run)}",
        f"store      {scoring.store.path(scoring.folder)}",
        f"cases      {len(scoring.planned)} of {scoring.suite.size}, {samples} samples each",
        f"to answer  {sum(len(batch.items) for batch in batches)} samples in {len(batches)} batches",
        f"metrics    {', '.join(metric.name for metric in scoring.metrics)}",
    ]
    return "\n".join(lines + [f"absent     {line}" for line in (*prepared.beginning.absent, *scoring.absent)])


def _answer(prepared: Prepared, pool: Pool) -> None:
    scoring, request = prepared.scoring, prepared.request
    batches = _unanswered(prepared)
    put(scoring.store, prepared.inputs, {item.case.id: item.case for batch in batches for item in batch.items}.values())
    put(scoring.store, prepared.inputs, scoring.planned)
    task = GenerationTask(
        worker=prepared.worker,
        checkpoint=prepared.checkpoint,
        digest=prepared.beginning.run.weights,
        settings=request.settings,
        store=scoring.store,
        media_folder=f"{scoring.folder}/media",
    )
    total = sum(len(batch.items) for batch in batches)
    done = _done(prepared)
    with Progress(scoring.store, scoring.folder).stage("generate", total) as report:
        generate(task, batches, done, LocalPool() if prepared.worker.in_driver else pool, prepared.table, report)
    if prepared.table.shards() > 1:
        prepared.table.replace(prepared.table.read())


def _finish(scoring: Scoring, beginning: Beginning, generations: list[Generation], pool: Pool) -> Summary:
    """Extract, score, summarise."""
    answers = _by_turn(generations)
    results, absent = score_all(scoring, answers, pool)
    if len(scoring.planned) == len(scoring.cases):
        absent = (*beginning.absent, *absent)
    summary = summarise(
        store=scoring.store,
        beginning=beginning,
        expected=scoring.suite.size * scoring.suite.samples,
        planned=len(scoring.planned) * beginning.samples,
        generations=generations,
        results=results,
        absent=absent,
        table=scoring.suite.table,
    )
    write_summary(scoring.store, scoring.folder, summary)
    return summary


def score_all(scoring: Scoring, answers: Answers, pool: Pool) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """Results of the metrics that could be scored, and a line for each thing that could not."""
    sources, absent = dict(scoring.sources), list(scoring.absent)
    metrics = _applicable(scoring)
    for name, rows in rows_by_extractor(metrics, scoring.planned, answers).items():
        if name in sources:
            try:
                absent += _extract(sources[name], rows, scoring, pool)
            except StoreError:
                raise
            except UsageError as error:
                del sources[name]
                absent.append(f"not scored: {_users(name, metrics)}: {error}")
    results: list[Result] = []
    for metric in metrics:
        if all(need.extractor in sources for need in metric.needs.values()):
            scored, lines = _score_one(metric, scoring, answers, sources)
            results += scored
            absent += lines
    return tuple(results), tuple(absent)


def _score_one(
    metric: Metric, scoring: Scoring, answers: Answers, sources: Mapping[str, Source]
) -> tuple[Sequence[Result], Sequence[str]]:
    try:
        scored = score(metric, scoring.suite, scoring.cases, scoring.planned, answers, sources)
    except StoreError:
        raise
    except UsageError as error:
        return [], [str(error)]
    write_scores(scoring.store, scoring.folder, scored)
    return scored.results, [] if scored.results else [f"not scored: {metric.name}: nothing was there to be scored"]


def _applicable(scoring: Scoring) -> list[Metric]:
    """The metrics whose parts some case has; the others are named, and missed by nobody."""
    applicable = [metric for metric in scoring.metrics if applies(metric, scoring.planned)]
    for metric in scoring.metrics:
        if metric not in applicable:
            warn(f"{metric.name} does not apply here: no case has the parts it looks at")
    return applicable


def _extract(source: Source, rows: Sequence[Row], scoring: Scoring, pool: Pool) -> list[str]:
    """Extract what is missing; a line when some media gave no feature."""
    with Progress(scoring.store, scoring.folder).stage(source.name, source.lacks(rows)) as report:
        errors = extract(source, rows, scoring.store, pool, report)
    if not errors:
        return []
    return [f"features of {source.name}: {len(errors)} could not be made; the first: {next(iter(errors.values()))}"]


def sources_for(
    metrics: Sequence[Metric], request: Request, folder: str
) -> tuple[Mapping[str, Source], tuple[str, ...]]:
    """The extractors that the metrics need, each with its weights; and a line for each whose weights are absent."""
    sources, absent = {}, []
    for name in dict.fromkeys(need.extractor for metric in metrics for need in metric.needs.values()):
        card = EXTRACTORS[name]
        try:
            weights = extractor_weights(name, card, request.weights.get(name, ""), request.offline)
        except AbsentError as error:
            absent.append(f"not scored: {_users(name, metrics)}: {error}")
        else:
            sources[name] = Source.of(name, card, weights, request.store, folder)
    return sources, tuple(absent)


def _users(extractor: str, metrics: Sequence[Metric]) -> str:
    return ", ".join(one.name for one in metrics if extractor in {need.extractor for need in one.needs.values()})


def _unanswered(prepared: Prepared) -> list[Batch]:
    request, scoring = prepared.request, prepared.scoring
    size = request.batch_size or prepared.worker.batch
    batches = plan(scoring.cases, prepared.beginning.samples, request.seed, size)
    return outstanding(batches, {case.id for case in scoring.planned}, _done(prepared))


def _done(prepared: Prepared) -> Collection[tuple[str, int]]:
    """The samples that count as answered: failed ones too, unless they are to be tried again."""
    retry = prepared.request.retry_failed
    return {(one.case, one.sample) for one in read_generations(prepared.table) if not (retry and one.error)}


def _planned_ones(generations: list[Generation], planned: Sequence[Case], samples: int) -> list[Generation]:
    wanted = {case.id for case in planned}
    return [one for one in generations if one.case in wanted and one.sample < samples]


def _by_turn(generations: list[Generation]) -> Answers:
    answers: dict[tuple[str, int], list[Generation]] = {}
    for one in generations:
        answers.setdefault((one.case, one.turn), []).append(one)
    return answers


def _suite(name: str, system: str) -> Suite:
    suite: Suite = load(find(name, SUITES, "suite"))
    return suite.oracle if system == "oracle" and suite.oracle else suite


def _metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    return tuple(load(find(name, METRICS, "metric")) for name in dict.fromkeys(names))


def _checkpoint(request: Request, worker: Worker) -> tuple[str, str]:
    """The checkpoint as the workers are told of it, and the digest of its bytes; empty where there is none."""
    given = request.checkpoint
    if worker.checkpoint == "none" and given:
        raise UsageError(f"--checkpoint {given}: system {request.system} takes none")
    if worker.checkpoint == "required" and not given:
        raise UsageError(f"system {request.system} needs --checkpoint PATH_OR_HUB_ID")
    if not given:
        return "", ""
    path = Path(checkpoint_path(given, request.offline))
    return (str(path) if Path(given).expanduser().exists() else given), digest_tree(path)


def _read(suite: Suite, data: str) -> Listing:
    if not (data or suite.embedded):
        raise UsageError(f"suite {suite.name} needs --data DIR (or ANYBENCH_DATA)")
    return suite.read(data or suite.embedded)


def _samples(asked: int, suite: Suite) -> int:
    if not 0 <= asked <= suite.samples:
        raise UsageError(f"--samples {asked}: suite {suite.name} has {suite.samples} a case; ask for 1 to that many")
    return asked or suite.samples


def _planned(request: Request, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases asked for: all, those named, or a limit's prefix (a number of cases, or a fraction like 0.1)."""
    known = {case.id: case for case in cases}
    if request.cases:
        wanted = {find(name, known, "case").id for name in request.cases}
        cases = tuple(case for case in cases if case.id in wanted)
    return cases[: _limit(request.limit, len(cases))] if request.limit else cases


def _limit(text: str, cases: int) -> int:
    try:
        count = math.ceil(float(text) * cases) if "." in text else int(text)
    except ValueError:
        count = 0
    if count < 1 or ("." in text and float(text) > 1):
        raise UsageError(
            f"--limit {text}: a number of cases from 1, or a fraction above 0.0 and up to 1.0, is expected"
        )
    return count


def warn(line: str) -> None:
    """Say something on stderr."""
    print(f"anybench: {line}", file=sys.stderr, flush=True)
