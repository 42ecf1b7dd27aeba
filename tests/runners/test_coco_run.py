"""Image editing from the repository alone: a tiny editor, doing nothing and a cheat, to table, board and curve."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from harness.store import Store
from harness.summary import read_summaries
from metrics.tiny.checkpoints import write_clip_tiny, write_dino_tiny, write_lpips_tiny
from runners.cli import main
from runners.with_baselines import run_with_baselines
from systems.tiny.pipelines import instruct_pix2pix, stable_diffusion

# diffusers' Euler scheduler, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

METRICS = ("clipsim-tiny", "clip_out-tiny", "clip_img-tiny", "dino_source-tiny", "l1", "ssim", "psnr", "lpips-tiny")
SETS = ("clip_fid-tiny", "cmmd-tiny")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_clip_tiny(folder / "clip-tiny", 0)
    write_dino_tiny(folder / "dino-tiny", 0)
    write_lpips_tiny(folder / "lpips-tiny", 0)
    instruct_pix2pix(folder / "instruct-pix2pix-tiny", 0)
    stable_diffusion(folder / "stable-diffusion-tiny", 0)
    return folder


def flags(weights: Path, store: Path, *more: str) -> list[str]:
    words = ["--metrics", ",".join((*METRICS, *SETS)), "--workers", "local", "--store", str(store)]
    for name in ("clip-tiny", "dino-tiny", "lpips-tiny"):
        words += ["--weights", f"{name}={weights / name}"]
    return [*words, *more]


def results(store: Path) -> dict[str, dict[str, Any]]:
    """By system and metric, the results over the whole suite."""
    return {
        one.run.system: {result.metric: result for result in one.results if not result.group}
        for one in read_summaries(Store.at(str(store)))
    }


def test_an_editor_stands_beside_doing_nothing_and_the_cheat_in_table_gallery_and_leaderboard(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("--system", "instruct_pix2pix", "--checkpoint", str(weights / "instruct-pix2pix-tiny"), "--set", "steps=2")
    words = ["coco-editing-mini", *own, *flags(weights, tmp_path)]
    assert run_with_baselines("coco-editing", ("copy_input", "paste_caption"), words) == 0
    said = capsys.readouterr()
    table = said.out.rpartition("Image Editing on MS-COCO")[2]
    assert all(system in table for system in ("copy_input", "paste_caption", "instruct_pix2pix"))
    assert table.count("definition not stated") == 3 and "not run" not in table
    assert "not scored: clipsim-tiny: 15 outputs have nothing to be compared with, or no defined value" in said.err

    whole = results(tmp_path)
    same = {"l1": 0, "ssim": 1, "psnr": 100, "lpips-tiny": 0, "clip_img-tiny": 1, "dino_source-tiny": 1}
    assert {name: whole["copy_input"][name].value for name in same} == pytest.approx(same, abs=1e-5)
    assert whole["copy_input"]["clip_fid-tiny"].value == pytest.approx(0, abs=1e-4)
    assert "clipsim-tiny" not in whole["copy_input"], "what did not change has no direction"
    for name in ("l1", "lpips-tiny", "clip_fid-tiny"):
        assert whole["instruct_pix2pix"][name].value > whole["copy_input"][name].value
    assert whole["paste_caption"]["dino_source-tiny"].value < whole["instruct_pix2pix"]["dino_source-tiny"].value

    assert main(["leaderboard", "coco-editing-mini", "--store", str(tmp_path)]) == 0
    assert "coco-editing-mini v1: leaderboard" in capsys.readouterr().out
    runs = [one.run_id for one in read_summaries(Store.at(str(tmp_path)))]
    assert main(["report", *runs, "--store", str(tmp_path), "--out", str(tmp_path / "page")]) == 0
    assert all((tmp_path / "page" / run / "index.html").is_file() for run in runs)


def test_a_sweep_draws_the_trade_off_and_redoes_nothing(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "coco-editing-mini", "--system", "sdedit", "--checkpoint", str(weights / "stable-diffusion-tiny")]
    words += ["--over", "strength=0.4,0.6,0.8,0.9,1.0", "--set", "steps=5", "--limit", "4", "--json"]
    words += ["--curve", str(tmp_path / "curve.svg"), *flags(weights, tmp_path / "store")]
    words[words.index("--metrics") + 1] = "clipsim-tiny,clip_dir-tiny,clip_img-tiny"
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "runs").glob("*/media/**/*.png")}
    assert len(kept) >= 5
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"]) for row in rows] == [0.4, 0.6, 0.8, 0.9, 1.0]
    assert all(row["x"] and row["y"] for row in rows)
    assert (tmp_path / "curve.svg").read_text().count("<circle") >= 5
