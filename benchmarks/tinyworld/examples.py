"""Cases that show what is meant: a change in a pair of pictures, what several share, what one has of another.

exemplar      before, after, and another picture: the same change there, which is of the same value to the same
concept       two or three pictures that share one attribute and no other, and words for all the rest
composition   a picture with an attribute of a second, and perhaps the background of a third
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from numpy.random import Generator

from benchmarks.tinyworld.asking import ALL, COMBINATION, applied, fits, text_of, truth
from benchmarks.tinyworld.attributes import WHERE, Scene, Split, split_of
from benchmarks.tinyworld.folder import Medium, Round, Row, Studio
from benchmarks.tinyworld.plans import CasePlan
from benchmarks.tinyworld.training import CHANGES, attribute, pose, scene_in, with_attribute
from benchmarks.tinyworld.words import ATTRIBUTES, COMPOSE, EDITS, noun, said

Drawn = tuple[tuple[Medium, ...], Scene, Sequence[str], Sequence[str], Scene | None]
"""Inputs, the scene that answers them, what is asked, what is told, and the picture that the answer keeps."""

THREE = "colour and background"
SHARED = ("shape", "colour", "pattern", "background")


def incontext(studio: Studio, plan: CasePlan) -> list[Row]:
    """As many of each kind."""
    return [_row(studio, kind, number) for kind in KINDS for number in range(plan.examples)]


def _row(studio: Studio, kind: str, number: int) -> Row:
    draws = studio.draws(f"tiny-incontext {kind}", number)
    names = KINDS[kind]
    of = names[number % len(names)]
    inputs, target, asked, told, kept = _DRAWN[kind](studio, of, number, draws)
    answer = (studio.picture(target),)
    parts = {
        **truth(target, told, asked),
        "target": answer,
        "reference": answer,
        "prompt": (text_of(target.caption),),
        **({"source": (studio.picture(kept),)} if kept else {}),
    }
    # Drawn one by one, cases are their own clusters; and no tag tells what the answer is.
    case = f"{kind}-{number:02d}"
    tags = {"task": kind, "of": of, "case": case}
    return Row(case, (Round(inputs, ("image",), parts),), tags)


def _exemplar(studio: Studio, edit: str, number: int, draws: Generator) -> Drawn:
    first, changed, third, target = exemplar(edit, studio.split, draws)
    inputs = tuple(map(studio.picture, (first, changed, third)))
    return inputs, target, (ATTRIBUTES[edit],), ALL, third


def exemplar(edit: str, split: Split, draws: Generator) -> tuple[Scene, Scene, Scene, Scene]:
    """A scene and an edit of it, another scene of another subject with the same value, and the same edit of that one.

    The last is of this split alone, the others perhaps known from training.
    """
    name = ATTRIBUTES[edit]
    while True:
        first, other = (scene_in(("training", split), draws) for _ in range(2))
        third = with_attribute(other, name, attribute(first, name))
        if first.subject == third.subject or not fits(edit, first) or not shown(third, split):
            continue
        # An exemplar may be known, so either split's will do for it.
        after = applied(edit, first, "training", draws) or applied(edit, first, split, draws)
        if after and is_asked(target := with_attribute(third, name, attribute(after, name)), split):
            return first, after, third, target


def _concept(studio: Studio, name: str, number: int, draws: Generator) -> Drawn:
    # By turns for each attribute, not for each case: the attributes take turns themselves.
    many = 2 + (number // len(SHARED)) % 2
    while True:
        target = scene_in((studio.split,), draws)
        examples = [_sharing(target, name, draws) for _ in range(many)]
        others = [one for one in ALL if one != name]
        if all(shown(one, studio.split) for one in examples) and all(
            attribute(first, other) != attribute(second, other)
            for first, second in combinations(examples, 2)
            for other in others
        ):
            break
    inputs = (*map(studio.picture, examples), text_of(_rest(target, name)))
    return inputs, target, (name,), COMBINATION, None


def _sharing(scene: Scene, name: str, draws: Generator) -> Scene:
    """Any scene with this attribute of that one."""
    drawn = Scene(scene.subject, scene.background, pose=pose(draws))
    for other, values in CHANGES.items():
        if other != name:
            drawn = with_attribute(drawn, other, values[int(draws.integers(len(values)))])
    return drawn


def _rest(scene: Scene, name: str) -> str:
    """Words for a scene without one attribute: "a plain fish in the snow", "a red striped one at night"."""
    words = [attribute(scene, one) for one in ("colour", "pattern") if one != name]
    thing = noun(*words, "one" if name == "shape" else scene.subject.shape)
    return thing if name == "background" else f"{thing} {WHERE[scene.background]}"


def _composition(studio: Studio, of: str, number: int, draws: Generator) -> Drawn:
    names = of.split(" and ")
    while True:
        scenes = [scene_in(("training", studio.split), draws) for _ in range(1 + len(names))]
        target = scenes[0]
        for name, other in zip(names, scenes[1:], strict=True):
            target = with_attribute(target, name, attribute(other, name))
        differ = [attribute(target, name) != attribute(scenes[0], name) for name in names]
        if all(differ) and is_asked(target, studio.split):
            break
    inputs = [studio.picture(scenes[0])]
    for name, other in zip(names, scenes[1:], strict=True):
        inputs += [text_of(said(COMPOSE[name], draws)), studio.picture(other)]
    return tuple(inputs), target, names, ALL, scenes[0]


def shown(scene: Scene, split: Split) -> bool:
    """Whether a case of this split may show it: held out by the split, or known from training."""
    return split_of(scene.subject, scene.background) in ("training", split)


def is_asked(scene: Scene, split: Split) -> bool:
    """Whether a case of this split may ask for it."""
    return split_of(scene.subject, scene.background) == split


KINDS: Mapping[str, tuple[str, ...]] = {
    "exemplar": tuple(EDITS),
    "concept": SHARED,
    "composition": (*COMPOSE, THREE),
}
_DRAWN = {"exemplar": _exemplar, "concept": _concept, "composition": _composition}
