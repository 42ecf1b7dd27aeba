"""Which rows of two features belong together: those of the same case and turn."""

from __future__ import annotations

from harness.nouns import Features

Turn = tuple[str, int]


def turns_of(features: Features) -> list[Turn]:
    """The case and turn of each row."""
    return list(zip(features.case.tolist(), features.turn.tolist(), strict=True))


def rows_by_turn(features: Features) -> dict[Turn, list[int]]:
    """The indices of the rows of each case and turn, in order."""
    own: dict[Turn, list[int]] = {}
    for row, turn in enumerate(turns_of(features)):
        own.setdefault(turn, []).append(row)
    return own
