#!/usr/bin/env python3
"""CoDi-2 beyond pictures: sounds and clips a second in a batch, and what a turn of a conversation costs.

    .venv/bin/anybench init codi2-tiny build/codi2-tiny
    .venv/bin/python perf/codi2_turns.py build/codi2-tiny

Beside it stands the same model asked one case after the other, and, for turns, the same conversation read from its
beginning every time, as a script does that hands the whole history to generate(). Threads as PyTorch sets them, or
`--threads`. Printed: media a second and their ratio; milliseconds of the language model a turn with and without what
was kept, by the number of turns before it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.dreambench import DREAMBENCH_MINI  # noqa: E402
from harness.nouns import Case, Item, Modality, Turn  # noqa: E402
from systems.codi2.conversation import NOTHING, Decoding, Exchange, Request, Vectors  # noqa: E402
from systems.codi2.language import LanguageModel  # noqa: E402
from systems.codi2.model import load_parts  # noqa: E402
from systems.codi2.system import CoDi2  # noqa: E402
from systems.diffusers_pipeline import DTYPES  # noqa: E402

FORCED = Decoding(tags="forced")
REPEATS = 5


def items(count: int, wanted: Modality) -> list[Item]:
    """Real photographs and prompts, asked for another modality."""
    cases = DREAMBENCH_MINI.read(DREAMBENCH_MINI.embedded).cases[:count]
    turns = [Turn(case.turns[0].inputs, (wanted,)) for case in cases]
    return [
        Item(Case(case.id, (turn,)), 0, number) for number, (case, turn) in enumerate(zip(cases, turns, strict=True))
    ]


def seconds(system: CoDi2, batches: Sequence[Sequence[Item]]) -> float:
    """The best of two runs, after one of the first batch to warm up."""
    system.generate(batches[0])
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        for batch in batches:
            system.generate(batch)
        taken.append(time.perf_counter() - start)
    return min(taken)


def measure_media(system: CoDi2, count: int, wanted: Modality) -> None:
    """Prints media a second, together and one by one."""
    asked = items(count, wanted)
    together, alone = seconds(system, [asked]), seconds(system, [[one] for one in asked])
    print(
        f"{wanted}: together {count / together:.2f}/s, one by one {count / alone:.2f}/s: {alone / together:.2f} times"
    )


def measure_turns(model: LanguageModel, width: int, tokens: int, turns: int) -> None:
    """Prints milliseconds a turn, each with a picture of `tokens` vectors of `width` numbers."""
    print("turns before  positions  kept, ms  read anew, ms")
    exchanges: tuple[Exchange, ...] = ()
    for before in range(turns):
        vectors = torch.randn(tokens, width, generator=torch.Generator().manual_seed(before))
        question = ("now this one", Vectors("image", vectors / vectors[0].norm()))
        request = Request((*exchanges, Exchange(question)), ("image",), 0, "turn", keep=True)
        kept, answer = timed(model, request)
        anew, _ = timed(model, replace(request, exchanges=tuple(map(forgotten, request.exchanges))))
        exchanges = (*exchanges, Exchange(question, answer))
        positions = sum(len(one) if isinstance(one, torch.Tensor) else 1 for one in answer.kept.elements)
        print(f"{before:12}  {positions:9}  {1000 * kept:8.1f}  {1000 * anew:13.1f}")


def timed(model: LanguageModel, request: Request):  # type: ignore[no-untyped-def]
    """The best of some runs, in seconds, and the answer."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        (answer,) = model.answer([request], FORCED)
        best = min(best, time.perf_counter() - start)
    return best, answer


def forgotten(exchange: Exchange) -> Exchange:
    """An exchange of which nothing was kept."""
    return replace(exchange, answer=exchange.answer and replace(exchange.answer, kept=NOTHING))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    settings = {"sound_steps": asked.steps, "video_steps": asked.steps, "frames": 8, "dtype": asked.dtype}
    system = CoDi2(str(asked.checkpoint), asked.device, tags="forced", **settings)
    for wanted in ("audio", "video"):
        measure_media(system, asked.cases, wanted)
    parts = load_parts(asked.checkpoint, DTYPES[asked.dtype])
    parts.language_model.network.to(asked.device)
    reading = parts.encoder.reading
    measure_turns(parts.language_model, parts.encoder.model.config.dimension, reading.image_tokens, asked.turns)


if __name__ == "__main__":
    main()
