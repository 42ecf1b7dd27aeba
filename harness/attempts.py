"""What a worker does with a batch whose work raises: halves where the device's memory ran out, else one by one.

How many items fit on a device is remembered (Room), so that memory runs out once and not in every batch.
"""

from __future__ import annotations

import collections
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.devices import free_device_memory, is_broken, ran_out_of_memory
from harness.errors import UsageError, printable
from harness.pool import Batch, BrokenWorker, note
from harness.redaction import redact_text
from harness.store import Store, StoreError

# An error row says what happened, not the whole of a native stack.
ERROR_CHARACTERS = 500

Row = TypeVar("Row")


@dataclass
class Room:
    """The most items of one kind of work that fit on one kind of device at once; `size` 0 where it never ran out.

    It is kept in a small file of the store, so that other workers, and the run when it is resumed, begin with it. Two
    that write at once leave one of their sizes, and who finds it too large writes the next.
    """

    store: Store
    path: str
    size: int = 0

    @classmethod
    def remembered(cls, store: Store, path: str) -> Room:
        """The room as it was last written down; StoreError for a damaged file."""
        room = cls(store, path)
        if store.exists(path):
            try:
                room.size = int(json.loads(store.read(path))["batch_size"])
                if room.size < 1:
                    raise ValueError(room.size)
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{store.path(path)}: damaged; remove it: it is found out again") from error
        return room

    def parts(self, batch: Batch) -> list[Batch]:
        """The batch, in parts that fit."""
        step = self.size or len(batch.items)
        return [Batch(batch.index, batch.items[start : start + step]) for start in range(0, len(batch.items), step)]

    def remember(self, size: int, asked: int) -> None:
        """Write down that `size` items fit where `asked` did not, and have the driver say so."""
        if self.size and size >= self.size:
            return
        self.size = size
        self.store.write(self.path, json.dumps({"batch_size": size}).encode())
        note(
            f"the device has no memory for {asked} samples at once: they are worked on {size} at a time from now on, "
            f"when the run is resumed too; remove {self.store.path(self.path)} to try more again"
        )


def attempt(
    batch: Batch,
    together: Callable[[Batch], Sequence[Row]],
    failed: Callable[[Batch, str], Sequence[Row]],
    room: Room,
) -> list[Row]:
    """The rows of all items, in their order: `together(part)` for parts that work, `failed(item, error)` for the rest.

    Raises StoreError and BrokenWorker, which are no item's fault.
    """
    rows: list[Row] = []
    largest, ran_out = 0, False
    parts = collections.deque(room.parts(batch))
    while parts:
        part = parts.popleft()
        trouble = _try(part, together, rows)
        if trouble is None:
            largest = max(largest, len(part.items))
        elif trouble.memory:
            ran_out = True
            free_device_memory()
        if trouble is not None:
            parts.extendleft(reversed(_smaller(part, trouble)))
            rows += failed(part, trouble.line) if len(part.items) == 1 else []
    if ran_out and largest:
        room.remember(largest, len(batch.items))
    return rows


def explain(error: BaseException) -> str:
    """One line about an exception, and where it was raised; a UsageError already is one line, for its reader."""
    message = printable(redact_text(" ".join(str(error).split())))
    if isinstance(error, UsageError):
        return message[:ERROR_CHARACTERS]
    place = _place(error)
    return f"{type(error).__name__}: {message}"[: ERROR_CHARACTERS - len(place)] + place


def _place(error: BaseException) -> str:
    """The last line of the system's or extractor's own files that the exception came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not {"site-packages", "harness"} & {*Path(frame.filename).parts}]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What went wrong, in words: the exception itself holds the frames, and these the tensors that are to be freed."""

    line: str
    memory: bool


def _smaller(part: Batch, trouble: _Trouble) -> Sequence[Batch]:
    """The parts that a part is tried again in; none of a single item."""
    if len(part.items) == 1:
        return ()
    return part.halves() if trouble.memory else [Batch(part.index, (item,)) for item in part.items]


def _try(part: Batch, together: Callable[[Batch], Sequence[Row]], rows: list[Row]) -> _Trouble | None:
    try:
        rows += together(part)
    except (StoreError, BrokenWorker):
        raise
    except Exception as error:  # whatever a system or an extractor raises is that item's answer
        if is_broken(error):
            raise BrokenWorker(explain(error)) from error
        return _Trouble(explain(error), ran_out_of_memory(error))
    return None
