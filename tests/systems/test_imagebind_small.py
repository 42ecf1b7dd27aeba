"""What a small ImageBind may have otherwise than the official one: a stem of convolutions, a shorter vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import imagebind_toys as toys
import pytest
import torch

from harness.errors import UsageError
from systems.imagebind.config import HUGE, ImageBindConfig, Sheet, Text, Vision, config_to_json, read_config
from systems.imagebind.loading import load, save
from systems.imagebind.model import ImageBind
from systems.imagebind.tokenizer import tokenize
from systems.tiny.pipelines import clip_tokenizer

STEMMED = ImageBindConfig(dimension=8, vision=Vision(16, 1, 2, picture=32, patch=8, frames=2, stem=(8, 16)))
TEXTS = [
    "a red striped fish on the beach",
    "",
    "Ünïcode &amp; ½ … 漢字",
    "a <|startoftext|> b",
    "can't 12 stop",
    *toys.TEXTS,
]


def test_convolutions_stand_between_the_picture_and_its_patches() -> None:
    state = ImageBind(STEMMED).state_dict()
    stem = "modality_preprocessors.vision.rgbt_stem.proj."
    assert {key.removeprefix(stem): tuple(tensor.shape) for key, tensor in state.items() if key.startswith(stem)} == {
        "1.0.weight": (8, 3, 1, 3, 3),
        "1.0.bias": (8,),
        "2.0.weight": (16, 8, 1, 3, 3),
        "2.0.bias": (16,),
        "3.weight": (16, 16, 2, 2, 2),
    }
    assert state["modality_preprocessors.vision.pos_embedding_helper.pos_embed"].shape == (1, 1 + 16, 16)


def test_a_tower_with_a_stem_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    model = ImageBind(STEMMED)
    save(model, tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    loaded = load(tmp_path, modalities=["vision"])
    assert loaded.config == STEMMED
    assert torch.equal(loaded.embed("vision", pixels), model.embed("vision", pixels))


def test_a_stem_sees_a_picture_alone_as_it_does_in_a_batch() -> None:
    model, pixels = ImageBind(STEMMED), torch.rand(3, 3, 32, 32)
    together = model.embed("vision", pixels)
    alone = torch.cat([model.embed("vision", one[None]) for one in pixels])
    torch.testing.assert_close(together, alone)


def test_a_still_clip_is_the_picture() -> None:
    model, pixels = ImageBind(STEMMED), torch.rand(2, 3, 32, 32)
    clips = pixels[:, None, :, None].expand(-1, 1, -1, 2, -1, -1)
    torch.testing.assert_close(model.embed("vision", clips), model.embed("vision", pixels))


@pytest.mark.parametrize(("height", "length"), [(128, 204), (65, 63), (64, 67)])
def test_convolutions_stand_before_the_patches_of_a_sheet_too(height: int, length: int, tmp_path: Path) -> None:
    """Odd sides are halved upwards, as the convolutions do it: there is a position for each patch, and none besides."""
    size = Sheet(16, 1, 2, height=height, length=length, patch=32, stride=16, stem=(8, 24))
    model = ImageBind(ImageBindConfig(dimension=8, audio=size))
    state = model.state_dict()
    stem = "modality_preprocessors.audio.rgbt_stem.proj."
    assert tuple(state[stem + "0.0.weight"].shape) == (8, 1, 3, 3)
    assert tuple(state[stem + "2.weight"].shape) == (16, 24, 8, 8)
    sheets = torch.rand(2, 3, 1, height, length)
    save(model, tmp_path)
    assert torch.equal(load(tmp_path, modalities=["audio"]).embed("audio", sheets), model.embed("audio", sheets))


@pytest.mark.parametrize(("patch", "stride"), [(32, 18), (18, 32)])
def test_patches_of_a_sheet_that_are_not_halved_evenly_are_refused(patch: int, stride: int) -> None:
    said = f"audio.patch is {patch} and audio.stride {stride}, which 2 convolutions do not halve evenly"
    with pytest.raises(UsageError, match=said):
        ImageBindConfig(dimension=8, audio=Sheet(16, 1, 2, patch=patch, stride=stride, stem=(8, 24)))


@pytest.mark.parametrize(
    ("vision", "said"),
    [
        (Vision(16, 1, 2, picture=32, patch=4, stem=(8, 8, 8)), "vision.patch is 4, which 3 convolutions do not halve"),
        (Vision(16, 1, 2, picture=32, patch=2, stem=(8, 8)), "vision.patch is 2, which 2 convolutions do not halve"),
        (Vision(16, 1, 2, picture=32, patch=8, stem=(0,)), "vision.stem is 0; 1 to 1048576 would do"),
    ],
)
def test_a_stem_that_does_not_fit_is_refused(vision: Vision, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(STEMMED, vision=vision)


@pytest.mark.parametrize("vocabulary", [513, 49409])
def test_a_vocabulary_beyond_the_merges_there_are_is_refused(vocabulary: int) -> None:
    with pytest.raises(UsageError, match=f"text.vocabulary is {vocabulary}; 514 to 49408 would do"):
        ImageBindConfig(dimension=8, text=Text(16, 1, 2, vocabulary=vocabulary))


def test_a_config_without_a_stem_is_read_as_the_official_one(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(config_to_json(HUGE).replace(',\n    "stem": []', ""))
    assert "stem" not in file.read_text() and read_config(file) == HUGE


def test_a_short_vocabulary_has_the_first_merges() -> None:
    """An independent implementation: transformers' CLIPTokenizer with 2,000 merges."""
    other = clip_tokenizer()
    texts = [text for text in TEXTS if text.isascii() and "<|" not in text and "&" not in text]
    assert len(texts) > 3
    for text, ids in zip(texts, tokenize(texts, 77, 2514).tolist(), strict=True):
        expected = other(text, truncation=True).input_ids
        assert ids[: len(expected)] == expected and not any(ids[len(expected) :])


@pytest.mark.parametrize("vocabulary", [514, 600, 2514])
def test_any_text_is_read_below_the_vocabulary_and_ends_with_its_largest_id(vocabulary: int) -> None:
    ids = tokenize(TEXTS, 77, vocabulary)
    assert (ids[:, 0] == vocabulary - 2).all() and (ids.max(dim=1).values == vocabulary - 1).all()
    assert all(row[row != 0][-1] == vocabulary - 1 for row in ids)


def test_the_whole_vocabulary_is_the_default_one() -> None:
    tokenize(TEXTS, 77, 600)
    assert torch.equal(tokenize(TEXTS), tokenize(TEXTS, 77, 49408))
    assert tokenize(["a"], 4).tolist() == [[49406, 320, 49407, 0]]
