"""What is remembered of a small world: each thing by itself, by what is asked, and by all that was said before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.tinyworld import attributes
from benchmarks.tinyworld.training import Plan, write_set
from harness import identity
from harness.drawn_world import ATTRIBUTES, RATE, World, read_world
from harness.errors import UsageError
from harness.media import decode, encode_audio, encode_image
from harness.nouns import Case, Item, Media, Modality, Output, Turn
from systems.nearest_training import Memory, NearestTraining


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_set(Plan("training", 1, "training", groups=12, stems=1, mixtures=3), folder / "training", 0, processes=1)
    said = {name: getattr(attributes, f"{name.upper()}S") for name in ATTRIBUTES}
    said |= {"events": attributes.EVENTS, "where": attributes.WHERE, "heard": attributes.HEARD}
    (folder / "world.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def world(data: Path) -> World:
    return read_world(data, "training")


@pytest.fixture(scope="module")
def nearest(data: Path, tmp_path_factory: pytest.TempPathFactory) -> NearestTraining:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return NearestTraining(str(data), "cpu")


@pytest.fixture
def shown(world: World, tmp_path: Path) -> Callable[[int], Media]:
    """A training picture as an input, by its row."""

    def picture(row: int) -> Media:
        file = tmp_path / f"{row}.png"
        file.write_bytes(encode_image(Image.fromarray(world.pixels[row])))
        return Media("image", uri=str(file))

    return picture


def text(words: str) -> Media:
    return Media("text", text=words)


def turn(*inputs: Media, wants: tuple[Modality, ...] = ("image",)) -> Turn:
    return Turn(inputs, wants)


def answers(system: NearestTraining, *turns: Turn) -> list[list[Output]]:
    return system.generate([Item(Case("fish-1", turns), sample=0, seed=1)])[0]


def pixels(output: Output) -> NDArray[np.uint8]:
    assert output.modality == "image" and isinstance(output.data, bytes)
    return np.asarray(decode(output.data, "an answer"))


def test_a_training_picture_is_answered_with_itself_to_the_pixel(
    nearest: NearestTraining, world: World, shown: Callable[[int], Media]
) -> None:
    for row in (0, 7, len(world.pixels) - 1):
        ((found,),) = answers(nearest, turn(shown(row)))
        assert np.array_equal(pixels(found), world.pixels[row])


def test_stems_and_their_sums_are_remembered_to_the_sample(
    nearest: NearestTraining, world: World, tmp_path: Path
) -> None:
    mixture = world.mixtures[1]
    for number, rows in enumerate(((3,), (mixture.kept, mixture.first), (mixture.kept, mixture.second))):
        sound = world.stems[list(rows)].astype(np.float64).sum(0) / 32768
        (tmp_path / f"{number}.flac").write_bytes(encode_audio(sound, RATE))
        given = Media("audio", uri=str(tmp_path / f"{number}.flac"))
        ((found,),) = answers(nearest, turn(given, wants=("audio",)))
        assert found == Output("audio", (tmp_path / f"{number}.flac").read_bytes())


def test_a_caption_finds_its_picture_and_a_picture_its_caption(
    nearest: NearestTraining, world: World, shown: Callable[[int], Media]
) -> None:
    right = 0
    for row in range(0, len(world.pixels), 4):
        caption = world.pictures[row].caption
        ((drawn, said),) = answers(nearest, turn(text(caption), wants=("image", "text")))
        assert said == Output("text", caption)
        ((described,),) = answers(nearest, turn(shown(row), wants=("text",)))
        same = [one for one, picture in zip(world.pixels, world.pictures, strict=True) if picture.caption == caption]
        right += described.data == caption and any(np.array_equal(pixels(drawn), one) for one in same)
    assert right >= 0.9 * len(range(0, len(world.pixels), 4)), "each among a hundred that differ by one attribute"


def test_what_is_asked_of_a_picture_moves_the_answer_away_from_it(
    nearest: NearestTraining, world: World, shown: Callable[[int], Media]
) -> None:
    """Of a group, whose pictures differ by one attribute, the one whose caption is added is chosen."""
    group = [row for row, picture in enumerate(world.pictures) if picture.group == 0]
    found = [answers(nearest, turn(shown(group[0]), text(world.pictures[row].caption)))[0][0] for row in group[1:]]
    assert not all(np.array_equal(pixels(one), world.pixels[group[0]]) for one in found)


def test_a_conversation_is_looked_for_as_a_whole_with_its_own_answers(
    nearest: NearestTraining, world: World, shown: Callable[[int], Media]
) -> None:
    last = len(world.pixels) - 1
    (first,), (second,) = answers(nearest, turn(shown(0)), turn(shown(last)))
    assert np.array_equal(pixels(first), world.pixels[0])
    assert np.array_equal(pixels(second), world.pixels[0]), "shown once and answered once outweighs what is shown now"
    ((alone,),) = answers(nearest, turn(shown(last)))
    assert np.array_equal(pixels(alone), world.pixels[last])


def test_neighbours_in_a_batch_change_nothing(nearest: NearestTraining, shown: Callable[[int], Media]) -> None:
    items = [Item(Case(f"fish-{row}", (turn(shown(row)),)), 0, row) for row in (1, 2, 3)]
    assert nearest.generate(items) == [nearest.generate([one])[0] for one in items]


def test_of_equally_close_ones_the_first_is_answered() -> None:
    rows = torch.tensor([[0.0, 1.0], [0.6, 0.8], [0.6000001, 0.8], [0.8, 0.6]])
    memory = Memory(rows, lambda row: Output("text", str(row)))
    assert memory.closest(torch.tensor([6.0, 8.0])) == 1
    assert memory.closest(torch.tensor([0.6000001, 0.8])) == 1
    assert memory.closest(torch.tensor([8.0, 6.0])) == 3


def test_a_world_is_embedded_once_and_nothing_is_written_into_it(
    data: Path, shown: Callable[[int], Media], capsys: pytest.CaptureFixture[str]
) -> None:
    before = identity.digest_tree(data)
    once = answers(NearestTraining(str(data), "cpu"), turn(shown(5)))
    assert "embedding" in capsys.readouterr().err
    assert answers(NearestTraining(str(data), "cpu"), turn(shown(5))) == once
    assert capsys.readouterr().err == ""
    assert identity.digest_tree(data) == before


def test_what_is_kept_and_damaged_is_named(data: Path, shown: Callable[[int], Media]) -> None:
    answers(NearestTraining(str(data), "cpu"), turn(shown(5)))
    (kept,) = (identity.cache_folder() / "nearest_training").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(UsageError, match=rf"^{kept}: damaged; remove it, and it is made again$"):
        answers(NearestTraining(str(data), "cpu"), turn(shown(5)))


def test_what_it_cannot_answer_is_named(nearest: NearestTraining, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^case fish-1 wants video; nearest_training answers with pictures, sounds"):
        answers(nearest, turn(text("a red fish"), wants=("video",)))
    with pytest.raises(UsageError, match=r"^case fish-1: nearest_training needs an input to look for; the turn has no"):
        answers(nearest, turn())
    with pytest.raises(UsageError, match=r"no drawn world: world.json is not there; make one with `anybench build tin"):
        NearestTraining(str(tmp_path), "cpu")


def test_another_encoder_than_the_one_it_was_made_for_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("systems.nearest_training.ENCODER", "0" * 64)
    with pytest.raises(UsageError, match="not the ImageBind that nearest_training was made for"):
        NearestTraining(str(data), "cpu")
