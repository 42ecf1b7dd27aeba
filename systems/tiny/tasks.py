"""What a tiny CoDi-2 is asked in the drawn world, and what it should answer.

A task is a conversation whose questions hold items among their words, where a picture or a sound may stand: read as
they are (`spoken`) an item is its caption, and a model needs no eyes. Answers begin with words that say what is made.
The words around items are those of systems.codi2.templates, as a case of a suite gets them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.drawn_world import World
from systems.codi2.templates import TEMPLATES
from systems.tiny.words import Item, Lexicon, Scene

Piece = str | Item
A_PICTURE, A_SOUND = "an image", "a sound"
PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Round:
    """A question and its answer: `answer` in words, then the item that is `made`; None where words are the answer."""

    question: tuple[Piece, ...]
    answer: str
    made: Item | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A conversation of one round or more; the last answer is what counts."""

    name: str
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class Known:
    """What may be shown: combinations of scenes (all but the extra), pairs of events."""

    combinations: frozenset[tuple[str, str, str, str]]
    pairs: frozenset[frozenset[str]]

    @classmethod
    def of(cls, world: World) -> Known:
        """All that a set of the world shows."""
        scenes = (Scene(**picture.values) for picture in world.pictures)
        rows = [(mixture.kept, other) for mixture in world.mixtures for other in (mixture.first, mixture.second)]
        pairs = (frozenset(world.stem_events[row] for row in pair) for pair in rows)
        return cls(frozenset(scene.combination for scene in scenes), frozenset(pairs))

    def without(self, other: Known) -> Known:
        """What the other does not show."""
        return Known(self.combinations - other.combinations, self.pairs - other.pairs)

    def with_(self, other: Known) -> Known:
        """What either shows."""
        return Known(self.combinations | other.combinations, self.pairs | other.pairs)


def spoken(question: Sequence[Piece], lexicon: Lexicon) -> str:
    """A question in words alone: each item is its caption in brackets."""
    return " ".join(piece if isinstance(piece, str) else f"( {lexicon.caption(piece)} )" for piece in question)


def framed(template: str, taken: Sequence[Sequence[Piece]], wanted: str = A_PICTURE) -> tuple[Piece, ...]:
    """The words of a template around what each of its placeholders takes, as systems.codi2.prompts joins them."""
    before, *parts = PLACEHOLDER.split(TEMPLATES[template].text.replace("{wanted}", wanted))
    pieces: list[Piece] = [before.strip()]
    for inputs, after in zip(taken, parts, strict=True):
        pieces += [*inputs, after.strip()]
    return joined(pieces)


def joined(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Words that follow each other are one piece; no words are none."""
    runs: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and runs and isinstance(runs[-1], str):
            runs[-1] = f"{runs[-1]} {piece}".strip()
        elif piece != "":
            runs.append(piece)
    return tuple(runs)
