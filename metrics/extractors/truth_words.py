"""What a case says that an answer must show, in words, as a row of flags. No weights.

A text is words with spaces between them, each at most once, in any order: values of a picture ("shape=fish colour=red",
one of each attribute at most), attributes ("colour background"), or events of a sound ("bell rain"; "silence" alone for
none of them). The flags are of the 28 values, then of the 5 attributes, then of the 16 events, in the order of
metrics.drawn_words: float32 (rows, 49) of ones and zeros. What is none of these words is a UsageError.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.nouns import Media
from metrics.drawn_words import ATTRIBUTES, EVENTS, SILENCE, VALUES

VALUE_WORDS = tuple(f"{attribute}={value}" for attribute, values in VALUES.items() for value in values)
PLACES = {word: place for place, word in enumerate((*VALUE_WORDS, *ATTRIBUTES, *EVENTS))}


class TruthWords:
    """`truth-words`. It has no weights, so any are refused with a UsageError; the device plays no part."""

    def __init__(self, weights: str, device: str) -> None:
        if weights:
            raise UsageError(f"weights {weights}: truth-words has none; leave --weights truth-words out")

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Flags of the one text in each row: float32 (len(batch), 49)."""
        return np.stack([flags(media.text) for (media,) in batch])


def flags(text: str) -> NDArray[np.float32]:
    """The flags of a text (49,); UsageError that quotes it where it is no words of one kind."""
    words, row = text.split(), np.zeros(len(PLACES), np.float32)
    if words == [SILENCE]:
        return row
    unknown = [word for word in words if word not in PLACES]
    if unknown:
        raise UsageError(f'"{text}": {unknown[0]} is no value, attribute or event; "shape=fish colour=red" would do')
    named = [word.partition("=")[0] for word in words]
    if not words or len({*named}) < len(named) or len({_kind(word) for word in words}) > 1:
        raise UsageError(f'"{text}": not words of one kind, each once; "shape=fish colour=red" would do')
    row[[PLACES[word] for word in words]] = 1
    return row


def _kind(word: str) -> str:
    return "value" if "=" in word else "attribute" if word in ATTRIBUTES else "event"
