"""Answers that are there and say nothing: black, one colour, silent, empty, or the same whatever was asked.

They are kept and scored like any other, counted by these words, and shown beside every figure they are part of.

    black      every pixel (of every frame) is within a few levels of 0
    uniform    every pixel (of every frame) has the same colour, within a few levels, and it is not black
    silent     the sound never rises above -60 dB of full scale; of a video, its sound track, where it has one
    empty      a text without a visible character
    repeated   the same bytes were answered to different cases, whose inputs differ

Words that only a system can know stand beside them as it gives them (`Output.flags`): "nan", "safety_checked".
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.media import Video
from harness.nouns import Case, Generation, Media

# Ours: what JPEG and H.264 make of a plain colour stays within it (levels of 255).
LEVELS = 4
# The noise tolerance of FFmpeg's silencedetect, -60 dB, as an amplitude.
SILENCE = 0.001
# Ours: shorter texts ("yes", "two dogs") may well be the right answer to several questions.
REPEATED_TEXT = 80


def flags_of_text(text: str) -> list[str]:
    """ "empty" for a text in which there is nothing to be seen: spaces, controls and invisible marks alone."""
    return [] if any(unicodedata.category(character)[0] not in "CZ" for character in text) else ["empty"]


def flags_of_media(decoded: Image.Image | NDArray[np.float32] | Video) -> list[str]:
    """What is wrong with a decoded picture, sound (samples,) or video."""
    if isinstance(decoded, Image.Image):
        return _plain([decoded])
    if isinstance(decoded, Video):
        return _plain(map(Image.fromarray, decoded.frames)) + ([] if decoded.sound is None else _silent(decoded.sound))
    return _silent(decoded)


def mark_repeated(generations: Iterable[Generation], cases: Sequence[Case]) -> list[Generation]:
    """The generations, those that answer what another case was answered too marked "repeated".

    Cases that ask the same (equal inputs, in this turn and those before it) may be answered the same, and so may any
    text shorter than REPEATED_TEXT characters. What is already marked is like others of its kind, and stays as it is.
    """
    rows = list(generations)
    questions = _questions(cases)
    asked: dict[str, set[str]] = defaultdict(set)
    askers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for one in row.outputs:
            asked[one.digest].add(questions[row.case, row.turn])
            askers[one.digest].add(row.case)

    def repeated(row: Generation) -> bool:
        return not row.degenerate and any(
            _tells(one) and len(asked[one.digest]) > 1 and len(askers[one.digest]) > 1 for one in row.outputs
        )

    return [dataclasses.replace(row, degenerate=("repeated",)) if repeated(row) else row for row in rows]


def count_degenerate(generations: Iterable[Generation]) -> dict[str, int]:
    """How many samples have each flag, in any of their turns."""
    samples = {(row.case, row.sample, flag) for row in generations for flag in row.degenerate}
    return dict(sorted(Counter(flag for _, _, flag in samples).items()))


def describe_degenerate(counts: Mapping[str, int]) -> str:
    """The counts as words: "8 black, 4 repeated"; "" where there are none."""
    return ", ".join(f"{count} {flag}" for flag, count in counts.items())


def _questions(cases: Sequence[Case]) -> dict[tuple[str, int], str]:
    """What each turn of each case asks: the digests of its inputs and of those of the turns before it."""
    questions = {}
    for case in cases:
        asked = ""
        for number, turn in enumerate(case.turns):
            asked += f"{number}:" + " ".join(one.digest for one in turn.inputs) + "\n"
            questions[case.id, number] = asked
    return questions


def _tells(output: Media) -> bool:
    return output.modality != "text" or len(output.text) >= REPEATED_TEXT


def _plain(pictures: Iterable[Image.Image]) -> list[str]:
    extrema = np.array([picture.getextrema() for picture in pictures])
    lowest, highest = extrema[..., 0].min(axis=0), extrema[..., 1].max(axis=0)
    if highest.max() <= LEVELS:
        return ["black"]
    return ["uniform"] if (highest - lowest).max() <= LEVELS else []


def _silent(sound: NDArray[np.float32]) -> list[str]:
    return ["silent"] if np.abs(sound).max() < SILENCE else []
