"""The judges that are shipped, on pictures and sounds drawn here from combinations that no training has."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.tinyworld.attributes import BACKGROUNDS, EVENTS, EXTRAS, Scene, split_of, split_of_events, subjects
from benchmarks.tinyworld.drawing import draw
from benchmarks.tinyworld.sounding import mixed, sound
from benchmarks.tinyworld.training import attribute, pose
from harness.media import encode_audio, encode_image
from harness.nouns import Media
from metrics.drawn_words import ATTRIBUTES, VALUES
from metrics.extractors.judge import Judge, JudgeTiny
from metrics.extractors.sound_judge import SoundJudge, SoundJudgeTiny
from metrics.tiny.judge import SHIPPED, read_judge, right_for_others, values_read
from metrics.tiny.sound_judge import SHIPPED as SHIPPED_FOR_SOUNDS
from metrics.tiny.sound_judge import heard

Truths = NDArray[np.int64]

PICTURES, SOUNDS = 120, 60


@pytest.fixture(scope="module")
def judge() -> Judge:
    return JudgeTiny(str(SHIPPED), "cpu").judge


@pytest.fixture(scope="module")
def sound_judge() -> SoundJudge:
    return SoundJudgeTiny(str(SHIPPED_FOR_SOUNDS), "cpu").judge


@pytest.fixture(scope="module")
def drawn() -> tuple[NDArray[np.uint8], Truths]:
    """Pictures of held-out combinations, and the number of each value."""
    draws = np.random.default_rng(77)
    held_out = [(one, place) for one in subjects() for place in BACKGROUNDS if split_of(one, place) == "test"]
    chosen = [held_out[index] for index in draws.permutation(len(held_out))[:PICTURES]]
    scenes = [Scene(one, place, EXTRAS[draws.integers(3)], pose(draws)) for one, place in chosen]
    truths = [[VALUES[name].index(attribute(scene, name)) for name in ATTRIBUTES] for scene in scenes]
    return np.stack([draw(scene) for scene in scenes]), np.array(truths)


@pytest.fixture(scope="module")
def mixtures() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sums of held-out pairs, at levels from full to a tenth, and which events are in them."""
    pairs = [pair for pair in combinations(EVENTS, 2) if split_of_events(pair) == "test"]
    numbers = [900_000 + row for row in range(SOUNDS)]
    chosen = [pairs[row % len(pairs)] for row in range(SOUNDS)]
    sums = [mixed(sound(event, number) for event in pair) for pair, number in zip(chosen, numbers, strict=True)]
    levels = np.geomspace(1, 0.1, SOUNDS, dtype=np.float32)[:, None]
    present = [[event in pair for event in EVENTS] for pair in chosen]
    return np.stack(sums).astype(np.float32) / 32768 * levels, np.array(present)


def most(count: int, rate: float) -> float:
    """What a binomial share of so many passes once in 30,000 times (normal, four deviations)."""
    return rate + 4 * (rate * (1 - rate) / count) ** 0.5 + 1 / count


def test_true_answers_of_held_out_combinations_are_read_right(
    judge: Judge, drawn: tuple[NDArray[np.uint8], Truths]
) -> None:
    pictures, truths = drawn
    read = read_judge(SHIPPED)(pictures)
    right = np.stack([read[name] for name in ATTRIBUTES], axis=1) == truths
    assert right.all(axis=1).mean() >= 0.975
    assert np.array_equal(values_read(judge.probabilities(pictures)) == truths, right)


def test_shuffled_answers_are_right_as_often_as_the_truths_agree(
    judge: Judge, drawn: tuple[NDArray[np.uint8], Truths]
) -> None:
    pictures, truths = drawn
    order = np.random.default_rng(1).permutation(PICTURES)
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    right = values_read(judge.probabilities(pictures)) == truths[others]
    for number in range(len(ATTRIBUTES)):
        agree = right_for_others(truths[:, [number]], truths[:, [number]]).mean()
        assert right[:, number].mean() <= most(PICTURES, agree)
    assert right.all(axis=1).mean() <= most(PICTURES, right_for_others(truths, truths).mean())


def test_what_is_no_picture_of_the_world_is_right_for_nothing(judge: Judge) -> None:
    draws = np.random.default_rng(3)
    noise = draws.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    plain = np.broadcast_to(draws.integers(0, 256, (20, 1, 1, 3), dtype=np.uint8), noise.shape)
    read = read_judge(SHIPPED)(np.concatenate([noise, plain]))
    for name in ATTRIBUTES:
        assert (read[name] >= 0).mean() < 0.1


def test_the_chance_of_a_shuffle_is_how_often_two_truths_agree() -> None:
    """Of three truths the first two agree in their first column: each in one of two others, the third in none."""
    truths = np.array([[0, 1], [0, 2], [5, 2]])
    assert right_for_others(truths[:, [0]], truths[:, [0]]).tolist() == [0.5, 0.5, 0]
    assert right_for_others(truths, truths).tolist() == [0, 0, 0]
    unread = np.array([[-1, -1], [0, 1], [0, 2]])
    assert right_for_others(unread, truths).tolist() == [0, 0.5, 0.5]


def test_a_picture_is_read_alone_as_among_others_and_at_any_size(
    drawn: tuple[NDArray[np.uint8], Truths], tmp_path: Path
) -> None:
    pictures, truths = drawn[0][:6], drawn[1][:6]
    small = [_image(tmp_path / f"{row}.png", Image.fromarray(one)) for row, one in enumerate(pictures)]
    larger = [
        _image(tmp_path / f"{row}-large.png", Image.fromarray(one).resize((256, 192), Image.Resampling.BICUBIC))
        for row, one in enumerate(pictures)
    ]
    extractor = JudgeTiny(str(SHIPPED), "cpu")
    together = extractor.extract(small)
    alone = np.concatenate([extractor.extract([one]) for one in small])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert (values_read(extractor.extract(larger)) == truths).all()


def test_pairs_of_events_never_heard_together_are_read_exactly_at_any_level(
    sound_judge: SoundJudge, mixtures: tuple[NDArray[np.float32], NDArray[np.bool_]]
) -> None:
    """But for one pair of the fourteen: a drum beneath an engine is seldom heard, and the engine always is."""
    sounds, present = mixtures
    exact = (heard(sound_judge.probabilities(sounds)) == present).all(axis=1)
    beneath = present[:, EVENTS.index("drum")] & present[:, EVENTS.index("engine")]
    assert 0 < beneath.sum() <= SOUNDS // 10
    assert exact[~beneath].mean() >= 0.95 and exact.mean() >= 0.9


def test_shuffled_sounds_are_exact_as_often_as_the_pairs_agree(
    sound_judge: SoundJudge, mixtures: tuple[NDArray[np.float32], NDArray[np.bool_]]
) -> None:
    sounds, present = mixtures
    read = heard(sound_judge.probabilities(sounds))
    agree = right_for_others(present, present).mean()
    assert (read == np.roll(present, 7, axis=0)).all(axis=1).mean() <= most(SOUNDS, agree)
    assert right_for_others(read, present).mean() == pytest.approx(agree, abs=0.01)


def test_nothing_is_heard_in_silence_and_in_noise(sound_judge: SoundJudge) -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, (10, 32_000)).astype(np.float32)
    assert not heard(sound_judge.probabilities(np.concatenate([noise, np.zeros((1, 32_000), np.float32)]))).any()


def test_a_sound_is_read_alone_as_among_others_and_padded_or_cut_to_two_seconds(
    mixtures: tuple[NDArray[np.float32], NDArray[np.bool_]], tmp_path: Path
) -> None:
    lengths = (32_000, 48_000, 30_000)
    files = [
        _sound(tmp_path / f"{row}.flac", np.resize(mixtures[0][row], length)) for row, length in enumerate(lengths)
    ]
    extractor = SoundJudgeTiny(str(SHIPPED_FOR_SOUNDS), "cpu")
    together = extractor.extract(files)
    alone = np.concatenate([extractor.extract([one]) for one in files])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.array_equal(together > 0.5, mixtures[1][:3])


def _image(file: Path, image: Image.Image) -> tuple[Media, ...]:
    file.write_bytes(encode_image(image))
    return (Media("image", uri=str(file)),)


def _sound(file: Path, samples: NDArray[np.float32]) -> tuple[Media, ...]:
    file.write_bytes(encode_audio(samples, 16_000))
    return (Media("audio", uri=str(file)),)
