"""Tiny pipelines for `anybench init`: randomly initialised, complete, in the hub's own folder format.

They answer with 64 x 64 px in a fraction of a second on one core and weigh less than 2 MB, so that tests and the
demo go through the very code that full-size checkpoints go through. Their pictures mean nothing.

The structure follows the published checkpoints, with other widths: stable-diffusion-2-1-unclip (class embedding of
the image's embedding and its noise level, v-prediction, PNDM), stable-diffusion-v1-5 (PNDM) and instruct-pix2pix
(8 input channels: 4 noisy, 4 of the source; Euler ancestral). The tokenizer is CLIP's with the first 2,000 of its
48,894 merges, taken from the vocabulary that open_clip ships: it reads any text, in more tokens than the full one.

The same seed gives the same bytes.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)
from transformers.utils import logging as transformers_logging

from harness.errors import UsageError, one_line

WIDTH = 32
MERGES = 2000
START, END = "<|startoftext|>", "<|endoftext|>"


def stable_unclip(folder: Path, seed: int) -> None:
    """Writes a StableUnCLIPImg2ImgPipeline, which varies a photograph; UsageError where `folder` is not empty."""
    with deterministic(folder, seed):
        tokenizer = clip_tokenizer()
        pipeline = StableUnCLIPImg2ImgPipeline(
            feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
            image_encoder=_image_encoder(),
            image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=WIDTH),
            image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
            tokenizer=tokenizer,
            text_encoder=_text_encoder(tokenizer),
            # The class vector is the image's embedding followed by the embedding of its noise level.
            unet=_unet(4, class_embed_type="projection", projection_class_embeddings_input_dim=2 * WIDTH),
            scheduler=_pndm("v_prediction"),
            vae=_vae(),
        )
        save(pipeline, folder)


def stable_diffusion(folder: Path, seed: int) -> None:
    """Writes a StableDiffusionPipeline, text to image; UsageError where `folder` is not empty."""
    with deterministic(folder, seed):
        tokenizer = clip_tokenizer()
        pipeline = StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=_text_encoder(tokenizer),
            tokenizer=tokenizer,
            unet=_unet(4),
            scheduler=_pndm("epsilon"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        save(pipeline, folder)


def instruct_pix2pix(folder: Path, seed: int) -> None:
    """Writes a StableDiffusionInstructPix2PixPipeline, which edits; UsageError where `folder` is not empty."""
    with deterministic(folder, seed):
        tokenizer = clip_tokenizer()
        pipeline = StableDiffusionInstructPix2PixPipeline(
            vae=_vae(),
            text_encoder=_text_encoder(tokenizer),
            tokenizer=tokenizer,
            unet=_unet(8),
            scheduler=EulerAncestralDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        save(pipeline, folder)


@contextmanager
def deterministic(folder: Path, seed: int) -> Iterator[None]:
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; name a new folder for the checkpoint")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def save(part: Any, folder: Path) -> None:
    transformers_logging.disable_progress_bar()
    part.save_pretrained(folder, safe_serialization=True)


def _unet(channels: int, **class_embedding: str | int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
        norm_num_groups=8,
        use_linear_projection=True,
        **class_embedding,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=64,
        latent_channels=4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
    )


def read_beside(file: Path) -> dict[str, Tensor]:
    """The tensors of a file that lies beside a pipeline's parts; UsageError where it is not there or not whole."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{file} is no safetensors file, or was cut short: {one_line(error)}") from error


def _pndm(prediction: str) -> PNDMScheduler:
    return PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        skip_prk_steps=True,
        steps_offset=1,
    )


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _image_encoder() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        )
    )


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-pair encoding with its first merges.

    Tokens are numbered as in open_clip's tokenizer.py: 256 bytes, the same at the end of a word, one for each merge,
    then start and end of text.
    """
    merges = clip_merges()
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(first + second for first, second in merges)]
    vocabulary = {token: number for number, token in enumerate([*tokens, START, END])}
    # transformers annotates merges as lists of str; the pairs are what it hands on to tokenizers.
    pairs: Any = merges
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=77)


def clip_merges() -> list[tuple[str, str]]:
    specification = importlib.util.find_spec("open_clip")
    assert specification is not None and specification.origin is not None
    path = Path(specification.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


def byte_letters() -> list[str]:
    """GPT-2's printable letter for each byte: its own where Latin-1 prints it, else one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in [*printable, *range(0x100, 0x100 + others)]]
