"""Images at the media door: seen as their formats say, in 8-bit RGB; cut short, damaged or too large, refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_toys import Array, drawing, picture, quick, saved
from PIL import Image

from harness.media import (
    Limits,
    MediaError,
    encode_image,
    read_image,
)
from harness.nouns import Media, Modality

ORIENTATION = 0x112
Place = Callable[[Modality, bytes], Media]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(levels: Array, colour: int) -> bytes:
    """PNG of 16 bits a channel, written after the specification alone: colour type 0 grey, 2 RGB."""
    height, width = levels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# EXIF 2.3, table 6: how to show the rows and columns as stored.
SHOWN: dict[int, Callable[[Array], Array]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", SHOWN)
def test_an_image_is_turned_as_its_exif_says(place: Place, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = saved(Image.fromarray(drawing()), "PNG", exif=exif)
    assert np.array_equal(np.asarray(read_image(place("image", data))), SHOWN[orientation](drawing()))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_that_cannot_be_read_counts_as_none(place: Place, form: str) -> None:
    data = saved(Image.fromarray(drawing()), form, exif=b"Exif\0\0garbage!!!")
    assert read_image(place("image", data)).size == (30, 20)


def test_transparency_is_laid_on_white(place: Place) -> None:
    layer = np.dstack([drawing(), np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8)])
    seen = np.asarray(read_image(place("image", saved(Image.fromarray(layer), "PNG")))).astype(float)
    alpha = layer[..., 3:] / 255
    assert np.abs(seen - (layer[..., :3] * alpha + 255 * (1 - alpha))).max() <= 1


def test_a_transparent_palette_colour_is_white(place: Place) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    data = saved(image, "PNG", transparency=1)
    assert np.asarray(read_image(place("image", data))).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_inks_become_the_colours_they_print(place: Place) -> None:
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]]], np.uint8)
    data = saved(Image.frombytes("CMYK", (5, 1), inks.tobytes()), "TIFF")
    seen = np.asarray(read_image(place("image", data)))[0].tolist()
    assert seen == [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]


def test_grey_becomes_three_equal_channels(place: Place) -> None:
    grey = drawing()[..., 0]
    seen = np.asarray(read_image(place("image", saved(Image.fromarray(grey), "PNG"))))
    assert np.array_equal(seen, np.dstack([grey] * 3))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(place: Place, form: str) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    data = png16(levels, 0) if form == "PNG" else saved(Image.fromarray(levels), form)
    seen = np.asarray(read_image(place("image", data)))
    assert np.array_equal(seen[..., 0], np.rint(levels / 257).astype(np.uint8))


def test_16_bit_colour_is_scaled_to_within_one_level(place: Place) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (20, 30, 3))
    seen = np.asarray(read_image(place("image", png16(levels, 2))))
    assert np.abs(seen - levels / 257).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_stated_range_are_refused(place: Place, dtype: type) -> None:
    data = saved(Image.fromarray(np.zeros((4, 4), dtype)), "TIFF")
    with pytest.raises(MediaError, match=r"thing\.bin.*16 bit"):
        read_image(place("image", data))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "MPO"])
def test_of_several_pictures_the_first_is_read(place: Place, form: str) -> None:
    red, blue = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    data = saved(red, form, save_all=True, append_images=[blue])
    assert np.abs(np.asarray(read_image(place("image", data))).astype(int) - (255, 0, 0)).max() <= 2


def test_the_real_photographs_with_several_pictures_are_read(shared: Path) -> None:
    photographs = [
        path for path in (shared / "data" / "dreambench").rglob("*.jpg") if b"MPF\0" in path.read_bytes()[:65536]
    ]
    assert len(photographs) >= 10
    for path in photographs[:3]:
        with Image.open(path) as first:
            assert first.format == "MPO"
            assert np.array_equal(np.asarray(read_image(Media("image", uri=str(path)))), np.asarray(first))


# Bytes after the last pixel, which nobody misses: the end chunk of a PNG, the trailer of a GIF, a BMP row's padding.
TRAILER = {"PNG": 12, "GIF": 2, "BMP": 2, "TIFF": 0, "WEBP": 1}


@quick
@given(data=st.data())
@pytest.mark.parametrize("form", TRAILER)
def test_an_image_cut_short_anywhere_is_refused(place: Place, form: str, data: st.DataObject) -> None:
    whole = picture(form)
    kept = data.draw(st.integers(0, len(whole) - TRAILER[form] - 1))
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_image(place("image", whole[:kept]))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_jpeg_cut_short_is_refused(place: Place, kept: float) -> None:
    data = picture("JPEG")
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_image(place("image", data[: int(kept * len(data))]))


@quick
@given(at=st.integers(41, 1800), flip=st.integers(1, 255))
def test_one_wrong_byte_in_the_pixels_of_a_png_is_noticed(place: Place, at: int, flip: int) -> None:
    data = bytearray(picture("PNG"))
    assert len(data) - 12 > 1800
    data[at] ^= flip
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_image(place("image", bytes(data)))


def test_a_picture_over_the_pixel_limit_is_refused(place: Place) -> None:
    with pytest.raises(MediaError, match="600 pixels, over the limit of 599 pixels"):
        read_image(place("image", picture("PNG")), Limits(pixels=599))
    assert read_image(place("image", picture("PNG")), Limits(pixels=600)).size == (30, 20)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_by_what_it_declares(place: Place, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(MediaError, match="over the limit of 89,478,485 pixels"):
        read_image(place("image", data))


@quick
@given(height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_an_encoded_image_reads_back_exactly(place: Place, height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(read_image(place("image", encode_image(Image.fromarray(pixels))))), pixels)


def test_encoded_bytes_depend_on_the_pixels_alone(place: Place) -> None:
    plain = Image.fromarray(drawing())
    laden = Image.open(io.BytesIO(saved(plain, "PNG", dpi=(72, 72), icc_profile=b"a profile", exif=Image.Exif())))
    assert encode_image(laden) == encode_image(plain) == encode_image(plain.copy())


def test_an_image_is_encoded_as_it_is_seen(place: Place) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = Image.open(io.BytesIO(saved(Image.fromarray(drawing()), "PNG", exif=exif)))
    assert encode_image(turned) == encode_image(Image.fromarray(np.ascontiguousarray(SHOWN[6](drawing()))))


def test_an_image_that_cannot_be_encoded_says_so() -> None:
    with pytest.raises(MediaError, match="image to be encoded: pixels of mode F"):
        encode_image(Image.new("F", (2, 2)))
