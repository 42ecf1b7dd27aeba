"""How far a run is: a live bar on a terminal, plain lines elsewhere, and `status.json` in the store always.

Rates and what is left are measured on the monotonic clock; the wall clock, which may jump, only dates what is said.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.records import parse, read_record
from harness.store import Store

STATUS_SECONDS = 2.0
LINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """What `status.json` holds: one stage of a run ("complete" or "ended" when none is under way).

    `done` of `total` steps are behind it, `failed` of those failed. `per_second` is the rate since the stage began and
    `seconds_left` what remains at that rate, None while there is no telling. `started` (the stage) and `updated`
    (this file) are ISO 8601, UTC.
    """

    stage: str
    total: int
    done: int
    failed: int
    per_second: float
    seconds_left: float | None
    started: str
    updated: str


def read_status(store: Store, folder: str) -> Status | None:
    """What `status.json` says, maybe last words of an interrupted run; None where it is absent or damaged."""
    try:
        return read_record(Status, parse(store.find(f"{folder}/status.json") or b""))
    except ValueError:
        return None


@dataclass(frozen=True)
class Progress:
    """Says how far a run is, to people on stderr and to programs in `status.json`."""

    store: Store
    folder: str

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Reporter]:
        """Report on one stage of `total` steps; a stage of none is passed over in silence."""
        with reported(name, total, self._write) as reporter:
            yield reporter

    def finish(self, summary: str) -> None:
        """Say in `status.json` that nothing is under way any more."""
        self._write(Status(summary, 0, 0, 0, 0.0, 0.0, _now(), _now()))

    def _write(self, status: Status) -> None:
        self.store.write(f"{self.folder}/status.json", json.dumps(asdict(status)).encode())


@contextlib.contextmanager
def reported(name: str, total: int, write: Callable[[Status], None] | None = None) -> Iterator[Reporter]:
    """Report on `total` steps to people, and through `write` when they begin, now and then, and when they end."""
    reporter = Reporter(name, total, _bar(name, total) if total else None, write if total else None)
    try:
        reporter.write_status()
        yield reporter
    finally:
        reporter.close()


@dataclass
class Reporter:
    """Takes what a stage reports, and passes it on as often as is of use; `done` counts failed ones too."""

    name: str
    total: int
    bar: Any
    write: Callable[[Status], None] | None
    done: int = 0
    failed: int = 0
    started: str = field(default_factory=lambda: _now())
    clock: float = field(default_factory=lambda: time.monotonic())
    last_status: float = field(default_factory=lambda: time.monotonic())
    last_line: float = field(default_factory=lambda: time.monotonic())

    def __call__(self, done: int, failed: int) -> None:
        """Count `done` more steps, `failed` of which failed."""
        self.done += done
        self.failed += failed
        now = time.monotonic()
        if self.bar:
            self.bar.update(0, advance=done, failed=self.failed, rate=self.status().per_second)
        elif now - self.last_line > LINE_SECONDS:
            self.last_line = now
            self._print_line()
        if now - self.last_status > STATUS_SECONDS:
            self.last_status = now
            self.write_status()

    def status(self) -> Status:
        """How far the stage is."""
        rate = self.done / max(time.monotonic() - self.clock, 1e-9)
        left = round((self.total - self.done) / rate, 1) if rate else None
        return Status(self.name, self.total, self.done, self.failed, round(rate, 3), left, self.started, _now())

    def write_status(self) -> None:
        """Pass the status on, where it is wanted."""
        if self.write:
            self.write(self.status())

    def close(self) -> None:
        """Say how the stage ended."""
        if self.bar:
            self.bar.stop()
        elif self.done:
            self._print_line()
        self.write_status()

    def _print_line(self) -> None:
        one = self.status()
        left = f", {one.seconds_left:.0f} s left" if one.seconds_left else ""
        failed = f", {one.failed} failed" if one.failed else ""
        line = f"{one.stage}: {one.done}/{one.total}{failed}, {one.per_second:.1f}/s{left}"
        print(line, file=sys.stderr, flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _bar(name: str, total: int) -> Any:
    """A live bar where stderr is a terminal, else None."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    failed, rate = TextColumn("{task.fields[failed]} failed"), TextColumn("{task.fields[rate]:.1f}/s")
    bar = Bar(*columns, failed, rate, TimeRemainingColumn(), console=Console(stderr=True))
    bar.add_task(name, total=total, failed=0, rate=0.0)
    bar.start()
    return bar
