"""Pages of `docs/`, followed to the letter in a copy of the tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pages import REPOSITORY, Follower, copy_of_the_rooms, surroundings

Follow = Callable[[str], Path]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow for all pages, for making its tables takes longer than following a page."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def follow(tmp_path: Path, database: str) -> Follow:
    """Follows the page of that name; returns the copy of the tree as it then is."""

    def page(name: str) -> Path:
        tree = copy_of_the_rooms(tmp_path / "tree")
        Follower(tree, surroundings(tree) | {"MLFLOW_TRACKING_URI": database}).follow(REPOSITORY / "docs" / name)
        return tree

    return page
