"""The law at every door: an input is taken, or refused in one line that names it, and nothing else is done.

    door = Door("image", tmp_path)
    door.knock(lambda: read_image(media), named="thing.bin")

A Python audit hook sees every file that is opened, every process that is started and every connection that is made
while a door is knocked at (native decoders get bytes, and open nothing).
"""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.errors import UsageError

# Inputs of each door: in the default tests, and in the heavy ones.
PLAN: dict[str, tuple[int, int]] = {
    "image": (40, 2000),
    "audio": (40, 2000),
    "video": (20, 1500),
    "weights": (60, 2000),
    "config.json": (30, 500),
    "model_index.json": (40, 1000),
    "pipeline": (0, 200),
    "config.yaml": (60, 1000),
    "words": (30, 500),
    "environment": (20, 300),
    "prompts": (30, 500),
    "data folder": (30, 300),
    "outputs": (30, 500),
    "run files": (60, 1500),
    "MLflow": (30, 500),
}

# Of one input. Generous: the machines of the tests are shared.
SECONDS = 30.0
MEBIBYTES = 1500

RUNS_SOMETHING = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "pty.spawn",
)
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What Python and its packages open for themselves: modules, tables, the state of the machine.
OWN = (
    *(sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"], str(Path(__file__).parents[2])),
    *("/proc/", "/sys/", "/dev/null", "/usr/", "/etc/ssl/", "/etc/localtime", "/etc/mime.types"),
)


def portions(door: str) -> list[object]:
    """Parameters `count` of a fuzzer: a few inputs by default, the plan's number when heavy."""
    few, many = PLAN[door]
    heavy = pytest.param(many, marks=pytest.mark.heavy)
    return [few, heavy] if few else [heavy]


@dataclass(frozen=True)
class Touch:
    """Something that a door did to the machine: the audit event, what it was done to, whether it may change it."""

    event: str
    what: str
    changes: bool


_seen: list[Touch] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is None or not (event == "open" or event in RUNS_SOMETHING or event in CHANGES):
        return
    what, flags = arguments[0], arguments[2] if event == "open" else WRITING
    if isinstance(what, str | bytes | os.PathLike) and event not in RUNS_SOMETHING:
        what = os.path.realpath(os.fsdecode(what))  # where a link leads
    _seen.append(Touch(event, str(what), isinstance(flags, int) and bool(flags & WRITING)))


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[Touch]]:
    """Everything that is opened, changed, started or connected to inside."""
    global _seen
    _seen = seen = []
    try:
        yield seen
    finally:
        _seen = None


@dataclass
class Door:
    """One door: how often it was knocked at, and what came of it.

    `root` is the one folder it may touch; `reads_what_is_named` lets it read whatever the caller names, and ask which
    commit this tree is at on what machine.
    """

    name: str
    root: Path
    reads_what_is_named: bool = False
    taken: int = 0
    refused: int = 0
    slowest: float = 0.0
    lines: set[str] = field(default_factory=set)

    @property
    def knocks(self) -> int:
        """How many inputs were tried."""
        return self.taken + self.refused

    def knock(self, act: Callable[[], object], named: str = "") -> None:
        """Try one input; AssertionError where the law is broken."""
        before, start = _peak(), time.monotonic()
        with watched() as seen:
            try:
                act()
                self.taken += 1
            except UsageError as error:
                self.refused += 1
                self.check_line(str(error), named)
        seconds = time.monotonic() - start
        self.slowest = max(self.slowest, seconds)
        assert seconds < SECONDS, f"{self.name}: {seconds:.1f} s for one input"
        assert _peak() - before < MEBIBYTES, f"{self.name}: {_peak() - before} MiB for one input"
        strangers = [touch for touch in seen if not self._may(touch)]
        assert not strangers, f"{self.name} touched {strangers[:3]}"

    def check_line(self, line: str, named: str) -> None:
        """A refusal is one line that prints, and names what it is about."""
        assert line.isprintable() and line.strip() and "Traceback" not in line, f"{self.name}: {line!r}"
        assert named in line, f"{self.name}: {line!r} does not name {named}"
        self.lines.add(line.replace(str(self.root), "")[:60])

    def _may(self, touch: Touch) -> bool:
        if touch.event in RUNS_SOMETHING:
            return self.reads_what_is_named and touch.what in ("git", "uname")
        if not touch.changes and self.reads_what_is_named:
            return True
        within = (os.path.realpath(self.root), "/dev/null") + (() if touch.changes else OWN)
        return not touch.what.startswith("/") or touch.what.startswith(within)  # else the number of an open file


def _peak() -> int:
    """The most memory this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
