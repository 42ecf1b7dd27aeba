"""Things in the place of DreamBench's data folder that are none, or have no end."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

import benchmarks.dreambench as dreambench
from harness.errors import UsageError


def one_line(data: Path) -> str:
    with pytest.raises(UsageError) as caught:
        dreambench.read_mini(str(data))
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_an_archive_in_the_place_of_the_folder_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "dreambench.zip", "w") as archive:
        archive.writestr("../outside.txt", "written elsewhere")
        archive.writestr("dataset/prompts_and_classes.txt", "")
    assert one_line(tmp_path / "dreambench.zip").endswith(
        "dreambench.zip: a file, where the data folder is expected; unpack an archive first"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["dreambench.zip"]


def test_a_prompts_file_without_end_is_read_as_far_as_the_published_one_could_go(own: Path) -> None:
    path = own / "prompts_and_classes.txt"
    with path.open("r+b") as file:
        file.truncate(1 << 36)  # 64 GiB of nothing, on the disk a few blocks
        file.write(b"x" * 4000)
    assert one_line(own).startswith(f"{path}: not the published file")


@pytest.mark.parametrize("name", ["Dataset", "DATASET"])
def test_a_name_in_other_letters_is_another_name(own: Path, name: str) -> None:
    own.rename(own.parent / name)
    assert "no DreamBench in it; expected dreambench/dataset/" in one_line(own.parent)


@pytest.mark.parametrize("name", ["VASE", "Vase"])
def test_a_subject_in_other_letters_is_a_stranger(own: Path, name: str) -> None:
    (own / "vase").rename(own / name)
    assert one_line(own).startswith(f"{own / name}: not a subject of prompts_and_classes.txt")


def test_a_pipe_in_the_place_of_a_photograph_is_not_waited_for(own: Path) -> None:
    (own / "vase/00.jpg").unlink()
    os.mkfifo(own / "vase/00.jpg")
    assert one_line(own).startswith(f"{own / 'vase/00.jpg'}: not a photograph of DreamBench")


def test_a_folder_in_the_place_of_the_prompts_is_no_layout(own: Path) -> None:
    (own / "prompts_and_classes.txt").unlink()
    (own / "prompts_and_classes.txt").mkdir()
    assert "no DreamBench in it" in one_line(own)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "\u202edrawkcab", "💥"])
def test_a_name_that_means_something_to_a_terminal_is_spelled(own: Path, name: str) -> None:
    shutil.copytree(own / "vase", own / name)
    assert "not a subject of prompts_and_classes.txt" in one_line(own)
