"""Systems whose answers do and do not depend on the batch they are made in, and a suite for them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from toys import ECHO, Echo, image_cases, text_case, text_cases, toy_suite

from harness.media import encode_image
from harness.nouns import ExtractorCard, Item, Listing, Output, Suite, Worker

SUITE = toy_suite(12)
NEWER = dataclasses.replace(SUITE, version=2)
# One case of it is always answered with an error.
FAILING = dataclasses.replace(
    SUITE, name="failing", read=lambda data: Listing((*text_cases(5), text_case("bad", prompt="raise now"))), size=6
)
PICTURES = Suite("pictures", 1, lambda data: Listing(image_cases(8)), 8, 1, (), "none", "")

SUITES = {"toy": "verify_toys:SUITE", "failing": "verify_toys:FAILING", "pictures": "verify_toys:PICTURES"}
SYSTEMS = {
    "echo": ECHO,
    "together": dataclasses.replace(ECHO, build="toys:Together"),
    "keyed": dataclasses.replace(ECHO, build="verify_toys:Keyed"),
    "shy": dataclasses.replace(ECHO, build="verify_toys:Shy"),
    "crowded": Worker("verify_toys:Crowded", gpus=0, batch=4),
    "weighed": dataclasses.replace(ECHO, build="verify_toys:Weighed", checkpoint="required"),
    "small": dataclasses.replace(ECHO, build="verify_toys:Small"),
    "late": dataclasses.replace(ECHO, build="verify_toys:Late"),
    "at-home": dataclasses.replace(ECHO, in_driver=True),
}
METRICS = {"longer": "toys:LONGER"}
WEIGHED_LENGTHS = ExtractorCard(Worker("toys:Lengths", gpus=0, batch=4), "none")


class Keyed(Echo):
    """Needs a secret to answer."""

    def __init__(self, checkpoint: str, device: str, *, api_key: str = "") -> None:
        super().__init__(checkpoint, device)


class Weighed(Echo):
    """Has a checkpoint."""


class Shy(Echo):
    """Answers nobody who comes alone."""

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        if len(items) == 1:
            raise ValueError("too few")
        return super().generate(items)


class Small(Echo):
    """Has memory for four."""

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        if len(items) > 4:
            import torch

            raise torch.OutOfMemoryError("out of memory")
        return super().generate(items)


class Late(Echo):
    """Every second one to load takes two seconds for it, by a file `turn` that comes and goes; answers at once."""

    def __init__(self, checkpoint: str, device: str, *, turn: str) -> None:
        super().__init__(checkpoint, device)
        try:
            Path(turn).touch(exist_ok=False)
        except FileExistsError:
            Path(turn).unlink()
            time.sleep(2)


class Crowded:
    """Answers with noise of the item's seed, but for one pixel, which is ten for each sample in the batch."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        return [[[self._picture(item.seed, len(items))]] for item in items]

    def _picture(self, seed: int, crowd: int) -> Output:
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        pixels[0, 0] = 10 * crowd
        return Output("image", encode_image(Image.fromarray(pixels)))
