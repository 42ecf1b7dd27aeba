"""From what a system answered to what the store holds: checked, decoded once to the end, looked at, kept by digest."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.degenerate import flags_of_media, flags_of_text
from harness.identity import digest_bytes
from harness.media import MediaError, decode, sniff
from harness.nouns import Case, Item, Media, Output, Turn
from harness.store import Store

# Waiting for the disk, or for an object store, is most of the work of keeping files, and decoders let go of the lock.
WRITERS = 8


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """The outputs of one turn as they are kept, what is wrong with any of them (harness.degenerate), sorted, and their
    traces (empty where no output has one)."""

    outputs: tuple[Media, ...]
    flags: tuple[str, ...]
    traces: tuple[bytes, ...]


def keep_answers(
    store: Store, folder: str, items: Sequence[Item], answers: Sequence[Sequence[Sequence[Output]]]
) -> list[list[KeptTurn]]:
    """The kept turns of each item.

    Raises ValueError where an answer has other turns or outputs than were wanted, harness.media.MediaError for bytes
    that do not decode as what the system calls them, harness.store.StoreError where they cannot be written.
    """
    if len(answers) != len(items):
        raise ValueError(f"the system gave {len(answers)} answers to {len(items)} items")

    def kept(item: Item, answer: Sequence[Sequence[Output]]) -> list[KeptTurn]:
        return _kept_case(store, folder, item.case, answer)

    if all(modality == "text" for item in items for turn in item.case.turns for modality in turn.wants):
        return list(map(kept, items, answers))
    with ThreadPoolExecutor(WRITERS) as threads:
        return list(threads.map(kept, items, answers))


def _kept_case(store: Store, folder: str, case: Case, answer: Sequence[Sequence[Output]]) -> list[KeptTurn]:
    if len(answer) != len(case.turns):
        raise ValueError(f"the system answered {len(answer)} turns of {len(case.turns)}")
    return [_kept_turn(store, folder, turn, outputs) for turn, outputs in zip(case.turns, answer, strict=True)]


def _kept_turn(store: Store, folder: str, turn: Turn, outputs: Sequence[Output]) -> KeptTurn:
    given = tuple(output.modality for output in outputs)
    if given != turn.wants:
        raise ValueError(f"the system answered {given}, and {turn.wants} was wanted")
    kept = [_kept(store, folder, output) for output in outputs]
    flags = {flag for _, own in kept for flag in own}
    traces = tuple(output.trace for output in outputs)
    return KeptTurn(tuple(media for media, _ in kept), tuple(sorted(flags)), traces if any(traces) else ())


def _kept(store: Store, folder: str, output: Output) -> tuple[Media, tuple[str, ...]]:
    if isinstance(output.data, str) != (output.modality == "text"):
        raise ValueError(f"the system called {type(output.data).__name__} an output of modality {output.modality}")
    if isinstance(output.data, str):
        text = Media("text", text=output.data, digest=digest_bytes(output.data.encode()))
        return text, (*output.flags, *flags_of_text(output.data))
    modality, _ = sniff(output.data)
    if modality != output.modality:
        raise MediaError(f"the system called its answer {output.modality}, and its bytes are {modality}")
    flags = flags_of_media(decode(output.data, f"the {modality} it answered with"))
    return store.put_media(folder, output.data), (*output.flags, *flags)
