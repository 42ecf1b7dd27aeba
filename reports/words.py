"""The words that all reports share: for numbers, intervals, metrics, checkpoints, and how whole a run is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from harness.comparison import whole
from harness.degenerate import describe_degenerate
from harness.nouns import Result, Summary

# What † stands for, beside a number.
UNKNOWN_WEIGHTS = "weights with a digest that is not known to be the published one"

_ARROWS = {"higher": "↑", "lower": "↓"}


def rounded(value: float) -> str:
    """Three decimals below 10, two from there on."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def interval(result: Result) -> str:
    """The interval of a result; "" where it has none."""
    if result.low is None or result.high is None:
        return ""
    return f"[{rounded(result.low)}, {rounded(result.high)}]"


def headed(metric: str, better: str | None) -> str:
    """A metric's name, with an arrow where it is known ("higher", "lower") which way is better."""
    return f"{metric} {_ARROWS[better]}" if better else metric


def checkpoint_name(checkpoint: str) -> str:
    """A hub id whole, of a path its last part."""
    return PurePath(checkpoint).name if checkpoint.startswith("/") else checkpoint


def what_differs(runs: Sequence[Summary]) -> dict[str, str]:
    """By run id, what tells a run from others of the same system and checkpoint: "steps=2, seed=1"; "" if alone."""
    said: dict[str, str] = {}
    for run in runs:
        twins = [one for one in runs if _called(one) == _called(run)]
        fields = [_identity(one) for one in twins]
        names = [name for name in dict.fromkeys(name for one in fields for name in one)]
        unlike = [name for name in names if len({one.get(name, "default") for one in fields}) > 1]
        own = _identity(run)
        said[run.run_id] = ", ".join(f"{name}={own.get(name, 'default')}" for name in unlike)
    return said


def _called(summary: Summary) -> tuple[str, str]:
    return summary.run.system, checkpoint_name(summary.checkpoint)


def _identity(summary: Summary) -> dict[str, str]:
    run = summary.run
    return {**run.settings, "seed": str(run.seed), "weights": run.weights[:8], "code": run.code[:8]}


def status(summary: Summary) -> str:
    """What keeps a run from being the complete suite, or "complete"; unverified weights; degenerate samples by kind."""
    said = []
    if summary.planned < summary.expected:
        said.append(f"partial: {summary.planned} of {summary.expected}")
    if summary.generated < summary.planned:
        said.append(f"{summary.generated} of {summary.planned} generated")
    if summary.failed:
        said.append(f"{summary.failed} failed")
    if summary.absent:
        said.append(f"{len(summary.absent)} absent")
    said = said or ["complete" if summary.complete else "not all scored"]
    if not all(result.known_weights for result in whole(summary).values()):
        said.append("unverified weights")
    if summary.degenerate:
        said.append(f"degenerate: {describe_degenerate(summary.degenerate)}")
    return "; ".join(said)
