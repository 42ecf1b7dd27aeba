"""Whole runs on an `s3://` store, from a server in this process: what a local store gives, with no disk in common."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from s3_server import S3Server

from harness import lease
from harness.generation import GENERATIONS
from harness.nouns import Summary, Worker
from harness.pool import Batch, LocalPool, Outcome, Pool, Task
from harness.ray_pool import RayPool
from harness.store import Store, StoreError, Table
from harness.summary import read_summary
from runners.cli import main
from runners.evaluation import evaluate, rescore
from runners.preparation import Prepared, Request, prepare

URL = "s3://bucket/team/runs"
EMBEDDED = Path(__file__).parents[2] / "benchmarks/embedded/dreambench"
MINI = ("run", "dreambench-mini", "--workers", "local", "--metrics", "color_hist", "--system", "copy_input")


def prepared(store: str, **changes: object) -> Prepared:
    request = Request("dreambench-mini", "copy_input", Store.at(store), metrics=("color_hist",))
    return prepare(dataclasses.replace(request, **changes))  # type: ignore[arg-type]


def run(store: str, **changes: object) -> Summary:
    return evaluate(prepared(store, **changes), LocalPool())


@dataclass
class ElsewherePool:
    """Another pool's workers, on machines that do not have the data folder: it is gone before the first begins."""

    pool: Pool
    data: Path

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        shutil.rmtree(self.data, ignore_errors=True)
        yield from self.pool.map(task, batches, worker)

    def close(self) -> None:
        self.pool.close()


def test_a_whole_suite_gives_what_it_gives_on_a_disk(s3: S3Server, tmp_path: Path) -> None:
    far, near = run(URL), run(str(tmp_path / "store"))
    assert far.complete and far.generated == 300
    assert (far.run_id, far.results) == (near.run_id, near.results)
    rows = [Table(Store.at(one.store), f"runs/{one.run_id}/generations", GENERATIONS).read() for one in (far, near)]
    assert [(row["case"], row["sample"], row["outputs"]) for row in rows[0]] == [
        (row["case"], row["sample"], row["outputs"]) for row in rows[1]
    ]


def test_a_shard_is_one_put_and_listings_do_not_grow_with_the_batches(s3: S3Server) -> None:
    few = run(URL, limit="5", batch_size=20)
    lists = s3.count("GET", "list-type=2")
    s3.asked.clear()
    many = run(f"{URL}-2", limit="5", batch_size=2)
    assert few.results == many.results
    assert s3.count("PUT", "/generations/") == 10 + 1, "a PUT a batch, and one for all of them at the end"
    assert s3.count("GET", "list-type=2") <= lists < 40
    s3.asked.clear()
    run(f"{URL}-2", limit="5", batch_size=2)
    assert s3.count("PUT", "/generations/") == s3.count("PUT", "/media/") == s3.count("PUT", "/inputs/") == 0


def test_workers_need_nothing_but_the_store(s3: S3Server, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(EMBEDDED, data)
    away = evaluate(prepared(URL, data=str(data), limit="5"), ElsewherePool(LocalPool(), data))
    assert not data.exists() and away.generated == 20 and away.failed == 0
    assert away.results == run(str(tmp_path / "store"), limit="5").results


@pytest.mark.ray
def test_ray_workers_need_nothing_but_the_store(s3: S3Server, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(EMBEDDED, data)
    pool = ElsewherePool(RayPool(workers=2), data)
    try:
        far = evaluate(prepared(URL, data=str(data), limit="20"), pool)
    finally:
        pool.close()
    assert far.generated == 80 and far.failed == 0 and not data.exists()
    assert far.results == run(str(tmp_path / "store"), limit="20").results
    assert s3.count("PUT", "/generations/") == 10 + 1


@pytest.mark.heavy
@pytest.mark.ray
def test_a_run_killed_half_way_goes_on_to_identical_scores(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    command = [
        sys.executable,
        "-m",
        "runners.cli",
        *MINI,
        "--workers",
        "2",
        "--batch-size",
        "1",
        "--limit",
        "20",
        "--store",
        URL,
    ]
    started = subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while s3.count("PUT", "/generations/") < 30:
        assert started.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    again = prepared(URL, batch_size=1, limit="20")
    kept = len(again.scoring.generations.read())
    assert 30 <= kept < 80
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.5)
    s3.asked.clear()
    resumed = evaluate(again, LocalPool())
    assert resumed.generated == 80
    assert s3.count("PUT", "/generations/") == 80 - kept + 1, "what was stored is not answered again"
    assert resumed.results == run(str(tmp_path / "store"), batch_size=1, limit="20").results


def test_a_run_under_way_is_not_joined_by_a_second_process(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.3)
    first = prepared(URL)
    held = first.scoring.store.lock(first.scoring.folder)
    with held, pytest.raises(StoreError, match="another process is working on this run"):
        evaluate(prepared(URL), LocalPool())


def test_every_command_works_on_it(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYBENCH_STORE", URL)
    assert main([*MINI, "--limit", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["store"] == URL and said["scores"]
    name = said["run"]
    assert main(["list", "runs"]) == 0 and name in capsys.readouterr().out
    assert main(["score", name[:6], "--metrics", "color_hist", "--workers", "local", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["scores"] == said["scores"]
    assert main(["track", name]) == 0
    assert f"sent to sqlite:///{tmp_path}/mlflow.db" in capsys.readouterr().out
    assert main(["leaderboard", "dreambench-mini"]) == 0 and "copy_input" in capsys.readouterr().out
    assert main(["table", "codi2_t4_left", "--run", name]) == 0 and "copy_input" in capsys.readouterr().out
    assert main([*MINI, "--limit", "4", "--dry-run"]) == 0
    assert "8 samples in 1 batches" in capsys.readouterr().out
    assert main(["doctor"]) in (0, 3)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("cache", "aws")) == [
        "mlartifacts", "mlflow.db", "mlflow.db.lock",
    ], "nothing of the run is on this disk"  # fmt: skip


@pytest.mark.parametrize("asked", [MINI, ("list", "runs")])
@pytest.mark.parametrize("wrong", ["bucket", "credentials", "access", "server"])
def test_a_store_that_cannot_be_used_is_one_line_within_seconds(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str, asked: Sequence[str]
) -> None:
    if wrong == "credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    if wrong == "access":
        s3.refusal = lambda environ: ("403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>No</Message></Error>")
    if wrong == "server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    start = time.monotonic()
    assert main([*asked, "--store", "s3://nowhere/runs" if wrong == "bucket" else URL]) == 2
    assert time.monotonic() - start < 30
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("anybench: s3://")


def test_another_backend_of_fsspec_does_as_well(tmp_path: Path) -> None:
    url = f"memory:/{tmp_path}/runs"
    far = run(url, limit="3")
    assert far.generated == 12
    assert far.results == run(str(tmp_path / "store"), limit="3").results
    again = rescore(prepared(url).request, f"runs/{far.run_id}", LocalPool())
    assert again.results == read_summary(Store.at(url), f"runs/{far.run_id}").results == far.results
