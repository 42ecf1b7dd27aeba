"""How far a run is: a live bar on a terminal, plain lines elsewhere, and `status.json` in the store always."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.store import Store

STATUS_SECONDS = 2.0
LINE_SECONDS = 10.0


@dataclass
class Stage:
    """One stage under way; `done` counts failed ones too."""

    stage: str
    total: int
    done: int = 0
    failed: int = 0
    started: str = field(default_factory=lambda: _now())


@dataclass
class Progress:
    """Says how far a run is, to people on stderr and to programs in `status.json`."""

    store: Store
    folder: str

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Reporter]:
        """Report on one stage of `total` steps; a stage of none is passed over in silence."""
        reporter = Reporter(Stage(name, total), self, _bar(name, total) if total else None)
        try:
            yield reporter
        finally:
            reporter.close()

    def finish(self, summary: str) -> None:
        """Say in `status.json` that nothing is under way any more."""
        self.store.write(f"{self.folder}/status.json", json.dumps({"stage": summary, "updated": _now()}).encode())


@dataclass
class Reporter:
    """Takes what a stage reports, and passes it on as often as is of use."""

    stage: Stage
    progress: Progress
    bar: Any
    clock: float = field(default_factory=time.monotonic)
    last_status: float = 0.0
    last_line: float = field(default_factory=time.monotonic)

    def __call__(self, done: int, failed: int) -> None:
        """Count `done` more steps, `failed` of which failed."""
        self.stage.done += done
        self.stage.failed += failed
        now = time.monotonic()
        if self.bar:
            rate = self.stage.done / max(now - self.clock, 1e-9)
            self.bar.update(0, advance=done, failed=self.stage.failed, rate=rate)
        elif now - self.last_line > LINE_SECONDS:
            self.last_line = now
            self._print_line()
        if now - self.last_status > STATUS_SECONDS:
            self.last_status = now
            self._write_status()

    def close(self) -> None:
        """Say how the stage ended."""
        if self.bar:
            self.bar.stop()
        elif self.stage.done:
            self._print_line()
        self._write_status()

    def _print_line(self) -> None:
        one, seconds = self.stage, max(time.monotonic() - self.clock, 1e-9)
        rate = one.done / seconds
        left = f", {(one.total - one.done) / rate:.0f} s left" if 0 < one.done < one.total else ""
        failed = f", {one.failed} failed" if one.failed else ""
        print(f"{one.stage}: {one.done}/{one.total}{failed}, {rate:.1f}/s{left}", file=sys.stderr, flush=True)

    def _write_status(self) -> None:
        said = {**asdict(self.stage), "updated": _now()}
        self.progress.store.write(f"{self.progress.folder}/status.json", json.dumps(said).encode())


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
