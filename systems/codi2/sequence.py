"""How a conversation becomes one sequence: the prompt's style, the tags, and the words between them.

Conventions
- "llama2-chat" is what Llama 2 Chat was trained with: `<s>[INST] {question} [/INST] {answer} </s><s>[INST] ...`,
  without a system prompt. A question of words alone has the very ids that the published template gives it.
- "human-assistant" is the released code's way, after PandaGPT: `<s>### Human: {question}\\n### Assistant: {answer}`,
  a new line and `### Human: ...` again. An answer ends where `###` begins (the released code stops at Llama's token
  2277, `##`).
- Words of a question are stripped where it begins and ends, and of spaces beside a slot. What stands between two slots
  is tokenised as a text of its own, so with Llama's tokenizer it begins with a space, as every word of the released
  code does. Words that follow each other are joined as they are.
- Nothing that a user types becomes a tag or another special token: the tokenizer does not know the tags, and its own
  special tokens are switched off.
- Answers are read again as they were given, token by token.

Source: Llama 2's chat format (meta-llama/llama, generation.py); the released code (microsoft/i-Code at 9b16730,
CoDi-2/core/models/mmllama/openllama.py); docs/codi2.md, points 8 and 14.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from harness.nouns import Modality
from systems.codi2.checkpoint import TAGS
from systems.codi2.conversation import Element, Exchange, Part, Request, Vectors

PromptStyle = Literal["llama2-chat", "human-assistant"]
TAGGED: tuple[Modality, ...] = ("image", "audio", "video")
SEPARATOR = "###"


@dataclass(frozen=True, slots=True)
class Tags:
    """The six tags' ids: those that follow a vocabulary of `first` tokens, in the order of systems.codi2.checkpoint."""

    first: int

    def opening(self, modality: Modality) -> int:
        return self.first + TAGS.index(f"<{modality}>")

    def closing(self, modality: Modality) -> int:
        return self.first + TAGS.index(f"</{modality}>")

    @property
    def opened(self) -> Mapping[int, Modality]:
        """What each opening tag opens."""
        return {self.opening(modality): modality for modality in TAGGED}

    @property
    def all(self) -> range:
        return range(self.first, self.first + len(TAGS))

    @property
    def closings(self) -> tuple[int, ...]:
        return tuple(self.closing(modality) for modality in TAGGED)


class Writer:
    """Writes conversations as elements, and reads words back.

    `tokenizer` is a transformers tokenizer with a beginning and an end of sequence.
    """

    def __init__(self, tokenizer: Any, tags: Tags, style: PromptStyle) -> None:
        self.tags = tags
        self._tokenizer = tokenizer
        self._style = style
        # Any of these ends an answer, and none is part of it.
        self.ends = frozenset({tokenizer.eos_token_id, *(self._separators() if style == "human-assistant" else ())})

    def prompt(self, request: Request) -> list[Element]:
        """The sequence that the answer to the last exchange continues."""
        chat = self._chat if self._style == "llama2-chat" else self._dialogue
        return list(chat(request.exchanges))

    def text(self, ids: Sequence[int]) -> str:
        """The words that tokens spell, special ones left out."""
        said: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return said

    def _chat(self, exchanges: Sequence[Exchange]) -> Iterator[Element]:
        for exchange in exchanges:
            yield self._tokenizer.bos_token_id
            yield from self._question("[INST] ", exchange.question, " [/INST]")
            if exchange.answer is not None:
                yield from exchange.answer.appended
                yield self._tokenizer.eos_token_id

    def _dialogue(self, exchanges: Sequence[Exchange]) -> Iterator[Element]:
        yield self._tokenizer.bos_token_id
        line = ""
        for exchange in exchanges:
            yield from self._question(f"{line}{SEPARATOR} Human: ", exchange.question, f"\n{SEPARATOR} Assistant:")
            if exchange.answer is not None:
                yield from exchange.answer.appended
                line = "" if self._ends_a_line(exchange.answer.appended) else "\n"

    def _question(self, before: str, question: Sequence[Part], after: str) -> Iterator[Element]:
        runs = _joined([before, *_stripped(question), after])
        for index, part in enumerate(runs):
            if isinstance(part, Vectors):
                yield from self._slot(part)
                continue
            words = part.lstrip(" ") if index > 0 else part
            words = words.rstrip(" ") if index < len(runs) - 1 else words
            yield from self._ids(words) if words else ()

    def _slot(self, vectors: Vectors) -> Iterator[Element]:
        if vectors.modality not in TAGGED:
            yield vectors.values
        else:
            yield self.tags.opening(vectors.modality)
            yield vectors.values
            yield self.tags.closing(vectors.modality)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def _separators(self) -> set[int]:
        """The first token of a separator that begins a line, and of one that begins a text."""
        line = len(self._ids("\n"))
        return {*self._ids(f"\n{SEPARATOR}")[line : line + 1], *self._ids(SEPARATOR)[:1]}

    def _ends_a_line(self, elements: Sequence[Element]) -> bool:
        last = elements[-1] if elements else None
        return isinstance(last, int) and last < self.tags.first and self.text([last]).endswith("\n")


def length(elements: Sequence[Element]) -> int:
    """Positions that elements take."""
    return sum(len(element) if isinstance(element, Tensor) else 1 for element in elements)


def _stripped(question: Sequence[Part]) -> list[Part]:
    """Without the white space that the question begins and ends with."""
    parts = list(question)
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return parts


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring words as one run of words."""
    runs: list[Part] = []
    for part in parts:
        if isinstance(part, str) and runs and isinstance(runs[-1], str):
            runs[-1] += part
        else:
            runs.append(part)
    return runs
