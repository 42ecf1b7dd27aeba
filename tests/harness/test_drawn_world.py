"""The drawn world as whoever trains in it reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tinyworld import attributes
from benchmarks.tinyworld.training import Plan, write_set
from harness.drawn_world import ATTRIBUTES, read_world
from harness.errors import UsageError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_set(Plan("test", 3, "test", groups=6, stems=2, mixtures=5), folder / "test", seed=0, processes=1)
    said = {name: getattr(attributes, f"{name.upper()}S") for name in ATTRIBUTES}
    said |= {"events": attributes.EVENTS, "where": attributes.WHERE, "heard": attributes.HEARD}
    (folder / "world.json").write_text(json.dumps(said))
    return folder


def test_pictures_of_a_group_differ_from_its_first_by_what_the_table_says(world: Path) -> None:
    test = read_world(world, "test")
    firsts = {picture.group: picture for picture in test.pictures if not picture.change}
    changed = [picture for picture in test.pictures if picture.change]
    assert len(firsts) == 6 and len(changed) >= 12
    for picture in changed:
        first = firsts[picture.group]
        assert {name for name in ATTRIBUTES if picture.values[name] != first.values[name]} == {picture.change}
        assert picture.pose == first.pose


def test_arrays_have_the_rows_of_their_tables(world: Path) -> None:
    test = read_world(world, "test")
    assert test.pixels.shape == (len(test.pictures), 64, 64, 3) and test.pixels.dtype == np.uint8
    assert test.stems.shape == (32, 32000) and test.stems.dtype == np.int16
    assert test.stem_events[:3] == ("bell", "bell", "whistle")
    assert test.classes("shape").max() < len(test.attributes["shape"])
    for mixture in test.mixtures:
        assert max(mixture.kept, mixture.first, mixture.second) < 32


def test_a_folder_that_is_no_world_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="anybench build tinyworld"):
        read_world(tmp_path, "training")


@pytest.mark.parametrize("file", ["pictures.csv", "pictures.npz", "stems.csv", "stems.npz"])
def test_a_damaged_set_is_named(world: Path, tmp_path: Path, file: str) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "world.json").write_bytes((world / "world.json").read_bytes())
    for one in (world / "test").iterdir():
        data = one.read_bytes()
        (tmp_path / "test" / one.name).write_bytes(data[: len(data) // 2] if one.name == file else data)
    with pytest.raises(UsageError, match=r"test: damaged: .*; build the world again"):
        read_world(tmp_path, "test")
