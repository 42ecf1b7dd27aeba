"""What is said in the cases of the drawn world: several phrasings for each thing asked, one of which is drawn.

Braces: {shape} is what the subject is, {new} what there is to be, {old} what there was, {where} the words for a
background, {caption} those for a whole scene or sound. A word for what only a picture tells stands in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.tinyworld.attributes import HEARD, WHERE, Scene

# An edit of a picture that is given.
EDITS: Mapping[str, tuple[str, ...]] = {
    "recolour": ("make it {new}", "paint the {shape} {new}", "change the colour to {new}", "turn the {shape} {new}"),
    "repattern": ("make it {new}", "make the {shape} {new}", "change the pattern to {new}", "give it a {new} pattern"),
    "reshape": (
        "turn it into a {new}", "replace the {shape} with a {new}", "change the {shape} to a {new}",
        "swap the {shape} for a {new}",
    ),
    "background": ("put it {where}", "place the {shape} {where}", "change the background: {where}", "show it {where}"),
    "add": ("add a {new}", "put a {new} beside it", "add a {new} to the picture", "there should be a {new}"),
    "remove": (
        "remove the {old}", "take the {old} away", "take away the {old}", "remove the {old} from the picture",
    ),
}  # fmt: skip
ATTRIBUTES: Mapping[str, str] = {
    "recolour": "colour",
    "repattern": "pattern",
    "reshape": "shape",
    "background": "background",
    "add": "extra",
    "remove": "extra",
}
"""Which attribute an edit is of."""

# A later round of a conversation, which calls what was made "it".
LATER: Mapping[str, tuple[str, ...]] = {
    "recolour": ("make it {new}", "now paint it {new}", "turn it {new}", "it should be {new}"),
    "repattern": ("make it {new}", "now make it {new}", "give it a {new} pattern", "it should be {new}"),
    "reshape": ("turn it into a {new}", "now make it a {new}", "it should be a {new}"),
    "background": ("put it {where}", "now show it {where}", "place it {where}"),
    "add": ("add a {new} to it", "put a {new} beside it", "now add a {new}"),
}
MAKE = ("draw {caption}", "make {caption}", "show me {caption}", "a picture of {caption}")
PLAY = ("make the sound of {caption}", "let me hear {caption}", "play {caption}", "the sound of {caption}")

SOUND_EDITS: Mapping[str, tuple[str, ...]] = {
    "add": ("add {new}", "mix {new} in", "let {new} be heard too", "put {new} in"),
    "drop": ("remove {old}", "drop {old}", "take {old} away", "take out {old}"),
    "replace": (
        "replace {old} with {new}", "swap {old} for {new}", "change {old} to {new}", "{new} instead of {old}",
    ),
}  # fmt: skip

# What stands before a picture of which the answer is to have this.
COMPOSE: Mapping[str, tuple[str, ...]] = {
    "shape": ("with the shape of", "in the shape of"),
    "colour": ("with the colour of", "in the colour of"),
    "pattern": ("with the pattern of", "in the pattern of"),
    "background": ("on the background of", "with the background of"),
}


def said(phrasings: tuple[str, ...], draws: np.random.Generator, **fields: str) -> str:
    """One of them, filled in."""
    return phrasings[int(draws.integers(len(phrasings)))].format(**fields)


def edit_fields(before: Scene, edit: str, new: str) -> dict[str, str]:
    """What the braces of an edit of this scene to the value `new` stand for."""
    where = WHERE[new] if edit == "background" else ""
    return {"shape": before.subject.shape, "new": new, "old": before.extra, "where": where}


def known(event: str) -> str:
    """An event that was heard already: "the bell", "the rain"."""
    return f"the {HEARD[event].split()[-1]}"


def noun(*words: str) -> str:
    """ "a blue fish", "an orange fish": a noun with words before it, plain too, in their order."""
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"
