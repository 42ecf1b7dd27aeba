"""A device that runs out of memory: halves, what fits is remembered and said, what never fits is an error row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from failing_toys import GREEDY, GreedyLengths, Stuttering
from toys import text_case, text_cases

from harness.attempts import Room
from harness.extraction import Missing, Row, Source, extract, read_vectors
from harness.generation import GENERATIONS, GenerationTask, generate, plan, read_generations
from harness.nouns import Case, ExtractorCard, Generation, Media, Worker
from harness.pool import LocalPool, Pool
from harness.store import Store, StoreError, Table
from harness.weights import Weights

Answer = Callable[..., list[Generation]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "store"))


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[], list[int]]:
    """The sizes of the batches that the system was asked for, one after another, since the last call."""
    journal = tmp_path / "journal"
    journal.touch()

    def sizes() -> list[int]:
        lines = [int(line.split()[-1]) for line in journal.read_text().splitlines()]
        journal.write_text("")
        batches = []
        while lines:
            batches.append(lines[0])
            lines = lines[lines[0] :]
        return batches

    return sizes


@pytest.fixture
def answer(store: Store, tmp_path: Path) -> Answer:
    """Answers cases, in batches of eight, with a system whose device has room for `room`."""

    def run(cases: tuple[Case, ...], pool: Pool | None = None, run: str = "run", **settings: str) -> list[Generation]:
        settings = {"journal": str(tmp_path / "journal"), "room": "3", **settings}
        task = GenerationTask(GREEDY, "", "", settings, store, store.mark(), f"{run}/media")
        table = Table(store, f"{run}/generations", GENERATIONS)
        generate(task, plan(cases, 1, 0, 8), set(), pool or LocalPool(), table, lambda answered, failed: None)
        return read_generations(table)

    return run


def test_a_batch_that_does_not_fit_is_halved_and_what_fits_is_used_from_then_on(
    answer: Answer, asked: Callable[[], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = answer(text_cases(24))
    assert asked() == [8, 4, 2, 2, 4, 2, 2] + [2] * 8
    assert [row.error for row in rows] == [""] * 24
    assert {row.batch_size for row in rows} == {2}, "rows say what they were really made in"
    assert [row.batch for row in rows] == [0] * 8 + [1] * 8 + [2] * 8, "and keep their place in the plan"
    said = capsys.readouterr().err
    assert said.count("the device has no memory for 8 samples at once: they are worked on 2 at a time") == 1


def test_another_worker_of_the_run_begins_with_what_fits(answer: Answer, asked: Callable[[], list[int]]) -> None:
    answer(text_cases(8))
    asked()
    answer(text_cases(8))
    assert asked() == [2, 2, 2, 2]
    answer(text_cases(8), run="another")
    assert asked() == [8, 4, 2, 2, 4, 2, 2], "other settings may fit otherwise"


def test_an_item_that_never_fits_is_its_own_error_and_does_not_make_all_others_small(
    answer: Answer, asked: Callable[[], list[int]]
) -> None:
    cases = (*text_cases(7), text_case("huge", prompt="a huge one"), *(text_case(f"d{n}") for n in range(8)))
    rows = {row.case: row for row in answer(cases, room="8")}
    assert asked() == [8, 4, 4, 2, 2, 1, 1, 4, 4]
    assert rows["huge"].error.startswith("OutOfMemoryError: CUDA out of memory: 1 items (failing_toys.py:")
    assert {name for name, row in rows.items() if row.error} == {"huge"}


def test_what_a_failed_attempt_held_is_freed_before_the_next(answer: Answer) -> None:
    """The toy looks whether its array is gone when it is asked again."""
    assert {row.error for row in answer(text_cases(8))} == {""}


@pytest.mark.parametrize("said", [b'{"batch', b'{"batch_size": -3}', b'{"batch_size": 0}', b"[]"])
def test_a_damaged_memory_of_what_fits_is_named(store: Store, said: bytes) -> None:
    store.write("run/batch_size-cpu.json", said)
    with pytest.raises(StoreError, match=r"batch_size-cpu\.json: damaged; remove it"):
        Room.remembered(store, "run/batch_size-cpu.json")


def test_an_extractor_that_runs_out_of_memory_halves_and_remembers_too(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    GreedyLengths.sizes.clear()
    card = ExtractorCard(Worker("failing_toys:GreedyLengths", gpus=0, batch=4), "none", weightless=True)
    source = Source.of("lengths", card, Weights("", "", known=True), store, "run")
    rows = [Row("c", 0, n, 0, (Media("text", text="x" * n, digest=f"{n}"),)) for n in range(8)]
    errors = extract(source, Missing.of(source, rows), store, LocalPool(), False, lambda done, failed: None)
    assert errors == {}
    assert GreedyLengths.sizes == [4, 2, 2, 2, 2]
    assert {key: vector.tolist() for key, vector in read_vectors(source).items()} == {f"{n}": [n] for n in range(8)}
    assert capsys.readouterr().err.count("no memory for 4 samples at once") == 1


def test_a_batch_that_is_answered_twice_is_committed_once(answer: Answer) -> None:
    rows = answer(text_cases(6), pool=Stuttering(), room="8")
    assert [(row.case, row.sample) for row in rows] == [(f"c{number:03}", 0) for number in range(6)]
