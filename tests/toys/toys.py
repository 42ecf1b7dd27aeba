"""Toy systems, extractors and metrics: real classes, small enough to predict."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
from harness.pool import Batch, BrokenWorker


def text_case(name: str, subject: str = "s", prompt: str = "hello") -> Case:
    """A case that asks for text, with a reference."""
    turn = Turn((Media("text", text=prompt),), ("text",), {"reference": (Media("text", text="hello"),)})
    return Case(name, (turn,), {"subject": subject})


def text_cases(count: int) -> tuple[Case, ...]:
    """Cases of two subjects in turn."""
    return tuple(text_case(f"c{number:03}", "ab"[number % 2], f"prompt {number}") for number in range(count))


def image_cases(count: int) -> tuple[Case, ...]:
    """Cases that ask for a picture of anything."""
    return tuple(Case(f"i{number:03}", (Turn((), ("image",)),)) for number in range(count))


class Photographer:
    """Answers with noise, as PNG, of the item's seed."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        return [[[Output("image", self._noise(item.seed))]] for item in items]

    def _noise(self, seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        return encode_image(Image.fromarray(pixels))


class Echo:
    """Answers each turn with its prompt and seed; keeps a journal of what it was asked, a line an item.

    A prompt that holds "raise" raises. One that holds "die" kills the process.
    """

    def __init__(self, checkpoint: str, device: str, *, journal: str = "", pause: float = 0.0) -> None:
        self.journal, self.pause = journal, pause

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        time.sleep(self.pause)
        if self.journal:
            with Path(self.journal).open("a") as file:
                file.write("".join(f"{item.case.id} {item.sample} {len(items)}\n" for item in items))
        return [[self._turn(turn, item) for turn in item.case.turns] for item in items]

    def _turn(self, turn: Turn, item: Item) -> list[Output]:
        prompt = turn.inputs[0].text
        if "raise" in prompt:
            raise ValueError(f"cannot say {prompt!r}")
        if "break" in prompt:
            raise BrokenWorker("a device-side fault")
        if "die" in prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        return [Output("text", f"{prompt} {item.seed}")]


class Together:
    """Answers with the names of everybody in the batch."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        names = " ".join(f"{item.case.id}-{item.sample}" for item in items)
        return [[[Output("text", names)]] for _ in items]


class Peeking:
    """Answers with how many parts of the turn it can see."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        return [[[Output("text", str(len(turn.parts)))] for turn in item.case.turns] for item in items]


class Tracing:
    """Answers with its prompt, and tells the vector that it made it from."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        return [[[self._output(item)]] for item in items]

    def _output(self, item: Item) -> Output:
        return Output("text", item.case.turns[0].inputs[0].text, trace=np.array([1.5, -2.0], "<f4").tobytes())


class Shouting:
    """Answers with a picture's modality and a text's bytes."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        return [[[Output("image", b"not a picture")]] for _ in items]


class Lengths:
    """Features of texts: their length and a constant; refuses a text that says "damaged"."""

    def __init__(self, weights: str, device: str) -> None:
        pass

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[Any]:
        if any("damaged" in one.text for one, *_ in batch):
            raise ValueError("a damaged text")
        return np.array([[len(one.text), 1.0] for one, *_ in batch], dtype=np.float32)


def difference(output: Features, reference: Features) -> NDArray[np.float64]:
    """How much longer each output is than the case's reference; NaN where there is none."""
    lengths = dict(zip(reference.case.tolist(), reference.values[:, 0].tolist(), strict=True))
    return np.array(
        [value - lengths.get(case, np.nan) for case, value in zip(output.case, output.values[:, 0], strict=True)]
    )


ECHO = Worker("toys:Echo", gpus=0, batch=4)
LENGTHS = ExtractorCard(Worker("toys:Lengths", gpus=0, batch=4), "none", weightless=True)
LONGER = Metric(
    name="longer", version=1, level="sample", better="lower", range=(-1000, 1000),
    needs={"output": Need("lengths", ("output",)), "reference": Need("lengths", ("reference",))},
    compute=difference,
)  # fmt: skip


def toy_suite(count: int, samples: int = 2) -> Suite:
    """A suite of text cases."""
    return Suite(
        "toy", 1, lambda data: Listing(text_cases(count)), count, samples, ("longer",), "one-ref", "subject",
        groups=("subject",),
    )  # fmt: skip


@dataclass(frozen=True)
class Doubling:
    """A task for the pools: doubles numbers; a number below zero kills the worker, 13 raises."""

    journal: str = ""

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        """Nothing to load."""
        return self._work

    def _work(self, batch: Batch) -> list[int]:
        if self.journal:
            with Path(self.journal).open("a") as file:
                file.write(f"{list(batch.items)}\n")
        if any(item < 0 for item in batch.items):
            os.kill(os.getpid(), signal.SIGKILL)
        if 13 in batch.items:
            raise ArithmeticError("13 is not to be doubled")
        return [2 * item for item in batch.items]


class Stillborn:
    """A task whose loading kills the worker."""

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")
