from __future__ import annotations

import re
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import ECHO, image_cases, text_case, text_cases

from harness.errors import UsageError
from harness.generation import (
    GENERATIONS,
    GenerationTask,
    compact_generations,
    convert,
    generate,
    outstanding,
    plan,
    read_generations,
)
from harness.identity import sample_seed
from harness.nouns import Case, Generation, Worker
from harness.pool import Batch, LocalPool, Pool
from harness.ray_pool import RayPool
from harness.store import Store, StoreError, Table


def task(store: Store, worker: Worker = ECHO, **settings: str) -> GenerationTask:
    return GenerationTask(worker, "", "", settings, store, store.mark(), "media")


def answer(
    store: Store,
    batches: list[Batch],
    pool: Pool | None = None,
    worker: Worker = ECHO,
    report: Callable[[int, int], None] = lambda done, failed: None,
    **settings: str,
) -> list[Generation]:
    """Run the whole stage over what is outstanding, as a run does."""
    table = Table(store, "generations", GENERATIONS)
    done = {(one.case, one.sample) for one in read_generations(table)}
    wanted = {item.case.id for batch in batches for item in batch.items}
    generate(
        task(store, worker, **settings), outstanding(batches, wanted, done), done, pool or LocalPool(), table, report
    )
    return read_generations(table)


def said(generations: list[Generation]) -> list[tuple[str, int, str, str]]:
    return [(one.case, one.sample, *(media.text for media in one.outputs)) for one in generations]  # type: ignore[misc]


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 9))
def test_a_plan_holds_every_sample_once_in_the_order_of_the_cases(count: int, samples: int, size: int) -> None:
    cases = text_cases(count)
    batches = plan(cases, samples, 7, size)
    items = [item for batch in batches for item in batch.items]
    assert [(item.case.id, item.sample) for item in items] == [(c.id, s) for c in cases for s in range(samples)]
    assert all(item.seed == sample_seed(7, item.case.id, item.sample) for item in items)
    assert all(len(batch.items) == size for batch in batches[:-1])
    assert [batch.index for batch in batches] == list(range(len(batches)))


@given(st.integers(1, 30), st.integers(1, 9), st.data())
def test_outstanding_batches_are_the_plans_own_and_whole(count: int, size: int, data: st.DataObject) -> None:
    batches = plan(text_cases(count), 1, 0, size)
    done = data.draw(st.sets(st.sampled_from([(case.id, 0) for case in text_cases(count)])))
    left = outstanding(batches, {case.id for case in text_cases(count)}, done)
    assert all(batch in batches for batch in left)
    assert {(item.case.id, 0) for batch in left for item in batch.items} >= {
        (c.id, 0) for c in text_cases(count)
    } - done
    assert all(any((item.case.id, 0) not in done for item in batch.items) for batch in left)


def test_every_sample_is_answered_with_its_own_seed(tmp_path: Path) -> None:
    generations = answer(Store.at(str(tmp_path)), plan(text_cases(3), 2, 5, 4))
    assert said(generations) == [
        (f"c{case:03}", sample, f"prompt {case} {sample_seed(5, f'c{case:03}', sample)}")
        for case in range(3)
        for sample in range(2)
    ]
    assert [one.batch_size for one in generations] == [4, 4, 4, 4, 2, 2]


def test_running_again_asks_nothing_and_changes_nothing(tmp_path: Path) -> None:
    store, journal = Store.at(str(tmp_path / "store")), tmp_path / "journal"
    batches = plan(text_cases(5), 2, 0, 4)
    first = answer(store, batches, journal=str(journal))
    asked = journal.read_text()
    assert answer(store, batches, journal=str(journal)) == first
    assert journal.read_text() == asked
    assert len(asked.splitlines()) == 10


def test_one_bad_case_costs_only_itself(tmp_path: Path) -> None:
    cases = (*text_cases(3), text_case("bad", prompt="raise now"))
    counted: list[tuple[int, int]] = []
    generations = answer(
        Store.at(str(tmp_path)), plan(cases, 1, 0, 4), report=lambda done, failed: counted.append((done, failed))
    )
    errors = {one.case: one.error for one in generations}
    assert re.fullmatch(r"ValueError: cannot say 'raise now' \(toys\.py:\d+\)", errors.pop("bad")), "and where"
    assert errors == {"c000": "", "c001": "", "c002": ""}
    assert {one.batch_size for one in generations} == {1}, "answers of the retry are told apart by their batch's size"
    assert counted == [(4, 1)]


def test_an_error_is_kept_until_it_is_tried_again_and_an_answer_then_replaces_it(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    bad = (text_case("c", prompt="raise"),)
    (failed,) = answer(store, plan(bad, 1, 0, 1))
    assert failed.error
    table = Table(store, "generations", GENERATIONS)
    generate(task(store), plan((text_case("c", prompt="fine"),), 1, 0, 1), set(), LocalPool(), table, lambda *_: None)
    (mended,) = read_generations(table)
    assert not mended.error and mended.outputs[0].text.startswith("fine")


def test_a_system_that_answers_with_the_wrong_modality_fails_that_case(tmp_path: Path) -> None:
    (failed,) = answer(
        Store.at(str(tmp_path)), plan(text_cases(1), 1, 0, 1), worker=replace(ECHO, build="toys:Shouting")
    )
    assert "answered ('image',), and ('text',) was wanted" in failed.error


def test_the_vector_that_a_system_made_an_output_from_is_kept_beside_it(tmp_path: Path) -> None:
    batches = plan(text_cases(1), 1, 0, 1)
    (traced,) = answer(Store.at(str(tmp_path / "a")), batches, worker=replace(ECHO, build="toys:Tracing"))
    assert [np.frombuffer(trace, "<f4").tolist() for trace in traced.traces] == [[1.5, -2.0]]
    (silent,) = answer(Store.at(str(tmp_path / "b")), batches)
    assert silent.traces == ()


def test_a_system_sees_no_parts_unless_it_is_the_oracle(tmp_path: Path) -> None:
    peeking = Worker("toys:Peeking", gpus=0)
    (blind,) = answer(Store.at(str(tmp_path / "a")), plan(text_cases(1), 1, 0, 1), worker=peeking)
    seeing = replace(peeking, sees_parts=True)
    (seer,) = answer(Store.at(str(tmp_path / "b")), plan(text_cases(1), 1, 0, 1), worker=seeing)
    assert (blind.outputs[0].text, seer.outputs[0].text) == ("0", "1")


def test_a_full_disk_stops_the_run_and_is_no_answer_of_a_case(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            answer(store, plan(image_cases(2), 1, 0, 2), worker=Worker("toys:Photographer", gpus=0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_generations(Table(store, "generations", GENERATIONS)) == []
    assert len(answer(store, plan(image_cases(2), 1, 0, 2), worker=Worker("toys:Photographer", gpus=0))) == 2


def test_what_was_interrupted_or_begun_with_a_limit_is_what_was_left_alone(tmp_path: Path) -> None:
    """The toy's answers name everybody in their batch, as rounding does in a real one."""
    together = Worker("toys:Together", gpus=0)
    batches = plan(text_cases(7), 2, 0, 4)
    alone = answer(Store.at(str(tmp_path / "alone")), batches, worker=together)
    for name, first in (("limit", {"c000", "c001", "c002"}), ("killed", {"c003"})):
        store = Store.at(str(tmp_path / name))
        table = Table(store, "generations", GENERATIONS)
        begun = outstanding(batches, first, set())
        generate(task(store, together), begun, set(), LocalPool(), table, lambda *_: None)
        (shard, *_) = (tmp_path / name / "generations").iterdir()
        shard.unlink()
        resumed = answer(store, batches, worker=together)
        assert said(resumed) == said(alone)


def test_compacting_drops_the_errors_that_an_answer_superseded(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    answer(store, plan((text_case("c", prompt="raise"),), 1, 0, 1))
    table = Table(store, "generations", GENERATIONS)
    generate(task(store), plan((text_case("c", prompt="fine"),), 1, 0, 1), set(), LocalPool(), table, lambda *_: None)
    assert len(table.read()) == 2
    compact_generations(table)
    assert [row["error"] for row in table.read()] == [""]


@pytest.mark.ray
def test_a_worker_that_says_it_is_broken_is_replaced_and_its_batch_tried_elsewhere(tmp_path: Path) -> None:
    cases = (*text_cases(3), text_case("breaker", prompt="break"))
    pool = RayPool(workers=1)
    try:
        generations = answer(Store.at(str(tmp_path)), plan(cases, 1, 0, 2), pool)
    finally:
        pool.close()
    assert {one.case: bool(one.error) for one in generations} == {case.id: case.id == "breaker" for case in cases}


def test_settings_are_read_by_their_annotations() -> None:
    def build(
        checkpoint: str, device: str, *, steps: int = 1, guidance_scale: float = 1.0, dtype: str = "", eta: bool = False
    ) -> None: ...

    given_settings = {"steps": "4", "guidance_scale": "7.5", "dtype": "bfloat16", "eta": "true"}
    assert convert(build, given_settings) == {"steps": 4, "guidance_scale": 7.5, "dtype": "bfloat16", "eta": True}
    with pytest.raises(UsageError, match="--set stpes: no such setting; this system has: steps, guidance_scale"):
        convert(build, {"stpes": "4"})
    with pytest.raises(UsageError, match="--set steps=four: int expected"):
        convert(build, {"steps": "four"})


@pytest.mark.ray
def test_ray_gives_the_local_pools_answers_and_a_case_that_kills_workers_is_an_error_row(tmp_path: Path) -> None:
    cases: tuple[Case, ...] = (*text_cases(6), text_case("killer", prompt="die"))
    batches = plan(cases, 1, 0, 4)
    local = answer(Store.at(str(tmp_path / "local")), batches[:1])
    pool = RayPool(workers=2)
    try:
        spread = answer(Store.at(str(tmp_path / "ray")), batches, pool)
    finally:
        pool.close()
    assert said(spread)[: len(local)] == said(local)
    assert {one.case: "killed 3 workers" in one.error for one in spread} == {
        case.id: case.id == "killer" for case in cases
    }
