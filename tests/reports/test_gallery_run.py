"""What a gallery reads of a run: damage in it is said, and what it says of itself is what the tables say."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from run_toys import noise, painting_case, put_run

from harness.nouns import Result
from harness.progress import Status
from harness.store import Store, StoreError
from reports.gallery_head import head_page, state
from reports.gallery_run import Shown, read_run
from reports.tables import results_table

SCORES = {"likeness": {("c0", 0): 0.25, ("c1", 0): 0.5}, "distance": {("c0", 0): 2.0}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "store"))


@pytest.fixture
def run(store: Store, tmp_path: Path) -> str:
    """Two cases, answered and scored."""
    (tmp_path / "photo.png").write_bytes(noise(0))
    cases = [painting_case(f"c{n}", f"paint {n}", tmp_path / "photo.png") for n in range(2)]
    return put_run(store, cases, 1, {("c0", 0): noise(1), ("c1", 0): noise(2)}, SCORES)


def shown(store: Store, run: str) -> Shown:
    return read_run(store, run, lambda selection, cases: cases)


def test_a_flipped_bit_of_a_scores_file_is_said_and_never_shown_as_another_number(
    store: Store, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = shown(store, run)
    file = Path(store.path(f"{run}/scores/likeness.parquet"))
    good = file.read_bytes()
    assert whole.metrics == ("likeness", "distance")
    for position in range(0, 8 * len(good), 97):
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << position % 8
        file.write_bytes(flipped)
        read, said = shown(store, run), capsys.readouterr().err
        if said:
            assert f"scores not shown: {file}: a damaged shard" in said and said.count("\n") == 1
            assert read.metrics == ("distance",) and read.scores == {("c0", 0, 0, 0): [(0, 2.0)]}, "the others stay"
        else:
            assert read.scores == whole.scores


def test_a_case_that_was_changed_since_the_run_began_is_not_shown(store: Store, run: str) -> None:
    name = f"{run}/cases.jsonl"
    store.write(name, store.read(name).replace(b"paint 1", b"paint 2"))
    with pytest.raises(StoreError, match=r"cases\.jsonl: damaged; the run's own line writes it anew"):
        shown(store, run)


@pytest.mark.parametrize("change", [{"done": "all"}, {"stage": None}, {"newer": 1}])
def test_a_status_of_another_kind_says_nothing(store: Store, run: str, change: dict[str, object]) -> None:
    status = asdict(Status("generate", 6, 1, 0, 0.5, None, "then", "now"))
    store.write(f"{run}/status.json", json.dumps(status).encode())
    assert shown(store, run).doing == "generate: 1 of 6 at now; under way, or interrupted"
    store.write(f"{run}/status.json", json.dumps(status | change).encode())
    assert shown(store, run).doing == ""


def test_a_group_s_number_bears_the_same_marks_as_that_of_the_whole_suite(store: Store, run: str) -> None:
    made = shown(store, run)
    assert made.summary
    group = Result("likeness", "subject=a", 0.25, None, None, 1, 2, "x", known_weights=False, degenerate=1)
    page = head_page(replace(made, summary=replace(made.summary, results=(group,))), {})
    assert page.startswith("<!doctype html>")
    row = page[page.index("subject=a") :].partition("</tr>")[0]
    assert '<abbr title="weights with a digest that is not known' in row
    assert [row.count(f'<td class="figure short">{count}</td>') for count in ("1/2", "1")] == [1, 1]


def test_the_gallery_says_the_same_of_a_run_as_the_tables(store: Store, run: str) -> None:
    made = shown(store, run)
    assert made.summary
    partial = replace(made.summary, planned=1, generated=1, degenerate={"black": 1})
    said = state(replace(made, summary=partial))
    assert said == "partial: 1 of 2; unverified weights; degenerate: 1 black"
    assert results_table(partial, {}).title.endswith(f", {said}")
