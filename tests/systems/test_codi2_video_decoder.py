"""CoDi-2's video decoder beside diffusers' own pipeline and DDIM's equations, and what its folder must hold."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codi2_folders import reconfigure
from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from harness.errors import UsageError
from harness.media import Video, decode, encode_video
from systems.codi2 import video_decoder
from systems.codi2.sizes import TINY
from systems.codi2.video_decoder import FRAMES_PER_SECOND, Clip, VideoDecoder, VideoSampling
from systems.diffusers_pipeline import quiet
from systems.tiny.pipelines import clip_tokenizer, deterministic

WIDTH = 32
FEATURE = 64
QUICK = VideoSampling(steps=2, frames=3)


def diffusion() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline as diffusers writes it."""
    written = tmp_path_factory.mktemp("video") / "decoder"
    with deterministic(written, 0), quiet():
        pipeline: Any = TextToVideoSDPipeline(
            vae=AutoencoderKL(**TINY.vae),
            text_encoder=CLIPTextModel(TINY.text_encoder),
            tokenizer=clip_tokenizer(),
            unet=UNet3DConditionModel(**TINY.video_unet),
            scheduler=diffusion(),
        )
        pipeline.save_pretrained(written)
    return written


@pytest.fixture(scope="module")
def decoder(folder: Path) -> VideoDecoder:
    return VideoDecoder.load(folder, torch.float32, context())


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def context(tokens: int = 4) -> dict[str, Tensor]:
    """A Linear that makes tokens of about unit variance of a feature of length 20."""
    generator = torch.Generator().manual_seed(3)
    return {
        "weight": torch.randn(tokens * WIDTH, FEATURE, generator=generator) / 20,
        "bias": 0.1 * torch.randn(tokens * WIDTH, generator=generator),
    }


def features(count: int) -> Tensor:
    """Of length 20, in other directions."""
    drawn = torch.randn(count, FEATURE, generator=torch.Generator().manual_seed(7))
    scaled: Tensor = 20 * drawn / drawn.norm(dim=1, keepdim=True)
    return scaled


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def levels(clip: Clip) -> np.ndarray[Any, np.dtype[np.int64]]:
    return clip.frames.astype(np.int64)


def difference(one: Clip, other: Clip) -> float:
    """Mean, in levels of 255."""
    return float(np.abs(levels(one) - levels(other)).mean())


def assert_same(found: Tensor, expected: Tensor) -> None:
    """But for rounding: the latents of random weights are as large as 50, and float32 keeps 7 digits of that."""
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * expected.std().item())


def tokens_of(embeddings: Tensor, linear: Mapping[str, Tensor]) -> Tensor:
    rows = embeddings @ linear["weight"].T + linear["bias"]
    tokens: Tensor = rows.reshape(len(embeddings), -1, WIDTH)
    return tokens


def by_hand(folder: Path) -> Callable[..., Any]:
    """diffusers' own pipeline, which takes prompts of equal length only."""
    with quiet():
        pipeline = TextToVideoSDPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    empty, _ = pipeline.encode_prompt("", "cpu", 1, False)

    def call(prompt: Tensor, seeds: Sequence[int], sampling: VideoSampling, output: str) -> Any:
        guided = sampling.guidance_scale > 1
        return pipeline(
            # Repeating all tokens equally often changes nothing about attention to them.
            prompt_embeds=prompt.repeat(1, 77 // prompt.shape[1], 1) if guided else prompt,
            negative_prompt_embeds=empty.repeat(len(prompt), 1, 1) if guided else None,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            num_frames=sampling.frames,
            generator=seeded(*seeds),
            output_type=output,
        ).frames

    return call


def test_the_defaults_are_diffusers_own() -> None:
    defaults = inspect.signature(TextToVideoSDPipeline.__call__).parameters
    names = ("num_inference_steps", "guidance_scale", "num_frames")
    assert VideoSampling() == VideoSampling(*(defaults[name].default for name in names))
    assert VideoSampling() == VideoSampling(steps=50, guidance_scale=9.0, frames=16)


@pytest.mark.parametrize(
    ("tokens", "sampling"),
    [
        (1, VideoSampling(steps=4, frames=5)),
        (7, VideoSampling(steps=3, guidance_scale=3.0, frames=2)),
        (4, VideoSampling(steps=4, guidance_scale=1.0, frames=2)),
    ],
)
def test_a_clip_is_that_of_the_pipeline_called_by_hand(folder: Path, tokens: int, sampling: VideoSampling) -> None:
    stock, linear, embeddings = by_hand(folder), context(tokens), features(1)
    prompt = tokens_of(embeddings, linear)
    decoder = VideoDecoder.load(folder, torch.float32, linear)
    expected = stock(prompt, [5], sampling, "latent")
    assert_same(decoder.denoise(embeddings, seeded(5), sampling), expected)
    (clip,) = decoder.decode(embeddings, seeded(5), sampling)
    image = 255 * stock(prompt, [5], sampling, "np")[0]
    assert clip.flags == () and np.abs(levels(clip) - image).max() < 0.51


def test_a_batch_is_that_of_the_pipeline_called_by_hand(folder: Path) -> None:
    stock, linear, embeddings = by_hand(folder), context(1), features(3)
    decoder = VideoDecoder.load(folder, torch.float32, linear)
    expected = stock(tokens_of(embeddings, linear), [5, 6, 7], QUICK, "latent")
    assert_same(decoder.denoise(embeddings, seeded(5, 6, 7), QUICK), expected)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_clip_is_that_of_the_equations(copied: Path, prediction: str) -> None:
    reconfigure(copied / "scheduler" / "scheduler_config.json", prediction_type=prediction)
    linear, embedding, guidance = context(), features(1), 9.0
    tokens = tokens_of(embedding, linear)
    empty = CLIPTokenizer.from_pretrained(copied / "tokenizer")("", padding="max_length").input_ids
    unet = UNet3DConditionModel.from_pretrained(copied / "unet")
    vae = AutoencoderKL.from_pretrained(copied / "vae")
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    with torch.no_grad():
        nothing = CLIPTextModel.from_pretrained(copied / "text_encoder")(torch.tensor([empty])).last_hidden_state
        assert nothing.shape == (1, 77, WIDTH) and tokens.shape == (1, 4, WIDTH)
        x = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(5))
        for t in (751, 501, 251, 1):
            now, then = alphas[t], alphas[t - 250] if t > 1 else alphas[0]
            free = unet(x, t, nothing).sample
            said = free + guidance * (unet(x, t, tokens).sample - free)
            noise = said if prediction == "epsilon" else (1 - now) ** 0.5 * x + now**0.5 * said
            clean = (x - (1 - now) ** 0.5 * noise) / now**0.5
            x = then**0.5 * clean + (1 - then) ** 0.5 * noise
        frames = [vae.decode(x[:, :, frame] / 0.18215).sample[0] for frame in range(3)]
        image = 255 * (torch.stack(frames) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()

    decoder, sampling = VideoDecoder.load(copied, torch.float32, linear), VideoSampling(4, guidance, 3)
    torch.testing.assert_close(decoder.denoise(embedding, seeded(5), sampling), x.float(), rtol=1e-4, atol=1e-4)
    (clip,) = decoder.decode(embedding, seeded(5), sampling)
    assert clip.frames.dtype == np.uint8 and np.abs(levels(clip) - image).max() < 0.55


@settings(max_examples=5, deadline=None)
@given(st.permutations([0, 1, 2]), st.integers(1, 3))
def test_a_clip_does_not_depend_on_its_neighbours(decoder: VideoDecoder, order: Sequence[int], together: int) -> None:
    embeddings, chosen, sampling = features(3), order[:together], VideoSampling(steps=2, guidance_scale=3.0, frames=2)
    batch = decoder.denoise(embeddings[chosen], seeded(*chosen), sampling)
    alone = [decoder.denoise(embeddings[[one]], seeded(one), sampling) for one in chosen]
    assert_same(batch, torch.cat(alone))


def test_the_same_seed_draws_the_same_clip_and_another_seed_or_feature_another(decoder: VideoDecoder) -> None:
    first, again, other = (decoder.decode(features(1), seeded(seed), QUICK)[0] for seed in (5, 5, 6))
    assert np.array_equal(first.frames, again.frames)
    assert difference(first, other) > 5
    answers = decoder.decode(features(2), seeded(5, 5), QUICK)
    assert difference(answers[0], first) < 0.01 and difference(answers[1], first) > 5


def test_a_clip_becomes_two_seconds_of_mp4(decoder: VideoDecoder) -> None:
    (clip,) = decoder.decode(features(1), seeded(5), VideoSampling(steps=1))
    assert clip.frames.shape == (16, 32, 32, 3)
    video = decode(encode_video(Video(clip.frames, FRAMES_PER_SECOND)), "clip.mp4")
    assert isinstance(video, Video) and video.frames.shape == clip.frames.shape
    assert len(video.frames) / video.frames_per_second == 2.0


@pytest.mark.parametrize(("said", "size"), [(32, (40, 72)), (6, (6, 6)), ([3, 5], (3, 5))])
def test_the_size_is_the_unets_and_zeroscopes_where_it_says_what_all_say(
    copied: Path, said: Any, size: tuple[int, int]
) -> None:
    reconfigure(copied / "unet" / "config.json", sample_size=said)
    decoder = VideoDecoder.load(copied, torch.float32, context())
    decoder.module.to("meta")
    assert decoder.denoise(features(1), seeded(5), VideoSampling(1, 1.0, 2)).shape == (1, 4, 2, *size)


def test_frames_are_decoded_a_few_at_once_and_are_the_same_one_by_one(
    decoder: VideoDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling, counts = VideoSampling(steps=1, frames=6), []
    hook = decoder.module.vae.decoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    (together,) = decoder.decode(features(1), seeded(5), sampling)
    monkeypatch.setattr(video_decoder, "FRAMES_AT_ONCE", 1)
    (apart,) = decoder.decode(features(1), seeded(5), sampling)
    hook.remove()
    assert counts == [4, 2] + [1] * 6
    assert np.abs(levels(together) - levels(apart)).max() <= 1


def test_a_feature_that_is_no_number_is_flagged_and_its_neighbour_is_not(decoder: VideoDecoder) -> None:
    embeddings = features(2)
    broken = embeddings.clone()
    broken[0, 3] = float("nan")
    first, second = decoder.decode(broken, seeded(5, 6), QUICK)
    assert first.flags == ("nan",) and not first.frames.any()
    assert second.flags == () and difference(second, decoder.decode(embeddings, seeded(5, 6), QUICK)[1]) < 0.01


def test_an_overflow_in_the_vae_is_flagged_and_not_drawn_white(folder: Path) -> None:
    decoder = VideoDecoder.load(folder, torch.float32, context())
    decoder.module.vae.decoder.conv_out.bias.data[0] = float("inf")
    (clip,) = decoder.decode(features(1), seeded(5), QUICK)
    assert clip.flags == ("nan",) and not clip.frames[..., 0].any() and clip.frames[..., 1].any()


def test_bfloat16_draws_the_same_noise(folder: Path, decoder: VideoDecoder) -> None:
    (exact,), (other,) = (decoder.decode(features(1), seeded(seed), QUICK) for seed in (5, 6))
    (rounded,) = VideoDecoder.load(folder, torch.bfloat16, context()).decode(features(1), seeded(5), QUICK)
    assert difference(rounded, exact) < difference(other, exact) / 5


@pytest.mark.parametrize(("upcast", "dtype"), [(True, torch.float32), (False, torch.float16)])
def test_in_float16_the_vae_runs_in_float32_where_its_config_says_so(
    copied: Path, upcast: bool, dtype: torch.dtype
) -> None:
    reconfigure(copied / "vae" / "config.json", force_upcast=upcast)
    module = VideoDecoder.load(copied, torch.float16, context()).module
    assert (module.vae.dtype, module.unet.dtype, module.unconditional.dtype) == (dtype, torch.float16, torch.float16)
    assert module.context.weight.dtype == torch.float32


def test_all_that_decoding_needs_moves_with_the_module_and_nothing_else_is_kept(folder: Path) -> None:
    decoder = VideoDecoder.load(folder, torch.float32, context())
    assert {name.split(".")[0] for name in decoder.module.state_dict()} == {"unet", "vae", "context", "unconditional"}
    assert not any(parameter.requires_grad for parameter in decoder.module.context.parameters())
    decoder.module.to("meta")
    latents = decoder.denoise(features(2), seeded(5, 6), VideoSampling(steps=1, frames=2))
    assert latents.device.type == "meta" and latents.shape == (2, 4, 2, 4, 4)


def test_the_checkpoints_linear_is_read_in_any_dtype(folder: Path, decoder: VideoDecoder) -> None:
    rounded = {name: tensor.bfloat16() for name, tensor in context().items()}
    expected = {name: tensor.float() for name, tensor in rounded.items()}
    found, exact = (VideoDecoder.load(folder, torch.float32, linear) for linear in (rounded, expected))
    assert torch.equal(found.denoise(features(1), seeded(5), QUICK), exact.denoise(features(1), seeded(5), QUICK))


def test_another_pipeline_is_refused(checkpoints: Path) -> None:
    with pytest.raises(
        UsageError, match=r"stable-diffusion: a StableDiffusionPipeline, and CoDi-2 draws clips with a TextToVideoSD"
    ):
        VideoDecoder.load(checkpoints / "stable-diffusion", torch.float32, context())


def without_a_weight(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["transformer_in.proj_in.weight"]
    save_file(weights, file, metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))


def without_the_vae(folder: Path) -> None:
    reconfigure(folder / "model_index.json", vae=[None, None])


def with_wider_text(folder: Path) -> None:
    wider = type(TINY.text_encoder).from_dict({**TINY.text_encoder.to_dict(), "hidden_size": 48})
    CLIPTextModel(wider).save_pretrained(folder / "text_encoder")


def with_another_vae(folder: Path, **values: Any) -> None:
    vae: Any = AutoencoderKL(**{**TINY.vae, **values})
    vae.save_pretrained(folder / "vae")


def with_three_channels(folder: Path) -> None:
    with_another_vae(folder, latent_channels=3)


def with_pixels_for_latents(folder: Path) -> None:
    one = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    with_another_vae(folder, block_out_channels=(8,), **one)
    reconfigure(folder / "unet" / "config.json", sample_size=[5, 4])


def scheduler(**values: Any) -> Callable[[Path], None]:
    return lambda folder: reconfigure(folder / "scheduler" / "scheduler_config.json", **values)


def sample_size(said: Any) -> Callable[[Path], None]:
    return lambda folder: reconfigure(folder / "unet" / "config.json", sample_size=said)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_a_weight, r"unet: weights of another .* missing \(first: transformer_in.proj_in.weight\)"),
        (pickled, "pickled weights can run code and are refused"),
        (without_the_vae, "model_index.json names no vae"),
        (with_wider_text, "UNet reads text 32 wide, the text encoder's is 48"),
        (with_three_channels, "UNet turns 4 channels into 4, the VAE has 3"),
        (with_pixels_for_latents, "frames would be 5 x 4 px, and H.264 holds even numbers of pixels only"),
        (scheduler(num_train_timesteps=500), "scheduler has 500 timesteps, and 1000 are expected"),
        (scheduler(prediction_type="flow"), "prediction_type is none of epsilon, sample, v_prediction"),
        (scheduler(beta_schedule="wave"), "wave"),
        (sample_size(None), "the UNet's sample_size is None, which is no size"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(
    copied: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(copied)
    with pytest.raises(UsageError, match=said) as refused:
        VideoDecoder.load(copied, torch.float32, context())
    assert str(refused.value).startswith(str(copied)) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("rows", "bias"), [(0, 0), (40, 40), (9 * WIDTH, 9 * WIDTH), (WIDTH, 2 * WIDTH)])
def test_a_linear_that_makes_no_tokens_of_the_unets_is_refused(folder: Path, rows: int, bias: int) -> None:
    linear = {"weight": torch.zeros(rows, FEATURE), "bias": torch.zeros(bias)}
    with pytest.raises(UsageError, match=rf"video.context has {rows} rows .* of {bias}, .* 1 to 8 tokens of 32"):
        VideoDecoder.load(folder, torch.float32, linear)


def test_features_of_another_size_are_refused(decoder: VideoDecoder) -> None:
    assert decoder.feature_size == FEATURE
    with pytest.raises(UsageError, match=r"features of shape \(16,\), and this video decoder takes 64 numbers"):
        decoder.decode(torch.ones(1, 16), seeded(5), QUICK)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1000),
        ("frames", 0),
        ("guidance_scale", -0.1),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}={value}: must be"):
        VideoSampling(**{name: value})  # type: ignore[arg-type]


def test_one_frame_is_a_clip(decoder: VideoDecoder) -> None:
    (clip,) = decoder.decode(features(1), seeded(5), VideoSampling(steps=1, frames=1))
    assert clip.frames.shape == (1, 32, 32, 3) and clip.flags == ()
