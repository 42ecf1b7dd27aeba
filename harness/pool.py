"""Pools: the same work in this process, or on Ray actors (harness.ray_pool).

A task is built once in each worker; batches are handed out one at a time to whoever is free; results come back in any
order, so every row carries its own key. The pool knows nothing of cases, only that a batch whose worker died may be
tried elsewhere, and cut in halves until the item that kills workers is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import UsageError, warn
from harness.nouns import Worker

_NOTES: list[str] = []


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that are worked on together; `index` is the batch's place in the plan, kept when it is cut in halves."""

    index: int
    items: tuple[Any, ...]

    def halves(self) -> tuple[Batch, Batch]:
        """The two parts of a batch of at least two items; the first is the larger of unequal ones."""
        middle = (len(self.items) + 1) // 2
        return Batch(self.index, self.items[:middle]), Batch(self.index, self.items[middle:])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: the rows it gave, or why no worker survived it."""

    batch: Batch
    rows: Sequence[Any] = ()
    lost: str = ""


class PoolError(UsageError):
    """There is nobody to work: no cluster answers, or it can never have what a worker needs."""


class BrokenWorker(Exception):
    """Raised by work whose process must not be used again; the batch is tried elsewhere, as after a death."""


class Task(Protocol):
    """Work that pickles small, and builds its heavy half in the worker."""

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        """Load what the work needs, once a worker; UsageError stops the whole run with its one line."""
        ...


class Pool(Protocol):
    """Where batches are worked on."""

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        """One Outcome a batch (or a part of it, after deaths), in any order."""
        ...

    def close(self) -> None:
        """Give back what the pool holds."""
        ...


class LocalPool:
    """Everything in this process, one batch after another: for debugging, and for what only the driver can do."""

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        """One Outcome a batch, in order."""
        if not batches:
            return
        work, said = task.build(), Said()
        for batch in batches:
            rows = work(batch)
            said.pass_on(take_notes())
            yield Outcome(batch, rows)

    def close(self) -> None:
        """Nothing is held."""


class Said:
    """What workers had to say so far, so that a line that all of them have to say is said once."""

    def __init__(self) -> None:
        self.lines: set[str] = set()

    def pass_on(self, lines: Sequence[str]) -> None:
        """Say those lines that are new."""
        for line in lines:
            if line not in self.lines:
                self.lines.add(line)
                warn(line)


def note(line: str) -> None:
    """Have the driver say a line; called by work in a worker, whose own stderr nobody reads."""
    _NOTES.append(line)


def take_notes() -> tuple[str, ...]:
    """The lines noted in this process since they were last taken."""
    taken = tuple(_NOTES)
    _NOTES.clear()
    return taken
