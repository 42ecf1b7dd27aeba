"""A suite's cases as a run holds them: every medium by its digest, kept once in the store.

Nothing but the store is shared between machines, so whatever a case shows to a system or an extractor is put there
first. Pictures are decoded once on the way in (of sound and video the format is looked at): a damaged photograph stops
the run with its name, before any GPU is used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import media
from harness.identity import digest_bytes, digest_file
from harness.nouns import Case, Media, Turn
from harness.store import Store, StoreError

INPUTS = "inputs"
DECODERS = 4


@dataclass(frozen=True, slots=True)
class Inputs:
    """Cases whose media are named by digest, and the local file behind each store path."""

    cases: tuple[Case, ...]
    sources: Mapping[str, Media]


def by_digest(cases: Sequence[Case]) -> Inputs:
    """Give every medium its digest, and its place in the store for a uri; reads each file once."""
    sources: dict[str, Media] = {}
    seen: dict[str, Media] = {}

    def named(one: Media) -> Media:
        if one.modality == "text":
            return dataclasses.replace(one, digest=digest_bytes(one.text.encode()))
        if one.uri not in seen:
            digest = digest_file(Path(one.uri))
            place = f"{INPUTS}/{digest}{Path(one.uri).suffix.lower()}"
            seen[one.uri] = Media(one.modality, uri=place, digest=digest)
            sources[place] = dataclasses.replace(one, digest=digest)
        return seen[one.uri]

    return Inputs(tuple(with_media(case, named) for case in cases), sources)


def put(store: Store, inputs: Inputs, cases: Mapping[str, Case]) -> None:
    """Copy what these cases (by id) hold into the store, each file once.

    Raises harness.media.MediaError, which names the file, for one that cannot be decoded.
    """
    wanted = {one.uri for case in cases.values() for one in media_of(case) if one.uri}
    with ThreadPoolExecutor(DECODERS) as threads:
        list(threads.map(lambda place: _put(store, place, inputs.sources[place]), sorted(wanted)))


def with_media(case: Case, change: Callable[[Media], Media]) -> Case:
    """The case with every medium changed."""
    return dataclasses.replace(case, turns=tuple(_turn_with_media(turn, change) for turn in case.turns))


def handed_out(case: Case, store: Store, parts: bool) -> Case:
    """The case as a system gets it: full paths, and the parts only where it may see them."""
    full = with_media(case, lambda one: in_full(one, store))
    if parts:
        return full
    return dataclasses.replace(full, turns=tuple(dataclasses.replace(turn, parts={}) for turn in full.turns))


def in_full(one: Media, store: Store) -> Media:
    """A medium of the store with its full path or URL."""
    return dataclasses.replace(one, uri=store.path(one.uri)) if one.uri else one


def media_of(case: Case) -> Iterator[Media]:
    """Every medium of a case: inputs and parts of all its turns."""
    for turn in case.turns:
        yield from turn.inputs
        for part in turn.parts.values():
            yield from part


def write_cases(store: Store, folder: str, cases: Sequence[Case]) -> None:
    """Write a run's cases as JSON lines."""
    lines = "".join(json.dumps(dataclasses.asdict(case)) + "\n" for case in cases)
    store.write(f"{folder}/cases.jsonl", lines.encode())


def read_cases(store: Store, folder: str) -> tuple[Case, ...]:
    """The cases that `write_cases` wrote; StoreError when they are not there or damaged."""
    name = f"{folder}/cases.jsonl"
    try:
        return tuple(_case(json.loads(line)) for line in store.read(name).decode().splitlines())
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{store.path(name)}: damaged; the run's own line writes it anew") from error


def _case(said: dict[str, Any]) -> Case:
    return Case(said["id"], tuple(map(_turn, said["turns"])), said["tags"])


def _turn(said: dict[str, Any]) -> Turn:
    return Turn(
        inputs=tuple(Media(**one) for one in said["inputs"]),
        wants=tuple(said["wants"]),
        parts={role: tuple(Media(**one) for one in part) for role, part in said["parts"].items()},
    )


def _turn_with_media(turn: Turn, change: Callable[[Media], Media]) -> Turn:
    return dataclasses.replace(
        turn,
        inputs=tuple(map(change, turn.inputs)),
        parts={role: tuple(map(change, part)) for role, part in turn.parts.items()},
    )


def _put(store: Store, place: str, source: Media) -> None:
    if store.exists(place):
        return
    data = media.read_bytes(source.uri)
    if source.modality == "image":
        media.read_image(source)
    else:
        media.sniff(data)
    store.write(place, data)
