"""What the pool does when workers die, hang or are killed for memory: real processes, really killed.

Ray's memory kill is raised as the driver sees it, by the work itself; one by Ray's own monitor is a heavy test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from failing_toys import TOY, DiesAfterAnswering, Errand, Errands, Sleeper, Talker
from toys import ECHO, Doubling, text_cases

from harness import ray_crew
from harness.errors import UsageError
from harness.generation import GENERATIONS, GenerationTask, generate, plan
from harness.pool import Batch, Outcome
from harness.ray_pool import RayPool
from harness.store import Store, Table

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    """One private Ray with two workers for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "toys"))
        pool = RayPool(workers=2)
        yield pool
        pool.close()


@pytest.fixture
def errands(tmp_path: Path) -> Errands:
    """The task, with a journal of its own."""
    (tmp_path / "journal").touch()
    return Errands(str(tmp_path / "journal"))


def run(pool: RayPool, errands: Errands, *batches: Sequence[Errand]) -> tuple[list[int], list[Outcome]]:
    """The answers, sorted, and what was given up."""
    cut = [Batch(number, tuple(batch)) for number, batch in enumerate(batches)]
    outcomes = list(pool.map(errands, cut, TOY))
    return sorted(row for one in outcomes for row in one.rows), [one for one in outcomes if one.lost]


def test_a_worker_that_hangs_is_killed_and_its_batch_tried_elsewhere(
    pool: RayPool, errands: Errands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "timeout", 3)
    answers, lost = run(pool, errands, [Errand(1, "hang", times=1)], [Errand(2)], [Errand(3)])
    assert (answers, lost) == ([2, 4, 6], [])
    (_, first, _), (_, second, _) = errands.lines(1)
    assert first != second


@pytest.mark.heavy
def test_an_item_that_hangs_every_worker_is_given_up_with_the_reason(
    pool: RayPool, errands: Errands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "timeout", 3)
    answers, lost = run(pool, errands, [Errand(1, "hang")], [Errand(2)])
    assert answers == [4]
    assert [one.lost for one in lost] == ["killed 3 workers: gave no answer within 3 s"]
    assert len(errands.lines(1)) == 3


@pytest.mark.heavy
def test_a_worker_whose_process_is_stopped_is_killed_all_the_same(
    pool: RayPool, errands: Errands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "timeout", 3)
    assert run(pool, errands, [Errand(1, "stop", times=1)], [Errand(2)], [Errand(3)]) == ([2, 4, 6], [])


@pytest.mark.heavy
def test_loading_that_hangs_ends_the_run_with_one_line(pool: RayPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "timeout", 2)
    with pytest.raises(UsageError, match="workers die while they load: gave no answer within 2 s"):
        list(pool.map(Sleeper(), [Batch(0, (1,))], TOY))


def test_a_memory_kill_in_company_blames_nobody_and_the_crew_goes_on_with_one_worker_fewer(
    pool: RayPool, errands: Errands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.ray_crew.TRIES_ALONE", 1)  # one death that counts would lose the item
    company = [[Errand(number, seconds=0.5)] for number in range(2, 8)]
    answers, lost = run(pool, errands, company[0], [Errand(1, "memory", times=1, company=2)], *company[1:])
    assert (answers, lost) == ([2, 4, 6, 8, 10, 12, 14], [])
    assert capsys.readouterr().err.count("this stage goes on with 1 workers") == 1
    assert len({process for _, process, _ in errands.lines()}) == 2, "nobody took the place of the one that was killed"


def test_a_memory_kill_of_the_only_worker_counts_as_the_batchs_own(pool: RayPool, errands: Errands) -> None:
    answers, lost = run(pool, errands, [Errand(1, "memory")])
    assert answers == []
    assert lost[0].lost.startswith("killed 3 workers: ")
    assert len(errands.lines(1)) == 3


def test_what_workers_have_to_say_is_said_once(pool: RayPool, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = list(pool.map(Talker(), [Batch(number, (number,)) for number in range(6)], TOY))
    assert len({one.rows[0] for one in outcomes}) == 2, "two workers had it to say"
    assert capsys.readouterr().err.count("the toy has something to say") == 1


def test_a_batch_whose_answers_were_lost_on_the_way_is_answered_again_and_committed_once(
    pool: RayPool, tmp_path: Path
) -> None:
    store, journal = Store.at(str(tmp_path / "store")), tmp_path / "journal"
    task = GenerationTask(ECHO, "", "", {"journal": str(journal)}, store, store.mark(), "run/media")
    table = Table(store, "run/generations", GENERATIONS)
    dying = DiesAfterAnswering(task, str(tmp_path / "mark"))
    generate(dying, plan(text_cases(4), 1, 0, 4), set(), pool, table, lambda answered, failed: None)
    assert len(journal.read_text().splitlines()) == 8, "answered twice"
    assert sorted(row["case"] for row in table.read()) == ["c000", "c001", "c002", "c003"]


def test_a_system_that_kills_every_worker_ends_the_run_and_not_the_whole_suite_first(
    pool: RayPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_crew, "DEATHS_IN_A_ROW", 4)
    work = pool.map(Doubling(), [Batch(number, (-1,)) for number in range(50)], TOY)
    with pytest.raises(UsageError, match="4 workers in a row died at work, and no batch was answered in between"):
        list(work)
