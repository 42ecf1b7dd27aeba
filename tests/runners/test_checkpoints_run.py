"""Real models, tiny, from `anybench init` to the scores, on two Ray workers of which one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]


def anybench(*words: str) -> list[str]:
    return [sys.executable, "-m", "runners.cli", *words]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("system", "checkpoint", "cases"),
    [
        ("codi2", "codi2-tiny", 12),
        pytest.param("diffusers", "stable-unclip-tiny", 24, marks=pytest.mark.heavy),
        pytest.param("codi2", "codi2-tiny", 75, marks=pytest.mark.heavy),
    ],
)
def test_a_tiny_checkpoint_answers_every_case_though_a_worker_is_killed(
    tmp_path: Path, system: str, checkpoint: str, cases: int
) -> None:
    folder = str(tmp_path / checkpoint)
    subprocess.run(anybench("init", checkpoint, folder), cwd=REPOSITORY, check=True)
    command = anybench("run", "dreambench-mini", "--system", system, "--checkpoint", folder, "--json")
    command += ["--set", "steps=2", "--limit", str(cases), "--batch-size", "4", "--workers", "2"]
    command += ["--metrics", "color_hist", "--store", str(tmp_path / "store")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        kill_a_worker(run, tmp_path / "store")
        said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    summary = json.loads(said.splitlines()[-1])
    assert (summary["failed"], summary["scores"][0]["scored"]) == (0, 4 * cases)


def kill_a_worker(run: subprocess.Popen[str], store: Path) -> None:
    """kill -9 of one actor once the first batches are stored."""
    deadline = time.monotonic() + 100
    while len(list(store.glob("runs/*/generations/*.parquet"))) < 3:
        assert run.poll() is None and time.monotonic() < deadline, "the run ended before a worker could be killed"
        time.sleep(0.01)
    actors = [one for one in psutil.Process(run.pid).children(recursive=True) if "_Actor" in " ".join(one.cmdline())]
    assert len(actors) == 2
    os.kill(actors[0].pid, signal.SIGKILL)
