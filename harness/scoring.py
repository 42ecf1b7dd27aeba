"""The third stage: features to scores, scores to results. NumPy only; cheap, so done anew each time and replaced.

What could not be scored has no score, and every result says how many samples it rests on and how many were expected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.extraction import Row, Source, read_features, rows_of
from harness.nouns import Case, Features, Generation, Metric, Result, Score, Suite
from harness.statistics import aggregate, interval
from harness.store import Store, parquet

SCORES = pa.schema(
    [
        ("metric", pa.string()),
        ("case", pa.string()),
        ("turn", pa.int64()),
        ("sample", pa.int64()),
        ("output", pa.int64()),
        ("value", pa.float64()),
    ]
)

# How far rounding may carry a value past the end of its metric's range.
ROUNDING = 1e-6

Answers = Mapping[tuple[str, int], Sequence[Generation]]


@dataclass(frozen=True, slots=True)
class Scored:
    """One metric, scored: a score for each output (none at level "set"), its results, and how many outputs had none."""

    metric: str
    scores: tuple[Score, ...]
    results: tuple[Result, ...]
    unscored: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that a result is about: all of them (name ""), or those with one value of a tag ("subject=dog6")."""

    name: str
    cases: frozenset[str]
    expected: int


def applies(metric: Metric, cases: Iterable[Case]) -> bool:
    """Whether any turn of these cases has all the parts that the metric needs."""
    return any(_outputs_for(metric, case) for case in cases)


def rows_by_extractor(metrics: Iterable[Metric], cases: Sequence[Case], answers: Answers) -> dict[str, list[Row]]:
    """For each extractor, the rows that any of the metrics needs of it."""
    rows: dict[str, list[Row]] = {}
    for need in dict.fromkeys(need for metric in metrics for need in metric.needs.values()):
        rows.setdefault(need.extractor, []).extend(rows_of(need, cases, answers))
    return rows


def score(
    metric: Metric,
    suite: Suite,
    cases: Sequence[Case],
    planned: Sequence[Case],
    answers: Answers,
    sources: Mapping[str, Source],
) -> Scored:
    """Score the planned cases (all `cases` of the data folder, or a limit's prefix of them) with one metric.

    Raises UsageError when a value is outside the metric's range: such a number is a bug, never a score.
    """
    features = {
        role: read_features(sources[need.extractor], rows_of(need, planned, answers))
        for role, need in metric.needs.items()
    }
    line = signature(metric, suite, sources)
    known = all(sources[need.extractor].weights.known for need in metric.needs.values())
    groups = list(_groups(metric, suite, cases, planned))
    if metric.level == "set":
        results = [_set_result(metric, features, group, line, known) for group in groups]
        return Scored(metric.name, (), tuple(one for one in results if one))
    scores = _scores(metric, features)
    clusters = {case.id: case.tags.get(suite.cluster, case.id) for case in planned}
    results = [_mean_result(suite, scores, clusters, group, metric.name, line, known) for group in groups]
    unscored = len(features["output"].case) - len(scores)
    return Scored(metric.name, scores, tuple(one for one in results if one), unscored)


def signature(metric: Metric, suite: Suite, sources: Mapping[str, Source]) -> str:
    """One line that states the protocol of a number; numbers with unlike lines are never ranked together."""
    used = [sources[name] for name in sorted({need.extractor for need in metric.needs.values()})]
    networks = "+".join(
        f"{one.name}@{one.card.worker.version}:sha256={one.weights.digest[:12] or 'weightless'}" for one in used
    )
    preprocessing = "+".join(dict.fromkeys(one.card.preprocessing for one in used))
    dtype = "+".join(dict.fromkeys(one.card.dtype for one in used))
    words = (metric.name, f"v{metric.version}", f"{suite.name}@{suite.version}", networks, preprocessing, dtype)
    return "|".join((*words, suite.policy, suite.aggregate if metric.level == "sample" else "set"))


def write_scores(store: Store, folder: str, scored: Scored) -> None:
    """Write a metric's scores to the folder of a run, in place of earlier ones."""
    rows = pa.Table.from_pylist([dataclasses.asdict(one) for one in scored.scores], SCORES)
    store.write(f"{folder}/scores/{scored.metric}.parquet", parquet(rows))


def _scores(metric: Metric, features: Mapping[str, Features]) -> tuple[Score, ...]:
    """A score for each row of what was generated that has a finite value."""
    output = features["output"]
    if not len(output.case):
        return ()
    values: NDArray[np.float64] = np.asarray(metric.compute(**features), dtype=np.float64)
    if values.shape != output.case.shape:
        raise ValueError(f"metric {metric.name} gave shape {values.shape} for {len(output.case)} outputs")
    _check_range(metric, values)
    columns = (output.case, output.turn, output.sample, output.output, values)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(Score(metric.name, *row) for row in rows if np.isfinite(row[-1]))


def _mean_result(
    suite: Suite,
    scores: Sequence[Score],
    clusters: Mapping[str, str],
    group: Group,
    metric: str,
    line: str,
    known: bool,
) -> Result | None:
    chosen = [one for one in scores if one.case in group.cases]
    if not chosen:
        return None
    values = np.array([one.value for one in chosen])
    names = np.array([one.case for one in chosen])
    units = np.array([clusters[one.case] for one in chosen])
    value = aggregate(values, names, units, suite.aggregate)
    low, high = interval(values, names, units, suite.aggregate) or (None, None)
    return Result(metric, group.name, value, low, high, len(chosen), group.expected, line, known)


def _set_result(
    metric: Metric, features: Mapping[str, Features], group: Group, line: str, known: bool
) -> Result | None:
    """A set's number has no interval: resampling moves a distance away from its own value."""
    chosen = {role: _chosen(one, group.cases) for role, one in features.items()}
    scored = len(chosen["output"].case)
    if not all(len(one.case) for one in chosen.values()):
        return None
    value = float(metric.compute(**chosen))
    if not np.isfinite(value):
        return None
    _check_range(metric, np.array([value]))
    return Result(metric.name, group.name, value, None, None, scored, group.expected, line, known)


def _groups(metric: Metric, suite: Suite, cases: Sequence[Case], planned: Sequence[Case]) -> Iterator[Group]:
    """The whole suite, then every value of every tag the suite groups by, in the order of the cases.

    Where the data folder lacks cases, nobody knows how many of them are of a group, so only clusters are shown: these
    are there or not.
    """
    absent = (suite.size - len(cases)) * suite.samples
    yield _group("", metric, suite, cases, planned, absent)
    for tag in suite.groups if not absent else {suite.cluster} & {*suite.groups}:
        for value in dict.fromkeys(case.tags[tag] for case in planned if tag in case.tags):
            members = [case for case in cases if case.tags.get(tag) == value]
            yield _group(f"{tag}={value}", metric, suite, members, planned, 0)


def _group(
    name: str, metric: Metric, suite: Suite, members: Sequence[Case], planned: Sequence[Case], absent: int
) -> Group:
    expected = sum(_outputs_for(metric, case) for case in members) * suite.samples + absent
    inside = {case.id for case in members}
    return Group(name, frozenset(case.id for case in planned if case.id in inside), expected)


def _outputs_for(metric: Metric, case: Case) -> int:
    """How many outputs a sample has in the turns of the case that have all the parts which the metric needs."""
    wanted = {part for need in metric.needs.values() for part in need.of} - {"output", "input"}
    return sum(len(turn.wants) for turn in case.turns if all(turn.parts.get(part) for part in wanted))


def _chosen(features: Features, cases: frozenset[str]) -> Features:
    inside = np.array([case in cases for case in features.case.tolist()], dtype=bool)
    arrays = (features.values, features.case, features.turn, features.sample, features.output)
    return Features(*(array[inside] for array in arrays))


def _check_range(metric: Metric, values: NDArray[np.float64]) -> None:
    low, high = metric.range
    wrong = values[np.isfinite(values) & ((values < low - ROUNDING) | (values > high + ROUNDING))]
    if len(wrong):
        raise UsageError(
            f"metric {metric.name}: {len(wrong)} values outside its range [{low:g}, {high:g}], {wrong[0]:g} for one; "
            "no number is reported"
        )
