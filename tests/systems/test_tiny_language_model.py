"""The tiny language model as it is shipped: its spelling, the tasks it was trained on, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import combinations, product
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from benchmarks.tinyworld import words as asked_in_suites
from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    COLOURS,
    EVENTS,
    EXTRAS,
    HEARD,
    PATTERNS,
    SHAPES,
    WHERE,
    Split,
    Subject,
    heard,
    split_of,
    split_of_events,
)
from benchmarks.tinyworld.attributes import Scene as Drawn
from benchmarks.tinyworld.training import Plan, write_set
from harness.nouns import Case, Media, Turn
from systems.codi2.conversation import Answer, Exchange, Request
from systems.codi2.llama import add_tags, load_llama, load_tokenizer
from systems.codi2.pieces import Words
from systems.codi2.prompts import pieces_of
from systems.codi2.sequence import Tags, Writer
from systems.codi2.templates import TEMPLATES
from systems.tiny.language_model import SHIPPED, Training, measured, read, train_with
from systems.tiny.spelling import tokenizer
from systems.tiny.task_drawing import NAMES, Tasks
from systems.tiny.tasks import Known, framed, spoken
from systems.tiny.words import Item, Lexicon, Scene, Sound

VALUES = {"shape": SHAPES, "colour": COLOURS, "pattern": PATTERNS, "background": BACKGROUNDS, "extra": EXTRAS}
LEXICON = Lexicon(VALUES, EVENTS, WHERE, HEARD)


def known(*splits: Split) -> Known:
    scenes = product(SHAPES, COLOURS, PATTERNS, BACKGROUNDS)
    shown = [scene for scene in scenes if split_of(Subject(*scene[:3]), scene[3]) in splits]
    pairs = [pair for pair in combinations(EVENTS, 2) if split_of_events(pair) in splits]
    return Known(frozenset(shown), frozenset(map(frozenset, pairs)))


TRAINING, VALIDATION = known("training"), known("validation")


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return load_llama(SHIPPED, torch.float32)


@pytest.fixture(scope="module")
def spelling() -> Any:
    return load_tokenizer(SHIPPED, 1000)


def ids(spelling: Any, text: str) -> list[int]:
    return spelling(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def items(task: Any) -> Iterable[Item]:
    for one in task.rounds:
        yield from (piece for piece in one.question if not isinstance(piece, str))
        yield from [one.made] if one.made else []


def held_out_tasks(seed: int) -> Tasks:
    return Tasks(LEXICON, TRAINING.with_(VALIDATION), VALIDATION, Random(seed))


@given(text=st.text())
def test_any_text_is_spelled_and_given_back(spelling: Any, text: str) -> None:
    back = spelling.decode(ids(spelling, text), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert back == text


def test_each_word_of_the_world_and_of_its_suites_is_one_token(spelling: Any) -> None:
    phrasings = [*asked_in_suites.MAKE, *asked_in_suites.PLAY]
    for table in (asked_in_suites.EDITS, asked_in_suites.LATER, asked_in_suites.SOUND_EDITS, asked_in_suites.COMPOSE):
        phrasings += [phrasing for several in table.values() for phrasing in several]
    filled = {"new": "blue", "old": "a flag", "shape": "fish", "where": "at night", "caption": "silence"}
    said = [phrasing.format(**filled) for phrasing in phrasings]
    said += [*SHAPES, *COLOURS, *PATTERNS, *BACKGROUNDS, *EXTRAS, *EVENTS, *WHERE.values(), *HEARD.values()]
    said += [template.text.format_map({name: "a" for name in _placeholders()}) for template in TEMPLATES.values()]
    said += [asked_in_suites.known("bell"), asked_in_suites.noun("plain", "one"), "an image and a sound"]
    for word in {word.strip(".,:") for text in said for word in text.split()}:
        assert len(ids(spelling, word)) == 1, word


def _placeholders() -> list[str]:
    return ["images", "sound", "sound?", "medium", "medium?", "media", "text", "text?", "phrase", "inputs", "wanted"]


def test_the_same_world_gives_the_tokenizer_that_is_shipped(spelling: Any) -> None:
    assert tokenizer(LEXICON).get_vocab() == spelling.get_vocab()


def test_captions_are_the_worlds_own() -> None:
    for shape, colour, pattern, background, extra in product(*VALUES.values()):
        drawn = Drawn(Subject(shape, colour, pattern), background, extra)
        assert LEXICON.caption(Scene(shape, colour, pattern, background, extra)) == drawn.caption
    for events in (*combinations(EVENTS, 0), *combinations(EVENTS, 1), *combinations(EVENTS, 3)):
        assert LEXICON.caption(Sound(frozenset(events))) == heard(events)


@pytest.mark.parametrize("name", NAMES)
def test_training_sees_nothing_that_is_held_out_and_measuring_asks_for_nothing_else(name: str) -> None:
    training = Tasks(LEXICON, TRAINING, TRAINING, Random(0))
    for _ in range(20):
        assert {split(item) for item in items(training.draw(name))} <= {"training"}
        held = [split(item) for item in items(held_out_tasks(1).draw(name))]
        assert "test" not in held
        assert name in ("say", "chat") or "validation" in held[-1 if isinstance(held[-1], Scene) else 0 :]


def split(item: Item) -> str:
    if isinstance(item, Sound):
        return split_of_events(sorted(item.events))
    return split_of(Subject(item.shape, item.colour, item.pattern), item.background)


@pytest.mark.parametrize(
    ("template", "letters", "wants"),
    [
        ("editing", "it", "image"),
        ("editing", "t", "image"),
        ("subject-driven", "iit", "image"),
        ("exemplar", "iii", "image"),
        ("concept", "iiit", "image"),
        ("composition", "itit", "image"),
        ("replace", "aat", "audio"),
    ],
)
def test_words_around_items_are_those_that_a_case_gets(template: str, letters: str, wants: Any) -> None:
    media = {"i": Media("image", uri="a.png"), "a": Media("audio", uri="a.flac"), "t": Media("text", text="make it")}
    turn = Turn(tuple(media[letter] for letter in letters), (wants,))
    expected = [
        piece.text if isinstance(piece, Words) else "*" for piece in pieces_of(Case("c", (turn,)), turn, template)
    ]
    item: Item = Sound(frozenset({"bell"})) if wants == "audio" else Scene("fish", "red", "plain", "snow")
    inputs = ["make it" if letter == "t" else item for letter in letters]
    taken = {
        "editing": [inputs[:-1], inputs[-1:]],
        "subject-driven": [inputs[:-1], inputs[-1:]],
        "exemplar": [*([one] for one in inputs), []],
        "concept": [inputs[:-1], inputs[-1:]],
        "composition": [inputs],
        "replace": [[one] for one in inputs],
    }[template]
    made = framed(template, taken, "a sound" if wants == "audio" else "an image")
    assert [piece if isinstance(piece, str) else "*" for piece in made] == expected


def test_a_conversation_is_read_as_codi2_writes_it(spelling: Any) -> None:
    task = held_out_tasks(2).draw("converse")
    assert len(task.rounds) > 1
    row = read(task, LEXICON, spelling)
    exchanges = [
        Exchange((spoken(one.question, LEXICON),), Answer(one.answer, (), tuple(ids(spelling, one.answer))))
        for one in task.rounds
    ]
    request = Request((*exchanges[:-1], Exchange(exchanges[-1].question)), ("text",), 0, "case")
    written = Writer(spelling, Tags(len(spelling)), "llama2-chat").prompt(request)
    answer = (*ids(spelling, task.rounds[-1].answer), spelling.eos_token_id)
    assert row.ids == (*written, *answer)
    assert row.last == len(written)
    assert [one for one, answered in zip(row.ids, row.answered, strict=True) if answered][-len(answer) :] == [*answer]


def test_it_takes_the_six_tags(model: LlamaForCausalLM, spelling: Any) -> None:
    tagged = load_llama(SHIPPED, torch.float32)
    assert model.config.vocab_size == len(spelling)
    rows = torch.zeros(6, model.config.hidden_size)
    add_tags(tagged, rows, rows)
    asked = torch.tensor([[1, 5, len(spelling) + 5]])
    assert tagged(input_ids=asked).logits.shape == (1, 3, len(spelling) + 6)


@pytest.mark.parametrize("name", ["make", "describe", "edit", "concept", "converse"])
def test_greedy_answers_to_what_is_held_out_are_exact(model: LlamaForCausalLM, spelling: Any, name: str) -> None:
    tasks = held_out_tasks(3)
    rows = [read(tasks.draw(name), LEXICON, spelling) for _ in range(8)]
    right = [greedy(model, row.ids[: row.last]) == [*row.ids[row.last :]] for row in rows]
    assert sum(right) >= 7
    assert measured(model, {name: rows})[f"{name}: answers to the word"].value == sum(right) / 8


def greedy(model: LlamaForCausalLM, prompt: tuple[int, ...]) -> list[int]:
    asked = torch.tensor([prompt])
    said = model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=40, do_sample=False)
    return said[0, len(prompt) :].tolist()


@pytest.mark.heavy
def test_the_same_seed_trains_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text(json.dumps({**VALUES, "events": EVENTS, "where": WHERE, "heard": HEARD}))
    write_set(Plan("training", 1, "training", groups=150, stems=1, mixtures=400), tmp_path / "training", 0, 1)
    write_set(Plan("validation", 2, "validation", groups=60, stems=1, mixtures=200), tmp_path / "validation", 0, 1)
    training = Training(steps=3, tokens=200, pool=2, measured=2, glanced=1)
    for folder, seed in (("first", 0), ("second", 0), ("third", 1)):
        (tmp_path / folder).mkdir()
        train_with(training, tmp_path, tmp_path / folder, seed)
    first, second, third = (
        (tmp_path / folder / "model.safetensors").read_bytes() for folder in ("first", "second", "third")
    )
    assert first == second
    assert first != third
