from __future__ import annotations

from dataclasses import replace

import pytest

from harness.comparison import unlike_results, unlike_runs
from harness.nouns import Result, Run, Selection, Summary

SIGNATURE = "dino|v1|dreambench@1|dino-vits16@1:sha256=0123456789ab|256bicubic-crop224|fp32|all-refs|macro"
RESULT = Result("dino", "", 0.5, 0.4, 0.6, 10, 10, SIGNATURE)
SUMMARY = Summary(
    run_id="one", store="", run=Run("dreambench", 1, "data", "s", 1, "code", "weights", 0, {}), checkpoint="",
    selection=Selection(4), expected=10, planned=10, generated=10, failed=0, failures=(), degenerate={}, absent=(),
    results=(RESULT,), table="", started="", provenance={},
)  # fmt: skip


def test_a_run_can_be_compared_with_one_of_another_system_seed_and_checkpoint() -> None:
    other = replace(SUMMARY, run=replace(SUMMARY.run, system="t", code="c", weights="w", seed=7, settings={"a": "b"}))
    assert unlike_runs(SUMMARY, other) == ()


@pytest.mark.parametrize(
    ("place", "word", "field"),
    [
        (1, "v2", "metric version: v1 and v2"),
        (2, "dreambench@2", "suite version: dreambench@1 and dreambench@2"),
        (3, "dino-vits16@1:sha256=ffffffffffff", "extractor and weights: dino-vits16@1:sha256=0123456789ab and dino-"),
        (4, "224squash", "preprocessing: 256bicubic-crop224 and 224squash"),
        (5, "bf16", "precision: fp32 and bf16"),
        (6, "one-ref", "references: all-refs and one-ref"),
        (7, "micro", "aggregation: macro and micro"),
    ],
)
def test_unlike_signatures_are_told_by_the_field_that_differs(place: int, word: str, field: str) -> None:
    words = SIGNATURE.split("|")
    words[place] = word
    other = replace(SUMMARY, run_id="two", results=(replace(RESULT, signature="|".join(words)),))
    (line,) = unlike_runs(SUMMARY, other)
    assert line.startswith(field)


def test_unlike_questions_are_told_by_name() -> None:
    run = replace(SUMMARY.run, data="other data", version=2)
    other = replace(SUMMARY, run=run, selection=Selection(2, limit="3", cases=("a", "b")))
    assert unlike_runs(SUMMARY, other) == (
        "suite version: 1 and 2",
        "data: data and other data",
        "samples a case: 4 and 2",
        "limit: none and 3",
        "cases: all and a, b",
    )


def test_a_distance_between_sets_is_never_compared_at_unequal_n() -> None:
    distance = replace(RESULT, metric="fd", signature=SIGNATURE.replace("dino|", "fd|").replace("macro", "set"))
    assert unlike_results(distance, replace(distance, scored=9)) == ("n of fd: 10 and 9",)
    assert unlike_results(distance, replace(distance, value=3.0)) == ()


def test_a_mean_is_compared_at_unequal_n_for_its_coverage_stands_beside_it() -> None:
    assert unlike_results(RESULT, replace(RESULT, scored=9)) == ()
