"""Cases about sounds: one is added, dropped or replaced, as words say, or an example, or round after round.

Every mixture that is heard or asked for is of a pair of events that only this split lets be heard together. What a case
knows of its truth: "truth_events" are all events that must be heard in the answer, in alphabetical order;
"asked_events" those that the instruction speaks of. Targets are sums of stems, to the sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

from benchmarks.tinyworld.asking import text_of
from benchmarks.tinyworld.attributes import EVENTS, HEARD, heard, split_of_events
from benchmarks.tinyworld.folder import Medium, Round, Row, Stem, Studio
from benchmarks.tinyworld.plans import CasePlan
from benchmarks.tinyworld.words import PLAY, SOUND_EDITS, known, said

TASKS = ("add", "drop", "replace")
KINDS = ("remove", "replace")
"""What the last round of a conversation does to the first sound."""


def audio(studio: Studio, plan: CasePlan) -> list[Row]:
    """Add, drop, replace: as many of each."""
    return [_edit_row(studio, plan, task, number) for task in TASKS for number in range(plan.sounds)]


def incontext_audio(studio: Studio, plan: CasePlan) -> list[Row]:
    """The same by example: before, after, and another sound to be changed likewise."""
    return [_example_row(studio, plan, task, number) for task in TASKS for number in range(plan.sound_examples)]


def conversation_audio(studio: Studio, plan: CasePlan) -> list[Row]:
    """Make a sound, add another, and remove or replace the first."""
    return [_conversation(studio, plan, kind, number) for kind in KINDS for number in range(plan.sound_conversations)]


def _edit_row(studio: Studio, plan: CasePlan, task: str, number: int) -> Row:
    draws = studio.draws(f"tiny-audio {task}", number)
    # base, then what is added or dropped, then what stands in its place
    found = [events for events in permutations(EVENTS, 3 if task == "replace" else 2) if _together(studio, events)]
    events = found[(5 * number) % len(found)]
    stems = [Stem(event, int(draws.integers(plan.stems))) for event in events]
    base, old, new = _roles(task, stems)
    words = {"old": known(old.event) if old else "", "new": HEARD[new.event] if new else ""}
    instruction = text_of(said(SOUND_EDITS[task], draws, **words))
    before, after = _before_after(task, stems)
    source, parts = studio.sound(*before), _parts(studio, after, (one for one in (old, new) if one))
    parts |= {"source": (source,), "base": (studio.sound(base),), "instruction": (instruction,)}
    if new:
        parts |= {"event": (studio.sound(new),), "event_text": (text_of(HEARD[new.event]),)}
    if old:
        parts |= {"removed": (studio.sound(old),), "removed_text": (text_of(HEARD[old.event]),)}
    tags = {
        "task": task,
        "pair": _pair(events),
        "event": HEARD[new.event] if new else "",
        "removed": HEARD[old.event] if old else "",
        "caption": heard(stem.event for stem in after),
    }
    return Row(f"{task}-{number:02d}-{'-'.join(events)}", (Round((source, instruction), ("audio",), parts),), tags)


def _example_row(studio: Studio, plan: CasePlan, task: str, number: int) -> Row:
    draws = studio.draws(f"tiny-incontext-audio {task}", number)
    changed = 2 if task == "replace" else 1
    found = [
        events
        for events in permutations(EVENTS, 2 + changed)
        if all(_together(studio, (one, *events[2:])) for one in events[:2])
    ]
    first, second, *events = found[(5 * number) % len(found)]
    example, asked = (
        [Stem(event, int(draws.integers(plan.stems))) for event in (kept, *events)] for kept in (first, second)
    )
    base, old, new = _roles(task, asked)
    before, after = _before_after(task, asked)
    inputs = tuple(studio.sound(*stems) for stems in (*_before_after(task, example), before))
    parts = _parts(studio, after, (one for one in (old, new) if one))
    parts |= {"source": (inputs[-1],), "base": (studio.sound(base),)}
    parts |= {"event": (studio.sound(new),)} if new else {}
    parts |= {"removed": (studio.sound(old),)} if old else {}
    tags = {"task": "exemplar", "edit": task, "pair": _pair((second, *events))}
    name = "-".join((first, second, *events))
    return Row(f"{task}-{number:02d}-{name}", (Round(inputs, ("audio",), parts),), tags)


def _conversation(studio: Studio, plan: CasePlan, kind: str, number: int) -> Row:
    draws = studio.draws(f"tiny-conversation-audio {kind}", number)
    # the second is heard with the first, and with what stands in the first one's place
    found = [events for events in permutations(EVENTS, 3) if _together(studio, (events[1], events[0], events[2]))]
    stems = [Stem(event, int(draws.integers(plan.stems))) for event in found[(5 * number) % len(found)]]
    first, second, third = stems
    last = [second] if kind == "remove" else [second, third]
    play = said(PLAY, draws, caption=HEARD[first.event])
    add = said(SOUND_EDITS["add"], draws, new=HEARD[second.event])
    edit = SOUND_EDITS["drop" if kind == "remove" else "replace"]
    change = said(edit, draws, old=known(first.event), new=HEARD[third.event])
    rounds = (
        _round(studio, play, [first], [first]),
        _round(studio, add, [first, second], [second]),
        _round(studio, change, last, [first, *last[1:]]),
    )
    tags = {"task": "conversation", "kind": kind, "pair": _pair((first.event, second.event))}
    return Row(f"{kind}-{number:02d}-{'-'.join(stem.event for stem in stems)}", rounds, tags)


def _round(studio: Studio, words: str, after: list[Stem], asked: list[Stem]) -> Round:
    return Round((text_of(words),), ("audio",), _parts(studio, after, asked))


def _parts(studio: Studio, after: Iterable[Stem], asked: Iterable[Stem]) -> dict[str, tuple[Medium, ...]]:
    stems = list(after)
    target = (studio.sound(*stems),)
    return {
        "truth_events": (text_of(" ".join(sorted(stem.event for stem in stems))),),
        "asked_events": (text_of(" ".join(sorted(stem.event for stem in asked))),),
        "target": target,
        "reference": target,
        "prompt": (text_of(heard(stem.event for stem in stems)),),
    }


def _together(studio: Studio, events: tuple[str, ...]) -> bool:
    """Whether the first may be heard with each of the others in this split alone."""
    return all(split_of_events((events[0], other)) == studio.split for other in events[1:])


def _pair(events: Sequence[str]) -> str:
    """What cases of the same two events share, which are not independent of each other: "bell-rain"."""
    return "-".join(sorted(events[:2]))


def _roles(task: str, stems: list[Stem]) -> tuple[Stem, Stem | None, Stem | None]:
    """What stays, what goes, what comes."""
    roles: Mapping[str, tuple[Stem, Stem | None, Stem | None]] = {
        "add": (stems[0], None, stems[1]),
        "drop": (stems[0], stems[1], None),
        "replace": (stems[0], stems[1], stems[-1]),
    }
    return roles[task]


def _before_after(task: str, stems: list[Stem]) -> tuple[list[Stem], list[Stem]]:
    base, old, new = _roles(task, stems)
    return [base, *([old] if old else [])], [base, *([new] if new else [])]
