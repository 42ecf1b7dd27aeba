"""codi2.json: which frozen models a checkpoint stands on, and how it was trained to read and to answer.

    {"format": "anybench-codi2", "version": 1,
     "imagebind":      {"source": "imagebind", "digest": ""},
     "language_model": {"source": "meta-llama/Llama-2-7b-chat-hf@f5db02d...", "digest": "5ab3..."},
     "image_decoder":  {"source": "image_decoder"},
     "sound_decoder":  {"source": "sound_decoder"},
     "video_decoder":  {"source": "video_decoder"},
     "lora":    {"rank": 128, "alpha": 256},
     "reading": {"image_tokens": 257, "input_norms": "unit", "prompt_style": "llama2-chat", "feedback": true,
                 "feature_scale": 25.0}}

A checkpoint that was not trained to make sounds, or videos, names no decoder for them. Its tensors are in
codi2.safetensors (systems.codi2.checkpoint).

The numbers of docs/codi2.md that `reading` decides are 3, 4, 5, 13 and 14: they are a matter of how the checkpoint was
trained, so they stand in the checkpoint and there is no setting for them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import UsageError, one_line
from harness.records import parse, read_record

FILE = "codi2.json"
JSON_CHARACTERS = 1 << 20
SOURCE_CHARACTERS = 1024
LARGEST_RANK = 1 << 16
LARGEST_SCALE = 1e6
DIGEST = re.compile(r"([0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen model: where it is, and the digest of its bytes (systems.codi2.backbones), "" where none is stated.

    `source` is a path, relative to the checkpoint's folder, or a hub id `org/name@revision`. Raises UsageError for what
    can be neither, as the other parts do for values out of range.
    """

    source: str
    digest: str = ""

    def __post_init__(self) -> None:
        if not (self.source.isprintable() and 0 < len(self.source) <= SOURCE_CHARACTERS):
            raise UsageError("source is no name; a relative folder or file, or org/name@revision, would do")
        if not DIGEST.fullmatch(self.digest):
            raise UsageError("digest is no SHA-256 (64 hex digits, in lower case), nor empty")


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank weights on q, k, v and o of every layer: W + alpha / rank * B A."""

    rank: int
    alpha: float

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= LARGEST_RANK:
            raise UsageError(f"rank is {self.rank}; 1 to {LARGEST_RANK} would do")
        if not 0 < self.alpha <= LARGEST_SCALE:
            raise UsageError(f"alpha is {self.alpha}; above 0, up to {LARGEST_SCALE:g}, would do")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the checkpoint was trained to read and to answer.

    `image_tokens` is how many vectors of a picture the language model reads, from the class token on: 1, or all (257
    at full size). `input_norms` "unit" gives every medium a pooled vector of norm 1, "released" leaves ImageBind's own
    norms (1, 20 for sounds, the learned scale for texts). `feedback` says that a predicted feature is read again by the
    model that predicted it; without, a word of its own choice takes the slot. `feature_scale` > 0 is what the
    prediction is multiplied by to be the un-normalised embedding that the image decoder was trained with.
    """

    image_tokens: int
    input_norms: Literal["unit", "released"]
    prompt_style: Literal["llama2-chat", "human-assistant"]
    feedback: bool
    feature_scale: float

    def __post_init__(self) -> None:
        if self.image_tokens < 1:
            raise UsageError(f"image_tokens is {self.image_tokens}; 1, or all that ImageBind has, would do")
        if not 0 < self.feature_scale <= LARGEST_SCALE:
            raise UsageError(f"feature_scale is {self.feature_scale}; above 0, up to {LARGEST_SCALE:g}, would do")


@dataclass(frozen=True, slots=True)
class Description:
    """What codi2.json says."""

    imagebind: Backbone
    language_model: Backbone
    image_decoder: Backbone
    lora: Lora
    reading: Reading
    sound_decoder: Backbone | None = None
    video_decoder: Backbone | None = None


SECTIONS: tuple[tuple[str, type[Any]], ...] = (
    ("imagebind", Backbone),
    ("language_model", Backbone),
    ("image_decoder", Backbone),
    ("sound_decoder", Backbone),
    ("video_decoder", Backbone),
    ("lora", Lora),
    ("reading", Reading),
)
OPTIONAL = frozenset({"sound_decoder", "video_decoder"})
HEAD = {"format": "anybench-codi2", "version": 1}


def read_description(folder: Path) -> Description:
    """The description in a checkpoint's folder; UsageError naming file, key, and what would do."""
    file = _require(folder)
    said = read_object(file)
    for key, value in HEAD.items():
        if said.get(key) != value or isinstance(said.get(key), bool):
            raise UsageError(f'{file}: "{key}": {json.dumps(value)} is expected; other formats are not read')
    unknown = sorted(said.keys() - {*HEAD, *dict(SECTIONS)})
    if unknown:
        raise UsageError(f"{file}: {unknown[0]!r} is no key of it; they are {', '.join([*HEAD, *dict(SECTIONS)])}")
    wanted = [(name, kind) for name, kind in SECTIONS if name in said or name not in OPTIONAL]
    return Description(**{name: _read_section(file, said, name, kind) for name, kind in wanted})


def write_description(folder: Path, description: Description) -> None:
    """Writes codi2.json."""
    parts = dataclasses.asdict(description)
    said = HEAD | {name: parts[name] for name, _ in SECTIONS if parts[name] is not None}
    (folder / FILE).write_text(json.dumps(said, indent=2) + "\n", "utf-8")


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file of bounded size; UsageError naming the file where it is none."""
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(JSON_CHARACTERS + 1)
        if len(text) > JSON_CHARACTERS:
            raise UsageError(f"{file} is over the limit of {JSON_CHARACTERS:,} characters for JSON")
        said = parse(text)
    except (ValueError, OSError) as error:
        raise UsageError(f"{file} is not JSON: {one_line(error)}") from error
    if not isinstance(said, dict):
        raise UsageError(f"{file} is not a JSON object")
    return said


def _require(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; give a CoDi-2 checkpoint's folder, or a hub id as org/name@revision")
    if not (folder / FILE).is_file():
        raise UsageError(f"{folder}: {FILE} is missing, so this is no CoDi-2 checkpoint; docs/codi2.md has the format")
    return folder / FILE


def _read_section(file: Path, said: dict[str, Any], name: str, kind: type[Any]) -> Any:
    if name not in said:
        raise UsageError(f"{file}: {name} is missing; it holds {', '.join(f.name for f in dataclasses.fields(kind))}")
    try:
        return read_record(kind, said[name])
    except (ValueError, UsageError) as error:
        raise UsageError(f"{file}: {name}: {one_line(error)}") from error
