"""Which folders and tensors the sound decoder takes, and how it refuses the others: in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from codi2_folders import reconfigure
from diffusers import AudioLDM2UNet2DConditionModel, AutoencoderKL
from safetensors.torch import load_file, save_file
from sound_toys import FEATURE, LATENTS, language_of_audio, write_audioldm2
from torch import Tensor

from harness.errors import UsageError
from systems.codi2.sound_decoder import NOT_NEEDED, SoundDecoder, SoundSampling

QUICK = SoundSampling(steps=2, seconds=0.64)
LINEAR = language_of_audio(1)
NO_SOURCE = (None,)

UNREAD = {
    "text_encoder": ["transformers", "ClapModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "projection_model": ["audioldm2", "AudioLDM2ProjectionModel"],
    "language_model": ["transformers", "GPT2Model"],
    "tokenizer": ["transformers", "RobertaTokenizerFast"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "feature_extractor": ["transformers", "ClapFeatureExtractor"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sound") / "audioldm2"
    write_audioldm2(made, 0)
    return made


@pytest.fixture(scope="module")
def decoder(folder: Path) -> SoundDecoder:
    return SoundDecoder.load(folder, torch.float32, LINEAR, None)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(count: int) -> Tensor:
    return 3 * random(count, FEATURE, seed=7)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_of_a_published_folder_nothing_is_read_but_what_sounds(copied: Path, decoder: SoundDecoder) -> None:
    reconfigure(copied / "model_index.json", **UNREAD)
    for name in UNREAD:
        (copied / name).mkdir()
        for file in ("config.json", "vocab.json", "merges.txt", "tokenizer.json", "model.safetensors"):
            (copied / name / file).write_text("{}")
    found = SoundDecoder.load(copied, torch.float32, LINEAR, None)
    expected = decoder.denoise(features(1), seeded(5), QUICK, NO_SOURCE)
    assert torch.equal(found.denoise(features(1), seeded(5), QUICK, NO_SOURCE), expected)
    parts = {name.split(".")[0] for name in found.module.state_dict()}
    assert parts == {"unet", "vae", "vocoder", "language_of_audio"} and set(UNREAD) == set(NOT_NEEDED)


def test_another_pipeline_is_refused(checkpoints: Path) -> None:
    with pytest.raises(UsageError, match=r"stable-unclip: a StableUnCLIP\w+, and CoDi-2 sounds with an AudioLDM2Pip"):
        SoundDecoder.load(checkpoints / "stable-unclip", torch.float32, LINEAR, None)


def without_a_weight(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file, metadata={"format": "pt"})


def with_a_plain_unet(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    AudioLDM2UNet2DConditionModel(
        in_channels=LATENTS,
        out_channels=LATENTS,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=FEATURE,
        attention_head_dim=4,
    ).save_pretrained(folder / "unet")


def with_stereo(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    blocks = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    AutoencoderKL(2, 2, **blocks, block_out_channels=(8,), latent_channels=LATENTS, norm_num_groups=8).save_pretrained(
        folder / "vae"
    )


def with_other_latents(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    blocks = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    AutoencoderKL(1, 1, **blocks, block_out_channels=(8,), latent_channels=4, norm_num_groups=8).save_pretrained(
        folder / "vae"
    )


def config(part: str, file: str = "config.json", **values: Any) -> Callable[[Path], None]:
    return lambda folder: reconfigure(folder / part / file, **values)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_a_weight, r"unet: weights of another .* missing \(first: conv_in.weight\)"),
        (with_a_plain_unet, "cross_attention_dim is 32, and AudioLDM2's reads two streams at each level"),
        (with_stereo, "VAE takes 2 channels, and a mel spectrogram has one"),
        (with_other_latents, "UNet turns 8 channels into 8, the VAE has 4"),
        (
            config("vocoder", sampling_rate=48000),
            "vocoder makes 48000 Hz of 64 mel bands, and 16000 of 64 are expected",
        ),
        (config("vocoder", upsample_rates=[5, 4, 2, 2, 1]), "vocoder makes 80 samples of a mel frame, and 160 are"),
        (config("scheduler", "scheduler_config.json", num_train_timesteps=500), "scheduler has 500 timesteps"),
        (config("scheduler", "scheduler_config.json", prediction_type="flow"), "prediction_type is none of"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(
    copied: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(copied)
    with pytest.raises(UsageError, match=said) as refused:
        SoundDecoder.load(copied, torch.float32, LINEAR, None)
    assert str(refused.value).startswith(str(copied)) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("linear", "editing", "said"),
    [
        (
            {"weight": torch.zeros(128, 16), "bias": torch.zeros(128)},
            None,
            r"8 tokens 16 wide and a feature of 32 .* language_of_audio.weight must be \(128, 32\); it is \(128, 16\)",
        ),
        (LINEAR | {"bias": torch.zeros(64)}, None, r"language_of_audio.bias must be \(128,\); it is \(64,\)"),
        (LINEAR, torch.zeros(8, 4, 3, 3), r"columns of shape \(8, 4, 3, 3\), and this UNet's .* needs \(8, 8, 3, 3\)"),
    ],
)
def test_trained_tensors_that_do_not_fit_the_folder_are_refused(
    folder: Path, linear: dict[str, Tensor], editing: Tensor | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        SoundDecoder.load(folder, torch.float32, linear, editing)
    assert str(refused.value).startswith(str(folder))


def test_features_of_another_size_are_refused(decoder: SoundDecoder) -> None:
    assert (decoder.feature_size, decoder.rate) == (FEATURE, 16000)
    with pytest.raises(UsageError, match=r"features of shape \(16,\), and this sound decoder takes 32 numbers"):
        decoder.decode(torch.ones(1, 16), seeded(5), QUICK, NO_SOURCE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1000),
        ("guidance_scale", -0.1),
        ("guidance_scale", float("inf")),
        ("source_guidance_scale", float("nan")),
        ("strength", 1.01),
        ("strength", -0.01),
        ("seconds", 0.05),
        ("seconds", 61.0),
        ("seconds", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}={value}: must be"):
        SoundSampling(**{name: value})  # type: ignore[arg-type]
