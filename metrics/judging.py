"""Does an answer of the drawn world show what it should? Read by a judge, with the truth of each case in words.

Task. An instruction asks for some of what an answer shows ("make it blue"), and the rest is to stay. What real suites
estimate with embeddings has a truth here: part "truth" says what the answer must show ("shape=fish colour=blue
pattern=plain background=beach"), part "asked" which attributes the instruction speaks of ("colour"), part "kept" which
others are to stay ("shape pattern background"); it is not there where all are asked.

Metrics, each 1 where all of its attributes are read right and 0 elsewhere, so that a mean is a share:

    instruction_followed  those that are asked
    subject_kept          shape, colour and pattern, of those that are to stay
    rest_kept             all that are to stay
    followed_and_kept     all that the truth has

An attribute is right where the judge gives the value of the truth more than one half (metrics.extractors.judge). What
the truth leaves out is not judged. Where nothing of the subject is to stay, `subject_kept` has no value (NaN).

Chance levels. Where truths are drawn evenly, an answer that does not look at them is right by 1/8 in shape and in
colour, 1/3 in pattern, 1/6 in the background, 1/3 in what is extra, and by the product in several
(metrics.drawn_words.chance): 1/192 of subjects, 1/3456 of all five. A copy of the source of an edit follows 0 and keeps
1; what is no picture of the world follows and keeps nothing.

Sounds. Part "truth_events" names all that must be heard ("bell rain"; "silence"), "asked_events" what the instruction
speaks of. An event is heard where the sound judge gives it more than one half (metrics.extractors.sound_judge).

    events_followed       each event that is asked is heard, or is not, as the truth has it
    events_kept           each other event is heard, or is not, as the truth has it
    events_exact          both

Their chance depends on the question: silence follows each instruction to remove something, and keeps what is not there.
An answer with two events that does not look at the truth is exact in 1/120 of truths with two, all pairs as likely.

A turn with several outputs has one truth for all of them, or one for each, in order; an output beyond these has none
(NaN). Words that contradict each other (a truth without values, an attribute asked of which there is no truth) raise
UsageError naming the case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.nouns import Features, Metric, Need
from metrics.drawn_words import ATTRIBUTES, EVENTS, SIZE, SUBJECT, columns
from metrics.turns import rows_by_turn, turns_of

READ = 0.5
"""A value or an event is read where its probability is over this."""

Flags = NDArray[np.bool_]

IS_SUBJECT = np.isin(ATTRIBUTES, SUBJECT)


@dataclass(frozen=True, slots=True)
class Words:
    """What the words of one text say, as the rows of `truth-words` have it, of many texts.

    `values` (rows, 28), `attributes` (rows, 5) and `events` (rows, 16) are True where one is named.
    """

    values: Flags
    attributes: Flags
    events: Flags

    @classmethod
    def of(cls, rows: NDArray[np.floating]) -> Words:
        """Of rows (rows, 49)."""
        flags = np.asarray(rows) > READ
        return cls(*np.split(flags, [SIZE, SIZE + len(ATTRIBUTES)], axis=1))


def instruction_followed(output: Features, truth: Features, asked: Features) -> NDArray[np.float64]:
    """1 where all that is asked is right, else 0: (rows of output,), NaN without a truth."""
    return _all_right(output, truth, asked, np.ones_like(IS_SUBJECT))


def subject_kept(output: Features, truth: Features, kept: Features) -> NDArray[np.float64]:
    """1 where shape, colour and pattern are right, as far as they are to stay, else 0: (rows of output,), or NaN."""
    return _all_right(output, truth, kept, IS_SUBJECT)


def rest_kept(output: Features, truth: Features, kept: Features) -> NDArray[np.float64]:
    """1 where all is right that is to stay, else 0: (rows of output,), NaN without a truth."""
    return _all_right(output, truth, kept, np.ones_like(IS_SUBJECT))


def followed_and_kept(output: Features, truth: Features) -> NDArray[np.float64]:
    """1 where all is right that the truth has, else 0: (rows of output,), NaN without a truth."""
    right, known, _ = _read(output, truth)
    return _share(right, known)


def events_followed(output: Features, truth: Features, asked: Features) -> NDArray[np.float64]:
    """1 where each asked event is heard as the truth has it, else 0: (rows of output,), NaN without a truth."""
    right, rows = _heard(output, truth)
    return _share(right, _asked_events(output, asked) & rows)


def events_kept(output: Features, truth: Features, asked: Features) -> NDArray[np.float64]:
    """1 where each event that is not asked is heard as the truth has it, else 0: (rows of output,), NaN likewise."""
    right, rows = _heard(output, truth)
    return _share(right, ~_asked_events(output, asked) & rows)


def events_exact(output: Features, truth: Features) -> NDArray[np.float64]:
    """1 where those events are heard that the truth has and no others: (rows of output,), NaN without a truth."""
    right, rows = _heard(output, truth)
    return _share(right, np.broadcast_to(rows, right.shape))


def _all_right(output: Features, truth: Features, named: Features, among: Flags) -> NDArray[np.float64]:
    """1 where the attributes that are named, among these (5,), are all right, else 0; NaN where there are none."""
    right, known, judged = _read(output, truth)
    own, given = _own(output, named)
    attributes = Words.of(own).attributes
    _refuse(output, given & ~attributes.any(axis=1), 'what is asked or kept names no attribute; "colour" would do')
    unknown = (attributes & ~known).any(axis=1)
    _refuse(output, given & judged & unknown, "an attribute is asked or kept of which the truth has no value")
    return _share(right, attributes & among & known & given[:, None])


def _read(output: Features, truth: Features) -> tuple[Flags, Flags, Flags]:
    """Which attributes of each output are right, which its truth has, (rows, 5) both; and whether it has a truth."""
    own, given = _own(output, truth)
    values = Words.of(own).values
    _refuse(output, given & ~values.any(axis=1), 'part "truth" names no value; "shape=fish colour=red" would do')
    shown = values & (np.asarray(output.values) > READ)
    parts = [columns(attribute) for attribute in ATTRIBUTES]
    right = np.stack([shown[:, part].any(axis=1) for part in parts], axis=1)
    known = np.stack([values[:, part].any(axis=1) for part in parts], axis=1)
    return right, known, given


def _heard(output: Features, truth: Features) -> tuple[Flags, Flags]:
    """Which events of each output are heard or not as in its truth, (rows, 16); and whether it has one, (rows, 1)."""
    own, given = _own(output, truth)
    words = Words.of(own)
    others = np.concatenate([words.values, words.attributes], axis=1)
    _refuse(output, np.asarray(others.any(axis=1)), 'part "truth_events" is of a picture; "bell rain" would do')
    return (np.asarray(output.values) > READ) == words.events, given[:, None]


def _asked_events(output: Features, asked: Features) -> Flags:
    own, given = _own(output, asked)
    events = Words.of(own).events
    _refuse(output, given & ~events.any(axis=1), 'part "asked_events" names no event; "bell" would do')
    return events & given[:, None]


def _own(output: Features, words: Features) -> tuple[NDArray[np.float64], Flags]:
    """The words that belong to each output, (rows of output, 49), zeros where there are none; and whether there are."""
    rows = rows_by_turn(words)
    own, given = np.zeros((len(output.case), SIZE + len(ATTRIBUTES) + len(EVENTS))), np.zeros(len(output.case), bool)
    for index, (turn, number) in enumerate(zip(turns_of(output), output.output.tolist(), strict=True)):
        texts = rows.get(turn, [])
        if len(texts) == 1 or number < len(texts):
            own[index], given[index] = words.values[texts[number if len(texts) > 1 else 0]], True
    return own, given


def _share(right: Flags, counted: Flags) -> NDArray[np.float64]:
    """1 where all that counts is right, 0 where some is not, NaN where nothing counts: (rows,)."""
    whole = (right | ~counted).all(axis=1).astype(np.float64)
    return np.where(counted.any(axis=1), whole, np.nan)


def _refuse(output: Features, wrong: Flags, why: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UsageError(f"case {output.case[row]}, turn {output.turn[row]}: {why}")


def _metric(name: str, judge: str, compute: Callable[..., NDArray[np.float64]], **parts: str) -> Metric:
    """`parts` are those of the words that the metric looks at, by the names it has for them."""
    words = {role: Need("truth-words", (part,)) for role, part in parts.items()}
    return Metric(name, 1, "sample", "higher", (0.0, 1.0), {"output": Need(judge, ("output",)), **words}, compute)


PICTURES, SOUNDS = "judge-tiny", "sound-judge-tiny"

INSTRUCTION_FOLLOWED = _metric("instruction_followed", PICTURES, instruction_followed, truth="truth", asked="asked")
SUBJECT_KEPT = _metric("subject_kept", PICTURES, subject_kept, truth="truth", kept="kept")
REST_KEPT = _metric("rest_kept", PICTURES, rest_kept, truth="truth", kept="kept")
FOLLOWED_AND_KEPT = _metric("followed_and_kept", PICTURES, followed_and_kept, truth="truth")

EVENTS_FOLLOWED = _metric("events_followed", SOUNDS, events_followed, truth="truth_events", asked="asked_events")
EVENTS_KEPT = _metric("events_kept", SOUNDS, events_kept, truth="truth_events", asked="asked_events")
EVENTS_EXACT = _metric("events_exact", SOUNDS, events_exact, truth="truth_events")
