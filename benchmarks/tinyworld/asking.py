"""Cases about pictures of one round: subjects in new scenes, and edits.

What a case knows of its truth stands in three parts. "truth" is what the answer must show, "shape=fish colour=red
background=beach", without what the case leaves open; "asked" names the attributes that the instruction speaks of, and
"kept" the others, where there are any.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    COLOURS,
    EXTRAS,
    PATTERNS,
    WHERE,
    Scene,
    Split,
    Subject,
    split_of,
    split_of_subject,
    subjects,
)
from benchmarks.tinyworld.folder import Medium, Round, Row, Studio
from benchmarks.tinyworld.plans import CasePlan
from benchmarks.tinyworld.training import attribute, changed_in, one_of, pose, scene_in, with_attribute
from benchmarks.tinyworld.words import ATTRIBUTES, EDITS, edit_fields, noun, said

ALL = ("shape", "colour", "pattern", "background", "extra")
COMBINATION = ALL[:-1]
SUBJECT = ALL[:3]
REFERENCES = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked of a subject: the words, the scene that answers them, and the attributes the words speak of.

    `open` are those that neither the words nor the subject tell.
    """

    text: str
    scene: Scene
    asked: Sequence[str]
    open: Sequence[str] = ("extra",)


def dreambench(studio: Studio, plan: CasePlan) -> list[Row]:
    """Subjects that only this split may show, and what to make of each.

    Six prompts put a subject on a background, one adds something extra; three change its colour or its pattern, on a
    background where no training shows what it becomes. Where there are fewer prompts, each subject has others.
    """
    held_out = [subject for subject in subjects() if split_of_subject(subject) == studio.split]
    return [
        row
        for number, subject in enumerate(held_out[: plan.subjects])
        for row in _subject_rows(studio, plan, number, subject)
    ]


def _subject_rows(studio: Studio, plan: CasePlan, number: int, subject: Subject) -> Iterator[Row]:
    draws = studio.draws("tiny-dreambench", number)
    places = draws.permutation(len(BACKGROUNDS))[:REFERENCES]
    references = [Scene(subject, BACKGROUNDS[place], pose=pose(draws)) for place in places]
    prompts = list(_prompts(subject, studio.split, draws))
    chosen = sorted((3 * number + 7 * step) % len(prompts) for step in range(plan.prompts))
    for index in chosen:
        prompt = prompts[index]
        # A picture of the subject somewhere else, so that to copy it is never right.
        shown = next(one for one in references if one.background != prompt.scene.background)
        text = text_of(prompt.text)
        told = [name for name in ALL if name not in prompt.open]
        parts = {
            **truth(prompt.scene, told, prompt.asked),
            "reference": tuple(map(studio.picture, references)),
            "prompt": (text,),
            "target": (studio.picture(prompt.scene),),
        }
        tags = {
            "task": "subject-driven",
            "subject": subject.name,
            "class": subject.shape,
            "kind": "property" if {*prompt.asked} & {*SUBJECT} else "context",
        }
        turn = Round((studio.picture(shown), text), ("image",), parts)
        yield Row(f"{subject.name}-{index:02d}", (turn,), tags)


def _prompts(subject: Subject, split: Split, draws: Generator) -> Iterator[Prompt]:
    shape = subject.shape
    for background in BACKGROUNDS:
        scene = Scene(subject, background, pose=pose(draws))
        yield Prompt(f"{noun(shape)} {WHERE[background]}", scene, ("background",))
    background, extra = one_of(BACKGROUNDS, draws), one_of(EXTRAS[1:], draws)
    text = f"{noun(shape)} {WHERE[background]} with a {extra}"
    yield Prompt(text, Scene(subject, background, extra, pose(draws)), ("background", "extra"), ())
    texts: set[str] = set()
    for name in ("colour", "pattern", "colour"):
        text = ""
        while not text or text in texts:
            changed = _otherwise(subject, name, split, draws)
            text = f"{noun(getattr(changed.subject, name), shape)} {WHERE[changed.background]}"
        texts.add(text)
        yield Prompt(text, changed, ("background", name))


def _otherwise(subject: Subject, name: str, split: Split, draws: Generator) -> Scene:
    """The subject with another colour or pattern, where only this split may show it."""
    values = {"colour": COLOURS, "pattern": PATTERNS}[name]
    others = [replace(subject, **{name: value}) for value in values if value != getattr(subject, name)]
    fitting = [(other, place) for other in others for place in BACKGROUNDS if split_of(other, place) == split]
    other, background = fitting[int(draws.integers(len(fitting)))]
    return Scene(other, background, pose=pose(draws))


def editing(studio: Studio, plan: CasePlan) -> list[Row]:
    """A picture, and one thing to change in it; the target has the very pose of the source."""
    return [_edit_row(studio, edit, number) for edit in EDITS for number in range(plan.edits)]


def _edit_row(studio: Studio, edit: str, number: int) -> Row:
    draws = studio.draws(f"tiny-editing {edit}", number)
    source, target = edited(edit, studio.split, draws)
    name, case = ATTRIBUTES[edit], f"{edit}-{number:02d}"
    fields = edit_fields(source, edit, attribute(target, name))
    instruction = text_of(said(EDITS[edit], draws, **fields))
    picture, answer = studio.picture(source), studio.picture(target)
    parts = {
        **truth(target, ALL, (name,)),
        "source": (picture,),
        "target": (answer,),
        "reference": (answer,),
        "mask": (studio.difference(case, source, target),),
        "instruction": (instruction,),
        "source_caption": (text_of(source.caption),),
        "target_caption": (text_of(target.caption),),
        "prompt": (text_of(target.caption),),
    }
    tags = {"task": "editing", "edit": edit, "subject": source.subject.name, "caption": target.caption}
    return Row(case, (Round((picture, instruction), ("image",), parts),), tags)


def edited(edit: str, split: Split, draws: Generator) -> tuple[Scene, Scene]:
    """A scene of this split, or one that training may show, and the same with one change, of this split alone."""
    while True:
        before = scene_in(("training", split), draws)
        if fits(edit, before) and (after := applied(edit, before, split, draws)):
            return before, after


def fits(edit: str, scene: Scene) -> bool:
    """Whether there is anything to remove, or nothing yet that stands where something is to be added."""
    return (scene.extra == "nothing") == (edit == "add") if edit in ("add", "remove") else True


def applied(edit: str, before: Scene, split: Split, draws: Generator) -> Scene | None:
    """The scene after an edit, if this split may show one."""
    if edit == "remove":
        after = with_attribute(before, "extra", "nothing")
        return after if split_of(after.subject, after.background) == split else None
    return changed_in(before, ATTRIBUTES[edit], split, draws)


def truth(scene: Scene, told: Collection[str], asked: Collection[str]) -> Mapping[str, tuple[Medium, ...]]:
    """The parts that a judge reads: these attributes of the scene, which of them are asked for, which to be kept.

    Where all are asked for there is no part "kept", so that what is kept has no score there.
    """
    shown = " ".join(f"{name}={attribute(scene, name)}" for name in told)
    parts = {
        "truth": shown,
        "asked": " ".join(name for name in ALL if name in {*asked}),
        "kept": " ".join(name for name in ALL if name in {*told} - {*asked}),
    }
    return {role: (text_of(words),) for role, words in parts.items() if words}


def text_of(text: str) -> Medium:
    """A text."""
    return Medium("text", text=text)
