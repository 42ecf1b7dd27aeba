"""Small real parts for the tests of this room: photographs drawn from noise, and random checkpoints in hub folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.nouns import Media
from metrics.tiny import checkpoints as tiny

Draw = Callable[..., tuple[Media, ...]]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws a smooth random picture of a given size and returns it as the row of a batch."""

    def picture(seed: int, width: int = 300, height: int = 260) -> tuple[Media, ...]:
        coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
        path = tmp_path / f"{seed}-{width}x{height}.png"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
        return (Media("image", uri=str(path)),)

    return picture


@pytest.fixture(scope="session")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "dino-tiny"
    tiny.write_dino_tiny(folder, seed=1)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "clip-tiny"
    tiny.write_clip_tiny(folder, seed=1)
    return folder
