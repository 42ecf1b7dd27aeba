"""The tables of the room lead somewhere, agree with each other, and cost nothing to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.names import load
from harness.nouns import Metric
from harness.weights import extractor_weights
from metrics import CHECKPOINTS, EXTRACTORS, METRICS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_bears_its_name_and_needs_known_extractors(name: str) -> None:
    metric = load(METRICS[name])
    assert isinstance(metric, Metric)
    assert metric.name == name
    assert "output" in metric.needs
    assert {need.extractor for need in metric.needs.values()} <= set(EXTRACTORS)
    assert metric.range[0] < metric.range[1]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_leads_to_a_class_that_extracts(name: str) -> None:
    assert callable(load(EXTRACTORS[name].worker.build).extract)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_has_weights_on_a_hub_or_shipped_or_from_init_or_none(name: str) -> None:
    card = EXTRACTORS[name]
    assert card.weightless != bool(card.hub or card.shipped or name in CHECKPOINTS)
    assert not (card.weightless and (card.hub or card.shipped or card.digests))
    assert all(len(digest) == 64 for digest in card.digests)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_is_one_of_an_extractor(name: str) -> None:
    assert name in EXTRACTORS
    assert callable(load(CHECKPOINTS[name]))


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_reading_the_tables_imports_neither_torch_nor_the_modules() -> None:
    modules = _modules_after("import metrics")
    assert not {"torch", "transformers", "open_clip", "PIL", "metrics.cosine", "metrics.extractors"} & modules


def test_metrics_run_on_numpy_alone() -> None:
    modules = _modules_after("import metrics.cosine, metrics.color")
    assert not {"torch", "transformers", "PIL", "scipy", "metrics.extractors"} & modules


@pytest.mark.parametrize("name", [name for name, card in EXTRACTORS.items() if not card.weightless])
def test_every_extractor_with_weights_can_be_tried_with_shipped_or_random_ones(name: str) -> None:
    assert EXTRACTORS[name].shipped or name in CHECKPOINTS


@pytest.mark.parametrize("name", [name for name, card in EXTRACTORS.items() if card.shipped])
def test_the_weights_that_are_shipped_are_known(name: str) -> None:
    assert extractor_weights(name, EXTRACTORS[name]).known
