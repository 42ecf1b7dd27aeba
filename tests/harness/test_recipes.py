"""Shipped parts: what trains them, and the recipe beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import recipes
from harness.errors import UsageError
from harness.identity import digest_file
from harness.recipes import Figure, main, share


def toy(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    (folder / "weights.safetensors").write_bytes(bytes([seed]))
    return {"right": share([True, True, False, True])}


def broken(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    (folder / "half.safetensors").write_bytes(b"half")
    raise UsageError("the losses are not finite")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "world.json").write_text("{}")
    return tmp_path / "world"


def test_the_recipe_says_what_was_reached_and_what_the_files_are(world: Path, tmp_path: Path) -> None:
    recipes.train(toy, "toy", world, tmp_path / "out" / "toy", seed=3)
    said = json.loads((tmp_path / "out" / "toy" / "recipe.json").read_text())
    assert said["seed"] == 3 and said["part"] == "toy"
    assert said["figures"]["right"]["value"] == 0.75
    assert said["files"] == {"weights.safetensors": digest_file(tmp_path / "out" / "toy" / "weights.safetensors")}
    assert said["world"] == digest_file(world / "world.json")


def test_a_training_that_fails_leaves_nothing_behind(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not finite"):
        recipes.train(broken, "broken", world, tmp_path / "out" / "broken", seed=0)
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_are_there_are_not_written_over(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there already"):
        recipes.train(toy, "toy", world, world, seed=0)


def test_a_folder_that_is_no_world_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["toy", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main({"toy": f"{__name__}:toy"}, tmp_path, asked) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "anybench build tinyworld" in said and said.count("\n") == 1


def test_wilsons_interval_is_his() -> None:
    # Wilson's interval for 8 of 10, as statsmodels.stats.proportion.proportion_confint(8, 10, method="wilson") has it.
    figure = share([True] * 8 + [False] * 2)
    assert (figure.low, figure.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_a_share_lies_in_its_interval_and_the_interval_in_one(right: list[bool]) -> None:
    figure = share(right)
    assert 0 <= figure.low <= figure.value + 1e-12 and figure.value - 1e-12 <= figure.high <= 1
