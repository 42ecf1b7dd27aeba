"""Data folders and folders of outputs with anything in them: listed, or refused in one line; no link leads out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from doors import Door, portions
from media_toys import picture, sound, tone
from mutations import STRANGE, damaged, strange

import benchmarks.dreambench as dreambench
from harness.inputs import media_of
from harness.nouns import Case, Item, Listing, Turn
from systems.files import Files, check

EMBEDDED = Path(__file__).parents[2] / "benchmarks/embedded/dreambench/dataset"
READERS = (dreambench.read_mini, dreambench.read, dreambench.read_single, dreambench.read_mini_photographs)
CASES = (
    Case("dog-1", (Turn((), ("image",)),)),
    Case("talk", (Turn((), ("text",)), Turn((), ("text", "audio")))),
)


@pytest.fixture
def data(root: Path) -> Path:
    """DreamBench's layout with three subjects; the photographs are empty, since nothing is decoded in a listing."""
    for subject in dreambench.MINI_SUBJECTS:
        (root / "data/dataset" / subject).mkdir(parents=True)
        for photograph in (EMBEDDED / subject).glob("*.jpg"):
            (root / "data/dataset" / subject / photograph.name).touch()
    shutil.copy(EMBEDDED / dreambench.PROMPTS, root / "data/dataset")
    (root / "outside").mkdir()
    (root / "outside/secret.png").write_bytes(picture("PNG"))
    return root / "data"


@pytest.mark.parametrize("count", portions("prompts"))
def test_a_damaged_prompts_file_is_read_or_refused_in_one_line(data: Path, root: Path, count: int) -> None:
    door, random, path = Door("prompts", root / "data"), Random("prompts"), data / "dataset" / dreambench.PROMPTS
    good = path.read_bytes()
    for number in range(count):
        path.write_bytes(damaged(good, random) if number else good.replace(b"\n", b"\r\n"))
        read = READERS[number % 4]
        door.knock(lambda read=read: read(str(data)), named=dreambench.PROMPTS)
    assert door.knocks == count and door.taken and door.refused


@pytest.mark.parametrize("count", portions("data folder"))
def test_a_data_folder_with_anything_in_it_is_listed_or_refused_in_one_line(data: Path, root: Path, count: int) -> None:
    door, random = Door("data folder", root / "place"), Random("folder")
    for number in range(count):
        shutil.rmtree(root / "place", ignore_errors=True)
        shutil.copytree(data, root / "place/data")
        for _ in range(random.choice((0, 1, 1, 2, 3))):
            meddle(root / "place/data", random)
        named = random.choice(
            ("place/data", "place/data/dataset", "place", str(root / "place/data"), "place/../place/data")
        )
        door.knock(lambda read=READERS[number % 4], named=named: inside(root / "place", read(named)))
    assert door.knocks == count and door.taken and door.refused
    assert (root / "outside/secret.png").read_bytes() == picture("PNG")


@pytest.mark.parametrize("count", portions("outputs"))
def test_a_folder_of_outputs_with_anything_in_it_is_answered_from_or_refused_in_one_line(
    data: Path, root: Path, count: int
) -> None:
    door, random = Door("outputs", root / "outputs"), Random("outputs")
    good = {"dog-1_0.png": picture("PNG"), "talk/0_0_0.txt": b"yes", "talk/0_1_0.txt": "ça".encode()}
    good["talk/0_1_1.flac"] = sound("FLAC", "PCM_16", tone(800))
    for _ in range(count):
        shutil.rmtree(root / "outputs", ignore_errors=True)
        for name, content in good.items():
            (root / "outputs" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "outputs" / name).write_bytes(damaged(content, random) if random.random() < 0.3 else content)
        for _ in range(random.choice((0, 0, 1, 2))):
            meddle(root / "outputs", random)
        door.knock(lambda: answered(root / "outputs"))
    assert door.knocks == count and door.taken and door.refused


def inside(root: Path, listing: Listing) -> None:
    """Whatever a listing names lies in the folder, links followed."""
    for case in listing.cases:
        for medium in media_of(case):
            assert not medium.uri or Path(os.path.realpath(medium.uri)).is_relative_to(root), medium.uri


def answered(folder: Path) -> None:
    """What `--system files` does with its folder."""
    check(str(folder), CASES, 1)
    Files(str(folder), "cpu").generate([Item(case, 0, seed=0) for case in CASES])


def meddle(folder: Path, random: Random) -> None:
    """Put something somewhere in the folder, or take something away."""
    places = sorted(path for path in folder.rglob("*") if not path.is_symlink())
    place = random.choice([*places, folder / "new"])
    MEDDLING[random.randrange(len(MEDDLING))](place, random)


def _remove(place: Path, random: Random) -> None:
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)


def _link(place: Path, random: Random) -> None:
    _remove(place, random)
    outside = os.path.abspath("outside/secret.png")
    place.symlink_to(random.choice((*[outside] * 5, "/etc/passwd", "/", ".", "..", "nowhere", place.name)))


def _folder(place: Path, random: Random) -> None:
    _remove(place, random)
    place.mkdir()


def _pipe(place: Path, random: Random) -> None:
    _remove(place, random)
    os.mkfifo(place)


def _rename(place: Path, random: Random) -> None:
    name = random.choice((strange(random, place.name), place.name.upper(), f"{place.stem}.PNG", f".{place.name}"))
    name = name.replace("/", "_").replace("\0", "_")
    encoded = name.encode("utf-8", "replace")[:100] + random.choice((b"", b"", b"\xff"))
    if place.exists() and encoded not in (b"", b".", b".."):
        os.rename(place, os.path.join(os.fsencode(place.parent), encoded))


def _file(place: Path, random: Random) -> None:
    _remove(place, random)
    place.write_text(random.choice(STRANGE).encode("utf-8", "replace").decode() * 3, "utf-8")


def _archive(place: Path, random: Random) -> None:
    _remove(place, random)
    place.write_bytes(b"PK\x03\x04" + random.randbytes(40))


MEDDLING: tuple[Callable[[Path, Random], None], ...] = (_remove, *[_link] * 3, _folder, _pipe, _rename, _file, _archive)
