"""`anybench build tinyworld`: the same bytes each time, listed, and there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.tinyworld.building import build
from benchmarks.tinyworld.plans import CasePlan
from benchmarks.tinyworld.suites import EDITING
from benchmarks.tinyworld.training import Plan
from harness.drawn_world import read_world
from harness.errors import UsageError
from harness.identity import digest_file
from runners.cli import main

SETS = (Plan("training", 1, "training", groups=2, stems=1, mixtures=4),)
FEW = CasePlan(1, 2, 1, 1, 1, 1, 0, 0, 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "world"
    built = build(out, 5, 1, SETS, FEW)
    assert built.stems == {"training": 16} and built.cases["test"]["tiny-editing"] == 6
    return out


def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    build(tmp_path / "again", 5, 1, SETS, FEW)
    files = sorted(file.relative_to(world) for file in world.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(tmp_path / "again") for file in (tmp_path / "again").rglob("*.*"))
    assert all((world / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def test_every_file_is_listed_with_its_length_and_digest(world: Path) -> None:
    listed = [json.loads(line) for line in (world / "manifest.jsonl").read_text().splitlines()]
    files = {str(file.relative_to(world)) for file in world.rglob("*.*")} - {"manifest.jsonl"}
    assert {one["path"] for one in listed} == files
    for one in listed:
        file = world / one["path"]
        assert (one["bytes"], one["sha256"]) == (file.stat().st_size, digest_file(file))


def test_sets_and_cases_are_read_from_the_folder_and_both_splits_are_there(world: Path) -> None:
    assert len(read_world(world, "training").stems) == 16
    held_out = EDITING.read(str(world)).cases
    validation = EDITING.read(str(world / "validation-cases")).cases
    assert len(held_out) == len(validation) == 6
    assert [case.tags["subject"] for case in held_out] != [case.tags["subject"] for case in validation]


def test_what_is_said_of_the_world_holds_its_seed_and_no_time_or_path(world: Path) -> None:
    said = json.loads((world / "world.json").read_text())
    assert {key for key, value in said.items() if isinstance(value, str | int)} == {"format", "version", "seed"}
    assert (said["format"], said["version"], said["seed"]) == ("anybench-tinyworld", 1, 5)


def test_a_folder_that_is_there_is_refused_before_anything_is_drawn(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="there already"):
        build(world, 0, 1, SETS, FEW)
    assert main(["build", "tinyworld", "--out", str(world)]) == 2
    assert "there already" in capsys.readouterr().err


def test_a_seed_whose_stems_would_meet_those_of_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--seed 10000: 0 to 9999 would do"):
        build(tmp_path / "world", 10_000, 1)
