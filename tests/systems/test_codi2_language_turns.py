"""What is kept between the turns of a conversation: it saves reading, and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from language_toys import Toy, ask, random_toy, told, vectors

from systems.codi2.conversation import NOTHING, Answer, Decoding, Request
from systems.codi2.language import LanguageModel
from systems.codi2.network import Network
from systems.codi2.sequence import length

CLOSE = 1e-4
FREE = Decoding(max_new_tokens=6)
PICTURE, SOUND = vectors("image", 1, 3), vectors("audio", 2)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return random_toy(tmp_path_factory.mktemp("turns"))


@pytest.fixture(scope="module")
def model(toy: Toy) -> LanguageModel:
    return toy.load()


def second(first: Request, answer: Answer, *question: object) -> Request:
    return ask(*question, exchanges=(told(first.exchanges[-1].question, answer),))


def same(one: Answer, other: Answer) -> bool:
    features = zip(one.features, other.features, strict=True)
    close = all(torch.allclose(a.values, b.values, rtol=CLOSE, atol=CLOSE) for a, b in features)
    return close and one.text == other.text


def forgotten(request: Request) -> Request:
    exchanges = (replace(one, answer=one.answer and replace(one.answer, kept=NOTHING)) for one in request.exchanges)
    return replace(request, exchanges=tuple(exchanges))


def test_a_later_turn_reads_only_what_is_new(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = replace(ask("what is this?", PICTURE, SOUND), keep=True)
    (answer,) = model.answer([first], FREE)
    again = second(first, answer, "and now?")
    read: list[int] = []
    embed = Network.embed

    def counted(self, rows):  # type: ignore[no-untyped-def]
        read.append(max(map(length, rows)))
        return embed(self, rows)

    monkeypatch.setattr(Network, "embed", counted)
    (quick,) = model.answer([again], FREE)
    quickly = [*read]
    read.clear()
    (slow,) = model.answer([forgotten(again)], FREE)
    assert quickly[1:] == read[1:]
    assert read[0] - quickly[0] == length(answer.kept.elements) > length(answer.appended)
    assert same(quick, slow)


turns = st.lists(
    st.lists(st.sampled_from([PICTURE, SOUND, "a", "much longer words"]), min_size=1, max_size=3),
    min_size=2,
    max_size=4,
)


@settings(max_examples=10, deadline=None)
@given(st.lists(turns, min_size=1, max_size=4))
def test_kept_conversations_answer_as_those_that_are_read_from_the_beginning(toy: Toy, talks: list) -> None:
    """Conversations of different lengths share their batches, some of them with nothing kept."""
    model = _shared(toy)
    histories: list[tuple] = [() for _ in talks]
    for position in range(max(map(len, talks))):
        asking = [number for number, talk in enumerate(talks) if len(talk) > position]
        requests = [
            replace(ask(*talks[number][position], exchanges=histories[number]), keep=number % 3 < 2)
            for number in asking
        ]
        together = model.answer(requests, FREE)
        for number, request, answer in zip(asking, requests, together, strict=True):
            (alone,) = model.answer([forgotten(request)], FREE)
            assert same(answer, alone)
            histories[number] += (told(request.exchanges[-1].question, answer),)


_MODELS: dict[Path, LanguageModel] = {}


def _shared(toy: Toy) -> LanguageModel:
    return _MODELS.setdefault(toy.folder, toy.load())


def test_a_history_that_is_not_the_kept_one_is_read_anew(model: LanguageModel) -> None:
    first = replace(ask("what is this?", PICTURE), keep=True)
    (answer,) = model.answer([first], FREE)
    other = replace(ask("what is this?", SOUND), keep=True)
    mistaken = second(other, answer, "and now?")
    assert not answer.kept.begins(model._writer.prompt(mistaken))
    (misled,), (expected,) = model.answer([mistaken], FREE), model.answer([forgotten(mistaken)], FREE)
    assert same(misled, expected)


def test_nothing_is_kept_where_no_turn_comes(model: LanguageModel) -> None:
    (answer,) = model.answer([ask("what is this?", PICTURE)], FREE)
    assert answer.kept is NOTHING
