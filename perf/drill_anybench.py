"""anybench as a contender of drills.py: WORKERS BATCH CHECKPOINT JOURNAL FOLDER."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import metrics  # noqa: E402
import systems  # noqa: E402
from harness.nouns import (  # noqa: E402
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

CASES = 300


class Drilled:
    """Answers as its checkpoint says, after writing down which case it was asked."""

    def __init__(self, checkpoint: str, device: str, *, journal: str) -> None:
        self.answer = Path(checkpoint).read_text()
        self.journal = journal

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """One text an item."""
        answers = []
        for item in items:
            with Path(self.journal).open("a") as file:
                file.write(f"{int(item.case.id[1:])}\n")
            time.sleep(0.01)
            answers.append([[Output("text", self.answer)]])
        return answers


class IsRight:
    """1 for the text "right", else 0."""

    def __init__(self, weights: str, device: str) -> None:
        pass

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[Any]:
        """(rows, 1)"""
        return np.array([[one.text == "right"] for one, *_ in batch], dtype=np.float32)


def share_right(output: Features) -> NDArray[np.float64]:
    """The feature itself."""
    return np.asarray(output.values[:, 0], dtype=np.float64)


RIGHT = Metric("right", 1, "sample", "higher", (0.0, 1.0), {"output": Need("is_right", ("output",))}, share_right)
SUITE = Suite(
    "drill", 1, lambda data: Listing(tuple(_case(number) for number in range(CASES))), CASES, 1, ("right",), "none",
    "", embedded=".",
)  # fmt: skip


def _case(number: int) -> Case:
    return Case(f"c{number:03}", (Turn((Media("text", text=f"Say right, case {number}."),), ("text",)),))


def main(workers: str, batch: str, checkpoint: str, journal: str, folder: str) -> None:
    """Evaluate, and print the score."""
    os.environ["PYTHONPATH"] = str(HERE)
    import benchmarks
    from harness.ray_pool import RayPool
    from harness.store import Store
    from runners.evaluation import evaluate
    from runners.preparation import Request, prepare

    benchmarks.SUITES["drill"] = "drill_anybench:SUITE"  # type: ignore[index]
    systems.SYSTEMS["drilled"] = Worker(  # type: ignore[index]
        "drill_anybench:Drilled", gpus=0, batch=int(batch), checkpoint="required"
    )
    metrics.METRICS["right"] = "drill_anybench:RIGHT"  # type: ignore[index]
    metrics.EXTRACTORS["is_right"] = ExtractorCard(  # type: ignore[index]
        Worker("drill_anybench:IsRight", gpus=0, batch=64), "text", weightless=True
    )
    request = Request("drill", "drilled", Store.at(folder), checkpoint=checkpoint, settings={"journal": journal})
    summary = evaluate(prepare(request), RayPool(workers=int(workers)))
    assert summary.complete, summary
    print(json.dumps({"score": summary.results[0].value}))


if __name__ == "__main__":
    main(*sys.argv[1:])
