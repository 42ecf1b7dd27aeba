"""A run as it stands in its store, read once and by nobody's leave: while it is being written, and before it is summed
up, there is less of it, and the gallery shows that much."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from harness.degenerate import mark_repeated
from harness.errors import warn
from harness.generation import GENERATIONS, read_generations
from harness.inputs import read_cases
from harness.nouns import Case, Generation, Selection, Summary
from harness.progress import read_status
from harness.scoring import SCORES
from harness.store import Store, StoreError, Table
from harness.summary import Beginning, last_summary, read_beginning

Select = Callable[[Selection, tuple[Case, ...]], tuple[Case, ...]]
# (case, sample, turn, output) -> the number of the metric among Shown.metrics, and the score.
Scores = Mapping[tuple[str, int, int, int], Sequence[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a gallery is made of.

    `cases` are the planned ones in plan order, `samples` how many answers each should have, `answers` those that are
    there by (case, sample, turn), `metrics` the names of what was scored. `summary` is None before the run's command
    ended; `doing` then or now says what is under way, "" where nothing is.
    """

    store: Store
    beginning: Beginning
    summary: Summary | None
    doing: str
    cases: tuple[Case, ...]
    samples: int
    answers: Mapping[tuple[str, int, int], Generation]
    metrics: tuple[str, ...]
    scores: Scores


def read_run(store: Store, folder: str, select: Select) -> Shown:
    """Read a run; `select` gives the cases that a selection means.

    Of a run that is not summed up yet, the cases are those with an answer. StoreError names a file that the run cannot
    be shown without and that is not there or damaged; damaged scores are named on stderr and left out.
    """
    beginning, summary = read_beginning(store, folder), last_summary(store, folder)
    everything = read_cases(store, folder, beginning.run.data)
    generations = read_generations(Table(store, f"{folder}/generations", GENERATIONS))
    if summary:
        cases, samples = select(summary.selection, everything), summary.selection.samples
    else:
        answered = {one.case for one in generations}
        cases = tuple(case for case in everything if case.id in answered)
        samples = max((one.sample + 1 for one in generations), default=0)
    planned = {case.id for case in cases}
    wanted = [one for one in generations if one.case in planned and one.sample < samples]
    metrics, scores = _read_scores(store, folder, summary)
    return Shown(
        store=store,
        beginning=beginning,
        summary=summary,
        doing=_under_way(store, folder),
        cases=cases,
        samples=samples,
        answers={(one.case, one.sample, one.turn): one for one in mark_repeated(wanted, everything)},
        metrics=metrics,
        scores=scores,
    )


def _read_scores(store: Store, folder: str, summary: Summary | None) -> tuple[tuple[str, ...], Scores]:
    """Every score of a run, the metrics in the order of its results."""
    table = Table(store, f"{folder}/scores", SCORES)
    found = {PurePosixPath(name).stem: name for name in table.shards()}
    ordered = dict.fromkeys([one.metric for one in summary.results] if summary else [])
    metrics: list[str] = []
    scores: dict[tuple[str, int, int, int], list[tuple[int, float]]] = defaultdict(list)
    for metric in [*(name for name in ordered if name in found), *(name for name in found if name not in ordered)]:
        try:
            rows = table.read_shard(found[metric]).to_pylist()
        except StoreError as error:
            warn(f"scores not shown: {error}")
            continue
        for row in rows:
            if math.isfinite(row["value"]):
                scores[row["case"], row["sample"], row["turn"], row["output"]].append((len(metrics), row["value"]))
        metrics += [metric] if rows else []
    return tuple(metrics), scores


def _under_way(store: Store, folder: str) -> str:
    said = read_status(store, folder)
    if said is None or said.stage in ("complete", "ended"):
        return ""
    return f"{said.stage}: {said.done} of {said.total} at {said.updated}; under way, or interrupted"
