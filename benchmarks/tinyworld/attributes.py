"""What the drawn world is made of: scenes with five attributes and a pose, events to be heard, and the words for them.

A *subject* is a shape, a colour and a pattern (192 of them); a *combination* is a subject on a background (1,152). A
scene may have something extra in a corner, so that there is something to add and to remove.

Held out, by arithmetic and not by chance, so that every split has every shape, colour and pattern equally often (but
of backgrounds beach and sunset half as often as the others in test and validation, 24 combinations of 240 each):

- of the eight residues of (3 shape + 5 colour + 7 pattern) mod 8, subjects with residue 0 are *test* (24 subjects, on
  every background), those with 4 are *validation*: a model never sees them in training;
- of the other subjects, those whose residue plus three times the background is 0 (mod 8) are test there and 4
  validation: subjects that are known, where they were never seen;
- of the 120 pairs of events, (first + 5 second) mod 8 decides likewise: a model hears both events, never together.

Every choice that is made while training looks at validation, and test is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

Split = Literal["training", "validation", "test"]

SHAPES = ("ball", "box", "star", "heart", "fish", "house", "mug", "mushroom")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
PATTERNS = ("plain", "striped", "dotted")
BACKGROUNDS = ("beach", "snow", "meadow", "night", "sunset", "street")
EXTRAS = ("nothing", "balloon", "flag")

WHERE = {
    "beach": "on the beach",
    "snow": "in the snow",
    "meadow": "in a meadow",
    "night": "at night",
    "sunset": "at sunset",
    "street": "on a street",
}

EVENTS = (
    *("bell", "whistle", "siren", "drum", "rain", "wind", "bird", "cricket"),
    *("clock", "engine", "horn", "telephone", "dog", "knock", "bubbles", "piano"),
)
HEARD = {
    "bell": "a bell",
    "whistle": "a whistle",
    "siren": "a siren",
    "drum": "a drum",
    "rain": "rain",
    "wind": "wind",
    "bird": "a bird",
    "cricket": "a cricket",
    "clock": "a clock",
    "engine": "an engine",
    "horn": "a horn",
    "telephone": "a telephone",
    "dog": "a dog",
    "knock": "knocking",
    "bubbles": "bubbles",
    "piano": "a piano",
}

RESIDUES = 8
TEST, VALIDATION = 0, 4

# Pixels from the centre, the radius in pixels, and degrees counterclockwise.
SHIFTS = (-8, -4, 0, 4, 8)
RADII = (14, 16, 18)
TILTS = (-15, 0, 15)


@dataclass(frozen=True, slots=True)
class Subject:
    """What stays itself from picture to picture."""

    shape: str
    colour: str
    pattern: str

    @property
    def name(self) -> str:
        """Unique, and safe as a file name: "red-striped-fish"."""
        return f"{self.colour}-{self.pattern}-{self.shape}"


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a subject's centre is, in pixels right of and below that of the picture, its radius, and its tilt."""

    right: int = 0
    down: int = 0
    radius: int = 16
    tilt: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture: a subject in a pose on a background, perhaps with something extra."""

    subject: Subject
    background: str
    extra: str = "nothing"
    pose: Pose = Pose()

    @property
    def caption(self) -> str:
        """ "a red striped fish on the beach with a balloon"; a plain subject has no word for its pattern."""
        return f"{described(self.subject)} {WHERE[self.background]}{accompanied(self.extra)}"


def described(subject: Subject) -> str:
    """ "a red striped fish", "an orange ball"."""
    words = [subject.colour, *([] if subject.pattern == "plain" else [subject.pattern]), subject.shape]
    return f"{'an' if subject.colour == 'orange' else 'a'} {' '.join(words)}"


def accompanied(extra: str) -> str:
    """ " with a balloon", or nothing."""
    return "" if extra == "nothing" else f" with a {extra}"


def heard(events: Iterable[str]) -> str:
    """ "a bell", "a bell and rain", "a bell, rain and a dog", in the order of EVENTS; silence where there is none."""
    names = [HEARD[event] for event in sorted(events, key=EVENTS.index)]
    if not names:
        return "silence"
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def subjects() -> Iterator[Subject]:
    """All 192."""
    return (Subject(*values) for values in product(SHAPES, COLOURS, PATTERNS))


def residue(subject: Subject) -> int:
    """What decides the split of a subject, 0 to 7."""
    return (
        3 * SHAPES.index(subject.shape) + 5 * COLOURS.index(subject.colour) + 7 * PATTERNS.index(subject.pattern)
    ) % RESIDUES


def split_of_subject(subject: Subject) -> Split:
    """Which split alone may show this subject; "training" where it is known from training."""
    return _split(residue(subject))


def split_of(subject: Subject, background: str) -> Split:
    """Which split may show this combination."""
    by_subject = split_of_subject(subject)
    if by_subject != "training":
        return by_subject
    return _split((residue(subject) + 3 * BACKGROUNDS.index(background)) % RESIDUES)


def split_of_events(events: Sequence[str]) -> Split:
    """Which split may let these events be heard together: test where any pair of them is, then validation.

    One event alone is in every split, so "training".
    """
    pairs = combinations(sorted(EVENTS.index(event) for event in events), 2)
    splits = [_split((first + 5 * second) % RESIDUES) for first, second in pairs]
    return "test" if "test" in splits else "validation" if "validation" in splits else "training"


def _split(number: int) -> Split:
    return "test" if number == TEST else "validation" if number == VALIDATION else "training"
