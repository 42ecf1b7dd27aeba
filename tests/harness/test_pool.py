from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toys import Doubling, Stillborn

from harness.errors import UsageError
from harness.nouns import Worker
from harness.pool import Batch, LocalPool
from harness.ray_pool import RayPool

WORKER = Worker("toys:Doubling", gpus=0)


@pytest.fixture(scope="module")
def ray_pool() -> Iterator[RayPool]:
    """One private Ray with two workers for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "toys"))
        pool = RayPool(workers=2)
        yield pool
        pool.close()


def batches(*items: tuple[int, ...]) -> list[Batch]:
    return [Batch(number, part) for number, part in enumerate(items)]


def test_the_local_pool_answers_in_order() -> None:
    outcomes = list(LocalPool().map(Doubling(), batches((1, 2), (3,)), WORKER))
    assert [outcome.rows for outcome in outcomes] == [[2, 4], [6]]


@pytest.mark.ray
def test_ray_answers_what_the_local_pool_answers(ray_pool: RayPool) -> None:
    work = batches(*((number, number + 1) for number in range(20, 60, 2)))
    local = [(one.batch, list(one.rows)) for one in LocalPool().map(Doubling(), work, WORKER)]
    distributed = [(one.batch, list(one.rows)) for one in ray_pool.map(Doubling(), work, WORKER)]
    assert sorted(distributed, key=lambda one: one[0].index) == local


@pytest.mark.ray
def test_an_item_that_kills_workers_is_found_and_its_neighbours_are_answered(ray_pool: RayPool, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    outcomes = list(ray_pool.map(Doubling(str(journal)), batches((1, 2, -1, 4), (5, 6)), WORKER))
    answered = sorted(row for outcome in outcomes for row in outcome.rows)
    lost = [outcome for outcome in outcomes if outcome.lost]
    assert answered == [2, 4, 8, 10, 12]
    assert [outcome.batch.items for outcome in lost] == [(-1,)]
    assert "killed 3 workers" in lost[0].lost
    deaths = sum("-1" in line for line in journal.read_text().splitlines())
    assert deaths <= 2 + 2 + 3, "whole twice, a half of two at most twice, alone three times"


@pytest.mark.ray
def test_what_a_task_raises_reaches_the_driver(ray_pool: RayPool) -> None:
    with pytest.raises(ArithmeticError, match="13 is not to be doubled"):
        list(ray_pool.map(Doubling(), batches((13,)), WORKER))


@pytest.mark.ray
def test_a_stage_with_other_needs_gets_the_room_of_the_stage_before(ray_pool: RayPool) -> None:
    """Two idle actors hold both slots; a stage that cannot take them over must not wait for them."""
    assert len(list(ray_pool.map(Doubling(), batches((1,), (2,), (3,)), WORKER))) == 3
    other = replace(WORKER, env={"ANYBENCH_TOY": "1"})
    assert sorted(row for one in ray_pool.map(Doubling(), batches((1,), (2,)), other) for row in one.rows) == [2, 4]


@pytest.mark.ray
def test_workers_that_die_while_they_load_end_the_run_with_one_line(ray_pool: RayPool) -> None:
    with pytest.raises(UsageError, match="workers die while they load"):
        list(ray_pool.map(Stillborn(), batches((1,)), WORKER))


@pytest.mark.ray
def test_the_pool_works_on_after_a_task_that_raised_or_was_left(ray_pool: RayPool) -> None:
    with pytest.raises(ArithmeticError):
        list(ray_pool.map(Doubling(), batches((13,), (1,), (2,)), WORKER))
    next(iter(ray_pool.map(Doubling(), batches((1,), (2,), (3,)), WORKER)))
    assert len(list(ray_pool.map(Doubling(), batches((1,), (2,)), WORKER))) == 2


@pytest.mark.ray
def test_no_batches_cost_no_workers() -> None:
    pool = RayPool()
    assert list(pool.map(Doubling(), [], WORKER)) == []
    assert not pool._connected


def test_an_address_where_nothing_listens_is_said_in_seconds() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match=f"127.0.0.1:{port}: nothing answers there"):
        list(RayPool(address=f"127.0.0.1:{port}").map(Doubling(), batches((1,)), WORKER))
