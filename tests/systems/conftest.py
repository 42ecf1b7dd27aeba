"""What the tests of the systems share: the tiny checkpoints, written once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.media import encode_audio
from harness.nouns import Media
from systems.codi2.tiny import codi2
from systems.tiny import pipelines as tiny


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny pipelines are slower on several threads, much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny.stable_unclip(folder / "stable-unclip", 0)
    tiny.stable_diffusion(folder / "stable-diffusion", 0)
    with warnings.catch_warnings():
        # diffusers 0.42 converts torch tensors in its Euler schedulers in a way that NumPy 2 deprecates.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        tiny.instruct_pix2pix(folder / "instruct-pix2pix", 0)
    return folder


@pytest.fixture(scope="session")
def codi2_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codi2") / "tiny"
    codi2(folder, 0)
    return folder


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Media]:
    """A picture, or a sound, made of its name."""
    folder = tmp_path_factory.mktemp("media")

    def made(name: str) -> Media:
        random = np.random.default_rng(list(name.encode()))
        if name.startswith("sound"):
            (folder / name).write_bytes(encode_audio(random.normal(0, 0.1, 16000).astype(np.float32), 16000))
            return Media("audio", uri=str(folder / name))
        pixels = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC).save(folder / name, "PNG")
        return Media("image", uri=str(folder / name))

    return made
