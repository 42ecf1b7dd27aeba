"""How well ImageBind-tiny binds: what is retrieved by what, over combinations and pairs that were never trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from harness.drawn_world import ATTRIBUTES, World
from harness.recipes import Figure, share
from systems.imagebind.config import Sheet
from systems.imagebind.model import ImageBind
from systems.imagebind.preprocessing import DEVIATION, MEAN, sheet
from systems.imagebind.tokenizer import tokenize
from systems.tiny.captions import scene, sound

TOGETHER = 256
LOUDEST = np.float32(32768)


def figures(model: ImageBind, world: World) -> Mapping[str, Figure]:
    """The figures of a set, over its pictures that were changed from another, which are of held-out combinations.

    retrieval          the nearest of the 1,152 captions without extras is that of the picture, extras or not
    extra              of the picture's caption with nothing, a balloon and a flag, the nearest is the right one
    pairs              the nearest of the captions of 120 pairs of events is that of the mixture
    single_events      the nearest of 16 captions of an event and the 120 of pairs is that of the stem
    picture_cosine     of a picture's feature and its caption's
    picture_explained  how much of the variance of pictures' features their captions' explain; neither normalised
    sound_cosine, sound_explained    likewise
    """
    rows = held_out_rows(world)
    pictures = picture_features(model, world.pixels[rows])
    captions = [world.pictures[row].caption for row in rows]
    mixed = [rows for one in world.mixtures for rows in ((one.kept, one.first), (one.kept, one.second))]
    singles = [(row,) for row in range(len(world.stems))]
    heard = sound_features(model, [sounded(world, rows) for rows in [*mixed, *singles]])
    said = [sound([world.stem_events[row] for row in rows], world) for rows in [*mixed, *singles]]
    sets = [*combinations(world.events, 2), *((event,) for event in world.events)]
    right = _nearest(model, heard, [sound(events, world) for events in sets]) == np.array(said)
    meant, told = text_features(model, captions), text_features(model, said)
    return {
        "retrieval": retrieval(model, world),
        "extra": share(_extras(model, pictures, world, rows)),
        "pairs": share(right[: len(mixed)]),
        "single_events": share(right[len(mixed) :]),
        "picture_cosine": _mean(normalize(pictures, dim=1) * normalize(meant, dim=1)),
        "picture_explained": _explained(pictures, meant),
        "sound_cosine": _mean(normalize(heard, dim=1) * normalize(told, dim=1)),
        "sound_explained": _explained(heard, told),
    }


def retrieval(model: ImageBind, world: World) -> Figure:
    """How often the nearest of the 1,152 captions without extras is that of a held-out picture."""
    rows = held_out_rows(world)
    names = [name for name in ATTRIBUTES if name != "extra"]
    every = [
        dict(zip(ATTRIBUTES, (*values, "nothing"), strict=True))
        for values in product(*(world.attributes[name] for name in names))
    ]
    wanted = [scene({**world.pictures[row].values, "extra": "nothing"}, world) for row in rows]
    found = _nearest(model, picture_features(model, world.pixels[rows]), [scene(one, world) for one in every])
    return share(found == np.array(wanted))


def held_out_rows(world: World) -> NDArray[np.int64]:
    """The pictures that were changed from another: what they were changed from may be of a known combination."""
    return np.flatnonzero([picture.change != "" for picture in world.pictures])


@torch.inference_mode()
def picture_features(model: ImageBind, pixels: NDArray[np.uint8]) -> Tensor:
    """(N, dimension), float32, not normalised, of pictures (N, 64, 64, 3)."""
    parts = [model.embed("vision", pixels_of(part), normalize=False) for part in _parts(pixels)]
    return torch.cat(parts)


@torch.inference_mode()
def text_features(model: ImageBind, texts: Sequence[str]) -> Tensor:
    """(N, dimension), float32, not normalised."""
    size = model.config.text
    assert size is not None
    ids = [tokenize(part, size.context, size.vocabulary) for part in _parts(texts)]
    return torch.cat([model.embed("text", part, normalize=False) for part in ids])


@torch.inference_mode()
def sound_features(model: ImageBind, waves: Sequence[NDArray[np.float32]]) -> Tensor:
    """(N, dimension), float32, not normalised, of sounds of 2 s at 16 kHz.

    One view: that of systems.imagebind.preprocessing.sounds, which sees a sound of 2 s three times over.
    """
    size = model.config.audio
    assert size is not None
    return torch.cat([model.embed("audio", sheets_of(part, size), normalize=False) for part in _parts(waves)])


def pixels_of(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures (B, 64, 64, 3) as systems.imagebind.preprocessing.images gives them to a tower of 64 px."""
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def sheets_of(waves: Sequence[NDArray[np.float32]], size: Sheet) -> Tensor:
    """Sounds (n,) of 2 s at 16 kHz as the tower takes one view of them, (B, 1, mel bands, frames)."""
    samples = (torch.from_numpy(np.asarray(wave, np.float32)) for wave in waves)
    return torch.stack([sheet(one - one.mean(), size) for one in samples])


def sounded(world: World, rows: Sequence[int]) -> NDArray[np.float32]:
    """Stems heard together, (samples,), in [-1, 1]."""
    total: NDArray[np.float32] = world.stems[list(rows)].sum(axis=0, dtype=np.int32).astype(np.float32) / LOUDEST
    return total


def silent(draws: np.random.Generator, samples: int = 32000) -> NDArray[np.float32]:
    """Nothing at all, or noise that is all but nothing."""
    level = draws.choice([0, 1e-6, 1e-5, 1e-4])
    noise: NDArray[np.float32] = (level * draws.standard_normal(samples)).astype(np.float32)
    return noise


def _nearest(model: ImageBind, features: Tensor, captions: Sequence[str]) -> NDArray[np.str_]:
    """For each feature the caption whose feature is the nearest by cosine."""
    likeness = normalize(features, dim=1) @ normalize(text_features(model, captions), dim=1).T
    found: NDArray[np.str_] = np.array(captions)[likeness.argmax(dim=1).numpy()]
    return found


def _extras(model: ImageBind, pictures: Tensor, world: World, rows: NDArray[np.int64]) -> list[bool]:
    extras = world.attributes["extra"]
    asked = [scene({**world.pictures[row].values, "extra": extra}, world) for row in rows for extra in extras]
    texts = normalize(text_features(model, asked), dim=1).reshape(len(rows), len(extras), -1)
    found = torch.einsum("red,rd->re", texts, pictures).argmax(dim=1)
    return [extras[number] == world.pictures[row].values["extra"] for number, row in zip(found, rows, strict=True)]


def _mean(products: Tensor) -> Figure:
    """The mean of the sums of rows, with the interval of a normal mean."""
    sums = products.sum(dim=1)
    mean, half = float(sums.mean()), 1.959964 * float(sums.std()) / len(sums) ** 0.5
    return Figure(mean, mean - half, mean + half, len(sums))


def _explained(features: Tensor, texts: Tensor) -> Figure:
    """1 - |feature - text|^2 / |feature - mean feature|^2, of sums; the interval of a ratio by its linearisation."""
    left = (features - texts).square().sum(dim=1)
    all_of_it = (features - features.mean(dim=0)).square().sum(dim=1)
    ratio = float(left.sum() / all_of_it.sum())
    half = 1.959964 * float((left - ratio * all_of_it).std() / all_of_it.mean()) / len(left) ** 0.5
    return Figure(1 - ratio, 1 - ratio - half, 1 - ratio + half, len(left))


def _parts(things: Any) -> Iterator[Any]:
    return (things[start : start + TOGETHER] for start in range(0, len(things), TOGETHER))
