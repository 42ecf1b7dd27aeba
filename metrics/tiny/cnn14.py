"""cnn14-tiny: a tagger of the drawn world's events.

It learns as PANNs do (Kong et al. 2020, arXiv 1912.10211), by binary cross entropy of the classes that are heard, on
sums of stems of the set "metrics", each at a level of its own, some with a little noise. Of its 527 logits the first
are the events, in the order of world.json; the others have nothing to hear, and are pushed down with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.drawn_world import RATE, World, read_world
from harness.recipes import Figure, share
from metrics.extractors import cnn14
from metrics.extractors.checkpoint import exact_arithmetic
from metrics.tagging import CLASSES
from metrics.tiny.fitting import Course, exact, fit
from metrics.tiny.hearing import Hearing, held_out_pairs, mixed, presence
from metrics.tiny.learning import save_halved

SHIPPED = Path(__file__).parent / "shipped" / "cnn14"
OWN_SEED = 53_000
COURSE = Course(steps=600, rate=4e-3, watch=100)
BATCH = 32

# The largest noise, of full scale, and how many sounds have some.
NOISE, NOISY = 0.003, 0.5
SOUNDS_AT_ONCE = 50
WATCHED = 100


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Learns, writes, and says how often the events of pairs of the set "validation" are found, and no others."""
    seen, shown = read_world(data, "metrics"), read_world(data, "validation")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(OWN_SEED + seed)
        lesson = Lesson(seen, OWN_SEED + seed).train()
        fit(lesson, COURSE, lesson.loss, lambda: f"pairs found {right(lesson.network, shown, WATCHED).mean():.3f}")
    state = lesson.network.state_dict()
    kept = {name: tensor for name, tensor in state.items() if name not in cnn14.KERNELS}
    save_halved(kept, folder, cnn14.TINY.config())
    return measure(folder, shown)


def held_out(data: Path) -> Mapping[str, Figure]:
    """The figures of the shipped weights on the set "test"."""
    return measure(SHIPPED, read_world(data, "test"))


class Lesson(nn.Module):
    """The network, and how wrong it is about sounds that are drawn for it."""

    def __init__(self, seen: World, seed: int) -> None:
        super().__init__()
        self.network = cnn14.Network(cnn14.TINY)
        for fixed in (self.network.spectrogram_extractor, self.network.logmel_extractor):
            fixed.requires_grad_(False)
        self.seen = seen
        self.hearing = Hearing(seen, seed)

    def loss(self) -> Tensor:
        """Of one batch: which events are heard, and that nothing else is."""
        rows = [self.hearing.draw() for _ in range(BATCH)]
        sounds = np.stack([self.hearing.mix(self.seen.stems, own) for own in rows])
        draws = self.hearing.draws
        noise = draws.uniform(0, NOISE, (BATCH, 1)) * (draws.random((BATCH, 1)) < NOISY)
        sounds += (noise * draws.standard_normal(sounds.shape)).astype(np.float32)
        waves = np.stack([cnn14.prepare(sound, RATE) for sound in sounds])
        with exact(), torch.no_grad():
            mel = self.network.hear(torch.from_numpy(waves))
        logits = self.network.tag(mel)[:, -CLASSES:].float()
        heard = presence(self.seen, rows)
        events, others = torch.tensor_split(logits, [heard.shape[1]], dim=1)
        told = torch.from_numpy(self.hearing.told(heard))
        wrong = functional.binary_cross_entropy_with_logits(events, torch.from_numpy(heard), told, reduction="sum")
        return wrong / told.sum() + functional.softplus(others).mean()


def measure(folder: Path, shown: World) -> Mapping[str, Figure]:
    """How often the very events of a held-out pair are found, at a threshold of one half."""
    found = right(cnn14.load(folder, cnn14.TINY), shown, len(shown.mixtures))
    return {"pairs found exactly": share(found.tolist())}


def right(network: cnn14.Network, shown: World, count: int) -> NDArray[np.bool_]:
    """Of which of the first pairs of a set the network finds exactly the events, (count,)."""
    rows = held_out_pairs(shown)[:count]
    waves = np.stack([cnn14.prepare(mixed(shown.stems, own), RATE) for own in rows])
    events = len(shown.events)
    found = []
    for begin in range(0, count, SOUNDS_AT_ONCE):
        with exact_arithmetic():
            features = network(torch.from_numpy(waves[begin : begin + SOUNDS_AT_ONCE]))
        found.append(features[:, -CLASSES:][:, :events].numpy() > 0)
    return np.asarray((np.concatenate(found) == (presence(shown, rows) > 0)).all(axis=1))
