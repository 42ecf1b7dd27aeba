"""The systems that bound every other one: what knows the answer, what changes nothing, what knows nothing.

    oracle              the target: what a perfect answer scores
    copy_input          an input of the turn, or of the one before it: what doing nothing scores
    noise               noise as large as the input picture, as long and as loud as the input sound: what any picture
                        or sound at all scores
    resampled_target    the target as it comes out of a resampler: what that alone costs

The first two hand on the bytes of the file as they stand, so nothing is encoded twice and their digests are the
originals'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UsageError
from harness.media import encode_audio, encode_image, read_audio, read_bytes, read_image
from harness.nouns import Case, Item, Media, Modality, Output, Turn

WHICH = ("auto", "first", "last")
# The tag `task` of a case whose first inputs are an example: what is to be changed comes last.
EXEMPLAR = "exemplar"
NOISE_RATE = 16_000
# Of noise without an input to go by: a picture's side, a sound's seconds and RMS, as in the drawn world (0.09 there).
NOISE_SIDE, NOISE_SECONDS, NOISE_LOUDNESS = 64, 2, 0.1
# What FLAC of 16 bit and the metrics' door both take.
LOWEST_RATE, HIGHEST_RATE = 1_000, 192_000


class Oracle:
    """Answers every turn with its part "target", one for each output that is wanted, in order.

    Raises UsageError naming the case where a turn has no targets, or others than it wants.
    """

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, the targets; sample and seed change nothing."""
        return [
            [[_unchanged(media) for media in _targets("the oracle", item.case, turn)] for turn in item.case.turns]
            for item in items
        ]


class CopyInput:
    """Answers each output that is wanted with an input of its modality in the same turn: the "first", the "last", or
    ("auto") the case's own, which is the last of an exemplar case (tag `task`) and the first of any other.

    A turn without any is answered with an input of the latest turn before it that has one: a conversation in which
    nothing is done. Raises UsageError naming the case where there is none either.
    """

    def __init__(self, checkpoint: str, device: str, *, which: str = "auto") -> None:
        if which not in WHICH:
            raise UsageError(f"which={which}: must be one of {', '.join(WHICH)}")
        self._which = which

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, copies of inputs; sample and seed change nothing."""
        return [
            [
                [self._copy(item.case, number, modality) for modality in turn.wants]
                for number, turn in enumerate(item.case.turns)
            ]
            for item in items
        ]

    def _copy(self, case: Case, turn: int, modality: Modality) -> Output:
        found = _input(case, turn, modality, self._which)
        if found is None:
            raise UsageError(
                f"case {case.id}: copy_input needs an input of modality {modality}; the turn has none, nor any before"
            )
        return _unchanged(found)


class Noise:
    """Answers each picture or sound that is wanted with noise: as large, or long and loud, as what `copy_input` copies.

    A picture is PNG, each channel of each pixel drawn uniformly from 0 to 255: of the size of the input picture, 64
    pixels square where there is none. A sound is FLAC at 16 kHz, white and Gaussian, clipped where it passes full
    scale: of the input sound's length and RMS, 2 s with an RMS of 0.1 (-20 dBFS) where there is none. Output k of
    an item (counted over its turns) is drawn from NumPy's default generator, seeded with item.seed + k.

    Raises UsageError naming the case that wants something else.
    """

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, noise."""
        return [self._answer(item) for item in items]

    def _answer(self, item: Item) -> list[list[Output]]:
        seeds = iter(range(item.seed, item.seed + sum(len(turn.wants) for turn in item.case.turns)))
        return [
            [_noise(item.case, number, wanted, next(seeds)) for wanted in turn.wants]
            for number, turn in enumerate(item.case.turns)
        ]


class ResampledTarget:
    """Answers every turn with its part "target", sounds all, as FLAC at `rate` Hz.

    Whoever scores it brings it back to its own rate, so that it was resampled twice (soxr HQ, harness.media) and is
    otherwise the oracle: the row by which a metric says what a resampler alone costs.

    Raises UsageError for a rate that is not from 1000 to 192000, and, naming the case, where a turn wants something
    else than sounds, has no targets, or others than it wants.
    """

    def __init__(self, checkpoint: str, device: str, *, rate: int = 24_000) -> None:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise UsageError(f"rate={rate}: must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz")
        self._rate = rate

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, the targets; sample and seed change nothing."""
        return [[self._answer(item.case, turn) for turn in item.case.turns] for item in items]

    def _answer(self, case: Case, turn: Turn) -> list[Output]:
        _require_sounds("resampled_target", case, turn)
        targets = _targets("resampled_target", case, turn)
        return [Output("audio", encode_audio(read_audio(media, self._rate), self._rate)) for media in targets]


def _targets(system: str, case: Case, turn: Turn) -> tuple[Media, ...]:
    targets = turn.parts.get("target", ())
    modalities = tuple(media.modality for media in targets)
    if modalities != turn.wants:
        found = ", ".join(modalities) or "none"
        raise UsageError(
            f"case {case.id}: {system} needs a part 'target' with {', '.join(turn.wants)}; the case has {found}"
        )
    return targets


def _input(case: Case, turn: int, modality: Modality, which: str = "auto") -> Media | None:
    """An input of the turn of this number, or of the latest before it that has one of the modality."""
    last = which == "last" or (which == "auto" and case.tags.get("task") == EXEMPLAR)
    for said in reversed(case.turns[: turn + 1]):
        if found := [media for media in said.inputs if media.modality == modality]:
            return found[-1 if last else 0]
    return None


def _require_sounds(system: str, case: Case, turn: Turn) -> None:
    other = [modality for modality in turn.wants if modality != "audio"]
    if other:
        raise UsageError(f"case {case.id} wants {other[0]}; {system} answers with sounds only")


def _noise(case: Case, turn: int, wanted: Modality, seed: int) -> Output:
    draws = np.random.default_rng(seed)
    given = _input(case, turn, wanted)
    match wanted:
        case "image":
            return Output("image", encode_image(_noisy_picture(given, draws)))
        case "audio":
            return Output("audio", encode_audio(_noisy_sound(given, draws), NOISE_RATE))
    raise UsageError(f"case {case.id} wants {wanted}; noise answers with pictures and sounds only")


def _noisy_picture(given: Media | None, draws: np.random.Generator) -> Image.Image:
    width, height = read_image(given).size if given else (NOISE_SIDE, NOISE_SIDE)
    return Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _noisy_sound(given: Media | None, draws: np.random.Generator) -> NDArray[np.float64]:
    samples, loudness = NOISE_SECONDS * NOISE_RATE, NOISE_LOUDNESS
    if given:
        sound = read_audio(given, NOISE_RATE)
        samples, loudness = len(sound), float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))
    drawn = draws.standard_normal(samples)
    # To the very RMS, which a short draw of deviation 1 does not have.
    scaled: NDArray[np.float64] = drawn * (loudness / np.sqrt(np.mean(drawn**2)))
    return scaled


def _unchanged(media: Media) -> Output:
    return Output(media.modality, media.text if media.modality == "text" else read_bytes(media.uri))
