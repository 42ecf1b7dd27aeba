"""A suite whose words mean something to a terminal, a page, a spreadsheet or a parser, and systems that repeat them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.errors import UsageError
from harness.nouns import Case, Item, Listing, Media, Output, Suite, Turn

WORDS = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'",
    "escapes": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J bell\x07 back\x08space",
    "controls": "".join(map(chr, range(32))) + "\x7f\x80\x85\u2028\u2029",
    "nul": "before\0after",
    "lines": "one\ntwo\r\nthree | four, \"five\"; 'six'",
    "formula": '=HYPERLINK("http://example.org","x")',
    "marks": "\u202eright to left\u202c \ufeff e\u0301 \U0001f4a5 ‮",
    "query": "'; DROP TABLE runs; -- ` \\ %s {0} $HOME",
    "long": "x" * 100_000,
}


def cases() -> tuple[Case, ...]:
    """A case for each of the words, which are its prompt, its reference and a tag."""
    return tuple(
        Case(
            name,
            (Turn((Media("text", text=words),), ("text",), {"reference": (Media("text", text=words),)}),),
            {"subject": words[:2000]},
        )
        for name, words in WORDS.items()
    )


def half_a_character(data: str) -> Listing:
    """A suite with a lone surrogate in a prompt."""
    return Listing(
        (*cases(), Case("broken", (Turn((Media("text", text="a \ud800 b"),), ("text",)),), {"subject": "b"}))
    )


HOSTILE = Suite(
    "hostile", 1, lambda data: Listing(cases()), len(WORDS), 1, ("longer",), "one-ref", "subject", groups=("subject",),
    embedded=".",
)  # fmt: skip
BROKEN = Suite("broken", 1, half_a_character, len(WORDS) + 1, 1, ("longer",), "one-ref", "subject", embedded=".")


class Repeats:
    """Answers each prompt with itself; with `failing`, raises it; with `broken`, answers half a character."""

    def __init__(self, checkpoint: str, device: str, *, failing: bool = False, broken: bool = False) -> None:
        self.failing, self.broken = failing, broken

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        if self.failing:
            raise RuntimeError(" and ".join(item.case.turns[0].inputs[0].text for item in items) + "\ud800\x1b[31m")
        if self.broken:
            return [[[Output("text", "half \ud800")]] for _ in items]
        return [[[Output("text", turn.inputs[0].text) for turn in item.case.turns]] for item in items]


class Leaks:
    """Quotes the secrets that it was given, by setting and by environment, at "build", with "usage" or at "answer"."""

    def __init__(self, checkpoint: str, device: str, *, api_key: str = "", at: str = "answer") -> None:
        self.api_key = api_key
        if at == "build":
            raise RuntimeError(self.said())
        if at == "usage":
            raise UsageError(self.said())

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        raise RuntimeError(self.said())

    def said(self) -> str:
        """What a library says that was refused."""
        own = [os.environ.get(name, "") for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD")]
        url = f"https://me:{own[2]}@host/x?api_key={self.api_key}"
        return f"401 for {own} with {self.api_key!r} at {url} {{'token': '{own[0]}'}}"


class Refused:
    """An extractor that cannot be built, and says with which token."""

    def __init__(self, weights: str, device: str) -> None:
        raise UsageError(f"{weights or 'the hub'}: 401 for {os.environ['HF_TOKEN']}")
