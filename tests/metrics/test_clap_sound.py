"""CLAP on sounds and texts: transformers' own pipeline, the equations of laion-clap, and what a row depends on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import clap_toys
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import ClapFeatureExtractor, ClapModel, RobertaConfig, RobertaModel, RobertaTokenizer

from harness.errors import UsageError
from harness.media import encode_audio, encode_image
from harness.nouns import Media
from metrics.extractors.clap import CLAP, HTSAT_UNFUSED, SAMPLES, TINY, Architecture, CLAPTiny, prepare
from metrics.tiny import checkpoints as tiny

Sing = Callable[..., tuple[Media, ...]]
TEXTS = ["a dog barks", "rain, while a church bell rings in the background", "", "A Café, 12 dogs & it's  loud!", "犬"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "clap-tiny"
    tiny.write_clap_tiny(folder, seed=1)
    clap_toys.make_loud(folder, seed=2)
    return folder


@pytest.fixture(scope="module")
def extractor(folder: Path) -> CLAPTiny:
    return CLAPTiny(str(folder), "cpu")


@pytest.fixture
def sing(tmp_path: Path) -> Sing:
    """Writes a chirp in noise of a given length and rate and returns it as the row of a batch."""

    def sound(seed: int, seconds: float = 2.0, rate: int = 16_000) -> tuple[Media, ...]:
        path = tmp_path / f"{seed}-{seconds}-{rate}.flac"
        path.write_bytes(encode_audio(chirp(seed, seconds, rate), rate))
        return (Media("audio", uri=str(path)),)

    return sound


def chirp(seed: int, seconds: float, rate: int) -> NDArray[np.float64]:
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return np.asarray(0.4 * np.sin(2 * np.pi * (200 + 150 * seed + 40 * time) * time) + 0.02 * noise)


def texts(*values: str) -> list[tuple[Media, ...]]:
    return [(Media("text", text=value),) for value in values]


def heard(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """laion-clap's float32_to_int16 and int16_to_float32, in their words, of the first ten seconds."""
    integers = (np.clip(samples, a_min=-1.0, a_max=1.0) * 32767.0).astype(np.int16)
    return np.asarray((integers / 32767.0).astype(np.float32)[:480_000])


def published_spectrograms(sounds: list[NDArray[np.float32]]) -> torch.Tensor:
    """As preprocessor_config.json of laion/clap-htsat-unfused sets it."""
    front_end = ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=48_000,
        hop_length=480,
        max_length_s=10,
        fft_window_size=1024,
        frequency_min=50,
        frequency_max=14_000,
        truncation="rand_trunc",
        padding="repeatpad",
    )
    return front_end([heard(sound) for sound in sounds], sampling_rate=48_000, return_tensors="pt")["input_features"]


def written(seed: int, seconds: float) -> NDArray[np.float32]:
    """The samples that a file of 48 kHz gives back."""
    return (np.rint(chirp(seed, seconds, 48_000) * 32768) / 32768).astype(np.float32)


def check_against_transformers(kind: type[CLAP], folder: Path, sing: Sing) -> None:
    lengths = [0.01, 2.0, 7.5, 10.0, 12.0]
    rows = [sing(seed, seconds, 48_000) for seed, seconds in enumerate(lengths)]
    network = ClapModel.from_pretrained(folder).eval()
    tokens = RobertaTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    spectrograms = published_spectrograms([written(seed, seconds) for seed, seconds in enumerate(lengths)])
    with torch.inference_mode():
        sounds = network.get_audio_features(input_features=spectrograms).pooler_output.numpy()
        words = network.get_text_features(**tokens).pooler_output.numpy()
    found = kind(str(folder), "cpu").extract([*rows, *texts(*TEXTS)])
    assert found.shape == (len(rows) + len(TEXTS), kind.architecture.dim) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate([sounds, words]), rtol=0, atol=1e-5)


def check_against_the_equations(kind: type[CLAP], folder: Path, sing: Sing, shape: Architecture) -> None:
    state = clap_toys.to_official(load_file(folder / "model.safetensors"), shape)
    sounds = [written(1, 3.0), written(2, 10.0)]
    tokens = RobertaTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    roberta = RobertaModel(
        RobertaConfig(
            vocab_size=shape.text.vocabulary,
            hidden_size=shape.text.width,
            intermediate_size=4 * shape.text.width,
            num_hidden_layers=shape.text.layers,
            num_attention_heads=shape.text.heads,
            max_position_embeddings=shape.text.longest + 2,
            type_vocab_size=1,
            layer_norm_eps=1e-12,
        )
    ).eval()
    theirs = {key.removeprefix("text_branch."): state[key] for key in state if key.startswith("text_branch.")}
    del theirs["embeddings.position_ids"]
    roberta.load_state_dict(theirs)
    with torch.inference_mode():
        audio = clap_toys.audio_forward(state, published_spectrograms(sounds), shape)
        text = clap_toys.projected(state, roberta(**tokens).pooler_output, "text")
    found = kind(str(folder), "cpu").extract([sing(1, 3.0, 48_000), sing(2, 10.0, 48_000), *texts(*TEXTS)])
    np.testing.assert_allclose(found, torch.cat([audio, text]).numpy(), rtol=0, atol=1e-5)


def test_sounds_and_texts_get_the_embeddings_of_transformers_pipeline(folder: Path, sing: Sing) -> None:
    check_against_transformers(CLAPTiny, folder, sing)


def test_sounds_and_texts_get_the_embeddings_of_laion_claps_equations(folder: Path, sing: Sing) -> None:
    check_against_the_equations(CLAPTiny, folder, sing, TINY)


@pytest.mark.heavy
def test_the_full_size_network_gives_both(tmp_path: Path, sing: Sing) -> None:
    tiny.write_clap(tmp_path / "full", seed=0)
    check_against_transformers(CLAP, tmp_path / "full", sing)
    check_against_the_equations(CLAP, tmp_path / "full", sing, HTSAT_UNFUSED)


def test_embeddings_have_unit_length_and_differ(extractor: CLAPTiny, sing: Sing) -> None:
    found = extractor.extract([sing(0), sing(1), *texts("a dog", "rain")])
    cosines = found @ found.T
    np.testing.assert_allclose(np.diag(cosines), 1, rtol=0, atol=1e-6)
    assert (np.abs(cosines[np.triu_indices(4, 1)]) < 0.999).all()


def test_a_row_is_what_it_is_alone(extractor: CLAPTiny, sing: Sing) -> None:
    rows = [sing(0, 0.4), *texts("a dog"), sing(1, 11.0), *texts("word " * 90), sing(2, 10.0)]
    together = extractor.extract(rows)
    alone = np.concatenate([extractor.extract([row]) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(extractor.extract(rows[::-1]), together[::-1], rtol=0, atol=1e-6)


def test_extracting_again_gives_the_same_though_the_global_generators_move_on(extractor: CLAPTiny, sing: Sing) -> None:
    rows = [sing(0, 12.0), sing(1, 0.5)]
    before = np.random.get_state()[1].tolist()
    first = extractor.extract(rows)
    assert np.random.get_state()[1].tolist() == before
    np.random.rand(5)
    torch.rand(5)
    np.testing.assert_array_equal(extractor.extract(rows), first)


def test_of_a_long_sound_the_first_ten_seconds_are_heard(extractor: CLAPTiny, tmp_path: Path) -> None:
    samples = chirp(3, 10.0, 48_000)
    rows = []
    for name, tail in (("ten", 0.0), ("quiet", 0.01), ("loud", 0.5)):
        long = np.concatenate([samples, np.full(48_000 if tail else 0, tail)])
        (tmp_path / f"{name}.flac").write_bytes(encode_audio(long, 48_000))
        rows.append((Media("audio", uri=str(tmp_path / f"{name}.flac")),))
    ten, quiet, loud = extractor.extract(rows)
    np.testing.assert_allclose([quiet, loud], [ten, ten], rtol=0, atol=1e-6)


def test_a_short_sound_is_repeated_whole_and_then_padded(extractor: CLAPTiny) -> None:
    once = prepare(written(0, 3.0))
    thrice = np.concatenate([once, once, once, np.zeros(SAMPLES - 3 * len(once), dtype=np.float32)])
    short, padded = extractor.embed_sounds([once, thrice])
    np.testing.assert_allclose(short, padded, rtol=0, atol=1e-6)
    cut = np.concatenate([once, once, once, once])[:SAMPLES]
    assert np.abs(extractor.embed_sounds([cut])[0] - short).max() > 1e-4


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=40))
def test_the_sixteen_bits_of_a_sound_are_laion_claps(values: list[float]) -> None:
    samples = np.array(values, dtype=np.float32)
    found = prepare(samples)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, heard(samples))
    assert np.abs(found).max() <= 1
    assert (np.abs(found) <= np.abs(np.clip(samples, -1, 1)) + 1e-7).all()


def test_a_text_is_cut_at_77_tokens_with_the_end_token_kept(extractor: CLAPTiny) -> None:
    cut, exact, shorter = extractor.extract(texts("a" * 200, "a" * 75, "a" * 74))
    np.testing.assert_array_equal(cut, exact)
    assert np.abs(cut - shorter).max() > 1e-6


def test_a_picture_is_refused(extractor: CLAPTiny, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "dog.png").write_bytes(encode_image(Image.new("RGB", (8, 8))))
    with pytest.raises(UsageError, match=r"dog\.png"):
        extractor.extract([(Media("image", uri=str(tmp_path / "dog.png")),)])
