"""The sizes of an ImageBind, modality by modality, and the file that keeps them (config.json of a checkpoint's folder).

Source of `HUGE`: `imagebind_huge` of the official code (imagebind/models/imagebind_model.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError, one_line
from harness.records import RecordError, parse, read_record

MODEL_TYPE = "imagebind"
CONFIG_FILE = "config.json"
CONFIG_BYTES = 1 << 20
# Beyond these a file is damaged; a billion blocks would take for ever to build.
LARGEST, MOST_BLOCKS = 1 << 20, 1000
# The ids of a text are 256 bytes, the same at the end of a word, one for each merge, start and end; CLIP's merges.
IDS_WITHOUT_MERGES, MERGES = 514, 48894

MODALITIES = ("vision", "text", "audio", "depth", "thermal", "imu")
# What a conversation is made of. A video is a matter of the vision tower too.
PERCEIVED = ("vision", "text", "audio")


@dataclass(frozen=True, slots=True)
class Trunk:
    """A transformer: `width` of a token, `blocks`, and `heads`, which divide the width."""

    width: int
    blocks: int
    heads: int


@dataclass(frozen=True, slots=True)
class Vision(Trunk):
    """Square pictures of `picture` pixels a side in patches of `patch`, and videos of `frames` such pictures.

    `stem` is the channels of convolutions that each halve the picture before it is cut into what is left of the
    patches; the official towers have none.
    """

    picture: int = 224
    patch: int = 14
    frames: int = 2
    stem: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Text(Trunk):
    """`context` ids below `vocabulary`, under a causal mask: CLIP's byte-pair encoding with its first merges.

    The official vocabulary has all 48,894 merges; one of V ids has the first V - 514 (systems.imagebind.tokenizer).
    """

    vocabulary: int = IDS_WITHOUT_MERGES + MERGES
    context: int = 77


@dataclass(frozen=True, slots=True)
class Sheet(Trunk):
    """A picture of one channel, `height` x `length`, in square patches of `patch` that are `stride` apart.

    Depth and thermal pictures, and the spectrogram of a sound: mel bands x frames. `stem` is as in `Vision`.
    """

    height: int = 224
    length: int = 224
    patch: int = 16
    stride: int = 16
    stem: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Imu(Trunk):
    """`samples` of an inertial unit's `channels`, `window` of them a token."""

    channels: int = 6
    samples: int = 2000
    window: int = 8


@dataclass(frozen=True, slots=True)
class ImageBindConfig:
    """An ImageBind with embeddings of `dimension` numbers; a modality that is None is not built.

    Raises UsageError for sizes that do not go together.
    """

    dimension: int
    vision: Vision | None = None
    text: Text | None = None
    audio: Sheet | None = None
    depth: Sheet | None = None
    thermal: Sheet | None = None
    imu: Imu | None = None

    def __post_init__(self) -> None:
        _check("dimension", self.dimension, LARGEST)
        for name, tower in self.towers().items():
            _check_tower(name, tower)

    def towers(self) -> dict[str, Trunk]:
        """The modalities that are built, in the official order."""
        named = {name: getattr(self, name) for name in MODALITIES}
        return {name: tower for name, tower in named.items() if tower is not None}

    def only(self, modalities: Iterable[str]) -> ImageBindConfig:
        """The same sizes with these modalities alone; UsageError where one of them is not built here."""
        wanted = tuple(modalities)
        for name in wanted:
            if name not in self.towers():
                raise UsageError(f"ImageBind without {name}; it has {', '.join(self.towers())}")
        kept: dict[str, Any] = {name: getattr(self, name) if name in wanted else None for name in MODALITIES}
        return replace(self, **kept)


def config_to_json(config: ImageBindConfig) -> str:
    """What config.json holds."""
    return json.dumps({"model_type": MODEL_TYPE, **asdict(config)}, indent=2) + "\n"


def read_config(file: Path) -> ImageBindConfig:
    """The sizes that a config.json states; UsageError naming the file and the first field that is wrong."""
    try:
        with file.open(encoding="utf-8") as opened:
            said = parse(opened.read(CONFIG_BYTES))
        return read_record(ImageBindConfig, _of_imagebind(said), "it")
    except (ValueError, OSError, UsageError) as error:
        raise UsageError(f"{file}: no config of an ImageBind: {one_line(error)}") from error


def _of_imagebind(said: Any) -> Any:
    if not isinstance(said, dict) or said.get("model_type") != MODEL_TYPE:
        raise RecordError(f'"model_type": "{MODEL_TYPE}" is not there')
    return {key: value for key, value in said.items() if key != "model_type"}


def _check(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError(f"{name} is {value}; 1 to {most} would do")


def _check_tower(name: str, tower: Trunk) -> None:
    for field in fields(tower):
        said = getattr(tower, field.name)
        for value in said if isinstance(said, tuple) else (said,):
            _check(f"{name}.{field.name}", value, MOST_BLOCKS if field.name == "blocks" else LARGEST)
    if tower.width % tower.heads:
        raise UsageError(f"{name}.width is {tower.width}, which {tower.heads} heads do not divide")
    match tower:
        case Vision() if tower.picture % tower.patch:
            raise UsageError(f"{name}.picture is {tower.picture}, which is no multiple of the patch of {tower.patch}")
        case Vision() if tower.patch % (1 << len(tower.stem)):
            raise UsageError(f"{name}.patch is {tower.patch}, which {len(tower.stem)} convolutions do not halve evenly")
        case Text() if not IDS_WITHOUT_MERGES <= tower.vocabulary <= IDS_WITHOUT_MERGES + MERGES:
            most = IDS_WITHOUT_MERGES + MERGES
            raise UsageError(f"{name}.vocabulary is {tower.vocabulary}; {IDS_WITHOUT_MERGES} to {most} would do")
        case Sheet() if (tower.patch | tower.stride) % (1 << len(tower.stem)):
            said = f"{tower.patch} and {name}.stride {tower.stride}"
            raise UsageError(f"{name}.patch is {said}, which {len(tower.stem)} convolutions do not halve evenly")
        case Sheet() if tower.patch > min(tower.height, tower.length):
            raise UsageError(f"{name}.patch is {tower.patch}, larger than the {tower.height} x {tower.length} sheet")
        case Imu() if tower.samples % tower.window:
            raise UsageError(f"{name}.samples is {tower.samples}, which is no multiple of the window of {tower.window}")


HUGE = ImageBindConfig(
    dimension=1024,
    vision=Vision(width=1280, blocks=32, heads=16),
    text=Text(width=1024, blocks=24, heads=16),
    audio=Sheet(width=768, blocks=12, heads=12, height=128, length=204, patch=16, stride=10),
    depth=Sheet(width=384, blocks=12, heads=8),
    thermal=Sheet(width=768, blocks=12, heads=12),
    imu=Imu(width=512, blocks=6, heads=8),
)
