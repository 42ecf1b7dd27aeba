"""The two systems that bound every other one: the oracle answers with the target, copy_input with what it was given.

Both hand on the bytes of the file as they stand, so nothing is encoded twice and their digests are the originals'.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UsageError
from harness.media import read_bytes
from harness.nouns import Case, Item, Media, Modality, Output, Turn


class Oracle:
    """Answers every turn with its part "target", one for each output that is wanted, in order.

    Raises UsageError naming the case where a turn has no targets, or others than it wants.
    """

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, the targets; sample and seed change nothing."""
        return [[_targets(item.case, turn) for turn in item.case.turns] for item in items]


class CopyInput:
    """Answers each output that is wanted with the first input of its modality in the same turn.

    Raises UsageError naming the case where the turn has no input of that modality.
    """

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, copies of inputs; sample and seed change nothing."""
        return [
            [[_first_input(item.case, turn, modality) for modality in turn.wants] for turn in item.case.turns]
            for item in items
        ]


def _targets(case: Case, turn: Turn) -> list[Output]:
    targets = turn.parts.get("target", ())
    modalities = tuple(media.modality for media in targets)
    if modalities != turn.wants:
        found = ", ".join(modalities) or "none"
        raise UsageError(
            f"case {case.id}: the oracle needs a part 'target' with {', '.join(turn.wants)}; the case has {found}"
        )
    return [_unchanged(media) for media in targets]


def _first_input(case: Case, turn: Turn, modality: Modality) -> Output:
    for media in turn.inputs:
        if media.modality == modality:
            return _unchanged(media)
    raise UsageError(f"case {case.id}: copy_input needs an input of modality {modality}; the turn has none")


def _unchanged(media: Media) -> Output:
    return Output(media.modality, media.text if media.modality == "text" else read_bytes(media.uri))
