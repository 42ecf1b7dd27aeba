"""What the judge's metrics make of readings and words, on rows made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.tinyworld import attributes
from harness.errors import UsageError
from harness.nouns import Features, Media
from metrics.drawn_words import EVENTS, SIZE, VALUES, chance, columns
from metrics.extractors.truth_words import TruthWords
from metrics.judging import (
    events_exact,
    events_followed,
    events_kept,
    followed_and_kept,
    instruction_followed,
    rest_kept,
    subject_kept,
)

FISH = {"shape": "fish", "colour": "red", "pattern": "striped", "background": "beach", "extra": "nothing"}


def rows(values: NDArray[np.floating], cases: list[str], outputs: list[int], turn: int = 0) -> Features:
    count = len(cases)
    return Features(values, np.array(cases), np.full(count, turn), np.zeros(count, np.int64), np.array(outputs))


def pictures(*shown: dict[str, str], sure: float = 0.9, case: str = "a") -> Features:
    """Answers to one case in which the judge reads these values."""
    values = np.full((len(shown), SIZE), 0.01)
    for row, scene in enumerate(shown):
        for name, value in scene.items():
            values[row, columns(name).start + VALUES[name].index(value)] = sure
    return rows(values, [case] * len(shown), list(range(len(shown))))


def sounds(*heard: str) -> Features:
    values = np.array([[0.9 if event in text.split() else 0.1 for event in EVENTS] for text in heard])
    return rows(values, ["a"] * len(heard), list(range(len(heard))))


def words(*texts: str, case: str = "a") -> Features:
    values = TruthWords("", "cpu").extract([(Media("text", text=text),) for text in texts])
    return rows(values, [case] * len(texts), [-1] * len(texts))


def truth(scene: dict[str, str]) -> Features:
    return words(" ".join(f"{name}={value}" for name, value in scene.items()))


def test_the_judge_numbers_the_world_as_the_world_does() -> None:
    own = (attributes.SHAPES, attributes.COLOURS, attributes.PATTERNS, attributes.BACKGROUNDS, attributes.EXTRAS)
    assert tuple(VALUES.values()) == own
    assert EVENTS == attributes.EVENTS


def test_chance_is_one_over_the_number_of_values_and_their_product() -> None:
    levels = [chance([name]) for name in ("shape", "colour", "pattern", "background", "extra")]
    assert levels == [1 / 8, 1 / 8, 1 / 3, 1 / 6, 1 / 3]
    assert chance(["shape", "colour", "pattern"]) == pytest.approx(1 / 192)
    assert chance() == pytest.approx(1 / 3456)


def test_an_edit_is_followed_and_kept_each_by_its_own_attributes() -> None:
    wanted = FISH | {"colour": "blue"}
    answers = pictures(wanted, FISH, wanted | {"shape": "ball"}, wanted | {"background": "snow"})
    asked, kept = words("colour"), words("shape pattern background extra")
    assert instruction_followed(answers, truth(wanted), asked).tolist() == [1, 0, 1, 1]
    assert subject_kept(answers, truth(wanted), kept).tolist() == [1, 1, 0, 1]
    assert rest_kept(answers, truth(wanted), kept).tolist() == [1, 1, 0, 0]
    assert followed_and_kept(answers, truth(wanted)).tolist() == [1, 0, 0, 0]


def test_what_the_truth_leaves_open_is_not_judged() -> None:
    told = {name: FISH[name] for name in ("shape", "colour")}
    answers = pictures(FISH, FISH | {"extra": "flag", "background": "snow"}, FISH | {"shape": "mug"})
    assert followed_and_kept(answers, truth(told)).tolist() == [1, 1, 0]


def test_a_value_is_read_only_where_it_has_more_than_half_of_the_probability() -> None:
    assert followed_and_kept(pictures(FISH, sure=0.51), truth(FISH)).tolist() == [1]
    assert followed_and_kept(pictures(FISH, sure=0.5), truth(FISH)).tolist() == [0]


def test_outputs_have_one_truth_for_all_or_one_for_each_and_no_score_beyond() -> None:
    mug = FISH | {"shape": "mug"}
    answers = pictures(FISH, mug, mug)
    texts = [" ".join(f"{name}={value}" for name, value in scene.items()) for scene in (FISH, mug)]
    found = followed_and_kept(answers, words(*texts))
    assert found[:2].tolist() == [1, 1] and np.isnan(found[2])
    assert followed_and_kept(answers, words(texts[1])).tolist() == [0, 1, 1]


def test_an_output_without_a_truth_of_its_own_is_not_scored() -> None:
    assert np.isnan(followed_and_kept(pictures(FISH, case="b"), truth(FISH))).all()
    later = pictures(FISH)
    later.turn[:] = 1
    assert np.isnan(instruction_followed(later, truth(FISH), words("colour"))).all()


def test_nothing_of_the_subject_to_keep_is_no_score() -> None:
    assert np.isnan(subject_kept(pictures(FISH), truth(FISH), words("background"))).all()


def test_events_are_followed_and_kept_each_by_their_own() -> None:
    answers = sounds("bell rain", "bell", "rain", "bell rain dog", "")
    told, asked = words("bell rain"), words("bell")
    assert events_followed(answers, told, asked).tolist() == [1, 1, 0, 1, 0]
    assert events_kept(answers, told, asked).tolist() == [1, 0, 1, 0, 0]
    assert events_exact(answers, told).tolist() == [1, 0, 0, 0, 0]


def test_what_is_dropped_must_not_be_heard_and_silence_may_be_the_truth() -> None:
    answers = sounds("rain", "bell rain", "")
    assert events_followed(answers, words("rain"), words("bell")).tolist() == [1, 0, 1]
    assert events_exact(answers, words("silence")).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "text", ["", "fish", "shape=blue", "shape=fish shape=ball", "shape=fish colour", "bell bell", "bell silence"]
)
def test_words_that_are_none_are_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=f'^"{text}": '):
        TruthWords("", "cpu").extract([(Media("text", text=text),)])


def test_words_that_contradict_each_other_name_the_case() -> None:
    told = words("shape=fish")
    with pytest.raises(UsageError, match=r"^case a, turn 0: .* of which the truth has no value"):
        instruction_followed(pictures(FISH), told, words("colour"))
    with pytest.raises(UsageError, match=r'^case a, turn 0: part "truth" names no value'):
        followed_and_kept(pictures(FISH), words("colour"))
    with pytest.raises(UsageError, match=r'^case a, turn 0: part "asked_events" names no event'):
        events_followed(sounds("bell"), words("bell"), words("silence"))
    with pytest.raises(UsageError, match=r'^case a, turn 0: part "truth_events" is of a picture'):
        events_exact(sounds("bell"), told)


def test_weights_for_words_are_refused() -> None:
    with pytest.raises(UsageError, match="truth-words has none"):
        TruthWords("some/folder", "cpu")
