"""MLflow as a view of the store: real SQLite files in a temporary folder, and addresses where nobody listens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.nouns import Result, Run, Selection, Summary
from harness.tracking import TrackingError, _safe, read_leaderboard, track, tracking_uri

ROOT = Path(__file__).parents[2]
SIGNATURE = "dino|v1|vits16:sha256=0a1b|256bicubic-crop224|fp32|all-refs|macro"


def summary(store: Path | str, **changes: Any) -> Summary:
    run = Run("dreambench", 1, "data-digest", "codi2", 2, "code-digest", "weights-digest", 7, {"guidance_scale": "7.5"})
    results = (
        Result("dino", "", 0.703, 0.65, 0.75, 11, 12, SIGNATURE, degenerate=3),
        Result("dino", "subject=dog, the 2nd", 0.7, None, None, 4, 4, SIGNATURE),
    )
    made = Summary(
        run_id="dreambench-codi2-7",
        store=str(store),
        run=run,
        checkpoint="org/codi2",
        selection=Selection(4),
        expected=12,
        planned=12,
        generated=11,
        failed=1,
        failures=(),
        degenerate={},
        absent=("subject cat",),
        results=results,
        table="codi2_t4_left",
        started="2026-01-02T03:04:05Z",
        provenance={"torch": "2.13.0"},
    )
    return replace(made, **changes)


def entries(store: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("anybench")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def sent_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        first = track(summary(store, results=(), checkpoint="an/older"), {"leaderboard.md": "old"})
        return store, first, track(summary(store), {"leaderboard.md": "| dino |"})


def test_sending_twice_leaves_one_entry_with_the_newer_values(sent_twice: tuple[Path, str, str]) -> None:
    store, first, second = sent_twice
    assert first == second and [entry.info.run_id for entry in entries(store)] == [first]
    assert read_leaderboard("dreambench", str(store)) == [summary(store)]
    artifacts = store / "mlartifacts" / first / "artifacts"
    assert (artifacts / "leaderboard.md").read_text() == "| dino |"
    assert json.loads((artifacts / "results.json").read_text())["checkpoint"] == "org/codi2"


def test_the_entry_holds_settings_provenance_and_every_result(sent_twice: tuple[Path, str, str]) -> None:
    (entry,) = entries(sent_twice[0])
    data = entry.data
    assert entry.info.status == "FINISHED" and entry.info.run_name == "dreambench-codi2-7"
    assert data.params["suite"] == "dreambench" and data.params["settings.guidance_scale"] == "7.5"
    assert data.params["seed"] == "7" and data.tags["anybench.weights"] == "weights-digest"
    assert data.tags["anybench.signature.dino"] == SIGNATURE and data.tags["anybench.state"] == "partial"
    assert data.tags["anybench.absent"] == "subject cat" and data.tags["anybench.provenance.torch"] == "2.13.0"
    group = "dino/group/subject:3d:dog:2c: the 2nd"
    assert data.metrics == {
        "dino": 0.703,
        "dino/low": 0.65,
        "dino/high": 0.75,
        "dino/scored": 11,
        "dino/expected": 12,
        "dino/degenerate": 3,
        group: 0.7,
        f"{group}/scored": 4,
        f"{group}/expected": 4,
        f"{group}/degenerate": 0,
    }


def test_the_leaderboard_of_another_suite_or_of_an_unused_store_is_empty(
    sent_twice: tuple[Path, str, str], tmp_path: Path
) -> None:
    assert read_leaderboard("coco", str(sent_twice[0])) == []
    assert read_leaderboard("", str(tmp_path)) == [] and not list(tmp_path.iterdir())


def test_secrets_reach_neither_params_nor_tags_nor_results(tmp_path: Path) -> None:
    settings = {"hf_token": "SECRET1", "api_key": "SECRET2", "max_new_tokens": "64", "monkey": "banana"}
    provenance = {
        "command": "anybench run --set hub.token=SECRET3 --store s3://me:SECRET4@bucket",
        "hub": "hf_SECRET5678",
    }
    run = replace(summary(tmp_path).run, settings=settings)
    track(summary(tmp_path, run=run, provenance=provenance), {})
    (entry,) = entries(tmp_path)
    (back,) = read_leaderboard("", str(tmp_path))
    assert "SECRET" not in str(entry.data.params) + str(entry.data.tags) + str(back)
    assert back.run.settings["max_new_tokens"] == "64" and back.run.settings["monkey"] == "banana"
    assert (
        back.run.settings["hf_token"].startswith("[redacted]")
        and "anybench run --set hub.token=" in back.provenance["command"]
    )


def test_more_values_than_one_call_takes_all_arrive(tmp_path: Path) -> None:
    results = tuple(Result("dino", f"case {i}", i / 1000, None, None, 1, 1, SIGNATURE) for i in range(400))
    run = replace(summary(tmp_path).run, settings={f"setting {i}": str(i) for i in range(150)})
    track(summary(tmp_path, run=run, results=results, provenance={f"package {i}": "1" for i in range(150)}), {})
    (entry,) = entries(tmp_path)
    assert len(entry.data.metrics) == 1600 and entry.data.params["settings.setting 149"] == "149"
    assert entry.data.tags["anybench.provenance.package 149"] == "1"


def test_an_entry_that_cannot_be_read_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = track(summary(tmp_path, run_id="broken"), {})
    track(summary(tmp_path, run_id="whole"), {})
    (tmp_path / "mlartifacts" / broken / "artifacts" / "results.json").write_text("{")
    assert [row.run_id for row in read_leaderboard("", str(tmp_path))] == ["whole"]
    assert "run broken left out" in caplog.text


@pytest.mark.parametrize("address", ["http://me:SECRET@127.0.0.1:9", "https://127.0.0.1:9"])
def test_a_server_that_is_down_costs_seconds_and_says_how_to_send_later(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    start = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        track(summary(tmp_path), {})
    message = str(caught.value)
    assert time.monotonic() - start < 10
    assert message.endswith("anybench track dreambench-codi2-7") and "\n" not in message and "SECRET" not in message


def test_an_address_that_mlflow_cannot_use_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    with pytest.raises(TrackingError, match=r"^MLflow at sqlite:.*anybench track dreambench-codi2-7$"):
        track(summary(tmp_path), {})


def test_processes_that_create_the_database_at_once_leave_one_quiet_entry(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/harness'); import test_tracking as t;t.track(t.summary(sys.argv[1]), {})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs == [b"", b""] and len(entries(tmp_path)) == 1


def test_the_database_stands_in_a_local_store_and_the_users_address_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri("store") == f"sqlite:///{tmp_path}/store/mlflow.db"
    assert tracking_uri(f"file://{tmp_path}/s") == f"sqlite:///{tmp_path}/s/mlflow.db"
    assert tracking_uri("s3://bucket/store") == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert tracking_uri("store") == "http://localhost:5000"


@given(st.text(min_size=1), st.text(min_size=1))
def test_unlike_names_stay_unlike_and_fit_mlflow(one: str, other: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(f"{_safe(one)}/group/{_safe(other)}/expected")  # type: ignore[no-untyped-call]
    assert (one == other) == (_safe(one) == _safe(other))


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = "import harness.tracking, sys; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_database_that_was_being_made_when_its_process_died_is_made_anew(tmp_path: Path) -> None:
    """MLflow's migrations, ended half-way, leave tables that the next one trips over."""
    (tmp_path / "mlflow.db.new").write_bytes(b"SQLite format 3\0 and half of the rest")
    (tmp_path / "mlflow.db.new-journal").write_bytes(b"half of a journal")
    track(summary(tmp_path), {})
    assert len(entries(tmp_path)) == 1
    assert list(tmp_path.glob("mlflow.db.new*")) == []


def test_a_database_that_would_vanish_with_a_ray_job_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match="would vanish with the Ray job; set MLFLOW_TRACKING_URI"):
        track(summary("s3://bucket/runs"), {})
    assert not list(tmp_path.iterdir())
