"""A suite, two systems and a metric that cost nothing, so that what is measured is the harness."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import benchmarks
import metrics
import systems
from harness.media import encode_image
from harness.nouns import (
    Case,
    ExtractorCard,
    Features,
    Item,
    Listing,
    Media,
    Metric,
    Need,
    Output,
    Suite,
    Turn,
    Worker,
)

CASES = "ANYBENCH_PERF_CASES"
PICTURE_BYTES = 256 * 1024


class Noop:
    """Answers each prompt with itself."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """One text an item."""
        return [[[Output("text", item.case.turns[0].inputs[0].text)]] for item in items]


class Picture:
    """Answers with a PNG of 256 KB, another for each item: one picture of noise, made once, and a chunk of text."""

    def __init__(self, checkpoint: str, device: str) -> None:
        side = int((PICTURE_BYTES / 3) ** 0.5)
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        self.png = encode_image(Image.fromarray(pixels))

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """One picture an item."""
        return [[[Output("image", self._numbered(item.seed))]] for item in items]

    def _numbered(self, seed: int) -> bytes:
        """The picture with the seed after its end, where decoders do not look."""
        return self.png + seed.to_bytes(8, "big")


class Words:
    """Features of texts: the number of their characters."""

    def __init__(self, weights: str, device: str) -> None:
        pass

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[Any]:
        """(rows, 1)"""
        return np.array([[len(one.text)] for one, *_ in batch], dtype=np.float32)


def as_long(output: Features, prompt: Features) -> NDArray[np.float64]:
    """1 where the output has as many characters as the prompt, else 0."""
    wanted = dict(zip(prompt.case.tolist(), prompt.values[:, 0].tolist(), strict=True))
    lengths = zip(output.case.tolist(), output.values[:, 0].tolist(), strict=True)
    return np.array([float(wanted[case] == length) for case, length in lengths])


def _cases(modality: str) -> Listing:
    count = int(os.environ[CASES])
    return Listing(tuple(_case(number, modality) for number in range(count)))


def _case(number: int, modality: Any) -> Case:
    prompt = Media("text", text=f"Case {number}: say what stands here, and nothing else.")
    return Case(f"c{number:07}", (Turn((prompt,), (modality,), {"prompt": (prompt,)}),), {"group": str(number % 100)})


AS_LONG = Metric(
    name="as_long", version=1, level="sample", better="higher", range=(0.0, 1.0),
    needs={"output": Need("words", ("output",)), "prompt": Need("words", ("prompt",))}, compute=as_long,
)  # fmt: skip


def register() -> None:
    """Put the suite, the systems and the metric on the tables of names."""
    count = int(os.environ[CASES])
    for modality in ("text", "image"):
        name = f"noop-{modality}"
        suite = Suite(name, 1, lambda data, kind=modality: _cases(kind), count, 1, ("as_long",), "none", "group",
                      embedded=".")  # fmt: skip
        globals()[name.replace("-", "_").upper()] = suite
        benchmarks.SUITES[name] = f"noop:{name.replace('-', '_').upper()}"  # type: ignore[index]
    batch = int(os.environ.get("ANYBENCH_PERF_BATCH", "256"))
    systems.SYSTEMS["noop"] = Worker("noop:Noop", gpus=0, batch=batch)  # type: ignore[index]
    systems.SYSTEMS["picture"] = Worker("noop:Picture", gpus=0, batch=batch)  # type: ignore[index]
    metrics.METRICS["as_long"] = "noop:AS_LONG"  # type: ignore[index]
    metrics.EXTRACTORS["words"] = ExtractorCard(  # type: ignore[index]
        Worker("noop:Words", gpus=0, batch=4096), "characters", weightless=True
    )
