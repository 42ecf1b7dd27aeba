"""The image decoder of the tiny preset: what was shipped, and the training that made it, at a toy's size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.tinyworld.attributes import BACKGROUNDS, Pose, Scene, Subject
from benchmarks.tinyworld.drawing import INK, draw, mask
from benchmarks.tinyworld.training import Plan, write_set
from harness.drawn_world import read_world
from harness.identity import digest_file
from systems.codi2.image_decoder import ImageDecoder
from systems.codi2.sizes import TINY
from systems.codi2.sizes import imagebind as random_imagebind
from systems.imagebind.loading import load
from systems.imagebind.model import ImageBind
from systems.tiny import image_decoder
from systems.tiny.image_decoder import FOLDER, IMAGEBIND, SAMPLING, as_pictures, new_pipeline, read_shipped, train_on
from systems.tiny.picture_unet import DESCRIBED, TOLD, Relatives, UnetPlan, class_vectors, open_to_sources
from systems.tiny.picture_vae import Cycle, VaePlan, decode, encode, new_vae, peak_signal_to_noise, train_vae

MEGABYTES = 6.0
# Subjects and places that training never sees together.
HELD_OUT = (
    Scene(Subject("ball", "red", "plain"), "beach", pose=Pose(4, 4, 18)),
    Scene(Subject("box", "blue", "plain"), "night", pose=Pose(-4, 0, 16)),
    Scene(Subject("house", "yellow", "plain"), "meadow", pose=Pose(0, -4, 18)),
)
FEWER_STEPS = replace(SAMPLING, steps=8)


@cache
def shipped() -> ImageDecoder:
    return read_shipped()


@cache
def perceiving() -> ImageBind:
    return load(IMAGEBIND, modalities=("vision", "text"))


def pixels_of(*scenes: Scene) -> NDArray[np.uint8]:
    return np.stack([draw(scene) for scene in scenes])


def features_of(*scenes: Scene) -> Tensor:
    return image_decoder.picture_features(perceiving(), pixels_of(*scenes))


def drawn(features: Tensor, sources: NDArray[np.uint8] | None = None, seed: int = 5) -> NDArray[np.uint8]:
    generators = [torch.Generator().manual_seed(seed + row) for row in range(len(features))]
    given = [] if sources is None else as_pictures(sources)
    return np.stack([np.asarray(one.image) for one in shipped().decode(features, generators, FEWER_STEPS, given)])


def test_what_is_shipped_goes_through_the_loader_of_codi2_and_is_small() -> None:
    assert shipped().feature_size == perceiving().config.dimension == 128
    size = sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file())
    assert size < MEGABYTES * 1e6


def test_the_autoencoder_gives_pictures_back_that_it_never_saw() -> None:
    pixels = pixels_of(*HELD_OUT)
    vae = shipped().module.vae
    assert peak_signal_to_noise(decode(vae, encode(vae, pixels)), pixels).min() > 25


def test_a_picture_is_its_generators_and_not_its_neighbours() -> None:
    features = features_of(*HELD_OUT)
    once, again, other = drawn(features), drawn(features), drawn(features, seed=6)
    assert (once == again).all()
    assert np.abs(once[0].astype(int) - other[0]).max() > 20
    assert np.abs(once[0].astype(int) - drawn(features[:1])[0]).max() <= 1


@pytest.mark.parametrize("with_captions", [False, True])
def test_features_become_pictures_of_their_subjects_colour_on_their_background(with_captions: bool) -> None:
    features = features_of(*HELD_OUT)
    if with_captions:
        features = image_decoder.caption_features(perceiving(), [scene.caption for scene in HELD_OUT])
    for scene, pixels in zip(HELD_OUT, drawn(features), strict=True):
        assert nearest_background(pixels) == scene.background
        amounts = {colour: inked(pixels, colour) for colour in INK}
        assert max(amounts, key=amounts.__getitem__) == scene.subject.colour


def test_a_source_brings_an_edited_picture_nearer_to_the_target() -> None:
    sources = [replace(scene, subject=replace(scene.subject, colour="green")) for scene in HELD_OUT]
    features, targets = features_of(*HELD_OUT), pixels_of(*HELD_OUT)
    alone, edited = drawn(features), drawn(features, pixels_of(*sources))
    assert distance(edited, targets) < 0.92 * distance(alone, targets)


def nearest_background(pixels: NDArray[np.uint8]) -> str:
    """Judged by the outermost pixels, where no subject is."""
    away = {name: border_distance(pixels, name) for name in BACKGROUNDS}
    return min(away, key=away.__getitem__)


def border_distance(pixels: NDArray[np.uint8], background: str) -> float:
    scene = Scene(Subject("ball", "red", "plain"), background, pose=Pose(radius=14))
    border = mask(scene) == 0
    border[4:-4, 4:-4] = False
    return float(np.abs(pixels[border].astype(int) - draw(scene)[border]).mean())


def inked(pixels: NDArray[np.uint8], colour: str) -> int:
    """How many pixels are nearly the colour's ink, in the middle of the picture."""
    middle = pixels[16:48, 16:48].astype(int)
    return int((np.abs(middle - INK[colour]).max(axis=-1) < 48).sum())


def distance(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    return float(np.abs(made.astype(int) - true).mean())


def test_class_vectors_are_those_of_stable_unclip() -> None:
    pipeline = new_pipeline(new_vae((8, 8, 8)), 128, seed=0, widths=(32, 32))
    features, noise = torch.randn(3, 128), torch.randn(3, 128)
    for level in (0, 200):
        expected = pipeline.noise_image_embeddings(features, level, noise)
        levels = torch.full((3,), level)
        assert torch.equal(class_vectors(features, levels, pipeline.image_noising_scheduler, noise), expected)


def test_relatives_share_what_they_are_relatives_by() -> None:
    shared = ["b", "a", "b", "c", "a", "b"]
    relatives, generator = Relatives.of(shared), torch.Generator().manual_seed(1)
    rows = torch.arange(6).repeat(50)
    drawn_rows = relatives.draw(rows, generator)
    assert all(shared[row] == shared[other] for row, other in zip(rows, drawn_rows, strict=True))
    assert {int(other) for row, other in zip(rows, drawn_rows, strict=True) if row == 0} == {0, 2, 5}


def test_a_unet_that_is_open_to_sources_begins_by_not_seeing_them() -> None:
    pipeline = new_pipeline(new_vae((8, 8, 8)), 128, seed=0, widths=(32, 32))
    latents, classes = torch.randn(2, 4, 16, 16), torch.randn(2, 256)
    context = torch.zeros(2, 1, TINY.text_encoder.hidden_size)
    with torch.no_grad():
        before = pipeline.unet(latents, 5, context, class_labels=classes).sample
        opened = open_to_sources(pipeline.unet)
        both = torch.cat([latents, torch.randn(2, 4, 16, 16)], dim=1)
        assert torch.equal(pipeline.unet(both, 5, context, class_labels=classes).sample, before)
        opened.columns.fill_(0.1)
        assert not torch.equal(pipeline.unet(both, 5, context, class_labels=classes).sample, before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two groups a set: enough to make steps with."""
    import json

    from benchmarks.tinyworld import attributes

    folder = tmp_path_factory.mktemp("world")
    said = {
        name: getattr(attributes, f"{name}s".upper()) for name in ("shape", "colour", "pattern", "background", "extra")
    }
    said |= {"events": attributes.EVENTS, "where": attributes.WHERE, "heard": attributes.HEARD}
    (folder / "world.json").write_text(json.dumps(said))
    write_set(Plan("training", 1, "training", groups=2, stems=1), folder / "training", 0, 1)
    write_set(Plan("validation", 2, "validation", groups=2, stems=1), folder / "validation", 0, 1)
    yield folder


@pytest.mark.heavy
def test_the_same_seed_trains_the_same_bytes(world: Path, tmp_path: Path) -> None:
    imagebind = random_imagebind(TINY)
    digests = []
    for name in ("once", "again"):
        vae = train_vae(read_world(world, "training").pixels, VaePlan(Cycle(2, 2), Cycle(2, 2), 4), 3, widths=(8, 8, 8))
        figures = train_on(
            vae,
            imagebind,
            world,
            tmp_path / name,
            UnetPlan(replace(DESCRIBED, course=Cycle(1, 2)), (replace(TOLD[0], course=Cycle(2, 2)),), 4),
            3,
        )
        files = sorted(file for file in (tmp_path / name).rglob("*") if file.is_file())
        digests.append({str(file.relative_to(tmp_path / name)): digest_file(file) for file in files})
        assert set(figures) == {"autoencoder PSNR", "velocity loss"}
    assert digests[0] == digests[1]
    assert image_decoder.EDITING in digests[0]
