"""A suite's cases as a run holds them: every medium by its digest, kept once in the store.

Nothing but the store is shared between machines, so whatever a case shows to a system or an extractor is put there
first. Pictures are decoded once on the way in (of sound and video the format is looked at): a damaged photograph stops
the run with its name, before any GPU is used.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from harness import media
from harness.errors import UsageError, one_line
from harness.identity import case_to_data, digest_bytes, digest_cases, digest_file
from harness.nouns import Case, Media, Modality, Turn
from harness.records import parse
from harness.store import Store, StoreError

INPUTS = "inputs"
DECODERS = 4
MODALITIES = frozenset(get_args(Modality))


@dataclass(frozen=True, slots=True)
class Inputs:
    """Cases whose media are named by digest, and the local file behind each store path."""

    cases: tuple[Case, ...]
    sources: Mapping[str, Media]


def by_digest(cases: Sequence[Case]) -> Inputs:
    """Give every medium its digest, and its place in the store for a uri; reads each file once.

    Raises UsageError, which names the case, for a file that is not there, and for a text that is none: one with a lone
    surrogate, which no file can hold as UTF-8.
    """
    sources: dict[str, Media] = {}
    seen: dict[str, Media] = {}

    def named(one: Media) -> Media:
        if one.modality == "text":
            return Media("text", text=one.text, digest=digest_bytes(one.text.encode()))
        if one.uri not in seen:
            if not os.path.isfile(one.uri):
                raise FileNotFoundError(errno.ENOENT, "no such file", one.uri)
            digest = digest_file(Path(one.uri))
            place = f"{INPUTS}/{digest}{Path(one.uri).suffix.lower()}"
            seen[one.uri] = Media(one.modality, uri=place, digest=digest)
            sources[place] = dataclasses.replace(one, digest=digest)
        return seen[one.uri]

    def whole(case: Case) -> Case:
        try:
            return with_media(case, named)
        except UnicodeEncodeError as error:
            raise UsageError(f"case {case.id}: a text holds half a character: {one_line(error)}") from error
        except OSError as error:
            raise UsageError(f"case {case.id}: {error.filename}: {error.strerror}") from error

    return Inputs(tuple(map(whole, cases)), sources)


def put(store: Store, inputs: Inputs, cases: Mapping[str, Case]) -> None:
    """Copy what these cases (by id) hold into the store, each file once.

    Raises harness.media.MediaError, which names the file, for one that cannot be decoded.
    """
    wanted = {one.uri for case in cases.values() for one in media_of(case) if one.uri}
    with ThreadPoolExecutor(DECODERS) as threads:
        list(threads.map(lambda place: _put(store, place, inputs.sources[place]), sorted(wanted)))


def with_media(case: Case, change: Callable[[Media], Media]) -> Case:
    """The case with every medium changed."""
    return Case(case.id, tuple(_turn_with_media(turn, change) for turn in case.turns), case.tags)


def handed_out(case: Case, store: Store, parts: bool) -> Case:
    """The case as a system gets it: full paths, and the parts only where it may see them."""
    shown = case if parts else Case(case.id, tuple(Turn(one.inputs, one.wants) for one in case.turns), case.tags)
    return with_media(shown, lambda one: in_full(one, store))


def in_full(one: Media, store: Store) -> Media:
    """A medium of the store with its full path or URL."""
    return dataclasses.replace(one, uri=store.path(one.uri)) if one.uri else one


def media_of(case: Case) -> Iterator[Media]:
    """Every medium of a case: inputs and parts of all its turns."""
    for turn in case.turns:
        yield from turn.inputs
        for part in turn.parts.values():
            yield from part


def stored_medium(said: Mapping[str, Any]) -> Media:
    """A medium as a file of the store tells of it: text, or a file of the store that is named by its digest.

    Raises ValueError for anything else: a path that leads elsewhere, or has no digest to be checked by, was written by
    somebody else.
    """
    medium = Media(**said)
    _require(medium.modality in MODALITIES and all(isinstance(one, str) for one in said.values()))
    if medium.modality == "text":
        _require(not medium.uri)
    else:
        folder, _, name = medium.uri.rpartition("/")
        _require(re.fullmatch("[0-9a-f]{64}", medium.digest) is not None and name.startswith(medium.digest))
        _require("://" not in folder and "\0" not in medium.uri and not {"", ".."} & {*folder.split("/")})
    return medium


def write_cases(store: Store, folder: str, cases: Sequence[Case]) -> None:
    """Write a run's cases as JSON lines."""
    lines = "".join(json.dumps(case_to_data(case)) + "\n" for case in cases)
    store.write(f"{folder}/cases.jsonl", lines.encode())


def read_cases(store: Store, folder: str, data: str = "") -> tuple[Case, ...]:
    """The cases that `write_cases` wrote; StoreError when they are not there or damaged.

    `data` is the digest that a run's identity has of them, so that not one of them is lost or changed unseen.
    """
    name = f"{folder}/cases.jsonl"
    try:
        cases = tuple(_case(parse(line)) for line in store.read(name).decode().splitlines())
        _require(data in ("", digest_cases(cases)))
        return cases
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{store.path(name)}: damaged; the run's own line writes it anew") from error


def _case(said: dict[str, Any]) -> Case:
    tags = said["tags"]
    _require(all(isinstance(one, str) for one in (said["id"], *tags, *tags.values())))
    return Case(said["id"], tuple(map(_turn, said["turns"])), tags)


def _turn(said: dict[str, Any]) -> Turn:
    _require(all(one in MODALITIES for one in said["wants"]))
    return Turn(
        inputs=tuple(map(stored_medium, said["inputs"])),
        wants=tuple(said["wants"]),
        parts={role: tuple(map(stored_medium, part)) for role, part in said["parts"].items()},
    )


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("not what is written here")


def _turn_with_media(turn: Turn, change: Callable[[Media], Media]) -> Turn:
    parts = {role: tuple(map(change, part)) for role, part in turn.parts.items()}
    return Turn(tuple(map(change, turn.inputs)), turn.wants, parts)


def _put(store: Store, place: str, source: Media) -> None:
    if store.exists(place):
        return
    data = media.read_bytes(source.uri)
    if source.modality == "image":
        media.read_image(source)
    else:
        media.sniff(data)
    store.write(place, data)
