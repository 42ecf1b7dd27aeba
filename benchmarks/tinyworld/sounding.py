"""An event as samples: two seconds of mono sound at 16 kHz, synthesised, no two alike.

Each event has a pitch, a tempo and a moment of its own, drawn by a seed. Events are as loud as each other: the largest
sample is `PEAK` at most, so that three of them can be added without clipping, and the mixture is their very sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from benchmarks.tinyworld.attributes import EVENTS

RATE = 16_000
SECONDS = 2
SAMPLES = RATE * SECONDS
PEAK = 10_000
"""Of 32,767."""

Samples = NDArray[np.int16]
Signal = NDArray[np.float64]
Draws = np.random.Generator


def sound(event: str, seed: int) -> Samples:
    """The samples of an event, (32000,) int16: the same for the same seed."""
    draws = np.random.default_rng((EVENTS.index(event), seed))
    signal = _SOUNDS[event](draws)
    # To whole numbers of 16: the last bits of a sine differ from processor to processor.
    samples: Samples = (16 * np.round(signal / np.abs(signal).max() * PEAK / 16)).astype(np.int16)
    return samples


def mixed(stems: Iterable[Samples]) -> Samples:
    """The sum of at most three events, which cannot leave the range of 16 bits."""
    return np.asarray(np.sum(list(stems), axis=0, dtype=np.int32), dtype=np.int16)


_TIMES = np.arange(SAMPLES) / RATE


def _tone(pitch: float | Signal, harmonics: Iterable[float] = (1.0,)) -> Signal:
    """A sum of harmonics of a pitch in Hz, which may be a curve over time."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(pitch, SAMPLES)) / RATE
    return _sum(level * np.sin((number + 1) * phase) for number, level in enumerate(harmonics))


def _sum(signals: Iterable[Signal]) -> Signal:
    """Of at least one signal."""
    total: Signal = np.sum(list(signals), axis=0)
    return total


def _fall(start: float, seconds: float) -> Signal:
    """Nothing until `start`, then a sudden 1 that falls to 1/e in `seconds`."""
    since = np.maximum(_TIMES - start, 0)
    fall: Signal = np.where(since > 0, np.exp(-since / seconds) * np.minimum(1, since / 0.004), 0)
    return fall


def _burst(start: float, seconds: float) -> Signal:
    """1 from `start` for `seconds`, with ramps of 10 ms."""
    burst: Signal = np.clip((_TIMES - start) / 0.01, 0, 1) * np.clip((start + seconds - _TIMES) / 0.01, 0, 1)
    return burst


def _noise(draws: Draws, low: float, high: float) -> Signal:
    """Noise of that band in Hz."""
    spectrum = np.fft.rfft(draws.standard_normal(SAMPLES))
    frequencies = np.fft.rfftfreq(SAMPLES, 1 / RATE)
    inside = 1 / (1 + (low / np.maximum(frequencies, 1)) ** 8) / (1 + (frequencies / high) ** 8)
    noise: Signal = np.fft.irfft(spectrum * np.sqrt(inside), SAMPLES)
    return np.asarray(noise / noise.std())


def _starts(draws: Draws, spacing: float) -> NDArray[np.float64]:
    """Moments that are evenly spaced, from one drawn within the first spacing."""
    return np.arange(draws.uniform(0.02, spacing), SECONDS - 0.05, spacing)


def _bell(draws: Draws) -> Signal:
    pitch = draws.uniform(750, 1000)
    ring = _sum(level * _tone(ratio * pitch) for ratio, level in ((1, 1), (2.76, 0.5), (5.4, 0.25)))
    return ring * _sum(_fall(start, 0.35) for start in _starts(draws, 0.9))


def _whistle(draws: Draws) -> Signal:
    start = draws.uniform(0.0, 0.5)
    rise = np.clip((_TIMES - start) / 1.2, 0, 1)
    return _tone(draws.uniform(1500, 1800) + 1300 * np.sin(np.pi * rise) ** 2) * _burst(start, 1.2)


def _siren(draws: Draws) -> Signal:
    sweep = np.sin(2 * np.pi * (draws.uniform(0.9, 1.3) * _TIMES + draws.uniform()))
    return _tone(800 + 300 * sweep, (1.0, 0.4, 0.3))


def _drum(draws: Draws) -> Signal:
    starts = _starts(draws, draws.uniform(0.42, 0.55))
    beats = [_tone(60 + 90 * _fall(start, 0.05)) * _fall(start, 0.16) for start in starts]
    return _sum(beats)


def _rain(draws: Draws) -> Signal:
    drops = _sum(_fall(draws.uniform(0, 2), 0.01) for _ in range(60))
    strength: Signal = 0.35 + 0.65 * drops / drops.max()
    return _noise(draws, 2500, 7500) * strength


def _wind(draws: Draws) -> Signal:
    gust = 1 + 0.8 * np.sin(2 * np.pi * (draws.uniform(0.5, 0.8) * _TIMES + draws.uniform()))
    return _noise(draws, 250, 900) * gust


def _bird(draws: Draws) -> Signal:
    low, length = draws.uniform(2600, 3200), 0.09
    chirps = [
        _tone(low + 1800 * np.clip((_TIMES - start) / length, 0, 1)) * _burst(start, length)
        for first in _starts(draws, 0.75)
        for start in (first, first + 0.13, first + 0.26)
    ]
    return _sum(chirps)


def _cricket(draws: Draws) -> Signal:
    trill: Signal = np.sin(2 * np.pi * draws.uniform(26, 32) * _TIMES) ** 2
    gate = _sum(_burst(start, 0.3) for start in _starts(draws, 0.5))
    return _tone(draws.uniform(4700, 5300)) * trill * gate


def _clock(draws: Draws) -> Signal:
    starts = _starts(draws, 0.25)
    high = draws.uniform(1900, 2300)
    ticks = [_tone(high if number % 2 else 0.75 * high, (1, 0.6)) * _fall(s, 0.012) for number, s in enumerate(starts)]
    return _sum(ticks)


def _engine(draws: Draws) -> Signal:
    pitch = draws.uniform(70, 95) + 6 * np.sin(2 * np.pi * 0.4 * _TIMES)
    return _tone(pitch, [1 / number for number in range(1, 14)]) * (1 + 0.5 * _tone(pitch / 4))


def _horn(draws: Draws) -> Signal:
    pitch, levels = draws.uniform(330, 380), (1, 0.9, 0.8, 0.6, 0.4, 0.3)
    start = draws.uniform(0.0, 0.4)
    return (_tone(pitch, levels) + _tone(1.26 * pitch, levels)) * (_burst(start, 0.45) + _burst(start + 0.65, 0.8))


def _telephone(draws: Draws) -> Signal:
    pitch = draws.uniform(1250, 1450)
    warble = np.where(np.sin(2 * np.pi * 12 * _TIMES) > 0, pitch, 1.25 * pitch)
    return _tone(warble, (1, 0, 0.3)) * _sum(_burst(start, 0.5) for start in _starts(draws, 0.8))


def _dog(draws: Draws) -> Signal:
    low = draws.uniform(330, 430)
    barks = []
    for start in _starts(draws, draws.uniform(0.5, 0.65)):
        shape = np.clip((_TIMES - start) / 0.18, 0, 1)
        voice = _tone(low * (1 + 0.8 * np.sin(np.pi * shape)), (1, 0.8, 0.9, 0.6, 0.5, 0.3, 0.2))
        barks.append((voice + 0.6 * _noise(draws, 500, 2500)) * _burst(start, 0.18))
    return _sum(barks)


def _knock(draws: Draws) -> Signal:
    pitch, first = draws.uniform(300, 380), draws.uniform(0.05, 0.6)
    wood = _tone(pitch) + 0.7 * _tone(2.3 * pitch) + 0.3 * _noise(draws, 400, 1600)
    return wood * _sum(_fall(first + 0.22 * number, 0.03) for number in range(5))


def _bubbles(draws: Draws) -> Signal:
    blips = []
    for start in np.sort(draws.uniform(0, 1.85, 9)):
        low = draws.uniform(420, 620)
        rise = np.clip((_TIMES - start) / 0.1, 0, 1)
        blips.append(_tone(low * (1 + 1.2 * rise)) * _burst(start, 0.1))
    return _sum(blips)


def _piano(draws: Draws) -> Signal:
    root, first = draws.uniform(250, 320), draws.uniform(0.0, 0.25)
    levels = (1, 0.6, 0.35, 0.2, 0.1)
    notes = [
        _tone(root * 2 ** (step / 12), levels) * _fall(first + 0.4 * number, 0.4)
        for number, step in enumerate((0, 4, 7, 12))
    ]
    return _sum(notes)


_SOUNDS: dict[str, Callable[[Draws], Signal]] = {
    "bell": _bell,
    "whistle": _whistle,
    "siren": _siren,
    "drum": _drum,
    "rain": _rain,
    "wind": _wind,
    "bird": _bird,
    "cricket": _cricket,
    "clock": _clock,
    "engine": _engine,
    "horn": _horn,
    "telephone": _telephone,
    "dog": _dog,
    "knock": _knock,
    "bubbles": _bubbles,
    "piano": _piano,
}
