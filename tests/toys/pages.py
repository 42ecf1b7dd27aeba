"""Does what a page of `docs/` says, in a copy of the rooms, and compares what happens with what the page shows.

What a page may hold, as fenced blocks:

    python, yaml, csv   a file; its first line is a comment with its path: `# metrics/sharpness.py`
    diff                lines to add to a file: `+++ PATH`, then lines that stand there once, and `+` lines after them
    console             commands after `$ ` (continued after `> `), each followed by what it prints on stdout
    pycon               Python after `>>> `, as in doctest; the page is one session
    text                nothing is done

In what is shown, `...` stands for anything.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOMS = ("harness", "benchmarks", "systems", "metrics", "reports", "runners")
FILES_BESIDE = ("pyproject.toml", "tests/conftest.py", "docs/weights.md")
REPOSITORY = Path(__file__).parents[2]
ADDING = [
    REPOSITORY / "docs" / name
    for name in ("add-a-metric.md", "add-an-extractor.md", "add-a-system.md", "add-a-suite.md")
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = ("python", "yaml", "csv")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """What is typed, and what the page shows after it ("" for nothing)."""

    typed: str
    shown: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        typed = [lines[0], *(line[2:] for line in lines[1:] if line.startswith("> "))]
        shown = [line for line in lines[1:] if not line.startswith("> ")]
        yield Command("\n".join(typed), "\n".join(shown))


def copy_of_the_rooms(folder: Path) -> Path:
    """The tree as a newcomer has it: the rooms, and what their tests stand on, without the examples of the pages.

    Whoever has followed a page in the checkout itself has its example there, and runs these tests afterwards.
    """
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES_BESIDE:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    for page in ADDING:
        take_back(folder, page)
    return folder


def take_back(tree: Path, page: Path) -> None:
    """Remove from a tree the files and lines that following the page adds to it; nothing where it was not followed."""
    for block in reversed(blocks(page)):
        first, *lines = block.text.splitlines()
        path = tree / first[first.find(" ") + 1 :]
        if block.language in FILES:
            path.unlink(missing_ok=True)
        elif block.language == "diff":
            added = "".join(f"{line[1:]}\n" for line in lines if line.startswith("+"))
            path.write_text(path.read_text().replace(added, ""))


@dataclass
class Follower:
    """Follows a page in a copy of the tree; AssertionError where something else happens than the page shows."""

    tree: Path
    environment: Mapping[str, str]
    written: list[Path] = field(default_factory=list)
    session: dict[str, Any] = field(default_factory=dict)

    def add(self, page: Path) -> None:
        """Write the files and lines that the page adds, and run nothing."""
        for block in blocks(page):
            if block.language in (*FILES, "diff"):
                self._do(block)

    def follow(self, page: Path) -> None:
        """Do what the page says, block after block, then hold what was written to the house's own style."""
        done = 0
        for block in blocks(page):
            done += self._do(block)
        assert done, f"{page} asks for nothing"
        self._check_style()

    def _do(self, block: Block) -> bool:
        if block.language == "console":
            for command in commands(block):
                self.run(command)
        elif block.language == "pycon":
            self._converse(block.text)
        elif block.language == "diff":
            self._add_lines(block.text)
        elif block.language in FILES:
            self._write(block.text)
        else:
            assert block.language == "text", f"a block of {block.language!r} is never tried"
        return block.language != "text"

    def _write(self, text: str) -> None:
        first, _, rest = text.partition("\n")
        path = self.tree / first.removeprefix("# ")
        assert first.startswith("# ") and "/" in first and not path.exists(), f"no new file is named by {first!r}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rest)
        self.written.append(path)

    def _add_lines(self, text: str) -> None:
        name, *lines = text.splitlines()
        path = self.tree / name.removeprefix("+++ ")
        before = "".join(f"{line[1:]}\n" for line in lines if line.startswith(" "))
        after = "".join(f"{line[1:]}\n" for line in lines)
        found = path.read_text()
        assert found.count(before) == 1, f"{path.name} holds {found.count(before)} times what the page adds lines to"
        path.write_text(found.replace(before, after))
        self.written.append(path)

    def run(self, command: Command) -> None:
        """Run one command in the tree, and compare what it prints."""
        done = subprocess.run(
            ["bash", "-c", command.typed],
            cwd=self.tree,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=240,
        )
        told = f"$ {command.typed}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, told
        assert not command.shown or matches(command.shown, done.stdout), f"{told}\nthe page shows:\n{command.shown}"

    def _converse(self, text: str) -> None:
        test = doctest.DocTestParser().get_doctest(text, self.session, "page", None, 0)
        told: list[str] = []
        before = os.getcwd()
        os.chdir(self.tree)
        try:
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            runner.run(test, out=told.append, clear_globs=False)
        finally:
            os.chdir(before)
        assert runner.tries and not runner.failures, "".join(told)
        self.session.update(test.globs)

    def _check_style(self) -> None:
        files = [str(path) for path in self.written if path.suffix == ".py"]
        for words in (("check",), ("format", "--check", "--diff")) if files else ():
            ruff = [str(Path(sys.executable).parent / "ruff"), *words, "--no-cache", *files]
            done = subprocess.run(ruff, cwd=self.tree, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def matches(shown: str, printed: str) -> bool:
    """Whether what was printed is what the page shows, the number of spaces aside."""
    pattern = ".*".join(re.escape(part) for part in _stripped(shown).split("..."))
    return re.fullmatch(pattern, _stripped(printed), re.DOTALL) is not None


def surroundings(tree: Path) -> dict[str, str]:
    """The environment of somebody who has sourced .venv/bin/activate in that copy of the tree."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ANYBENCH_", "MLFLOW_", "RAY_"))}
    path = f"{Path(sys.executable).parent}:{own['PATH']}"
    cache = str(tree.parent / "cache")
    return own | {"PATH": path, "PYTHONPATH": str(tree), "COLUMNS": "120", "ANYBENCH_CACHE": cache}


def _stripped(text: str) -> str:
    """How wide a terminal is, and so how far apart the columns stand, is nothing that a page can know."""
    return "\n".join(re.sub(" +", " ", line).rstrip() for line in text.strip("\n").splitlines())
