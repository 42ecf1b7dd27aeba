"""CoDi-2's image decoder beside diffusers' own pipeline and DDIM's equations, and what noise leaves of a feature."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codi2_folders import reconfigure
from diffusers import AutoencoderKL, DDIMScheduler, StableUnCLIPImg2ImgPipeline, UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from harness.errors import UsageError
from systems.codi2.image_decoder import ImageDecoder, Picture, Sampling, surviving_cosine

QUICK = Sampling(steps=4)
TEN_TAGS = (
    "longbody",
    "lowres",
    "bad anatomy",
    "bad hands",
    "missing fingers",
    "extra digit",
    "fewer digits",
    "cropped",
    "worst quality",
    "low quality",
)


@pytest.fixture(scope="module")
def folder(checkpoints: Path) -> Path:
    return checkpoints / "stable-unclip"


@pytest.fixture(scope="module")
def decoder(folder: Path) -> ImageDecoder:
    return ImageDecoder.load(folder, torch.float32)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def unit(count: int) -> Tensor:
    """Features of length 1 in other directions."""
    features = torch.randn(count, 32, generator=torch.Generator().manual_seed(7))
    return features / features.norm(dim=1, keepdim=True)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def pixels(picture: Picture) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(picture.image).astype(np.int64)


def difference(one: Picture, other: Picture) -> float:
    """Mean, in levels of 255."""
    return float(np.abs(pixels(one) - pixels(other)).mean())


def by_hand(folder: Path, prediction: str = "v_prediction") -> Callable[..., Any]:
    """diffusers' own pipeline with everything about CoDi-2 passed in."""
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    text, _ = pipeline.encode_prompt(", ".join(TEN_TAGS), "cpu", 1, False)

    def call(features: Tensor, seeds: Sequence[int], sampling: Sampling, output: str) -> Any:
        texts = text.repeat(len(features), 1, 1)
        return pipeline(
            image_embeds=features,
            prompt_embeds=texts,
            negative_prompt_embeds=texts,
            noise_level=sampling.noise_level,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            generator=seeded(*seeds),
            output_type=output,
        ).images

    return call


def test_the_defaults_are_the_released_codes() -> None:
    assert Sampling() == Sampling(steps=50, guidance_scale=7.5, noise_level=500)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(steps=10),
        Sampling(steps=7, guidance_scale=3.0, noise_level=0),
        Sampling(steps=3, guidance_scale=1.0, noise_level=999),
    ],
)
def test_a_picture_is_bit_for_bit_that_of_the_pipeline_called_by_hand(
    folder: Path, decoder: ImageDecoder, sampling: Sampling
) -> None:
    stock, features = by_hand(folder), 20 * unit(1)
    assert torch.equal(decoder.denoise(features, seeded(5), sampling), stock(features, [5], sampling, "latent"))
    (picture,) = decoder.decode(features, seeded(5), sampling)
    assert np.array_equal(pixels(picture), np.asarray(stock(features, [5], sampling, "pil")[0]))


def test_a_batch_is_that_of_the_pipeline_called_by_hand(folder: Path, decoder: ImageDecoder) -> None:
    stock, features = by_hand(folder), 20 * unit(3)
    expected = stock(features, [5, 6, 7], QUICK, "latent")
    torch.testing.assert_close(decoder.denoise(features, seeded(5, 6, 7), QUICK), expected, rtol=0, atol=1e-5)
    drawn = decoder.decode(features, seeded(5, 6, 7), QUICK)
    for picture, image in zip(drawn, stock(features, [5, 6, 7], QUICK, "pil"), strict=True):
        assert np.abs(pixels(picture) - np.asarray(image).astype(np.int64)).max() <= 1


def test_the_prediction_type_is_the_backbones_own(copied: Path) -> None:
    reconfigure(copied / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    features = 20 * unit(1)
    found = ImageDecoder.load(copied, torch.float32).denoise(features, seeded(5), QUICK)
    assert torch.equal(found, by_hand(copied, "epsilon")(features, [5], QUICK, "latent"))


def test_a_picture_is_that_of_the_equations(folder: Path, decoder: ImageDecoder) -> None:
    feature, steps, guidance, level = 20 * unit(1), 5, 7.5, 500
    generator = torch.Generator().manual_seed(5)
    tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer")(", ".join(TEN_TAGS), padding="max_length").input_ids
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        text = CLIPTextModel.from_pretrained(folder / "text_encoder")(torch.tensor([tokens])).last_hidden_state
        label = class_vector(feature, torch.randn(1, 32, generator=generator), level)

        def guided(x: Tensor, t: int) -> Tensor:
            free = unet(x, t, text, class_labels=torch.zeros(1, 64)).sample
            return free + guidance * (unet(x, t, text, class_labels=label).sample - free)

        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        alphas = np.cumprod(1 - betas)
        x = torch.randn(1, 4, 8, 8, generator=generator)
        for t in (801, 601, 401, 201, 1):
            now, then = alphas[t], alphas[t - 1000 // steps] if t > 1 else alphas[0]
            v = guided(x, t)
            clean, noise = now**0.5 * x - (1 - now) ** 0.5 * v, (1 - now) ** 0.5 * x + now**0.5 * v
            x = then**0.5 * clean + (1 - then) ** 0.5 * noise
        image = 255 * (vae.decode(x / 0.18215).sample[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()

    sampling = Sampling(steps, guidance, level)
    torch.testing.assert_close(decoder.denoise(feature, seeded(5), sampling), x.float(), rtol=1e-4, atol=1e-4)
    assert np.abs(pixels(decoder.decode(feature, seeded(5), sampling)[0]) - image).max() < 0.55


def class_vector(feature: Tensor, noise: Tensor, level: int) -> Tensor:
    """The feature in the cosine schedule's noise, and the level as cosines and sines of falling frequency."""
    bar = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    kept = np.prod(1 - np.minimum(1 - bar[1:] / bar[:-1], 0.999)[: level + 1])
    half = feature.shape[1] // 2
    angles = level * 10000.0 ** (-torch.arange(half) / half)
    noised = kept**0.5 * feature + (1 - kept) ** 0.5 * noise
    return torch.cat([noised, angles.cos()[None], angles.sin()[None]], dim=1).float()


@settings(max_examples=6, deadline=None)
@given(st.permutations([0, 1, 2]), st.integers(1, 3))
def test_a_picture_does_not_depend_on_its_neighbours(
    decoder: ImageDecoder, order: Sequence[int], together: int
) -> None:
    features, chosen = 20 * unit(3), order[:together]
    batch = decoder.denoise(features[chosen], seeded(*chosen), Sampling(steps=2))
    alone = [decoder.denoise(features[[one]], seeded(one), Sampling(steps=2)) for one in chosen]
    torch.testing.assert_close(batch, torch.cat(alone), rtol=0, atol=1e-5)


def test_pictures_are_of_the_size_that_the_unet_was_made_for(copied: Path) -> None:
    reconfigure(copied / "unet" / "config.json", sample_size=[4, 12])
    (picture,) = ImageDecoder.load(copied, torch.float32).decode(20 * unit(1), seeded(5), QUICK)
    assert picture.image.size == (96, 32)


def test_the_same_seed_draws_the_same_picture_and_another_seed_another(decoder: ImageDecoder) -> None:
    features = 20 * unit(1)
    first, again, other = (decoder.decode(features, seeded(seed), QUICK)[0] for seed in (5, 5, 6))
    assert np.array_equal(pixels(first), pixels(again))
    assert difference(first, other) > 5


def test_features_of_length_one_drown_in_the_noise_which_is_said_and_scaled_ones_do_not(decoder: ImageDecoder) -> None:
    """With the same seed the pictures of two small features are the same but for a few levels."""
    small = decoder.decode(unit(2), seeded(5, 5), QUICK)
    large = decoder.decode(20 * unit(2), seeded(5, 5), QUICK)
    assert [picture.flags for picture in small] == [("feature_lost_in_noise",)] * 2
    assert [picture.flags for picture in large] == [()] * 2
    assert difference(*large) > 5 * difference(*small)


@pytest.mark.parametrize(("length", "level", "lost"), [(0, 0, True), (1, 0, False), (1, 500, True), (4, 500, False)])
def test_a_feature_is_lost_by_its_length_and_its_noise(
    decoder: ImageDecoder, length: float, level: int, lost: bool
) -> None:
    (picture,) = decoder.decode(length * unit(1), seeded(5), Sampling(steps=1, noise_level=level))
    assert ("feature_lost_in_noise" in picture.flags) == lost


@settings(max_examples=30, deadline=None)
@given(norm=st.floats(0.5, 60), size=st.sampled_from([256, 1024]), kept=st.floats(0.05, 0.999))
def test_the_expected_cosine_is_that_of_drawn_noise(norm: float, size: int, kept: float) -> None:
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(size, generator=generator)
    vector *= norm / vector.norm()
    noised = kept**0.5 * vector + (1 - kept) ** 0.5 * torch.randn(500, size, generator=generator)
    measured = torch.cosine_similarity(noised, vector, dim=1).mean().item()
    # The mean of 500 spreads by 1 / sqrt(500 size), at most 0.003.
    assert surviving_cosine(torch.tensor(norm), size, kept).item() == pytest.approx(measured, abs=0.012)


def test_at_full_size_noise_500_leaves_a_cosine_of_0_03_of_a_unit_vector() -> None:
    kept = 0.7016**2
    lengths = torch.tensor([1.0, 3.0, 3.1, 23.0])
    cosines = surviving_cosine(lengths, 1024, kept)
    torch.testing.assert_close(cosines, torch.tensor([0.0308, 0.0920, 0.0950, 0.5777]), rtol=0, atol=2e-4)
    assert (cosines < 3 / 1024**0.5).tolist() == [True, True, False, False]


def test_a_feature_that_is_no_number_is_flagged_and_its_neighbour_is_not(decoder: ImageDecoder) -> None:
    features = 20 * unit(2)
    broken = features.clone()
    broken[0, 3] = float("nan")
    first, second = decoder.decode(broken, seeded(5, 6), QUICK)
    assert first.flags == ("nan",) and not pixels(first).any()
    assert second.flags == () and difference(second, decoder.decode(features, seeded(5, 6), QUICK)[1]) < 0.01


def test_an_overflow_in_the_vae_is_flagged_and_not_drawn_white(folder: Path) -> None:
    decoder = ImageDecoder.load(folder, torch.float32)
    decoder.module.vae.decoder.conv_out.bias.data[0] = float("inf")
    (picture,) = decoder.decode(20 * unit(1), seeded(5), QUICK)
    assert picture.flags == ("nan",) and not pixels(picture)[:, :, 0].any()


def test_bfloat16_draws_the_same_noise(folder: Path, decoder: ImageDecoder) -> None:
    features = 20 * unit(1)
    (exact,), (other,) = (decoder.decode(features, seeded(seed), QUICK) for seed in (5, 6))
    (rounded,) = ImageDecoder.load(folder, torch.bfloat16).decode(features, seeded(5), QUICK)
    assert difference(rounded, exact) < difference(other, exact) / 5


@pytest.mark.parametrize(("upcast", "dtype"), [(True, torch.float32), (False, torch.float16)])
def test_in_float16_the_vae_runs_in_float32_where_its_config_says_so(
    copied: Path, upcast: bool, dtype: torch.dtype
) -> None:
    reconfigure(copied / "vae" / "config.json", force_upcast=upcast)
    module = ImageDecoder.load(copied, torch.float16).module
    assert (module.vae.dtype, module.unet.dtype, module.context.dtype) == (dtype, torch.float16, torch.float16)


def test_the_image_encoder_is_not_read_and_the_text_encoder_not_kept(copied: Path, decoder: ImageDecoder) -> None:
    weights = copied / "image_encoder" / "model.safetensors"
    weights.write_bytes(b"not weights")
    features = 20 * unit(1)
    found = ImageDecoder.load(copied, torch.float32)
    assert torch.equal(found.denoise(features, seeded(5), QUICK), decoder.denoise(features, seeded(5), QUICK))
    assert {name.split(".")[0] for name in found.module.state_dict()} == {"unet", "vae", "image_normalizer", "context"}
    kept = [name for name, part in found._pipeline.components.items() if part is not None]
    assert not {"image_encoder", "feature_extractor", "text_encoder", "tokenizer"} & set(kept)


def test_all_that_decoding_needs_moves_with_the_module(folder: Path) -> None:
    decoder = ImageDecoder.load(folder, torch.float32)
    decoder.module.to("meta")
    latents = decoder.denoise(20 * unit(2), seeded(5, 6), QUICK)
    assert latents.device.type == "meta" and latents.shape == (2, 4, 8, 8)


def test_channels_last_changes_the_layout_of_weights_and_not_the_picture(folder: Path, decoder: ImageDecoder) -> None:
    features = 20 * unit(2)
    other = ImageDecoder.load(folder, torch.float32, channels_last=True)
    for convolution in (other.module.unet.conv_in, other.module.vae.decoder.conv_in):
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    expected = decoder.denoise(features, seeded(5, 6), QUICK)
    torch.testing.assert_close(other.denoise(features, seeded(5, 6), QUICK), expected, rtol=0, atol=1e-4)
    for one, another in zip(
        other.decode(features, seeded(5, 6), QUICK), decoder.decode(features, seeded(5, 6), QUICK), strict=True
    ):
        assert np.abs(pixels(one) - pixels(another)).max() <= 1


def test_compile_compiles_unet_and_vae_decoder(
    folder: Path, decoder: ImageDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        name = type(function.__self__).__name__  # type: ignore[attr-defined]

        def run(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    features = 20 * unit(2)
    found = ImageDecoder.load(folder, torch.float32, compile=True).decode(features, seeded(5, 6), QUICK)
    assert calls == ["UNet2DConditionModel"] * QUICK.steps + ["Decoder"]
    for one, another in zip(found, decoder.decode(features, seeded(5, 6), QUICK), strict=True):
        assert np.array_equal(pixels(one), pixels(another))


def test_features_of_another_size_are_refused(decoder: ImageDecoder) -> None:
    assert decoder.feature_size == 32
    with pytest.raises(UsageError, match=r"features of shape \(16,\), and this image decoder takes 32 numbers"):
        decoder.decode(torch.ones(1, 16), seeded(5), QUICK)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1000),
        ("noise_level", -1),
        ("noise_level", 1000),
        ("guidance_scale", -0.1),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}={value}: must be"):
        Sampling(**{name: value})  # type: ignore[arg-type]


def test_the_most_steps_and_noise_are_within_the_schedules(decoder: ImageDecoder) -> None:
    decoder._scheduler.set_timesteps(999)
    assert decoder._scheduler.timesteps.max() == 999
    assert decoder.decode(20 * unit(1), seeded(5), Sampling(steps=1, noise_level=999))
