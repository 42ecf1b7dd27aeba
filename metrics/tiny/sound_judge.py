"""Trains `sound-judge-tiny`: which events of the drawn world a sound has, from sounds that nothing else learns from.

    python -m metrics.tiny.train sound-judge --data DIR

It learns on the stems of the set "judge": one, or sums of two or three of events that training may let be heard
together (the pairs of its mixtures.csv), each at a level of its own, over some noise, many of them vocoded
(metrics.tiny.vocoding); and on noise and silence, in which nothing is heard. Loss: the mean binary cross entropy.

`held_out` says what the shipped weights do with sums of the test split's pairs and with corrupted answers, whose rates
have the exact chance of their shuffle beside them; `read_sound_judge` is the judge as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.drawn_world import World
from harness.recipes import Figure, share
from metrics.drawn_words import EVENTS
from metrics.extractors.sound_judge import CONFIG, RATE, FrontEnd, Network, SoundJudge, SoundJudgeTiny
from metrics.judging import READ
from metrics.tiny.fitting import Course, exact, fit
from metrics.tiny.judge import read_checked, right_for_others
from metrics.tiny.learning import mean_of, save_halved
from metrics.tiny.vocoding import vocoded

BATCH = 64
VOCODED = 28
COURSE = Course(steps=800, rate=6e-3, watch=100)

# Shares of batches' sounds with so many events: none, one, two, three.
EVENT_SHARES = (0.08, 0.2, 0.5, 0.22)

# At most this much softer than full, in dB; noise at most at this level of full scale.
SOFTER = 8.0
NOISE = 0.01

# Share of sounds over which there is noise of some band that is no event, and the most of it (root mean square): what
# is soft beneath it is still heard. Without it, a judge takes what it never heard beneath wind or rain to be absent.
MASKED = 0.5
LOUDEST_MASKER = 0.08

# Added to the seed, so that no other part draws the same numbers.
OWN_SEED = 42_000

SHIPPED = Path(__file__).parent / "shipped" / "sound-judge"

Sounds = NDArray[np.float32]
Presence = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The mixtures of a set: a sound that is there in both of a pair, with one event (`before`) or another (`after`).

    `before` and `after` are (n, 32000), `kept`, `first` and `second` numbers of events (n,).
    """

    before: Sounds
    after: Sounds
    kept: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @property
    def events_before(self) -> Presence:
        """Which events are heard in `before`, (n, 16)."""
        return _presence(self.kept, self.first)

    @property
    def events_after(self) -> Presence:
        """Which events are heard in `after`, (n, 16)."""
        return _presence(self.kept, self.second)


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Writes config.json and model.safetensors; returns the shares of validation pairs whose events are read exactly.

    "exact_vocoded" is of the same sounds, vocoded as those of training are.
    """
    world, validation = read_checked(data, "judge"), pairs_of(read_checked(data, "validation"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(OWN_SEED + seed)
        worse = vocoded(torch.from_numpy(validation.after)).numpy()
        network, front_end = Network(), FrontEnd()

        def exact_ones(judge: SoundJudge, sounds: Sounds) -> Presence:
            return _same(heard(judge.probabilities(sounds)), validation.events_after)

        def watched() -> str:
            judge = SoundJudge(network, front_end, "in training", "cpu")
            said = [exact_ones(judge, sounds).mean() for sounds in (validation.after, worse)]
            return "validation {:.4f}, vocoded {:.4f}".format(*said)

        fit(network, COURSE, _loss(network, front_end, world), watched)
    save_halved(network.state_dict(), folder, CONFIG)
    judge = SoundJudgeTiny(str(folder), "cpu").judge
    both = [("exact", validation.after), ("exact_vocoded", worse)]
    return {name: share(exact_ones(judge, sounds).tolist()) for name, sounds in both}


def held_out(data: Path) -> Mapping[str, Figure]:
    """Shares of sums of held-out test pairs whose events are read exactly, by the shipped weights.

    "exact", "exact_vocoded": true answers, and the same vocoded. "heard" and "unheard": of the events that are there,
    and of those that are not. "shuffled_exact": each held to the events of every other sum, which is the mean of all
    shuffles, and "shuffled_exact_chance" the same for a judge that reads all of them right.
    "source_followed": the sum before one event was replaced, held to the events after it, in the two of them (0 for a
    perfect judge), and "source_kept" in the others (1). "noise_exact", "silence_exact": 0 for a perfect judge.
    """
    pairs = pairs_of(read_checked(data, "test"))
    judge = SoundJudgeTiny(str(SHIPPED), "cpu").judge
    truth, count = pairs.events_after, len(pairs.after)
    read = heard(judge.probabilities(pairs.after))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        worse = vocoded(torch.from_numpy(pairs.after)).numpy()
        noise = (0.1 * torch.randn(count, pairs.after.shape[1])).numpy()
    copied = heard(judge.probabilities(pairs.before)) == truth
    asked = _presence(pairs.first, pairs.second)
    chance = right_for_others(truth, truth).mean()
    rates = {
        "exact": _same(read, truth),
        "exact_vocoded": _same(heard(judge.probabilities(worse)), truth),
        "heard": read[truth],
        "unheard": ~read[~truth],
        "source_followed": (copied | ~asked).all(axis=1),
        "source_kept": (copied | asked).all(axis=1),
        "noise_exact": _same(heard(judge.probabilities(noise)), truth),
        "silence_exact": _same(heard(judge.probabilities(np.zeros_like(pairs.after))), truth),
    }
    figures = {name: share(right.tolist()) for name, right in rates.items()}
    figures["shuffled_exact"] = mean_of(right_for_others(read, truth).tolist())
    return {**figures, "shuffled_exact_chance": Figure(chance, chance, chance, count)}


def read_sound_judge(folder: Path) -> Callable[[Sounds], Presence]:
    """A function of sounds (n, 32000) float32 at 16 kHz: which of the 16 events are heard, (n, 16) bool."""
    judge = SoundJudgeTiny(str(folder), "cpu").judge
    return lambda sounds: heard(judge.probabilities(sounds))


def pairs_of(world: World) -> Pairs:
    """The mixtures of a set as they sound."""
    stems = world.stems.astype(np.float32) / 32768
    kept, first, second = (
        np.array([getattr(one, row) for one in world.mixtures]) for row in ("kept", "first", "second")
    )
    events = np.array([EVENTS.index(event) for event in world.stem_events])
    return Pairs(stems[kept] + stems[first], stems[kept] + stems[second], events[kept], events[first], events[second])


def heard(probabilities: NDArray[np.float32]) -> Presence:
    """Which events are heard, (n, 16)."""
    return probabilities > READ


def _loss(network: Network, front_end: FrontEnd, world: World) -> Callable[[], Tensor]:
    draw = Draw.of(world)

    def loss() -> Tensor:
        with exact():
            sounds, events = draw.batch()
            bands = front_end(sounds)
        told = draw.told(events)
        loss = functional.binary_cross_entropy_with_logits(network(bands).float(), events, told, reduction="sum")
        return loss / told.sum()

    return loss


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws sounds to learn from: `stems` (16, stems, 32000), `sets` of event numbers by how many they are.

    `apart` (16, 16) is 1 for pairs of events that training never lets be heard together.
    """

    stems: Tensor
    sets: Mapping[int, tuple[tuple[int, ...], ...]]
    apart: Tensor

    @classmethod
    def of(cls, world: World) -> Draw:
        """From the stems of a set, as its mixtures put them together."""
        numbers = np.array([EVENTS.index(event) for event in world.stem_events])
        rows = np.stack([np.flatnonzero(numbers == event) for event in range(len(EVENTS))])
        stems = torch.from_numpy(world.stems[rows].astype(np.float32) / 32768)
        kept, others = (
            numbers[[one.kept for one in world.mixtures]],
            [numbers[[getattr(one, row) for one in world.mixtures]] for row in ("first", "second")],
        )
        pairs = {tuple(sorted(pair)) for other in others for pair in zip(kept.tolist(), other.tolist(), strict=True)}
        triples = [three for three in combinations(range(len(EVENTS)), 3) if pairs.issuperset(combinations(three, 2))]
        alone = tuple((event,) for event in range(len(EVENTS)))
        apart = 1 - torch.eye(len(EVENTS))
        for first, second in pairs:
            apart[first, second] = apart[second, first] = 0
        return cls(stems, {0: ((),), 1: alone, 2: tuple(sorted(pairs)), 3: tuple(triples)}, apart)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Sounds (64, 32000) and which events are in them (64, 16), ones and zeros."""
        sounds, events = torch.zeros(BATCH, self.stems.shape[2]), torch.zeros(BATCH, len(EVENTS))
        many = torch.multinomial(torch.tensor(EVENT_SHARES), BATCH, replacement=True)
        for row, number in enumerate(many.tolist()):
            chosen = self.sets[number][int(torch.randint(len(self.sets[number]), ()))]
            for event in chosen:
                level = 10 ** (-SOFTER / 20 * float(torch.rand(())))
                sounds[row] += level * self.stems[event, int(torch.randint(self.stems.shape[1], ()))]
                events[row, event] = 1
        noise = NOISE * torch.rand(BATCH, 1) ** 3 * torch.randn_like(sounds)
        sounds = sounds + (torch.rand(BATCH, 1) < MASKED) * _maskers(BATCH, sounds.shape[1])
        # Some is exactly silent, or noise alone; some of the noise as loud as events are.
        loud = (events.sum(dim=1, keepdim=True) == 0) * torch.randint(3, (BATCH, 1))
        sounds = torch.where(torch.rand(BATCH, 1) < 0.7, sounds + (1 + 10 * loud) * noise, sounds)
        sounds[:VOCODED] = vocoded(sounds[:VOCODED])
        return sounds, events

    def told(self, events: Tensor) -> Tensor:
        """What is learned from, of sounds with these events: (n, 16), 1, or 0 where nothing is to be concluded.

        In a mixture with a drum there is never wind while training, so that a judge could conclude that a drum means no
        wind. Of an event that is never heard together with one of a mixture's nothing is learned there; that a drum
        alone is no wind is learned from drums alone.
        """
        mixtures = events.sum(dim=1, keepdim=True) > 1
        return 1 - (mixtures & (events @ self.apart > 0)).float()


def _maskers(count: int, samples: int) -> Tensor:
    """Noise of a band of one to three octaves somewhere, which swells and fades, (count, samples)."""
    frequencies = torch.fft.rfftfreq(samples, 1 / RATE)
    low = 60 * 2 ** (6 * torch.rand(count, 1))
    high = low * 2 ** (1 + 2 * torch.rand(count, 1))
    spectrum = torch.fft.rfft(torch.randn(count, samples)) * ((frequencies > low) & (frequencies < high))
    noise = torch.fft.irfft(spectrum, samples)
    noise = noise / noise.std(dim=1, keepdim=True)
    swell = functional.interpolate(torch.rand(count, 1, 8), size=samples, mode="linear", align_corners=True)[:, 0]
    masker: Tensor = LOUDEST_MASKER * torch.rand(count, 1) * (0.3 + swell) * noise
    return masker


def _presence(*numbers: NDArray[np.int64]) -> Presence:
    present = np.zeros((len(numbers[0]), len(EVENTS)), dtype=bool)
    for number in numbers:
        present[np.arange(len(number)), number] = True
    return present


def _same(read: Presence, truth: Presence) -> Presence:
    same: Presence = (read == truth).all(axis=1)
    return same
