"""What a chat leaves: a folder with every medium that was answered, and transcript.jsonl.

The transcript's first line is about the chat, each further one is a turn that was answered: its number, that of its
conversation, what was said (texts, paths and digests of files) and answered (texts, files and their digests, flags),
and the seconds it took. It is written turn by turn, after the turn's files: a killed chat loses the turn under way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.identity import digest_bytes
from harness.media import sniff
from harness.nouns import Media, Modality, Output

FILE = "transcript.jsonl"
FORMAT, VERSION = "anybench-chat", 1


@dataclass(frozen=True, slots=True)
class Answered:
    """One output: its text, or the path and digest of its file; `flags` is what is wrong with it."""

    modality: Modality
    text: str = ""
    path: str = ""
    digest: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A turn that was answered."""

    inputs: tuple[Media, ...]
    answer: tuple[Answered, ...]


@dataclass
class Transcript:
    """The folder of a chat; `turns` were answered so far."""

    folder: Path
    turns: int = field(default=0, init=False)

    @classmethod
    def begin(cls, folder: Path, head: Mapping[str, Any]) -> Transcript:
        """Make the folder and write the first line; UsageError where it holds something, or cannot be written."""
        require_new(folder)
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        begun = cls(folder)
        begun._append({"format": FORMAT, "version": VERSION, **head})
        return begun

    def keep(self, conversation: int, inputs: tuple[Media, ...], outputs: Sequence[Output], seconds: float) -> Exchange:
        """Write a turn down: media as turn-01-1.png, turn-01-2.flac, ..., then its line. UsageError where it cannot."""
        self.turns += 1
        answer = tuple(self._kept(outputs))
        turn = {"conversation": conversation, "turn": self.turns, "seconds": round(seconds, 3)}
        said = [_text(one) if one.modality == "text" else _file(one, one.uri) for one in inputs]
        self._append({**turn, "inputs": said, "outputs": [*map(_output, answer)]})
        return Exchange(inputs, answer)

    def _kept(self, outputs: Sequence[Output]) -> Iterator[Answered]:
        number = 0
        for one in outputs:
            if isinstance(one.data, str):
                yield Answered("text", text=one.data, flags=one.flags)
                continue
            number += 1
            modality, suffix = sniff(one.data)
            path = self.folder / f"turn-{self.turns:02}-{number}{suffix}"
            with _writing(path), path.open("xb") as file:
                file.write(one.data)
            yield Answered(modality, path=str(path), digest=digest_bytes(one.data), flags=one.flags)

    def _append(self, said: Mapping[str, Any]) -> None:
        path = self.folder / FILE
        with _writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")


def require_new(folder: Path) -> None:
    """UsageError where a folder holds something, or something else is there by its name."""
    with _writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder}: is there already, and no empty folder; name a new one with --out")


def _text(one: Media) -> dict[str, Any]:
    return {"modality": "text", "text": one.text}


def _file(one: Media | Answered, name: str) -> dict[str, Any]:
    return {"modality": one.modality, "file": name, "digest": one.digest}


def _output(one: Answered) -> dict[str, Any]:
    said = {"modality": "text", "text": one.text} if one.modality == "text" else _file(one, Path(one.path).name)
    return {**said, "flags": [*one.flags]}


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
