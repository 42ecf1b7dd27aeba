"""The drawn world from the repository alone: the truth, doing nothing and noise, in the order they must have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.store import Store
from harness.summary import read_summaries
from runners.cli import main
from runners.with_baselines import run_each_with_baselines, run_with_baselines

JUDGED = ("instruction_followed", "subject_kept", "rest_kept", "followed_and_kept")
HEARD = ("events_followed", "events_kept", "events_exact")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all suites, for making MLflow's tables takes longer than a run."""
    return tmp_path_factory.mktemp("store")


def flags(store: Path, metrics: Sequence[str], workers: str = "local") -> list[str]:
    return ["--system", "oracle", "--metrics", ",".join(metrics), "--workers", workers, "--store", str(store)]


def results(store: Path, suite: str) -> dict[str, dict[str, float]]:
    """By system and metric, the values over the whole suite."""
    return {
        one.run.system: {result.metric: result.value for result in one.results if not result.group}
        for one in read_summaries(Store.at(str(store)))
        if one.run.suite == suite
    }


def test_an_edit_is_followed_by_the_truth_alone_and_the_rest_kept_by_doing_nothing(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tiny-editing", *flags(store, (*JUDGED, "l1", "l1_target", "ssim_target"))]
    assert run_each_with_baselines((), ("noise", "copy_input"), words) == 0
    whole = results(store, "tiny-editing")
    assert all(whole["oracle"][metric] >= 0.95 for metric in JUDGED)
    assert whole["copy_input"]["instruction_followed"] == whole["copy_input"]["followed_and_kept"] == 0
    assert whole["copy_input"]["subject_kept"] >= 0.95 and whole["copy_input"]["rest_kept"] >= 0.95
    assert all(whole["noise"][metric] < 0.2 for metric in JUDGED)
    assert 0 == whole["copy_input"]["l1"] < whole["oracle"]["l1"] < whole["noise"]["l1"], "to the source"
    assert 0 == whole["oracle"]["l1_target"] < whole["copy_input"]["l1_target"] < whole["noise"]["l1_target"]
    assert 1 == whole["oracle"]["ssim_target"] > whole["copy_input"]["ssim_target"] > whole["noise"]["ssim_target"]
    board = capsys.readouterr().out.rpartition("tiny-editing v1: leaderboard")[2]
    assert board.index("oracle") < board.index("copy_input") < board.index("noise")


def test_a_sound_that_is_edited_is_heard_in_the_truth_alone(store: Path) -> None:
    words = ["tiny-audio", *flags(store, (*HEARD, "lsd_clean"))]
    assert run_with_baselines("tiny-audio", ("noise", "copy_input"), words) == 0
    whole = results(store, "tiny-audio")
    assert all(whole["oracle"][metric] >= 0.9 for metric in HEARD)
    # A copy follows only where the judge mishears, which is as seldom as it mishears the truth.
    assert whole["copy_input"]["events_followed"] <= 0.1 and whole["copy_input"]["events_exact"] <= 0.1
    assert whole["copy_input"]["events_kept"] >= 0.9
    assert whole["noise"]["events_exact"] == 0
    assert 0 == whole["oracle"]["lsd_clean"] < whole["copy_input"]["lsd_clean"] < whole["noise"]["lsd_clean"]


def test_a_conversation_in_which_nothing_is_shown_has_nothing_to_copy_but_has_a_truth_and_noise(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with_baselines("tiny-conversation", ("noise",), flags(store, JUDGED)) == 0
    whole = results(store, "tiny-conversation")
    assert whole["oracle"]["followed_and_kept"] >= 0.95 and whole["noise"]["followed_and_kept"] == 0
    words = ["run", "tiny-conversation", *flags(store, JUDGED)]
    words[words.index("oracle")] = "copy_input"
    main(words)
    assert "copy_input needs an input of modality image" in capsys.readouterr().err
    copied = results(store, "tiny-conversation")["copy_input"]
    assert copied["instruction_followed"] == 0, "of those that begin with a picture"


@pytest.mark.ray
@pytest.mark.heavy
def test_two_workers_give_what_this_process_gives(tmp_path: Path) -> None:
    """Heavy, as the way over Ray is that of every suite, which test_evaluation's interrupted run takes by default."""
    for workers in ("local", "2"):
        store = tmp_path / workers
        assert run_with_baselines("tiny-incontext", ("noise",), flags(store, JUDGED, workers)) == 0
    assert results(tmp_path / "2", "tiny-incontext") == results(tmp_path / "local", "tiny-incontext")
    assert results(tmp_path / "2", "tiny-incontext")["oracle"]["followed_and_kept"] >= 0.95
