"""CoDi-2's sizes: counted on the meta device against what is published, and the same builders at a tiny size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from peft import LoraConfig, LoraModel
from torch import Tensor

from systems.codi2 import decoder_parts, sizes
from systems.codi2.checkpoint import adapter_shapes
from systems.codi2.projectors import projector
from systems.codi2.sizes import FULL, TINY, Sizes
from systems.diffusers_pipeline import quiet
from systems.imagebind.config import HUGE
from systems.imagebind.model import ImageBind
from systems.tiny.pipelines import clip_tokenizer

MODELS: tuple[Callable[..., torch.nn.Module], ...] = (
    sizes.imagebind,
    sizes.language_model,
    decoder_parts.unet,
    decoder_parts.vae,
    decoder_parts.text_encoder,
    decoder_parts.sound_unet,
    decoder_parts.sound_vae,
    decoder_parts.vocoder,
    decoder_parts.video_unet,
)


def numbers(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (sizes.language_model, 6_738_415_616),
        (decoder_parts.unet, 870_173_124),
        (decoder_parts.vae, 83_653_863),
        (decoder_parts.text_encoder, 340_387_840),
        (decoder_parts.sound_unet, 346_943_496),
        (decoder_parts.sound_vae, 55_376_873),
        (decoder_parts.vocoder, 55_264_897),
        (decoder_parts.video_unet, 1_411_233_860),
    ],
)
def test_a_full_size_part_has_the_published_number_of_parameters(build: Any, published: int) -> None:
    model = build(FULL, "meta")
    assert {tensor.device.type for tensor in model.parameters()} == {"meta"}
    assert numbers(model.parameters()) == published


def test_imagebind_has_the_published_number_of_weights_and_codi2_uses_three_of_its_six_modalities() -> None:
    with torch.device("meta"):
        whole = ImageBind(HUGE).state_dict()
    own = sizes.imagebind(FULL, "meta").state_dict()
    assert (len(whole), numbers(whole.values())) == (1311, 1_200_786_990)
    assert len(own) == 864
    assert {key.split(".")[1] for key in own} == {"vision", "text", "audio"}
    assert own.keys() <= whole.keys()


def test_what_is_trained_has_the_published_numbers_of_parameters() -> None:
    trained = sizes.adapters(FULL, "meta")
    assert numbers(trained.lora.values()) == 134_217_728
    assert numbers(trained.input_projector.values()) == 20_987_904
    assert numbers(trained.output_projector.values()) == 5_246_976
    assert trained.input_embeddings.shape == trained.output_embeddings.shape == (6, 4096)


def test_what_is_trained_for_the_decoders_fits_their_published_widths() -> None:
    trained = sizes.adapters(FULL, "meta")
    assert trained.language_of_audio and trained.video_context
    assert {key: tuple(one.shape) for key, one in trained.language_of_audio.items()} == {
        "weight": (8 * 768, 1024),
        "bias": (8 * 768,),
    }
    assert {key: tuple(one.shape) for key, one in trained.video_context.items()} == {
        "weight": (4 * 1024, 1024),
        "bias": (4 * 1024,),
    }
    assert trained.image_editing is not None and trained.image_editing.shape == (320, 4, 3, 3)
    assert trained.sound_editing is not None and trained.sound_editing.shape == (128, 8, 3, 3)


@pytest.mark.parametrize(("of", "seconds"), [(FULL, 10.24), (TINY, 2.08)])
def test_a_sound_decoders_own_length_is_that_of_its_latents(of: Sizes, seconds: float) -> None:
    shorter = 2 ** (len(of.sound_vae["block_out_channels"]) - 1)
    assert of.sound_unet["sample_size"] * shorter * math.prod(of.vocoder.upsample_rates) / 16000 == seconds


def test_loras_tensors_are_those_that_peft_gives_the_language_model() -> None:
    config = LoraConfig(r=TINY.lora.rank, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    adapted = LoraModel(sizes.language_model(TINY), config, "default")
    expected = {
        name.replace("model.", "lora.", 1).replace(".default", ""): tuple(tensor.shape)
        for name, tensor in adapted.named_parameters()
        if "lora_" in name
    }
    shapes = adapter_shapes(TINY.widths, TINY.imagebind.dimension, TINY.lora)
    assert {key: shape for key, shape in shapes.items() if key.startswith("lora.")} == expected


@pytest.mark.parametrize("of", [FULL, TINY])
def test_the_projectors_tensors_are_those_of_the_modules(of: Sizes) -> None:
    trained, hidden, width = sizes.adapters(of, "meta"), of.widths.hidden, of.imagebind.dimension
    for tensors, ends in ((trained.input_projector, (width, hidden)), (trained.output_projector, (hidden, width))):
        with torch.device("meta"):
            expected = projector(*ends).state_dict()
        assert {key: tensor.shape for key, tensor in tensors.items()} == {
            key: tensor.shape for key, tensor in expected.items()
        }


@pytest.mark.parametrize("build", MODELS)
def test_a_part_is_built_where_and_as_it_is_asked_for(build: Any) -> None:
    model = build(TINY, "cpu", torch.bfloat16)
    assert {(one.dtype, one.device.type, one.requires_grad) for one in model.parameters()} == {
        (torch.bfloat16, "cpu", False)
    }
    assert not model.training
    assert torch.get_default_dtype() == torch.float32
    assert torch.empty(0).device.type == "cpu"


def test_a_tiny_codi2_has_a_few_million_parameters() -> None:
    trained = sizes.adapters(TINY, "meta")
    adapters = (trained.lora, trained.input_projector, trained.output_projector)
    counts = {build: numbers(build(TINY, "meta").parameters()) for build in MODELS}
    assert 2_000_000 < sum(counts.values()) + sum(numbers(each.values()) for each in adapters) < 5_000_000
    for build in (decoder_parts.sound_unet, decoder_parts.sound_vae, decoder_parts.vocoder, decoder_parts.video_unet):
        assert 10_000 < counts[build] < 500_000


def test_loras_other_half_is_not_zero_and_comes_from_torchs_random_numbers() -> None:
    drawn = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn.append(sizes.adapters(TINY).lora)
    name = "model.layers.3.self_attn.o_proj.lora_B.weight"
    assert drawn[0][name].std() > 0.1
    assert torch.equal(drawn[0][name], drawn[1][name]) and not torch.equal(drawn[0][name], drawn[2][name])


def test_the_image_decoder_is_a_pipeline_of_these_parts() -> None:
    pipeline = decoder_parts.image_decoder(TINY, clip_tokenizer(), "cpu", torch.bfloat16)
    assert (pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
    )
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.text_encoder.config.vocab_size == len(pipeline.tokenizer)
    assert pipeline.image_normalizer.mean.shape == (1, TINY.imagebind.dimension)


def test_the_sound_decoder_is_a_pipeline_whose_unet_alone_is_in_another_precision() -> None:
    with quiet():
        pipeline: Any = decoder_parts.sound_decoder(TINY, "cpu", torch.bfloat16)
    assert pipeline.unet.dtype == torch.bfloat16
    assert pipeline.vae.dtype == pipeline.vocoder.dtype == torch.float32
    assert (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.language_model) == (None, None, None)
    assert (pipeline.scheduler.config.beta_start, pipeline.scheduler.config.beta_end) == (0.0015, 0.0195)
    assert pipeline.scheduler.config.prediction_type == "epsilon"


def test_the_video_decoder_is_a_pipeline_of_these_parts() -> None:
    with quiet():
        pipeline: Any = decoder_parts.video_decoder(TINY, clip_tokenizer(), "cpu", torch.bfloat16)
    assert (pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
    )
    assert pipeline.text_encoder.config.hidden_size == pipeline.unet.config.cross_attention_dim
    assert (pipeline.scheduler.config.beta_start, pipeline.scheduler.config.beta_end) == (0.00085, 0.012)


def test_changing_a_model_that_was_built_leaves_the_sizes_as_they_were() -> None:
    before = TINY.language_model.vocab_size
    with torch.device("meta"):
        sizes.language_model(TINY).resize_token_embeddings(before + 6, mean_resizing=False)
    assert TINY.language_model.vocab_size == before
