"""The media door: what is decoded is what the formats say, and what is damaged, too large or something else is named."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UsageError
from harness.media import (
    Limits,
    MediaError,
    Video,
    encode_audio,
    encode_image,
    encode_video,
    read_audio,
    read_bytes,
    read_image,
    read_video,
    sniff,
)
from harness.nouns import Media, Modality

ORIENTATION = 0x112
RATE = 16000
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Array = NDArray[Any]
Place = Callable[[Modality, bytes], Media]


@pytest.fixture
def shared() -> Path:
    folder = Path(os.environ.get("ANYBENCH_SHARED", Path(__file__).parents[2].parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared sample data is not here")
    return folder / "data"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Writes bytes to a file whose name says nothing, and hands over its Media."""

    def write(modality: Modality, data: bytes) -> Media:
        path = tmp_path / "thing.bin"
        path.write_bytes(data)
        return Media(modality, uri=str(path))

    return write


def drawing(height: int = 20, width: int = 30) -> Array:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(form: str) -> bytes:
    return saved(Image.fromarray(drawing()), form)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(levels: Array, colour: int) -> bytes:
    """PNG of 16 bits a channel, written after the specification alone: colour type 0 grey, 2 RGB."""
    height, width = levels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tone(samples: int, rate: int = RATE, hertz: float = 440.0) -> Array:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype(np.float32)


def sound(form: str, subtype: str, samples: Array, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def flat_frames(height: int = 32, width: int = 48) -> Array:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 64, 200)]
    return np.stack([np.full((height, width, 3), colour, np.uint8) for colour in colours])


def clip(container: str = "mp4", with_sound: bool = True) -> bytes:
    if container == "mp4":
        return encode_video(Video(flat_frames(), 8.0, tone(12000) if with_sound else None, RATE if with_sound else 0))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream("libx264" if container == "matroska" else "libvpx", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in flat_frames():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    return buffer.getvalue()


# Images.


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
    assert np.array_equal(read_image(place("image", data)), SHOWN[orientation](drawing()))


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
    photographs = [path for path in (shared / "dreambench").rglob("*.jpg") if b"MPF\0" in path.read_bytes()[:65536]]
    assert len(photographs) >= 10
    for path in photographs[:3]:
        with Image.open(path) as first:
            assert first.format == "MPO"
            assert np.array_equal(read_image(Media("image", uri=str(path))), first)


# Bytes after the last pixel, which nobody misses: the end chunk of a PNG, the trailer of a GIF.
TRAILER = {"PNG": 12, "GIF": 2, "BMP": 0, "TIFF": 0, "WEBP": 1}


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
    assert 1800 < len(data) - 12
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
    assert np.array_equal(read_image(place("image", encode_image(Image.fromarray(pixels)))), pixels)


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


# Files.


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MediaError, match=r"^nowhere/x\.png: no such file$"):
        read_image(Media("image", uri="nowhere/x.png"))


def test_a_folder_an_empty_file_and_an_unknown_protocol_are_named(tmp_path: Path, place: Place) -> None:
    with pytest.raises(MediaError, match="cannot be opened"):
        read_bytes(str(tmp_path))
    with pytest.raises(MediaError, match=r"thing\.bin: an empty file"):
        read_image(place("image", b""))
    with pytest.raises(MediaError, match=r"^nosuch://x: cannot be opened"):
        read_bytes("nosuch://x")
    with pytest.raises(MediaError, match="uri is empty"):
        read_image(Media("image"))


def test_a_file_over_the_byte_limit_is_refused(place: Place) -> None:
    media = place("image", bytes(100))
    assert read_bytes(media.uri, Limits(bytes=100)) == bytes(100)
    with pytest.raises(MediaError, match="over the limit of 99 bytes"):
        read_bytes(media.uri, Limits(bytes=99))


def test_a_url_is_read_like_a_path() -> None:
    with fsspec.open("memory://door/x.png", "wb") as file:
        file.write(picture("PNG"))
    assert np.array_equal(read_image(Media("image", uri="memory://door/x.png")), drawing())


def test_a_file_that_changed_since_its_digest_was_taken_is_refused(place: Place) -> None:
    uri, digest = place("image", picture("PNG")).uri, hashlib.sha256(picture("PNG")).hexdigest()
    assert read_image(Media("image", uri=uri, digest=digest)).size == (30, 20)
    place("image", picture("BMP"))
    with pytest.raises(MediaError, match="changed since its digest"):
        read_image(Media("image", uri=uri, digest=digest))


def test_a_file_of_another_modality_is_refused(place: Place) -> None:
    with pytest.raises(MediaError, match=r"is audio \(\.wav\), where image is expected"):
        read_image(place("image", sound("WAV", "PCM_16", tone(100))))
    with pytest.raises(MediaError, match=r"is image \(\.png\), where audio or video is expected"):
        read_audio(place("audio", picture("PNG")), RATE)
    with pytest.raises(MediaError, match=r"is image \(\.jpg\), where video is expected"):
        read_video(place("video", picture("JPEG")))


@pytest.mark.parametrize("text", [b"<html><body>404</body></html>", b"\xff\xfeh\0i\0", b"BM is a text too, and long"])
def test_text_is_no_medium(place: Place, text: bytes) -> None:
    with pytest.raises(MediaError, match=r"no image, sound or video"):
        sniff(text)
    with pytest.raises(UsageError, match=r"thing\.bin: .*no image, sound or video"):
        read_image(place("image", text))


EXAMPLES: dict[str, Callable[[], bytes]] = {
    ".png": lambda: picture("PNG"),
    ".jpg": lambda: picture("JPEG"),
    ".gif": lambda: picture("GIF"),
    ".webp": lambda: picture("WEBP"),
    ".tiff": lambda: picture("TIFF"),
    ".bmp": lambda: picture("BMP"),
    ".avif": lambda: picture("AVIF"),
    ".flac": lambda: encode_audio(tone(800), RATE),
    ".wav": lambda: sound("WAV", "PCM_16", tone(800)),
    ".aiff": lambda: sound("AIFF", "PCM_16", tone(800)),
    ".ogg": lambda: sound("OGG", "VORBIS", tone(800)),
    ".mp3": lambda: sound("MP3", "MPEG_LAYER_III", tone(8000)),
    ".mp4": clip,
    ".mkv": lambda: clip("matroska"),
    ".webm": lambda: clip("webm"),
}
READ: dict[str, Callable[[Media], object]] = {
    "image": read_image,
    "audio": lambda media: read_audio(media, 8000),
    "video": read_video,
}
IMAGES, SOUNDS = (".png", ".jpg", ".gif", ".webp", ".tiff", ".bmp", ".avif"), (".flac", ".wav", ".aiff", ".ogg", ".mp3")


@pytest.mark.parametrize("suffix", EXAMPLES)
def test_every_format_is_known_by_its_bytes_and_read(place: Place, suffix: str) -> None:
    modality, found = sniff(EXAMPLES[suffix]())
    assert found == suffix
    assert modality == ("image" if suffix in IMAGES else "audio" if suffix in SOUNDS else "video")
    assert READ[modality](place(modality, EXAMPLES[suffix]())) is not None


@settings(quick, max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("suffix", EXAMPLES)
def test_damage_costs_one_clear_line_and_nothing_else(place: Place, suffix: str, data: st.DataObject) -> None:
    damaged = bytearray(EXAMPLES[suffix]())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    modality, _ = sniff(EXAMPLES[suffix]())
    try:
        READ[modality](place(modality, bytes(damaged)))
    except MediaError as error:
        assert "thing.bin: " in str(error)
        assert "\n" not in str(error) and "0x" not in str(error)


# Sound.


@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF"])
def test_sound_at_its_own_rate_is_bit_exact(place: Place, form: str) -> None:
    integers = np.arange(-32768, 32768, dtype=np.int16)
    samples = read_audio(place("audio", sound(form, "PCM_16", integers)), RATE)
    assert samples.dtype == np.float32
    assert np.array_equal(samples, integers / 32768)


def test_real_sound_at_its_own_rate_is_bit_exact(shared: Path) -> None:
    path = sorted((shared / "audio" / "esc10" / "audio").glob("*.flac"))[0]
    integers, rate = soundfile.read(path, dtype="int16")
    assert np.array_equal(read_audio(Media("audio", uri=str(path)), rate), integers / 32768)


@quick
@given(channels=st.integers(1, 6), seed=st.integers(0, 99))
def test_several_channels_become_their_mean(place: Place, channels: int, seed: int) -> None:
    integers = np.random.default_rng(seed).integers(-32768, 32768, (50, channels)).astype(np.int16)
    samples = read_audio(place("audio", sound("WAV", "PCM_16", integers)), RATE)
    assert np.allclose(samples, (integers / 32768).mean(axis=1), rtol=0, atol=1e-7)
    same = np.repeat(integers[:, :1], channels, axis=1)
    assert np.array_equal(read_audio(place("audio", sound("WAV", "PCM_16", same)), RATE), same[:, 0] / 32768)


def test_a_resampled_tone_is_the_same_tone(place: Place) -> None:
    samples = read_audio(place("audio", sound("WAV", "FLOAT", tone(48000, 48000), 48000)), RATE)
    assert samples.dtype == np.float32 and samples.shape == (RATE,)
    assert np.abs(samples - tone(RATE))[200:-200].max() < 1e-4


def test_sound_is_resampled_once_after_mixing(place: Place) -> None:
    integers = np.random.default_rng(0).integers(-9000, 9000, (70000, 2)).astype(np.int16)
    samples = read_audio(place("audio", sound("FLAC", "PCM_16", integers, 44100)), RATE)
    once = soxr.resample((integers / 32768).mean(axis=1).astype(np.float32), 44100, RATE, quality="HQ")
    assert np.array_equal(samples, once)


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("lost", [2, 100, 300])
def test_sound_cut_short_is_refused(place: Place, suffix: str, lost: int) -> None:
    data = EXAMPLES[suffix]()
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_audio(place("audio", data[:-lost] if suffix != ".mp3" else data[: len(data) // 2]), RATE)


def test_a_wav_from_a_pipe_which_does_not_know_its_length_is_read(place: Place) -> None:
    data = bytearray(sound("WAV", "PCM_16", tone(800)))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert read_audio(place("audio", bytes(data)), RATE).shape == (800,)


def test_a_flac_that_does_not_say_how_long_it_is_is_refused(place: Place) -> None:
    data = bytearray(encode_audio(tone(800), RATE))
    data[21], data[22:26] = data[21] & 0xF0, bytes(4)
    with pytest.raises(MediaError, match="does not say how long"):
        read_audio(place("audio", bytes(data)), RATE)


def test_a_flac_that_declares_more_than_it_holds_is_refused(place: Place) -> None:
    data = bytearray(encode_audio(tone(800), RATE))
    data[22:26] = struct.pack(">I", 1600)
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_audio(place("audio", bytes(data)), RATE)


def test_sound_over_the_limit_of_seconds_is_refused(place: Place) -> None:
    media = place("audio", sound("WAV", "PCM_16", tone(2 * RATE)))
    with pytest.raises(MediaError, match="2 seconds, over the limit of 1.5 seconds"):
        read_audio(media, RATE, Limits(seconds=1.5))
    assert read_audio(media, RATE, Limits(seconds=2)).shape == (2 * RATE,)


def test_empty_and_endless_sound_is_refused(place: Place) -> None:
    with pytest.raises(MediaError, match="holds no sound"):
        read_audio(place("audio", sound("WAV", "PCM_16", tone(0))), RATE)
    with pytest.raises(MediaError, match="sample 7 is not a finite number"):
        read_audio(place("audio", sound("WAV", "FLOAT", np.where(np.arange(10) == 7, np.nan, 0.1))), RATE)


@quick
@given(seed=st.integers(0, 999), samples=st.integers(1, 5000))
@example(seed=0, samples=1)
def test_16_bit_sound_goes_out_and_in_bit_exact(place: Place, seed: int, samples: int) -> None:
    original = (np.random.default_rng(seed).integers(-32768, 32768, samples) / 32768).astype(np.float32)
    assert np.array_equal(read_audio(place("audio", encode_audio(original, RATE)), RATE), original)


def test_encoding_sound_rounds_and_clips_and_repeats_itself(place: Place) -> None:
    samples = np.array([0.6 / 32768, -0.6 / 32768, 0.4 / 32768, 1.0, 3.0, -1.0, -3.0])
    levels = read_audio(place("audio", encode_audio(samples, RATE)), RATE) * 32768
    assert levels.tolist() == [1, -1, 0, 32767, 32767, -32768, -32768]
    assert encode_audio(samples, RATE) == encode_audio(samples, RATE)


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.array([0.0, np.nan]), "sample 1 is not a finite number"),
        (np.array([np.inf]), "sample 0 is not a finite number"),
        (np.zeros(0), "holds no sound"),
        (np.zeros((2, 9)), r"shape \(2, 9\)"),
        (np.zeros(9, np.int16), "int16"),
        (tone(100) * 32768, "full scale is 1"),
    ],
)
def test_sound_that_cannot_be_encoded_says_why(samples: Array, complaint: str) -> None:
    with pytest.raises(MediaError, match=f"sound to be encoded: .*{complaint}"):
        encode_audio(samples, RATE)


@pytest.mark.parametrize("rate", [0, -1, 65537, 10_000_000])
def test_a_rate_that_flac_cannot_hold_is_refused(rate: int) -> None:
    with pytest.raises(MediaError, match=f"cannot hold {rate} Hz"):
        encode_audio(tone(100), rate)


# Video.


def test_an_encoded_video_reads_back_its_frames_rate_and_sound(place: Place) -> None:
    video = Video(flat_frames(), 29.97, tone(3203), RATE)
    back = read_video(place("video", encode_video(video)))
    assert back.frames.shape == video.frames.shape and back.frames.dtype == np.uint8
    assert np.abs(back.frames.astype(int) - video.frames).max() <= 4
    assert back.frames_per_second == 29.97
    assert back.sound is not None and back.sound.shape == (3203,) and back.rate == RATE
    # AAC is lossy and starts cold; a shift by one of its blocks would correlate far less.
    assert np.corrcoef(back.sound[1024:2048], tone(3203)[1024:2048])[0, 1] > 0.99


def test_a_silent_film_has_no_sound(place: Place) -> None:
    back = read_video(place("video", encode_video(Video(flat_frames(), 8.0))))
    assert back.sound is None and back.rate == 0 and back.frames_per_second == 8.0


def test_equal_videos_give_equal_bytes() -> None:
    assert clip() == clip()


def test_the_sound_of_a_video_can_be_read_alone(place: Place) -> None:
    media = place("video", clip())
    together = read_video(media).sound
    assert together is not None
    assert np.array_equal(read_audio(media, RATE), together)
    with pytest.raises(MediaError, match="has no sound track"):
        read_audio(place("video", clip(with_sound=False)), RATE)


def test_sound_in_an_mp4_without_pictures_is_read(place: Place) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ipod") as out:
        track = out.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([tone(RATE)] * 2), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    assert sniff(buffer.getvalue()) == ("audio", ".m4a")
    samples = read_audio(place("audio", buffer.getvalue()), RATE)
    assert abs(len(samples) - RATE) <= RATE / 1000
    assert np.corrcoef(samples[2000:4000], tone(RATE)[2000:4000])[0, 1] > 0.99


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_video_is_turned_as_its_file_says(place: Place, quarter_turns: int) -> None:
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :16, :16] = 255  # white in the top left
    data = bytearray(encode_video(Video(frames, 8.0)))
    # ISO/IEC 14496-12, 8.3.2: the matrix of a track, here a clockwise rotation when it is shown.
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd") + 44
    assert data[at : at + 36] == struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[at : at + 36] = matrix
    shown = read_video(place("video", bytes(data))).frames
    expected = np.rot90(frames, -quarter_turns, axes=(1, 2))
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_video_cut_short_is_refused(place: Place, suffix: str, kept: float) -> None:
    data = EXAMPLES[suffix]()
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_video(place("video", data[: int(kept * len(data))]))


def test_a_damaged_real_video_is_refused_and_not_painted_over(place: Place, shared: Path) -> None:
    data = bytearray((shared / "video" / "clips" / "asl_want.mkv").read_bytes())
    assert read_video(place("video", bytes(data))).frames.shape == (47, 480, 640, 3)
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_video(place("video", bytes(data)))


def test_a_real_video_with_sound_is_read(shared: Path) -> None:
    video = read_video(Media("video", uri=str(shared / "video" / "clips" / "rabbit-watermelon.mp4")))
    assert video.frames.shape == (186, 718, 718, 3) and video.frames_per_second == 30
    assert video.rate == 48000 and video.sound is not None and video.sound.shape == (298992,)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (Limits(pixels=1535), "1,536 pixels, over the limit of 1,535 pixels"),
        (Limits(video_pixels=6 * 1536 - 1), "over the limit of 9,215 pixels in all frames"),
        (Limits(seconds=0.5), "over the limit of 0.5 seconds"),
    ],
)
def test_a_video_over_a_limit_is_refused(place: Place, suffix: str, limits: Limits, complaint: str) -> None:
    with pytest.raises(MediaError, match=complaint):
        read_video(place("video", EXAMPLES[suffix]()), limits)


def test_a_title_in_another_encoding_does_not_matter(place: Place) -> None:
    data = clip("matroska")
    assert b"ENCODER" in data
    assert read_video(place("video", data.replace(b"ENCODER", b"ENCOD\xc9R"))).frames.shape == (6, 32, 48, 3)


def test_a_playlist_that_points_at_other_files_is_no_video(place: Place) -> None:
    with pytest.raises(MediaError, match="no image, sound or video"):
        read_video(place("video", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"))


@pytest.mark.parametrize(
    ("video", "complaint"),
    [
        (Video(flat_frames(31, 48), 8.0), "48x31 frames; yuv420p needs an even"),
        (Video(flat_frames()[:0], 8.0), "uint8 of shape"),
        (Video(flat_frames().astype(np.float32), 8.0), "float32 of shape"),  # type: ignore[arg-type]
        (Video(flat_frames(), 0.0), "0 frames a second"),
        (Video(flat_frames(), float("nan")), "nan frames a second"),
        (Video(flat_frames(), 8.0, tone(100), 22000), "sound at 22000 Hz; AAC holds"),
        (Video(flat_frames(), 8.0, tone(100) * np.nan, RATE), "not a finite number"),
    ],
)
def test_a_video_that_cannot_be_encoded_says_why(video: Video, complaint: str) -> None:
    with pytest.raises(MediaError, match=f"video to be encoded: .*{complaint}"):
        encode_video(video)
