"""A turn becomes a prompt: every input once, in order, in the words of the template for its task or shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.nouns import Case, Media, Modality, Turn
from systems.codi2.pieces import Piece, Slot, Words
from systems.codi2.prompts import AUTO, pieces_of, template
from systems.codi2.templates import PHRASE, PLACEHOLDERS, TEMPLATES, WANTED

MODALITIES: tuple[Modality, ...] = ("text", "image", "audio", "video")
IMAGES = tuple(Media("image", uri=f"{number:02d}.jpg") for number in range(5))
SOUNDS = tuple(Media("audio", uri=f"{number}.wav") for number in range(3))
VIDEO = Media("video", uri="clip.mp4")


def text(words: str) -> Media:
    return Media("text", text=words)


def case(inputs: Sequence[Media], *wants: Modality, **tags: str) -> Case:
    return Case("case-7", (Turn(tuple(inputs), wants),), tags)


def pieces(asked: Case, name: str = AUTO) -> tuple[Piece, ...]:
    return pieces_of(asked, asked.turns[0], name)


def chosen(asked: Case) -> str:
    return template(asked, asked.turns[0]).name


# A case a template, as its suite states it, and the prompt it becomes.
PROMPTS: dict[str, tuple[Case, tuple[Piece, ...]]] = {
    "plain": (
        case((text("What is the cat in"), IMAGES[0], text("doing?")), "text"),
        (Words("What is the cat in"), Slot(IMAGES[0]), Words("doing?")),
    ),
    "subject-driven": (
        case((*IMAGES, text("a dog on a cobblestone street")), "image", subject="dog6"),
        (*map(Slot, IMAGES), Words("Make an image of the same subject: a dog on a cobblestone street")),
    ),
    "editing": (
        case((IMAGES[0], text("make it snow")), "image"),
        (Slot(IMAGES[0]), Words("Edit this: make it snow")),
    ),
    "exemplar": (
        case(SOUNDS, "audio"),
        (
            Words("Learn the transformation between"),
            Slot(SOUNDS[0]),
            Words("and"),
            Slot(SOUNDS[1]),
            Words("and apply it to"),
            Slot(SOUNDS[2]),
        ),
    ),
    "concept": (
        case((*IMAGES[:2], text("On a beach.")), "image", task="concept"),
        (
            Words("Learn the concept that these share:"),
            *map(Slot, IMAGES[:2]),
            Words("Make an image of it. On a beach."),
        ),
    ),
    "composition": (
        case((IMAGES[0], text("wearing"), IMAGES[1], text("on the moon")), "image", "audio", task="composition"),
        (
            Words("Compose an image and a sound of these:"),
            Slot(IMAGES[0]),
            Words("wearing"),
            Slot(IMAGES[1]),
            Words("on the moon"),
        ),
    ),
    "reasoning": (
        case((SOUNDS[0], text("Where was this recorded?")), "image", "audio", "video", task="reasoning"),
        (
            Slot(SOUNDS[0]),
            Words(
                "Where was this recorded? Reason about what is asked, then answer with an image, a sound and a video."
            ),
        ),
    ),
    "add": (
        case((SOUNDS[0], text("Add: bark in the background")), "audio", task="add"),
        (Words("Add to the sound:"), Slot(SOUNDS[0]), Words("Add: bark in the background")),
    ),
    "drop": (
        case((SOUNDS[0], text("Drop: bark")), "audio", task="drop"),
        (Words("Drop from the sound:"), Slot(SOUNDS[0]), Words("Drop: bark")),
    ),
    "replace": (
        case((*SOUNDS[:2], text("Replace: bark to meow")), "audio", task="replace"),
        (Words("Replace in the sound:"), Slot(SOUNDS[0]), Slot(SOUNDS[1]), Words("Replace: bark to meow")),
    ),
    "phrase": (
        case((text("Draw"), text("a red fox"), text("in snow")), "image", task="phrase"),
        (Words("Draw"), Slot(text("a red fox")), Words("in snow")),
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_case_of_each_task_finds_its_template_and_becomes_its_prompt(name: str) -> None:
    asked, prompt = PROMPTS[name]
    assert chosen(asked) == name
    assert pieces(asked) == pieces(asked, name) == prompt


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (case((IMAGES[0], text("a dog")), "image", subject="dog"), "subject-driven"),
        (case((IMAGES[0], text("a dog")), "text", subject="dog"), "plain"),
        (case((IMAGES[0], text("a dog")), "image", "audio", subject="dog"), "plain"),
        (case((text("a dog"), IMAGES[0]), "image", subject="dog"), "plain"),
        (case((*IMAGES, text("a dog")), "image"), "plain"),
        (case((VIDEO, text("slower")), "video"), "editing"),
        (case((SOUNDS[0], text("draw this")), "image"), "plain"),
        (case(IMAGES[:3], "image"), "exemplar"),
        (case(IMAGES[:3], "text"), "plain"),
        (case((*IMAGES[:2], SOUNDS[0]), "image"), "plain"),
        (case((IMAGES[0], text("add a hat")), "image", task="add"), "editing"),
        (case((text("hello"),), "text", task="no such task"), "plain"),
        (case((text("a dog"),), "image", subject="dog", task="plain"), "plain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_fitting_task_the_shape_of_the_turn_decides(asked: Case, name: str) -> None:
    assert chosen(asked) == name


def test_an_exemplar_and_its_query_may_be_of_different_modalities_and_a_text_may_follow() -> None:
    asked = case((IMAGES[0], SOUNDS[0], IMAGES[1], text("but louder")), "audio")
    assert [one for one in pieces(asked, "exemplar") if isinstance(one, Slot)] == [
        Slot(one) for one in asked.turns[0].inputs[:3]
    ]


def test_what_only_metrics_may_see_changes_nothing() -> None:
    inputs = (*IMAGES[:2], text("a dog"))
    seen, unseen = (
        Case("case-7", (Turn(inputs, ("image",), parts),), {"subject": "dog"})
        for parts in ({"reference": IMAGES, "prompt": (text("a cat"),)}, {})
    )
    assert pieces(seen) == pieces(unseen)


@pytest.mark.parametrize("tags", [{"task": "subject-driven"}, {"subject": "dog"}], ids=str)
def test_each_turn_of_a_conversation_finds_its_own_template(tags: dict[str, str]) -> None:
    turns = (Turn((*IMAGES[:2], text("a dog")), ("image",)), Turn((text("now in snow"),), ("image",)))
    asked = Case("case-7", turns, tags)
    assert [template(asked, turn).name for turn in turns] == ["subject-driven", "plain"]


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        (
            "editing",
            (*IMAGES, text("a dog")),
            "case case-7: template editing takes perhaps an image, sound or video, then a text; "
            "the turn holds 5 images, then a text",
        ),
        (
            "subject-driven",
            (IMAGES[0],),
            "template subject-driven takes one or more images, then a text; the turn holds an image",
        ),
        ("add", (IMAGES[0], text("a hat")), "takes a sound, then perhaps a second sound, then a text"),
        ("phrase", (text("a"), text("b"), text("c"), text("d")), "the turn holds 4 texts"),
        ("plain", (), "template plain takes one or more inputs of any kind; the turn has no inputs"),
        (AUTO, (), "the turn has no inputs"),
        ("subject-drive", (IMAGES[0],), "no template named 'subject-drive'; did you mean subject-driven?"),
    ],
)
def test_inputs_that_a_template_does_not_take_are_named_with_what_it_takes(
    name: str, inputs: tuple[Media, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        pieces(case(inputs, "image"), name)


def test_braces_and_tags_that_a_user_writes_stay_words() -> None:
    written = "draw {images} and {0} at <image> </image> {"
    assert pieces(case((text(written),), "image")) == (Words(written),)
    assert pieces(case((IMAGES[0], text(written)), "image")) == (Slot(IMAGES[0]), Words(f"Edit this: {written}"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_well_formed(name: str) -> None:
    one = TEMPLATES[name]
    placeholders = re.findall(r"\{([^{}]*)\}", one.text)
    assert one.name == name and one.use and one.source
    assert {*placeholders} <= {*PLACEHOLDERS, WANTED} and {*placeholders} - {WANTED}
    assert not re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", one.text))


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_every_placeholder_is_used_and_takes_what_it_says(name: str) -> None:
    assert any(f"{{{name}}}" in one.text for one in TEMPLATES.values())
    takes = {letter for letter in "tiav" if re.fullmatch(PLACEHOLDERS[name].pattern, letter)}
    words = {"t": "text", "i": "image", "a": "sound", "v": "video"}
    said = PLACEHOLDERS[name].meaning
    assert takes == ({letter for letter in words if words[letter] in said} or {*"tiav"})
    assert bool(re.fullmatch(PLACEHOLDERS[name].pattern, "")) == ("perhaps" in said)


# Each text stands between two characters of its own, so that it is found again wherever it is put.
FIRST, LAST = 0xE000, 0xF000


@st.composite
def media(draw: st.DrawFn) -> tuple[Media, ...]:
    modalities = draw(st.lists(st.sampled_from(MODALITIES), min_size=1, max_size=6))
    written = st.text(st.characters(max_codepoint=0xD7FF) | st.sampled_from("{}<>"), max_size=8)
    return tuple(
        text(f"{chr(FIRST + number)}{draw(written)}{chr(LAST + number)}")
        if modality == "text"
        else Media(modality, uri=str(number))
        for number, modality in enumerate(modalities)
    )


def inputs_in(prompt: Sequence[Piece]) -> list[Media]:
    """The inputs that a prompt holds, in order: its slots, and the texts between their two characters."""
    found: list[Media] = []
    for piece in prompt:
        if isinstance(piece, Slot):
            found.append(piece.media)
        else:
            found += map(text, re.findall("[\ue000-\ue00f].*?[\uf000-\uf00f]", piece.text, re.DOTALL))
    return found


def own_words(prompt: Sequence[Piece]) -> list[str]:
    rest = [re.sub("[\ue000-\ue00f].*?[\uf000-\uf00f]", "", one.text, flags=re.DOTALL) for one in words_in(prompt)]
    return " ".join(rest).split()


def words_in(prompt: Sequence[Piece]) -> list[Words]:
    return [piece for piece in prompt if isinstance(piece, Words)]


tags = st.fixed_dictionaries(
    {}, optional={"task": st.sampled_from([*TEMPLATES, "other"]), "subject": st.just("dog"), "class": st.just("dog")}
)
wants = st.lists(st.sampled_from(MODALITIES), min_size=1, max_size=2)


@given(media(), wants, tags)
def test_whatever_a_turn_holds_each_input_stands_in_the_prompt_once_and_in_order(
    inputs: tuple[Media, ...], wants: list[Modality], tags: dict[str, str]
) -> None:
    asked = case(inputs, *wants, **tags)
    prompt = pieces(asked)
    assert inputs_in(prompt) == list(inputs)
    assert not any(isinstance(one, Words) and isinstance(next_, Words) for one, next_ in pairwise(prompt))
    phrases = [piece for piece in prompt if isinstance(piece, Slot) and piece.media.modality == "text"]
    assert len(phrases) == (chosen(asked) == PHRASE)


@given(media(), wants, st.sampled_from([*TEMPLATES]))
def test_a_template_that_is_asked_for_says_its_words_and_nothing_else_or_refuses(
    inputs: tuple[Media, ...], wants: list[Modality], name: str
) -> None:
    asked = case(inputs, *wants)
    try:
        prompt = pieces(asked, name)
    except UsageError:
        return
    said = {"text": "a text", "image": "an image", "audio": "a sound", "video": "a video"}
    wanted = " and ".join(said[one] for one in wants)
    expected = re.sub(r"\{[^{}]*\}", "", TEMPLATES[name].text.replace("{wanted}", wanted))
    assert own_words(prompt) == expected.split()
    assert inputs_in(prompt) == list(inputs)


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_texts_that_stand_alone_are_joined_as_they_are(written: list[str]) -> None:
    prompt = pieces(case([text(one) for one in written], "text"), "plain")
    assert prompt == ((Words(" ".join(one for one in written if one)),) if any(written) else ())
