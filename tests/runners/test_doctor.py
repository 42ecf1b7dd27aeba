"""`anybench doctor --weights`: anchors hold for the weights they are of, and for no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from transformers import CLIPModel

from harness.nouns import Media
from metrics.anchors import Anchor, alignment, pair_cosine
from runners import anchors
from runners.cli import main

Doctor = Callable[..., int]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """`anybench doctor` in a folder of the test's own, with a hub cache that is empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: main(["doctor", *map(str, words)])


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    assert main(["init", "clip-tiny", str(tmp_path / "clip-tiny")]) == 0
    return tmp_path / "clip-tiny"


def text_anchor(folder: Path) -> Anchor:
    """The first five values that transformers' own loader and forward pass give for a text with these weights."""
    network = CLIPModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        tokens = SimpleTokenizer(context_length=77)(["hello world"])
        values = network.get_text_features(input_ids=tokens).pooler_output[0, :5]
    published = tuple(round(value, 4) for value in values.tolist())
    text = Media("text", text="hello world")
    return Anchor("clip-tiny", "first values", "this test", (text,), alignment(published), (1.0,), 1e-3)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_without_weights_every_anchor_is_absent_with_how_to_get_them_and_none_is_said_to_hold(
    doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor("--weights") == 3
    out = said(capsys)
    assert "clip-vit-b32: absent: " in out and "pass --weights clip-vit-b32=PATH" in out and "docs/weights.md" in out
    assert "anybench run dreambench --system oracle" in out
    assert f"anchors: 0 hold, 0 do not hold, {len(anchors.ANCHORS)} could not be run" in out


def test_an_anchor_holds_for_its_own_weights_and_not_for_others_of_the_same_format(
    doctor: Doctor, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(anchors, "ANCHORS", (text_anchor(tiny),))
    assert doctor("--weights", f"clip-tiny={tiny}") == 0
    out = said(capsys)
    assert "unknown digest" in out and "holds within 0.001" in out and "1 hold, 0 do not hold, 0 could not" in out
    assert main(["init", "clip-tiny", str(tmp_path / "other"), "--seed", "1"]) == 0
    assert doctor("--weights", f"clip-tiny={tmp_path / 'other'}") == 5
    out = said(capsys)
    assert "DOES NOT HOLD" in out and "0 hold, 1 do not hold" in out


def test_a_picture_is_found_in_a_root_of_data_sets_or_in_its_own_folder_and_else_it_is_named(
    doctor: Doctor, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data/set/images").mkdir(parents=True)
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "data/set/images/1.png")
    picture = Media("image", uri="set/images/1.png")
    one = Anchor("clip-tiny", "with itself", "this test", (picture, picture), pair_cosine, (1.0,), 1e-6)
    monkeypatch.setattr(anchors, "ANCHORS", (one,))
    words = ("--weights", f"clip-tiny={tiny}")
    assert doctor(*words) == 3
    assert "not run, absent: set/images/1.png; say with --data DIR" in said(capsys)
    assert doctor(*words, "--data", tiny) == 3
    assert f"not run, absent: set/images/1.png in {tiny}" in said(capsys)
    assert doctor(*words, "--data", tmp_path / "data") == 0
    assert doctor(*words, "--data", tmp_path / "data/set") == 0


def test_weights_without_an_anchor_are_no_success(
    doctor: Doctor, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor("--weights", f"clip-tiny={tiny}", "--json") == 3
    out = said(capsys)
    assert "no published anchor" in out
    told = json.loads(out.splitlines()[-1])
    assert [(one["extractor"], one["anchors"]) for one in told["extractors"]] == [("clip-tiny", [])]
    assert told["extractors"][0]["weights"]["known"] is False


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("dino=x", "no extractor named 'dino'; did you mean dino-"),
        ("dino-vits16=nowhere/x.pth", "nowhere/x.pth: no such file"),
        ("dino-vits16=clip-tiny", "another architecture"),
        ("dino-vits16", "'dino-vits16' is not "),
    ],
)
def test_weights_that_cannot_be_used_are_one_clear_line(
    doctor: Doctor, tiny: Path, capsys: pytest.CaptureFixture[str], words: str, line: str
) -> None:
    capsys.readouterr()
    assert doctor("--weights", words) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error


@pytest.mark.heavy
def test_random_weights_of_full_size_in_the_official_format_fail_the_published_anchors(
    doctor: Doctor, tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = []
    for name in ("dino-vits16", "clip-vit-b32"):
        assert main(["init", name, str(tmp_path / name)]) == 0
        given += ["--weights", f"{name}={tmp_path / name}"]
    assert doctor(*given, "--data", shared / "data", "--json") == 5
    told = json.loads(said(capsys).splitlines()[-1])
    findings = [finding for one in told["extractors"] for finding in one["anchors"]]
    assert any(finding["got"] for finding in findings)
    assert not any(finding["holds"] for finding in findings)
    assert all(np.isfinite(finding["got"]).all() for finding in findings)
