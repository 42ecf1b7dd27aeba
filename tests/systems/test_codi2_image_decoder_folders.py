"""Folders that CoDi-2's image decoder is read from: what may be missing, and what is refused in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from codi2_folders import reconfigure
from diffusers import StableUnCLIPImg2ImgPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from harness.errors import UsageError
from systems.codi2.image_decoder import ImageDecoder


@pytest.fixture
def copied(checkpoints: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints / "stable-unclip", tmp_path / "copied"))


def test_a_folder_without_an_image_encoder_will_do(copied: Path) -> None:
    reconfigure(copied / "model_index.json", image_encoder=[None, None], feature_extractor=[None, None])
    for part in ("image_encoder", "feature_extractor"):
        shutil.rmtree(copied / part)
    assert ImageDecoder.load(copied, torch.float32).feature_size == 32


def test_another_pipeline_is_refused(checkpoints: Path) -> None:
    with pytest.raises(
        UsageError, match=r"stable-diffusion: a StableDiffusionPipeline, and CoDi-2 draws with a Stable"
    ):
        ImageDecoder.load(checkpoints / "stable-diffusion", torch.float32)


def without_a_weight(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["class_embedding.linear_1.weight"]
    save_file(weights, file, metadata={"format": "pt"})


def with_wider_features(folder: Path) -> None:
    file = folder / "image_normalizer" / "diffusion_pytorch_model.safetensors"
    save_file({"mean": torch.zeros(1, 48), "std": torch.ones(1, 48)}, file, metadata={"format": "pt"})
    reconfigure(folder / "image_normalizer" / "config.json", embedding_dim=48)


def with_three_channels(folder: Path) -> None:
    reconfigure(folder / "vae" / "config.json", latent_channels=3)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    rows: dict[str, tuple[slice, ...]] = {
        "encoder.conv_out.weight": (slice(6),),
        "encoder.conv_out.bias": (slice(6),),
        "quant_conv.weight": (slice(6), slice(6)),
        "quant_conv.bias": (slice(6),),
        "post_quant_conv.weight": (slice(3), slice(3)),
        "post_quant_conv.bias": (slice(3),),
        "decoder.conv_in.weight": (slice(None), slice(3)),
    }
    cut = {name: value[rows.get(name, ())].contiguous() for name, value in load_file(file).items()}
    save_file(cut, file, metadata={"format": "pt"})


def scheduler(part: str, **values: Any) -> Callable[[Path], None]:
    return lambda folder: reconfigure(folder / part / "scheduler_config.json", **values)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_a_weight, r"unet: weights of another .* missing \(first: class_embedding.linear_1.weight\)"),
        (with_wider_features, "UNet takes class vectors of 64 numbers by projection, and features of 48 make .* of 96"),
        (with_three_channels, "UNet turns 4 channels into 4, the VAE has 3"),
        (
            lambda folder: reconfigure(folder / "unet" / "config.json", sample_size=None),
            "sample_size is None, which is no",
        ),
        (scheduler("scheduler", num_train_timesteps=500), "a scheduler has 500 timesteps, Stable unCLIP's have 1000"),
        (scheduler("image_noising_scheduler", num_train_timesteps=10), "a scheduler has 10 timesteps"),
        (scheduler("scheduler", prediction_type="flow"), "prediction_type is none of epsilon, sample, v_prediction"),
        (scheduler("scheduler", beta_schedule="wave"), "wave"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(
    copied: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(copied)
    with pytest.raises(UsageError, match=said) as refused:
        ImageDecoder.load(copied, torch.float32)
    assert str(refused.value).startswith(str(copied)) and "\n" not in str(refused.value)


def test_a_text_encoder_of_another_width_is_refused(copied: Path) -> None:
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(copied)
    pipeline.text_encoder = CLIPTextModel(
        type(pipeline.text_encoder.config)(vocab_size=3000, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    )
    with pytest.raises(ValueError, match="UNet reads text 32 wide, the text encoder's is 16"):
        ImageDecoder(pipeline)


def test_weights_that_are_not_finite_are_refused_by_name(copied: Path) -> None:
    file = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"][0, 0, 0, 0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"unet: conv_in\.weight holds NaN or infinity"):
        ImageDecoder.load(copied, torch.float32)
