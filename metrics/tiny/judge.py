"""Trains `judge-tiny`: what a picture of the drawn world shows, read from pictures that nothing else learns from.

    python -m metrics.tiny.train judge --data DIR

It learns on the set "judge", which has none of the held-out combinations, spoiled as generators spoil pictures
(metrics.tiny.spoiling); one picture in nine is no picture of the world, and is to be read as evenly nothing. Loss: the
sum of the five cross entropies.

`held_out` says what the shipped weights do with true answers of the test split and with corrupted ones, whose rates
have the exact chance of their shuffle beside them; `read_judge` is the judge as a function, to watch a training with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.drawn_world import World, read_world
from harness.recipes import Figure, share
from metrics.drawn_words import ATTRIBUTES, VALUES, check_world, columns
from metrics.extractors.judge import CONFIG, SIDE, Judge, JudgeTiny, Network, by_attribute, to_network
from metrics.judging import READ
from metrics.tiny.fitting import Course, exact, fit
from metrics.tiny.learning import mean_of, save_halved
from metrics.tiny.spoiling import no_pictures, spoiled

BATCH = 128
NO_PICTURES = 16
COURSE = Course(steps=900, rate=6e-3, watch=100)

# Added to the seed, so that no other part draws the same numbers.
OWN_SEED = 41_000

SHIPPED = Path(__file__).parent / "shipped" / "judge"

Classes = NDArray[np.int64]
Right = NDArray[np.bool_]


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Writes config.json and model.safetensors; returns the shares of validation pictures that are read right.

    "all_spoiled" is of the same pictures, spoiled as those of training are.
    """
    world, validation = read_checked(data, "judge"), read_checked(data, "validation")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(OWN_SEED + seed)
        worse = _as_pixels(spoiled(to_network(torch.from_numpy(validation.pixels))))
        network, truths = Network(), _truths(validation)

        def right(judge: Judge, pixels: NDArray[np.uint8]) -> Right:
            return np.asarray(values_read(judge.probabilities(pixels)) == truths)

        def watched() -> str:
            judge = Judge(network, "in training", "cpu")
            shares = [right(judge, pixels).all(axis=1).mean() for pixels in (validation.pixels, worse)]
            return "validation {:.4f}, spoiled {:.4f}".format(*shares)

        fit(network, COURSE, _loss(network, world), watched)
    save_halved(network.state_dict(), folder, CONFIG)
    judge = JudgeTiny(str(folder), "cpu").judge
    return {**_shares(right(judge, validation.pixels)), "all_spoiled": _shares(right(judge, worse))["all"]}


def held_out(data: Path) -> Mapping[str, Figure]:
    """Shares of held-out test pictures whose attributes are read right, by the shipped weights.

    "shape" ... "all": true answers. "shuffled_shape" ...: each answer held to the truth of every other picture, which
    is the mean of all shuffles, and "shuffled_shape_chance" ... the same for a judge that reads all of them right: how
    often two of these truths agree. "source_followed": the picture as it was before one attribute was changed, held to
    the truth after the change, in that attribute (0 for a perfect judge), and "source_kept" in the other four (1).
    "no_picture_shape" ...: noise, plain fields, bands and clouds (0).
    """
    world = read_checked(data, "test")
    judge = JudgeTiny(str(SHIPPED), "cpu").judge
    read, truths = values_read(judge.probabilities(world.pixels)), _truths(world)
    changed = np.array([number for number, picture in enumerate(world.pictures) if picture.change])
    first = {picture.group: number for number, picture in enumerate(world.pictures) if not picture.change}
    sources = np.array([first[world.pictures[number].group] for number in changed])
    wanted = truths[changed]
    figures = dict(_shares(read[changed] == wanted))
    for name, chosen in {**{one: [number] for number, one in enumerate(ATTRIBUTES)}, "all": slice(None)}.items():
        shuffled = right_for_others(read[changed][:, chosen], wanted[:, chosen])
        chance = right_for_others(wanted[:, chosen], wanted[:, chosen]).mean()
        figures[f"shuffled_{name}"] = mean_of(shuffled.tolist())
        figures[f"shuffled_{name}_chance"] = Figure(chance, chance, chance, len(wanted))
    copied = read[sources] == wanted
    asked = np.array([[world.pictures[number].change == attribute for attribute in ATTRIBUTES] for number in changed])
    figures["source_followed"] = share(copied[asked].tolist())
    figures["source_kept"] = share((copied | asked).all(axis=1).tolist())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nothing = _as_pixels(no_pictures(len(changed), SIDE))
    unread = _shares(values_read(judge.probabilities(nothing)) == wanted)
    return {**figures, **{f"no_picture_{name}": figure for name, figure in unread.items()}}


def read_judge(folder: Path) -> Callable[[NDArray[np.uint8]], Mapping[str, Classes]]:
    """A function of pictures (n, 64, 64, 3) uint8: the number of the value of each attribute (n,), -1 where unread."""
    judge = JudgeTiny(str(folder), "cpu").judge
    return lambda pictures: dict(zip(ATTRIBUTES, values_read(judge.probabilities(pictures)).T, strict=True))


def read_checked(data: Path, name: str) -> World:
    """A set of the world, which must have the values that the judge tells apart."""
    world = read_world(data, name)
    check_world(world)
    return world


def values_read(probabilities: NDArray[np.float32]) -> Classes:
    """The number of the value of each attribute (n, 5), -1 where none is read, of probabilities (n, 28)."""
    parts = [probabilities[:, columns(attribute)] for attribute in ATTRIBUTES]
    return np.stack([np.where(part.max(axis=1) > READ, part.argmax(axis=1), -1) for part in parts], axis=1)


def right_for_others(read: NDArray[Any], truths: NDArray[Any]) -> NDArray[np.float64]:
    """To how many of the other rows' truths each reading is right in all its columns: shares (n,), both (n, any)."""
    same = (read[:, None] == truths[None]).all(axis=2)
    np.fill_diagonal(same, False)
    return np.asarray(same.sum(axis=1) / (len(truths) - 1))


def _loss(network: Network, world: World) -> Callable[[], Tensor]:
    pictures = to_network(torch.from_numpy(world.pixels))
    truths = _one_hot(world)
    evenly = torch.cat([torch.full((len(values),), 1 / len(values)) for values in VALUES.values()])

    def loss() -> Tensor:
        chosen = torch.randint(len(pictures), (BATCH,))
        with exact():
            shown = torch.cat([spoiled(pictures[chosen]), no_pictures(NO_PICTURES, SIDE)])
        logits = by_attribute(network(shown).float())
        wanted = by_attribute(torch.cat([truths[chosen], evenly.expand(NO_PICTURES, -1)]))
        losses = [functional.cross_entropy(logits[attribute], wanted[attribute]) for attribute in ATTRIBUTES]
        return torch.stack(losses).sum()

    return loss


def _one_hot(world: World) -> Tensor:
    """What each picture shows, (pictures, 28), ones and zeros."""
    parts = [
        functional.one_hot(torch.from_numpy(world.classes(attribute)), len(values))
        for attribute, values in VALUES.items()
    ]
    return torch.cat(parts, dim=1).float()


def _as_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """(n, 3, 64, 64) in [-1, 1] to (n, 64, 64, 3) uint8."""
    pixels: NDArray[np.uint8] = ((pictures + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def _truths(world: World) -> Classes:
    return np.stack([world.classes(attribute) for attribute in ATTRIBUTES], axis=1)


def _shares(right: Right) -> Mapping[str, Figure]:
    each = {name: share(right[:, number].tolist()) for number, name in enumerate(ATTRIBUTES)}
    return {**each, "all": share([all(row) for row in right.tolist()])}
