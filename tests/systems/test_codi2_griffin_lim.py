"""The vocoder without weights: what it makes of a mel is heard again, and a folder without a vocoder sounds by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from codi2_folders import reconfigure
from numpy.typing import NDArray
from sound_toys import FEATURE, LATENTS, language_of_audio, write_audioldm2
from torch import Tensor

from systems.codi2 import griffin_lim, mel
from systems.codi2.griffin_lim import GriffinLim
from systems.codi2.sound_decoder import SoundDecoder, SoundSampling

QUICK = SoundSampling(steps=2, seconds=0.64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, samples: int = 10240) -> Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / mel.RATE)


def chirps() -> Tensor:
    times = torch.arange(10240) / mel.RATE
    return 0.3 * torch.sin(2 * torch.pi * (600 + 900 * times) * times) * (times % 0.2 < 0.1)


def log_mel(sound: Tensor) -> Tensor:
    return mel.bands(sound).clamp(min=mel.FLOOR).log()


SOUNDS = [tone(1000), 0.1 * random(10240), chirps()]


@pytest.mark.parametrize("sound", SOUNDS, ids=["tone", "noise", "chirps"])
def test_magnitudes_have_the_bands_that_they_are_found_of(sound: Tensor) -> None:
    bands = mel.bands(sound)
    found = griffin_lim.magnitudes_of(bands)
    assert found.shape == (513, 64) and found.min() >= 0
    assert ((found.T @ mel.filters() - bands).norm() / bands.norm()) < 0.01


@pytest.mark.parametrize("sound", SOUNDS, ids=["tone", "noise", "chirps"])
def test_a_spectrogram_converges_with_the_iterations(sound: Tensor) -> None:
    wanted = griffin_lim.spectrum(sound).abs()[:, :64]

    def missed(iterations: int) -> float:
        found = griffin_lim.spectrum(griffin_lim.sound_of(wanted, iterations)).abs()[:, :64]
        return float((found - wanted).norm() / wanted.norm())

    none, few, many = missed(0), missed(4), missed(32)
    assert none > 1.5 * few > 2 * many and many < 0.25


def test_momentum_gets_further_in_as_many_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = griffin_lim.spectrum(SOUNDS[1]).abs()[:, :64]

    def missed() -> float:
        return float((griffin_lim.spectrum(griffin_lim.sound_of(wanted, 32)).abs()[:, :64] - wanted).norm())

    fast = missed()
    monkeypatch.setattr(griffin_lim, "MOMENTUM", 0.0)
    assert fast < missed()


@pytest.mark.parametrize(("sound", "most"), [(SOUNDS[0], 0.25), (SOUNDS[1], 0.15)], ids=["tone", "noise"])
def test_what_is_made_of_a_mel_has_that_mel_and_its_level(sound: Tensor, most: float) -> None:
    given = log_mel(sound)
    (made,) = GriffinLim()(given[None])
    found = log_mel(made)
    loud = given > given.max() - 6
    assert (found - given)[loud].abs().mean() < most and abs(float((found - given)[loud].mean())) < most / 2


def test_a_tone_is_heard_at_its_pitch_and_silence_as_silence() -> None:
    made = GriffinLim()(torch.stack([log_mel(tone(1000)), torch.full((64, 64), mel.FLOOR).log()]))
    assert made.shape == (2, 10240) and made.dtype == torch.float32
    spectrum = torch.fft.rfft(made[0]).abs()
    assert abs(int(spectrum.argmax()) * mel.RATE / 10240 - 1000) < 40
    # The floor of the mel is about the last step of 16 bits.
    assert made[1].abs().max() < 2**-14


def test_the_same_mel_is_the_same_samples_whatever_stands_beside_it() -> None:
    first, second = log_mel(SOUNDS[0]), log_mel(SOUNDS[1])
    alone, together = GriffinLim(4)(first[None]), GriffinLim(4)(torch.stack([second, first]))
    assert torch.equal(alone[0], together[1]) and torch.equal(alone, GriffinLim(4)(first[None]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sound") / "voiceless"
    write_audioldm2(made, 0)
    shutil.rmtree(made / "vocoder")
    reconfigure(made / "model_index.json", vocoder=[None, None])
    return made


@pytest.fixture(scope="module")
def editor(folder: Path) -> SoundDecoder:
    columns = 0.3 * random(8, LATENTS, 3, 3, seed=9)
    decoder = SoundDecoder.load(folder, torch.float32, language_of_audio(1), columns)
    # Random weights whisper, or 16 bits would be all that is told apart here.
    decoder.module.vae.decoder.conv_out.bias.data.fill_(-6.0)
    return decoder


def decoded(decoder: SoundDecoder, source: NDArray[np.float32] | None) -> NDArray[np.float32]:
    generator = torch.Generator().manual_seed(5)
    (sound,) = decoder.decode(3 * random(1, FEATURE, seed=7), [generator], QUICK, [source])
    assert sound.flags == ()
    return sound.samples


@torch.no_grad()
def test_a_folder_without_a_vocoder_sounds_by_griffin_lim(editor: SoundDecoder) -> None:
    generator = torch.Generator().manual_seed(5)
    latents = editor.denoise(3 * random(1, FEATURE, seed=7), [generator], QUICK, [None])
    spectrogram = editor.module.vae.decode(1 / editor.module.vae.config.scaling_factor * latents).sample[:, 0]
    found = decoded(editor, None)
    assert found.dtype == np.float32 and found.std() > 1e-4
    np.testing.assert_allclose(found, GriffinLim()(spectrogram)[0].numpy(), rtol=0, atol=1e-3 * found.std())
    assert not any(name.startswith("vocoder") for name in editor.module.state_dict())


def test_the_level_of_an_edited_sound_follows_its_source(editor: SoundDecoder) -> None:
    source = tone(500).numpy()
    loud, soft = decoded(editor, source), decoded(editor, source / 4)
    # Of the same mel: as much softer as the source was.
    assert np.linalg.norm(4 * soft - loud) < 0.05 * np.linalg.norm(loud)
    gain = mel.gain_of(source, 64)
    assert gain == pytest.approx(0.5 / 0.3, rel=1e-3)
    assert np.abs(loud).max() > 1e-3


def test_samples_end_at_full_scale_and_a_silent_source_has_no_level_to_follow(editor: SoundDecoder) -> None:
    editor.module.vae.decoder.conv_out.bias.data.fill_(4.0)
    try:
        assert np.abs(decoded(editor, None)).max() == 1
    finally:
        editor.module.vae.decoder.conv_out.bias.data.fill_(-6.0)
    silence = np.zeros(10240, np.float32)
    assert mel.gain_of(silence, 64) == 1 and np.abs(decoded(editor, silence)).max() > 1e-4


def test_what_is_no_number_is_flagged_without_a_vocoder_too(editor: SoundDecoder) -> None:
    broken = torch.full((1, FEATURE), float("nan"))
    (sound,) = editor.decode(broken, [torch.Generator().manual_seed(0)], QUICK, [tone(500).numpy()])
    assert sound.flags == ("nan",) and not sound.samples.any()
