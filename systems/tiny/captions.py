"""What the drawn world calls a scene, its subject, and the events of a sound, in the words that its folder holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness.drawn_world import World


def scene(values: Mapping[str, str], world: World) -> str:
    """ "a red striped fish on the beach with a balloon", of values by attribute."""
    extra = values["extra"]
    return f"{subject(values)} {world.where[values['background']]}{'' if extra == 'nothing' else f' with a {extra}'}"


def subject(values: Mapping[str, str]) -> str:
    """ "a red striped fish", "an orange ball": a plain subject has no word for its pattern."""
    words = [values["colour"], *([] if values["pattern"] == "plain" else [values["pattern"]]), values["shape"]]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def sound(events: Collection[str], world: World) -> str:
    """ "a bell", "a bell and rain", in the order in which events are numbered; "silence" where there is none."""
    names = [world.heard[event] for event in world.events if event in events]
    return " and ".join(names) or "silence"
