"""The drills that a harness should pass: those of perf/drills.py, and the second of them in this process."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import benchmarks
import metrics
import systems
from harness.nouns import ExtractorCard, Summary, Worker
from harness.pool import LocalPool
from harness.store import Store
from runners.evaluation import evaluate
from runners.preparation import Request, prepare

PERF = Path(__file__).parents[2] / "perf"


@pytest.fixture
def drill(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The contender of the drills, in the catalogues."""
    monkeypatch.syspath_prepend(PERF)
    module = importlib.import_module("drill_anybench")
    worker = Worker("drill_anybench:Drilled", gpus=0, batch=64, checkpoint="required")
    is_right = ExtractorCard(Worker("drill_anybench:IsRight", gpus=0, batch=64), "text", weightless=True)
    for table, name, entry in (
        (benchmarks.SUITES, "drill", "drill_anybench:SUITE"),
        (systems.SYSTEMS, "drilled", worker),
        (metrics.METRICS, "right", "drill_anybench:RIGHT"),
        (metrics.EXTRACTORS, "is_right", is_right),
    ):
        monkeypatch.setitem(table, name, entry)  # type: ignore[arg-type]
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return module


def test_a_checkpoint_overwritten_in_place_inherits_no_answer(drill: ModuleType, tmp_path: Path) -> None:
    checkpoint, journal = tmp_path / "checkpoint.txt", tmp_path / "journal"

    def run() -> Summary:
        settings = {"journal": str(journal)}
        request = Request("drill", "drilled", Store.at(str(tmp_path / "store")), str(checkpoint), settings=settings)
        return evaluate(prepare(request), LocalPool())

    checkpoint.write_text("right")
    times = os.stat(checkpoint)
    first = run()
    checkpoint.write_text("wrong")
    os.utime(checkpoint, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = run()
    assert (first.results[0].value, second.results[0].value) == (1.0, 0.0)
    assert first.run_id != second.run_id
    assert len(journal.read_text().splitlines()) == 2 * drill.CASES, "every case was asked anew"


@pytest.mark.ray
@pytest.mark.heavy
def test_the_drills_are_passed_by_a_real_run_on_ray() -> None:
    done = subprocess.run([sys.executable, PERF / "drills.py"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
