"""The published transforms, against torchvision's own, and each known trap of preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from harness.errors import UsageError
from harness.nouns import Media
from metrics.extractors import clip, dino
from metrics.extractors.pixels import Transform, preprocess, read_pixels, resize_shorter_side

PUBLISHED = pytest.mark.parametrize("transform", [dino.TRANSFORM, clip.TRANSFORM], ids=["dino", "clip"])


def noise(seed: int, width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def torchvision_pixels(
    image: Image.Image, transform: Transform, mode: InterpolationMode = InterpolationMode.BICUBIC
) -> NDArray[np.float32]:
    """The transform of `eval_knn.py` and `clip.py`, as they write it."""
    chain = transforms.Compose(
        [
            transforms.Resize(transform.shorter_side, interpolation=mode),
            transforms.CenterCrop(transform.crop),
            transforms.ToTensor(),
            transforms.Normalize(transform.mean, transform.std),
        ]
    )
    return np.asarray(chain(image))


@PUBLISHED
@given(width=st.integers(20, 700), height=st.integers(20, 700))
@settings(deadline=None, max_examples=25)
def test_pixels_equal_torchvision_at_every_size(transform: Transform, width: int, height: int) -> None:
    image = noise(width * 1000 + height, width, height)
    np.testing.assert_allclose(preprocess(image, transform), torchvision_pixels(image, transform), rtol=0, atol=1e-6)


@PUBLISHED
def test_pixels_are_float32_and_channels_first(transform: Transform) -> None:
    pixels = preprocess(noise(0, 300, 400), transform)
    assert pixels.dtype == np.float32 and pixels.shape == (3, 224, 224)


@PUBLISHED
def test_black_and_white_come_out_as_the_published_constants(transform: Transform) -> None:
    black = preprocess(Image.new("RGB", (50, 50)), transform)[:, 0, 0]
    white = preprocess(Image.new("RGB", (50, 50), "white"), transform)[:, 0, 0]
    np.testing.assert_allclose(black, -np.array(transform.mean) / transform.std, rtol=1e-6)
    np.testing.assert_allclose(white, (1 - np.array(transform.mean)) / transform.std, rtol=1e-6)


def test_the_constants_are_the_published_ones() -> None:
    assert (dino.TRANSFORM.shorter_side, dino.TRANSFORM.crop) == (256, 224)
    assert (clip.TRANSFORM.shorter_side, clip.TRANSFORM.crop) == (224, 224)
    assert (dino.TRANSFORM.mean, dino.TRANSFORM.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert clip.TRANSFORM.mean == (0.48145466, 0.4578275, 0.40821073)
    assert clip.TRANSFORM.std == (0.26862954, 0.26130258, 0.27577711)


@PUBLISHED
def test_shrinking_is_antialiased(transform: Transform) -> None:
    # A checkerboard of single pixels is grey to the eye; sampling it without antialias leaves black and white.
    board = (np.indices((1024, 1024)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(board[:, :, None], 3, axis=2))
    levels = np.asarray(resize_shorter_side(image, transform.shorter_side), dtype=float)
    assert np.abs(levels - 127.5).max() < 2
    tensor = torch.from_numpy(board / 255.0)[None, None, :, :]
    aliased = torch.nn.functional.interpolate(tensor, scale_factor=0.237, mode="bicubic", antialias=False) * 255
    assert (aliased - 127.5).abs().max() > 50


@PUBLISHED
def test_resizing_is_bicubic_and_not_bilinear(transform: Transform) -> None:
    image = noise(3, 640, 640)
    found = preprocess(image, transform)
    bilinear = torchvision_pixels(image, transform, InterpolationMode.BILINEAR)
    lanczos = torchvision_pixels(image, transform, InterpolationMode.LANCZOS)
    assert np.abs(found - bilinear).mean() > 0.01 and np.abs(found - lanczos).mean() > 0.01


def changed_outside(size: int, border: int) -> tuple[Image.Image, Image.Image]:
    """A picture, and the same with other pixels in its outer border."""
    image, other = np.asarray(noise(0, size, size)), np.array(noise(1, size, size))
    inner = slice(border, size - border)
    other[inner, inner] = image[inner, inner]
    return Image.fromarray(image), Image.fromarray(other)


@pytest.mark.parametrize(("size", "border"), [(256, 16), (512, 29)])
def test_the_border_does_not_matter_to_dino_but_does_to_clip(size: int, border: int) -> None:
    one, other = changed_outside(size, border)
    np.testing.assert_array_equal(preprocess(one, dino.TRANSFORM), preprocess(other, dino.TRANSFORM))
    assert not np.array_equal(preprocess(one, clip.TRANSFORM), preprocess(other, clip.TRANSFORM))


@pytest.mark.parametrize(("size", "border"), [(256, 17), (512, 30)])
def test_one_pixel_further_in_matters_to_dino(size: int, border: int) -> None:
    one, other = changed_outside(size, border)
    assert not np.array_equal(preprocess(one, dino.TRANSFORM), preprocess(other, dino.TRANSFORM))


def test_the_longer_side_is_cropped_and_not_squashed() -> None:
    wide = Image.new("RGB", (672, 224), "white")
    wide.paste(Image.new("RGB", (224, 224)), (224, 0))
    assert preprocess(wide, clip.TRANSFORM).max() < 0


def test_images_of_a_batch_keep_their_order(tmp_path: Path) -> None:
    rows = []
    for seed in range(9):
        noise(seed, 230 + seed, 260).save(tmp_path / f"{seed}.png")
        rows.append((Media("image", uri=str(tmp_path / f"{seed}.png")),))
    expected = [preprocess(noise(seed, 230 + seed, 260), clip.TRANSFORM) for seed in range(9)]
    np.testing.assert_array_equal(read_pixels(rows, clip.TRANSFORM), np.stack(expected))


@pytest.mark.parametrize(
    ("mode", "color"), [("RGBA", (200, 30, 30, 255)), ("L", 90), ("CMYK", (0, 200, 200, 30)), ("P", 7)]
)
def test_other_color_modes_are_rgb_before_they_are_resized(mode: str, color: object, tmp_path: Path) -> None:
    path = tmp_path / "image.tiff"
    Image.new(mode, (300, 300), color).save(path)  # type: ignore[arg-type]
    expected = preprocess(Image.open(path).convert("RGB"), clip.TRANSFORM)
    np.testing.assert_allclose(read_pixels([(Media("image", uri=str(path)),)], clip.TRANSFORM)[0], expected, atol=0.05)


def test_a_long_strip_is_refused_by_name_before_it_fills_memory(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    Image.new("RGB", (6500, 100)).save(path)
    with pytest.raises(UsageError, match=r"strip\.png: 6500 x 100 pixels"):
        read_pixels([(Media("image", uri=str(path)),)], clip.TRANSFORM)


def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(UsageError, match=r"notes\.png"):
        read_pixels([(Media("image", uri=str(path)),)], clip.TRANSFORM)
    with pytest.raises(UsageError):
        read_pixels([(Media("text", text="a dog"),)], clip.TRANSFORM)
