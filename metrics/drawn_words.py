"""What there is to be told apart in the drawn world, in the order in which its judge numbers it.

A picture has five attributes, with 28 values together; a sound has some of 16 events. `columns` says where the values
of an attribute stand among the 28. The world's own table (world.json of the folder that `anybench build tinyworld`
makes) must agree, which `check_world` sees to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from harness.drawn_world import World
from harness.errors import UsageError

VALUES: Mapping[str, tuple[str, ...]] = {
    "shape": ("ball", "box", "star", "heart", "fish", "house", "mug", "mushroom"),
    "colour": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"),
    "pattern": ("plain", "striped", "dotted"),
    "background": ("beach", "snow", "meadow", "night", "sunset", "street"),
    "extra": ("nothing", "balloon", "flag"),
}
EVENTS = (
    *("bell", "whistle", "siren", "drum", "rain", "wind", "bird", "cricket"),
    *("clock", "engine", "horn", "telephone", "dog", "knock", "bubbles", "piano"),
)
SILENCE = "silence"

ATTRIBUTES = tuple(VALUES)
SUBJECT = ("shape", "colour", "pattern")
SIZE = sum(map(len, VALUES.values()))


def columns(attribute: str) -> slice:
    """Where the values of an attribute stand among all 28."""
    start = 0
    for name, values in VALUES.items():
        if name == attribute:
            return slice(start, start + len(values))
        start += len(values)
    raise KeyError(attribute)


def chance(attributes: Iterable[str] = ATTRIBUTES) -> float:
    """How often all of these attributes are right in a picture that was drawn without looking at the truth.

    One over the number of values each: shape and colour 1/8, pattern 1/3, background 1/6, extra 1/3; of a subject
    1/192, of all five 1/3456. It is what a guess at truths that are drawn evenly reaches whatever the guess is, and an
    answer that shows one value of each attribute at most cannot have more.
    """
    return 1 / prod(len(VALUES[attribute]) for attribute in attributes)


def check_world(world: World) -> None:
    """UsageError where a world has other values or events than the judge tells apart, or another order of them."""
    if dict(world.attributes) != dict(VALUES) or world.events != EVENTS:
        raise UsageError("world.json: other attributes or events than the judge knows; build the world again")
