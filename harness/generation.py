"""The first stage: find the samples that have no answer yet, have them answered, keep the answers.

Batches are cut from the whole plan, not from what is left of it, and a batch is generated whole: so a run that was
killed and resumed, or begun with a limit, holds bitwise the answers of one left alone (same batch size, dtype, device,
threads). A batch that raises is tried again item by item, and what fails alone is a row with an error.
"""

from __future__ import annotations

import inspect
import os
import platform
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from harness.errors import UsageError
from harness.identity import digest_bytes, digest_tree, sample_seed
from harness.inputs import handed_out
from harness.media import MediaError
from harness.names import load
from harness.nouns import Case, Generation, Item, Media, Output, System, Turn, Worker
from harness.pool import Batch, BrokenWorker, Outcome, Pool
from harness.redaction import redact_text
from harness.store import Store, StoreError, Table
from harness.weights import agreed_path

MEDIA = pa.struct([("modality", pa.string()), ("text", pa.string()), ("uri", pa.string()), ("digest", pa.string())])
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
    ]
)

# An error row says what happened, not the whole of a native stack.
ERROR_CHARACTERS = 500


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
    return _current([_generation(row) for row in table.read()])


def compact_generations(table: Table) -> None:
    """One shard of several, without the errors that an answer has superseded."""

    def tidy(rows: pa.Table) -> pa.Table:
        kept = _current([_generation(row) for row in rows.to_pylist()])
        return pa.Table.from_pylist([asdict(row) for row in kept], GENERATIONS)

    table.compact(tidy)


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
        table.append([asdict(row) for row in rows])
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
        self.store.require(self.mark)
        path = agreed_path(self.checkpoint, self.digest, digest_tree, self.offline)
        device = pick_device(self.worker)
        build = load(self.worker.build)
        system = build(path, device, **convert(build, self.settings))
        return Answerer(system, self, device)


@dataclass(frozen=True, slots=True)
class Answerer:
    """Answers batches in one worker."""

    system: System
    task: GenerationTask
    device: str

    def __call__(self, batch: Batch) -> list[Generation]:
        """Rows for every turn of every item; items that fail alone have error rows."""
        try:
            return self._together(batch)
        except (StoreError, BrokenWorker):
            raise
        except Exception as error:  # whatever a system raises is that case's answer
            raise_if_broken(error)
            if len(batch.items) == 1:
                return failure(batch, explain(error), self.device)
            return [row for item in batch.items for row in self(Batch(batch.index, (item,)))]

    def _together(self, batch: Batch) -> list[Generation]:
        store, parts = self.task.store, self.task.worker.sees_parts
        items = [replace(item, case=handed_out(item.case, store, parts)) for item in batch.items]
        reset_peak_memory(self.device)
        start = time.perf_counter()
        answers = self.system.generate(items)
        seconds = (time.perf_counter() - start) / len(items)
        if len(answers) != len(items):
            raise ValueError(f"the system gave {len(answers)} answers to {len(items)} items")
        return [
            Generation(
                case=item.case.id,
                sample=item.sample,
                turn=turn,
                outputs=outputs,
                batch=batch.index,
                batch_size=len(items),
                seconds=seconds,
                device=self.device,
                peak_memory=peak_memory(self.device),
            )
            for item, answer in zip(items, answers, strict=True)
            for turn, outputs in enumerate(self._kept(item.case, answer))
        ]

    def _kept(self, case: Case, answer: Sequence[Sequence[Output]]) -> Iterable[tuple[Media, ...]]:
        if len(answer) != len(case.turns):
            raise ValueError(f"the system answered {len(answer)} turns of {len(case.turns)}")
        return [self._kept_turn(turn, outputs) for turn, outputs in zip(case.turns, answer, strict=True)]

    def _kept_turn(self, turn: Turn, outputs: Sequence[Output]) -> tuple[Media, ...]:
        given = tuple(output.modality for output in outputs)
        if given != turn.wants:
            raise ValueError(f"the system answered {given}, and {turn.wants} was wanted")
        return tuple(map(self._keep, outputs))

    def _keep(self, output: Output) -> Media:
        if isinstance(output.data, str) != (output.modality == "text"):
            raise ValueError(f"the system called {type(output.data).__name__} an output of modality {output.modality}")
        if isinstance(output.data, str):
            return Media("text", text=output.data, digest=digest_bytes(output.data.encode()))
        kept = self.task.store.put_media(self.task.media_folder, output.data)
        if kept.modality != output.modality:
            raise MediaError(f"the system called {kept.uri} {output.modality}, and its bytes are {kept.modality}")
        return kept


def failure(batch: Batch, error: str, device: str = "") -> list[Generation]:
    """Error rows for every turn of every item of a batch."""
    return [
        Generation(
            item.case.id, item.sample, turn, error=error, batch=batch.index, batch_size=len(batch.items), device=device
        )
        for item in batch.items
        for turn in range(len(item.case.turns))
    ]


def explain(error: BaseException) -> str:
    """One line about an exception; a UsageError already is one."""
    message = redact_text(" ".join(str(error).split()))
    return (message if isinstance(error, UsageError) else f"{type(error).__name__}: {message}")[:ERROR_CHARACTERS]


def raise_if_broken(error: BaseException) -> None:
    """After a device-side fault every later call of the process fails too: it is the worker's end, not the case's."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.AcceleratorError):
        raise BrokenWorker(explain(error)) from error


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


def pick_device(worker: Worker) -> str:
    """ "cuda" for a worker that wants a GPU and sees one, else "cpu"; imports torch only for those that want one.

    On the CPU torch gets one thread, as Ray gives it, so that this process and Ray's workers compute the same bits.

    Raises UsageError where a GPU was handed out (CUDA_VISIBLE_DEVICES names one) and torch sees none.
    """
    if not worker.gpus:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    handed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if handed not in ("", "-1"):
        raise UsageError(
            f"CUDA_VISIBLE_DEVICES={handed}, and torch sees no GPU on {platform.node()}: is its driver up?"
        )
    torch.set_num_threads(1)
    return "cpu"


def peak_memory(device: str) -> int:
    """The most bytes that tensors held on the device since the last reset; 0 on CPU."""
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated())


def reset_peak_memory(device: str) -> None:
    """Begin to measure anew."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()


def _current(rows: Sequence[Generation]) -> list[Generation]:
    kept: dict[tuple[str, int, int], Generation] = {}
    for row in sorted(rows, key=lambda one: bool(one.error)):
        kept.setdefault((row.case, row.sample, row.turn), row)
    return sorted(kept.values(), key=lambda one: (one.case, one.sample, one.turn))


def _rows(outcome: Outcome) -> Sequence[Generation]:
    return failure(outcome.batch, outcome.lost) if outcome.lost else outcome.rows


def _generation(row: dict[str, Any]) -> Generation:
    return Generation(**{**row, "outputs": tuple(Media(**one) for one in row["outputs"])})


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
