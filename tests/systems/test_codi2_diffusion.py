"""What CoDi-2's decoders share, beside closed forms: the path of a known noise, guidance, and a source's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.errors import UsageError
from systems.codi2 import diffusion

ALPHAS = np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)


def scheduler(**config: str | int) -> PNDMScheduler:
    return PNDMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", **config)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mixed(clean: Tensor, noise: Tensor, timestep: int) -> Tensor:
    kept = float(ALPHAS[timestep])
    return kept**0.5 * clean + (1 - kept) ** 0.5 * noise


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(1, 60), strength=st.floats(0, 1), kind=st.sampled_from(diffusion.PREDICTIONS))
def test_a_network_that_knows_the_noise_leads_along_it_to_the_first_level(
    steps: int, strength: float, kind: str
) -> None:
    """DDIM's steps are exact for a noise that does not change, from wherever on its path they begin."""
    clean, noise = random(2, 3), random(2, 3, seed=1)
    sampler = diffusion.ddim(scheduler(prediction_type=kind))

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        torch.testing.assert_close(latents, mixed(clean, noise, int(timestep)), rtol=0, atol=1e-3)
        kept = float(ALPHAS[int(timestep)])
        return {"epsilon": noise, "sample": clean, "v_prediction": kept**0.5 * noise - (1 - kept) ** 0.5 * clean}[kind]

    skipped = diffusion.skipped_steps(steps, strength)
    started = diffusion.noised(clean, noise, sampler, steps, skipped)
    found = diffusion.denoise(predict, started, sampler, steps, (), skipped)
    torch.testing.assert_close(found, mixed(clean, noise, 0), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("steps", "skipped", "expected"),
    [(4, 0, [751, 501, 251, 1]), (4, 3, [1]), (7, 5, [143, 1]), (2, 0, [501, 1]), (1, 0, [1])],
)
def test_timesteps_are_one_above_the_multiples_and_the_first_are_skipped(
    steps: int, skipped: int, expected: Sequence[int]
) -> None:
    seen: list[int] = []

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        seen.append(int(timestep))
        return latents

    diffusion.denoise(predict, random(1, 2), diffusion.ddim(scheduler()), steps, (), skipped)
    assert seen == expected


def test_what_a_network_in_half_precision_says_is_guided_and_stepped_in_single() -> None:
    sampler, said = diffusion.ddim(scheduler()), random(4, 2, seed=1).to(torch.bfloat16)
    found = diffusion.denoise(lambda *_: said, random(2, 2), sampler, 3, (3.5,))
    assert torch.equal(found, diffusion.denoise(lambda *_: said.float(), random(2, 2), sampler, 3, (3.5,)))


def test_the_sampler_is_the_folders_schedule_whatever_else_the_folder_says() -> None:
    config = {"timestep_spacing": "trailing", "steps_offset": 0, "set_alpha_to_one": True, "clip_sample": True}
    given_one = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", **config)
    sampler = diffusion.ddim(given_one)
    np.testing.assert_allclose(sampler.alphas_cumprod.numpy(), ALPHAS, rtol=1e-4)
    clean = 3 * torch.ones(1, 2)
    found = diffusion.denoise(lambda latents, _: torch.zeros(1, 2), mixed(clean, 0 * clean, 501), sampler, 2)
    torch.testing.assert_close(found, mixed(clean, 0 * clean, 0), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_train_timesteps": 500}, "the scheduler has 500 timesteps, and 1000 are expected"),
        ({"prediction_type": "flow"}, "prediction_type is none of epsilon, sample, v_prediction"),
    ],
)
def test_a_scheduler_of_another_diffusion_is_refused(config: dict[str, str | int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        diffusion.ddim(scheduler(**config))


def test_two_way_guidance_is_that_of_the_equation() -> None:
    free, told = random(3, 2), random(3, 2, seed=1)
    scales = diffusion.two_way(7.5)
    assert torch.equal(diffusion.guide(torch.cat([free, told]), scales), free + 7.5 * (told - free))


@pytest.mark.parametrize("scale", [0.0, 0.7, 1.0])
def test_without_guidance_there_is_no_unconditional_branch(scale: float) -> None:
    seen: list[int] = []

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        seen.append(len(latents))
        return latents

    diffusion.denoise(predict, random(3, 2), diffusion.ddim(scheduler()), 2, diffusion.two_way(scale))
    assert seen == [3, 3]


@pytest.mark.parametrize(("feature", "used"), [(7.5, 7.5), (1.0, 1.0), (0.0, 1.0)])
def test_three_way_guidance_is_that_of_the_equation(feature: float, used: float) -> None:
    free, source, full = (random(3, 2, seed=seed) for seed in range(3))
    found = diffusion.guide(torch.cat([free, source, full]), diffusion.three_way(1.5, feature))
    torch.testing.assert_close(found, free + 1.5 * (source - free) + used * (full - source))


def test_a_source_that_says_nothing_leaves_two_way_guidance_bit_for_bit() -> None:
    free, full = random(3, 2), random(3, 2, seed=1)
    three = diffusion.guide(torch.cat([free, free, full]), diffusion.three_way(1.5, 3.5))
    assert torch.equal(three, diffusion.guide(torch.cat([free, full]), diffusion.two_way(3.5)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 10), max_size=3), st.permutations(range(4)))
def test_rows_are_guided_each_by_itself(scales: list[float], order: list[int]) -> None:
    branches = [random(4, 2, seed=seed) for seed in range(len(scales) + 1)]
    together = diffusion.guide(torch.cat(branches), scales)
    moved = diffusion.guide(torch.cat([branch[order] for branch in branches]), scales)
    assert torch.equal(moved, together[order])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5))
def test_scales_of_one_leave_the_branch_that_knows_all(branches: int) -> None:
    predictions = random(branches * 2, 3)
    torch.testing.assert_close(diffusion.guide(predictions, [1.0] * (branches - 1)), predictions[-2:])


@pytest.mark.parametrize(
    ("steps", "strength", "skipped"),
    [(50, 0.8, 10), (200, 0.8, 40), (10, 1.0, 0), (10, 0.55, 5), (10, 0.05, 9), (10, 0.0, 9), (1, 0.8, 0)],
)
def test_strength_is_the_part_of_the_steps_that_is_left(steps: int, strength: float, skipped: int) -> None:
    assert diffusion.skipped_steps(steps, strength) == skipped


def test_each_row_of_noise_is_its_own_generators() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    first, second = diffusion.draw(generators, (3, 4)), diffusion.draw(generators, (2,))
    alone = torch.Generator().manual_seed(6)
    assert torch.equal(first[1], torch.randn(3, 4, generator=alone))
    assert torch.equal(second[1], torch.randn(2, generator=alone))


@pytest.mark.parametrize(
    ("sources", "rows"),
    [([None, "a", None, "b"], [[0, 2], [1, 3]]), ([None], [[0]]), (["a", ""], [[0, 1]]), ([], [])],
)
def test_rows_are_parted_by_their_source(sources: Sequence[str | None], rows: list[list[int]]) -> None:
    assert diffusion.by_source(sources) == rows


def convolution() -> nn.Conv2d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Conv2d(3, 5, 3, padding=1).requires_grad_(False)


def test_a_source_is_read_as_by_one_convolution_of_all_channels() -> None:
    plain, columns, inputs = convolution(), random(5, 3, 3, 3, seed=2), random(2, 6, 8, 4)
    whole = nn.Conv2d(6, 5, 3, padding=1).requires_grad_(False)
    whole.weight.copy_(torch.cat([plain.weight, columns], dim=1))
    whole.bias.copy_(plain.bias)
    torch.testing.assert_close(diffusion.SourceInput(plain, columns)(inputs), whole(inputs), rtol=0, atol=1e-5)


def test_without_a_source_and_with_zero_columns_the_convolution_is_the_plain_one_bit_for_bit() -> None:
    plain, inputs = convolution(), random(2, 6, 8, 4)
    taught = diffusion.SourceInput(plain, random(5, 3, 3, 3, seed=2))
    assert torch.equal(taught(inputs[:, :3]), plain(inputs[:, :3]))
    assert torch.equal(diffusion.SourceInput(plain, torch.zeros(5, 3, 3, 3))(inputs), plain(inputs[:, :3]))
    assert not torch.equal(taught(inputs), plain(inputs[:, :3]))


def test_columns_move_and_change_precision_with_the_convolution() -> None:
    taught = diffusion.SourceInput(convolution().to(torch.bfloat16), random(5, 3, 3, 3))
    assert {weight.dtype for weight in taught.parameters()} == {torch.bfloat16}
    assert taught.to("meta").columns.device.type == "meta"


def test_columns_of_another_unet_are_refused() -> None:
    with pytest.raises(ValueError, match=r"columns of shape \(5, 4, 3, 3\), .* convolution needs \(5, 3, 3, 3\)"):
        diffusion.SourceInput(convolution(), torch.zeros(5, 4, 3, 3))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_setting_out_of_its_range_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=f"strength={value}: must be from 0 to 1"):
        diffusion.require("strength", value, 0, 1)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_setting_without_an_upper_bound_is_finite(value: float) -> None:
    with pytest.raises(UsageError, match=f"scale={value}: must be a number of at least 1"):
        diffusion.require("scale", value, 1)
    diffusion.require("scale", 1e9, 1)
