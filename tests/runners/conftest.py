"""What the tests of the runners share: the toys under names of their own."""

from __future__ import annotations

import pytest
from toys import LENGTHS, LONGER

import metrics
from benchmarks import SUITES
from harness.nouns import Worker
from systems import SYSTEMS


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites, systems, a metric and its extractor out of tests/toys, in the tables for as long as the test runs."""
    for name in ("hostile", "broken"):
        monkeypatch.setitem(SUITES, name, f"hostile_suite:{name.upper()}")  # type: ignore[misc]
    for name in ("Repeats", "Leaks"):
        worker = Worker(f"hostile_suite:{name}", gpus=0, batch=2)
        monkeypatch.setitem(SYSTEMS, name.lower(), worker)  # type: ignore[misc]
    monkeypatch.setitem(metrics.METRICS, LONGER.name, "toys:LONGER")  # type: ignore[misc]
    monkeypatch.setitem(metrics.EXTRACTORS, "lengths", LENGTHS)  # type: ignore[misc]
