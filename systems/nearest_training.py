"""The closest thing that training shows: what remembering alone scores, which every claim of having learned must beat.

The training set of a drawn world (harness.drawn_world) is what there is to answer with: its pictures, its sounds (each
stem, and each mixture, which is the sum of its stems), and for a text its captions. What is asked and what is
remembered meet in the space of ImageBind-tiny, whose weights come with the software.

The query of a turn is the sum of the normalised embeddings of all that was said until then: the inputs of the turns so
far, in whichever modality, and the system's own answers to the earlier ones. That is composed retrieval by late fusion,
the untrained baseline of its papers (Pic2Word, arXiv 2302.03084, averages CLIP's picture and text). The answer is what
has the largest cosine with it.

To embed a whole training set takes a minute. It is done once for a machine, a world and this code, and kept
in the user's cache.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from harness.drawn_world import RATE, World, read_world
from harness.errors import UsageError, warn
from harness.identity import cache_folder, digest_bytes, digest_code, digest_tree
from harness.media import encode_audio, encode_image
from harness.nouns import Case, Item, Modality, Output
from harness.weights import weights_digest
from systems.codi2.description import Reading
from systems.codi2.encoding import Encoder
from systems.imagebind.loading import load
from systems.imagebind.model import ImageBind
from systems.tiny.imagebind_figures import picture_features, sound_features, sounded, text_features

SET = "training"
SHIPPED = Path(__file__).parent / "tiny/shipped/imagebind"
# Of its weights. It stands here so that it is part of a run's identity, as all code is.
ENCODER = "94d0b0841adc337c6cd6047e7daf0f676629f84609b3f6a5c749f242230bffc8"
# One vector of norm 1 for each medium. What else it says is for those who answer with a language model.
READING = Reading(1, "unit", "llama2-chat", feedback=False, feature_scale=1.0)
TOGETHER = 256
# Cosines that agree to so many decimals are equal: beyond them they depend on the machine.
DECIMALS = 5


@dataclass(frozen=True)
class Memory:
    """All that may be answered in one modality: `embeddings` (n, dimension), of norm 1, and `recall` of a row."""

    embeddings: Tensor
    recall: Callable[[int], Output]

    def closest(self, query: Tensor) -> int:
        """The row with the largest cosine to a query (dimension,); of equal ones the first."""
        cosines = self.embeddings @ normalize(query, dim=0)
        return int(np.argmax(np.round(cosines.numpy(), DECIMALS)))


class NearestTraining:
    """Answers each output that is wanted with the closest picture, sound or caption of a world's training set.

    `checkpoint` is the folder that `anybench build tinyworld` made. Pictures are PNG, sounds FLAC at 16 kHz, both as
    they were drawn. Sample and seed change nothing.

    Raises UsageError for a folder that is no world, and, naming the case, where a video is wanted or where nothing was
    said that could be looked for.
    """

    def __init__(self, checkpoint: str, device: str) -> None:
        self._data = Path(checkpoint)
        self._world = read_world(self._data, SET)
        self._model = _load_encoder()
        self._encoder = Encoder(self._model, READING)

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, what is closest to all that was said until then."""
        return [self._answer(item.case) for item in items]

    def _answer(self, case: Case) -> list[list[Output]]:
        answers: list[list[Output]] = []
        said: list[Tensor] = []
        for turn in case.turns:
            memories = [self._memory(case, modality) for modality in turn.wants]
            found = self._encoder.encode(turn.inputs)
            said += [found[one][0] for one in turn.inputs]
            if not said:
                raise UsageError(f"case {case.id}: nearest_training needs an input to look for; the turn has none")
            query = torch.stack(said).sum(dim=0)
            rows = [memory.closest(query) for memory in memories]
            answers.append([memory.recall(row) for memory, row in zip(memories, rows, strict=True)])
            said += [memory.embeddings[row] for memory, row in zip(memories, rows, strict=True)]
        return answers

    def _memory(self, case: Case, modality: Modality) -> Memory:
        match modality:
            case "image":
                return self._pictures
            case "audio":
                return self._sounds
            case "text":
                return self._captions
        raise UsageError(f"case {case.id} wants {modality}; nearest_training answers with pictures, sounds and texts")

    @cached_property
    def _pictures(self) -> Memory:
        pixels = self._world.pixels
        return Memory(
            self._embedded("pictures", len(pixels), lambda rows: picture_features(self._model, pixels[rows])),
            lambda row: Output("image", encode_image(Image.fromarray(pixels[row]))),
        )

    @cached_property
    def _sounds(self) -> Memory:
        mixed = list(_mixed(self._world))
        return Memory(
            self._embedded("sounds", len(mixed), lambda rows: sound_features(self._model, self._heard(mixed[rows]))),
            lambda row: Output("audio", encode_audio(sounded(self._world, mixed[row]), RATE)),
        )

    @cached_property
    def _captions(self) -> Memory:
        captions = list(dict.fromkeys(_said(self._world)))
        return Memory(
            self._embedded("captions", len(captions), lambda rows: text_features(self._model, captions[rows])),
            lambda row: Output("text", captions[row]),
        )

    def _heard(self, mixed: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        return [sounded(self._world, rows) for rows in mixed]

    def _embedded(self, name: str, count: int, embed: Callable[[slice], Tensor]) -> Tensor:
        """Embeddings (count, dimension) of norm 1: out of the cache, or made and put there."""
        file = self._cached(name)
        if file.is_file():
            return _read(file)
        warn(f"nearest_training: embedding {count} {name} of {self._data / SET}, once for this machine")
        parts = [embed(slice(start, start + TOGETHER)) for start in range(0, count, TOGETHER)]
        embeddings = normalize(torch.cat(parts), dim=1)
        _keep(file, embeddings)
        return embeddings

    def _cached(self, name: str) -> Path:
        code = digest_code(f"{__name__}:{type(self).__name__}")
        stamp = "|".join((name, code, digest_tree(self._data / SET), ENCODER))
        return cache_folder() / "nearest_training" / f"{digest_bytes(stamp.encode())}.safetensors"


def _load_encoder() -> ImageBind:
    if weights_digest(SHIPPED) != ENCODER:
        raise UsageError(f"{SHIPPED}: not the ImageBind that nearest_training was made for; restore it, or set ENCODER")
    return load(SHIPPED)


def _mixed(world: World) -> Iterator[list[int]]:
    """The rows of stems that are heard together in each sound that may be answered: one stem, or two."""
    yield from ([row] for row in range(len(world.stems)))
    for mixture in world.mixtures:
        yield [mixture.kept, mixture.first]
        yield [mixture.kept, mixture.second]


def _said(world: World) -> Iterator[str]:
    yield from (picture.caption for picture in world.pictures)
    yield from world.heard.values()
    for mixture in world.mixtures:
        yield mixture.caption_first
        yield mixture.caption_second


def _read(file: Path) -> Tensor:
    try:
        return load_file(file)["embeddings"]
    except (SafetensorError, OSError, KeyError) as error:
        raise UsageError(f"{file}: damaged; remove it, and it is made again") from error


def _keep(file: Path, embeddings: Tensor) -> None:
    # A home that cannot be written to costs a minute each time, nothing else.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{os.getpid()}")
        save_file({"embeddings": embeddings}, aside)
        aside.replace(file)
