"""What the tests of the harness share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.nouns import Media, Modality


@pytest.fixture
def place(tmp_path: Path) -> Callable[[Modality, bytes], Media]:
    """Writes bytes to a file whose name says nothing, and hands over its Media."""

    def write(modality: Modality, data: bytes) -> Media:
        path = tmp_path / "thing.bin"
        path.write_bytes(data)
        return Media(modality, uri=str(path))

    return write
