"""The media door: every file is read within limits, known by its bytes, and named when it cannot be used."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_toys import RATE, clip, drawing, picture, quick, sound, tone

from harness.errors import UsageError
from harness.media import (
    Limits,
    MediaError,
    encode_audio,
    read_audio,
    read_bytes,
    read_image,
    read_video,
    sniff,
)
from harness.nouns import Media, Modality

Place = Callable[[Modality, bytes], Media]


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
    assert np.array_equal(np.asarray(read_image(Media("image", uri="memory://door/x.png"))), drawing())


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


@functools.cache
def example(suffix: str) -> bytes:
    """The same bytes each time, whatever the encoders do."""
    return EXAMPLES[suffix]()


@settings(quick, max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("suffix", EXAMPLES)
def test_damage_costs_one_clear_line_and_nothing_else(place: Place, suffix: str, data: st.DataObject) -> None:
    damaged = bytearray(example(suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    modality, _ = sniff(example(suffix))
    try:
        READ[modality](place(modality, bytes(damaged)))
    except MediaError as error:
        assert "thing.bin: " in str(error)
        assert "\n" not in str(error) and "0x" not in str(error)


def test_a_device_a_pipe_and_a_chain_of_urls_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for uri in ("/dev/zero", str(tmp_path / "pipe.png")):
        with pytest.raises(MediaError, match=r": cannot be opened \(not a file\)$"):
            read_bytes(uri)
    for uri in ("zip://x.png::/tmp/a.zip", "simplecache::http://host/x.png"):
        with pytest.raises(MediaError, match=r"would unpack one URL out of another"):
            read_bytes(uri)


@pytest.mark.parametrize("name", ["a*b.png", "[x].png", "zip::x.png", "a?b#c.png", "%2e.png", "file:x.png"])
def test_a_local_path_is_a_path_whatever_a_url_would_make_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(picture("PNG"))
    assert read_image(Media("image", uri=str(tmp_path / name))).size == (30, 20)


def test_sound_over_the_limit_of_samples_is_refused(place: Place) -> None:
    media = place("audio", encode_audio(tone(8000), RATE))
    assert len(read_audio(media, RATE, Limits(samples=8000))) == 8000
    with pytest.raises(MediaError, match="8,000 samples, over the limit of 7,999"):
        read_audio(media, RATE, Limits(samples=7999))
    with pytest.raises(MediaError, match="24,000 samples at 48000 Hz, over the limit of 8,000"):
        read_audio(media, 48000, Limits(samples=8000))
    with pytest.raises(MediaError, match="samples, over the limit of 1,000"):
        read_video(place("video", clip()), Limits(samples=1000))
