"""docs/weights.md against the catalogues: all real weights have their line, with the same id and digests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import REPOSITORY, Follower, surroundings

from harness.names import load
from harness.nouns import Metric
from metrics import CHECKPOINTS as EXTRACTOR_CHECKPOINTS
from metrics import EXTRACTORS, METRICS
from systems import CHECKPOINTS as SYSTEM_CHECKPOINTS
from systems import SYSTEMS

PAGE = REPOSITORY / "docs/weights.md"


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by each of the names in their first cell."""
    part = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line[:1] == "|"]
    return {name: row for row in cells[2:] for name in re.findall(r"`([^`]+)`", row[0])}


def metrics_of(extractor: str) -> set[str]:
    loaded: dict[str, Metric] = {name: load(target) for name, target in METRICS.items()}
    return {name for name, one in loaded.items() if extractor in {need.extractor for need in one.needs.values()}}


def test_every_extractor_with_real_weights_has_a_line_and_no_line_is_of_another() -> None:
    real = {name for name, card in EXTRACTORS.items() if card.hub or card.digests}
    assert real
    assert real <= {*rows("Extractors")} <= {*EXTRACTORS}


@pytest.mark.parametrize("name", rows("Extractors"))
def test_an_extractors_line_says_what_the_code_asks_for(name: str) -> None:
    card, (_, metrics, weights, digests, size, licence) = EXTRACTORS[name], rows("Extractors")[name]
    named = set(re.findall(r"`([^`]+)`", metrics))
    assert named and named <= metrics_of(name)
    assert set(re.findall(r"`([^`@]+@[^`]+)`", weights)) == ({card.hub} if card.hub else set())
    assert set(re.findall(r"[0-9a-f]{64}", digests)) == {*card.digests}
    assert card.digests or card.weightless or "unknown" in digests
    assert card.weightless or (size and licence)


def test_every_system_that_takes_a_checkpoint_has_a_line_and_its_random_ones_are_named() -> None:
    taking = {name for name, worker in SYSTEMS.items() if worker.checkpoint != "none"}
    assert taking
    assert taking <= {*rows("Systems")}
    named = set(re.findall(r"`anybench init (\S+) DIR`", PAGE.read_text()))
    assert {*SYSTEM_CHECKPOINTS} <= named <= {*SYSTEM_CHECKPOINTS, *EXTRACTOR_CHECKPOINTS}


def test_hub_ids_are_downloaded_at_the_revision_that_is_asked_for() -> None:
    found = re.findall(r"^hf download (\S+) --revision (\S+)$", PAGE.read_text(), re.MULTILINE)
    assert {f"{name}@{revision}" for name, revision in found} == {card.hub for card in EXTRACTORS.values() if card.hub}


@pytest.mark.heavy
def test_whoever_follows_the_page_sees_what_it_shows(tmp_path: Path) -> None:
    """Heavy for the full-size random CLIP; in an empty cache, whatever this machine's own holds."""
    (tmp_path / "build").mkdir()
    environment = surroundings(REPOSITORY) | {"HF_HUB_CACHE": str(tmp_path / "hub"), "ANYBENCH_CACHE": str(tmp_path)}
    Follower(tmp_path, environment).follow(PAGE)
