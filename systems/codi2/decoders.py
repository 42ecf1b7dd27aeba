"""What the decoders of a checkpoint say of themselves, without torch: which pipelines they are, and how wide.

Beside the width that a decoder's UNet reads, a checkpoint that was trained to edit depends on its first convolution:
the columns for a source are as many as those for the noisy latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from systems.codi2.description import read_object
from systems.pipeline_folder import read_pipeline_folder

IMAGE, SOUND, VIDEO = "StableUnCLIPImg2ImgPipeline", "AudioLDM2Pipeline", "TextToVideoSDPipeline"
CONFIG_FILE = "config.json"
LARGEST_WIDTH = 1 << 20

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ImageWidths:
    """`columns` is the shape of the editing columns, (out, noisy channels, height, width) of the first convolution."""

    columns: Shape


@dataclass(frozen=True, slots=True)
class SoundWidths:
    """`tokens` is the width of the stream that was GPT-2's; `columns` as of pictures."""

    tokens: int
    columns: Shape


@dataclass(frozen=True, slots=True)
class VideoWidths:
    """`tokens` is the width of what the UNet reads."""

    tokens: int


def read_image_decoder(path: Path, features: int) -> ImageWidths:
    """UsageError naming the folder where it is no Stable unCLIP for features of that many numbers."""
    _require_pipeline(path, "image", IMAGE)
    file, said = _unet(path)
    numbers = said.get("projection_class_embeddings_input_dim")
    if numbers != 2 * features:
        raise UsageError(
            f"{path}: the UNet reads class vectors of {numbers} numbers; {2 * features}, a feature of ImageBind's "
            f"{features} and its noise level, would do"
        )
    return ImageWidths(_columns(file, said))


def read_sound_decoder(path: Path, features: int) -> SoundWidths:
    """UsageError naming the folder where it is no AudioLDM2 whose second stream is as wide as a feature."""
    _require_pipeline(path, "sound", SOUND)
    file, said = _unet(path)
    levels = said.get("cross_attention_dim")
    match levels:
        case [[None, int(tokens), int(width)], *others] if all(other == levels[0] for other in others):
            if width != features:
                raise UsageError(
                    f"{path}: the UNet's second stream is {width} wide; {features}, as ImageBind's features, would do"
                )
            return SoundWidths(_width(file, "cross_attention_dim", tokens), _columns(file, said))
    raise UsageError(f"{file}: cross_attention_dim is {levels!r}; [null, width, {features}] at each level would do")


def read_video_decoder(path: Path) -> VideoWidths:
    """UsageError naming the folder where it is no zeroscope, nor another one of its kind."""
    _require_pipeline(path, "video", VIDEO)
    file, said = _unet(path)
    return VideoWidths(_width(file, "cross_attention_dim", said.get("cross_attention_dim")))


def _require_pipeline(path: Path, name: str, expected: str) -> None:
    pipeline = read_pipeline_folder(path).pipeline
    if pipeline != expected:
        raise UsageError(f"{path}: the class of the {name} decoder is {pipeline}; {expected} would do")


def _unet(path: Path) -> tuple[Path, dict[str, Any]]:
    file = path / "unet" / CONFIG_FILE
    return file, read_object(file)


def _columns(file: Path, said: Mapping[str, Any]) -> Shape:
    outputs = said.get("block_out_channels")
    first = outputs[0] if isinstance(outputs, list) and outputs else outputs
    kernel = _width(file, "conv_in_kernel", said.get("conv_in_kernel", 3))
    return (
        _width(file, "block_out_channels[0]", first),
        _width(file, "in_channels", said.get("in_channels")),
        kernel,
        kernel,
    )


def _width(file: Path, key: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST_WIDTH:
        raise UsageError(f"{file}: {key} is {value!r}; a whole number from 1 to {LARGEST_WIDTH} would do")
    return value
