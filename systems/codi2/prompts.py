"""A turn of any case becomes a prompt: the inputs in their order, and the words of a template around them.

Which template, where none is asked for ("auto"), the first of these that holds:
1. the case's tag `task` is the name of a template, and the turn's inputs fit it;
2. subject-driven: the case has a tag `subject`, its inputs are images and then one text, and one image is wanted;
3. editing: one medium, then one text, and one output of that medium's modality is wanted;
4. exemplar: three media of one modality, and one output of that modality is wanted;
5. plain.

No other tag is read here. What a user wrote is never searched for placeholders or tags: it stays words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from harness.errors import UsageError
from harness.names import find
from harness.nouns import Case, Media, Modality, Turn
from systems.codi2.pieces import Piece, Slot, Words
from systems.codi2.templates import PHRASE, PLACEHOLDERS, PLAIN, TEMPLATES, WANTED, Template

AUTO = "auto"
_LETTERS: Mapping[Modality, str] = {"text": "t", "image": "i", "audio": "a", "video": "v"}
_NOUNS: Mapping[Modality, tuple[str, str]] = {
    "text": ("a text", "texts"),
    "image": ("an image", "images"),
    "audio": ("a sound", "sounds"),
    "video": ("a video", "videos"),
}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def pieces_of(case: Case, turn: Turn, asked: str = AUTO) -> tuple[Piece, ...]:
    """The prompt of one of the case's turns: every input once, in order, among the words of the template.

    Words that follow each other are one piece, a space between them; an empty text is no piece. Raises UsageError where
    there is no template of the name that was asked for, where the inputs do not fit it, and for a turn without inputs.
    """
    chosen = template(case, turn, asked)
    takings = _takings(chosen, turn.inputs)
    if takings is None:
        raise UsageError(f"case {case.id}: template {chosen.name} takes {_expected(chosen)}; the turn {_held(turn)}")
    return tuple(_joined(_pieces(chosen, takings, turn)))


def template(case: Case, turn: Turn, asked: str = AUTO) -> Template:
    """The template of that name, whether or not the inputs fit it; for "auto" by the rule above, one that they fit."""
    if asked != AUTO:
        return find(asked, TEMPLATES, "template")
    tagged = TEMPLATES.get(case.tags.get("task", ""))
    if tagged is not None and _takings(tagged, turn.inputs) is not None:
        return tagged
    return TEMPLATES[_by_shape(case, turn)]


def _by_shape(case: Case, turn: Turn) -> str:
    letters = _letters(turn.inputs)
    like_the_first = turn.wants == tuple(one.modality for one in turn.inputs[:1])
    if "subject" in case.tags and re.fullmatch("i+t", letters) and turn.wants == ("image",):
        return "subject-driven"
    if re.fullmatch("[iav]t", letters) and like_the_first:
        return "editing"
    if re.fullmatch("iii|aaa|vvv", letters) and like_the_first:
        return "exemplar"
    return PLAIN.name


def _takings(chosen: Template, inputs: Sequence[Media]) -> list[Sequence[Media]] | None:
    """What each placeholder that takes inputs takes, in order; None where the inputs do not fit."""
    pattern = "".join(f"({PLACEHOLDERS[name].pattern})" for name in _taking(chosen))
    found = re.fullmatch(pattern, _letters(inputs))
    if found is None:
        return None
    return [inputs[start:end] for start, end in found.regs[1:]]


def _taking(chosen: Template) -> list[str]:
    """The placeholders that take inputs, in order."""
    return [name for name in _PLACEHOLDER.findall(chosen.text) if name != WANTED]


def _letters(inputs: Sequence[Media]) -> str:
    return "".join(_LETTERS[one.modality] for one in inputs)


def _pieces(chosen: Template, takings: Sequence[Sequence[Media]], turn: Turn) -> Iterator[Piece]:
    """The template's words and what its placeholders take, one after the other."""
    wanted = _listed([_NOUNS[one][0] for one in turn.wants])
    before, *parts = _PLACEHOLDER.split(chosen.text.replace(f"{{{WANTED}}}", wanted))
    yield Words(before.strip())
    for name, taken, after in zip(parts[::2], takings, parts[1::2], strict=True):
        for one in taken:
            yield Words(one.text) if one.modality == "text" and name != PHRASE else Slot(one)
        yield Words(after.strip())


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    for kind, group in groupby(pieces, type):
        if kind is Slot:
            yield from group
        elif text := " ".join(one.text for one in group if isinstance(one, Words) and one.text):
            yield Words(text)


def _expected(chosen: Template) -> str:
    return ", then ".join(PLACEHOLDERS[name].meaning for name in _taking(chosen))


def _held(turn: Turn) -> str:
    """What the turn holds, runs of one modality counted: "holds 5 images, then a text"."""
    if not turn.inputs:
        return "has no inputs"
    runs = [(_NOUNS[modality], len(list(run))) for modality, run in groupby(one.modality for one in turn.inputs)]
    return "holds " + ", then ".join(one if count == 1 else f"{count} {many}" for (one, many), count in runs)


def _listed(names: Sequence[str]) -> str:
    """ "an image", "an image and a sound", "an image, a sound and a video"; "nothing" where nothing is wanted."""
    *before, last = names or ["nothing"]
    return f"{', '.join(before)} and {last}" if before else last
