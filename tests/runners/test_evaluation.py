"""Whole runs of dreambench-mini, in this process, with the metric that needs no weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import benchmarks.dreambench
from harness.errors import UsageError
from harness.generation import GENERATIONS
from harness.nouns import Summary
from harness.pool import LocalPool
from harness.ray_pool import RayPool
from harness.store import Store, StoreError, Table
from harness.summary import json_line, read_summaries, read_summary
from runners.evaluation import describe, evaluate, rescore
from runners.preparation import Request, prepare


def request(tmp_path: Path, **changes: object) -> Request:
    base = Request("dreambench-mini", "copy_input", Store.at(str(tmp_path / "store")), metrics=("color_hist",))
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def run(tmp_path: Path, **changes: object) -> Summary:
    return evaluate(prepare(request(tmp_path, **changes)), LocalPool())


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(f.relative_to(folder)): (f.stat().st_ino, f.stat().st_size) for f in folder.rglob("*") if f.is_file()}


def test_a_whole_suite_is_answered_scored_and_summarised(tmp_path: Path) -> None:
    summary = run(tmp_path)
    assert (summary.expected, summary.planned, summary.generated, summary.failed) == (300, 300, 300, 0)
    assert summary.complete and not summary.absent
    assert {one.group for one in summary.results} == {
        "", "subject=berry_bowl", "subject=dog6", "subject=vase", "kind=object", "kind=live",
    }  # fmt: skip
    assert read_summary(Store.at(summary.store), f"runs/{summary.run_id}") == summary


def test_a_second_run_generates_nothing_and_changes_no_row(tmp_path: Path) -> None:
    first = run(tmp_path)
    folder = tmp_path / "store/runs" / first.run_id
    before = files(folder / "generations") | files(folder / "media") | files(folder / "features")
    second = run(tmp_path)
    assert second == dataclasses.replace(first, started=second.started, provenance=second.provenance)
    assert json.loads((folder / "status.json").read_text())["stage"] == "complete"
    assert files(folder / "generations") | files(folder / "media") | files(folder / "features") == before


def test_ten_cases_are_a_prefix_of_the_whole(tmp_path: Path) -> None:
    part = run(tmp_path, limit="10")
    assert (part.planned, part.generated, part.complete, part.absent) == (40, 40, False, ())
    assert part.results[0].scored == 40 and part.results[0].expected == 300
    whole = run(tmp_path)
    alone = run(tmp_path / "alone")
    assert whole.run_id == part.run_id == alone.run_id
    assert whole.results == alone.results


@pytest.mark.parametrize(("limit", "cases"), [("1", 1), ("0.1", 8), ("1.0", 75), ("1000", 75)])
def test_a_limit_is_a_number_of_cases_or_a_fraction(tmp_path: Path, limit: str, cases: int) -> None:
    assert len(prepare(request(tmp_path, limit=limit)).scoring.planned) == cases


@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "0.0", "ten", "nan", "."])
def test_a_limit_that_is_neither_is_refused(tmp_path: Path, limit: str) -> None:
    with pytest.raises(UsageError, match=f"--limit {limit}: a number of cases from 1, or a fraction"):
        prepare(request(tmp_path, limit=limit))


def test_named_cases_alone_are_run(tmp_path: Path) -> None:
    summary = run(tmp_path, cases=("vase-03",), batch_size=4)
    assert (summary.planned, summary.generated) == (4, 4)
    with pytest.raises(UsageError, match="no case named 'vase-3'; did you mean vase-"):
        prepare(request(tmp_path, cases=("vase-3",)))


def test_what_changes_an_answer_is_another_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(Path(__file__).parents[2] / "benchmarks/embedded/dreambench", data)
    names = {
        prepare(request(tmp_path, data=str(data))).scoring.folder,
        prepare(request(tmp_path, data=str(data), seed=1)).scoring.folder,
        prepare(request(tmp_path, data=str(data), system="oracle")).scoring.folder,
    }
    Image.new("RGB", (64, 64), "red").save(data / "dataset/vase/00.jpg")
    names.add(prepare(request(tmp_path, data=str(data))).scoring.folder)
    assert len(names) == 4


def test_a_damaged_photograph_stops_the_run_with_its_name_before_anything_is_answered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(Path(__file__).parents[2] / "benchmarks/embedded/dreambench", data)
    photograph = data / "dataset/vase/02.jpg"
    photograph.write_bytes(photograph.read_bytes()[:5000])
    with pytest.raises(UsageError, match=r"vase/02\.jpg"):
        run(tmp_path, data=str(data))


def test_weights_that_are_not_there_are_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    summary = run(tmp_path, metrics=("color_hist", "dino", "fid-tiny"), limit="2", offline=True)
    assert [one.metric for one in summary.results if not one.group] == ["color_hist"]
    assert len(summary.absent) == 2
    assert summary.absent[0].startswith("not scored: dino: weights of dino-vits16: facebook/dino-vits16")
    assert "anybench init inception-tiny" in summary.absent[1]


def test_weights_at_a_path_that_is_not_there_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        prepare(request(tmp_path, metrics=("dino",), weights={"dino-vits16": str(tmp_path / "nowhere")}))


def test_a_metric_whose_parts_no_case_has_is_named_as_not_scored(tmp_path: Path) -> None:
    summary = run(tmp_path, system="oracle", metrics=("color_hist", "clip_t-tiny"), offline=True)
    assert "not scored: clip_t-tiny: no case has the parts it looks at" in summary.absent
    assert not summary.complete
    assert [one.metric for one in summary.results if not one.group] == ["color_hist"]


def test_failed_samples_are_tried_again_one_by_one(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    photograph = Path(__file__).parents[2] / "benchmarks/embedded/dreambench/dataset/vase/00.jpg"
    for name in [f"vase-00_{sample}.jpg" for sample in (0, 1, 3)]:
        shutil.copy(photograph, outputs / name)
    asked = request(tmp_path, system="files", checkpoint=str(outputs), cases=("vase-00",))
    prepared = prepare(asked)
    ended = evaluate(prepared, LocalPool())
    assert ended.failed == 1
    assert ended.failures[0].startswith("case vase-00, sample 2: no file vase-00_2.*")
    shutil.copy(photograph, outputs / "vase-00_2.jpg")
    again = dataclasses.replace(prepared, request=dataclasses.replace(asked, retry_failed=True))
    assert describe(again)["to answer"] == "1 samples in 1 batches"


@pytest.mark.parametrize("same", [{"limit": "1.0"}, {"limit": "75"}, {"limit": "900"}])
def test_an_equal_selection_is_equal_however_it_is_written(tmp_path: Path, same: dict[str, str]) -> None:
    assert prepare(request(tmp_path, **same)).scoring.selection == prepare(request(tmp_path)).scoring.selection
    named = prepare(request(tmp_path, cases=("vase-01", "vase-00"))).scoring.selection
    assert named == prepare(request(tmp_path, cases=("vase-00", "vase-01"))).scoring.selection
    assert prepare(request(tmp_path, limit="0.4")).scoring.selection.limit == "30"


def test_a_run_that_never_ended_is_not_scored_and_one_that_ended_smaller_does_not_hide_it(tmp_path: Path) -> None:
    first = run(tmp_path, limit="2")
    store, folder = Store.at(first.store), f"runs/{first.run_id}"
    store.remove(f"{folder}/summary.json")
    with pytest.raises(StoreError, match=r"summary\.json: cannot be read"):
        rescore(request(tmp_path), folder, LocalPool())
    assert run(tmp_path, limit="2") == dataclasses.replace(first, started=read_summary(store, folder).started)


@pytest.mark.parametrize("name", ["run.json", "cases.jsonl"])
def test_a_damaged_file_of_the_run_is_named_and_written_anew(tmp_path: Path, name: str) -> None:
    first = run(tmp_path, limit="2")
    store, folder = Store.at(first.store), f"runs/{first.run_id}"
    store.write(f"{folder}/{name}", store.read(f"{folder}/{name}")[:50])
    with pytest.raises(StoreError, match=f"{name}: damaged.*; the run's own line writes"):
        rescore(request(tmp_path), folder, LocalPool())
    run(tmp_path, limit="2")
    assert rescore(request(tmp_path), folder, LocalPool()).results == first.results


def test_a_metric_that_scored_less_than_was_expected_keeps_the_run_from_being_complete(tmp_path: Path) -> None:
    whole = run(tmp_path)
    assert whole.complete
    less = dataclasses.replace(whole.results[0], scored=whole.results[0].scored - 1)
    assert not dataclasses.replace(whole, results=(less, *whole.results[1:])).complete


def test_a_defect_of_the_data_is_said_of_the_cases_it_touches_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(Path(__file__).parents[2] / "benchmarks/embedded/dreambench", data)
    (data / "dataset/vase/05.jpg").unlink()
    touched = run(tmp_path, data=str(data), cases=("vase-00",))
    untouched = run(tmp_path, data=str(data), cases=("dog6-00",))
    assert len(touched.absent) == 1 and touched.absent[0].startswith("subject vase: ")
    assert untouched.absent == ()


def test_what_was_not_scored_stays_said_when_other_metrics_are_asked_for(tmp_path: Path) -> None:
    first = run(tmp_path, metrics=("color_hist", "fid-tiny"))
    assert len(first.absent) == 1
    second = run(tmp_path, metrics=("color_hist",))
    assert second.absent == (), "this command asked for nothing that is absent"
    stored = read_summary(Store.at(second.store), f"runs/{second.run_id}")
    assert stored.absent == first.absent and not stored.complete


@pytest.mark.parametrize("damage", ["{}", "not json", ""])
def test_a_damaged_summary_is_named_hides_no_other_run_and_is_written_anew(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, fine = run(tmp_path), run(tmp_path, seed=1)
    store = Store.at(damaged.store)
    store.write(f"runs/{damaged.run_id}/summary.json", damage.encode())
    assert [one.run_id for one in read_summaries(store)] == [fine.run_id]
    assert "summary.json: damaged, or of another version" in capsys.readouterr().err
    assert run(tmp_path).results == damaged.results
    assert len(read_summaries(store)) == 2


def test_a_run_is_rescored_without_generating(tmp_path: Path) -> None:
    first = run(tmp_path, limit="4")
    media = tmp_path / "store/runs" / first.run_id / "generations"
    before = files(media)
    again = rescore(request(tmp_path, metrics=("color_hist",)), f"runs/{first.run_id}", LocalPool())
    assert again.results == first.results
    assert files(media) == before


def test_a_run_under_way_is_not_joined_by_a_second_process(tmp_path: Path) -> None:
    prepared = prepare(request(tmp_path))
    store = prepared.scoring.store
    with store.lock(prepared.scoring.folder), pytest.raises(StoreError, match="another process is working on this run"):
        evaluate(prepared, LocalPool())


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    said = describe(prepare(request(tmp_path, limit="10")))
    assert said["cases"] == "10 of 75, 4 samples each"
    assert said["to answer"] == "40 samples in 5 batches"
    assert not (tmp_path / "store").exists()


def test_the_json_line_is_the_documented_object(tmp_path: Path) -> None:
    summary = run(tmp_path, limit="1")
    said = json.loads(json_line(summary))
    assert list(said) == ["run", "store", "suite", "system", "complete", "failed", "degenerate", "scores"]
    assert (said["complete"], said["failed"]) == (False, 0)
    fields = ["metric", "group", "value", "low", "high", "scored", "expected", "signature", "degenerate", "references"]
    assert all(list(one) == fields for one in said["scores"])


def test_copying_the_input_scores_one_where_the_input_is_the_only_reference(tmp_path: Path, shared: Path) -> None:
    summary = run(tmp_path, suite="dreambench-single", data=str(shared / "data"))
    assert summary.results[0].value == pytest.approx(1.0, abs=1e-6)
    assert (summary.results[0].scored, summary.results[0].expected) == (2100, 3000)
    assert sum("no folder" in line for line in summary.absent) == 9
    assert not summary.complete


@pytest.mark.ray
def test_a_run_killed_half_way_goes_on_with_another_number_of_workers_to_identical_scores(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runners.cli", "run", "dreambench-mini", "--system", "copy_input"]
    command += ["--metrics", "color_hist", "--workers", "2", "--batch-size", "1", "--store", str(tmp_path / "store")]
    started = subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[2])
    folder = tmp_path / "store/runs" / prepare(request(tmp_path)).scoring.folder.removeprefix("runs/")
    deadline = time.monotonic() + 60
    while len(list((folder / "generations").glob("*.parquet"))) < 150:
        assert started.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.002)
    signal_group(started)
    kept = len(Table(Store.at(str(tmp_path / "store")), f"runs/{folder.name}/generations", GENERATIONS).read())
    assert 150 <= kept < 300
    pool = RayPool(workers=1)
    try:
        resumed = evaluate(prepare(request(tmp_path, batch_size=1)), pool)
    finally:
        pool.close()
    alone = run(tmp_path / "alone", batch_size=1)
    assert resumed.results == alone.results
    assert resumed.complete


def signal_group(process: subprocess.Popen[bytes]) -> None:
    """kill -9 the driver and all it started."""
    import os

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cluster": "subjekt"}, "no case has the tag 'subjekt'; they have: "),
        ({"groups": ("subject", "nope")}, "no case has the tag 'nope'"),
        ({"size": 74}, "75 cases were found, and its size is 74; raise its size"),
    ],
)
def test_a_suite_that_does_not_fit_its_own_cases_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    unfit = dataclasses.replace(benchmarks.dreambench.DREAMBENCH_MINI, **changes)  # type: ignore[arg-type]
    monkeypatch.setattr(benchmarks.dreambench, "DREAMBENCH_MINI", unfit)
    with pytest.raises(UsageError, match=said):
        prepare(request(tmp_path))
