"""The first stage: find the samples that have no answer yet, have them answered, keep the answers.

Batches are cut from the whole plan, not from what is left of it, and a batch is generated whole: so a run that was
killed and resumed, or begun with a limit, holds bitwise the answers of one left alone (same batch size, dtype, device,
threads). A batch that raises is tried again item by item, or in halves where the device's memory ran out, and what
fails alone is a row with an error.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from harness.attempts import Room, attempt
from harness.devices import device_name, peak_memory, pick_device, reset_peak_memory
from harness.errors import UsageError, shown
from harness.identity import digest_tree, sample_seed
from harness.inputs import handed_out, stored_medium
from harness.keeping import keep_answers
from harness.names import load
from harness.nouns import Case, Generation, Item, System, Worker
from harness.pool import Batch, Outcome, Pool
from harness.redaction import hide
from harness.store import Store, StoreError, Table
from harness.weights import agreed_path, ask_nobody

MEDIA = pa.struct([("modality", pa.string()), ("text", pa.string()), ("uri", pa.string()), ("digest", pa.string())])
MEDIA_FIELDS = tuple(field.name for field in MEDIA)
GENERATIONS = pa.schema(
    [
        ("case", pa.string()),
        ("sample", pa.int64()),
        ("turn", pa.int64()),
        ("outputs", pa.list_(MEDIA)),
        ("error", pa.string()),
        ("batch", pa.int64()),
        ("batch_size", pa.int64()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
        ("peak_memory", pa.int64()),
        ("degenerate", pa.list_(pa.string())),
        ("traces", pa.list_(pa.binary())),
    ]
)

# What a row is a row of.
KEYS = ("case", "sample", "turn")


def plan(cases: Sequence[Case], samples: int, seed: int, batch_size: int) -> list[Batch]:
    """All samples of all cases, case after case, cut into batches."""
    items = [Item(case, sample, sample_seed(seed, case.id, sample)) for case in cases for sample in range(samples)]
    return [
        Batch(number, tuple(items[start : start + batch_size]))
        for number, start in enumerate(range(0, len(items), batch_size))
    ]


def outstanding(batches: Sequence[Batch], wanted: Collection[str], done: Collection[tuple[str, int]]) -> list[Batch]:
    """The whole batches that hold a sample of a wanted case with no answer yet."""

    def lacks(item: Item) -> bool:
        return item.case.id in wanted and (item.case.id, item.sample) not in done

    return [batch for batch in batches if any(map(lacks, batch.items))]


def read_generations(table: Table) -> list[Generation]:
    """The generations of a run, one for each (case, sample, turn): an answer counts before an error."""
    try:
        return [_generation(row) for row in _current(table.rows()).to_pylist()]
    except ValueError as error:
        where = table.store.path(table.folder)
        raise StoreError(f"{where}: a row names a file that is none of the store's own") from error


def read_answered(table: Table) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """The samples of a run that have an answer to every turn so far, and those that have an error instead."""
    rows = _current(table.columns(*KEYS, "error"))
    samples = list(zip(rows.column("case").to_pylist(), rows.column("sample").to_pylist(), strict=True))
    failed = {sample for sample, error in zip(samples, rows.column("error").to_pylist(), strict=True) if error}
    return set(samples) - failed, failed


def compact_generations(table: Table) -> None:
    """One shard of several, without the errors that an answer has superseded."""
    table.compact(_current)


def generate(
    task: GenerationTask,
    batches: Sequence[Batch],
    done: Collection[tuple[str, int]],
    pool: Pool,
    table: Table,
    report: Callable[[int, int], None],
) -> None:
    """Answer the batches on the pool and store each as it comes; samples already `done` are not stored again.

    `report(answered, failed)` is told of each batch's samples.
    """
    for outcome in pool.map(task, batches, task.worker):
        rows = [row for row in _rows(outcome) if (row.case, row.sample) not in done]
        table.append([_row(generation) for generation in rows])
        samples = {(row.case, row.sample) for row in rows}
        failed = {(row.case, row.sample) for row in rows if row.error}
        report(len(samples), len(failed))


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """Everything a worker needs to build the system and keep its answers.

    `checkpoint` is as the driver was told of it, `digest` that of its bytes, `mark` the store's (`Store.mark`).
    """

    worker: Worker
    checkpoint: str
    digest: str
    settings: Mapping[str, str]
    store: Store
    mark: str
    media_folder: str
    offline: bool = False

    def build(self) -> Callable[[Batch], Sequence[Generation]]:
        """Load the system on this worker's device; UsageError for a checkpoint or a setting it does not take."""
        hide(self.settings)
        if self.offline:
            ask_nobody()
        self.store.require(self.mark)
        path = agreed_path(self.checkpoint, self.digest, digest_tree, self.offline)
        device = pick_device(self.worker)
        build = load(self.worker.build)
        system = build(path, device, **convert(build, self.settings))
        memory = os.path.join(os.path.dirname(self.media_folder), f"batch_size-{device_name(device)}.json")
        return Answerer(system, self, device, Room.remembered(self.store, memory))


@dataclass(frozen=True, slots=True)
class Answerer:
    """Answers batches in one worker."""

    system: System
    task: GenerationTask
    device: str
    room: Room

    def __call__(self, batch: Batch) -> list[Generation]:
        """Rows for every turn of every item; items that fail alone have error rows."""
        return attempt(batch, self._together, lambda item, error: failure(item, error, self.device), self.room)

    def _together(self, batch: Batch) -> list[Generation]:
        store, parts = self.task.store, self.task.worker.sees_parts
        items = [replace(item, case=handed_out(item.case, store, parts)) for item in batch.items]
        reset_peak_memory(self.device)
        start = time.perf_counter()
        answers = self.system.generate(items)
        seconds = (time.perf_counter() - start) / len(items)
        kept = keep_answers(store, self.task.media_folder, items, answers)
        return [
            Generation(
                case=item.case.id,
                sample=item.sample,
                turn=turn,
                outputs=answer.outputs,
                batch=batch.index,
                batch_size=len(items),
                seconds=seconds,
                device=self.device,
                peak_memory=peak_memory(self.device),
                degenerate=answer.flags,
                traces=answer.traces,
            )
            for item, answers_of_turns in zip(items, kept, strict=True)
            for turn, answer in enumerate(answers_of_turns)
        ]


def failure(batch: Batch, error: str, device: str = "") -> list[Generation]:
    """Error rows for every turn of every item of a batch."""
    return [
        Generation(
            item.case.id, item.sample, turn, error=error, batch=batch.index, batch_size=len(batch.items), device=device
        )
        for item in batch.items
        for turn in range(len(item.case.turns))
    ]


def convert(build: Callable[..., Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings (`--set key=value`) as the keyword-only parameters of `build`, by their annotations.

    Raises UsageError for a setting that is not one of them, or a value that does not read as its type.
    """
    accepted = {
        name: parameter.annotation
        for name, parameter in inspect.signature(build, eval_str=True).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for name in settings:
        if name not in accepted:
            raise UsageError(f"--set {name}: no such setting; this system has: {', '.join(accepted) or 'none'}")
    return {name: _converted(name, text, accepted[name]) for name, text in settings.items()}


def _current(rows: pa.Table) -> pa.Table:
    """One row for each (case, sample, turn), sorted by them: an answer before an error."""
    failed = pc.not_equal(rows.column("error"), "")
    order = [(name, "ascending") for name in (*KEYS, "failed")]
    rows = rows.append_column("failed", failed).sort_by(order).drop_columns("failed")
    keys = list(zip(*(rows.column(name).to_pylist() for name in KEYS), strict=True))
    return rows.filter(pa.array([key != before for key, before in zip(keys, [None, *keys], strict=False)], pa.bool_()))


def _rows(outcome: Outcome) -> Sequence[Generation]:
    return failure(outcome.batch, shown(outcome.lost)) if outcome.lost else outcome.rows


def _row(generation: Generation) -> dict[str, Any]:
    """A generation as a row of its table."""
    row = {name: getattr(generation, name) for name in GENERATIONS.names}
    return {**row, "outputs": [{name: getattr(one, name) for name in MEDIA_FIELDS} for one in generation.outputs]}


def _generation(row: dict[str, Any]) -> Generation:
    outputs = tuple(map(stored_medium, row["outputs"]))
    lists = {name: tuple(row[name]) for name in ("degenerate", "traces")}
    return Generation(**{**row, **lists, "outputs": outputs})


def _converted(name: str, text: str, kind: type) -> str | int | float | bool:
    readers: dict[type, Callable[[str], str | int | float | bool]] = {
        str: str,
        int: int,
        float: float,
        bool: lambda word: {"true": True, "false": False}[word.lower()],
    }
    try:
        return readers[kind](text)
    except (ValueError, KeyError) as error:
        raise UsageError(f"--set {name}={text}: {kind.__name__} expected") from error
