"""DreamBench's data folder: where it may lie, what may be absent from it, and the one line for what is wrong in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import benchmarks.dreambench as dreambench
from harness.errors import UsageError
from harness.nouns import Case

EMBEDDED = Path(__file__).parents[2] / "benchmarks" / "embedded" / "dreambench"


def one_line(data: Path) -> str:
    """The message of the UsageError that reading `data` as dreambench-mini raises."""
    with pytest.raises(UsageError) as caught:
        dreambench.read_mini(str(data))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(case: Case, part: str) -> list[str]:
    return [Path(media.uri).name for media in case.turns[0].parts[part]]


def test_the_three_ways_to_name_the_data_read_the_same(published: Path) -> None:
    folders = (published, published / "dreambench", published / "dreambench" / "dataset")
    first, *others = (dreambench.read(str(folder)) for folder in folders)
    assert others == [first, first]


def test_a_relative_folder_is_read_as_the_absolute_one(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published)
    assert dreambench.read(".") == dreambench.read("dreambench") == dreambench.read(str(published))


def test_the_shared_data_has_21_subjects_and_names_the_9_others(shared: Path) -> None:
    listing = dreambench.read(str(shared / "data"))
    assert len({case.tags["subject"] for case in listing.cases}) == 21
    assert len(listing.cases) == 21 * 25
    assert [line.split(":")[0].removeprefix("subject ") for line in listing.absent] == (
        ["backpack_dog", "cat2", "dog5", "dog8", "fancy_boot", "red_cartoon", "robot_toy", "teapot", "wolf_plushie"]
    )


def test_an_absent_subject_is_named_with_the_folder_it_should_have(own: Path) -> None:
    absent = dreambench.read(str(own)).absent
    assert len(absent) == 27
    assert f"subject robot_toy: no folder dataset/robot_toy in {own.parent}" in absent


def test_a_subject_with_a_photograph_too_few_runs_and_is_named(own: Path) -> None:
    (own / "vase" / "03.jpg").unlink()
    listing = dreambench.read_mini(str(own))
    assert listing.absent == (f"subject vase: 5 photographs in {own / 'vase'}, 6 are published",)
    assert len(listing.cases) == 75
    assert names(listing.cases[-1], "reference") == ["00.jpg", "01.jpg", "02.jpg", "04.jpg", "05.jpg"]


def test_a_subject_with_a_photograph_too_many_runs_and_is_named(own: Path) -> None:
    shutil.copy(own / "vase" / "00.jpg", own / "vase" / "06.jpg")
    listing = dreambench.read_mini(str(own))
    assert listing.absent == (f"subject vase: 7 photographs in {own / 'vase'}, 6 are published",)
    assert len(listing.cases[-1].turns[0].parts["reference"]) == 7


def test_an_empty_subject_folder_has_no_cases_and_is_named(own: Path) -> None:
    for path in (own / "vase").iterdir():
        path.unlink()
    listing = dreambench.read_mini(str(own))
    assert listing.absent == (f"subject vase: 0 photographs in {own / 'vase'}, 6 are published",)
    assert {case.tags["subject"] for case in listing.cases} == {"berry_bowl", "dog6"}
    assert dreambench.read_single(str(own)).absent[-2] == listing.absent[0]


def test_the_single_suite_runs_on_a_folder_pruned_to_the_kept_photographs(own: Path) -> None:
    for path in (own / "vase").iterdir():
        if path.name != "02.jpg":
            path.unlink()
    listing = dreambench.read_single(str(own))
    assert not any("subject vase:" in line for line in listing.absent)
    assert len(listing.cases) == 75


def test_the_single_suite_names_a_subject_whose_kept_photograph_is_missing(own: Path) -> None:
    (own / "vase" / "02.jpg").unlink()
    listing = dreambench.read_single(str(own))
    assert f"subject vase: the kept photograph 02.jpg is not in {own / 'vase'}" in listing.absent
    assert {case.tags["subject"] for case in listing.cases} == {"berry_bowl", "dog6"}


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert one_line(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: no such data folder"


def test_a_folder_without_the_layout_is_one_line_that_says_which_is_expected(tmp_path: Path) -> None:
    message = one_line(tmp_path)
    assert message.startswith(f"{tmp_path}: no DreamBench in it; expected dreambench/dataset/prompts_and_classes.txt")


def test_a_layout_without_any_subject_is_one_line(tmp_path: Path) -> None:
    shutil.copy(EMBEDDED / "dataset" / "prompts_and_classes.txt", tmp_path)
    assert one_line(tmp_path) == f"{tmp_path}: no photographs of any subject; expected berry_bowl/00.jpg and so on"


def test_a_name_too_long_for_the_file_system_is_one_line(tmp_path: Path) -> None:
    assert "File name too long" in one_line(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("vase,vase\n", ""),
        ("vase,vase\n", "vase,vase\nmydog,dog\n"),
        ("vase,vase\n", "vase,jar\n"),
        ("'a {0} {1} wearing a santa hat'.format(unique_token, class_token),\n", ""),
        ("santa hat", "straw hat"),
    ],
)
def test_a_changed_prompts_file_is_one_line(own: Path, before: str, after: str) -> None:
    path = own / "prompts_and_classes.txt"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    assert one_line(own).startswith(f"{path}: not the published file of 30 subjects")


def test_a_prompts_file_that_is_not_text_is_one_line(own: Path) -> None:
    path = own / "prompts_and_classes.txt"
    path.write_bytes(b"\xff\xfe\x00" * 100)
    assert one_line(own).startswith(f"{path}: not the published file")


def test_line_endings_of_another_system_change_nothing(own: Path) -> None:
    before = dreambench.read_mini(str(own))
    path = own / "prompts_and_classes.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert dreambench.read_mini(str(own)) == before


def test_a_folder_that_is_no_subject_is_one_line(own: Path) -> None:
    (own / "mydog").mkdir()
    assert one_line(own) == (f"{own / 'mydog'}: not a subject of prompts_and_classes.txt; move it out of the data set")


@pytest.mark.parametrize("name", ["notes.txt", "IMG_1.jpg", "00.JPG", "06.png"])
def test_an_unexpected_file_in_a_subject_folder_is_one_line(own: Path, name: str) -> None:
    (own / "vase" / name).write_text("not a photograph")
    assert one_line(own).startswith(f"{own / 'vase' / name}: not a photograph of DreamBench")


def test_a_folder_in_the_place_of_a_photograph_is_one_line(own: Path) -> None:
    (own / "vase" / "06.jpg").mkdir()
    assert one_line(own).startswith(f"{own / 'vase' / '06.jpg'}: not a photograph of DreamBench")


def test_hidden_entries_and_files_beside_the_subjects_are_ignored(own: Path) -> None:
    before = dreambench.read_mini(str(own))
    (own / ".cache").mkdir()
    (own / "vase" / ".DS_Store").write_text("")
    (own / "notes.txt").write_text("")
    assert dreambench.read_mini(str(own)) == before


@pytest.mark.parametrize("place", ["vase/06.jpg", "vase", "."])
def test_a_link_that_leaves_the_data_folder_is_refused(own: Path, tmp_path: Path, place: str) -> None:
    link, outside = own / place, tmp_path / "outside"
    if link.exists():
        link.rename(outside)
    else:
        outside.write_bytes((own / "vase" / "00.jpg").read_bytes())
    link.symlink_to(outside)
    message = one_line(own.parent)
    assert message.startswith(f"{link}: a link that leaves the data folder {own.parent}")


def test_a_link_that_stays_in_the_data_folder_is_read(own: Path) -> None:
    (own.parent / "elsewhere").mkdir()
    (own / "vase" / "00.jpg").rename(own.parent / "elsewhere" / "vase.jpg")
    (own / "vase" / "00.jpg").symlink_to(own.parent / "elsewhere" / "vase.jpg")
    assert dreambench.read_mini(str(own.parent)).absent == ()


def test_a_data_folder_reached_by_a_link_is_read(own: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(own.parent)
    assert dreambench.read_mini(str(tmp_path / "link")) == dreambench.read_mini(str(own.parent))


def test_nothing_is_decoded_when_a_data_folder_is_listed(own: Path) -> None:
    (own / "vase" / "00.jpg").write_bytes(b"")
    assert len(dreambench.read_mini(str(own)).cases) == 75
