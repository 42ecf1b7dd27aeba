"""How far two lots of answers to the same samples are from each other: byte by byte, pixel by pixel, score by score."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.generation import GENERATIONS, read_generations
from harness.media import MediaError, Video, decode
from harness.nouns import Generation, Media
from harness.scoring import SCORES
from harness.store import Store, StoreError, Table

# (case, sample, turn), and (metric, case, turn, sample, output).
Answer = tuple[str, int, int]
Scored = tuple[str, str, int, int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What the folder of a run holds about some of its samples: answers and errors, and their scores."""

    rows: Mapping[Answer, Generation]
    scores: Mapping[Scored, float]

    @property
    def devices(self) -> tuple[str, ...]:
        """Where the answers were made."""
        return tuple(sorted({row.device for row in self.rows.values() if row.device}))

    @property
    def batch_size(self) -> int:
        """The most samples that were answered together."""
        return max((row.batch_size for row in self.rows.values()), default=0)

    @property
    def failed(self) -> dict[tuple[str, int], str]:
        """The samples whose answer is an error, and which."""
        return {(row.case, row.sample): row.error for row in self.rows.values() if row.error}

    def of(self, cases: Collection[str]) -> Held:
        """What is held of some of the cases."""
        return Held(
            {where: row for where, row in self.rows.items() if row.case in cases},
            {where: value for where, value in self.scores.items() if where[1] in cases},
        )


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest |difference| between two lots of scores of one metric, and the sample it was found at.

    `value` is None where none could be compared; `expected` counts the scores that either lot has.
    """

    metric: str
    value: float | None
    case: str
    sample: int
    compared: int
    expected: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far one lot of answers is from another.

    `media` is by modality: the largest difference of a pixel (in levels of 255) or of a sound's sample (full scale is
    1) among the outputs that are not byte-identical. `uncompared` has a line for each thing without a counterpart.
    """

    outputs: int
    identical: int
    media: Mapping[str, float]
    metrics: tuple[Largest, ...]
    uncompared: tuple[str, ...]


def read_held(store: Store, folder: str, cases: Collection[str], samples: int) -> Held:
    """What is held of the first `samples` samples of some cases; StoreError names a damaged file."""
    rows = read_generations(Table(store, f"{folder}/generations", GENERATIONS))
    scores = Table(store, f"{folder}/scores", SCORES).read()
    return Held(
        {(one.case, one.sample, one.turn): one for one in rows if one.case in cases and one.sample < samples},
        {
            (one["metric"], one["case"], one["turn"], one["sample"], one["output"]): one["value"]
            for one in scores
            if one["case"] in cases and one["sample"] < samples
        },
    )


def without_damaged(held: Held, store: Store) -> tuple[Held, list[str]]:
    """What is held but for answers whose files are gone or are not what they were, and a line for each such file."""
    rows, lines = dict(held.rows), []
    for where, row in held.rows.items():
        for medium in row.outputs:
            try:
                if medium.modality != "text":
                    store.read_media(medium)
            except (MediaError, StoreError) as error:
                rows.pop(where, None)
                lines.append(f"case {row.case}, sample {row.sample}: the kept {medium.modality}: {error}")
    return replace(held, rows=rows), lines


def compare(kept: Held, again: Held, metrics: Sequence[str], store: Store) -> Agreement:
    """Compare the samples that were answered in both; what failed in `kept` is left to the caller to say."""
    pairs = list(_pairs(kept, again))
    other = [pair for pair in pairs if pair.kept.digest != pair.again.digest]
    distances = [(pair, _distance(pair, store)) for pair in other if pair.kept.modality != "text"]
    media: dict[str, float] = {}
    for pair, distance in distances:
        if distance is not None:
            media[pair.kept.modality] = max(distance, media.get(pair.kept.modality, 0.0))
    largest = tuple(_largest(metric, kept, again) for metric in metrics)
    failed = {sample: error for sample, error in again.failed.items() if sample not in kept.failed}
    lines = [f"case {case}, sample {sample}: failed this time: {error}" for (case, sample), error in failed.items()]
    lines += [
        f"{pair.name}: another size or length than the kept one" for pair, distance in distances if distance is None
    ]
    lines += [
        f"metric {one.metric}: {one.expected - one.compared} of {one.expected} scores have no counterpart"
        for one in largest
        if one.compared < one.expected
    ]
    return Agreement(len(pairs), len(pairs) - len(other), media, largest, tuple(lines))


@dataclass(frozen=True, slots=True)
class _Pair:
    name: str
    kept: Media
    again: Media


def _pairs(kept: Held, again: Held) -> Iterator[_Pair]:
    for where, row in kept.rows.items():
        other = again.rows.get(where)
        if other and not row.error and not other.error:
            for one, two in zip(row.outputs, other.outputs, strict=True):
                yield _Pair(f"case {row.case}, sample {row.sample}: {one.modality}", one, two)


def _distance(pair: _Pair, store: Store) -> float | None:
    """The largest difference of two media, None where they have another shape."""
    one, two = (_numbers(media, store) for media in (pair.kept, pair.again))
    return float(np.abs(one - two).max()) if one.shape == two.shape else None


def _numbers(media: Media, store: Store) -> NDArray[np.float32]:
    """Pixels (of all frames) in levels of 255, or samples of a sound."""
    decoded = decode(store.read_media(media), store.path(media.uri))
    return np.asarray(decoded.frames if isinstance(decoded, Video) else decoded, dtype=np.float32)


def _largest(metric: str, kept: Held, again: Held) -> Largest:
    """Scores that are only in one count as expected, unless the kept answer itself is an error."""
    own = {where: value for where, value in kept.scores.items() if where[0] == metric}
    new = {
        where: value
        for where, value in again.scores.items()
        if where[0] == metric and (where[1], where[3]) not in kept.failed
    }
    differences = {where: abs(own[where] - new[where]) for where in own if where in new}
    if not differences:
        return Largest(metric, None, "", 0, 0, len(own.keys() | new.keys()))
    where = max(differences, key=lambda one: differences[one])
    _, case, _, sample, _ = where
    return Largest(metric, differences[where], case, sample, len(differences), len(own.keys() | new.keys()))
