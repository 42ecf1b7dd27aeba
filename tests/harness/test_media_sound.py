"""Sound at the media door: bit-exact at its own rate, resampled once, mixed to mono; what is damaged is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import example, given
from hypothesis import strategies as st
from media_toys import RATE, Array, quick, sound, tone

from harness.media import (
    Limits,
    MediaError,
    encode_audio,
    read_audio,
)
from harness.nouns import Media, Modality

Place = Callable[[Modality, bytes], Media]


@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF"])
def test_sound_at_its_own_rate_is_bit_exact(place: Place, form: str) -> None:
    integers = np.arange(-32768, 32768, dtype=np.int16)
    samples = read_audio(place("audio", sound(form, "PCM_16", integers)), RATE)
    assert samples.dtype == np.float32
    assert np.array_equal(samples, integers / 32768)


def test_real_sound_at_its_own_rate_is_bit_exact(shared: Path) -> None:
    path = sorted((shared / "data" / "audio" / "esc10" / "audio").glob("*.flac"))[0]
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


@pytest.mark.parametrize("form", ["WAV", "AIFF", "FLAC", "OGG"])
@pytest.mark.parametrize("lost", [2, 100, 300])
def test_sound_cut_short_is_refused(place: Place, form: str, lost: int) -> None:
    data = sound(form, "VORBIS" if form == "OGG" else "PCM_16", tone(800))
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_audio(place("audio", data[:-lost]), RATE)


def test_an_mp3_with_fewer_frames_than_it_declares_is_refused(place: Place) -> None:
    data = sound("MP3", "MPEG_LAYER_III", tone(8000))
    with pytest.raises(MediaError, match=r"thing\.bin: truncated: .* of 8,000 samples"):
        read_audio(place("audio", data[: len(data) // 2]), RATE)


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
    with pytest.raises(MediaError, match=r"2 seconds, over the limit of 1\.5 seconds"):
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
