"""How many cases of each kind the suites of a folder have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CasePlan:
    """Of each kind of a suite there are so many.

    `subjects` with `prompts` of the ten each; `edits` of each of six kinds; `examples` of each of exemplar, concept and
    composition; `conversations` of two kinds; `sounds` of each of add, drop and replace, `sound_examples` likewise,
    `sound_conversations` of two kinds. Cases of sounds draw on `stems` of each event.
    """

    subjects: int
    prompts: int
    edits: int
    examples: int
    conversations: int
    sounds: int
    sound_examples: int
    sound_conversations: int
    stems: int


FULL = CasePlan(
    subjects=24,
    prompts=10,
    edits=50,
    examples=80,
    conversations=30,
    sounds=50,
    sound_examples=20,
    sound_conversations=15,
    stems=20,
)
"""What `anybench build tinyworld` makes."""

SMALL = CasePlan(
    subjects=24,
    prompts=2,
    edits=8,
    examples=12,
    conversations=6,
    sounds=8,
    sound_examples=4,
    sound_conversations=6,
    stems=2,
)
"""What the repository ships: few enough sounds for two megabytes."""
