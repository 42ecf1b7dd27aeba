"""The system `codi2`: any case becomes a prompt, and the answer becomes media.

Conventions
- Turns are answered one after the other, all items of a batch together; a later turn reads the earlier ones, own
  answers and own predicted features included, as they were given.
- Each wanted picture is drawn from the next feature that the answer has for a picture. Where the model did not ask for
  it by itself (tags "model"), its tag was appended and the output is flagged "forced_tag".
- Randomness: output k of an item (counted over its turns) has its own generator, seeded with item.seed + k; sampled
  text has one a turn. Generators live on the CPU whatever the device, so that the same noise is drawn everywhere.
- A wanted text is the answer without its tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.errors import UsageError
from harness.media import encode_image
from harness.names import find
from harness.nouns import Item, Modality, Output, Turn
from systems.codi2.checkpoint import read_adapters, read_checkpoint
from systems.codi2.conversation import Answer, Decoding, Exchange, Feature, Part, Request, Vectors
from systems.codi2.encoding import Encoder
from systems.codi2.image_decoder import ImageDecoder, Picture, Sampling
from systems.codi2.language import LanguageModel
from systems.codi2.pieces import Piece, Slot, Words
from systems.codi2.prompts import AUTO, pieces_of
from systems.codi2.residence import Residence
from systems.codi2.templates import TEMPLATES
from systems.diffusers_pipeline import DTYPES, check_choice
from systems.imagebind.loading import load as load_imagebind

ANSWERED: tuple[Modality, ...] = ("text", "image")
FORCED = "forced_tag"


class CoDi2:
    """A CoDi-2 checkpoint (docs/codi2.md has its format), built once and asked a batch at a time.

    `steps` >= 1, `guidance_scale` >= 0 and `noise_level` (0 to 999) are the image decoder's. `dtype` is "float32",
    "bfloat16", "float16" (a GPU's), or "auto": bfloat16 on a GPU, float32 on the CPU. `temperature` 0 is greedy; above,
    `top_p` in (0, 1] counts too. `max_new_tokens` bounds an answer. `tags` "model" lets the model say when a picture
    comes, "forced" has it answer with what is wanted and nothing else. `template` is a name of systems/codi2/templates,
    or "auto". With `memory_gb` above 0 parts wait on the CPU while others work. `compile` and `channels_last` are the
    image decoder's. `trace` keeps the predicted features.

    Raises UsageError, in one line, for a checkpoint that is incomplete or another model's, and a setting out of range.
    """

    def __init__(
        self,
        checkpoint: str,
        device: str,
        *,
        steps: int = 50,
        guidance_scale: float = 7.5,
        noise_level: int = 500,
        dtype: str = "auto",
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
        tags: str = "model",
        template: str = "auto",
        memory_gb: float = 0.0,
        compile: bool = False,
        channels_last: bool = False,
        trace: bool = False,
    ) -> None:
        sampling = Sampling(steps, guidance_scale, noise_level)
        decoding = Decoding(temperature, top_p, max_new_tokens, tags)
        template = template if template == AUTO else find(template, TEMPLATES, "template").name
        parts = load_parts(Path(checkpoint), _precision(dtype, device), channels_last=channels_last, compile=compile)
        self._set_up(parts, device, sampling, decoding, template, memory_gb, trace)

    @classmethod
    def of(cls, parts: Parts, device: str, sampling: Sampling, decoding: Decoding, *, trace: bool = False) -> CoDi2:
        """A CoDi-2 of parts that are built already, without any folder."""
        system = cls.__new__(cls)
        system._set_up(parts, device, sampling, decoding, AUTO, 0.0, trace)
        return system

    def _set_up(
        self,
        parts: Parts,
        device: str,
        sampling: Sampling,
        decoding: Decoding,
        template: str,
        memory_gb: float,
        trace: bool,
    ) -> None:
        self._encoder = parts.encoder
        self._language_model = parts.language_model
        self._image_decoder = parts.image_decoder
        self._feature_scale = parts.feature_scale
        self._sampling, self._decoding = sampling, decoding
        self._template, self._trace = template, trace
        networks = {
            "imagebind": parts.encoder.model,
            "language_model": parts.language_model.network,
            "image_decoder": parts.image_decoder.module,
        }
        self._residence = Residence(networks, device, memory_gb)

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, texts and PNG pictures; UsageError naming a case that wants something else."""
        conversations = [_Conversation(item) for item in items]
        for position in range(max((len(item.case.turns) for item in items), default=0)):
            asking = [one for one in conversations if len(one.item.case.turns) > position]
            self._answer([(one, one.item.case.turns[position]) for one in asking])
        return [one.outputs for one in conversations]

    def _answer(self, asked: Sequence[tuple[_Conversation, Turn]]) -> None:
        """One turn of each conversation."""
        questions = self._encode([self._prompt(one.item, turn) for one, turn in asked])
        requests = [
            Request((*one.exchanges, Exchange(question)), turn.wants, one.next_seed(), one.item.case.id)
            for (one, turn), question in zip(asked, questions, strict=True)
        ]
        answers = self._ask(requests)
        pictures = iter(self._draw(_features_to_draw(asked, answers)))
        for (one, turn), question, answer in zip(asked, questions, answers, strict=True):
            one.exchanges.append(Exchange(question, answer))
            one.outputs.append([self._text(answer) if wanted == "text" else next(pictures) for wanted in turn.wants])

    def _prompt(self, item: Item, turn: Turn) -> tuple[Piece, ...]:
        for modality in turn.wants:
            if modality not in ANSWERED:
                raise UsageError(f"case {item.case.id} wants {modality}; codi2 answers with text and images so far")
        return pieces_of(item.case, turn, self._template)

    def _encode(self, prompts: Sequence[Sequence[Piece]]) -> list[tuple[Part, ...]]:
        media = [piece.media for prompt in prompts for piece in prompt if isinstance(piece, Slot)]
        with self._residence.on_device("imagebind"):
            vectors = self._encoder.encode(media)

        def part(piece: Piece) -> Part:
            return piece.text if isinstance(piece, Words) else Vectors(piece.media.modality, vectors[piece.media])

        return [tuple(map(part, prompt)) for prompt in prompts]

    def _ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Greedy answers to the samples of one case are one answer, and are asked for once."""
        sampled = self._decoding.temperature > 0
        keys = [(request.name, request.seed if sampled else 0) for request in requests]
        distinct = dict(zip(keys, requests, strict=True))
        with self._residence.on_device("language_model"):
            answers = self._language_model.answer(list(distinct.values()), self._decoding)
        by_key = dict(zip(distinct, answers, strict=True))
        return [by_key[key] for key in keys]

    def _draw(self, drawn: Sequence[_Drawn]) -> list[Output]:
        if not drawn:
            return []
        embeddings = torch.stack([one.feature.values for one in drawn]) * self._feature_scale
        generators = [torch.Generator("cpu").manual_seed(one.seed) for one in drawn]
        with self._residence.on_device("image_decoder"):
            pictures = self._image_decoder.decode(embeddings, generators, self._sampling)
        return [self._picture(one.feature, picture) for one, picture in zip(drawn, pictures, strict=True)]

    def _picture(self, feature: Feature, picture: Picture) -> Output:
        flags = (*picture.flags, *((FORCED,) if feature.forced else ()))
        trace = feature.values.numpy().astype("<f4").tobytes() if self._trace else b""
        return Output("image", encode_image(picture.image), flags, trace)

    def _text(self, answer: Answer) -> Output:
        return Output("text", answer.text)


@dataclass(frozen=True)
class Parts:
    """What a CoDi-2 is made of; `feature_scale` is what predictions are multiplied by for the image decoder."""

    encoder: Encoder
    language_model: LanguageModel
    image_decoder: ImageDecoder
    feature_scale: float


def load_parts(folder: Path, dtype: torch.dtype, *, channels_last: bool = False, compile: bool = False) -> Parts:
    """The parts of a checkpoint's folder, on the CPU; UsageError in one line as for CoDi2."""
    found = read_checkpoint(folder)
    reading = found.description.reading
    return Parts(
        Encoder(load_imagebind(found.imagebind, dtype), reading),
        LanguageModel.load(found.language_model, read_adapters(found), found.description.lora, reading, dtype),
        ImageDecoder.load(found.image_decoder, dtype, channels_last=channels_last, compile=compile),
        reading.feature_scale,
    )


@dataclass(frozen=True)
class _Conversation:
    """An item while its turns are answered: what was asked and answered, and the outputs of each turn."""

    item: Item
    exchanges: list[Exchange] = field(default_factory=list)
    outputs: list[list[Output]] = field(default_factory=list)

    def next_seed(self) -> int:
        """That of the first output of the turn that comes."""
        return self.item.seed + sum(map(len, self.outputs))


@dataclass(frozen=True)
class _Drawn:
    """A feature that becomes a picture, and the seed of its noise."""

    feature: Feature
    seed: int


def _features_to_draw(asked: Sequence[tuple[_Conversation, Turn]], answers: Sequence[Answer]) -> list[_Drawn]:
    """One for each wanted picture, in the order of the outputs: the answer's own, first to last."""
    drawn = []
    for (one, turn), answer in zip(asked, answers, strict=True):
        features = (feature for feature in answer.features if feature.modality == "image")
        seed = one.next_seed()
        drawn += [_Drawn(next(features), seed + k) for k, wanted in enumerate(turn.wants) if wanted == "image"]
    return drawn


def _precision(dtype: str, device: str) -> torch.dtype:
    check_choice("dtype", dtype, ("auto", *DTYPES))
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    if dtype == "float16" and device == "cpu":
        raise UsageError("dtype=float16 needs a GPU; on the CPU set dtype=float32 or dtype=bfloat16")
    return DTYPES[dtype]
