"""A suite of conversations has a figure for each turn, since what the first ones made may be lost by later ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from toys import LENGTHS, LONGER, toy_suite

from harness.extraction import Missing, Source, extract
from harness.identity import digest_bytes
from harness.nouns import Case, Generation, Media, Metric, Result, Turn
from harness.pool import LocalPool
from harness.scoring import Material, score
from harness.store import Store
from harness.weights import NO_WEIGHTS


def said(text: str) -> Media:
    return Media("text", text=text, digest=digest_bytes(text.encode()))


TURN = Turn((said("in"),), ("text",), {"reference": (said(""),)})
CASES = (Case("a", (TURN,) * 3, {"subject": "a"}), Case("b", (TURN,) * 2, {"subject": "b"}))


def results(tmp_path: Path, metric: Metric, size: int) -> tuple[Result, ...]:
    """Those of answers that are as long as the number of their turn, from 1."""
    store = Store.at(str(tmp_path))
    source = Source.of("lengths", LENGTHS, NO_WEIGHTS, store, "runs/r")
    answers = {
        (case.id, turn): [Generation(case.id, 0, turn, (said("x" * (turn + 1)),))]
        for case in CASES
        for turn in range(len(case.turns))
    }
    material = Material(CASES, answers, {"lengths": source})
    for rows in material.rows_by_extractor([metric]).values():
        extract(source, Missing.of(source, rows), store, LocalPool(), False, lambda done, failed: None)
    return score(metric, replace(toy_suite(size, samples=1), groups=()), CASES, material).results


def test_each_turn_has_its_own_figure(tmp_path: Path) -> None:
    found = [(one.group, one.value, one.scored, one.expected) for one in results(tmp_path, LONGER, 2)]
    assert found == [("", 1.75, 5, 5), ("turn=1", 1.0, 2, 2), ("turn=2", 2.0, 2, 2), ("turn=3", 3.0, 1, 1)]


def test_a_number_of_the_whole_set_and_a_suite_that_lacks_cases_have_no_turns(tmp_path: Path) -> None:
    whole = replace(LONGER, level="set", compute=lambda output, reference: float(len(output.case)))
    assert [one.group for one in results(tmp_path / "set", whole, 2)] == [""]
    assert [one.group for one in results(tmp_path / "lacking", LONGER, 3)] == [""]
