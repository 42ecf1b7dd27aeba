"""The words around a case's inputs, a template a task, as data.

Source: the paper (arXiv 2311.18775) names the data that each task is trained on, and so what stands in which order. Its
words are published nowhere, and the released code holds no prompt: they are ours, short and in the imperative, but for
the exemplar's. A checkpoint that was trained with other words is asked with `plain`, or gets a line of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What a {name} in a template stands for.

    `pattern` is a regular expression over the inputs it takes, a letter each: t(ext), i(mage), a(udio), v(ideo).
    `meaning` says the same to a reader.
    """

    pattern: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Template:
    """One way to put a turn's inputs into words: `text`, in which placeholders take the inputs from first to last.

    `use` says what it is for, `source` where its form comes from. `edits` says whether the answer is an edited input,
    and which one of the wanted modality that is: the first or the last.
    """

    name: str
    text: str
    use: str
    source: str
    edits: Literal["", "first", "last"] = ""


PLACEHOLDERS: Mapping[str, Placeholder] = {
    "images": Placeholder("i+", "one or more images"),
    "sound": Placeholder("a", "a sound"),
    "sound?": Placeholder("a?", "perhaps a second sound"),
    "medium": Placeholder("[iav]", "an image, sound or video"),
    "medium?": Placeholder("[iav]?", "perhaps an image, sound or video"),
    "media": Placeholder("[iav]+", "one or more images, sounds or videos"),
    "text": Placeholder("t", "a text"),
    "text?": Placeholder("t?", "perhaps a text"),
    "phrase": Placeholder("t", "a text that is given as a feature"),
    "inputs": Placeholder("[tiav]+", "one or more inputs of any kind"),
}

PHRASE = "phrase"
"""The placeholder whose text becomes a slot: the language model sees one vector of ImageBind's instead of tokens."""

WANTED = "wanted"
"""The placeholder that takes no input: what the turn wants, in words ("an image and a sound")."""

PLAIN = Template(
    name="plain",
    text="{inputs}",
    use="the inputs as they stand: chat, questions, prompts that are interleaved already",
    source="the paper's interleaved instructions: nothing is added to them",
)

_ALL = (
    PLAIN,
    Template(
        name="subject-driven",
        text="{images} Make {wanted} of the same subject: {text}",
        use="photographs of one subject, then what to make of it (DreamBench)",
        source="the paper's evaluation on DreamBench; words ours",
    ),
    Template(
        name="editing",
        text="{medium?} Edit this: {text}",
        use="what is to be edited (in a later turn what was made last), then the instruction (MS-COCO editing)",
        source="the paper's InstructPix2Pix data: picture, instruction, edited picture; words ours",
        edits="last",
    ),
    Template(
        name="exemplar",
        text="Learn the transformation between {medium} and {medium} and apply it to {medium} {text?}",
        use="an example before and after, then what is to be changed in the same way",
        source="the paper's analogies, for images and sounds: transformation between [0] and [1], applied to [2]",
        edits="last",
    ),
    Template(
        name="concept",
        text="Learn the concept that these share: {media} Make {wanted} of it. {text?}",
        use="several examples of one concept, and perhaps what to make of it",
        source="the paper's in-context learning from several examples; words ours",
    ),
    Template(
        name="composition",
        text="Compose {wanted} of these: {inputs}",
        use="subjects and words, interleaved, that are to stand in one answer together",
        source="the paper's Open Images data in the manner of Kosmos-G: segments in, the whole out; words ours",
    ),
    Template(
        name="reasoning",
        text="{inputs} Reason about what is asked, then answer with {wanted}.",
        use="a question about media whose answer has to be found before it can be made",
        source="the paper's reasoning, which it calls a zero-shot capability; words ours",
    ),
    Template(
        name="add",
        text="Add to the sound: {sound} {sound?} {text}",
        use="a sound, perhaps the sound to add, then the instruction (AudioSet editing)",
        source="the paper's AudioSet edits: a becomes a + b; words ours",
        edits="first",
    ),
    Template(
        name="drop",
        text="Drop from the sound: {sound} {sound?} {text}",
        use="a sound, perhaps the sound to drop, then the instruction (AudioSet editing)",
        source="the paper's AudioSet edits: a + b becomes a; words ours",
        edits="first",
    ),
    Template(
        name="replace",
        text="Replace in the sound: {sound} {sound?} {text}",
        use="a sound, perhaps the sound to put in, then the instruction (AudioSet editing)",
        source="the paper's AudioSet edits: a + b becomes a + c; words ours",
        edits="first",
    ),
    Template(
        name="phrase",
        text="{text} {phrase} {text?}",
        use="a text of which a phrase is given as its feature",
        source="the paper's text-only data: random phrases replaced by ImageBind's features of them",
    ),
)

TEMPLATES: Mapping[str, Template] = {one.name: one for one in _ALL}
"""Every template by name: what `--set template=NAME` and a case's tag `task` can say."""
