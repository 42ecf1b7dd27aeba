"""What the language model sees of a medium: which of ImageBind's vectors, in which norm (docs/codi2.md, 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.media import Video, encode_audio, encode_video
from harness.nouns import Media
from systems.codi2.checkpoint import read_checkpoint
from systems.codi2.encoding import Encoder
from systems.imagebind.loading import load
from systems.imagebind.preprocessing import images

CLOSE = 1e-5
NORMS = ("unit", "released")
PHRASE = Media("text", text="a red fox")
Maker = Callable[[int], Media]


@pytest.fixture(scope="module")
def encoder(codi2_tiny: Path) -> Encoder:
    found = read_checkpoint(codi2_tiny)
    return Encoder(load(found.imagebind), found.description.reading)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    folder = tmp_path_factory.mktemp("photographs")

    def made(seed: int) -> Media:
        pixels = np.random.default_rng(seed).integers(0, 256, (32 + seed, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
        return Media("image", uri=str(folder / f"{seed}.png"))

    return made


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Media:
    """One second: its three clips are the same one, so that averaging them shortens nothing."""
    path = tmp_path_factory.mktemp("sounds") / "sound.flac"
    path.write_bytes(encode_audio(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000))
    return Media("audio", uri=str(path))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Media:
    """Of one colour: its views are all the same."""
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    path.write_bytes(encode_video(Video(np.full((8, 32, 48, 3), 90, np.uint8), 8.0, None, 0)))
    return Media("video", uri=str(path))


def read_as(encoder: Encoder, **reading: object) -> Encoder:
    return replace(encoder, reading=replace(encoder.reading, **reading))  # type: ignore[arg-type]


def norm(vectors: Tensor) -> float:
    (only,) = vectors
    return float(only.norm())


@pytest.mark.parametrize("norms", NORMS)
def test_a_picture_is_all_its_tokens_over_the_norm_of_the_class_token(
    encoder: Encoder, photograph: Maker, norms: str
) -> None:
    config = encoder.model.config.vision
    assert config is not None
    pixels = images([Image.open(photograph(1).uri)], config)
    with torch.no_grad():
        class_token, tokens = encoder.model.views("vision", pixels)[0, 0], encoder.model.image_tokens(pixels)[0]
    (vectors,) = read_as(encoder, input_norms=norms).encode([photograph(1)]).values()
    assert vectors.shape == (1 + (config.picture // config.patch) ** 2, encoder.model.config.dimension)
    assert torch.allclose(vectors, tokens / class_token.norm(), atol=CLOSE)
    assert float(vectors[0].norm()) == pytest.approx(1, abs=CLOSE)
    # The other tokens keep their length beside it.
    assert float((vectors[1:].norm(dim=-1) - 1).abs().max()) > 0.01


def test_a_picture_of_one_token_is_the_class_token_alone(encoder: Encoder, photograph: Maker) -> None:
    (whole,) = encoder.encode([photograph(1)]).values()
    (alone,) = read_as(encoder, image_tokens=1).encode([photograph(1)]).values()
    assert torch.equal(alone, whole[:1]) and len(whole) > 1


def test_in_unit_norms_a_sound_a_video_and_a_phrase_are_all_as_long_as_a_picture(
    encoder: Encoder, sound: Media, video: Media
) -> None:
    found = read_as(encoder, input_norms="unit").encode([sound, video, PHRASE])
    assert [norm(found[one]) for one in (sound, video, PHRASE)] == pytest.approx([1, 1, 1], abs=CLOSE)


def test_in_released_norms_they_are_as_imagebind_leaves_them(encoder: Encoder, sound: Media, video: Media) -> None:
    """20 is ImageBind's scale for sounds, 1 / 0.07 its scale for texts before any training (official code)."""
    released = read_as(encoder, input_norms="released").encode([sound, video, PHRASE])
    unit = read_as(encoder, input_norms="unit").encode([sound, video, PHRASE])
    expected = {sound: 20.0, video: 1.0, PHRASE: 1 / 0.07}
    for medium, length in expected.items():
        assert norm(released[medium]) == pytest.approx(length, rel=1e-4)
        assert torch.allclose(released[medium], length * unit[medium], rtol=1e-3, atol=1e-3)


def test_a_medium_is_encoded_once_and_alike_whatever_stands_beside_it(
    encoder: Encoder, photograph: Maker, sound: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [photograph(1), PHRASE, photograph(2), sound, photograph(1)]
    asked: list[int] = []
    image_tokens = type(encoder.model).image_tokens

    def counted(model: object, pixels: Tensor) -> Tensor:
        asked.append(len(pixels))
        return image_tokens(model, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(type(encoder.model), "image_tokens", counted)
    together = encoder.encode(batch)
    assert asked == [2]
    assert {*together} == {*batch}
    for medium, vectors in together.items():
        assert torch.allclose(vectors, encoder.encode([medium])[medium], atol=CLOSE)
        assert vectors.dtype == torch.float32
    assert not torch.allclose(together[photograph(1)], together[photograph(2)], atol=0.01)
