"""What a prompt of CoDi-2 is made of, before anything is encoded: words, and slots for media among them."""

from __future__ import annotations

from dataclasses import dataclass

from harness.nouns import Media


@dataclass(frozen=True, slots=True)
class Words:
    """Text that the language model reads token by token; a tag written in it is text, never a tag."""

    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A medium that the language model sees through ImageBind.

    Images, sounds and videos stand between their tags. A text is a phrase given as one feature, without tags.
    """

    media: Media


Piece = Words | Slot
