"""The words that all reports share: for numbers, intervals, metrics, checkpoints, and how whole a run is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from harness.comparison import whole
from harness.degenerate import describe_degenerate
from harness.nouns import Result, Summary

# What † stands for, beside a number.
UNKNOWN_WEIGHTS = "weights with a digest that is not known to be the published one"

# How many samples a Fréchet distance takes for a covariance of full rank: one more than its features have columns.
FULL_RANK = {
    "fid": 2049,
    "fid_clean": 2049,
    "fid_infinity": 2049,
    "clip_fid": 513,
    "fd": 2049,
    "fd_32k": 2049,
    "fid-tiny": 129,
    "fid_infinity-tiny": 129,
    "clip_fid-tiny": 33,
    "fd-tiny": 97,
}

_ARROWS = {"higher": "↑", "lower": "↓"}


def rounded(value: float) -> str:
    """Three decimals below 10, two from there on."""
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"
    return text.removeprefix("-") if not float(text) else text


def interval(result: Result) -> str:
    """The interval of a result; "" where it has none."""
    if result.low is None or result.high is None:
        return ""
    return f"[{rounded(result.low)}, {rounded(result.high)}]"


def rank_note(results: Iterable[Result]) -> str:
    """What to say of the Fréchet distances among these that are of too few outputs, or too few different references;
    "" where there are none."""
    smaller = {(one.metric, min(one.scored, one.references or one.scored)): None for one in results}
    few = [(metric, n) for metric, n in smaller if n < FULL_RANK.get(metric, 0)]
    said = [f"{metric} of n = {n} (from {FULL_RANK[metric]:,} on it would not be)" for metric, n in few]
    return f"of too few samples, its covariance is singular: {', '.join(said)}; compare equal n alone." if said else ""


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
