"""Degenerate outputs of a whole run: kept, scored, counted, and said wherever the score is."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from runners.cli import main

PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "benchmarks/embedded/dreambench/dataset/dog6").glob("*.jpg"))
CASES = [f"dog6-{number:02}" for number in range(6)]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """One sample of six cases: two black, one red, two with the same photograph, one with another."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    for case, colour in zip(CASES[:3], ("black", "black", "red"), strict=True):
        Image.new("RGB", (64, 64), colour).save(folder / f"{case}_0.png")
    for case, photograph in zip(CASES[3:], (PHOTOGRAPHS[0], PHOTOGRAPHS[0], PHOTOGRAPHS[1]), strict=True):
        shutil.copy(photograph, folder / f"{case}_0.jpg")
    return folder


def test_degenerate_outputs_are_scored_counted_and_said_wherever_the_score_is(
    tmp_path: Path, outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    words = ["--system", "files", "--checkpoint", str(outputs), "--cases", ",".join(CASES), "--samples", "1"]
    words += ["--store", str(tmp_path / "store"), "--metrics", "color_hist", "--workers", "local", "--json"]
    assert main(["run", "dreambench-mini", *words]) == 0, "degenerate is not absent: the exit status stays 0"
    captured = capsys.readouterr()
    said = json.loads(captured.out.splitlines()[-1])
    (run,) = (tmp_path / "store/runs").iterdir()

    whole = said["scores"][0]
    assert said["degenerate"] == {"black": 2, "repeated": 2, "uniform": 1}
    assert (whole["scored"], whole["degenerate"]) == (6, 5)
    scores = pd.read_parquet(run / "scores/color_hist.parquet")
    assert whole["value"] == pytest.approx(scores["value"].mean()), "nothing is left out of the mean"
    assert len(scores) == 6 and scores["value"].nunique() > 2

    assert "6/300 (5 degenerate)" in captured.out
    assert "degenerate: 2 black, 2 repeated, 1 uniform" in captured.out
    assert "degenerate: 2 black, 2 repeated, 1 uniform, of 6 answered samples" in captured.err
    (row,) = csv.DictReader(io.StringIO((run / "table.csv").read_text()))
    assert row["color_hist_degenerate"] == "5"
    assert "(5 degenerate)" in (run / "table.md").read_text()

    kept = pd.read_parquet(run / "generations").set_index("case")["degenerate"]
    assert [list(kept[case]) for case in CASES] == [["black"], ["black"], ["uniform"], [], [], []]
