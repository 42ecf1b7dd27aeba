"""Toy work that goes wrong on request: in a worker's process, on its device, on its node."""

from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from toys import Echo

from harness.generation import GenerationTask
from harness.nouns import Item, Media, Output, Worker
from harness.pool import Batch, LocalPool, Outcome, Task, note

TOY = Worker("failing_toys:Errands", gpus=0)
GREEDY = Worker("failing_toys:Greedy", gpus=0, batch=8)


@dataclass(frozen=True)
class Errand:
    """A number to double after `seconds`, and what happens then: `trouble`, the first `times` times.

    It waits until `company` workers have begun to work, itself among them.

    "die" and "hang" are what they say, "stop" stops the process so that it cannot even be asked to end, "memory" is
    Ray's memory kill as the driver sees it, "grow" really takes as many GB as the number, "node" kills the node.
    """

    number: int
    trouble: str = ""
    times: int = 1000
    seconds: float = 0.0
    company: int = 1


@dataclass(frozen=True)
class Errands:
    """A task that runs errands, and writes `number pid node` down for each before it begins, into a folder."""

    journal: str

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        """Nothing to load."""
        return self._work

    def lines(self, number: int | None = None) -> list[list[str]]:
        """What was written down so far, of one number or of all."""
        lines = [line.split() for line in Path(self.journal).read_text().splitlines()]
        return [line for line in lines if number is None or int(line[0]) == number]

    def nodes(self) -> set[str]:
        """The nodes that worked so far."""
        return {node for _, _, node in self.lines()}

    def _work(self, batch: Batch) -> list[int]:
        return [self._run(one) for one in batch.items]

    def _run(self, errand: Errand) -> int:
        import ray

        with Path(self.journal).open("a") as file:
            file.write(f"{errand.number} {os.getpid()} {ray.get_runtime_context().get_node_id()}\n")
        while len({process for _, process, _ in self.lines()}) < errand.company:
            time.sleep(0.1)
        time.sleep(errand.seconds)
        if errand.trouble and len(self.lines(errand.number)) <= errand.times:
            TROUBLES[errand.trouble](errand)
        return 2 * errand.number


def _memory(errand: Errand) -> None:
    from ray.exceptions import OutOfMemoryError

    raise OutOfMemoryError("the node is low on memory")


def _grow(errand: Errand) -> None:
    held = [np.ones(10**8 // 8) for _ in range(errand.number * 10)]
    time.sleep(60)
    assert held


def _node(errand: Errand) -> None:
    os.kill(os.getppid(), signal.SIGKILL)  # a worker's parent is its node's raylet
    time.sleep(60)


TROUBLES: dict[str, Callable[[Errand], object]] = {
    "die": lambda errand: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda errand: os.kill(os.getpid(), signal.SIGSTOP),
    "hang": lambda errand: time.sleep(1000),
    "memory": _memory,
    "grow": _grow,
    "node": _node,
}


class Sleeper:
    """A task whose loading hangs."""

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        time.sleep(1000)
        raise AssertionError("slept out")


class Talker:
    """A task that has something to say with each batch."""

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        """Nothing to load."""
        return self._work

    def _work(self, batch: Batch) -> list[int]:
        note("the toy has something to say")
        time.sleep(0.2)
        return [os.getpid()]


class Greedy(Echo):
    """Echo on a device that has room for `room` items at once, and never for a prompt that holds "huge"."""

    def __init__(self, checkpoint: str, device: str, *, room: int = 3, journal: str = "") -> None:
        super().__init__(checkpoint, device, journal=journal)
        self.room = room
        self.held: weakref.ref[Any] | None = None

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        assert self.held is None or self.held() is None, "what the last attempt held is still held"
        tensors = np.ones(len(items))
        self.held = weakref.ref(tensors)
        answers = super().generate(items)
        self._fit(len(items), any("huge" in item.case.turns[0].inputs[0].text for item in items))
        self.held = None
        return answers

    def _fit(self, count: int, huge: bool) -> None:
        import torch

        if count > self.room or huge:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {count} items")


class GreedyLengths:
    """Features of texts, on a device that has room for two; keeps the sizes of the batches it was asked for."""

    sizes: ClassVar[list[int]] = []

    def __init__(self, weights: str, device: str) -> None:
        pass

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[Any]:
        import torch

        self.sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return np.array([[len(one.text)] for one, *_ in batch], dtype=np.float32)


@dataclass(frozen=True)
class DiesAfterAnswering:
    """A generation task whose worker dies once when a batch is answered and kept, before the driver hears of it."""

    task: GenerationTask
    mark: str

    @property
    def worker(self) -> Worker:
        """As `generate` asks for it."""
        return self.task.worker

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        """As the task itself."""
        answerer = self.task.build()

        def work(batch: Batch) -> Sequence[Any]:
            rows = answerer(batch)
            if not Path(self.mark).exists():
                Path(self.mark).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return rows

        return work


class Stuttering(LocalPool):
    """A pool that has every batch answered twice, and hands over both outcomes."""

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        return super().map(task, [*batches, *batches], worker)
