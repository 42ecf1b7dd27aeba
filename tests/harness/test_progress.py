"""How far a run is: what programs read in `status.json`, what people see on a terminal and in a log."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import progress
from harness.progress import Progress
from harness.store import Store

ROOT = Path(__file__).parents[2]
KEYS = ["stage", "total", "done", "failed", "per_second", "seconds_left", "started", "updated"]


def status(folder: Path) -> dict[str, Any]:
    said = json.loads((folder / "runs/x/status.json").read_text())
    assert isinstance(said, dict)
    return said


def test_the_status_is_there_from_the_beginning_of_a_stage_to_its_end(tmp_path: Path) -> None:
    own = Progress(Store.at(str(tmp_path)), "runs/x")
    with own.stage("generate", 4) as report:
        begun = status(tmp_path)
        assert [*begun] == KEYS
        assert (begun["stage"], begun["total"], begun["done"], begun["seconds_left"]) == ("generate", 4, 0, None)
        report(3, 1)
    ended = status(tmp_path)
    assert (ended["done"], ended["failed"]) == (3, 1) and ended["seconds_left"] >= 0 and ended["per_second"] > 0
    assert datetime.fromisoformat(ended["started"]).tzinfo == UTC
    own.finish("complete")
    assert [*status(tmp_path)] == KEYS and status(tmp_path)["stage"] == "complete"


def test_a_stage_of_nothing_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(Store.at(str(tmp_path)), "runs/x").stage("generate", 0) as report:
        report(0, 0)
    assert capsys.readouterr() == ("", "") and not [*tmp_path.iterdir()]


def test_a_clock_that_jumps_backwards_spoils_neither_rate_nor_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wall clock loses a day at every look; ten seconds pass between two looks at the monotonic one."""
    wall, ticks, seconds = count(1_900_000_000, -86_400), count(1_900_000_000, -86_400), [100.0]
    jumping = SimpleNamespace(now=lambda zone: datetime.fromtimestamp(next(ticks), zone))
    monkeypatch.setattr(progress, "datetime", jumping)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: seconds[0], time=lambda: next(wall)))
    with Progress(Store.at(str(tmp_path)), "runs/x").stage("generate", 100) as report:
        seconds[0] += 20
        report(40, 0)
        said = status(tmp_path)
    assert (said["done"], said["per_second"], said["seconds_left"]) == (40, 2.0, 30.0)
    assert said["updated"] < said["started"]  # the jump is there, and nothing is computed from it
    assert capsys.readouterr().err == "generate: 40/100, 2.0/s, 30 s left\n" * 2


ON_A_TERMINAL = """
import sys, time
from harness.errors import warn
from harness.progress import Progress
from harness.store import Store
with Progress(Store.at(sys.argv[1]), "runs/x").stage("generate", 4) as report:
    report(2, 1)
    time.sleep(0.3)
    warn("a worker died")
    report(2, 0)
    time.sleep(0.3)
"""


def test_a_terminal_gets_a_live_bar_with_rate_failures_and_time_left(tmp_path: Path) -> None:
    seen = _on_a_terminal(ON_A_TERMINAL, str(tmp_path))
    frames = re.split(r"\x1b\[2K|\n", seen)
    assert len(frames) > 3, "redrawn in place"
    words = [" ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[━╸╺\r]", "", frame).split()) for frame in frames]
    assert any(re.fullmatch(r"generate 2/4 1 failed [\d.]+/s [\d:-]+", line) for line in words), words
    assert any(re.fullmatch(r"generate 4/4 1 failed [\d.]+/s 0:00:00", line) for line in words), words
    assert "anybench: a worker died" in words, "what is said meanwhile stands on a line of its own"
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l"), "the cursor is given back"


def _on_a_terminal(code: str, argument: str) -> str:
    """What a program writes to stderr when that is a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", code, argument], stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # what Linux says when the last writer of a terminal is gone
            block = b""
        if not block:
            break
        written += block
    os.close(ours)
    assert child.wait(60) == 0, written.decode()
    return written.decode()
