"""A run that is terminated, as Slurm and Kubernetes do it, and one that loses a worker: what the command line says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.generation import GENERATIONS
from harness.store import Store, Table


def start(repository: Path, store: Path, workers: str) -> subprocess.Popen[str]:
    """A run of 300 small batches, once the first 20 are there."""
    command = [sys.executable, "-m", "runners.cli", "run", "dreambench-mini", "--system", "copy_input", "--json"]
    command += ["--metrics", "color_hist", "--workers", workers, "--batch-size", "1", "--store", str(store)]
    started = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while len(list(store.glob("runs/*/generations/*.parquet"))) < 20:
        assert started.poll() is None and time.monotonic() < deadline, (
            "the run ended before anything could happen to it"
        )
        time.sleep(0.01)
    return started


def descendants(process: int) -> set[int]:
    """The processes that a process started, and those they started."""
    parents = {}
    for one in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parents[int(one.parent.name)] = int(one.read_text().rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.parametrize("workers", ["local", pytest.param("1", marks=pytest.mark.ray)])
def test_a_run_that_is_terminated_says_so_in_one_line_and_keeps_what_was_computed(
    tmp_path: Path, repository: Path, workers: str
) -> None:
    started = start(repository, tmp_path, workers)
    started.send_signal(signal.SIGTERM)
    out, said = started.communicate(timeout=60)
    assert started.returncode == 143
    assert out == ""
    lines = [line for line in said.splitlines() if not line.startswith(("generate: ", "Token authentication"))]
    assert lines == ["anybench: terminated; what was computed is kept, and the same line goes on from there"]
    [folder] = tmp_path.glob("runs/*/generations")
    assert len(Table(Store.at(str(tmp_path)), str(folder.relative_to(tmp_path)), GENERATIONS).read()) >= 20


@pytest.mark.ray
@pytest.mark.heavy
def test_what_ray_says_of_a_worker_that_died_does_not_stand_among_the_results(tmp_path: Path, repository: Path) -> None:
    started = start(repository, tmp_path, "1")
    [worker] = [one for one in descendants(started.pid) if b"ray::_Actor" in Path(f"/proc/{one}/cmdline").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    out, said = started.communicate(timeout=120)
    assert started.returncode == 0, said
    assert json.loads(out.splitlines()[-1])["complete"] is True
    assert "raylet" not in out and "raylet" in said
