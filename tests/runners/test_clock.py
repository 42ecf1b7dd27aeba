"""A clock that jumps by years, forwards and back, in the middle of a run: no result changes and nothing breaks."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import harness.progress
import runners.preparation
from harness.nouns import Summary
from harness.store import Store
from harness.summary import read_summary
from runners.cli import main

JUMPS = (timedelta(0), timedelta(days=3650), timedelta(days=-30_000), timedelta(days=-365), timedelta(days=9000))


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """From when it is called, each look at the clock sees another decade."""
    real, jumps = time.time, itertools.cycle(JUMPS)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(real(), UTC) + next(jumps)

    def start() -> None:
        monkeypatch.setattr(time, "time", lambda: real() + next(jumps).total_seconds())
        for module in (harness.progress, runners.preparation):
            monkeypatch.setattr(module, "datetime", Jumping)

    yield start
    monkeypatch.undo()


def run(store: Path) -> tuple[Summary, list[dict[str, object]]]:
    """A run's summary, and its rows without what depends on the machine's speed."""
    words = ("--system", "copy_input", "--metrics", "color_hist", "--limit", "6", "--workers", "local")
    assert main(["run", "dreambench-mini", *words, "--store", str(store)]) == 0
    (folder,) = (store / "runs").iterdir()
    summary = read_summary(Store.at(str(store)), f"runs/{folder.name}")
    (shard,) = (folder / "generations").glob("*.parquet")
    return summary, pq.read_table(shard).to_pylist()


def test_a_clock_that_jumps_changes_no_result(
    tmp_path: Path, jumping: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    steady, rows = run(tmp_path / "steady")
    jumping()
    leaping, leapt = run(tmp_path / "leaping")
    unlike = {"started": "", "provenance": {}, "store": ""}
    assert dataclasses.replace(leaping, **unlike) == dataclasses.replace(steady, **unlike)  # type: ignore[arg-type]
    assert [{**row, "seconds": 0} for row in leapt] == [{**row, "seconds": 0} for row in rows]
    assert all(0 <= row["seconds"] < 60 for row in leapt)  # type: ignore[operator]
    assert "in MLflow" not in capsys.readouterr().err


def test_a_run_is_resumed_and_read_back_whatever_year_it_is(
    tmp_path: Path, jumping: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    jumping()
    first, rows = run(tmp_path)
    second, again = run(tmp_path)
    assert second.results == first.results and again == rows
    folder = tmp_path / "runs" / first.run_id
    datetime.fromisoformat(json.loads((folder / "status.json").read_text())["updated"])
    capsys.readouterr()
    assert main(["leaderboard", "--store", str(tmp_path), "--json"]) == 0
    assert first.run_id in capsys.readouterr().out
