"""A suite for a whole CoDi-2: three-turn editing conversations, and an interleaved prompt that is answered with all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import embedded
from harness.media import encode_audio
from harness.nouns import Case, Listing, Media, Suite, Turn

PHOTOGRAPHS = sorted(Path(embedded.__path__[0]).rglob("*.jpg"))


def words(text: str) -> Media:
    return Media("text", text=text)


def read(data: str) -> Listing:
    """Three conversations about a photograph each, and one case of two photographs and a sound; made in `data`."""
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    (Path(data) / "rain.flac").write_bytes(encode_audio(noise, 16000))
    photographs = [Media("image", uri=str(file)) for file in PHOTOGRAPHS[:3]]
    edits = [
        Case(f"edit-{number}", _conversation(photograph), {"task": "editing", "kind": "talk"})
        for number, photograph in enumerate(photographs)
    ]
    sound = Media("audio", uri=str(Path(data) / "rain.flac"))
    inputs = (words("put"), photographs[0], words("beside"), photographs[1], words("in"), sound)
    parts = {"reference": (photographs[0],)}
    everything = Case("everything", (Turn(inputs, ("text", "image", "audio", "video"), parts),), {"kind": "mixed"})
    return Listing((*edits, everything))


def _conversation(photograph: Media) -> tuple[Turn, ...]:
    parts = {"reference": (photograph,)}
    first = Turn((photograph, words("make it snow")), ("image",), parts)
    return (first, *(Turn((words(text),), ("image",), parts) for text in ("now at night", "and in rain")))


TALKS = Suite("talks", 1, read, 4, 1, (), "one-ref", "kind")
