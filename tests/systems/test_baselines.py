"""The oracle and copy_input hand on what the case holds, byte for byte, and name the case where it holds nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from harness.errors import UsageError
from harness.nouns import Case, Item, Media, Output, Turn
from systems.baselines import CopyInput, Oracle


@pytest.fixture
def photograph(tmp_path: Path) -> Media:
    Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "photograph.jpg")
    return Media("image", uri=str(tmp_path / "photograph.jpg"))


@pytest.fixture
def sound(tmp_path: Path) -> Media:
    soundfile.write(tmp_path / "sound.wav", np.sin(np.arange(1600) / 9), 16000)
    return Media("audio", uri=str(tmp_path / "sound.wav"))


def item(*turns: Turn) -> Item:
    return Item(Case("dog6-03", turns), sample=0, seed=1)


def test_the_oracle_answers_with_the_target_as_it_stands_in_its_file(photograph: Media) -> None:
    turn = Turn((Media("text", text="a dog"),), ("image",), {"target": (photograph,)})
    assert Oracle("", "cpu").generate([item(turn)]) == [[[Output("image", Path(photograph.uri).read_bytes())]]]


def test_the_oracle_answers_every_turn_and_every_output_in_order(photograph: Media, sound: Media) -> None:
    first = Turn((), ("image", "text"), {"target": (photograph, Media("text", text="a red square"))})
    second = Turn((), ("audio",), {"target": (sound,)})
    answers = Oracle("", "cpu").generate([item(first, second), item(second)])
    assert [[[output.modality for output in turn] for turn in answer] for answer in answers] == [
        [["image", "text"], ["audio"]],
        [["audio"]],
    ]
    assert answers[0][0][1] == Output("text", "a red square")
    assert answers[1][0][0].data == Path(sound.uri).read_bytes()


def test_the_oracle_names_the_case_that_has_no_target(photograph: Media) -> None:
    with pytest.raises(UsageError, match=r"^case dog6-03: .*'target'.*none$"):
        Oracle("", "cpu").generate([item(Turn((photograph,), ("image",), {"reference": (photograph,)}))])


def test_the_oracle_refuses_targets_that_are_not_what_is_wanted(photograph: Media, sound: Media) -> None:
    with pytest.raises(UsageError, match=r"^case dog6-03: .*with image; the case has image, audio$"):
        Oracle("", "cpu").generate([item(Turn((), ("image",), {"target": (photograph, sound)}))])


def test_copy_input_answers_with_the_first_input_of_the_modality(photograph: Media, sound: Media) -> None:
    later = Media("image", uri="never opened.jpg")
    turn = Turn((Media("text", text="a dog"), sound, photograph, later), ("image", "audio", "text"))
    assert CopyInput("", "cpu").generate([item(turn)]) == [
        [
            [
                Output("image", Path(photograph.uri).read_bytes()),
                Output("audio", Path(sound.uri).read_bytes()),
                Output("text", "a dog"),
            ]
        ]
    ]


def test_copy_input_looks_for_the_input_in_the_same_turn(photograph: Media) -> None:
    turns = (Turn((photograph,), ("image",)), Turn((Media("text", text="now at night"),), ("image",)))
    with pytest.raises(UsageError, match=r"^case dog6-03: copy_input needs an input of modality image"):
        CopyInput("", "cpu").generate([item(*turns)])
