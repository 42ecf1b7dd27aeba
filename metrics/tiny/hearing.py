"""What the tiny networks of sound hear while they learn: one, two or three events, or nothing.

Events are heard together only where the set's own mixtures let them be, so that what is held out stays unheard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.drawn_world import World

FULL_SCALE = 32768
# Of sounds with no event, one, two and three.
SHARES = (0.06, 0.24, 0.45, 0.25)

# The softest that an event is, in decibels below its stem.
SOFTEST = 8.0


class Hearing:
    """Draws what is heard: the events, a stem for each, how loud it is and when it begins.

    Levels and beginnings of their own are to keep a network from learning the pairs of the set by heart.
    """

    def __init__(self, seen: World, seed: int) -> None:
        self.draws = np.random.default_rng(seed)
        events = np.array(seen.stem_events)
        self.stems = {event: np.flatnonzero(events == event) for event in seen.events}
        mixtures = [(one.kept, other) for one in seen.mixtures for other in (one.first, one.second)]
        pairs = sorted({events_of(seen, rows) for rows in mixtures})
        triples = [
            three for three in combinations(seen.events, 3) if all(pair in pairs for pair in combinations(three, 2))
        ]
        self.apart = np.array(
            [
                [float(one != other and not {(one, other), (other, one)} & {*pairs}) for other in seen.events]
                for one in seen.events
            ],
            dtype=np.float32,
        )
        self.together: Sequence[Sequence[tuple[str, ...]]] = [[()], [(event,) for event in seen.events], pairs, triples]

    def draw(self) -> tuple[int, ...]:
        """Rows of the stems of one sound, in the order of the events."""
        shares = np.array([share if may else 0.0 for share, may in zip(SHARES, self.together, strict=True)])
        may = self.together[int(self.draws.choice(len(shares), p=shares / shares.sum()))]
        return tuple(int(self.draws.choice(self.stems[event])) for event in may[int(self.draws.integers(len(may)))])

    def told(self, heard: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is learned from, of sounds with these events (sounds, events): 1, or 0 where nothing is to be concluded.

        In a mixture with a drum there is never wind while training, so that a network could conclude that a drum means
        no wind. Of an event that is never heard together with one of a mixture's nothing is learned there; that a drum
        alone is no wind is learned from drums alone.
        """
        mixtures = heard.sum(axis=1, keepdims=True) > 1
        told: NDArray[np.float32] = np.float32(1) - (mixtures & (heard @ self.apart > 0)).astype(np.float32)
        return told

    def mix(self, stems: NDArray[np.int16], rows: Iterable[int]) -> NDArray[np.float32]:
        """The sum of stems, each as loud as is drawn and turned around in time: full scale at 1, (samples,)."""
        total = np.zeros(stems.shape[1], dtype=np.float32)
        for row in rows:
            level = 10 ** (-self.draws.uniform(0, SOFTEST) / 20) / FULL_SCALE
            total += np.float32(level) * np.roll(stems[row], int(self.draws.integers(len(total))))
        return total


def mixed(stems: NDArray[np.int16], rows: Iterable[int]) -> NDArray[np.float32]:
    """The sum of stems, full scale at 1: (samples,)."""
    total = np.sum(stems[list(rows)], axis=0, dtype=np.int32)
    return np.asarray(total, dtype=np.float32) / np.float32(FULL_SCALE)


def events_of(world: World, rows: Iterable[int]) -> tuple[str, ...]:
    """The events of stems, in the order in which the world numbers them."""
    return tuple(sorted((world.stem_events[row] for row in rows), key=world.events.index))


def presence(world: World, sounds: Sequence[Iterable[int]]) -> NDArray[np.float32]:
    """Which events are heard in each sound: (sounds, events), 1 or 0."""
    events = [events_of(world, rows) for rows in sounds]
    return np.array([[event in own for event in world.events] for own in events], dtype=np.float32)


def caption(world: World, events: Sequence[str]) -> str:
    """As the world's own: "a bell", "a bell and rain", "a bell, rain and a dog"; silence where there is none."""
    names = [world.heard[event] for event in sorted(events, key=world.events.index)]
    if not names:
        return "silence"
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def held_out_pairs(shown: World) -> list[tuple[int, int]]:
    """Stems of what each mixture of a set begins with."""
    return [(one.kept, one.first) for one in shown.mixtures]
