"""Which numbers may stand beside each other: answers to the same question, measured under the same protocol.

Tables rank, and `anybench verify` compares, only what is alike here; what is not is named by the field that differs. A
distance between two sets of outputs depends on how many there are (the bias of a Fréchet distance goes as 1 / n: Chong
and Forsyth 2020, arXiv 1911.07023), so for metrics of a whole set n is such a field too.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.nouns import Result, Summary

# The words of a signature, in the order in which harness.scoring.signature writes them.
SIGNATURE_FIELDS = (
    "metric",
    "metric version",
    "suite version",
    "extractor and weights",
    "preprocessing",
    "precision",
    "references",
    "aggregation",
)


def unlike_runs(one: Summary, other: Summary) -> tuple[str, ...]:
    """What keeps two runs from being compared, a line a field: the question, or a metric that both were scored with."""
    left, right = whole(one), whole(other)
    shared = [metric for metric in left if metric in right]
    lines = [line for metric in shared for line in unlike_results(left[metric], right[metric])]
    return tuple(dict.fromkeys((*_unlike_questions(one, other), *lines)))


def unlike_results(one: Result, other: Result) -> tuple[str, ...]:
    """What keeps two results from being compared, a line a field; none when they are alike."""
    words = one.signature.split("|"), other.signature.split("|")
    if len(words[0]) != len(SIGNATURE_FIELDS) or len(words[1]) != len(SIGNATURE_FIELDS):
        return () if one.signature == other.signature else (_differs("signature", one.signature, other.signature),)
    lines = [_differs(*field) for field in zip(SIGNATURE_FIELDS, *words, strict=True) if field[1] != field[2]]
    if words[0][-1] == words[1][-1] == "set" and one.scored != other.scored:
        lines.append(_differs(f"n of {one.metric}", str(one.scored), str(other.scored)))
    return tuple(lines)


def whole(summary: Summary) -> dict[str, Result]:
    """The results over the whole suite, by metric."""
    return {result.metric: result for result in summary.results if not result.group}


def _unlike_questions(one: Summary, other: Summary) -> Iterator[str]:
    left, right = one.selection, other.selection
    fields = (
        ("suite", one.run.suite, other.run.suite),
        ("suite version", str(one.run.version), str(other.run.version)),
        ("data", one.run.data[:12], other.run.data[:12]),
        ("samples a case", str(left.samples), str(right.samples)),
        ("limit", left.limit or "none", right.limit or "none"),
        ("cases", ", ".join(left.cases) or "all", ", ".join(right.cases) or "all"),
    )
    return (_differs(*field) for field in fields if field[1] != field[2])


def _differs(field: str, one: str, other: str) -> str:
    return f"{field}: {one} and {other}"
