"""ImageBind-tiny: what is shipped binds what it never saw, and training it is reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    EVENTS,
    EXTRAS,
    HEARD,
    WHERE,
    Scene,
    heard,
    split_of,
    split_of_events,
    subjects,
)
from benchmarks.tinyworld.drawing import draw
from benchmarks.tinyworld.sounding import sound
from benchmarks.tinyworld.training import CHANGES, attribute, pose
from harness.drawn_world import ATTRIBUTES, Mixture, Picture, World
from systems.imagebind.loading import WEIGHTS_FILE, load, save
from systems.imagebind.model import ImageBind
from systems.imagebind.preprocessing import images, sounds
from systems.tiny import captions
from systems.tiny import imagebind as tiny
from systems.tiny.imagebind_figures import (
    figures,
    held_out_rows,
    picture_features,
    pixels_of,
    retrieval,
    sheets_of,
    sound_features,
    sounded,
    text_features,
)

BYTES = 2_600_000
# Drawn from numbers that no set of the built world has.
DRAWN = 9_000_000


def world(scenes: Sequence[Scene], pairs: Sequence[tuple[str, str]], groups_of: int = 4) -> World:
    """Scenes in groups, and pairs of events with a third that the first is heard with instead."""
    names = sorted({event for pair in pairs for event in pair}, key=EVENTS.index)
    rows = {event: number for number, event in enumerate(names)}
    pictures = [
        Picture(
            number // groups_of,
            "shape" if number % groups_of else "",
            {name: attribute(scene, name) for name in CHANGES},
            (scene.pose.right, scene.pose.down, scene.pose.radius, scene.pose.tilt),
            scene.caption,
        )
        for number, scene in enumerate(scenes)
    ]
    return World(
        attributes=dict(CHANGES),
        events=EVENTS,
        where=WHERE,
        heard=HEARD,
        pictures=tuple(pictures),
        pixels=np.stack([draw(scene) for scene in scenes]),
        stems=np.stack([sound(event, DRAWN) for event in names]),
        stem_events=tuple(names),
        mixtures=tuple(
            Mixture(rows[one], rows[other], rows[other], heard((one, other)), heard((one, other)))
            for one, other in pairs
        ),
    )


@pytest.fixture(scope="module")
def unseen() -> World:
    """Scenes and pairs of the test split, drawn anew."""
    draws = np.random.default_rng(DRAWN)
    known = [(one, where) for one, where in product(subjects(), BACKGROUNDS) if split_of(one, where) == "test"]
    chosen = draws.choice(len(known), 120, replace=False)
    scenes = [Scene(known[number][0], known[number][1], str(draws.choice(EXTRAS)), pose(draws)) for number in chosen]
    pairs = [pair for pair in combinations(EVENTS, 2) if split_of_events(pair) == "test"]
    return world(scenes, pairs)


@pytest.fixture(scope="module")
def shipped() -> ImageBind:
    return load(tiny.SHIPPED)


def test_what_is_shipped_is_small_and_has_the_official_names() -> None:
    assert (tiny.SHIPPED / WEIGHTS_FILE).stat().st_size <= BYTES
    with safe_open(tiny.SHIPPED / WEIGHTS_FILE, framework="pt") as opened:
        keys = set(opened.keys())
        assert {opened.get_slice(key).get_dtype() for key in keys} == {"F16"}
    assert keys == set(ImageBind(tiny.CONFIG).state_dict())
    assert "modality_preprocessors.vision.rgbt_stem.proj.1.0.weight" in keys
    assert "modality_trunks.audio.blocks.0.attn.bias_k" in keys


def test_what_is_shipped_binds_what_was_held_out(shipped: ImageBind, unseen: World) -> None:
    reached = figures(shipped, unseen)
    assert reached["retrieval"].count == 90 and reached["retrieval"].value >= 0.95
    assert reached["extra"].value >= 0.95
    assert reached["pairs"].count == 2 * len(unseen.mixtures) and reached["pairs"].value >= 0.5
    assert reached["single_events"].value >= 0.9
    assert reached["picture_cosine"].value >= 0.85 and reached["picture_explained"].value >= 0.7


def test_pictures_of_another_world_are_not_retrieved(shipped: ImageBind, unseen: World) -> None:
    """The figure can fail: what is asked for is another picture's."""
    turned = replace(unseen, pixels=unseen.pixels[::-1].copy())
    assert retrieval(shipped, turned).value <= 0.1


def test_a_number_of_a_feature_has_unit_variance(shipped: ImageBind, unseen: World) -> None:
    features = [
        picture_features(shipped, unseen.pixels),
        text_features(shipped, [picture.caption for picture in unseen.pictures]),
        sound_features(shipped, [sounded(unseen, (one.kept, one.first)) for one in unseen.mixtures]),
    ]
    for one in features:
        assert float(one.norm(dim=1).mean()) == pytest.approx(128**0.5, rel=0.05)


def test_a_picture_tells_where_its_subject_is(shipped: ImageBind, unseen: World) -> None:
    """Of two captions alike the features differ: a linear fit on half of the pictures reads the other half's places."""
    features = picture_features(shipped, unseen.pixels).double().numpy()
    places = np.array([picture.pose[:2] for picture in unseen.pictures], float)
    penalty = 5 * np.eye(features.shape[1])
    known, asked = features[::2], features[1::2]
    fit = np.linalg.solve(known.T @ known + penalty, known.T @ places[::2])
    left = ((asked @ fit - places[1::2]) ** 2).sum() / ((places[1::2] - places[1::2].mean(0)) ** 2).sum()
    assert left < 0.7


def test_features_do_not_depend_on_what_is_beside_them(shipped: ImageBind, unseen: World) -> None:
    pixels, texts = unseen.pixels[:3], [picture.caption for picture in unseen.pictures[:3]]
    waves = [sounded(unseen, (row,)) for row in range(3)]
    pairs: Any = ((picture_features, pixels), (text_features, texts), (sound_features, waves))
    for made, media in pairs:
        alone = torch.cat([made(shipped, media[row : row + 1]) for row in range(3)])
        torch.testing.assert_close(made(shipped, media), alone, atol=1e-4, rtol=1e-4)


def test_media_are_trained_on_as_they_are_read(shipped: ImageBind, unseen: World) -> None:
    pictures = [Image.fromarray(pixels) for pixels in unseen.pixels[:4]]
    torch.testing.assert_close(pixels_of(unseen.pixels[:4]), images(pictures, tiny.VISION))
    waves = [sounded(unseen, (row,)) for row in range(4)]
    views = sounds(waves, tiny.AUDIO)
    for view in range(views.shape[1]):
        torch.testing.assert_close(views[:, view], sheets_of(waves, tiny.AUDIO), atol=2e-3, rtol=0)


def test_captions_are_those_of_the_world(unseen: World) -> None:
    for subject, background, extra in product(subjects(), BACKGROUNDS, EXTRAS):
        scene = Scene(subject, background, extra)
        assert captions.scene({name: attribute(scene, name) for name in ATTRIBUTES}, unseen) == scene.caption
    for events in [(), *((event,) for event in EVENTS), *combinations(EVENTS, 2)]:
        assert captions.sound(events[::-1], unseen) == heard(events)


def test_held_out_pictures_are_those_that_were_changed(unseen: World) -> None:
    assert held_out_rows(unseen).tolist() == [row for row in range(120) if row % 4]


@pytest.mark.heavy
def test_training_twice_gives_the_same_bytes(unseen: World, tmp_path: Path) -> None:
    schedule = tiny.Schedule(steps=3, groups=3, phrases=3, triples=2)
    for name in ("one", "two"):
        torch.rand(5)
        save(tiny.fit(unseen, schedule, 7, lambda model: 0.0).half(), tmp_path / name)
    one, two = ((tmp_path / name / WEIGHTS_FILE).read_bytes() for name in ("one", "two"))
    assert one == two
    save(tiny.fit(unseen, schedule, 8, lambda model: 0.0).half(), tmp_path / "three")
    assert (tmp_path / "three" / WEIGHTS_FILE).read_bytes() != one
