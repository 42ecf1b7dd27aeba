"""What every test stands on: nothing of the machine's own settings, and toy parts that are real classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ANYBENCH_ flag, MLflow server, Ray cluster or cache of the machine leaks into a test, or out of one."""
    for name in [*os.environ]:
        if name.startswith(("ANYBENCH_", "MLFLOW_", "RAY_ADDRESS")) and name != "ANYBENCH_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.setenv("ANYBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "toys"))


@pytest.fixture
def repository() -> Path:
    """The root of the tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    """The folder of real sample data beside the checkout; tests that need it skip without it."""
    folder = Path(os.environ.get("ANYBENCH_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("no shared data beside this checkout")
    yield folder
