"""The CoDi-2 that perf/codi2.py measures: of a checkpoint's folder, or of random weights made where they are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableUnCLIPImg2ImgPipeline
from torch import Tensor
from torch.nn.functional import normalize

from systems.codi2 import sizes
from systems.codi2.checkpoint import read_checkpoint
from systems.codi2.conversation import Element
from systems.codi2.decoder_parts import image_decoder
from systems.codi2.description import Reading
from systems.codi2.encoding import Encoder
from systems.codi2.image_decoder import ImageDecoder
from systems.codi2.language import LanguageModel
from systems.codi2.llama import add_tags, load_projector, load_tokenizer, merge_lora
from systems.codi2.model import Parts, load_parts
from systems.codi2.network import Network
from systems.codi2.projectors import projector
from systems.codi2.sequence import Tags, Writer
from systems.codi2.sizes import Sizes
from systems.codi2.tiny import codi2 as write_tiny
from systems.diffusers_pipeline import quiet
from systems.tiny.pipelines import clip_tokenizer

# The other tokens' logits are random, with the standard deviation 1.3 at full size.
SPEECH_LOGIT = 30.0
# Smaller differences of states may be bfloat16's alone.
ROUNDING = 0.05


@dataclass(frozen=True)
class Built:
    """Parts, and what a script of one's own needs beside them: the writer and the UNet's noise schedule."""

    parts: Parts
    writer: Writer
    noise_schedule: Mapping[str, Any]


def read(folder: Path, dtype: torch.dtype, channels_last: bool, compile: bool) -> Built:
    """A checkpoint, on the CPU."""
    found = read_checkpoint(folder)
    parts = load_parts(folder, dtype, channels_last=channels_last, compile=compile)
    # The network's vocabulary is the tokenizer's and the six tags.
    vocabulary = parts.language_model.network.llama.config.vocab_size - len(Tags(0).all)
    tokenizer = load_tokenizer(found.language_model, vocabulary)
    writer = Writer(tokenizer, Tags(vocabulary), found.description.reading.prompt_style)
    return Built(parts, writer, DDIMScheduler.load_config(found.image_decoder / "scheduler"))


def make(size: Sizes, device: str, dtype: torch.dtype, channels_last: bool, compile: bool) -> Built:
    """Random weights on `device`; the words are those of codi2-tiny's two tokenizers at any size."""
    torch.manual_seed(0)
    pipeline = _image_decoder(size, device, dtype)
    decoder = ImageDecoder(pipeline, channels_last=channels_last, compile=compile)
    side = size.imagebind.vision.picture // size.imagebind.vision.patch
    # The output projector's random features have the norm sqrt(dim), which is above the noise as they are.
    reading = Reading(1 + side**2, "unit", "llama2-chat", feedback=True, feature_scale=1.0)
    writer = Writer(_tokenizer(size.language_model.vocab_size), Tags(size.language_model.vocab_size), "llama2-chat")
    language_model = LanguageModel(_network(size, device, dtype), writer, reading.feedback)
    encoder = Encoder(sizes.imagebind(size, device, dtype), reading)
    parts = Parts(encoder, language_model, decoder, None, None, reading.feature_scale)
    return Built(parts, writer, pipeline.scheduler.config)


@torch.no_grad()
def speak_at_once(built: Built, prompts: Sequence[Sequence[Element]]) -> None:
    """Has a random model say <image> where these prompts end, and its own end where the picture's tag is closed.

    Random words until `max_new_tokens` would be no answer that a trained model gives, and chance in bfloat16. The two
    rows of lm_head give these states logits of about plus and minus `SPEECH_LOGIT`.
    """
    network, tags = built.parts.language_model.network, built.writer.tags
    opened = [[*prompt, tags.opening("image")] for prompt in prompts]
    slots = normalize(network.features(_states(network, opened)), dim=-1)
    closed = [[*one, slot[None], tags.closing("image")] for one, slot in zip(opened, slots, strict=True)]
    asking, ending = _states(network, prompts).float(), _states(network, closed).float()
    logits = SPEECH_LOGIT * torch.cat([torch.ones(len(asking)), -torch.ones(len(ending))]).to(asking)
    towards = torch.linalg.pinv(torch.cat([asking, ending]), rtol=ROUNDING) @ logits
    rows = network.llama.lm_head.weight
    rows[tags.opening("image")] = towards.to(rows.dtype)
    rows[min(built.writer.ends)] = -towards.to(rows.dtype)


def _states(network: Network, prompts: Sequence[Sequence[Element]]) -> Tensor:
    """(prompts, hidden), at their ends"""
    read = [network.llama.model(inputs_embeds=network.embed([prompt])).last_hidden_state for prompt in prompts]
    return torch.cat([states[:, -1] for states in read])


def _image_decoder(size: Sizes, device: str, dtype: torch.dtype) -> StableUnCLIPImg2ImgPipeline:
    with quiet():  # it says that there is no image encoder
        return image_decoder(size, clip_tokenizer(), device, dtype)


def _tokenizer(vocabulary: int) -> Any:
    with tempfile.TemporaryDirectory(prefix="anybench-perf-") as folder:
        write_tiny(Path(folder), 0)
        return load_tokenizer(Path(folder) / "language_model", vocabulary)


def _network(size: Sizes, device: str, dtype: torch.dtype) -> Network:
    """As LanguageModel.load puts it together."""
    trained = sizes.adapters(size, device)
    llama = sizes.language_model(size, device, dtype)
    add_tags(llama, trained.input_embeddings, trained.output_embeddings)
    llama = merge_lora(llama, trained.lora, size.lora)
    hidden, width = size.language_model.hidden_size, size.imagebind.dimension
    network = Network(
        llama,
        load_projector(projector(width, hidden), "input_projector", trained.input_projector),
        load_projector(projector(hidden, width), "output_projector", trained.output_projector),
    )
    return network.to(device).requires_grad_(False)
