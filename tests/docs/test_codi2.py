"""docs/codi2.md against the code: the 20 points and the tests that pin them, settings, templates, and the format."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from pages import REPOSITORY, blocks

from runners import convert_codi2
from systems.codi2.checkpoint import Widths, adapter_shapes
from systems.codi2.description import FILE, SECTIONS, Lora, Reading, read_description
from systems.codi2.system import CoDi2
from systems.codi2.templates import TEMPLATES

Follow = Callable[[str], Path]
PAGE = REPOSITORY / "docs/codi2.md"
NOT_BUILT = "not built yet"
LLAMA = Widths(hidden=4096, layers=32, queries=4096, keys=4096)


def table(first: str) -> list[list[str]]:
    """The rows of the one table whose first column is called so."""
    (found,) = re.findall(rf"^\| {re.escape(first)} \|.*\n\|[ |-]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    return [cells(line) for line in found.splitlines()]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]


def in_backticks(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def names(first: str) -> list[str]:
    """What stands in backticks in the first column of a table."""
    return [name for row in table(first) for name in in_backticks(row[0])]


def points() -> tuple[list[list[str]], dict[str, str]]:
    """The rows of the table of points, and the tests named for each."""
    text = PAGE.read_text().partition("\n## The 20 points\n")[2]
    rows = [cells(line) for line in re.findall(r"^\| \d+ \|.*", text, re.MULTILINE)]
    return [row for row in rows if len(row) > 2], {row[0]: row[1] for row in rows if len(row) == 2}


def functions(file: str) -> set[str]:
    tree = ast.parse((REPOSITORY / "tests" / "systems" / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def settings() -> dict[str, object]:
    return {
        name: one.default
        for name, one in inspect.signature(CoDi2).parameters.items()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    }


def test_all_20_points_are_there_each_built_and_pinned_or_said_not_to_be() -> None:
    rows, pinned = points()
    assert [row[0] for row in rows] == [str(number) for number in range(1, 21)]
    assert all(len(row) == 6 and row[4] for row in rows)
    no_behaviour = {row[0] for row in rows if row[5] == "none: no behaviour"}
    unbuilt = {row[0] for row in rows if NOT_BUILT in row[4]}
    assert no_behaviour == {"19"} and unbuilt >= {"1", "7", "17"}
    assert {row[0] for row in rows} - no_behaviour - unbuilt <= {*pinned}


def test_every_test_that_the_page_names_is_there() -> None:
    _, pinned = points()
    for number, said in pinned.items():
        cited = re.findall(r"`(test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", said)
        assert cited, number
        assert sum(1 + len(in_backticks(tests)) for _, tests in cited) == len(in_backticks(said)), number
        for file, tests in cited:
            assert {*in_backticks(tests)} <= functions(file), (number, file)


def test_the_switches_that_the_page_names_are_there() -> None:
    rows, _ = points()
    keys = {*names("`reading`"), *settings(), *(name for name, _ in SECTIONS)}
    switches = {row[0]: in_backticks(row[5]) for row in rows}
    assert {name for found in switches.values() for name in found} - {" <p>", "prediction_type"} <= keys
    said = {key: number for key, number, _ in table("`reading`")}
    assert said == {f"`{key}`": number for number, found in switches.items() for key in found if f"`{key}`" in said}


def test_the_keys_of_reading_on_the_page_are_those_that_are_read() -> None:
    assert [row[0].strip("`") for row in table("`reading`")] == [field.name for field in fields(Reading)]


def test_the_settings_on_the_page_are_those_of_the_system_with_their_defaults() -> None:
    said = {row[0].strip("`"): row[1] for row in table("setting")}
    assert said == {name: str(default) for name, default in settings().items()}


def test_the_templates_on_the_page_are_those_that_there_are() -> None:
    said = [(row[0].strip("`"), row[1], row[2]) for row in table("template")]
    assert said == [(one.name, one.text, one.use) for one in TEMPLATES.values()]


def test_the_codi2_json_on_the_page_is_one_that_is_read(tmp_path: Path) -> None:
    (example,) = [block.text for block in blocks(PAGE) if "anybench-codi2" in block.text]
    (tmp_path / FILE).write_text(example.replace('"..."', f'"{"0" * 64}"'))
    description = read_description(tmp_path)
    assert description.reading == Reading(257, "unit", "llama2-chat", True, 25.0)
    assert description.imagebind.digest == "" != description.language_model.digest


def test_the_tensors_on_the_page_are_those_of_a_full_size_checkpoint() -> None:
    shapes = adapter_shapes(LLAMA, 1024, Lora(128, 256.0))
    said = {expanded: row[1] for row in table("key in codi2.safetensors") for expanded in expand(row[0])}
    assert {*said} == {re.sub(r"layers\.\d+\.", "layers.{i}.", key) for key in shapes}
    for key, shape in shapes.items():
        written = said[re.sub(r"layers\.\d+\.", "layers.{i}.", key)]
        widths = {int(size) for size in re.findall(r"\d{4}", written)}
        assert {*shape} <= widths if "projector" in key else str(shape) in written, key


def expand(cell: str) -> list[str]:
    """The keys that a cell names, {a,b} standing for each of its words."""
    keys = []
    for name in in_backticks(cell):
        if not name.startswith("<"):
            parts = [part.split(",") for part in re.split(r"\{([^{}]*,[^{}]*)\}", name)]
            keys += ["".join(chosen) for chosen in itertools.product(*parts)]
    return keys


def test_the_flags_on_the_page_are_those_that_outputs_get() -> None:
    code = "".join(file.read_text() for file in sorted((REPOSITORY / "systems").rglob("*.py")))
    assert names("flag of an output")
    assert all(f'"{flag}"' in code for flag in names("flag of an output"))


def test_the_converters_line_on_the_page_is_one_that_it_takes() -> None:
    (line,) = re.findall(r"^    python runners/convert_codi2.py (.*)$", PAGE.read_text(), re.MULTILINE)
    assert convert_codi2._parser().parse_args(shlex.split(line)).lora_alpha == 256


@pytest.mark.heavy
def test_whoever_follows_the_page_sees_what_it_shows(follow: Follow) -> None:
    follow(PAGE.name)
