"""A pool whose workers wait for one another, so that a stage is worked on by as many of them as were asked for.

Of two workers that load for seconds and answer in milliseconds the first would be done before the second is there.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.generation import GenerationTask
from harness.nouns import Worker
from harness.pool import Batch, Outcome, Pool, Task
from harness.store import Store

# Workers of one model load less far apart than this; where there is no room for all of them it is waited once.
PATIENCE_SECONDS = 60.0

POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Roll:
    """Which workers came, and which of them gave rows: empty files in a folder of the store, which all of them see.

    They wait `patience` seconds for one another at most.
    """

    store: Store
    folder: str
    workers: int
    patience: float = PATIENCE_SECONDS

    def come(self, name: str) -> None:
        """Put down a worker that has its first batch in hand, and wait for the others."""
        self.store.write(f"{self.folder}/came/{name}", b"")
        until = time.monotonic() + self.patience
        while len(self.store.names(f"{self.folder}/came")) < self.workers and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    def give(self, name: str) -> None:
        """Put down a worker that has given rows."""
        self.store.write(f"{self.folder}/gave/{name}", b"")

    def count(self) -> int:
        """How many workers have given rows."""
        return len(self.store.names(f"{self.folder}/gave"))


@dataclass(frozen=True, slots=True)
class Attended:
    """A pool that keeps a roll of who answers; there must be as many batches as workers on it."""

    pool: Pool
    roll: Roll

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        """What the pool itself gives; only those who answer wait, not those who extract features."""
        return self.pool.map(_Attending(task, self.roll) if isinstance(task, GenerationTask) else task, batches, worker)

    def close(self) -> None:
        """Close the pool."""
        self.pool.close()


@dataclass(frozen=True, slots=True)
class _Attending:
    """A task whose workers are put down."""

    task: Task
    roll: Roll

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        return _Attendant(self.task.build(), self.roll)


@dataclass(slots=True)
class _Attendant:
    """The work of one worker."""

    work: Callable[[Batch], Sequence[Any]]
    roll: Roll
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    here: bool = False

    def __call__(self, batch: Batch) -> Sequence[Any]:
        if self.here:
            return self.work(batch)
        self.roll.come(self.name)
        rows = self.work(batch)
        self.roll.give(self.name)
        self.here = True
        return rows
