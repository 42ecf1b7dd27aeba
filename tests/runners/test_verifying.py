"""`anybench verify`: kept answers against answers made in other batches and on other workers."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import verify_toys
from s3_server import S3Server
from toys import LENGTHS

import benchmarks
import metrics
import systems
from harness.generation import GenerationTask
from harness.nouns import Summary, Worker
from harness.pool import Batch, LocalPool, Outcome
from harness.store import Store
from runners import verification
from runners.cli import main
from runners.evaluation import evaluate
from runners.preparation import Request, prepare

# Prompt and seed, and the names of all in the batch: "c000-0" is 6 characters, and a space joins them.
TOGETHER = {1: 6, 4: 27, 8: 55}


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys stand in the catalogues."""
    tables = (benchmarks.SUITES, verify_toys.SUITES), (systems.SYSTEMS, verify_toys.SYSTEMS)
    for table, entries in (*tables, (metrics.METRICS, verify_toys.METRICS), (metrics.EXTRACTORS, {"lengths": LENGTHS})):
        for name, entry in entries.items():  # type: ignore[attr-defined]
            monkeypatch.setitem(table, name, entry)  # type: ignore[arg-type]


def run(tmp_path: Path, system: str, suite: str = "toy", **changes: Any) -> Summary:
    request = Request(suite, system, Store.at(str(tmp_path / "store")), data="anywhere")
    return evaluate(prepare(dataclasses.replace(request, **changes)), LocalPool())


def verify(tmp_path: Path, kept: Summary, *words: str, workers: str = "local", cases: int = 4) -> int:
    """`cases` 0: no --cases."""
    given = ["--cases", str(cases)] if cases else []
    return main(["verify", kept.run_id, "--store", str(tmp_path / "store"), "--workers", workers, *given, *words])


def held(tmp_path: Path, kept: Summary, cases: int = 4, workers: Sequence[int] = ()) -> verification.Kept:
    request = Request("", "", Store.at(str(tmp_path / "store")))
    return verification.read_kept(request, f"runs/{kept.run_id}", cases, workers)


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def by_condition(line: dict[str, Any]) -> dict[str, Any]:
    return {one["condition"]: one for one in line["conditions"]}


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(f.relative_to(folder)): (f.stat().st_ino, f.read_bytes()) for f in folder.rglob("*") if f.is_file()}


def test_answers_that_depend_on_their_seed_alone_are_the_same_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "echo")
    before = files(tmp_path / "store")
    assert verify(tmp_path, kept, "--json") == 0
    line = said(capsys)
    for size, one in zip((1, 8), line["conditions"], strict=True):
        assert (one["batch_size"], one["outputs"], one["identical"], one["media"]) == (size, 8, 8, {})
        (longer,) = one["metrics"]
        assert (longer["value"], longer["compared"], longer["expected"]) == (0.0, 8, 8)
    assert line["not_compared"] == []
    assert files(tmp_path / "store") == before, "neither the run nor anything else of the store is touched"


def test_answers_that_depend_on_their_neighbours_differ_by_what_the_neighbours_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "together")
    assert verify(tmp_path, kept, "--json") == 0
    for size, one in zip((1, 8), said(capsys)["conditions"], strict=True):
        assert (one["identical"], one["metrics"][0]["value"]) == (0, abs(TOGETHER[size] - TOGETHER[4]))
    assert verify(tmp_path, kept) == 0
    assert f"{TOGETHER[8] - TOGETHER[4]} (c0" in capsys.readouterr().out, "and the case it is of is named"


def test_pictures_are_compared_pixel_by_pixel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run(tmp_path, "crowded", "pictures")
    assert verify(tmp_path, kept, "--json", cases=8) == 0
    conditions = by_condition(said(capsys))
    assert conditions["one by one"]["media"] == {"image": 30.0}
    assert conditions["twice the batch"]["media"] == {"image": 40.0}
    assert [one["identical"] for one in conditions.values()] == [0, 0]


def test_a_condition_that_the_cases_are_too_few_for_is_not_compared_and_how_many_would_do_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "echo", batch_size=8)
    assert verify(tmp_path, kept, "--json", cases=1) == 3
    line = said(capsys)
    assert list(by_condition(line)) == ["one by one"]
    short = "takes 16 samples, and 2 were to be answered again; --cases 8 would do"
    assert line["not_compared"] == [f"twice the batch: {short}"]
    assert verify(tmp_path, kept, "--json", cases=8) == 0
    assert by_condition(said(capsys))["twice the batch"]["rebatched"] == 16


def test_more_workers_than_batches_are_not_compared(tmp_path: Path) -> None:
    kept = run(tmp_path, "echo", batch_size=8)
    found = verification.answer_again(held(tmp_path, kept, cases=4, workers=(2,)), lambda workers: LocalPool())
    assert [one.condition for one in found.verified] == ["one by one"]
    assert found.unmet == (
        "Ray workers: 2: takes 9 samples, and 8 were to be answered again; --cases 5 would do",
        "twice the batch: takes 16 samples, and 8 were to be answered again; --cases 8 would do",
    )


def test_workers_that_never_come_are_not_compared(tmp_path: Path) -> None:
    """A pool of one where two were asked for, as in a cluster that has no room."""
    kept = held(tmp_path, run(tmp_path, "echo"), cases=4, workers=(1, 2))
    found = verification.answer_again(kept, lambda workers: LocalPool(), patience=0.1)
    assert [one.condition for one in found.verified] == ["Ray workers: 1", "one by one", "twice the batch"]
    assert found.unmet == ("Ray workers: 2: only 1 of them gave answers",)


def test_as_many_cases_as_the_conditions_need_are_taken_where_no_number_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for together, cases in ((4, 8), (10, 10)):
        kept = run(tmp_path, "echo", batch_size=together)
        assert verify(tmp_path, kept, "--json", cases=0) == 0
        line = said(capsys)
        assert len(line["cases"]) == cases
        assert by_condition(line)["twice the batch"]["batch_size"] == 2 * together
        (tmp_path / "store").rename(tmp_path / f"store-{together}")


def test_a_run_that_is_too_small_for_a_condition_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run(tmp_path, "echo", batch_size=16)
    assert verify(tmp_path, kept, "--json", cases=0) == 3
    line = said(capsys)
    short = "takes 32 samples, and 24 were to be answered again; the run has only 12 cases"
    assert (list(by_condition(line)), line["not_compared"]) == (["one by one"], [f"twice the batch: {short}"])


def test_a_batch_that_the_memory_is_too_small_for_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "small")
    assert verify(tmp_path, kept, "--json") == 3
    line = said(capsys)
    assert list(by_condition(line)) == ["one by one"]
    assert line["not_compared"] == ["twice the batch: at most 4 were answered together, not 8"]


def test_of_a_run_that_was_answered_one_by_one_there_is_no_smaller_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "echo", batch_size=1)
    assert verify(tmp_path, kept, "--json") == 0
    line = said(capsys)
    assert list(by_condition(line)) == ["twice the batch"]
    assert line["notes"][1] == "a smaller batch not compared: the run was answered one by one."


def test_a_kept_picture_that_is_damaged_or_gone_is_named_once_and_the_rest_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "crowded", "pictures")
    damaged, gone = sorted((tmp_path / "store/runs" / kept.run_id / "media").iterdir())[:2]
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"different")
    gone.unlink()
    assert verify(tmp_path, kept, "--json", cases=8) == 3
    line = said(capsys)
    first, second = sorted(line["not_compared"], key=lambda one: str(gone) in one)
    assert f"the kept image: {damaged}: changed since its digest was taken" in first
    assert f"the kept image: {gone}: cannot be read: " in second
    assert [(one["outputs"], one["media"]) for one in line["conditions"]] == [
        (6, {"image": 30.0}),
        (6, {"image": 40.0}),
    ]


def test_case_ids_in_the_environment_or_a_config_file_are_for_run_and_not_for_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = run(tmp_path, "echo")
    monkeypatch.setenv("ANYBENCH_CASES", "c001,c002")
    (tmp_path / "run.yaml").write_text("cases: [c001, c002]\n")
    monkeypatch.setenv("ANYBENCH_CONFIG", str(tmp_path / "run.yaml"))
    assert verify(tmp_path, kept, "--json", cases=0) == 0
    assert len(said(capsys)["cases"]) == 8


def test_a_run_in_a_bucket_is_verified_there_and_nothing_is_left_behind(
    s3: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.at("s3://bucket/runs")
    kept = evaluate(prepare(Request("pictures", "crowded", store, data="anywhere")), LocalPool())
    bucket = fsspec.filesystem("s3")
    before = {name: entry["ETag"] for name, entry in bucket.find("bucket", detail=True).items()}
    assert main(["verify", kept.run_id, "--store", store.url, "--workers", "local", "--json"]) == 0
    assert by_condition(said(capsys))["one by one"]["media"] == {"image": 30.0}
    bucket.invalidate_cache()
    assert {name: entry["ETag"] for name, entry in bucket.find("bucket", detail=True).items()} == before


@pytest.mark.heavy
@pytest.mark.ray
def test_workers_on_ray_are_compared_one_and_two_and_both_of_two_have_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the two is ready long before the other, and would have answered everything by then."""
    kept = run(tmp_path, "late", settings={"turn": str(tmp_path / "turn")})
    assert verify(tmp_path, kept, "--json", workers="2") == 0
    conditions = by_condition(said(capsys))
    assert list(conditions) == ["Ray workers: 1", "Ray workers: 2", "one by one", "twice the batch"]
    assert [(one["workers"], one["identical"]) for one in conditions.values()] == [(1, 8), (2, 8), (0, 8), (0, 8)]


def test_the_page_shows_the_columns_that_are_printed(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verify(tmp_path, run(tmp_path, "crowded", "pictures"))
    (printed,) = re.findall(r"^condition .*$", capsys.readouterr().out, re.MULTILINE)
    page = (repository / "docs/verify.md").read_text()
    (shown,) = re.findall(r"^condition .*$", page, re.MULTILINE)
    assert re.split("  +", shown) == [*re.split("  +", printed), "color_hist"]
    explained = re.findall(r"^\| `(.*?)` \|", page.partition("| column |")[2], re.MULTILINE)
    assert explained == re.split("  +", printed)[1:]


def test_the_same_cases_are_taken_every_time_and_they_are_not_the_first_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "echo")
    taken = []
    for _ in range(2):
        verify(tmp_path, kept, "--json")
        taken.append(said(capsys)["cases"])
    assert taken[0] == taken[1] == sorted(taken[0])
    assert len(taken[0]) == 4 and taken[0] != ["c000", "c001", "c002", "c003"]


def test_a_case_whose_kept_answer_is_an_error_is_named_and_the_rest_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "echo", "failing")
    assert verify(tmp_path, kept, "--cases", "6", "--json") == 3
    captured = capsys.readouterr()
    line = json.loads(captured.out.splitlines()[-1])
    error = "the kept answer is an error: ValueError: cannot say 'raise now' ("
    first, second = line["not_compared"]
    assert first.startswith(f"case bad, sample 0: {error}") and second.startswith(f"case bad, sample 1: {error}")
    assert f"not compared: case bad, sample 0: {error}" in captured.err
    assert [one["identical"] for one in line["conditions"]] == [10, 10]


def test_a_case_that_fails_only_now_is_named_with_its_condition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "shy")
    assert verify(tmp_path, kept, "--json") == 3
    line = said(capsys)
    alone, doubled = line["conditions"]
    assert (alone["outputs"], alone["metrics"][0]["value"], doubled["identical"]) == (0, None, 8)
    assert line["not_compared"][0].partition("failed this time: ")[2].startswith("ValueError: too few (verify_toys.py:")
    assert "one by one: metric longer: 8 of 8 scores have no counterpart" in line["not_compared"]
    assert all(one.startswith("one by one: ") for one in line["not_compared"])


def test_scores_that_are_no_longer_kept_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run(tmp_path, "echo")
    (tmp_path / "store/runs" / kept.run_id / "scores/longer.parquet").unlink()
    assert verify(tmp_path, kept, "--json") == 3
    assert "one by one: metric longer: 8 of 8 scores have no counterpart" in said(capsys)["not_compared"]


def test_a_checkpoint_that_was_overwritten_cannot_be_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "weights"
    checkpoint.write_text("one")
    kept = run(tmp_path, "weighed", checkpoint=str(checkpoint))
    assert verify(tmp_path, kept) == 0
    checkpoint.write_text("two")
    assert verify(tmp_path, kept) == 2
    assert f"what made it has changed: checkpoint {checkpoint} was " in capsys.readouterr().err


def test_a_system_whose_code_changed_cannot_be_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownsystem.py").write_text("from toys import Echo\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(systems.SYSTEMS, "own", dataclasses.replace(verify_toys.ECHO, build="ownsystem:Echo"))  # type: ignore[arg-type]
    kept = run(tmp_path, "own")
    (tmp_path / "ownsystem.py").write_text("from toys import Echo as Echo\n")
    assert verify(tmp_path, kept) == 2
    assert "has changed: the code of system own was " in capsys.readouterr().err


def test_another_version_of_suite_or_system_and_other_cases_cannot_be_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = run(tmp_path, "echo")
    with monkeypatch.context() as patch:
        patch.setitem(benchmarks.SUITES, "toy", "verify_toys:NEWER")  # type: ignore[arg-type]
        patch.setitem(systems.SYSTEMS, "echo", dataclasses.replace(verify_toys.ECHO, version=3))  # type: ignore[arg-type]
        assert verify(tmp_path, kept) == 2
    line = "the version of suite toy was 1 and is 2; the version of system echo was 1 and is 3\n"
    assert capsys.readouterr().err.endswith(line)
    cases = tmp_path / "store/runs" / kept.run_id / "cases.jsonl"
    cases.write_text(cases.read_text().replace("prompt 3", "prompt 4"))
    assert verify(tmp_path, kept) == 2
    assert "the run's own cases.jsonl was " in capsys.readouterr().err


def test_a_secret_setting_is_given_again_and_must_be_the_runs_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "keyed", settings={"api_key": "s3cret"})
    assert verify(tmp_path, kept) == 2
    line = "setting api_key is a secret, which the store does not hold; pass it once more by --set"
    assert line in capsys.readouterr().err
    assert verify(tmp_path, kept, "--set", "api_key=other") == 2
    assert "--set api_key: not the run's own ([redacted]" in capsys.readouterr().err
    assert verify(tmp_path, kept, "--set", "api_key=s3cret") == 0
    assert verify(tmp_path, kept, "--set", "api_key=s3cret", "--set", "pause=1") == 2
    assert "--set pause: not the run's own (which has no such setting)" in capsys.readouterr().err


def test_scores_are_made_with_the_weights_of_the_kept_ones_or_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(metrics.EXTRACTORS, "lengths", verify_toys.WEIGHED_LENGTHS)  # type: ignore[arg-type]
    own, other = tmp_path / "own.safetensors", tmp_path / "other.safetensors"
    own.write_text("own")
    other.write_text("other")
    kept = run(tmp_path, "echo", weights={"lengths": str(own)})
    assert verify(tmp_path, kept, "--weights", f"lengths={own}") == 0
    assert verify(tmp_path, kept, "--weights", f"lengths={other}") == 2
    assert "metric longer: kept scores and this machine's differ in extractor and weights: " in capsys.readouterr().err
    assert verify(tmp_path, kept, "--json") == 3
    line = said(capsys)
    assert [one["identical"] for one in line["conditions"]] == [8, 8], "answers need no weights of ours"
    assert [one.split(":")[0] for one in line["not_compared"]] == ["not scored"]


def test_a_metric_without_a_kept_score_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run(tmp_path, "echo")
    assert verify(tmp_path, kept, "--metrics", "color_hist") == 2
    assert "metric color_hist: the run has no score of it; make one: anybench score" in capsys.readouterr().err


def test_what_this_machine_or_system_does_not_have_is_said_and_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run(tmp_path, "at-home")
    assert verify(tmp_path, kept, "--json", workers="2") == 0
    line = said(capsys)
    assert list(by_condition(line)) == ["one by one", "twice the batch"]
    assert line["notes"] == [
        "other workers not compared: system at-home stays in this process.",
        "other devices not compared: one device (cpu).",
    ]


class Watching(LocalPool):
    """Takes down how many GPUs the system is to have."""

    gpus: ClassVar[list[float]] = []

    def map(self, task: Any, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        if isinstance(task, GenerationTask):
            self.gpus.append(task.worker.gpus)
        return super().map(task, batches, worker)


def test_where_there_is_a_gpu_the_cpu_is_a_condition_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: what is looked at is which conditions there would be, and that the system is then kept off it."""
    summary = run(tmp_path, "echo")
    monkeypatch.setattr(verification, "pick_device", lambda worker: "cuda")
    assert not any(one.off_gpu for one in held(tmp_path, summary, workers=(1,)).conditions)
    monkeypatch.setitem(systems.SYSTEMS, "echo", dataclasses.replace(verify_toys.ECHO, gpus=1))  # type: ignore[arg-type]
    kept = held(tmp_path, summary, workers=(1,))
    (on_cpu,) = [one for one in kept.conditions if one.off_gpu]
    kept = dataclasses.replace(kept, conditions=(on_cpu,))
    (verified,) = verification.answer_again(kept, lambda workers: Watching()).verified
    assert (verified.condition, verified.devices, verified.agreement.identical) == ("on the CPU", ("cpu",), 8)
    assert Watching.gpus == [0.0]


def test_answers_made_again_are_removed_when_it_is_interrupted(tmp_path: Path) -> None:
    kept = run(tmp_path, "echo")
    before = files(tmp_path / "store")

    def pool_of(workers: int) -> LocalPool:
        if len(files(tmp_path / "store")) > len(before):
            raise KeyboardInterrupt
        return LocalPool()

    with pytest.raises(KeyboardInterrupt):
        verification.answer_again(held(tmp_path, kept), pool_of)
    assert files(tmp_path / "store") == before
