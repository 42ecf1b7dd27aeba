"""Weights that the software brings: found in its own copy on every machine, known, and passed over for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness import weights
from harness.errors import AbsentError, UsageError
from harness.nouns import ExtractorCard, Worker
from harness.weights import agreed_path, extractor_weights, weights_digest

CARD = ExtractorCard(Worker("toys:Lengths", gpus=0, batch=4), "none", shipped="metrics/toy")

Ship = Callable[[float], Path]


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ship:
    """Puts weights of one value into a copy of the software, and makes that copy the one that runs."""

    def copy(value: float) -> Path:
        software = tmp_path / f"copy-{value}"
        write(software / CARD.shipped, value)
        monkeypatch.setattr(weights, "SOFTWARE", software)
        return software / CARD.shipped

    return copy


def write(folder: Path, value: float) -> str:
    folder.mkdir(parents=True)
    save_file({"weight": torch.tensor([value])}, folder / "model.safetensors")
    return weights_digest(folder)


def test_shipped_weights_are_used_where_none_are_given_and_are_known_by_their_digest(ship: Ship) -> None:
    digest = weights_digest(ship(1.0))
    found = extractor_weights("toy", replace(CARD, digests=(digest,)), offline=True)
    assert (found.source, found.digest, found.known) == ("anybench:metrics/toy", digest, True)
    assert not extractor_weights("toy", replace(CARD, digests=("0" * 64,))).known


def test_other_weights_that_are_given_are_used_and_are_not_known(ship: Ship, tmp_path: Path) -> None:
    card = replace(CARD, digests=(weights_digest(ship(1.0)),))
    other = write(tmp_path / "other", 2.0)
    found = extractor_weights("toy", card, str(tmp_path / "other"))
    assert (found.source, found.digest, found.known) == (str((tmp_path / "other").resolve()), other, False)
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        extractor_weights("toy", card, str(tmp_path / "nowhere"))


def test_a_worker_finds_them_in_its_own_copy_wherever_that_lies_and_whatever_it_works_in(
    ship: Ship, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = weights_digest(ship(1.0))
    source = extractor_weights("toy", CARD).source
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "SOFTWARE", (tmp_path / "copy-1.0").rename(tmp_path / "elsewhere"))
    expected = tmp_path / "elsewhere" / CARD.shipped
    assert agreed_path(source, digest, weights_digest, offline=True) == str(expected.resolve())


def test_a_worker_whose_copy_of_the_software_has_others_says_so(ship: Ship) -> None:
    source, digest = "anybench:metrics/toy", weights_digest(ship(1.0))
    ship(2.0)
    with pytest.raises(UsageError, match=r"anybench:metrics/toy on node .* is not the one the driver has"):
        agreed_path(source, digest, weights_digest, offline=True)


def test_a_copy_of_the_software_without_them_says_which_and_what_would_do(ship: Ship) -> None:
    ship(1.0)
    with pytest.raises(AbsentError, match=r"weights of toy: .*metrics/gone is not there.*--weights toy=PATH"):
        extractor_weights("toy", replace(CARD, shipped="metrics/gone"))
