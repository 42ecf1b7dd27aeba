"""CoDi-2's edited pictures beside diffusers' InstructPix2Pix, and the equations of its guidance and of SDEdit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from harness.errors import UsageError
from systems.codi2.image_decoder import TAGS, ImageDecoder, Sampling

QUICK = Sampling(steps=4)
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
SCALING_FACTOR = 0.18215
# A prediction at a timestep.
Predict = Callable[[Tensor, int], Tensor]


@pytest.fixture(scope="module")
def folder(checkpoints: Path) -> Path:
    return checkpoints / "stable-unclip"


@pytest.fixture(scope="module")
def plain(folder: Path) -> ImageDecoder:
    return ImageDecoder.load(folder, torch.float32)


@pytest.fixture(scope="module")
def editor(folder: Path) -> ImageDecoder:
    return ImageDecoder.load(folder, torch.float32, editing=columns())


@pytest.fixture(scope="module")
def untrained(folder: Path) -> ImageDecoder:
    return ImageDecoder.load(folder, torch.float32, editing=torch.zeros_like(columns()))


def columns() -> Tensor:
    """A source through these is about as loud as the noise is through the UNet's own."""
    return torch.randn(16, 4, 3, 3, generator=torch.Generator().manual_seed(3)) / 2


def features(count: int) -> Tensor:
    """Long enough not to drown in the noise."""
    drawn = torch.randn(count, 32, generator=torch.Generator().manual_seed(7))
    return 20 * drawn / drawn.norm(dim=1, keepdim=True)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def photograph(seed: int, width: int = 96, height: int = 80) -> Image.Image:
    """Coarse colours of another shape than the decoder's pictures, which are 64 px square."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


def covering(source: Image.Image) -> Image.Image:
    return ImageOps.fit(source, (64, 64), Image.Resampling.LANCZOS)


def widened(folder: Path) -> UNet2DConditionModel:
    """The UNet of 8 channels, as training leaves it."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    weights = unet.state_dict()
    weights["conv_in.weight"] = torch.cat([weights["conv_in.weight"], columns()], dim=1)
    wide = UNet2DConditionModel.from_config({**unet.config, "in_channels": 8}).eval()
    wide.load_state_dict(weights)
    return wide


@torch.no_grad()
def class_vectors_and_noise(folder: Path, seed: int, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """The first feature's class vector (1, 64), the tags' states and the noise (1, 4, 8, 8), by diffusers' own."""
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(folder)
    (generator,) = seeded(seed)
    noise = torch.randn(1, 32, generator=generator)
    told = pipeline.noise_image_embeddings(features(1), sampling.noise_level, noise)
    text, _ = pipeline.encode_prompt(TAGS, "cpu", 1, False)
    return told, text, torch.randn(1, 4, 8, 8, generator=generator)


def instruct_pix2pix(checkpoints: Path) -> StableDiffusionInstructPix2PixPipeline:
    """The stock pipeline with the VAE and the widened UNet of the decoder, sampled by DDIM."""
    folder = checkpoints / "stable-unclip"
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        checkpoints / "instruct-pix2pix",
        unet=widened(folder),
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type="v_prediction",
        ),
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    "sampling", [Sampling(steps=5), Sampling(steps=3, guidance_scale=2.0, source_guidance_scale=4.0, noise_level=10)]
)
def test_an_edited_picture_is_that_of_the_instruct_pix2pix_pipeline(
    checkpoints: Path, editor: ImageDecoder, sampling: Sampling
) -> None:
    told, text, noise = class_vectors_and_noise(checkpoints / "stable-unclip", 5, sampling)
    pipeline, untold = instruct_pix2pix(checkpoints), torch.zeros(1, 64)
    # The stock pipeline's rows: full, source, unconditional. It knows no class vectors.
    pipeline.unet.forward = partial(pipeline.unet.forward, class_labels=torch.cat([told, untold, untold]))
    expected = pipeline(
        image=covering(photograph(1)),
        prompt_embeds=text,
        negative_prompt_embeds=text,
        latents=noise,
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance_scale,
        image_guidance_scale=sampling.source_guidance_scale,
        output_type="latent",
    ).images
    found = editor.denoise(features(1), seeded(5), sampling, [photograph(1)])
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_the_unet_is_given_the_source_latents_that_instruct_pix2pix_prepares(
    checkpoints: Path, editor: ImageDecoder
) -> None:
    """The posterior's mode, without the scaling factor, in all branches but the unconditional one; bit for bit."""
    pipeline = instruct_pix2pix(checkpoints)
    pixels = pipeline.image_processor.preprocess(covering(photograph(1)))
    with torch.no_grad():
        stock = pipeline.prepare_image_latents(pixels, 1, 1, torch.float32, "cpu", True)
    assert not stock[2].any() and stock[1].any()
    (given,) = inputs_of(editor, lambda: editor.denoise(features(1), seeded(5), Sampling(steps=1), [photograph(1)]))
    assert torch.equal(given[:, 4:], stock.flip(0))


def inputs_of(decoder: ImageDecoder, call: Callable[[], Any]) -> list[Tensor]:
    """What the UNet's first convolution was given at each call of it."""
    seen: list[Tensor] = []
    hook = decoder.module.unet.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    call()
    hook.remove()
    return seen


def ddim(predict: Predict, x: Tensor, timesteps: Sequence[int], step: int) -> Tensor:
    """Its equations for the prediction type v."""
    for t in timesteps:
        now, then = ALPHAS[t], ALPHAS[max(t - step, 0)]
        v = predict(x, t)
        clean, noise = now**0.5 * x - (1 - now) ** 0.5 * v, (1 - now) ** 0.5 * x + now**0.5 * v
        x = then**0.5 * clean + (1 - then) ** 0.5 * noise
    return x.float()


@torch.no_grad()
def source_latent(folder: Path, source: Image.Image) -> Tensor:
    """(1, 4, 8, 8): the mean of the VAE's posterior."""
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    pixels = torch.from_numpy(np.asarray(covering(source)) / 127.5 - 1).float().permute(2, 0, 1)[None]
    mean, _ = vae.quant_conv(vae.encoder(pixels)).chunk(2, dim=1)
    return mean


@pytest.mark.parametrize(("feature_scale", "used", "source_scale"), [(7.5, 7.5, 1.5), (3.0, 3.0, 0.0), (0.5, 1.0, 2.0)])
def test_an_edited_picture_is_that_of_the_equations(
    folder: Path, editor: ImageDecoder, feature_scale: float, used: float, source_scale: float
) -> None:
    sampling = Sampling(steps=5, guidance_scale=feature_scale, source_guidance_scale=source_scale)
    unet, latent = widened(folder), source_latent(folder, photograph(1))
    told, text, noise = class_vectors_and_noise(folder, 5, sampling)
    nothing, untold = torch.zeros_like(latent), torch.zeros_like(told)

    @torch.no_grad()
    def guided(x: Tensor, t: int) -> Tensor:
        neither = unet(torch.cat([x, nothing], 1), t, text, class_labels=untold).sample
        source = unet(torch.cat([x, latent], 1), t, text, class_labels=untold).sample
        full = unet(torch.cat([x, latent], 1), t, text, class_labels=told).sample
        return neither + source_scale * (source - neither) + used * (full - source)

    found = editor.denoise(features(1), seeded(5), sampling, [photograph(1)])
    torch.testing.assert_close(found, ddim(guided, noise, (801, 601, 401, 201, 1), 200), rtol=1e-4, atol=2e-4)


@settings(max_examples=5, deadline=None)
@given(source_scale=st.floats(0, 20), feature_scale=st.floats(1.01, 20), picture=st.integers(0, 9))
def test_with_zero_columns_a_source_leaves_the_plain_picture_bit_for_bit(
    plain: ImageDecoder, untrained: ImageDecoder, source_scale: float, feature_scale: float, picture: int
) -> None:
    """Then the branch of the source is the unconditional one, whatever its scale."""
    sampling = Sampling(steps=2, guidance_scale=feature_scale, source_guidance_scale=source_scale)
    found = untrained.denoise(features(1), seeded(5), sampling, [photograph(picture)])
    assert torch.equal(found, plain.denoise(features(1), seeded(5), sampling))


def test_columns_say_nothing_where_there_is_no_source(plain: ImageDecoder, editor: ImageDecoder) -> None:
    expected = plain.denoise(features(2), seeded(5, 6), QUICK)
    assert torch.equal(editor.denoise(features(2), seeded(5, 6), QUICK), expected)
    assert torch.equal(editor.denoise(features(2), seeded(5, 6), QUICK, [None, None]), expected)


def test_dropping_or_changing_the_source_changes_the_picture(editor: ImageDecoder) -> None:
    sources = [photograph(1), photograph(2), None]
    first, other, without = (
        np.asarray(editor.decode(features(1), seeded(5), QUICK, [source])[0].image).astype(int) for source in sources
    )
    again = np.asarray(editor.decode(features(1), seeded(5), QUICK, [photograph(1)])[0].image).astype(int)
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 3 and np.abs(first - without).mean() > 3


@pytest.mark.parametrize("name", ["editor", "plain"])
@settings(max_examples=3, deadline=None)
@given(order=st.permutations(range(4)), together=st.integers(2, 4))
def test_rows_with_and_without_a_source_share_a_batch_and_equal_themselves_alone(
    editor: ImageDecoder, plain: ImageDecoder, name: str, order: Sequence[int], together: int
) -> None:
    decoder = {"editor": editor, "plain": plain}[name]
    sources, chosen, sampling = [photograph(1), None, photograph(2), None], order[:together], Sampling(steps=2)
    batch = decoder.denoise(features(4)[chosen], seeded(*chosen), sampling, [sources[row] for row in chosen])
    alone = [decoder.denoise(features(4)[[row]], seeded(row), sampling, [sources[row]]) for row in chosen]
    torch.testing.assert_close(batch, torch.cat(alone), rtol=0, atol=5e-5)


def test_the_unet_sees_three_rows_a_picture_with_a_source_and_two_without(editor: ImageDecoder) -> None:
    sources = [photograph(1), None, photograph(2)]
    seen = inputs_of(editor, lambda: editor.denoise(features(3), seeded(1, 2, 3), QUICK, sources))
    assert sum(map(len, seen)) == QUICK.steps * (3 + 2 + 3)


@pytest.mark.parametrize(
    ("strength", "timesteps"), [(0.6, (401, 201, 1)), (0.39, (1,)), (1.0, (801, 601, 401, 201, 1))]
)
def test_without_columns_an_edited_picture_is_that_of_sdedits_equations(
    folder: Path, plain: ImageDecoder, strength: float, timesteps: Sequence[int]
) -> None:
    sampling = Sampling(steps=5, strength=strength)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    told, text, noise = class_vectors_and_noise(folder, 5, sampling)

    @torch.no_grad()
    def guided(x: Tensor, t: int) -> Tensor:
        free = unet(x, t, text, class_labels=torch.zeros_like(told)).sample
        return free + 7.5 * (unet(x, t, text, class_labels=told).sample - free)

    kept = ALPHAS[timesteps[0]]
    started = kept**0.5 * SCALING_FACTOR * source_latent(folder, photograph(1)) + (1 - kept) ** 0.5 * noise
    found = plain.denoise(features(1), seeded(5), sampling, [photograph(1)])
    torch.testing.assert_close(found, ddim(guided, started, timesteps, 200), rtol=1e-4, atol=1e-4)


def test_sdedit_goes_from_nearly_the_source_to_nearly_the_seed(folder: Path, plain: ImageDecoder) -> None:
    """How far two sources' latents stay apart, of how far they are, at rising strengths."""
    sources = [photograph(1), photograph(2)]
    latents = SCALING_FACTOR * torch.cat([source_latent(folder, source) for source in sources])

    def edited(strength: float) -> Tensor:
        sampling = Sampling(steps=20, guidance_scale=1, strength=strength)
        return plain.denoise(features(1).expand(2, -1), seeded(5, 5), sampling, sources)

    least, half, most = map(edited, (0.001, 0.5, 1.0))
    torch.testing.assert_close(least, latents, rtol=0, atol=0.25)
    kept = [float((pair[0] - pair[1]).norm() / (latents[0] - latents[1]).norm()) for pair in (least, half, most)]
    assert kept[0] == pytest.approx(1, abs=0.05)
    assert kept[0] > kept[1] > kept[2] and kept[2] < 0.2


def test_a_picture_by_sdedit_says_so_and_no_other_does(plain: ImageDecoder, editor: ImageDecoder) -> None:
    sources = [None, photograph(1)]
    assert [picture.flags for picture in plain.decode(features(2), seeded(5, 6), QUICK, sources)] == [(), ("sdedit",)]
    assert [picture.flags for picture in editor.decode(features(2), seeded(5, 6), QUICK, sources)] == [(), ()]
    (drowned,) = plain.decode(features(1) / 20, seeded(5), QUICK, [photograph(1)])
    assert drowned.flags == ("feature_lost_in_noise", "sdedit")
    broken = features(1).clone()
    broken[0, 3] = float("nan")
    assert plain.decode(broken, seeded(5), QUICK, [photograph(1)])[0].flags == ("nan", "sdedit")


def test_a_source_is_scaled_to_cover_the_picture_and_its_centre_counts(folder: Path, tmp_path: Path) -> None:
    """The picture is 96 x 32 px; of a source of 384 x 384 the rows 128 to 256 are left, scaled by 4."""
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    config = copied / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": [4, 12]}))
    decoder = ImageDecoder.load(copied, torch.float32, editing=columns())

    def edited(*rows: tuple[int, int]) -> Tensor:
        levels = np.array(photograph(1, 384, 384))
        for top, bottom in rows:
            levels[top:bottom] = 255
        return decoder.denoise(features(1), seeded(5), QUICK, [Image.fromarray(levels)])

    assert edited().shape == (1, 4, 4, 12)
    assert torch.equal(edited((0, 110), (274, 384)), edited())
    assert (edited((130, 140)) - edited()).abs().max() > 0.01 and (edited((244, 254)) - edited()).abs().max() > 0.01


def test_bfloat16_edits_alike(folder: Path, editor: ImageDecoder) -> None:
    rounding = ImageDecoder.load(folder, torch.bfloat16, editing=columns())
    exact, other, rounded = (
        np.asarray(decoder.decode(features(1), seeded(5), QUICK, [photograph(picture)])[0].image).astype(int)
        for decoder, picture in ((editor, 1), (editor, 2), (rounding, 1))
    )
    assert np.abs(rounded - exact).mean() < np.abs(other - exact).mean() / 3


@pytest.mark.parametrize("editing", [columns(), None])
def test_all_that_editing_needs_moves_with_the_module(folder: Path, editing: Tensor | None) -> None:
    decoder = ImageDecoder.load(folder, torch.float16, editing=editing)
    # A VAE that says force_upcast stays in float32.
    assert (decoder.module.unet.dtype, decoder.module.vae.dtype) == (torch.float16, torch.float32)
    decoder.module.to("meta")
    latents = decoder.denoise(features(2), seeded(5, 6), Sampling(steps=1), [photograph(1), None])
    assert (latents.device.type, latents.dtype, latents.shape) == ("meta", torch.float32, (2, 4, 8, 8))


def test_channels_last_changes_the_columns_layout_and_not_the_picture(folder: Path, editor: ImageDecoder) -> None:
    other = ImageDecoder.load(folder, torch.float32, editing=columns(), channels_last=True)
    assert other.module.unet.conv_in.columns.is_contiguous(memory_format=torch.channels_last)
    expected = editor.denoise(features(1), seeded(5), QUICK, [photograph(1)])
    found = other.denoise(features(1), seeded(5), QUICK, [photograph(1)])
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize("shape", [(16, 4, 3), (16, 3, 3, 3), (8, 4, 3, 3), (16, 8, 3, 3), (16, 4, 1, 1)])
def test_columns_of_another_shape_are_refused_in_one_line(folder: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"editing columns of shape .* needs \(16, 4, 3, 3\)") as refused:
        ImageDecoder.load(folder, torch.float32, editing=torch.zeros(shape))
    assert str(refused.value).startswith(str(folder)) and "\n" not in str(refused.value)


def test_another_number_of_sources_than_of_features_is_refused(plain: ImageDecoder) -> None:
    with pytest.raises(ValueError, match="2 features and 1 sources"):
        plain.decode(features(2), seeded(5, 6), QUICK, [None])


def test_the_defaults_of_editing_are_diffusers_own() -> None:
    assert Sampling() == Sampling(50, 7.5, 500, source_guidance_scale=1.5, strength=0.8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source_guidance_scale", -0.1),
        ("source_guidance_scale", float("nan")),
        ("source_guidance_scale", float("inf")),
        ("strength", 0.0),
        ("strength", 1.01),
        ("strength", float("nan")),
    ],
)
def test_settings_of_editing_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}={value}: must be"):
        Sampling(**{name: value})  # type: ignore[arg-type]
