"""How judges and extractors of the tiny preset are trained: the loop, which says how far it is on validation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Course:
    """How long, how fast at most (AdamW, one cycle), and every how many steps the validation figure is said."""

    steps: int
    rate: float
    watch: int


def fit(network: nn.Module, course: Course, loss_of: Callable[[], Tensor], watched: Callable[[], str]) -> None:
    """Trains in bfloat16 where that is exact enough; says step, loss, `watched()` and the time left on stderr."""
    optimizer = torch.optim.AdamW(network.parameters(), course.rate, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, course.rate, course.steps, pct_start=0.2)
    started, losses = time.monotonic(), 0.0
    for step in range(1, course.steps + 1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        cycle.step()
        losses += float(loss.detach())
        if step % course.watch == 0 or step == course.steps:
            left = (time.monotonic() - started) / step * (course.steps - step)
            mean = losses / (step % course.watch or course.watch)
            network.train(False)
            said = watched()
            network.train(True)
            print(f"{step}/{course.steps} loss {mean:.4f} {said}, {left:.0f} s left", file=sys.stderr, flush=True)
            losses = 0.0
    network.train(False)


def exact() -> AbstractContextManager[Any]:
    """What is drawn for a batch, within the loss: in full precision."""
    return torch.autocast("cpu", enabled=False)
