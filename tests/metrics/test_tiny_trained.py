"""The shipped weights of dino-tiny, clip-tiny, cnn14-tiny and clap-tiny, on pictures and sounds that are drawn anew.

All of them are of combinations, subjects and pairs of events that nothing was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    COLOURS,
    EVENTS,
    Pose,
    Scene,
    heard,
    split_of,
    split_of_events,
    split_of_subject,
    subjects,
)
from benchmarks.tinyworld.drawing import draw
from benchmarks.tinyworld.sounding import RATE, mixed, sound
from benchmarks.tinyworld.training import with_attribute
from harness.media import encode_audio
from harness.names import load
from harness.nouns import Extractor, Media
from harness.weights import checkpoint_path, extractor_weights
from metrics import EXTRACTORS
from metrics.tagging import CLASSES

Row = tuple[Media, ...]
Show = Callable[[Scene], Row]
Sound = Callable[[Sequence[str], int], Row]

POSES = (Pose(-6, 2, 15, -10), Pose(5, -5, 17, 12))
SUBJECTS = [subject for subject in subjects() if split_of_subject(subject) != "training"][::4]
PAIRS = [pair for pair in combinations(EVENTS, 2) if split_of_events(pair) != "training"][::3]


def extractor(name: str) -> Extractor:
    """As a run builds it where no weights are given."""
    weights = extractor_weights(name, EXTRACTORS[name], offline=True)
    assert weights.known
    built: Extractor = load(EXTRACTORS[name].worker.build)(checkpoint_path(weights.source), "cpu")
    return built


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours, theirs))
    return np.asarray(one @ other.T)


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """Draws a scene into a file."""
    from PIL import Image

    def drawn(scene: Scene) -> Row:
        path = tmp_path / f"{scene.caption}-{scene.pose}.png".replace(" ", "_")
        Image.fromarray(draw(scene)).save(path)
        return (Media("image", uri=str(path)),)

    return drawn


@pytest.fixture
def play(tmp_path: Path) -> Sound:
    """Writes the sum of events, of a number that no set has, into a file."""

    def played(events: Sequence[str], number: int) -> Row:
        path = tmp_path / f"{'-'.join(events)}-{number}.flac"
        samples = mixed(sound(event, 9_000_000 + number) for event in events)
        path.write_bytes(encode_audio(samples.astype(np.float32) / 32768, RATE))
        return (Media("audio", uri=str(path)),)

    return played


@pytest.mark.parametrize("name", ["dino-tiny", "clip-tiny"])
def test_the_same_subject_elsewhere_is_nearer_than_a_recoloured_one(name: str, show: Show) -> None:
    here, there = POSES
    scenes = [Scene(subject, "beach", pose=here) for subject in SUBJECTS]
    colours = [COLOURS[(COLOURS.index(one.subject.colour) + 3) % len(COLOURS)] for one in scenes]
    recoloured = [with_attribute(one, "colour", colour) for one, colour in zip(scenes, colours, strict=True)]
    moved = [[show(Scene(one.subject, background="beach", pose=there)) for one in lot] for lot in (scenes, recoloured)]
    rows = [show(one) for one in scenes]
    features = extractor(name).extract([*rows, *moved[0], *moved[1]])
    ours, same, other = np.split(features, 3)
    nearer = np.diag(cosines(ours, same)) > np.diag(cosines(ours, other))
    assert nearer.mean() >= 0.8
    assert np.diag(cosines(ours, same)).mean() > np.diag(cosines(ours, other)).mean()


def test_held_out_pictures_find_their_captions_among_a_dozen_thrice_as_often_as_by_chance(show: Show) -> None:
    scenes = [
        Scene(subject, background, pose=POSES[number % 2])
        for number, subject in enumerate(SUBJECTS)
        for background in (BACKGROUNDS[number % len(BACKGROUNDS)],)
    ]
    assert all(split_of(one.subject, one.background) != "training" for one in scenes)
    assert len(scenes) == 12
    network = extractor("clip-tiny")
    pictures = network.extract([show(one) for one in scenes])
    captions = network.extract([(Media("text", text=one.caption),) for one in scenes])
    assert (
        cosines(pictures, captions).argmax(axis=1) == np.arange(12)
    ).mean() >= 3 / 12  # it is all but blind to shapes


def test_most_held_out_pairs_of_sounds_find_their_words(play: Sound) -> None:
    network = extractor("clap-tiny")
    sounds = network.extract([play(pair, number) for number, pair in enumerate(PAIRS)])
    words = network.extract([(Media("text", text=heard(pair)),) for pair in PAIRS])
    assert len(PAIRS) >= 8
    assert (cosines(sounds, words).argmax(axis=1) == np.arange(len(PAIRS))).mean() >= 0.5


def test_the_tagger_hears_what_is_there_and_nothing_else(play: Sound) -> None:
    logits = extractor("cnn14-tiny").extract([play(pair, number) for number, pair in enumerate(PAIRS)])[:, -CLASSES:]
    events = np.array([[event in pair for event in EVENTS] for pair in PAIRS])
    assert ((logits[:, : len(EVENTS)] > 0) == events).mean() >= 0.95
    assert logits[:, len(EVENTS) :].max() < 0


def test_other_events_are_farther_in_distribution_than_the_same_ones_again(play: Sound) -> None:
    events = EVENTS[:8], EVENTS[:8], EVENTS[8:]
    rows = [play((event,), 10 * number + lot) for lot, own in enumerate(events) for number, event in enumerate(own)]
    embeddings = extractor("cnn14-tiny").extract(rows)[:, :-CLASSES]
    ours, again, others = (lot.mean(axis=0) for lot in np.split(embeddings, 3))
    assert np.linalg.norm(ours - others) > 2 * np.linalg.norm(ours - again)
