"""A small ImageBind of all six modalities, with weights and inputs that follow from their names alone.

The recorded figures of the official implementation (tests/systems/imagebind_official.json) were computed from these
very numbers, which any machine can make again.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from harness.media import Video
from systems.imagebind.config import ImageBindConfig, Imu, Sheet, Text, Vision

SMALL = ImageBindConfig(
    dimension=32,
    vision=Vision(width=64, blocks=2, heads=4, patch=32),
    text=Text(width=32, blocks=2, heads=4),
    audio=Sheet(width=48, blocks=2, heads=4, height=128, length=204, stride=10),
    depth=Sheet(width=32, blocks=2, heads=2, patch=32, stride=32),
    thermal=Sheet(width=48, blocks=2, heads=3, patch=32, stride=32),
    imu=Imu(width=32, blocks=2, heads=4),
)


def noise(name: str, *shape: int) -> torch.Tensor:
    """Uniform numbers in [-0.5, 0.5), the same for the same name: a 64-bit mixer (splitmix64) begun at its CRC-32."""
    numbers = np.arange(math.prod(shape), dtype=np.uint64) + (np.uint64(zlib.crc32(name.encode())) << np.uint64(32))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    numbers ^= numbers >> np.uint64(31)
    return torch.from_numpy(((numbers >> np.uint64(11)) * 2.0**-53 - 0.5).astype(np.float32)).reshape(shape)


def fill(model: nn.Module) -> None:
    """Gives every weight its number; masks and scales stay as they are."""
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if not key.endswith(("mask", "log_logit_scale")):
                tensor.copy_(_weight(key, tensor.shape))


def _weight(key: str, shape: torch.Size) -> torch.Tensor:
    numbers = noise(key, *shape)
    if key.endswith("weight") and len(shape) == 1:
        return 1 + numbers
    if key.endswith("weight") and "embedding" not in key:
        return numbers * math.sqrt(12 / math.prod(shape[1:]))
    return numbers


def inputs() -> dict[str, tuple[str, torch.Tensor]]:
    """By name, a modality and two inputs of it."""
    ids = torch.zeros(2, 77, dtype=torch.long)
    for row, length in enumerate((5, 77)):
        ids[row, :length] = (noise(f"ids.{row}", length) * 49000 + 24600).long()
        ids[row, 0], ids[row, length - 1] = 49406, 49407
    return {
        "picture": ("vision", 4 * noise("picture", 2, 3, 224, 224)),
        "video": ("vision", 4 * noise("video", 2, 3, 3, 2, 224, 224)),
        "text": ("text", ids),
        "audio": ("audio", 4 * noise("audio", 2, 3, 1, 128, 204)),
        "depth": ("depth", 4 * noise("depth", 2, 1, 224, 224)),
        "thermal": ("thermal", 4 * noise("thermal", 2, 1, 224, 224)),
        "imu": ("imu", 4 * noise("imu", 2, 6, 2000)),
    }


def sound(samples: int) -> NDArray[np.float32]:
    """A rising tone in noise, off zero, (samples,) at 16 kHz."""
    seconds = np.arange(samples) / 16000
    tone = 0.3 * np.sin(2 * np.pi * (200 + 400 * seconds) * seconds)
    return (tone + 0.05 + 0.2 * noise(f"sound.{samples}", samples).numpy()).astype(np.float32)


def picture(width: int, height: int) -> Image.Image:
    """Coloured clouds."""
    coarse = 255 * (noise(f"picture.{width}.{height}", height // 8 + 2, width // 8 + 2, 3) + 0.5)
    return Image.fromarray(coarse.numpy().astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def video(frames: int, width: int, height: int, frames_per_second: float) -> Video:
    """Frames that have nothing in common."""
    pixels = 255 * (noise(f"video.{frames}.{width}.{height}", frames, height, width, 3) + 0.5)
    return Video(pixels.numpy().astype(np.uint8), frames_per_second)


def figures(tensor: torch.Tensor) -> list[float]:
    """A fingerprint of a tensor: 4 random projections, which each see every number, then 24 of its numbers."""
    flat = tensor.double().flatten()
    places = ((noise("places", 24) + 0.5) * len(flat)).long()
    return (_projections(len(flat)) @ flat).tolist() + flat[places].tolist()


@lru_cache(maxsize=1)
def _projections(count: int) -> torch.Tensor:
    return noise("projections", 4, count).double()


SOUNDS = (400, 4000, 31999, 32000, 40000, 95999, 160000)
PICTURES = ((224, 224), (300, 200), (37, 91), (225, 640))
VIDEOS = ((100, 80, 60, 25.0), (100, 60, 80, 25.0), (1, 70, 50, 25.0), (300, 64, 36, 29.97), (3, 400, 260, 1.0))
TEXTS = (
    "A dog.",
    "",
    "  two   spaces\tand\nlines ",
    "The cat's 3 dogs weren't 42, they'll say: hello!!!",
    "\U0001f436\U0001f431 caf\u00e9 na\u00efve \u65e5\u672c\u8a9e \u03a9",
    "Tom &amp; Jerry &lt;3 &amp;amp; &eacute;",
    "sch\u00c3\u00b6n \u00e2\u20ac\u0153mojibake\u00e2\u20ac\u009d",
    "very " * 100 + "end",
    "word " * 75,
    "word " * 76,
    "a <|endoftext|> b",
    "<start_of_text> a <end_of_text>",
    "\ufb01ne \u0130stanbul \u0391\u03a3",
    "&#28;x&#x85;y\u2028z\u00a0w\u200bv",
)
