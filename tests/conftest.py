"""What every test stands on: nothing of the machine's own settings, and toy parts that are real classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from s3_server import S3Server

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


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server of the test's own, to which the field's own variables lead, and no others of the machine."""
    from s3_server import serving

    for name in [*os.environ]:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server
