"""The second stage: find the features that metrics need and nobody has computed, compute them, keep them.

Features are keyed by what they are features of: the extractor and the digests of its weights and code name the table,
the digests of the media (joined by "+" for a pair) the row. Those of a suite's own media are shared by all runs of the
store; those of what a run generated stay with the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.attempts import Room, attempt
from harness.devices import device_name, pick_device
from harness.identity import digest_code
from harness.inputs import in_full
from harness.names import load
from harness.nouns import Case, Extractor, ExtractorCard, Features, Generation, Media, Need, sent
from harness.pool import Batch, Pool
from harness.store import Store, Table
from harness.weights import Weights, agreed_path, weights_digest

Vectors = Mapping[str, NDArray[Any]]

FEATURES = pa.schema([("key", pa.string()), ("values", pa.list_(pa.float32()))])


@sent
@dataclass(frozen=True, slots=True)
class Row:
    """One row of a feature: whose it is, and the media that the extractor sees together."""

    case: str
    turn: int
    sample: int
    output: int
    media: tuple[Media, ...]

    @property
    def key(self) -> str:
        """What it is a feature of."""
        return "+".join(one.digest for one in self.media)


@dataclass(frozen=True, slots=True)
class Source:
    """An extractor with its weights, and the two tables its features are kept in."""

    name: str
    card: ExtractorCard
    weights: Weights
    shared: Table
    own: Table

    @classmethod
    def of(cls, name: str, card: ExtractorCard, weights: Weights, store: Store, run_folder: str) -> Source:
        """The source whose tables are named by the extractor, its version, its weights' digest and its code's.

        The code is not part of signatures, which say what was promised; it keeps features of an extractor that
        somebody is still writing from being read as those of the next edit.
        """
        code = digest_code(card.worker.build)[:8]
        folder = f"features/{name}-v{card.worker.version}-{weights.digest[:12] or 'weightless'}-{code}"
        shared, own = (Table(store, place, FEATURES) for place in (folder, f"{run_folder}/{folder}"))
        return cls(name, card, weights, shared, own)


@dataclass(frozen=True, slots=True)
class Vector:
    """What a worker sends back: a feature, or why there is none."""

    key: str
    values: NDArray[Any] | None
    error: str = ""


def rows_of(
    need: Need, cases: Iterable[Case], generations: Mapping[tuple[str, int], Sequence[Generation]]
) -> list[Row]:
    """The rows a need asks for, in the order of the cases; `generations` are those of each (case, turn)."""
    return [
        row
        for case in cases
        for turn in range(len(case.turns))
        for row in _turn_rows(need, case, turn, generations.get((case.id, turn), ()))
    ]


def extract(
    source: Source, missing: Missing, store: Store, pool: Pool, offline: bool, report: Callable[[int, int], None]
) -> dict[str, str]:
    """Compute and keep the features that are missing; returns the errors by key.

    Batches are cut from all rows and computed whole, so that what was interrupted is bitwise what was not; a command
    with another selection cuts others, and agrees to rounding.
    `report(done, failed)` is told of each batch.
    """
    task = ExtractionTask(source.card, source.weights, store, store.mark(), source.own.folder, offline)
    errors: dict[str, str] = {}
    for outcome in pool.map(task, missing.batches, source.card.worker):
        vectors = _without(outcome.batch, outcome.lost) if outcome.lost else outcome.rows
        new = [one for one in vectors if one.key not in missing.have]
        for table, kept in ((source.shared, missing.shared), (source.own, missing.own)):
            table.append([{"key": one.key, "values": one.values} for one in new if one.error == "" and one.key in kept])
        failed = {one.key: one.error for one in new if one.error}
        errors |= failed
        report(len(new), len(failed))
    source.own.compact()
    return errors


def read_vectors(source: Source) -> Vectors:
    """All features of a source's two tables, by key."""
    return {**_vectors(source.shared), **_vectors(source.own)}


def features_of(vectors: Vectors, rows: Sequence[Row]) -> Features:
    """The features of those rows that have one, in the rows' order."""
    kept = [row for row in rows if row.key in vectors]
    return Features(
        values=np.stack([vectors[row.key] for row in kept]) if kept else np.zeros((0, 0), np.float32),
        case=np.array([row.case for row in kept], dtype=np.str_),
        turn=np.array([row.turn for row in kept], dtype=np.int64),
        sample=np.array([row.sample for row in kept], dtype=np.int64),
        output=np.array([row.output for row in kept], dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class Missing:
    """What is left to extract: whole batches with a key that no table has; keys of the suite's media, of the run's."""

    have: frozenset[str]
    shared: frozenset[str]
    own: frozenset[str]
    batches: tuple[Batch, ...]

    @classmethod
    def of(cls, source: Source, rows: Sequence[Row]) -> Missing:
        """Compare the rows with the tables; what is both the suite's and the run's counts as the suite's."""
        have = frozenset(_keys(source.shared)) | frozenset(_keys(source.own))
        shared = {row.key: row for row in rows if row.sample < 0}
        own = {row.key: row for row in rows if row.key not in shared}
        size = source.card.worker.batch
        cut = [*_batches(list(shared.values()), size), *_batches(list(own.values()), size)]
        batches = [Batch(number, batch) for number, batch in enumerate(cut)]
        lacking = [batch for batch in batches if any(row.key not in have for row in batch.items)]
        return cls(have, frozenset(shared), frozenset(own), tuple(lacking))

    def __len__(self) -> int:
        """How many features are to be computed."""
        return len((self.shared | self.own) - self.have)


@dataclass(frozen=True, slots=True)
class ExtractionTask:
    """Everything a worker needs to build the extractor; `folder` is that of the run's own features."""

    card: ExtractorCard
    weights: Weights
    store: Store
    mark: str
    folder: str
    offline: bool = False

    def build(self) -> Callable[[Batch], Sequence[Vector]]:
        """Load the extractor on this worker's device; UsageError for weights it cannot use."""
        self.store.require(self.mark)
        path = agreed_path(self.weights.source, self.weights.digest, weights_digest, self.offline)
        device = pick_device(self.card.worker)
        room = Room.remembered(self.store, f"{self.folder}/batch_size-{device_name(device)}.json")
        return Embedder(load(self.card.worker.build)(path, device), self.store, room)


@dataclass(frozen=True, slots=True)
class Embedder:
    """Extracts batches of rows in one worker."""

    extractor: Extractor
    store: Store
    room: Room

    def __call__(self, batch: Batch) -> list[Vector]:
        """A vector for every row; a row that fails alone (a damaged file) has its error instead."""
        return attempt(batch, self._together, _without, self.room)

    def _together(self, batch: Batch) -> list[Vector]:
        rows: Sequence[Row] = batch.items
        media = [tuple(in_full(one, self.store) for one in row.media) for row in rows]
        values = np.asarray(self.extractor.extract(media), dtype=np.float32)
        if values.ndim != 2 or len(values) != len(rows):
            raise ValueError(f"the extractor gave an array of shape {values.shape} for {len(rows)} rows")
        if not np.isfinite(values).all():
            raise ValueError("the extractor gave values that are not finite")
        return [Vector(row.key, vector) for row, vector in zip(rows, values, strict=True)]


def _without(batch: Batch, error: str) -> list[Vector]:
    """The rows of a batch without their features."""
    return [Vector(row.key, None, error) for row in batch.items]


def _turn_rows(need: Need, case: Case, turn: int, answers: Sequence[Generation]) -> Iterator[Row]:
    """One row for each combination of the media of the parts; for each output where "output" is among them."""
    asked = case.turns[turn]
    own: list[tuple[int, int, tuple[Media, ...]]] = [(-1, -1, ())]
    if "output" in need.of:
        own = [(one.sample, index, (media,)) for one in answers for index, media in enumerate(one.outputs)]
    for sample, output, media in own:
        fixed = {**asked.parts, "input": asked.inputs, "output": media}
        parts = [fixed.get(part, ()) for part in need.of]
        for together in itertools.product(*parts):
            yield Row(case.id, turn, sample, output, together)


def _batches(rows: Sequence[Row], size: int) -> list[tuple[Row, ...]]:
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]


def _keys(table: Table) -> list[str]:
    return [str(key) for key in table.columns("key").column("key").to_pylist()]


def _vectors(table: Table) -> dict[str, NDArray[Any]]:
    rows = table.columns("key", "values")
    keys, values = rows.column("key").to_pylist(), rows.column("values")
    flat = np.asarray(values.combine_chunks().flatten(), dtype=np.float32)
    return dict(zip(keys, flat.reshape(len(keys), -1), strict=True)) if keys else {}
