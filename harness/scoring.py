"""The third stage: features to scores, scores to results. NumPy only; cheap, so done anew each time and replaced.

What could not be scored has no score, and every result says how many samples it rests on and how many were expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.extraction import Row, Source, Vectors, features_of, read_vectors, rows_of
from harness.nouns import Case, Features, Generation, Metric, Need, Result, Score, Suite, Turn
from harness.sealing import parquet
from harness.statistics import aggregate, interval, jackknife_interval
from harness.store import Store

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

# The share of the clusters that outputs and references must have in common for an interval of the whole set.
SHARED = 0.9

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
    """Cases that a result is about: all of them (name ""), or those with one value of a tag ("subject=dog6").

    `turn` is the one turn of them, from 0, that it is about ("turn=1" is the first); None for all turns.
    """

    name: str
    cases: frozenset[str]
    expected: int
    turn: int | None = None


def applies(metric: Metric, cases: Iterable[Case]) -> bool:
    """Whether any turn of these cases has all the parts that the metric needs."""
    return any(_outputs_for(metric, case) for case in cases)


@dataclass
class Material:
    """What one pass of scoring works on: the planned cases and their answers.

    Rows and features are made once, however many metrics look at them; so all is extracted before anything is scored.
    """

    planned: Sequence[Case]
    answers: Answers
    sources: Mapping[str, Source]
    _rows: dict[Need, list[Row]] = field(default_factory=dict)
    _vectors: dict[str, Vectors] = field(default_factory=dict)

    def rows(self, need: Need) -> list[Row]:
        """The rows that a need asks for."""
        if need not in self._rows:
            self._rows[need] = rows_of(need, self.planned, self.answers)
        return self._rows[need]

    def rows_by_extractor(self, metrics: Iterable[Metric]) -> dict[str, list[Row]]:
        """For each extractor, the rows that any of the metrics needs of it."""
        rows: dict[str, list[Row]] = {}
        for need in dict.fromkeys(need for metric in metrics for need in metric.needs.values()):
            rows.setdefault(need.extractor, []).extend(self.rows(need))
        return rows

    def features(self, need: Need) -> Features:
        """The features that a need asks for, as far as they are there."""
        if need.extractor not in self._vectors:
            self._vectors[need.extractor] = read_vectors(self.sources[need.extractor])
        return features_of(self._vectors[need.extractor], self.rows(need))

    def features_by_role(self, metric: Metric) -> dict[str, Features]:
        """The features of a metric's needs, without what cannot be compared whole.

        Where one reference of a turn has no feature (a damaged file), the turn is left out: compared with the others
        alone, its outputs would get another number under the same name.
        """
        features = {role: self.features(need) for role, need in metric.needs.items()}
        lacking: set[tuple[str, int, int, int]] = set()
        for role, need in metric.needs.items():
            if len(features[role].case) < len(rows := self.rows(need)):
                vectors = self._vectors[need.extractor]
                lacking |= {(row.case, row.turn, row.sample, row.output) for row in rows if row.key not in vectors}
        return {role: _without(one, lacking) for role, one in features.items()} if lacking else features

    @cached_property
    def degenerate(self) -> frozenset[tuple[str, int]]:
        """The samples with a flag."""
        return frozenset((one.case, one.sample) for turn in self.answers.values() for one in turn if one.degenerate)


def score(metric: Metric, suite: Suite, cases: Sequence[Case], material: Material) -> Scored:
    """Score the planned cases (all `cases` of the data folder, or a limit's prefix of them) with one metric.

    Raises UsageError when a value is outside the metric's range: such a number is a bug, never a score.
    """
    sources, planned, flagged = material.sources, material.planned, material.degenerate
    features = material.features_by_role(metric)
    line = signature(metric, suite, sources)
    known = all(sources[need.extractor].weights.known for need in metric.needs.values())
    groups = list(_groups(metric, suite, cases, planned))
    clusters = {case.id: case.tags.get(suite.cluster, case.id) for case in planned}
    if metric.level == "set":
        others = [row for need in metric.needs.values() if "output" not in need.of for row in material.rows(need)]
        results = [_set_result(metric, features, others, clusters, group, line, known, flagged) for group in groups]
        return Scored(metric.name, (), tuple(one for one in results if one))
    scores = _scores(metric, features)
    groups += _turns(metric, suite, cases, planned)
    results = [_mean_result(suite, scores, clusters, group, metric.name, line, known, flagged) for group in groups]
    unscored = len(_asked_for(metric, features["output"], planned)) - len(scores)
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
    columns = [[getattr(one, name) for one in scored.scores] for name in SCORES.names]
    store.write(f"{folder}/scores/{scored.metric}.parquet", parquet(pa.table(columns, schema=SCORES), sealed=True))


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


def _asked_for(metric: Metric, output: Features, cases: Sequence[Case]) -> list[tuple[str, int]]:
    """The turn of each output, but of those turns that lack a part: to them the metric does not apply."""
    turns = {(case.id, number): turn for case in cases for number, turn in enumerate(case.turns)}
    rows = zip(output.case.tolist(), output.turn.tolist(), strict=True)
    return [row for row in rows if _has_parts(metric, turns[row])]


def _mean_result(
    suite: Suite,
    scores: Sequence[Score],
    clusters: Mapping[str, str],
    group: Group,
    metric: str,
    line: str,
    known: bool,
    flagged: Set[tuple[str, int]],
) -> Result | None:
    chosen = [one for one in scores if one.case in group.cases and group.turn in (None, one.turn)]
    if not chosen:
        return None
    values = np.array([one.value for one in chosen])
    names = np.array([one.case for one in chosen])
    units = np.array([clusters[one.case] for one in chosen])
    value = aggregate(values, names, units, suite.aggregate)
    low, high = interval(values, names, units, suite.aggregate) or (None, None)
    degenerate = sum((one.case, one.sample) in flagged for one in chosen)
    return Result(metric, group.name, value, low, high, len(chosen), group.expected, line, known, degenerate)


def _set_result(
    metric: Metric,
    features: Mapping[str, Features],
    others: Sequence[Row],
    clusters: Mapping[str, str],
    group: Group,
    line: str,
    known: bool,
    flagged: Set[tuple[str, int]],
) -> Result | None:
    """A number of the whole set; None for a group (never for the suite) of which the metric cannot be computed."""
    chosen = {role: _chosen(one, group.cases) for role, one in features.items()}
    scored = len(chosen["output"].case)
    if not all(len(one.case) for one in chosen.values()):
        return None
    try:
        value = float(metric.compute(**chosen))
    except UsageError:
        if group.name:
            return None
        raise
    if not np.isfinite(value):
        return None
    _check_range(metric, np.array([value]))
    low, high = (None if metric.draws else _set_interval(metric, value, chosen, clusters)) or (None, None)
    references = len({row.key for row in others if row.case in group.cases})
    output = chosen["output"]
    degenerate = sum(one in flagged for one in zip(output.case.tolist(), output.sample.tolist(), strict=True))
    return Result(
        metric.name, group.name, value, low, high, scored, group.expected, line, known, degenerate, references
    )


def _set_interval(
    metric: Metric, value: float, features: Mapping[str, Features], clusters: Mapping[str, str]
) -> tuple[float, float] | None:
    """The jackknife's interval, cut at the ends of the metric's range; None where too few are left to compute it.

    It leaves out outputs and references of the same clusters, so there is none where many have but one of the two.
    """

    def without(names: frozenset[str]) -> float:
        kept = frozenset(case for case, cluster in clusters.items() if cluster not in names)
        return float(metric.compute(**{role: _chosen(one, kept) for role, one in features.items()}))

    sides = [[clusters[case] for case in one.case.tolist()] for one in features.values()]
    shared = set[str].intersection(*map(set, sides))
    if len(shared) < SHARED * max(len({*side}) for side in sides):
        return None
    try:
        found = jackknife_interval(value, without, [cluster for side in sides for cluster in side])
    except UsageError:
        return None
    return found and (max(found[0], metric.range[0]), min(found[1], metric.range[1]))


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


def _turns(metric: Metric, suite: Suite, cases: Sequence[Case], planned: Sequence[Case]) -> Iterator[Group]:
    """Every turn of a suite of conversations that has all its cases: what the first ones made, later ones may lose."""
    rounds = max((len(case.turns) for case in cases), default=0)
    if rounds < 2 or len(cases) < suite.size:
        return
    for number in range(rounds):
        turns = [case.turns[number] for case in cases if number < len(case.turns)]
        expected = sum(len(turn.wants) for turn in turns if _has_parts(metric, turn)) * suite.samples
        yield Group(f"turn={number + 1}", frozenset(case.id for case in planned), expected, number)


def _outputs_for(metric: Metric, case: Case) -> int:
    """How many outputs a sample has in the turns of the case that have all the parts which the metric needs of them."""
    return sum(len(turn.wants) for turn in case.turns if _has_parts(metric, turn))


def _has_parts(metric: Metric, turn: Turn) -> bool:
    wanted = {part for need in metric.needs.values() for part in need.of if metric.paired} - {"output", "input"}
    return all(turn.parts.get(part) for part in wanted)


def _chosen(features: Features, cases: frozenset[str]) -> Features:
    return _masked(features, [case in cases for case in features.case.tolist()])


def _without(features: Features, lacking: Set[tuple[str, int, int, int]]) -> Features:
    """The rows but those that lack a part: of their own, or of their turn's (sample and output -1)."""
    columns = (features.case, features.turn, features.sample, features.output)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return _masked(features, [row not in lacking and (*row[:2], -1, -1) not in lacking for row in rows])


def _masked(features: Features, keep: Sequence[bool]) -> Features:
    inside = np.array(keep, dtype=bool)
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
