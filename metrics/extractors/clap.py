"""CLAP, HTSAT-tiny and RoBERTa without fusion: sounds and texts in one space.

Source: Wu et al. 2023, arXiv 2211.06687; LAION-AI/CLAP `laion_clap/hook.py`, `training/data.py` (int16_to_float32,
get_audio_features) and `clap_module/`; transformers `models/clap`, whose network and log-mel spectrogram are used. The
feature is the projected embedding, float32 (rows, 512), of unit length as the network returns it, always computed in
float32. Texts and sounds lie in one array when a batch holds both.

Sounds: mono at 48 kHz by `harness.media.read_audio`, clipped to full scale and cut to 16 bit as laion-clap does
(without it, transformers is off by 3e-4 in the cosine of a pure tone). Of what is longer than ten seconds the first ten
are heard; laion-clap and transformers take ten at random. What is shorter is repeated as often as it fits whole into
ten seconds, then padded with zeros ("repeatpad"). Log-mel: STFT 1024 every 480 samples, 64 Slaney bands from 50 to
14,000 Hz. No row depends on its neighbours: it is for fused checkpoints alone that transformers picks a row at random
to be "longer" in a batch of short sounds.

Texts: RoBERTa's tokens, cut and padded to 77 as laion-clap does. The tokenizer lies beside the weights (in their
folder, or in that of a single file) and is read when there is a text.

Weights: the hub's folder (laion/clap-htsat-unfused), a file of its tensors, or the official 630k-audioset-best.pt, a
file of a whole training run whose keys are mapped. LayerNorm's epsilon in the text tower is the hub's 1e-12; RoBERTa in
laion-clap has 1e-5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

from harness.errors import UsageError, one_line
from harness.media import read_audio
from harness.nouns import Media
from metrics.extractors.checkpoint import Source, State, exact_arithmetic, fill, finite_rows, read_checkpoint

RATE = 48_000
SAMPLES = 10 * RATE
FULL_SCALE = 32767
TOKENS = 77
FIRST_POSITION = 2  # RoBERTa counts positions from behind the one of its padding token
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))

# Names in transformers' audio tower (and in the hub's file), then in the official file, in the order of replacement.
OFFICIAL_AUDIO_NAMES = (
    ("audio_model.audio_encoder.", "audio_branch."),
    ("batch_norm.", "bn0."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.self.", "attn."),
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
)
OFFICIAL_NAMES = (
    ("text_model.", "text_branch."),
    ("_projection.linear1.", "_projection.0."),
    ("_projection.linear2.", "_projection.2."),
)
FUSED = re.compile(r"attn\.(query|key|value)\.")
ROLES = ("query", "key", "value")

# Constants that the network makes itself, and a counter of training steps.
CONSTANTS = r"text_model\.embeddings\.(position_ids|token_type_ids)|.*\.num_batches_tracked"

# What the official file has beside the two towers and their projections: its own front end (the same as ours), masks,
# heads of the training losses.
OFFICIAL_UNUSED = (
    r"(module\.)?(text_branch\.embeddings\.(position_ids|token_type_ids)|(text|audio)_transform\.|"
    r"audio_branch\.((spectrogram_extractor|logmel_extractor|tscam_conv|head)\.|bn0\.num_batches_tracked|"
    r"layers\.\d+\.blocks\.\d+\.attn_mask))"
)

# What NumPy wrote into the official file beside the tensors (learning rates of its optimizer); read, and left.
_scalar = np.float64(0).__reduce__()[0]
OPTIMIZER_TYPES = (
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
)


@dataclass(frozen=True, slots=True)
class Hearing:
    """Sizes of HTSAT, a Swin transformer of 256 x 256 log-mel values: width of the first of its stages in units (each
    further one has twice as many), side of patch and attention window, blocks and heads of each stage."""

    width: int
    patch: int
    window: int
    blocks: tuple[int, ...]
    heads: tuple[int, ...]

    def fields(self) -> dict[str, object]:
        """The sizes in transformers' words."""
        return {
            "patch_embeds_hidden_size": self.width,
            "hidden_size": self.width * 2 ** (len(self.blocks) - 1),
            "patch_size": self.patch,
            "patch_stride": [self.patch, self.patch],
            "window_size": self.window,
            "num_hidden_layers": len(self.blocks),
            "depths": list(self.blocks),
            "num_attention_heads": list(self.heads),
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """Sizes of RoBERTa: width in units (the MLP is four times as wide), layers, heads, tokens known and in one text."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    longest: int

    def fields(self) -> dict[str, object]:
        """The sizes in transformers' words."""
        return {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.longest + FIRST_POSITION,
        }


@dataclass(frozen=True, slots=True)
class Architecture:
    """Two towers that project to `dim`."""

    audio: Hearing
    text: Reading
    dim: int

    def config(self) -> ClapConfig:
        """The sizes in transformers' words."""
        return ClapConfig(
            audio_config=self.audio.fields() | {"projection_dim": self.dim},
            text_config=self.text.fields() | {"projection_dim": self.dim},
            projection_dim=self.dim,
        )


HTSAT_UNFUSED = Architecture(
    audio=Hearing(width=96, patch=4, window=8, blocks=(2, 2, 6, 2), heads=(4, 8, 16, 32)),
    text=Reading(width=768, layers=12, heads=12, vocabulary=50_265, longest=512),
    dim=512,
)
# 256 bytes, five special tokens, and room for some words.
TINY = Architecture(
    audio=Hearing(width=8, patch=8, window=4, blocks=(1, 2, 1, 1), heads=(1, 2, 2, 4)),
    text=Reading(width=16, layers=2, heads=2, vocabulary=512, longest=TOKENS),
    dim=32,
)


class CLAP:
    """`clap-htsat-unfused`. Raises UsageError for weights of another architecture, AbsentError where there are none."""

    architecture: ClassVar[Architecture] = HTSAT_UNFUSED

    def __init__(self, weights: str, device: str) -> None:
        self.weights = weights
        self.device = device
        self.network = load(Path(weights), self.architecture).to(device)  # type: ignore[arg-type]
        self.front_end = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="repeatpad")

    @cached_property
    def tokenizer(self) -> RobertaTokenizer:
        """The tokenizer beside the weights; UsageError where there is none, or another one."""
        return read_tokenizer(Path(self.weights), self.architecture.text.vocabulary)

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Projected embeddings of the one sound or text in each row: float32 (len(batch), dim), of unit length."""
        features = np.empty((len(batch), self.architecture.dim), dtype=np.float32)
        texts = [index for index, (media,) in enumerate(batch) if media.modality == "text"]
        sounds = [index for index, (media,) in enumerate(batch) if media.modality != "text"]
        if texts:
            features[texts] = self.embed_texts([batch[index][0].text for index in texts])
        if sounds:
            features[sounds] = self.embed_sounds([prepare(read_audio(batch[index][0], RATE)) for index in sounds])
        return features

    def embed_sounds(self, sounds: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Projected embeddings of prepared sounds, each of shape (samples,), at most ten seconds: float32 (n, dim)."""
        spectrograms = self.front_end(list(sounds), sampling_rate=RATE, return_tensors="pt")["input_features"]
        with exact_arithmetic():
            embeddings = self.network.get_audio_features(input_features=spectrograms.to(self.device))
            return finite_rows(embeddings.pooler_output, self.weights)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Projected embeddings of texts, each cut at 77 tokens: float32 (n, dim)."""
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).to(self.device)
        with exact_arithmetic():
            embeddings = self.network.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            return finite_rows(embeddings.pooler_output, self.weights)


class CLAPTiny(CLAP):
    """`clap-tiny`: the same code, 0.1 M parameters."""

    architecture = TINY


def prepare(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first ten seconds of a sound at 48 kHz, (samples,), through 16 bit and back as laion-clap does it."""
    integers = (np.clip(samples[:SAMPLES], -1, 1) * FULL_SCALE).astype(np.int16)
    return (integers / FULL_SCALE).astype(np.float32)


def build(architecture: Architecture) -> ClapModel:
    """The network at random, in evaluation mode."""
    network = ClapModel(architecture.config())
    network.set_attn_implementation("eager")
    network.train(False)
    return network


def load(weights: Path, architecture: Architecture) -> ClapModel:
    """The network with the weights of a hub folder, of a file of its tensors, or of the official file."""
    state = read_checkpoint(weights, architecture.config().to_dict(), under="state_dict", allowed=OPTIMIZER_TYPES)
    network = build(architecture)
    _keep_constants(network)
    if _from_hub(state):
        fill(network, state, Source, unused=CONSTANTS, weights=weights)
    else:
        fill(network, state, _locate_official(state), unused=OFFICIAL_UNUSED, weights=weights)
    return network


def locate_official(name: str) -> Source:
    """Where a tensor lies in the official file: query, key and value of the audio tower fused in this order."""
    for old, new in OFFICIAL_AUDIO_NAMES if name.startswith("audio_model.") else OFFICIAL_NAMES:
        name = name.replace(old, new)
    fused = FUSED.search(name)
    if fused is None:
        return Source(name)
    return Source(FUSED.sub("attn.qkv.", name), third=ROLES.index(fused.group(1)))


def read_tokenizer(weights: Path, vocabulary: int) -> RobertaTokenizer:
    """RoBERTa's tokenizer, of as many tokens as `vocabulary`, out of the folder of these weights or that they lie in.

    Raises UsageError where no tokenizer is there, where it cannot be read, and where it is another one.
    """
    folder = weights if weights.is_dir() else weights.parent
    if not any(all((folder / name).is_file() for name in files) for files in TOKENIZER_FILES):
        raise UsageError(
            f"weights {weights}: texts need RoBERTa's tokenizer, and {folder} has neither tokenizer.json nor "
            "vocab.json and merges.txt; put those of laion/clap-htsat-unfused (or roberta-base) there"
        )
    try:
        tokenizer: RobertaTokenizer = RobertaTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exceptions on damaged files
        raise UsageError(f"{folder}: its tokenizer cannot be read ({one_line(error)}); copy its files anew") from error
    if len(tokenizer) != vocabulary:
        raise UsageError(
            f"{folder}: a tokenizer of {len(tokenizer)} tokens, these weights know {vocabulary}; put their own there"
        )
    return tokenizer


def _keep_constants(network: ClapModel) -> None:
    """Take the constants out of what a checkpoint must bring: formats and versions differ in which they have."""
    for path, name in (
        ("text_model.embeddings", "position_ids"),
        ("text_model.embeddings", "token_type_ids"),
        ("audio_model.audio_encoder.batch_norm", "num_batches_tracked"),
    ):
        module = network.get_submodule(path)
        module.register_buffer(name, module.get_buffer(name), persistent=False)


def _from_hub(state: State) -> bool:
    return any(key.startswith(("audio_model.", "text_model.")) for key in state)


def _locate_official(state: State) -> Callable[[str], Source]:
    """`locate_official` with the prefix that training on several GPUs leaves, where this file has it."""
    prefix = "module." if any(key.startswith("module.") for key in state) else ""

    def locate(name: str) -> Source:
        source = locate_official(name)
        return Source(prefix + source.key, source.third)

    return locate
