"""The drawn world: what is held out, by arithmetic; pictures and sounds that repeat; groups of one change."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    COLOURS,
    EVENTS,
    EXTRAS,
    HEARD,
    PATTERNS,
    SHAPES,
    WHERE,
    Pose,
    Scene,
    Split,
    Subject,
    heard,
    split_of,
    split_of_events,
    split_of_subject,
    subjects,
)
from benchmarks.tinyworld.drawing import draw, mask
from benchmarks.tinyworld.sounding import PEAK, mixed, sound
from benchmarks.tinyworld.training import PLANS, STEMS_A_PLAN, Plan, write_set
from harness.drawn_world import ATTRIBUTES, read_world

FISH = Scene(Subject("fish", "red", "striped"), "beach", "balloon", Pose(4, -4, 16, 15))
SPLITS: tuple[Split, ...] = ("validation", "test")
TRAINING = Plan("training", 1, "training", groups=6, stems=1, mixtures=12)
TEST = Plan("test", 2, "test", groups=6, stems=1, mixtures=12)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("split", SPLITS)
def test_held_out_subjects_are_24_with_every_shape_and_colour_three_times_and_every_pattern_eight_times(
    split: Split,
) -> None:
    held_out = [subject for subject in subjects() if split_of_subject(subject) == split]
    assert len(held_out) == 24
    assert set(Counter(subject.shape for subject in held_out).values()) == {3}
    assert set(Counter(subject.colour for subject in held_out).values()) == {3}
    assert set(Counter(subject.pattern for subject in held_out).values()) == {8}
    assert all(split_of(subject, background) == split for subject in held_out for background in BACKGROUNDS)


@pytest.mark.parametrize("split", SPLITS)
def test_held_out_combinations_have_every_shape_colour_and_pattern_equally_often(split: Split) -> None:
    held_out = [(one, place) for one in subjects() for place in BACKGROUNDS if split_of(one, place) == split]
    for name, values in (("shape", SHAPES), ("colour", COLOURS), ("pattern", PATTERNS)):
        counted = Counter(getattr(subject, name) for subject, _ in held_out)
        assert {*counted} == {*values} and len({*counted.values()}) == 1
    assert {place for _, place in held_out} == {*BACKGROUNDS}


def test_every_value_is_known_from_training_with_every_other_one() -> None:
    """What is held out is how values meet, four at once: any two of them are seen together."""
    known = [Scene(one, place) for one in subjects() for place in BACKGROUNDS if split_of(one, place) == "training"]
    rows = [(one.subject.shape, one.subject.colour, one.subject.pattern, one.background) for one in known]
    tables = (SHAPES, COLOURS, PATTERNS, BACKGROUNDS)
    for first, second in combinations(range(4), 2):
        assert len({(row[first], row[second]) for row in rows}) == len(tables[first]) * len(tables[second])


def test_each_event_is_in_a_held_out_pair_of_either_split_and_no_pair_is_in_two() -> None:
    pairs = {pair: split_of_events(pair) for pair in combinations(EVENTS, 2)}
    assert Counter(pairs.values()) == {"training": 92, "validation": 14, "test": 14}
    assert all(split_of_events(pair[::-1]) == split for pair, split in pairs.items())
    for split in SPLITS:
        assert {event for pair, own in pairs.items() if own == split for event in pair} == {*EVENTS}
    assert split_of_events(("bell",)) == "training"


def test_a_picture_and_a_sound_are_these_very_bytes() -> None:
    """Other bytes are another world: no weights that were trained in this one belong to it."""
    assert [digest(draw(FISH)), digest(mask(FISH)), digest(sound("bell", 7)), digest(sound("rain", 7))] == [
        "ae6c7a34a91d", "ab90ed8f2d97", "978fb094d226", "a7e3c6783f46",
    ]  # fmt: skip


def test_the_extra_and_the_background_change_nothing_of_a_subject_and_a_subject_nothing_beside_itself() -> None:
    inside = mask(FISH) > 0
    other = Scene(FISH.subject, "night", "nothing", FISH.pose)
    edge = (draw(FISH) != draw(other)).any(axis=2) & inside
    assert edge.sum() < 0.3 * inside.sum()
    repainted = Scene(Subject("fish", "blue", "dotted"), FISH.background, FISH.extra, FISH.pose)
    assert not (draw(FISH) != draw(repainted)).any(axis=2)[~inside].any()


def test_words_for_scenes_and_sounds() -> None:
    assert FISH.caption == "a red striped fish on the beach with a balloon"
    assert Scene(Subject("ball", "orange", "plain"), "night").caption == "an orange ball at night"
    assert heard(("rain", "bell")) == "a bell and rain"
    assert heard(()) == "silence"


def test_stems_are_whole_sums_and_never_clip() -> None:
    stems = [sound(event, 1) for event in ("bell", "rain", "horn")]
    assert all(np.abs(stem).max() <= PEAK + 8 for stem in stems)
    assert np.array_equal(mixed(stems).astype(int), sum(stem.astype(int) for stem in stems))


def test_no_set_can_reach_the_stems_of_another_nor_those_of_cases() -> None:
    numbers = [(plan.number * STEMS_A_PLAN, plan.number * STEMS_A_PLAN + plan.stems) for plan in PLANS]
    assert all(end <= start for (_, end), (start, _) in pairwise(numbers))


def world_json() -> str:
    """What a built folder says of its world."""
    values = {"shape": SHAPES, "colour": COLOURS, "pattern": PATTERNS, "background": BACKGROUNDS, "extra": EXTRAS}
    return json.dumps({**values, "events": EVENTS, "where": WHERE, "heard": HEARD})


@pytest.fixture(scope="module")
def small_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of a few groups of each kind of split, with sounds."""
    root = tmp_path_factory.mktemp("sets")
    for plan in (TRAINING, TEST):
        write_set(plan, root / plan.name, 0, 1)
    (root / "world.json").write_text(world_json())
    return root


def test_groups_differ_in_the_one_attribute_that_is_named_and_held_out_sets_change_to_what_is_held_out(
    small_sets: Path,
) -> None:
    for split in ("training", "test"):
        world = read_world(small_sets, split)
        first = {one.group: one for one in world.pictures if not one.change}
        for one in world.pictures:
            own = split_of(
                Subject(one.values["shape"], one.values["colour"], one.values["pattern"]), one.values["background"]
            )
            before = first[one.group]
            differing = [name for name in ATTRIBUTES if one.values[name] != before.values[name]]
            assert differing == ([one.change] if one.change else [])
            assert one.pose == before.pose
            assert own == split if one.change else own in ("training", split)
        for mixture in world.mixtures:
            for other in (mixture.first, mixture.second):
                assert split_of_events((world.stem_events[mixture.kept], world.stem_events[other])) == split


def test_a_set_is_the_same_bytes_however_many_draw_it(small_sets: Path, tmp_path: Path) -> None:
    write_set(TEST, tmp_path / "again", 0, 2)
    for file in sorted((small_sets / "test").iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
