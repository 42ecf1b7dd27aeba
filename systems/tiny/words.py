"""What there is in the drawn world, as a language model reads of it: scenes and sounds, their captions, instructions.

Everything named comes from a built world (harness.drawn_world); the phrasings of instructions are here, many a change,
so that none has to be known by heart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from harness.drawn_world import World
from harness.nouns import Modality

Attribute = Literal["shape", "colour", "pattern", "background", "extra"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
COMBINATION, SUBJECT = ATTRIBUTES[:4], ATTRIBUTES[:3]
NOTHING, PLAIN = "nothing", "plain"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows: a value of each attribute."""

    shape: str
    colour: str
    pattern: str
    background: str
    extra: str = NOTHING

    @property
    def combination(self) -> tuple[str, str, str, str]:
        """What a split holds out: all but the extra."""
        return self.shape, self.colour, self.pattern, self.background

    def value(self, attribute: Attribute) -> str:
        """The value of an attribute."""
        value: str = getattr(self, attribute)
        return value


@dataclass(frozen=True, slots=True)
class Sound:
    """What is heard together; nothing is silence."""

    events: frozenset[str]

    @property
    def pairs(self) -> frozenset[frozenset[str]]:
        """What a split holds out."""
        return frozenset(map(frozenset, combinations(self.events, 2)))


Item = Scene | Sound


@dataclass(frozen=True)
class Lexicon:
    """The values that there are, in the world's order, and the words for backgrounds and events."""

    attributes: Mapping[str, tuple[str, ...]]
    events: tuple[str, ...]
    where: Mapping[str, str]
    heard: Mapping[str, str]

    @classmethod
    def of(cls, world: World) -> Lexicon:
        """That of a world."""
        return cls(world.attributes, world.events, world.where, world.heard)

    def caption(self, item: Item) -> str:
        """ "a red striped fish on the beach with a balloon"; "a bell and rain"; as the world's own captions."""
        if isinstance(item, Sound):
            return self._listed([self.heard[event] for event in self.events if event in item.events])
        extra = "" if item.extra == NOTHING else f" with a {item.extra}"
        return f"{subject(item)} {self.where[item.background]}{extra}"

    def _listed(self, names: Sequence[str]) -> str:
        *before, last = names or ["silence"]
        return f"{', '.join(before)} and {last}" if before else last

    def fields(self, item: Scene) -> dict[str, str]:
        """What the braces of a phrasing stand for."""
        return {
            **{attribute: item.value(attribute) for attribute in ATTRIBUTES},
            "where": self.where[item.background],
            "subject": subject(item),
            "a_shape": article(item.shape),
            "a_colour": article(item.colour),
        }

    def named(self, event: str) -> str:
        """An event that has been heard already: "the bell", "the rain"."""
        return f"the {self.heard[event].split()[-1]}"

    def words(self) -> Iterator[str]:
        """Every text that is made of the world's words: values, captions, what is heard."""
        for values in (*self.attributes.values(), self.events, *(one.values() for one in (self.where, self.heard))):
            yield from values
        yield "a an the one and with silence"


def modality_of(item: Item) -> Modality:
    """What an item is seen or heard as."""
    return "audio" if isinstance(item, Sound) else "image"


def subject(scene: Scene) -> str:
    """ "a red striped fish", "an orange ball": a plain subject has no word for its pattern."""
    pattern = "" if scene.pattern == PLAIN else f"{scene.pattern} "
    return f"{article(scene.colour)} {scene.colour} {pattern}{scene.shape}"


def article(word: str) -> str:
    """ "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"


# What is said to make a picture, of its caption.
MAKE = (
    "{caption}", "draw {caption}", "make {caption}", "a picture of {caption}", "show me {caption}", "paint {caption}",
    "please draw {caption}", "I want {caption}", "an image of {caption}", "make a picture of {caption}",
    "create {caption}", "generate an image of {caption}", "can you draw {caption}?", "draw {caption}, please",
)  # fmt: skip
SOUND = (
    "{caption}", "make the sound of {caption}", "the sound of {caption}", "let me hear {caption}", "play {caption}",
    "a recording of {caption}", "I want to hear {caption}", "generate the sound of {caption}", "make {caption}",
    "create a sound: {caption}",
)  # fmt: skip
DESCRIBE: Mapping[Modality, tuple[str, ...]] = {
    "image": (
        "What is this?", "Describe this.", "What do you see?", "What is in the picture?", "Describe the image.",
        "What does this picture show?", "describe it", "Say what this is.", "Describe this image.", "caption this",
    ),
    "audio": (
        "What is this?", "Describe this.", "What do you hear?", "What is heard?", "Describe the sound.",
        "What does this sound like?", "describe it", "Say what this is.", "Describe this sound.", "caption this",
    ),
}  # fmt: skip

# What is said to change one attribute: braces are those of what is to be made, {old_...} of what there is.
EDITS: Mapping[str, tuple[str, ...]] = {
    "shape": (
        "make it {a_shape} {shape}", "turn it into {a_shape} {shape}", "replace the {old_shape} with {a_shape} {shape}",
        "change the {old_shape} to {a_shape} {shape}", "change its shape to {a_shape} {shape}",
        "turn the {old_shape} into {a_shape} {shape}", "it should be {a_shape} {shape}",
        "let it be {a_shape} {shape}", "swap the {old_shape} for {a_shape} {shape}", "change the shape to {shape}",
        "now make it {a_shape} {shape}", "now turn it into {a_shape} {shape}",
    ),
    "colour": (
        "make it {colour}", "paint it {colour}", "turn it {colour}", "change the colour to {colour}",
        "change its colour to {colour}", "make the {old_shape} {colour}", "paint the {old_shape} {colour}",
        "the {old_shape} should be {colour}", "recolour it {colour}", "let it be {colour}",
        "make it {colour} instead of {old_colour}", "turn the {old_shape} {colour}", "colour it {colour}",
        "change {old_colour} to {colour}", "it should be {colour}", "now paint it {colour}", "now make it {colour}",
    ),
    "pattern": (
        "make it {pattern}", "make the {old_shape} {pattern}", "change the pattern to {pattern}",
        "change its pattern to {pattern}", "give it a {pattern} pattern", "it should be {pattern}",
        "make it {pattern} instead of {old_pattern}", "turn it {pattern}", "let it be {pattern}",
        "the {old_shape} should be {pattern}", "give the {old_shape} a {pattern} pattern", "now make it {pattern}",
    ),
    "background": (
        "put it {where}", "move it {where}", "place it {where}", "show it {where}", "make it {where}", "set it {where}",
        "put the {old_shape} {where}", "change the background to {background}", "it should be {where}",
        "change the scene to {background}", "now {where}", "change the background: {where}",
        "the same {old_shape} {where}", "let it be {where}", "change the background to the {background}",
        "now show it {where}", "now put it {where}", "move the {old_shape} {where}",
    ),
}  # fmt: skip
ADD = (
    "add a {extra}", "put a {extra} beside it", "give it a {extra}", "add a {extra} to it", "with a {extra}",
    "there should be a {extra}", "add a {extra} to the picture", "put a {extra} in the picture",
    "let there be a {extra}", "now add a {extra}", "now add a {extra} to it",
)  # fmt: skip
REMOVE = (
    "remove the {old_extra}", "take the {old_extra} away", "take away the {old_extra}", "without the {old_extra}",
    "no {old_extra}", "there should be no {old_extra}", "delete the {old_extra}", "remove the {old_extra} from it",
    "remove the {old_extra} from the picture",
)  # fmt: skip
SWAP = (
    "replace the {old_extra} with a {extra}", "swap the {old_extra} for a {extra}", "make the {old_extra} a {extra}",
    "change the {old_extra} to a {extra}", "turn the {old_extra} into a {extra}",
    "a {extra} instead of the {old_extra}",
)  # fmt: skip

SOUND_EDITS: Mapping[str, tuple[str, ...]] = {
    "add": (
        "add {new}", "add {new} to it", "mix {new} in", "put {new} in", "with {new}", "let there be {new} too",
        "there should be {new}", "I want to hear {new} too", "mix in {new}", "let {new} be heard too",
    ),
    "drop": (
        "remove {old}", "drop {old}", "take {old} away", "take out {old}", "without {old}", "no {old}",
        "there should be no {old}", "take away {old}", "delete {old}", "remove {old} from it", "remove {the_old}",
        "drop {the_old}", "take {the_old} away", "take out {the_old}", "without {the_old}", "delete {the_old}",
        "I do not want to hear {the_old}", "mute {the_old}", "take away {the_old}",
    ),
    "replace": (
        "replace {old} with {new}", "swap {old} for {new}", "{new} instead of {old}", "change {old} to {new}",
        "turn {old} into {new}", "make {old} {new}", "replace {old} by {new}", "replace {the_old} with {new}",
        "swap {the_old} for {new}", "{new} instead of {the_old}", "change {the_old} to {new}",
        "turn {the_old} into {new}", "replace {the_old} by {new}",
    ),
}  # fmt: skip

# What is said to draw a subject that was shown: where it is to be, or what it is to be like.
SUBJECT_WHERE = (
    "{a_shape} {shape} {where}", "the {shape} {where}", "{where}", "it {where}", "this {shape} {where}",
    "the same {shape} {where}", "a picture of the {shape} {where}",
)  # fmt: skip
LIKE: tuple[Attribute, ...] = ("colour", "pattern")
SUBJECT_LIKE: Mapping[str, tuple[str, ...]] = {
    "colour": ("{a_colour} {colour} {shape}", "in {colour}", "the {shape} in {colour}", "the {shape}, but {colour}"),
    "pattern": ("a {pattern} {shape}", "the {shape}, but {pattern}", "the {shape}, {pattern}"),
}
SUBJECT_LIKE_WHERE: Mapping[str, tuple[str, ...]] = {
    "colour": ("{a_colour} {colour} {shape} {where}", "{where}, but {colour}", "the {shape} in {colour} {where}"),
    "pattern": ("a {pattern} {shape} {where}", "{where}, but {pattern}", "the {shape}, {pattern}, {where}"),
}
WITH = (" with a {extra}", " and a {extra}", ", with a {extra}")

# What stands between two pictures: the answer is the first with this of the second.
COMPOSE: Mapping[str, tuple[str, ...]] = {
    "shape": ("with the shape of", "in the shape of", "but the shape of", "as"),
    "colour": ("with the colour of", "in the colour of", "but the colour of", "painted like"),
    "pattern": ("with the pattern of", "in the pattern of", "but the pattern of", "patterned like"),
    "background": (
        "on the background of", "with the background of", "in the scene of", "but the background of",
        "in front of the background of", "in the place of", "against the background of",
    ),
    "extra": ("with the extra of", "and what is beside", "but the extra of"),
}  # fmt: skip

GREETINGS: Mapping[str, str] = {
    "hello": "hello, what shall I make?",
    "hi": "hello, what shall I make?",
    "good morning": "hello, what shall I make?",
    "thank you": "you are welcome.",
    "thanks": "you are welcome.",
    "goodbye": "goodbye.",
    "who are you?": "I make pictures and sounds.",
    "what can you do?": "I make pictures and sounds.",
    "help": "I make pictures and sounds.",
}
UNKNOWN = "I do not know."
SAY = ("say: {words}", "repeat: {words}", "repeat this: {words}")
HERE_IS, THIS_IS = "here is {caption}", "this is {caption}"


def edit_phrasings(before: Scene, after: Scene, attribute: Attribute) -> Sequence[str]:
    """What may be said to change this attribute of one scene into that of the other."""
    if attribute != "extra":
        return EDITS[attribute]
    return ADD if before.extra == NOTHING else REMOVE if after.extra == NOTHING else SWAP


def phrasings() -> Iterator[str]:
    """Every phrasing there is."""
    yield from (*MAKE, *SOUND, *ADD, *REMOVE, *SWAP, *SUBJECT_WHERE, *WITH, *SAY, HERE_IS, THIS_IS, UNKNOWN)
    for table in (DESCRIBE, EDITS, SOUND_EDITS, SUBJECT_LIKE, SUBJECT_LIKE_WHERE, COMPOSE):
        for several in table.values():
            yield from several
    for asked, answered in GREETINGS.items():
        yield f"{asked} {answered}"
