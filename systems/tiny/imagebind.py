"""ImageBind-tiny, trained in the drawn world: pictures, texts and sounds in one space of 128 numbers.

Contrastive as the paper has it (ImageBind, arXiv 2305.05665, section 3: InfoNCE of a modality and the one that binds;
here texts bind pictures and sounds), with two things without which shapes are not learned on so little:

- a batch is groups of pictures that differ by one attribute, and of sounds that differ by one event: hard negatives;
- linear heads read every attribute and event from both sides of a pair; they are dropped afterwards. Pictures and
  sounds begin with these alone: before they can be read, what they have in common with texts is noise.

A picture's feature also tells where its subject is: a linear head asks it for the pose, which no caption says. What
remains of the gap between a caption's feature and its pictures' is closed by their cosine.

A caption without an extra means that there is none. Phrases ("a red fish", "on the beach") stand for every picture that
they fit. After training each head is scaled so that the mean norm of the features of what was trained on is the root of
their 128 numbers: a number has unit variance, and `feature_scale` of a CoDi-2 on it is that root.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.drawn_world import ATTRIBUTES, World, read_world
from harness.recipes import Figure
from systems.imagebind.config import ImageBindConfig, Sheet, Text, Vision
from systems.imagebind.loading import load, save
from systems.imagebind.model import ImageBind
from systems.imagebind.tokenizer import tokenize
from systems.tiny.captions import scene, sound, subject
from systems.tiny.imagebind_figures import figures, pixels_of, retrieval, sheets_of, silent, sounded

SHIPPED = Path(__file__).parent / "shipped" / "imagebind"

# One patch: what the convolutions leave, 4 x 4 places, is read place by place. With attention over such places half of
# the shapes were still taken for others after 900 steps.
VISION = Vision(width=128, blocks=1, heads=4, picture=64, patch=64, frames=1, stem=(32, 64, 96, 128))
TEXT = Text(width=64, blocks=3, heads=4, vocabulary=2514, context=28)
AUDIO = Sheet(width=64, blocks=3, heads=4, height=128, length=204, patch=32, stride=32, stem=(16, 32, 64, 96))
CONFIG = ImageBindConfig(dimension=128, vision=VISION, text=TEXT, audio=AUDIO)

OPENINGS = ("", "", "a photo of ", "a picture of ", "a drawing of ")
# No class: what a phrase does not say.
UNSAID = -100
# Attributes are read from unit vectors, whose products with a class's row are small.
SHARPNESS = 8.0
SHAPE_WEIGHT, ATTRIBUTE_WEIGHT, EVENT_WEIGHT, POSE_WEIGHT, COSINE_WEIGHT = 2.0, 2.5, 5.0, 0.2, 0.5
# Decibels that a sound of a batch, and each event in it, is made louder by.
LEVELS, EVENT_LEVELS = (-15.0, 3.0), (-4.0, 2.0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps, and what a batch has: groups of pictures, phrases about them, and triples of stems to be mixed.

    In the first `alone` steps there are no texts: pictures, of no groups, and sounds learn what their heads read.
    """

    steps: int = 650
    alone: int = 250
    groups: int = 16
    phrases: int = 16
    triples: int = 8
    rate: float = 2.5e-3


@dataclass(frozen=True)
class Batch:
    """Pictures with their captions, phrases about some, sounds with their captions.

    `attributes` (pictures + phrases, 5) are numbers of values, UNSAID where a phrase has none; `poses` (pictures, 4)
    are -2 to 2; `events` (sounds, events) is 0 or 1. `texts` are those of pictures, phrases, sounds, in this order.
    """

    pixels: Tensor
    poses: Tensor
    attributes: Tensor
    sheets: Tensor
    events: Tensor
    texts: tuple[str, ...]


class Heads(nn.Module):
    """What reads attributes, events and poses from features while these are trained."""

    def __init__(self, world: World, dimension: int) -> None:
        super().__init__()
        self.attributes = nn.ModuleList(nn.Linear(dimension, len(world.attributes[name])) for name in ATTRIBUTES)
        self.events = nn.Linear(dimension, len(world.events))
        self.pose = nn.Linear(dimension, 4)

    def attribute_loss(self, unit: Tensor, attributes: Tensor, shape_weight: float) -> Tensor:
        """The mean cross-entropy of what is said; `unit` (B, D) features of norm 1, `attributes` (B, 5)."""
        losses = [
            functional.cross_entropy(SHARPNESS * head(unit), attributes[:, number], ignore_index=UNSAID)
            for number, head in enumerate(self.attributes)
        ]
        weights = torch.tensor([shape_weight if name == "shape" else 1.0 for name in ATTRIBUTES])
        return (torch.stack(losses) * weights).mean()

    def event_loss(self, unit: Tensor, events: Tensor) -> Tensor:
        loss: Tensor = functional.binary_cross_entropy_with_logits(SHARPNESS * self.events(unit), events)
        return loss


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Trains on the set "training" and writes config.json and model.safetensors (fp16); figures of validation."""
    validation = read_world(data, "validation")
    model = fit(read_world(data, "training"), Schedule(), seed, lambda now: retrieval(now, validation).value)
    save(model.half(), folder)
    return figures(load(folder), validation)


def held_out(data: Path) -> Mapping[str, Figure]:
    """What the shipped weights reach on the set "test"."""
    return figures(load(SHIPPED), read_world(data, "test"))


def fit(world: World, schedule: Schedule, seed: int, check: Callable[[ImageBind], float]) -> ImageBind:
    """A trained ImageBind-tiny, its features scaled; `check` is shown about once a minute."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, heads = ImageBind(CONFIG), Heads(world, CONFIG.dimension)
        _add_norms(model)
        weights = [*model.parameters(), *heads.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=schedule.rate, weight_decay=0.02)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.rate, total_steps=schedule.steps, pct_start=0.1)
        said = _Progress(schedule.steps)
        for step, batch in enumerate(_batches(world, schedule, seed), start=1):
            loss = _loss(model, heads, batch, step / schedule.steps)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            rates.step()
            said.step(step, loss.item(), lambda: check(model.eval()))
            model.train()
    _fold_norms(model.eval())
    _scale(model, world, seed)
    return model


def _add_norms(model: ImageBind) -> None:
    """Batch norm after each convolution of the stems, in training alone; group norm learned shapes more slowly."""
    for halving in _halvings(model):
        norm = nn.BatchNorm3d if isinstance(halving[0], nn.Conv3d) else nn.BatchNorm2d
        halving.insert(1, norm(halving[0].out_channels))
    model.train()


def _fold_norms(model: ImageBind) -> None:
    """Makes each norm a part of its convolution: a picture's feature is its own again, and the keys are those saved."""
    for halving in _halvings(model):
        halving[0] = fuse_conv_bn_eval(halving[0], halving.pop(1))


def _halvings(model: ImageBind) -> Sequence[Any]:
    stems: Any = [model.get_submodule(f"modality_preprocessors.{name}.rgbt_stem.proj") for name in ("vision", "audio")]
    return [step for stem in stems for step in stem if isinstance(step, nn.Sequential)]


def _loss(model: ImageBind, heads: Heads, batch: Batch, progress: float) -> Tensor:
    seen = functional.normalize(model.views("vision", batch.pixels)[:, 0], dim=-1)
    heard = functional.normalize(model.views("audio", batch.sheets)[:, 0], dim=-1)
    loss = (
        ATTRIBUTE_WEIGHT * heads.attribute_loss(seen, batch.attributes[: len(seen)], SHAPE_WEIGHT)
        + EVENT_WEIGHT * heads.event_loss(heard, batch.events)
        + POSE_WEIGHT * functional.mse_loss(heads.pose(CONFIG.dimension**0.5 * seen), batch.poses)
    )
    return loss + _text_loss(model, heads, batch, seen, heard, progress) if batch.texts else loss


def _text_loss(model: ImageBind, heads: Heads, batch: Batch, seen: Tensor, heard: Tensor, progress: float) -> Tensor:
    """What texts are to do: be told from each other by what they go with, be near to it, and be read."""
    pictures, sounds = len(seen), len(heard)
    words = model.views("text", tokenize(batch.texts, TEXT.context, TEXT.vocabulary))[:, 0]
    scaled = model.modality_postprocessors["text"](words)
    unit = functional.normalize(words, dim=-1)

    fits = _fits(batch.attributes, batch.attributes[:pictures])
    of_scenes = scaled[:-sounds] @ seen.T
    same = (batch.events[:, None] == batch.events).all(-1)
    contrast = (
        _contrast(of_scenes[:pictures], fits[:pictures])
        + 0.5 * _nearest(of_scenes[pictures:], fits[pictures:])
        + _contrast(scaled[-sounds:] @ heard.T, same)
    )
    read = ATTRIBUTE_WEIGHT * heads.attribute_loss(unit[:-sounds], batch.attributes, 1.0)
    read = read + EVENT_WEIGHT * heads.event_loss(unit[-sounds:], batch.events)
    apart = (1 - (unit[:pictures] * seen).sum(-1)).mean() + (1 - (unit[-sounds:] * heard).sum(-1)).mean()
    return contrast + read + COSINE_WEIGHT * progress * apart


def _fits(texts: Tensor, pictures: Tensor) -> Tensor:
    """Whether each picture (P, 5) has every value that each text (T, 5) speaks of, (T, P)."""
    return ((texts[:, None] == pictures) | (texts[:, None] == UNSAID)).all(-1)


def _contrast(logits: Tensor, fits: Tensor) -> Tensor:
    """InfoNCE both ways, where a row may have several that fit it."""
    return (_nearest(logits, fits) + _nearest(logits.T, fits.T)) / 2


def _nearest(logits: Tensor, fits: Tensor) -> Tensor:
    share = fits / fits.sum(dim=1, keepdim=True)
    return -(share * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _batches(world: World, schedule: Schedule, seed: int) -> Iterator[Batch]:
    draws = np.random.default_rng(seed)
    attributes = np.stack([world.classes(name) for name in ATTRIBUTES], axis=1)
    poses = (np.array([picture.pose for picture in world.pictures]) - (0, 0, 16, 0)) / (4, 4, 1, 10)
    groups = _in_turn(_groups(world), draws)
    for step in range(schedule.steps):
        alone = step < schedule.alone
        rows = np.concatenate([next(groups) for _ in range(schedule.groups)])
        if alone:
            rows = draws.integers(len(attributes), size=len(rows))
        about = draws.choice(rows, 0 if alone else schedule.phrases)
        phrases = [_phrase(world, int(row), attributes[row], draws) for row in about]
        captions = [str(draws.choice(OPENINGS)) + world.pictures[row].caption for row in rows]
        waves, events = _sounds(world, schedule.triples, draws)
        texts = (*captions, *(text for text, _ in phrases), *(sound(heard, world) for heard in events))
        yield Batch(
            pixels=pixels_of(world.pixels[rows]),
            poses=torch.from_numpy(poses[rows]).float(),
            attributes=torch.from_numpy(np.stack([*attributes[rows], *(said for _, said in phrases)])),
            sheets=sheets_of(waves, AUDIO),
            events=torch.tensor([[event in heard for event in world.events] for heard in events]).float(),
            texts=() if alone else texts,
        )


def _groups(world: World) -> list[NDArray[np.int64]]:
    numbers = np.array([picture.group for picture in world.pictures])
    return np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers)) + 1)


def _in_turn(groups: Sequence[NDArray[np.int64]], draws: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """All of them in a new order, again and again."""
    while True:
        for number in draws.permutation(len(groups)):
            yield groups[number]


def _phrase(
    world: World, row: int, attributes: NDArray[np.int64], draws: np.random.Generator
) -> tuple[str, NDArray[np.int64]]:
    """A part of a picture's caption, and the attributes that it speaks of."""
    values = world.pictures[row].values
    subject_alone = draws.random() < 0.6
    said = [name in ("shape", "colour", "pattern") if subject_alone else name == "background" for name in ATTRIBUTES]
    return subject(values) if subject_alone else world.where[values["background"]], np.where(said, attributes, UNSAID)


def _sounds(
    world: World, triples: int, draws: np.random.Generator
) -> tuple[list[NDArray[np.float32]], list[tuple[str, ...]]]:
    """Of each triple two stems alone and both mixtures, and one silence; the events of each."""
    waves: list[NDArray[np.float32]] = [silent(draws)]
    events: list[tuple[str, ...]] = [()]
    for number in draws.integers(len(world.mixtures), size=triples):
        mixture = world.mixtures[number]
        kept, first, second = mixture.kept, mixture.first, mixture.second
        for rows in ((kept,), (first,), (kept, first), (kept, second)):
            level = _louder(draws, LEVELS)
            stems = [_louder(draws, EVENT_LEVELS) * sounded(world, (row,)) for row in rows]
            waves.append(level * np.sum(stems, axis=0))
            events.append(tuple(world.stem_events[row] for row in rows))
    return waves, events


def _louder(draws: np.random.Generator, decibels: tuple[float, float]) -> np.float32:
    return np.float32(10 ** (draws.uniform(*decibels) / 20))


@torch.no_grad()
def _scale(model: ImageBind, world: World, seed: int) -> None:
    """Makes the mean norm of the features of at most a thousand training media the root of their numbers."""
    draws = np.random.default_rng((seed, 1))
    some = draws.permutation(len(world.pictures))[:1000]
    captions = [scene(world.pictures[row].values, world) for row in some]
    waves, events = _sounds(world, 100, draws)
    captions += [sound(heard, world) for heard in events]
    media = {
        "vision": pixels_of(world.pixels[some]),
        "text": tokenize(captions, TEXT.context, TEXT.vocabulary),
        "audio": sheets_of(waves, AUDIO),
    }
    for name, inputs in media.items():
        *_, last = (module for module in model.modality_heads[name].modules() if isinstance(module, nn.Linear))
        last.weight *= CONFIG.dimension**0.5 / model.embed(name, inputs, normalize=False).norm(dim=-1).mean()


class _Progress:
    """A line on stderr now and then."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.started = self.checked = time.monotonic()

    def step(self, step: int, loss: float, check: Callable[[], float]) -> None:
        now = time.monotonic()
        if step % 50 and step != self.steps:
            return
        left = (now - self.started) / step * (self.steps - step)
        line = f"imagebind: step {step} of {self.steps}, loss {loss:.3f}, {left:.0f} s left"
        if now - self.checked > 60 or step == self.steps:
            line += f", validation {check():.3f}"
            self.checked = time.monotonic()
        print(line, file=sys.stderr, flush=True)
