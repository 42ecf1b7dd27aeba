"""The mel spectrograms of AudioLDM2's VAE beside transformers' own, and beside the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from systems.codi2 import mel


def noise(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def normalised(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    centred = sound.astype(np.float64) - sound.astype(np.float64).mean()
    return 0.5 * centred / np.abs(centred).max()


def test_a_spectrogram_is_that_of_transformers() -> None:
    sound = noise(40 * 160)
    expected = spectrogram(
        normalised(sound),
        window_function(1024, "hann"),
        1024,
        160,
        power=1.0,
        center=True,
        pad_mode="reflect",
        mel_filters=mel_filter_bank(513, 64, 0, 8000, 16000, norm="slaney", mel_scale="slaney"),
        mel_floor=1e-5,
        log_mel="log",
    )
    np.testing.assert_allclose(mel.log_mel(sound, 40).numpy(), expected[:, :40].T, atol=2e-3)


def test_a_spectrogram_is_that_of_the_formulas() -> None:
    sound, frames = noise(12 * 160), 12
    padded = np.pad(normalised(sound), 512, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    magnitudes = [np.abs(np.fft.rfft(window * padded[160 * n : 160 * n + 1024])) for n in range(frames)]
    expected = np.log(np.maximum(np.stack(magnitudes) @ slaney().T, 1e-5))
    np.testing.assert_allclose(mel.log_mel(sound, frames).numpy(), expected, atol=2e-3)


def slaney() -> NDArray[np.float64]:
    """64 triangles of area 1 over 0 to 8000 Hz, evenly spaced on a scale linear to 1 kHz and logarithmic above."""
    highest = 15 + 27 * np.log(8) / np.log(6.4)
    mels = np.linspace(0, highest, 66)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    frequencies = np.arange(513) * 16000 / 1024
    rows = []
    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
        rows.append(np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low))
    return np.stack(rows)


@pytest.mark.parametrize(("hertz", "band"), [(437.5, 8), (1000.0, 21), (4000.0, 49)])
def test_a_tone_is_loudest_in_its_band(hertz: float, band: int) -> None:
    sound = np.sin(2 * np.pi * hertz * np.arange(100 * 160) / 16000).astype(np.float32)
    frame = mel.log_mel(sound, 100)[50]
    assert frame.argmax() == band == slaney()[:, round(hertz * 1024 / 16000)].argmax()


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.01, 30), offset=st.floats(-1, 1))
def test_loudness_and_offset_do_not_count(gain: float, offset: float) -> None:
    sound = noise(1600)
    torch.testing.assert_close(
        mel.log_mel((gain * sound + offset).astype(np.float32), 12), mel.log_mel(sound, 12), rtol=0, atol=0.02
    )


def test_a_normalised_sound_has_no_mean_and_its_peak_at_a_half() -> None:
    found = mel.normalised(torch.from_numpy(noise(1600) + 3))
    assert abs(found.mean()) < 1e-6 and found.abs().max() == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_silence_is_the_floor(value: float) -> None:
    silent = mel.log_mel(np.full(1600, value, np.float32), 8)
    torch.testing.assert_close(silent, torch.full((8, 64), float(np.log(1e-5))), rtol=0, atol=1e-4)


def test_a_short_sound_is_followed_by_silence() -> None:
    sound = noise(10 * 160)
    found = mel.log_mel(sound, 40)
    assert found.shape == (40, 64) and found.dtype == torch.float32
    # Half a window after the sound nothing of it is left.
    assert (found[14:] == torch.tensor(1e-5).log()).all() and found[:10].min() > -8


def test_of_a_long_sound_the_beginning_is_seen_and_its_own_loudness_counts() -> None:
    sound = noise(80 * 160)
    sound[50 * 160 :] *= 100
    assert torch.equal(mel.log_mel(sound, 40), mel.log_mel(sound[: 40 * 160], 40))
