"""The diffusers system on tiny pipelines: what reaches the pipeline, what repeats, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, StableUnCLIPImg2ImgPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor

from harness.errors import UsageError
from harness.media import read_image
from harness.nouns import Case, Item, Media, Output, Turn
from systems.diffusers_pipeline import DiffusersPipeline

# diffusers 0.42 converts torch tensors in its Euler schedulers in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

UNCLIP, TEXT, EDIT = "stable-unclip", "stable-diffusion", "instruct-pix2pix"
EVERY = [(UNCLIP, "auto"), (TEXT, "auto"), (TEXT, "img2img"), (EDIT, "auto")]
SIZES = [(64, 64), (90, 70), (50, 130), (33, 41)]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Media]:
    """Smooth pictures of four sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(5)
    for number, size in enumerate(SIZES):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return [Media("image", uri=str(folder / f"{number}.png")) for number in range(len(SIZES))]


@pytest.fixture
def items(photographs: list[Media]) -> list[Item]:
    prompts = ("a dog", "a dog in the jungle", "a red dog on top of a very long wooden table", "dog")
    return [
        item(f"case{number}", 1000 + number, Turn((Media("text", text=prompt), photograph), ("image",)))
        for number, (prompt, photograph) in enumerate(zip(prompts, photographs, strict=True))
    ]


def item(case: str, seed: int, *turns: Turn) -> Item:
    return Item(Case(case, turns), sample=0, seed=seed)


def pixels(output: Output) -> NDArray[np.int64]:
    assert output.modality == "image" and isinstance(output.data, bytes)
    return np.asarray(Image.open(io.BytesIO(output.data))).astype(np.int64)


def system(checkpoints: Path, name: str, task: str = "auto", **settings: float | str) -> DiffusersPipeline:
    return DiffusersPipeline(str(checkpoints / name), "cpu", task=task, steps=3, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_each_item_is_answered_with_one_picture_of_its_own(
    checkpoints: Path, items: list[Item], name: str, task: str
) -> None:
    answers = system(checkpoints, name, task).generate(items)
    pictures = [pixels(answer[0][0]) for answer in answers]
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 4
    assert all(picture.std() > 5 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 4


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_the_same_batch_is_bitwise_the_same_again(checkpoints: Path, items: list[Item], name: str, task: str) -> None:
    first = system(checkpoints, name, task)
    answers = first.generate(items)
    assert first.generate(items) == answers
    assert system(checkpoints, name, task).generate(items) == answers


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_a_batch_of_four_is_four_singles_to_one_step_of_255(
    checkpoints: Path, items: list[Item], name: str, task: str
) -> None:
    built = system(checkpoints, name, task)
    together = [pixels(answer[0][0]) for answer in built.generate(items)]
    alone = [pixels(built.generate([one])[0][0][0]) for one in items]
    assert max(np.abs(a - b).max() for a, b in zip(together, alone, strict=True)) <= 1


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_the_seed_alone_is_the_randomness(checkpoints: Path, items: list[Item], name: str, task: str) -> None:
    built = system(checkpoints, name, task)
    turn = items[0].case.turns[0]
    same, again, other = (built.generate([item("any", seed, turn)])[0][0][0] for seed in (7, 7, 8))
    assert same == again
    assert np.abs(pixels(same) - pixels(other)).mean() > 1


@pytest.mark.parametrize(("name", "task"), [entry for entry in EVERY if entry != (TEXT, "auto")])
def test_the_first_photograph_and_no_other_changes_the_picture(
    checkpoints: Path, photographs: list[Media], name: str, task: str
) -> None:
    built = system(checkpoints, name, task)

    def answer(*media: Media) -> Output:
        return built.generate([item("any", 7, Turn((Media("text", text="a dog"), *media), ("image",)))])[0][0][0]

    assert answer(photographs[0], photographs[1]) == answer(photographs[0], photographs[2])
    assert answer(photographs[0]) != answer(photographs[1])


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_the_joined_text_of_the_turn_is_the_prompt(
    checkpoints: Path, photographs: list[Media], name: str, task: str
) -> None:
    built = system(checkpoints, name, task)

    def answer(*media: Media) -> Output:
        return built.generate([item("any", 7, Turn(media, ("image",)))])[0][0][0]

    parts = (Media("text", text="a dog"), photographs[0], Media("text", text="in the jungle"))
    assert answer(*parts) == answer(Media("text", text="a dog in the jungle"), photographs[0])
    assert answer(*parts) != answer(Media("text", text="a dog"), photographs[0])


def test_text_to_image_is_what_diffusers_itself_makes(checkpoints: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoints / TEXT, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    reference = pipeline(
        "a dog",
        negative_prompt="blurry",
        num_inference_steps=3,
        guidance_scale=4.0,
        height=48,
        width=80,
        generator=torch.Generator("cpu").manual_seed(12),
    ).images[0]
    built = system(checkpoints, TEXT, guidance_scale=4.0, height=48, width=80, negative_prompt="blurry")
    answer = built.generate([item("any", 12, Turn((Media("text", text="a dog"),), ("image",)))])[0][0][0]
    assert np.array_equal(pixels(answer), np.asarray(reference))


def test_unclip_is_what_diffusers_itself_makes_of_the_photograph_as_it_is(
    checkpoints: Path, photographs: list[Media]
) -> None:
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(checkpoints / UNCLIP, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    reference = pipeline(
        read_image(photographs[2]),
        "a dog",
        num_inference_steps=3,
        noise_level=500,
        generator=torch.Generator("cpu").manual_seed(12),
    ).images[0]
    turn = Turn((photographs[2], Media("text", text="a dog")), ("image",))
    answer = system(checkpoints, UNCLIP, noise_level=500).generate([item("any", 12, turn)])[0][0][0]
    assert np.array_equal(pixels(answer), np.asarray(reference))


def test_a_picture_of_nan_is_flagged_and_its_neighbour_is_not(checkpoints: Path, photographs: list[Media]) -> None:
    built = system(checkpoints, TEXT, "img2img")
    decode = built._pipeline.vae.decode

    def overflowing(latents: torch.Tensor, **options: Any) -> Any:
        decoded = decode(latents, **options)
        decoded[0][0, :, 8:16] = torch.nan
        return decoded

    built._pipeline.vae.decode = overflowing
    turn = Turn((Media("text", text="a dog"), photographs[0]), ("image",))
    broken, whole = (answer[0][0] for answer in built.generate([item("broken", 7, turn), item("whole", 8, turn)]))
    assert (broken.flags, whole.flags) == (("nan",), ())
    assert pixels(broken)[8:16].max() == 0 < pixels(broken)[:8].max()


@pytest.mark.parametrize(("threshold", "flags"), [(-2.0, ("safety_checked",)), (2.0, ())])
def test_a_picture_that_the_pipelines_own_check_replaced_is_flagged(
    checkpoints: Path, threshold: float, flags: tuple[str, ...]
) -> None:
    """No cosine reaches 2, and every one is above -2: diffusers' checker finds nothing, or something everywhere."""
    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPConfig(vision_config={**tiny, "image_size": 32, "patch_size": 16}, projection_dim=8)
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(threshold)
    checker.special_care_embeds_weights.data.fill_(2.0)
    built = system(checkpoints, TEXT)
    built._pipeline.safety_checker = checker
    built._pipeline.feature_extractor = CLIPImageProcessor(size=32, crop_size=32)
    answer = built.generate([item("any", 7, Turn((Media("text", text="a dog"),), ("image",)))])[0][0][0]
    assert answer.flags == flags
    assert (pixels(answer).max() == 0) == bool(flags)


def test_image_to_image_gets_the_centre_of_the_photograph_at_the_size_of_the_picture(
    checkpoints: Path, photographs: list[Media]
) -> None:
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
        checkpoints / TEXT, local_files_only=True, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    # 50 x 130 px: scaled to 64 x 166 by its width, of which the middle 64 rows are kept.
    photograph = read_image(photographs[2])
    middle = photograph.resize((64, 64), Image.Resampling.LANCZOS, box=(0, 40, 50, 90))
    reference = pipeline(
        "a dog",
        middle,
        num_inference_steps=3,
        strength=0.7,
        generator=torch.Generator("cpu").manual_seed(12),
    ).images[0]
    turn = Turn((photographs[2], Media("text", text="a dog")), ("image",))
    answer = system(checkpoints, TEXT, "img2img", strength=0.7).generate([item("any", 12, turn)])[0][0][0]
    assert np.array_equal(pixels(answer), np.asarray(reference))


@pytest.mark.parametrize(
    ("name", "task", "setting"),
    [
        (UNCLIP, "auto", {"noise_level": 700}),
        (TEXT, "auto", {"guidance_scale": 1.0}),
        (TEXT, "img2img", {"strength": 0.4}),
        (EDIT, "auto", {"image_guidance_scale": 4.0}),
        (EDIT, "auto", {"negative_prompt": "a cat"}),
    ],
)
def test_each_setting_reaches_the_pipeline(
    checkpoints: Path, items: list[Item], name: str, task: str, setting: dict[str, float | str]
) -> None:
    plain = system(checkpoints, name, task).generate(items[:1])
    assert system(checkpoints, name, task, **setting).generate(items[:1]) != plain


def test_edits_are_made_at_the_size_that_is_set(checkpoints: Path, items: list[Item]) -> None:
    answers = system(checkpoints, EDIT, height=48, width=80).generate(items)
    assert {pixels(answer[0][0]).shape for answer in answers} == {(48, 80, 3)}


def test_several_turns_and_outputs_are_answered_in_order_with_seeds_of_their_own(checkpoints: Path) -> None:
    built = system(checkpoints, TEXT)
    dog, cat = (Turn((Media("text", text=text),), ("image",)) for text in ("a dog", "a cat"))
    twice = Turn(cat.inputs, ("image", "image"))
    answers = built.generate([item("talk", 20, dog, twice), item("short", 30, cat)])
    assert [[len(turn) for turn in answer] for answer in answers] == [[1, 2], [1]]
    assert answers[0][1][0] != answers[0][1][1]
    single = pixels(built.generate([item("any", 22, cat)])[0][0][0])
    assert np.abs(single - pixels(answers[0][1][1])).max() <= 1


def test_unclip_does_without_a_prompt(checkpoints: Path, photographs: list[Media]) -> None:
    answers = system(checkpoints, UNCLIP).generate([item("any", 1, Turn((photographs[0],), ("image",)))])
    assert pixels(answers[0][0][0]).shape == (64, 64, 3)


@pytest.mark.parametrize(("name", "task"), [entry for entry in EVERY if entry[0] != UNCLIP])
def test_a_case_without_a_prompt_is_named(checkpoints: Path, photographs: list[Media], name: str, task: str) -> None:
    with pytest.raises(UsageError, match=r"^case dog6-03 has no text input; .* needs a prompt$"):
        system(checkpoints, name, task).generate([item("dog6-03", 1, Turn((photographs[0],), ("image",)))])


@pytest.mark.parametrize(("name", "task"), [entry for entry in EVERY if entry != (TEXT, "auto")])
def test_a_case_without_a_photograph_is_named(checkpoints: Path, name: str, task: str) -> None:
    turn = Turn((Media("text", text="a dog"),), ("image",))
    with pytest.raises(UsageError, match=r"^case dog6-03 has no image input; .* needs a photograph$"):
        system(checkpoints, name, task).generate([item("dog6-03", 1, turn)])


def test_a_case_that_wants_sound_is_named(checkpoints: Path) -> None:
    turn = Turn((Media("text", text="a dog"),), ("image", "audio"))
    with pytest.raises(UsageError, match=r"^case dog6-03 wants audio; .* images only$"):
        system(checkpoints, TEXT).generate([item("dog6-03", 1, turn)])


@pytest.mark.parametrize("name", [UNCLIP, TEXT, EDIT])
def test_bfloat16_runs_on_the_cpu_near_to_float32(checkpoints: Path, items: list[Item], name: str) -> None:
    exact = system(checkpoints, name).generate(items)
    half = system(checkpoints, name, dtype="bfloat16").generate(items)
    pairs = [(pixels(a[0][0]), pixels(b[0][0])) for a, b in zip(exact, half, strict=True)]
    assert exact != half
    assert np.mean([np.abs(a - b).mean() for a, b in pairs]) < 5


def test_nothing_is_printed(checkpoints: Path, items: list[Item], capfd: pytest.CaptureFixture[str]) -> None:
    for name, task in EVERY:
        system(checkpoints, name, task).generate(items)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        (TEXT, {"task": "inpaint"}, "^task=inpaint: must be one of auto, img2img$"),
        (TEXT, {"dtype": "int8"}, "^dtype=int8: must be one of float32, float16, bfloat16$"),
        (TEXT, {"dtype": "float16"}, "^dtype=float16 needs a GPU; "),
        (TEXT, {"guidance_scale": -2.0}, "^guidance_scale=-2.0: must be at least 0"),
        (TEXT, {"task": "img2img", "strength": 1.5}, "^strength=1.5: must be from 0 to 1"),
        (TEXT, {"task": "img2img", "strength": 0.1}, "^steps=3 at strength=0.1 leaves no step"),
        (TEXT, {"strength": 0.5}, "^StableDiffusionPipeline takes no strength"),
        (TEXT, {"noise_level": 5}, "^StableDiffusionPipeline takes no noise_level"),
        (TEXT, {"height": 50}, "^height=50 width=64: .* multiples of 8 pixels$"),
        (UNCLIP, {"noise_level": 1000}, "^noise_level=1000: must be from 0 to 999"),
        (UNCLIP, {"image_guidance_scale": 2.0}, "takes no image_guidance_scale"),
        (EDIT, {"strength": 0.5}, "takes no strength"),
        (EDIT, {"task": "img2img"}, "task=img2img needs StableDiffusionInstructPix2PixImg2ImgPipeline, and .* none$"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_in_one_line(
    checkpoints: Path, name: str, settings: dict[str, float | str], line: str
) -> None:
    with pytest.raises(UsageError, match=line):
        system(checkpoints, name, **settings)  # type: ignore[arg-type]


def test_no_steps_are_refused(checkpoints: Path) -> None:
    with pytest.raises(UsageError, match=r"^steps=0: must be at least 1"):
        DiffusersPipeline(str(checkpoints / TEXT), "cpu", steps=0)
