"""The baselines get the flags that all runs share, and none that is the system's own."""

from __future__ import annotations

import pytest

from runners import with_baselines
from runners.with_baselines import run_each_with_baselines, run_with_baselines, without_own

BOUNDS = ("copy_input", "oracle")
FLAGS = [
    *("--system", "codi2", "--checkpoint=org/name", "--set", "steps=5", "--set=dtype=float32"),
    *("--data", "/data", "--store", "/kept", "--limit", "3"),
]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run; the run of copy_input ends with 3, that of codi2 with 4."""
    said: list[list[str]] = []

    def main(words: list[str]) -> int:
        said.append(words)
        return 3 if "copy_input" in words else 4 if "codi2" in words else 0

    monkeypatch.setattr(with_baselines, "main", main)
    return said


def test_what_is_the_systems_own_is_left_out() -> None:
    assert without_own(FLAGS) == ["--data", "/data", "--store", "/kept", "--limit", "3"]


def test_the_system_comes_last_so_that_its_json_line_does_and_then_the_table(commands: list[list[str]]) -> None:
    assert run_with_baselines("audioset-editing", BOUNDS, FLAGS) == 4
    shared = ["--data", "/data", "--store", "/kept", "--limit", "3"]
    assert commands == [
        ["run", "audioset-editing", *FLAGS, "--dry-run"],
        ["run", "audioset-editing", "--system", "copy_input", *shared, "--checkpoint", ""],
        ["run", "audioset-editing", "--system", "oracle", *shared, "--checkpoint", ""],
        ["run", "audioset-editing", *FLAGS],
        ["table", "codi2_t5", "--store", "/kept"],
    ]


def test_another_suite_may_be_named_and_json_prints_no_table(commands: list[list[str]]) -> None:
    run_with_baselines("audioset-editing", BOUNDS, ["coco-editing", "--system", "codi2", "--json"])
    assert [words[:2] for words in commands] == [["run", "coco-editing"]] * 4


def test_flags_that_the_system_does_not_take_are_said_before_any_baseline_runs(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_baselines, "main", lambda words: commands.append(words) or 2)
    assert run_with_baselines("audioset-editing", BOUNDS, FLAGS) == 2
    assert len(commands) == 1


def test_no_table_follows_a_suite_that_answers_none(commands: list[list[str]]) -> None:
    run_with_baselines("coco-editing", BOUNDS, ["coco-editing-pfb", "--system", "codi2"])
    assert [words[:2] for words in commands] == [["run", "coco-editing-pfb"]] * 4


def test_each_of_several_suites_is_run_beside_the_bounds_and_has_its_leaderboard(commands: list[list[str]]) -> None:
    given = ["--system", "codi2", "--store", "/kept"]
    assert run_each_with_baselines(("tiny-editing", "tiny-audio"), BOUNDS, given) == 4
    assert [words[1] for words in commands] == ["tiny-editing"] * 5 + ["tiny-audio"] * 5
    assert commands[4] == ["leaderboard", "tiny-editing", "--store", "/kept"]


def test_one_of_several_suites_may_be_named_and_json_prints_no_leaderboard(commands: list[list[str]]) -> None:
    run_each_with_baselines(("tiny-editing", "tiny-audio"), BOUNDS, ["tiny-audio", "--system", "codi2", "--json"])
    assert [words[:2] for words in commands] == [["run", "tiny-audio"]] * 4


@pytest.mark.parametrize("flag", ["--no-such-flag", "--help"])
def test_what_is_refused_and_help_are_said_once_and_not_for_each_suite(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr(with_baselines, "main", lambda words: commands.append(words) or 2)
    assert run_each_with_baselines(("tiny-editing", "tiny-audio"), BOUNDS, [flag]) == 2
    assert len(commands) == 1
