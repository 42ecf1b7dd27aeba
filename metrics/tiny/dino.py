"""dino-tiny: a vision transformer that tells subjects apart, wherever they are.

DINO (Caron et al. 2021, arXiv 2104.14294) finds subjects in millions of photographs without being told what they are.
In a few minutes this one is told, and so is not self-supervised: two pictures of one subject, in poses and on
backgrounds of their own, are the two views that must be alike, and those of every other subject of the batch unlike
them; linear heads that are thrown away name shape, colour and pattern. It learns from the set "metrics" alone.

It tells colours and patterns, and hardly any shapes: two layers of patches would need far longer to find those.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import ViTModel

from harness.drawn_world import World, read_world
from harness.recipes import Figure
from metrics.extractors import dino
from metrics.extractors.checkpoint import exact_arithmetic
from metrics.tiny.fitting import Course, fit
from metrics.tiny.learning import contrast, cosines, heads_for, mean_of, named_wrongly, save_halved
from metrics.tiny.seeing import FirstLayer, place_by_sines, start_from_components, through_the_extractor

SHIPPED = Path(__file__).parent / "shipped" / "dino"
SUBJECT = ("shape", "colour", "pattern")
COURSE = Course(steps=1200, rate=2e-3, watch=100)
SUBJECTS = 32
BATCH = 50

# Added to the seed, so that no other part draws the same numbers.
OWN_SEED = 51_000

Subject = tuple[str, ...]


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Learns, writes, and says how well subjects of the set "validation" are told apart."""
    seen, shown = read_world(data, "metrics"), read_world(data, "validation")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(OWN_SEED + seed)
        lesson = Lesson(seen, OWN_SEED + seed)
        fit(lesson, COURSE, lesson.loss, lambda: lesson.watched(shown))
    state = {dino.locate_hub(name).key: tensor for name, tensor in lesson.network.state_dict().items()}
    save_halved(state, folder, {**dino.TINY.config().to_dict(), "architectures": ["ViTModel"]})
    return measure(folder, shown)


def held_out(data: Path) -> Mapping[str, Figure]:
    """The figures of the shipped weights on the set "test"."""
    return measure(SHIPPED, read_world(data, "test"))


class Lesson(nn.Module):
    """The network, the heads, and how wrong they are about pairs of pictures that are drawn for them."""

    def __init__(self, seen: World, seed: int) -> None:
        super().__init__()
        self.network: ViTModel = dino.build(dino.TINY)
        self.network.set_attn_implementation("sdpa")
        self.heads = heads_for(seen, SUBJECT, dino.TINY.width)
        self.pixels = seen.pixels
        self.classes = {name: seen.classes(name) for name in SUBJECT}
        self.pictures = [rows for rows in pictures_by_subject(seen).values() if len(rows) > 1]
        self.first = FirstLayer(dino.TRANSFORM, dino.TINY.patch)
        self.draws = np.random.default_rng(seed)
        start = self.network.embeddings
        kernel = start.patch_embeddings.projection
        place_by_sines(start.position_embeddings[0, 1:])
        with torch.no_grad():
            kernel.get_parameter("bias").copy_(start_from_components(kernel.weight, seen.pixels, dino.TRANSFORM))

    def loss(self) -> Tensor:
        """Of one batch: two pictures of each of some subjects."""
        chosen = self.draws.choice(len(self.pictures), min(SUBJECTS, len(self.pictures)), replace=False)
        pairs = np.stack([self.draws.choice(self.pictures[subject], 2, replace=False) for subject in chosen])
        rows = pairs.T.flatten()
        tokens = self.look(self.pixels[rows])
        classes = {name: own[rows] for name, own in self.classes.items()}
        return contrast(*tokens.chunk(2)) + named_wrongly(self.heads, tokens, classes)

    def look(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Class tokens after the last norm, (pictures, width)."""
        start = self.network.embeddings
        kernel = start.patch_embeddings.projection
        patches = self.first.tokens(pictures, kernel.weight) + kernel.get_parameter("bias")
        x = torch.cat([start.cls_token.expand(len(patches), -1, -1), patches], dim=1) + start.position_embeddings
        for layer in self.network.layers:
            x = layer(x)
        tokens: Tensor = self.network.layernorm(x)[:, 0]
        return tokens.float()

    def watched(self, shown: World) -> str:
        """How often the heads are right about pictures of a set."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            tokens = self.look(shown.pixels[:400])
            right = {
                name: head(tokens).argmax(dim=1).numpy() == shown.classes(name)[:400]
                for name, head in self.heads.items()
            }
        return ", ".join(f"{name} {own.mean():.3f}" for name, own in right.items())


def measure(folder: Path, shown: World) -> Mapping[str, Figure]:
    """How often a picture of the same subject, in another group, is nearer than one of another subject.

    For each subject, the area under the ROC curve of the cosines of its pictures, the mean over subjects with its 95 %
    interval: against all other subjects, and against those alone that differ by one of shape, colour and pattern.
    """
    network = dino.load(folder, dino.TINY)
    tokens = []
    for begin in range(0, len(shown.pixels), BATCH):
        pixels = torch.from_numpy(through_the_extractor(shown.pixels[begin : begin + BATCH], dino.TRANSFORM))
        with exact_arithmetic():
            tokens.append(network(pixels).last_hidden_state[:, 0].numpy())
    near = cosines(np.concatenate(tokens), np.concatenate(tokens))
    groups = np.array([picture.group for picture in shown.pictures])
    by_subject = pictures_by_subject(shown)
    areas: dict[str, list[float]] = {"subjects told apart": [], "subjects that differ by one told apart": []}
    for subject, rows in by_subject.items():
        same = near[rows][:, rows][groups[rows][:, None] != groups[rows]]
        if not len(same):
            continue
        for name, most in zip(areas, (len(SUBJECT), 1), strict=True):
            others = [own for other, own in by_subject.items() if 0 < _differences(subject, other) <= most]
            if others:
                areas[name].append(area(same, near[rows][:, np.concatenate(others)].flatten()))
    return {name: mean_of(values) for name, values in areas.items()}


def area(higher: NDArray[np.float32], lower: NDArray[np.float32]) -> float:
    """The share of pairs in which a value of the first is above one of the second, ties counting half."""
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, "left") + np.searchsorted(ordered, higher, "right")
    return float(below.mean() / (2 * len(ordered)))


def pictures_by_subject(world: World) -> dict[Subject, NDArray[np.int64]]:
    """Rows of the pictures of each subject (shape, colour, pattern)."""
    rows: dict[Subject, list[int]] = {}
    for row, picture in enumerate(world.pictures):
        rows.setdefault(tuple(picture.values[name] for name in SUBJECT), []).append(row)
    return {subject: np.array(own) for subject, own in rows.items()}


def _differences(one: Subject, other: Subject) -> int:
    return sum(ours != theirs for ours, theirs in zip(one, other, strict=True))
