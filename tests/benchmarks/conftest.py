"""Data folders for the tests of the suites: generated, embedded and shared photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

import benchmarks.dreambench as dreambench

REPOSITORY = Path(__file__).parents[2]
EMBEDDED = REPOSITORY / "benchmarks" / "embedded" / "dreambench"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The complete published layout, 30 folders and 158 small generated JPEGs, below `dreambench/`."""
    root = tmp_path_factory.mktemp("published")
    dataset = root / "dreambench" / "dataset"
    for number, (name, subject) in enumerate(dreambench.PUBLISHED.items()):
        (dataset / name).mkdir(parents=True)
        for index in range(subject.photographs):
            Image.new("RGB", (8, 8), (8 * number, 40 * index, 0)).save(dataset / name / f"{index:02d}.jpg")
    for name in ("prompts_and_classes.txt", "references_and_licenses.txt"):
        shutil.copy(EMBEDDED / "dataset" / name, dataset / name)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A `dataset` folder of one's own to damage: the three embedded subjects."""
    shutil.copytree(EMBEDDED / "dataset", tmp_path / "data" / "dataset")
    return tmp_path / "data" / "dataset"
