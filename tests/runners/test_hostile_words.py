"""Prompts with HTML, escapes, NUL, formulas and 100,000 characters, through whole runs to every table and file."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hostile_suite import WORDS

from reports.render import FORMATS
from runners.cli import main

Run = Callable[..., int]
RUN = ("run", "hostile", "--system", "repeats", "--workers", "local", "--metrics", "longer")


@pytest.fixture
def anybench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Run:
    """The command line with the toys in its tables, and the store in a folder of the test's own."""
    monkeypatch.setenv("ANYBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: main(list(words))


def nothing_but_text(said: str) -> None:
    """No terminal escape, no control but the line break, no half a character and no mark that turns the writing."""
    controls = {one for one in said if one != "\n" and unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not controls, sorted(map(ascii, controls))


def test_hostile_prompts_reach_the_store_as_they_are_and_the_terminal_as_text(
    anybench: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert anybench(*RUN, "--json") == 0
    captured = capsys.readouterr()
    nothing_but_text(captured.out + captured.err)
    said = json.loads(captured.out.splitlines()[-1])
    assert said["complete"] and said["scores"][0]["value"] == 0.0
    assert len(said["scores"]) == 1 + len(WORDS)
    folder = tmp_path / "store/runs" / said["run"]
    rows = [row for shard in (folder / "generations").glob("*.parquet") for row in pq.read_table(shard).to_pylist()]
    assert {row["case"]: row["outputs"][0]["text"] for row in rows} == WORDS


def test_hostile_groups_reach_mlflow_and_come_back_in_every_table(
    anybench: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert anybench(*RUN) == 0
    assert "cannot" not in capsys.readouterr().err
    tables = {}
    for form in FORMATS:
        assert anybench("leaderboard", "hostile", "--format", form) == 0
        captured = capsys.readouterr()
        nothing_but_text(captured.out + captured.err)
        assert "repeats" in captured.out
        tables[form] = captured.out
    tags = html.parser.HTMLParser()
    seen: list[str] = []
    tags.handle_starttag = lambda tag, attributes: seen.append(tag)  # type: ignore[method-assign]
    tags.feed(tables["html"])
    assert "table" in seen and not {"script", "img"} & {*seen}
    cells = [cell for row in csv.reader(io.StringIO(tables["csv"])) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


def test_hostile_error_messages_are_rows_of_one_short_line(
    anybench: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert anybench(*RUN, "--set", "failing=true", "--json") == 3
    captured = capsys.readouterr()
    nothing_but_text(captured.out + captured.err)
    said = json.loads(captured.out.splitlines()[-1])
    assert said["failed"] == len(WORDS)
    (shard,) = (tmp_path / "store/runs" / said["run"] / "generations").glob("*.parquet")
    for error in pq.read_table(shard).column("error").to_pylist():
        assert error.startswith("RuntimeError: ") and len(error) <= 500
        nothing_but_text(error)


def test_half_a_character_in_an_answer_is_an_error_row(anybench: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert anybench(*RUN, "--set", "broken=true", "--json") == 3
    captured = capsys.readouterr()
    nothing_but_text(captured.out + captured.err)
    assert json.loads(captured.out.splitlines()[-1])["failed"] == len(WORDS)
    assert "surrogates not allowed" in captured.err


def test_half_a_character_in_a_prompt_is_one_line_that_names_the_case(
    anybench: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert anybench("run", "broken", *RUN[2:]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    nothing_but_text(line)
    assert line.startswith("anybench: case broken: a text holds half a character")
