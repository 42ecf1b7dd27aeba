"""ImageBind agrees with the official implementation: recorded figures of it, from weights that follow from their names.

What the figures are and how they were made stands in imagebind_official.json under "made". Our code gave the very same
bits where they were recorded; 1e-5 leaves room for other processors.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import imagebind_toys as toys
import numpy as np
import pytest
import torch

from harness.media import read_audio
from harness.nouns import Media
from systems.imagebind.config import HUGE
from systems.imagebind.fbank import fbank
from systems.imagebind.model import ImageBind
from systems.imagebind.preprocessing import images, sounds, videos
from systems.imagebind.tokenizer import tokenize

OFFICIAL = json.loads(Path(__file__).with_name("imagebind_official.json").read_text(encoding="utf-8"))
RELATIVE = 1e-5
NAMES = tuple(OFFICIAL["model"])
REAL = next(name for name in OFFICIAL["sounds"] if name.endswith(".flac"))


@cache
def small() -> ImageBind:
    model = ImageBind(toys.SMALL)
    toys.fill(model)
    return model


def difference(ours: torch.Tensor, official: Any) -> float:
    """The largest distance of a vector from the official one, over the length of that."""
    theirs = torch.tensor(official)
    assert ours.shape == theirs.shape
    return float(((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max())


def assert_same(tensor: torch.Tensor, official: Any) -> None:
    """Every projection of the two, and every number that is looked at, agrees to 1e-5 of what it is about."""
    assert list(tensor.shape) == official["shape"]
    ours, theirs = np.array(toys.figures(tensor)), np.array(official["figures"])
    # A projection of N numbers of this size on N uniform ones has about this size.
    size = float(tensor.double().norm()) * 12**-0.5
    assert np.abs(ours - theirs)[:4].max() < RELATIVE * size
    assert np.abs(ours - theirs)[4:].max() < RELATIVE * float(tensor.abs().max())


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_embeddings_are_the_official_ones(name: str) -> None:
    modality, inputs = toys.inputs()[name]
    assert difference(small().embed(modality, inputs), OFFICIAL["model"][name]["embeddings"]) < RELATIVE


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_features_before_normalisation_are_what_the_official_heads_give(name: str) -> None:
    modality, inputs = toys.inputs()[name]
    official = OFFICIAL["model"][name]["views"]
    assert difference(small().views(modality, inputs), official) < RELATIVE
    mean = torch.tensor(official).mean(dim=1).tolist()
    assert difference(small().embed(modality, inputs, normalize=False), mean) < RELATIVE


@torch.inference_mode()
def test_image_tokens_are_the_official_head_on_every_token() -> None:
    _, pictures = toys.inputs()["picture"]
    tokens = small().image_tokens(pictures)
    assert tokens.shape == (2, 50, 32)
    official = OFFICIAL["image_tokens"]
    assert difference(tokens[:, official["rows"]], official["tokens"]) < RELATIVE


@pytest.mark.parametrize("samples", toys.SOUNDS)
def test_sounds_are_transformed_as_officially(samples: int) -> None:
    assert HUGE.audio
    signal = toys.sound(samples)
    assert_same(sounds([signal], HUGE.audio)[0], OFFICIAL["sounds"][str(samples)])
    assert_same(fbank(torch.from_numpy(signal), 128), OFFICIAL["banks"][str(samples)])


def test_silence_is_transformed_as_officially() -> None:
    assert HUGE.audio
    silence = np.zeros(50000, np.float32)
    assert_same(sounds([silence], HUGE.audio)[0], OFFICIAL["sounds"]["silence of 50000"])


def test_a_real_sound_is_transformed_as_officially(shared: Path) -> None:
    assert HUGE.audio
    signal = read_audio(Media("audio", uri=str(shared / REAL)), 16000)
    assert_same(sounds([signal], HUGE.audio)[0], OFFICIAL["sounds"][REAL])
    assert_same(fbank(torch.from_numpy(signal), 128), OFFICIAL["banks"][REAL])


@pytest.mark.parametrize(("width", "height"), toys.PICTURES)
def test_pictures_are_transformed_as_officially(width: int, height: int) -> None:
    assert HUGE.vision
    assert_same(images([toys.picture(width, height)], HUGE.vision)[0], OFFICIAL["pictures"][f"{width}x{height}"])


@pytest.mark.parametrize("size", toys.VIDEOS)
def test_videos_are_transformed_as_officially(size: tuple[int, int, int, float]) -> None:
    assert HUGE.vision
    official = OFFICIAL["videos"]["x".join(map(str, size))]
    assert_same(videos([toys.video(*size)], HUGE.vision)[0], official)


def test_texts_become_the_official_ids() -> None:
    for text, ids, official in zip(toys.TEXTS, tokenize(toys.TEXTS).tolist(), OFFICIAL["texts"], strict=True):
        assert ids == official + [0] * (77 - len(official)), text


def test_a_text_that_is_too_long_keeps_its_end_at_which_it_is_read() -> None:
    (ids,) = tokenize(["very " * 100 + "end"])
    assert ids[-1] == 49407 and ids.argmax() == 76
