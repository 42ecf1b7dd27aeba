"""Cnn14 against its equations written out on the official keys, and in every format its weights come in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cnn14_reference import dft, official_shapes, official_state, published
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.signal import get_window
from torch import Tensor

from harness.errors import UsageError
from harness.media import encode_audio
from harness.nouns import Media
from metrics.extractors.cnn14 import (
    CNN14_16K,
    CNN14_32K,
    TINY,
    Architecture,
    Cnn14,
    Cnn14At32k,
    Cnn14Tiny,
    Network,
    load,
    prepare,
)
from metrics.tiny import checkpoints as tiny

CLASSES = 527
Sound = NDArray[np.floating]
Hear = Callable[..., tuple[Media, ...]]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return official_state(1, TINY)


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of the official format, as the 32 kHz file is: tensors under "model", and nothing else."""
    file = tmp_path_factory.mktemp("weights") / "cnn14.pth"
    torch.save({"model": state}, file)
    return file


@pytest.fixture(scope="module")
def extractor(weights: Path) -> Cnn14Tiny:
    return Cnn14Tiny(str(weights), "cpu")


@pytest.fixture(scope="module")
def hear(tmp_path_factory: pytest.TempPathFactory) -> Hear:
    """Writes a sound to a file and returns it as the row of a batch."""
    folder = tmp_path_factory.mktemp("sounds")

    def row(samples: Sound, rate: int = 16_000) -> tuple[Media, ...]:
        path = folder / f"{len([*folder.iterdir()])}.flac"
        path.write_bytes(encode_audio(samples, rate))
        return (Media("audio", uri=str(path)),)

    return row


def noise(seed: int, samples: int = 40_000) -> Sound:
    """A sound with a colour of its own, in whole 16-bit steps so that it comes back from its file as it was."""
    generator = np.random.default_rng(seed)
    drawn = np.convolve(generator.normal(size=samples), generator.normal(size=9), mode="same")
    return np.asarray(np.rint(drawn / np.abs(drawn).max() * 10_000) / 32_768)


def test_the_state_is_the_84_tensors_of_the_official_file() -> None:
    with torch.device("meta"):
        own = {key: tuple(tensor.shape) for key, tensor in Network(CNN14_16K).state_dict().items()}
    assert own == official_shapes(width=64, window=512)
    assert len(own) == 84
    assert sum(int(np.prod(shape)) for shape in own.values()) == 81_049_500


def test_features_are_those_of_the_equations_on_the_stored_kernels(
    state: dict[str, Tensor], extractor: Cnn14Tiny, hear: Hear
) -> None:
    sounds = [noise(seed) for seed in range(3)]
    found = extractor.extract([hear(sound) for sound in sounds])
    assert found.shape == (3, TINY.dim + CLASSES) and found.dtype == np.float32
    np.testing.assert_allclose(found, published(state, sounds), rtol=0, atol=1e-5)
    assert (found[:, : TINY.dim] >= 0).all() and (found[:, : TINY.dim] > 0).any()
    assert np.abs(found[0] - found[1]).max() > 0.1


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "architecture", "hop"), [(Cnn14, CNN14_16K, 160), (Cnn14At32k, CNN14_32K, 320)], ids=["16k", "32k"]
)
def test_the_full_size_features_are_those_of_the_equations(
    kind: type[Cnn14], architecture: Architecture, hop: int, tmp_path: Path, hear: Hear
) -> None:
    rate = architecture.rate
    state = official_state(0, architecture)
    torch.save({"model": state}, tmp_path / "official.pth")
    sounds = [noise(seed, samples=3 * rate) for seed in range(2)]
    found = kind(str(tmp_path / "official.pth"), "cpu").extract([hear(sound, rate) for sound in sounds])
    assert found.shape == (2, 2048 + CLASSES)
    np.testing.assert_allclose(found, published(state, sounds, hop), rtol=0, atol=1e-4)


@pytest.mark.heavy
def test_the_full_size_folder_of_init_is_loaded(tmp_path: Path, hear: Hear) -> None:
    tiny.write_cnn14(tmp_path, seed=0)
    found = Cnn14(str(tmp_path), "cpu").extract([hear(noise(0)), hear(noise(1))])
    expected = published(load_file(tmp_path / "model.safetensors"), [noise(0), noise(1)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_ten_seconds_are_1001_frames_of_257_bins(extractor: Cnn14Tiny) -> None:
    assert extractor.network.spectrogram_extractor(torch.zeros(2, 160_000)).shape == (2, 257, 1001)


@pytest.mark.parametrize("architecture", [CNN14_16K, CNN14_32K], ids=["16k", "32k"])
def test_the_kernels_and_mel_filters_of_init_are_the_published_ones(architecture: Architecture) -> None:
    expected = official_state(0, architecture_of(architecture, width=1))
    own = Network(architecture_of(architecture, width=1)).state_dict()
    for part in ("conv_real", "conv_imag"):
        key = f"spectrogram_extractor.stft.{part}.weight"
        torch.testing.assert_close(own[key], expected[key], rtol=0, atol=1e-6)
    torch.testing.assert_close(own["logmel_extractor.melW"], expected["logmel_extractor.melW"], rtol=0, atol=5e-8)


def architecture_of(one: Architecture, width: int) -> Architecture:
    return Architecture(one.rate, one.window, one.hop, one.highest, width)


def test_a_sound_with_fewer_than_32_frames_is_refused_by_the_network(extractor: Cnn14Tiny) -> None:
    with pytest.raises(UsageError, match=r"4800 samples is too short.* 4960 would do"):
        extractor.network(torch.zeros(1, 4800))
    with pytest.raises(UsageError, match="too short"):
        extractor.network(torch.zeros(1, 4959))
    assert torch.isfinite(extractor.network(torch.zeros(1, 4960))).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([5_000, 32_000, 33_001, 48_000])), min_size=1, max_size=6))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_of_any_lengths_is_its_rows_alone_in_their_order(
    extractor: Cnn14Tiny, hear: Hear, drawn: list[tuple[int, int]]
) -> None:
    rows = [hear(noise(seed, samples)) for seed, samples in drawn]
    alone = np.concatenate([extractor.extract([row]) for row in rows])
    np.testing.assert_allclose(extractor.extract(rows), alone, rtol=0, atol=5e-5)


def test_the_sounds_of_a_batch_that_are_equally_long_go_through_the_network_together(
    extractor: Cnn14Tiny, hear: Hear
) -> None:
    seen: list[tuple[int, ...]] = []
    hook = extractor.network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    try:
        extractor.extract(
            [hear(noise(0, 48_000)), hear(noise(1, 5_000)), hear(noise(2, 48_000)), hear(noise(3, 9_000))]
        )
    finally:
        hook.remove()
    assert seen == [(2, 32_000), (2, 48_000)]


def test_a_short_sound_is_padded_with_zeros_behind_it_to_two_seconds() -> None:
    sound = noise(0, 10_000).astype(np.float32)
    padded = prepare(sound, 16_000)
    assert padded.shape == (32_000,) and padded.dtype == np.float32
    np.testing.assert_allclose(padded[:10_000], sound - sound.mean(), rtol=0, atol=1e-7)
    assert not padded[10_000:].any()
    assert len(prepare(sound, 32_000)) == 64_000
    assert len(prepare(noise(0, 32_001).astype(np.float32), 16_000)) == 32_001


def test_the_mean_plays_no_part_and_the_level_does(extractor: Cnn14Tiny, hear: Hear) -> None:
    sound = noise(0)
    plain, lifted, quieter = extractor.extract([hear(sound), hear(sound + 0.25), hear(sound / 4)])
    np.testing.assert_allclose(lifted, plain, rtol=0, atol=1e-4)
    assert np.abs(quieter - plain).max() > 0.1


def test_silence_has_features_like_any_other_sound(state: dict[str, Tensor], extractor: Cnn14Tiny, hear: Hear) -> None:
    found = extractor.extract([hear(np.zeros(40_000)), hear(np.full(40_000, 0.25))])
    np.testing.assert_allclose(found, published(state, [np.zeros(40_000)] * 2), rtol=0, atol=1e-5)


def test_the_network_never_sees_gradients_training_or_reduced_precision(extractor: Cnn14Tiny, hear: Hear) -> None:
    seen: list[tuple[Any, ...]] = []

    def look(*_: object) -> None:
        seen.append((torch.is_inference_mode_enabled(), torch.get_float32_matmul_precision(),
                     torch.backends.cudnn.allow_tf32, extractor.network.training))  # fmt: skip

    hook = extractor.network.register_forward_pre_hook(look)
    try:
        extractor.extract([hear(noise(0))])
    finally:
        hook.remove()
    assert seen == [(True, "highest", False, False)]


# Formats.


def twin_of_the_official_16k_file(state: dict[str, Tensor], sampler: object, file: Path, legacy: bool) -> None:
    """A training run's file; before torch 1.6 it was no zip, before numpy 2 its arrays were built by another name."""
    saved = {"iteration": 500_000, "model": state, "sampler": sampler}
    torch.save(saved, file, _use_new_zipfile_serialization=not legacy)
    if legacy:
        data = file.read_bytes()
        assert b"cnumpy._core.multiarray\n" in data
        file.write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


SAMPLER = {
    "indexes": np.arange(12),
    "indexes_per_class": [np.arange(5), np.arange(3)],
    "pointers_of_classes": [0, 4],
    "queue": [3, 1, 2],
    "pointer": 7,
}


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_the_16k_file_is_read_with_the_arrays_of_its_sampler(
    state: dict[str, Tensor], extractor: Cnn14Tiny, tmp_path: Path, hear: Hear, legacy: bool
) -> None:
    before = {*torch.serialization.get_safe_globals()}
    twin_of_the_official_16k_file(state, SAMPLER, tmp_path / "twin.pth", legacy)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "twin.pth")
    found = Cnn14Tiny(str(tmp_path / "twin.pth"), "cpu").extract([hear(noise(0))])
    np.testing.assert_array_equal(found, extractor.extract([hear(noise(0))]))
    assert {*torch.serialization.get_safe_globals()} == before


class Payload:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch pwned",))


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_any_other_object_beside_the_tensors_is_refused_and_never_built(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    sampler = SAMPLER | {"more": Payload()}
    twin_of_the_official_16k_file(state, sampler, tmp_path / "twin.pth", legacy)
    with pytest.raises(UsageError, match="Python objects, which are never loaded"):
        Cnn14Tiny(str(tmp_path / "twin.pth"), "cpu")
    assert not (tmp_path / "pwned").exists()


def test_the_tensors_alone_are_read_from_torch_files_safetensors_and_folders(
    state: dict[str, Tensor], extractor: Cnn14Tiny, tmp_path: Path, hear: Hear
) -> None:
    torch.save(state, tmp_path / "bare.pth")
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "cnn14", "hidden_size": TINY.dim}))
    expected = extractor.extract([hear(noise(0))])
    for place in (tmp_path / "bare.pth", tmp_path / "model.safetensors", tmp_path):
        np.testing.assert_array_equal(Cnn14Tiny(str(place), "cpu").extract([hear(noise(0))]), expected)


@pytest.mark.parametrize(
    "key",
    [
        "spectrogram_extractor.stft.conv_imag.weight",
        "logmel_extractor.melW",
        "bn0.running_mean",
        "conv_block6.bn2.num_batches_tracked",
        "fc_audioset.bias",
    ],
)
def test_a_missing_tensor_is_named_be_it_of_the_front_end_or_a_statistic(
    state: dict[str, Tensor], tmp_path: Path, key: str
) -> None:
    save_file({name: tensor for name, tensor in state.items() if name != key}, tmp_path / "less.safetensors")
    with pytest.raises(UsageError, match=f"missing key: {key} .*unexpected key: none"):
        load(tmp_path / "less.safetensors", TINY)


def changed(state: dict[str, Tensor], file: Path, **tensors: Tensor) -> Path:
    save_file(state | {name.replace("__", "."): tensor for name, tensor in tensors.items()}, file)
    return file


def test_an_unexpected_a_misshapen_and_a_damaged_tensor_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    with pytest.raises(UsageError, match=r"unexpected key: conv_block7\.conv1\.weight"):
        load(changed(state, file, conv_block7__conv1__weight=torch.zeros(1)), TINY)
    with pytest.raises(UsageError, match=r"fc1.bias has the shape \(65,\), expected \(96,\)"):
        load(changed(state, file, fc1__bias=torch.zeros(65)), TINY)
    with pytest.raises(UsageError, match=r"bn0\.running_var holds NaN"):
        load(changed(state, file, bn0__running_var=torch.full((64,), torch.nan)), TINY)


def test_weights_for_another_rate_are_refused(tmp_path: Path) -> None:
    save_file(official_state(0, architecture_of(CNN14_32K, width=2)), tmp_path / "32k.safetensors")
    with pytest.raises(UsageError, match=r"\(513, 1, 1024\), expected \(257, 1, 512\)"):
        load(tmp_path / "32k.safetensors", TINY)


def test_kernels_of_another_window_or_sign_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    symmetric, _ = dft(get_window("hann", 512, fftbins=False))
    with pytest.raises(UsageError, match=r"stft.conv_real.weight is not the DFT of 512 samples under a periodic Hann"):
        load(changed(state, file, spectrogram_extractor__stft__conv_real__weight=symmetric), TINY)
    imaginary = -state["spectrogram_extractor.stft.conv_imag.weight"]
    with pytest.raises(UsageError, match=r"stft.conv_imag.weight is not the DFT"):
        load(changed(state, file, spectrogram_extractor__stft__conv_imag__weight=imaginary), TINY)


def test_the_mel_filters_are_those_of_the_file(state: dict[str, Tensor], tmp_path: Path, hear: Hear) -> None:
    own = state | {"logmel_extractor.melW": torch.rand(257, 64, generator=torch.Generator().manual_seed(0))}
    save_file(own, tmp_path / "own.safetensors")
    found = Cnn14Tiny(str(tmp_path / "own.safetensors"), "cpu").extract([hear(noise(0))])
    np.testing.assert_allclose(found, published(own, [noise(0)]), rtol=0, atol=1e-5)


def test_init_writes_the_same_bytes_for_the_same_seed_and_sounds_are_told_apart(tmp_path: Path, hear: Hear) -> None:
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        tiny.write_cnn14_tiny(tmp_path / name, seed)
        torch.rand(3)
    one, again, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "again", "other"))
    assert one == again != other
    assert len(one) < 2_700_000
    first, second = Cnn14Tiny(str(tmp_path / "one"), "cpu").extract([hear(noise(0)), hear(noise(1))])
    assert np.abs(first - second).max() > 0.05
