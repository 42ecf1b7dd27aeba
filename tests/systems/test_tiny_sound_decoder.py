"""The shipped sound decoder of the tiny preset, and how one is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.tinyworld import attributes
from benchmarks.tinyworld.sounding import sound
from benchmarks.tinyworld.training import Plan, write_set
from harness.drawn_world import Mixture, World
from systems.codi2 import mel
from systems.codi2.decoders import read_sound_decoder
from systems.codi2.griffin_lim import GriffinLim
from systems.codi2.sound_decoder import SoundDecoder, SoundSampling
from systems.imagebind.loading import load
from systems.tiny import sound_decoder as tiny
from systems.tiny.imagebind_figures import text_features
from systems.tiny.sound_figures import SAMPLING, log_spectral_distance, mean, sounds_of_features
from systems.tiny.sound_lessons import edits_of, lessons_of, sounds_of
from systems.tiny.sound_unet import UnetPlan, new_denoiser, train_unet
from systems.tiny.sound_vae import VaePlan, new_vae

MOST_BYTES = 2_600_000


@pytest.fixture(scope="module")
def decoder() -> SoundDecoder:
    return tiny.read()


@pytest.fixture(scope="module")
def told() -> Tensor:
    """The features of a few captions."""
    imagebind = load(tiny.IMAGEBIND, modalities=("text",))
    return text_features(imagebind, ["rain and a bell", "a bell", "a dog and a clock", "a siren"])


def waves(*events: str) -> NDArray[np.float32]:
    return np.sum([sound(event, 5) for event in events], axis=0).astype(np.float32) / np.float32(32768)


def test_what_is_shipped_is_small_and_goes_through_the_loader_as_an_audioldm2_without_a_vocoder(
    decoder: SoundDecoder,
) -> None:
    assert sum(file.stat().st_size for file in tiny.FOLDER.rglob("*.safetensors")) <= MOST_BYTES
    widths = read_sound_decoder(tiny.FOLDER, 128)
    assert widths.columns == tuple(decoder.module.unet.conv_in.columns.shape) == (48, 8, 3, 3)
    assert (decoder.feature_size, decoder.seconds) == (128, 2.0)
    assert isinstance(decoder.module.vocoder, GriffinLim)


@pytest.mark.parametrize(("seconds", "samples"), [(2.0, 32000), (1.0, 16000), (0.33, 5280)])
def test_a_sound_is_as_long_as_it_was_asked_to_be(
    decoder: SoundDecoder, told: Tensor, seconds: float, samples: int
) -> None:
    (made,) = decoder.decode(
        told[:1], [torch.Generator().manual_seed(0)], SoundSampling(steps=1, seconds=seconds), [waves("bell")]
    )
    assert made.samples.shape == (samples,) and made.flags == () and made.samples.any()


def test_a_sound_is_the_same_again_and_hangs_on_its_feature_and_its_source(decoder: SoundDecoder, told: Tensor) -> None:
    quick = SoundSampling(steps=3, guidance_scale=2.0, seconds=0.64)

    def drawn(row: int, source: str) -> NDArray[np.float32]:
        given = waves(source)[:10240] if source else None
        return sounds_of_features(decoder, told[row : row + 1], [given], quick)[0]

    first = drawn(0, "rain")
    assert np.array_equal(drawn(0, "rain"), first)
    assert not np.array_equal(drawn(1, "rain"), first) and not np.array_equal(drawn(0, "wind"), first)


def test_edits_are_nearer_to_their_targets_than_the_sounds_that_were_given(decoder: SoundDecoder, told: Tensor) -> None:
    sources = [waves("rain", "bell"), waves("dog"), waves("rain", "siren")]
    targets = [waves("bell"), waves("dog", "clock"), waves("siren")]
    made = sounds_of_features(decoder, told[1:], sources, SAMPLING)

    def distance(sounds: Sequence[NDArray[np.float32]]) -> float:
        return sum(log_spectral_distance(one, target) for one, target in zip(sounds, targets, strict=True))

    assert distance(list(made)) < 0.9 * distance(sources)


def test_the_distance_is_in_decades_of_power() -> None:
    """As metrics.extractors.log_spectral's third column, which the rooms keep apart."""
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32) / 10
    assert log_spectral_distance(noise, noise) == 0
    assert log_spectral_distance(noise, noise / 10) == pytest.approx(2.0, abs=1e-3)
    assert mean([1.0, 2.0, 3.0]).value == 2 and mean([1.0, 2.0, 3.0]).low == pytest.approx(2 - 1.96 / 3**0.5, abs=1e-3)


def small_world() -> World:
    """Three stems, one mixture."""
    stems = np.stack([sound(event, 7) for event in ("rain", "bell", "dog")])
    names = ("bell", "rain", "dog")
    heard = {"bell": "a bell", "rain": "rain", "dog": "a dog"}
    mixture = Mixture(0, 1, 2, "a bell and rain", "rain and a dog")
    return World(
        {}, names, {}, heard, (), np.zeros((0, 64, 64, 3), np.uint8), stems, ("rain", "bell", "dog"), (mixture,)
    )


def test_the_target_of_an_edit_is_as_loud_as_its_source_says() -> None:
    """What stays is the same in both, so that a mixture's spectrogram less what was dropped is that of what is left."""
    edits = edits_of(small_world(), 1)
    assert [edit.name for edit in edits] == ["", "", "", "", "", "add", "drop", "replace"]
    sounds = sounds_of(small_world(), edits)
    drop = edits[6]
    assert drop.source == (0, 1) and drop.target == (0,)
    rows = [sounds.number[drop.target], sounds.number[drop.source]]
    target, source = sounds.spectrograms(rows, [rows[1], rows[1]])
    mixture = np.sum(small_world().stems[[0, 1]], axis=0).astype(np.float32) / 32768
    torch.testing.assert_close(source, mel.log_mel(mixture, 200), rtol=0, atol=2e-2)
    gain = 0.5 / np.abs(mixture - mixture.mean()).max()
    alone = torch.from_numpy(small_world().stems[0].astype(np.float32) / 32768 * np.float32(gain))
    torch.testing.assert_close(target, mel.bands(alone).clamp(min=mel.FLOOR).log(), rtol=0, atol=0.2)


def test_lessons_pair_the_latents_of_an_edit_and_the_features_of_its_target() -> None:
    world, imagebind = small_world(), load(tiny.IMAGEBIND, modalities=("text", "audio"))
    vae = new_vae((8, 8, 8, 8)).requires_grad_(False).eval()
    edits = edits_of(world, 1)
    lessons = lessons_of(world, edits, sounds_of(world, edits), vae, imagebind)
    assert lessons.sources.tolist()[:5] == [-1] * 5 and (lessons.sources[5:] >= 0).all()
    assert lessons.sources[6] == lessons.sources[7] != lessons.targets[6]
    # A sound that is read is a source and, without one, a target: one and the same latents.
    assert lessons.sources[5] == lessons.targets[0] and lessons.sources[6] == lessons.targets[3]
    captions = [
        "rain",
        "a bell",
        "a dog",
        "a bell and rain",
        "rain and a dog",
        "a bell and rain",
        "rain",
        "rain and a dog",
    ]
    torch.testing.assert_close(lessons.features[:, 1], text_features(imagebind, captions))
    assert torch.equal(lessons.features[3], lessons.features[5])


@pytest.mark.heavy
def test_training_twice_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "world"
    data.mkdir()
    write_set(Plan("training", 1, "training", groups=1, stems=1, mixtures=4), data / "training", 0, 1)
    write_set(Plan("validation", 2, "validation", groups=1, stems=1, mixtures=3), data / "validation", 0, 1)
    names = ("shape", "colour", "pattern", "background", "extra")
    said = {name: getattr(attributes, f"{name}s".upper()) for name in names}
    said |= {"events": attributes.EVENTS, "where": attributes.WHERE, "heard": attributes.HEARD}
    (data / "world.json").write_text(json.dumps(said))
    monkeypatch.setattr(tiny, "VaePlan", lambda: VaePlan(steps=2, batch=2))
    monkeypatch.setattr(tiny, "UnetPlan", lambda: UnetPlan(steps=2, batch=4))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        figures = tiny.train(data, tmp_path / name, 3)
    files = sorted(file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*") if file.is_file())
    assert len(files) >= 6 and set(figures) >= {"retrieved", "lsd_add", "lsd_drop_copy_input"}
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    made = tiny.read(tmp_path / "one")
    assert made.seconds == 2.0


def test_the_columns_for_editing_and_the_linear_layer_are_trained_too() -> None:
    world, imagebind = small_world(), load(tiny.IMAGEBIND, modalities=("text", "audio"))
    edits = edits_of(world, 1)
    vae = new_vae((8, 8, 8, 8)).requires_grad_(False).eval()
    lessons = lessons_of(world, edits, sounds_of(world, edits), vae, imagebind)
    denoiser = new_denoiser(imagebind.config.dimension, 0)
    before = denoiser.language_of_audio.weight.clone()
    assert not denoiser.unet.conv_in.columns.any()
    train_unet(denoiser, lessons, lessons, UnetPlan(steps=2, batch=8), 0)
    assert denoiser.unet.conv_in.columns.any() and not torch.equal(denoiser.language_of_audio.weight, before)
