"""Conversations about a picture: three rounds, of which the later ones call what there is "it".

    made    "draw a red striped fish on the beach", and two changes
    given   a picture and a change of it, and two more changes

The truth of a round is all that was said until then, and what a given picture shows: what earlier rounds made must be
there still. "asked" is what this round alone speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from numpy.random import Generator

from benchmarks.tinyworld.asking import ALL, COMBINATION, applied, text_of, truth
from benchmarks.tinyworld.attributes import Scene, Split
from benchmarks.tinyworld.examples import is_asked
from benchmarks.tinyworld.folder import Medium, Round, Row, Studio
from benchmarks.tinyworld.plans import CasePlan
from benchmarks.tinyworld.training import attribute, scene_in, with_attribute
from benchmarks.tinyworld.words import ATTRIBUTES, LATER, MAKE, edit_fields, said

KINDS = ("made", "given")


def conversation(studio: Studio, plan: CasePlan) -> list[Row]:
    """As many of each kind."""
    return [_row(studio, kind, number) for kind in KINDS for number in range(plan.conversations)]


def _row(studio: Studio, kind: str, number: int) -> Row:
    draws = studio.draws(f"tiny-conversation {kind}", number)
    scenes, edits = _course(2 if kind == "made" else 3, studio.split, draws)
    told = {*(COMBINATION if kind == "made" else ALL)}
    rounds = []
    if kind == "made":
        words = text_of(said(MAKE, draws, caption=scenes[0].caption))
        rounds.append(_round(studio, (words,), scenes[0], COMBINATION, COMBINATION))
    for (before, after), edit in zip(pairwise(scenes), edits, strict=True):
        name = ATTRIBUTES[edit]
        told.add(name)
        words = text_of(said(LATER[edit], draws, **edit_fields(before, edit, attribute(after, name))))
        given = () if rounds else (studio.picture(before),)
        rounds.append(_round(studio, (*given, words), after, [one for one in ALL if one in told], (name,)))
    case = f"{kind}-{number:02d}"
    tags = {
        "task": "conversation",
        "kind": kind,
        "edits": "-".join(edits),
        # Not "subject": that says to systems that a picture is given of a subject to be shown anew.
        "case": case,
    }
    return Row(case, tuple(rounds), tags)


def _round(
    studio: Studio, inputs: tuple[Medium, ...], scene: Scene, told: Sequence[str], asked: Sequence[str]
) -> Round:
    answer = (studio.picture(scene),)
    parts = {
        **truth(scene, told, asked),
        "target": answer,
        "reference": answer,
        "prompt": (text_of(scene.caption),),
    }
    return Round(inputs, ("image",), parts)


def _course(changes: int, split: Split, draws: Generator) -> tuple[list[Scene], list[str]]:
    """A scene and so many changes of it, each of another attribute; the last scene is of this split alone."""
    while True:
        edits = [list(LATER)[index] for index in draws.permutation(len(LATER))[:changes]]
        scenes = [with_attribute(scene_in(("training", split), draws), "extra", "nothing")]
        for edit in edits:
            splits: Sequence[Split] = (split,) if edit == edits[-1] else (_either(split, draws), split, "training")
            found = (applied(edit, scenes[-1], one, draws) for one in splits)
            if (after := next(filter(None, found), None)) is None:
                break
            scenes.append(after)
        if len(scenes) == changes + 1 and is_asked(scenes[-1], split):
            return scenes, edits


def _either(split: Split, draws: Generator) -> Split:
    return split if draws.random() < 0.5 else "training"
