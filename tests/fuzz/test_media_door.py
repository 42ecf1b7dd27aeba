"""Damaged pictures, sounds and clips at the media door: decoded, or refused in one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from doors import Door, portions
from media_toys import RATE, clip, picture, sound, tone
from mutations import damaged

from harness.media import encode_audio, read_audio, read_image, read_video
from harness.nouns import Media, Modality

EXAMPLES: dict[Modality, dict[str, Callable[[], bytes]]] = {
    "image": {form: lambda form=form: picture(form) for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF")},
    "audio": {
        "flac": lambda: encode_audio(tone(800), RATE),
        "wav": lambda: sound("WAV", "PCM_16", tone(800)),
        "float": lambda: sound("WAV", "DOUBLE", tone(800)),
        "adpcm": lambda: sound("WAV", "MS_ADPCM", tone(800)),
        "aiff": lambda: sound("AIFF", "PCM_24", tone(800)),
        "ogg": lambda: sound("OGG", "VORBIS", tone(800)),
        "opus": lambda: sound("OGG", "OPUS", tone(800)),
        "mp3": lambda: sound("MP3", "MPEG_LAYER_III", tone(8000)),
    },
    "video": {
        "mp4": clip,
        "matroska": lambda: clip("matroska"),
        "webm": lambda: clip("webm"),
        "avi": lambda: clip("avi"),
    },
}
READ: dict[Modality, Callable[[Media], object]] = {
    "image": read_image,
    "audio": lambda media: read_audio(media, 8000),
    "video": read_video,
}


@pytest.mark.parametrize("count", portions("image"))
def test_a_damaged_picture_is_decoded_or_refused_in_one_line(root: Path, count: int) -> None:
    knock_with_damage("image", root, count)


@pytest.mark.parametrize("count", portions("audio"))
def test_a_damaged_sound_is_decoded_or_refused_in_one_line(root: Path, count: int) -> None:
    knock_with_damage("audio", root, count)


@pytest.mark.parametrize("count", portions("video"))
def test_a_damaged_clip_is_decoded_or_refused_in_one_line(root: Path, count: int) -> None:
    knock_with_damage("video", root, count)


def knock_with_damage(modality: Modality, root: Path, count: int) -> None:
    good = [make() for make in EXAMPLES[modality].values()]
    door, random, path = Door(modality, root), Random(modality), root / "thing.bin"
    media = Media(modality, uri=str(path))
    for number in range(count):
        path.write_bytes(damaged(good[number % len(good)], random, good))
        door.knock(lambda: READ[modality](media), named="thing.bin")
    assert door.knocks == count and door.taken and door.refused
