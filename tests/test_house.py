"""The house itself: names lead somewhere, imports run one way, and what must stay light is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import SUITES
from harness.names import load
from harness.nouns import Metric, Suite
from metrics import CHECKPOINTS as EXTRACTOR_CHECKPOINTS
from metrics import EXTRACTORS, METRICS
from systems import CHECKPOINTS as SYSTEM_CHECKPOINTS
from systems import SYSTEMS

ROOMS = ("harness", "benchmarks", "systems", "metrics", "reports", "runners")
TARGETS = {
    **SUITES,
    **METRICS,
    **{name: worker.build for name, worker in SYSTEMS.items()},
    **{f"extractor {name}": card.worker.build for name, card in EXTRACTORS.items()},
    **{f"checkpoint {name}": target for name, target in {**SYSTEM_CHECKPOINTS, **EXTRACTOR_CHECKPOINTS}.items()},
}


def modules(repository: Path) -> list[Path]:
    return [file for room in ROOMS for file in (repository / room).rglob("*.py")]


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    tree = ast.parse(file.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_name_leads_to_a_file_and_an_attribute(repository: Path, target: str) -> None:
    module, attribute = target.split(":")
    tree = ast.parse((repository / f"{module.replace('.', '/')}.py").read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            defined |= {name.id for name in node.targets if isinstance(name, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
    assert attribute in defined


@pytest.mark.parametrize("name", SUITES)
def test_every_metric_of_a_suite_and_every_extractor_of_a_metric_is_there(name: str) -> None:
    suite: Suite = load(SUITES[name])
    assert suite.name == name
    for metric_name in (*suite.metrics, *(suite.oracle.metrics if suite.oracle else ())):
        metric: Metric = load(METRICS[metric_name])
        assert metric.name == metric_name
        assert all(need.extractor in EXTRACTORS for need in metric.needs.values())


@pytest.mark.parametrize(
    ("package", "door"),
    [("ray", {"harness/ray_pool.py", "harness/ray_crew.py"}), ("mlflow", {"harness/tracking.py"})],
)
def test_a_heavy_neighbour_has_one_door(repository: Path, package: str, door: set[str]) -> None:
    users = {str(file.relative_to(repository)) for file in modules(repository) if package in imported(file)}
    assert users == door


@pytest.mark.parametrize("package", ["soundfile", "soxr", "av"])
def test_sound_and_video_have_one_door(repository: Path, package: str) -> None:
    assert {file.parent.name for file in modules(repository) if package in imported(file)} == {"harness"}


def test_pictures_are_opened_behind_one_door(repository: Path) -> None:
    """Pillow's Image is the value that pictures are passed as; opening them is the door's alone."""
    openers = [file for file in modules(repository) if "Image.open(" in file.read_text()]
    assert openers == [repository / "harness/_image.py"]


def test_the_catalogue_is_read_without_torch_or_ray() -> None:
    code = "import sys, benchmarks, systems, metrics; print({*sys.modules} & {'torch', 'ray', 'mlflow'})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_imports_run_one_way_between_the_rooms(repository: Path) -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_tests_hold_no_packages_that_could_shadow_the_rooms(repository: Path) -> None:
    assert list((repository / "tests").rglob("__init__.py")) == []
