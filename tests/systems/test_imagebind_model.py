"""The towers of ImageBind: their weights by name and number, and what an embedding may and may not depend on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import imagebind_toys as toys
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.imagebind.config import HUGE, MODALITIES, PERCEIVED
from systems.imagebind.model import ImageBind, parameter_counts

# Of each modality in the published file: entries, and numbers in stem, trunk and head (in millions, as published).
PUBLISHED = {
    "vision": (392, 1.84, 629.7, 1.31),
    "text": (295, 50.7, 302.3, 1.05),
    "audio": (177, 0.37, 85.1, 0.79),
    "depth": (177, 0.18, 21.3, 0.39),
    "thermal": (177, 0.35, 85.1, 0.79),
    "imu": (93, 0.15, 18.9, 0.53),
}
# Sums in another order, and other kernels for other batches.
ROUNDING = 1e-5


@cache
def small() -> ImageBind:
    model = ImageBind(toys.SMALL)
    toys.fill(model)
    return model


@cache
def huge() -> ImageBind:
    with torch.device("meta"):
        return ImageBind(HUGE)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() <= ROUNDING * theirs.norm()


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_huge_model_has_the_published_number_of_weights(modality: str) -> None:
    entries, *millions = PUBLISHED[modality]
    counts = parameter_counts(huge())
    own = [key for key in huge().state_dict() if key.split(".")[1] == modality]
    assert len(own) == entries
    for part, published in zip(("preprocessors", "trunks", "heads"), millions, strict=True):
        assert counts[f"modality_{part}.{modality}"] / 1e6 == pytest.approx(published, rel=0.03, abs=0.005)


def test_the_huge_model_has_1311_entries_and_1200_8_million_numbers() -> None:
    assert len(huge().state_dict()) == 1311
    assert sum(parameter_counts(huge()).values()) == 1_200_786_990
    with torch.device("meta"):
        perceived = ImageBind(HUGE.only(PERCEIVED))
    assert len(perceived.state_dict()) == 864
    assert {key.split(".")[1] for key in perceived.state_dict()} == set(PERCEIVED)


def test_the_huge_model_has_the_keys_and_shapes_of_the_official_file(shared: Path) -> None:
    lines = (shared / "reference" / "imagebind_keys.txt").read_text(encoding="utf-8").splitlines()
    official = {key: (shape, kind) for key, shape, kind in (line.split("\t") for line in lines)}
    parameters = dict(huge().named_parameters())
    ours = {
        key: (str(tuple(tensor.shape)), "param" if key in parameters else "buffer")
        for key, tensor in huge().state_dict().items()
    }
    assert ours == official


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(sorted(toys.inputs())), st.permutations(range(3)))
@torch.inference_mode()
def test_an_embedding_does_not_depend_on_its_neighbours_in_the_batch(name: str, order: list[int]) -> None:
    modality, two = toys.inputs()[name]
    three = torch.cat([two, two[:1].flip(-1)])
    together = small().views(modality, three[order])
    for place, number in enumerate(order):
        assert_close(together[place], small().views(modality, three[number : number + 1])[0])


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(["video", "audio"]), st.permutations(range(3)))
@torch.inference_mode()
def test_the_order_of_views_does_not_matter_to_the_embedding(name: str, order: list[int]) -> None:
    modality, inputs = toys.inputs()[name]
    assert_close(small().views(modality, inputs[:, order]), small().views(modality, inputs)[:, order])
    assert_close(small().embed(modality, inputs[:, order]), small().embed(modality, inputs))


@pytest.mark.parametrize("name", ["video", "audio"])
@torch.inference_mode()
def test_views_are_normalised_one_by_one_and_then_averaged(name: str) -> None:
    modality, inputs = toys.inputs()[name]
    views = small().views(modality, inputs)
    scale = {"vision": 1.0, "audio": 20.0}[modality]
    expected = scale * (views / views.norm(dim=-1, keepdim=True)).mean(dim=1)
    assert_close(small().embed(modality, inputs), expected)
    assert expected.norm(dim=-1).max() < 0.99 * scale


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 49407), st.integers(5, 76))
@torch.inference_mode()
def test_what_follows_the_end_of_a_text_does_not_matter_and_what_precedes_it_does(word: int, place: int) -> None:
    _, ids = toys.inputs()["text"]
    other = ids[:1].clone()
    other[0, place] = min(word, 49406)
    assert_close(small().embed("text", other), small().embed("text", ids[:1]))
    other[0, 2] = (ids[0, 2] + 1) % 49000
    assert (small().embed("text", other) - small().embed("text", ids[:1])).norm() > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_agrees_to_its_rounding_and_answers_in_float32(dtype: torch.dtype) -> None:
    half = ImageBind(toys.SMALL)
    toys.fill(half)
    half.to(dtype)
    for modality, inputs in toys.inputs().values():
        ours, exact = half.views(modality, inputs), small().views(modality, inputs)
        assert ours.dtype == torch.float32
        assert 0 < (ours - exact).norm() / exact.norm() < 4 * torch.finfo(dtype).eps


@torch.inference_mode()
def test_the_first_image_token_is_the_picture_and_the_others_see_all_of_it() -> None:
    _, pictures = toys.inputs()["picture"]
    tokens = small().image_tokens(pictures)
    assert_close(tokens[:, :1], small().views("vision", pictures))
    corner = pictures.clone()
    corner[:, :, -1, -1] += 50
    changed = (small().image_tokens(corner) - tokens).norm(dim=-1) / tokens.norm(dim=-1)
    assert changed.min() > 10 * ROUNDING


@torch.inference_mode()
def test_a_picture_is_a_clip_of_equal_frames() -> None:
    _, pictures = toys.inputs()["picture"]
    clip = pictures[:, None, :, None].expand(-1, 1, -1, 2, -1, -1)
    assert_close(small().embed("vision", clip), small().embed("vision", pictures))


def test_random_weights_follow_the_seed_and_tell_inputs_apart() -> None:
    config = toys.SMALL.only(["vision"])
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(ImageBind(config))
    one, same, other = (torch.cat([tensor.flatten() for tensor in model.state_dict().values()]) for model in models)
    assert torch.equal(one, same) and not torch.equal(one, other)
    _, pictures = toys.inputs()["picture"]
    first, second = models[0].embed("vision", pictures)
    assert torch.isfinite(first).all() and (first - second).norm() > 1e-3
    positions = models[0].state_dict()["modality_preprocessors.vision.pos_embedding_helper.pos_embed"]
    assert positions.std().item() == pytest.approx(64**-0.5, rel=0.1)
