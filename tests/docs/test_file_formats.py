"""docs/file-formats.md against the store of a real run, and against the schemas that write it."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pages import REPOSITORY, Follower, blocks, copy_of_the_rooms, surroundings

from harness.extraction import FEATURES
from harness.generation import GENERATIONS
from harness.nouns import Case, Media, Result, Run, Selection, Summary
from harness.progress import Status
from harness.scoring import SCORES
from harness.summary import Beginning
from runners import cli

PAGE = REPOSITORY / "docs/file-formats.md"
WORDS = {
    pa.string(): "string",
    pa.int64(): "int64",
    pa.float64(): "double",
    pa.list_(pa.string()): "list of string",
    pa.list_(pa.float32()): "list of float",
    pa.list_(pa.binary()): "list of binary",
    GENERATIONS.field("outputs").type: "list of media",
}


def table_after(heading: str) -> list[list[str]]:
    """The rows of the first table after a heading or a line of that text; the first cell of each without backticks."""
    _, found, rest = PAGE.read_text().partition(f"\n{heading}\n")
    assert found, f"no {heading!r} on the page"
    table = re.search(r"^\|.*?\n\n", rest + "\n\n", re.MULTILINE | re.DOTALL)
    assert table
    lines = table[0].strip().splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [[row[0].strip("`"), *row[1:]] for row in rows]


def fields(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def in_backticks(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that the page's session makes, the session having been as the page shows it."""
    tree = copy_of_the_rooms(tmp_path_factory.mktemp("formats") / "tree")
    Follower(tree, surroundings(tree)).follow(PAGE)
    return tree / "demo"


@pytest.mark.parametrize(
    ("heading", "schema"),
    [("### `generations/`", GENERATIONS), ("### `features/`", FEATURES), ("### `scores/`", SCORES)],
    ids=["generations", "features", "scores"],
)
def test_the_columns_on_the_page_are_those_that_are_written(heading: str, schema: pa.Schema) -> None:
    assert [(row[0], row[1]) for row in table_after(heading)] == [(one.name, WORDS[one.type]) for one in schema]


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("### `run.json`", Beginning),
        ("### `summary.json`", Summary),
        ("A result:", Result),
        ("### `status.json`", Status),
        ("### `cases.jsonl`", Case),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_fields_on_the_page_are_those_that_are_written(heading: str, kind: type) -> None:
    assert [row[0] for row in table_after(heading)] == fields(kind)


def test_what_the_page_says_of_nested_fields_is_what_is_written() -> None:
    identity = dict(table_after("### `run.json`"))["run"]
    assert in_backticks(identity) == set(fields(Run))
    selection = dict(table_after("### `summary.json`"))["selection"]
    assert in_backticks(selection) == set(fields(Selection))
    assert all(f"`{name}` (" in PAGE.read_text() or f"`{name}`." in PAGE.read_text() for name in fields(Media))


def test_every_file_of_a_store_is_on_the_page(demo: Path) -> None:
    (tree,) = [block.text for block in blocks(PAGE) if block.language == "text"]
    said = re.findall(r"(?:^|, )([\w<][\w<>./ -]*?[\w>]/?)(?=,| {2,}|$)", tree, re.MULTILINE)
    folder = "runs/<run id>/"
    patterns = [re.sub("<[^>]+>", "*", name) for name in (*said, *(folder + name for name in said))]
    for file in demo.rglob("*"):
        name = file.relative_to(demo).as_posix()
        inside = name.startswith("mlartifacts/")
        assert file.is_dir() or inside or any(fnmatch.fnmatch(name, one) for one in patterns), name


def test_the_json_line_holds_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    words = ["run", "dreambench-mini", "--system", "copy_input", "--metrics", "color_hist", "--limit", "1"]
    assert cli.main([*words, "--workers", "local", "--store", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row[0] for row in table_after("## `--json`")] == list(said)
    assert set(said["scores"][0]) == {*fields(Result)} - {"known_weights"}


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's own
def test_mlflow_holds_what_the_page_says(demo: Path) -> None:
    from mlflow import MlflowClient

    names = {row[0]: in_backticks(row[1]) for row in table_after("## MLflow")}
    client = MlflowClient(tracking_uri=f"sqlite:///{demo / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("anybench").experiment_id])
    assert {re.sub(r"^(settings)\..*", r"\1.<name>", name) for name in run.data.params} <= names["params"]
    tags = {name.removeprefix("anybench.") for name in run.data.tags if name.startswith("anybench.")}
    tags = {re.sub(r"^provenance\..*", "provenance.<name>", name) for name in tags}
    assert {re.sub(r"^signature\..*", "signature.<metric>", name) for name in tags} <= names["tags"]
    ends = {name.partition("color_hist")[2] for name in run.data.metrics}
    ends = {re.sub("^/group/[^/]+", "/group", end) for end in ends}
    assert ends <= {f"{group}{end}" for group in ("", "/group") for end in ("", *names["metrics"])}
    assert {one.path for one in client.list_artifacts(run.info.run_id)} <= names["artifacts"]


def test_the_exit_statuses_on_the_page_are_those_of_the_command_line() -> None:
    said = {int(row[0]) for row in table_after("## Exit statuses")}
    assert {cli.INTERRUPTED, cli.PIPE_CLOSED, cli.TERMINATED} <= said
    assert cli.CRASHED not in said
