"""The judge of the drawn world: which shape, colour, pattern, background and extra a picture shows.

A row is the probabilities of the 28 values (metrics.drawn_words), float32 (rows, 28); those of one attribute sum to
one. A value is *read* where its probability is over one half, so that at most one value of an attribute is, and none in
what is no picture of that world: the judge was taught to spread its probability evenly over noise, plain fields and
blotches, whose attributes are then right for no truth at all, never more often than by chance.

Pictures: 64 x 64 as they are; any other is resized to that by Pillow's bicubic filter (antialiased where it shrinks),
width and height each for itself, since what is extra in a picture stands in its corners. R, G, B in [-1, 1].

Weights: `python -m metrics.tiny.train judge` (metrics.tiny.judge), 0.2 M numbers; the ones that are shipped are used
where no others are given. They share no data, seed or weights with any generator or other extractor.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from harness.media import read_image
from harness.nouns import Media
from metrics.drawn_words import SIZE, VALUES
from metrics.extractors.checkpoint import Source, exact_arithmetic, fill, finite_rows, read_checkpoint

SIDE = 64
TOGETHER = 256
CHANNELS = (24, 32, 48, 64, 64)
HALVED = (1, 3, 4)
HIDDEN = 64
CONFIG = {"model_type": "anybench-judge", "hidden_size": HIDDEN, "image_size": SIDE}


class JudgeTiny:
    """`judge-tiny`. Raises UsageError for weights of another architecture, AbsentError where there are none."""

    def __init__(self, weights: str, device: str) -> None:
        self.judge = Judge(load(Path(weights)).to(device), weights, device)

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[np.float32]:
        """Probabilities of the one picture in each row: float32 (len(batch), 28)."""
        return self.judge.probabilities(np.stack([fitted(read_image(media)) for (media,) in batch]))


@dataclass(frozen=True, slots=True)
class Judge:
    """A network that judges, on its device; `weights` is what errors name."""

    network: Network
    weights: str
    device: str

    def probabilities(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of pictures (n, 64, 64, 3) uint8: float32 (n, 28)."""
        parts = [self._few(pictures[start : start + TOGETHER]) for start in range(0, len(pictures), TOGETHER)]
        return np.concatenate(parts) if parts else np.empty((0, SIZE), np.float32)

    def _few(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        with exact_arithmetic():
            logits = self.network(to_network(torch.from_numpy(pictures).to(self.device)))
            spread = torch.cat([part.softmax(1) for part in by_attribute(logits).values()], dim=1)
            return finite_rows(spread, self.weights)


def fitted(image: Image.Image) -> NDArray[np.uint8]:
    """A picture of any size as (64, 64, 3) uint8; one of 64 x 64 is left as it is."""
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image)


def to_network(pictures: Tensor) -> Tensor:
    """(n, 64, 64, 3) uint8 to (n, 3, 64, 64) in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def by_attribute(values: Tensor) -> Mapping[str, Tensor]:
    """Columns (n, 28) as (n, values) of each attribute."""
    return dict(zip(VALUES, torch.split(values, [len(one) for one in VALUES.values()], dim=1), strict=True))


def load(weights: Path) -> Network:
    """The judge with the weights of a folder that training wrote."""
    network = Network()
    fill(network, read_checkpoint(weights, CONFIG), Source, unused=r"(?!)", weights=weights)
    network.train(False)
    return network


class Network(nn.Module):
    """Five convolutions with batch norm and ReLU, two layers on the 4 x 4 places that are left, 28 logits."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *CHANNELS)
        pairs = itertools.pairwise(channels)
        self.blocks = nn.ModuleList(Block(*pair, first=number == 0) for number, pair in enumerate(pairs))
        self.hidden = nn.Linear(CHANNELS[-1] * 16, HIDDEN)
        self.values = nn.Linear(HIDDEN, SIZE)

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, 3, 64, 64) in [-1, 1] to logits (n, 28)."""
        x = pictures
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in HALVED:
                x = functional.max_pool2d(x, 2)
        values: Tensor = self.values(functional.relu(self.hidden(x.flatten(1))))
        return values


class Block(nn.Module):
    """A convolution, batch norm, ReLU; the first sees 5 x 5 pixels and halves the picture, the others 3 x 3."""

    def __init__(self, before: int, after: int, first: bool) -> None:
        super().__init__()
        side, stride = (5, 2) if first else (3, 1)
        self.convolution = nn.Conv2d(before, after, side, stride, padding=side // 2, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, height, width) to (n, after, height, width), or half of both."""
        normed: Tensor = self.norm(self.convolution(x))
        return functional.relu(normed)
