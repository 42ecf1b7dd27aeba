"""What the fuzzers share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, and the only one that a door may touch."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
