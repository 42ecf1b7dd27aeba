"""What runs wrote of themselves, with anything in it: read as it was written, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from doors import Door, portions
from mutations import damaged, swapped

from harness.errors import UsageError
from harness.inputs import read_cases
from harness.store import Store
from harness.summary import json_line, read_beginning, read_summary, summary_from_json
from reports.render import FORMATS, render
from reports.tables import results_table
from runners.cli import main
from runners.running import better


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a real run of two cases."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    words = (
        "--system",
        "copy_input",
        "--metrics",
        "color_hist",
        "--limit",
        "2",
        "--workers",
        "local",
        "--store",
        "store",
    )
    assert main(["run", "dreambench-mini", *words]) == 0
    capsys.readouterr()
    (folder,) = (root / "store/runs").iterdir()
    return folder


def shown(store: Store, folder: str) -> None:
    """A summary that was taken can be said and shown in every format."""
    summary = read_summary(store, folder)
    assert json.loads(json_line(summary))
    for form in FORMATS:
        assert "\x1b" not in render(results_table(summary, better()), form)


@pytest.mark.parametrize("count", portions("run files"))
def test_the_files_of_a_run_are_read_or_refused_in_one_line(run: Path, root: Path, count: int) -> None:
    store, folder = Store.at(str(root / "store")), f"runs/{run.name}"
    read: dict[str, Callable[[Store, str], object]] = {
        "summary.json": shown,
        "run.json": read_beginning,
        "cases.jsonl": read_cases,
    }
    good = {name: (run / name).read_bytes() for name in read}
    door, random = Door("run files", root), Random("run files")
    for number in range(count):
        name = [*read][number % 3]
        (run / name).write_bytes(changed(good[name], random))
        door.knock(lambda name=name: read[name](store, folder), named=name)
        (run / name).write_bytes(good[name])
    assert door.knocks == count and door.taken and door.refused


@pytest.mark.parametrize("count", portions("MLflow"))
def test_the_results_that_mlflow_kept_are_read_or_refused_in_one_line(run: Path, root: Path, count: int) -> None:
    good, door, random = (run / "summary.json").read_bytes(), Door("MLflow", root), Random("mlflow")

    def read(data: bytes) -> None:
        try:
            summary = summary_from_json(data.decode())
        except ValueError as error:  # what the leaderboard leaves out with a warning
            raise UsageError(str(error)) from error
        render(results_table(summary, better()), "terminal")

    for _ in range(count):
        data = changed(good, random)
        door.knock(lambda data=data: read(data))
    assert door.knocks == count and door.taken and door.refused


@pytest.mark.parametrize("name", ["summary.json", "run.json", "cases.jsonl", "status.json"])
def test_commands_that_read_a_damaged_run_end_with_one_line(
    run: Path, root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    random, good = Random(name), (run / name).read_bytes()
    for words in (["list", "runs"], ["score", run.name, "--workers", "local", "--metrics", "color_hist"]):
        for _ in range(3):
            (run / name).write_bytes(changed(good, random))
            status = main([*words, "--store", "store"])
            err = capsys.readouterr().err
            assert status in (0, 2, 3) and "Traceback" not in err, err
        (run / name).write_bytes(good)


def changed(data: bytes, random: Random) -> bytes:
    """JSON, or JSON lines, with other things in it, or its text damaged."""
    if random.random() < 0.4:
        return damaged(data, random)
    lines = data.splitlines() if data.count(b"\n{") else [data]
    at = random.randrange(len(lines))
    lines[at] = json.dumps(swapped(json.loads(lines[at]), random)).encode()
    return b"\n".join(lines)
