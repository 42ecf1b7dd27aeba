"""What the pages for newcomers say works, word for word, and leaves a tree whose own tests pass."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import ADDING, REPOSITORY, ROOMS, Follower, copy_of_the_rooms, surroundings, take_back

Follow = Callable[[str], Path]
TESTS_OF_THE_TABLES = (
    "tests/docs/test_pointers.py",
    "tests/docs/test_weights.py",
    "tests/metrics/test_tables.py",
    "tests/systems/test_tables.py",
    "tests/test_house.py",
)


@pytest.mark.parametrize("page", [page.name for page in ADDING])
def test_a_newcomer_who_follows_the_page_sees_what_it_shows(follow: Follow, page: str) -> None:
    follow(page)


@pytest.mark.heavy
def test_a_tree_with_the_examples_of_all_pages_passes_the_tests_of_its_tables(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    copy_of_the_rooms(tree)
    for name in ("docs", "tests"):
        shutil.copytree(REPOSITORY / name, tree / name, dirs_exist_ok=True)
    for name in ("README.md", "CONTRIBUTING.md", "Makefile"):
        shutil.copy(REPOSITORY / name, tree / name)
    for page in ADDING:
        take_back(tree, page)
        Follower(tree, surroundings(tree)).add(page)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS_OF_THE_TABLES]
    done = subprocess.run(words, cwd=tree, env=surroundings(tree), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_the_pages_add_can_be_taken_back(tmp_path: Path) -> None:
    before = copy_of_the_rooms(tmp_path / "before")
    after = copy_of_the_rooms(tmp_path / "after")
    for page in ADDING:
        Follower(after, surroundings(after)).add(page)
    assert contents(after) != contents(before)
    for page in ADDING:
        take_back(after, page)
    assert contents(after) == contents(before)


def contents(tree: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(tree)): file.read_bytes()
        for part in (*ROOMS, "docs", "tests")
        for file in (tree / part).rglob("*")
        if file.is_file()
    }
