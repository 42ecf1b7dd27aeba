"""Statistics of references: saved by `anybench metric`, read in the place of a folder, refused where they misfit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metrics.reference_statistics import Saved, read_statistics
from metrics.tiny import inception as tiny_inception
from runners import saving
from runners.cli import main


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`out` and `ref`, five and seven drawn pictures, `one` with one; random weights `w0`, `w1` of inception-tiny."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYBENCH_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for name, count in (("out", 5), ("ref", 7), ("one", 1)):
        (tmp_path / name).mkdir()
        for number in range(count):
            noise = generator.integers(0, 256, (6, 7, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((64, 48)).save(tmp_path / name / f"{number}.png")
    for seed in (0, 1):
        tiny_inception.write_inception_tiny(tmp_path / f"w{seed}", seed)
    return tmp_path


def measure(*words: str, metric: str = "fid-tiny", weights: str = "w0", output: str = "out") -> int:
    fixed = ("metric", metric, "--output", output, "--weights", f"inception-tiny={weights}", "--workers", "local")
    return main([*fixed, *words])


def scored(printed: Callable[[], str]) -> dict[str, object]:
    (found,) = json.loads(printed().strip().splitlines()[-1])["scores"]
    return dict(found)


def test_saved_statistics_give_the_number_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lambda: capsys.readouterr().out  # noqa: E731
    assert measure("--reference", "ref", "--save-statistics", "s.npz", "--json") == 0
    direct = scored(printed)
    assert measure("--reference", "s.npz", "--json") == 0
    saved = scored(printed)
    assert saved["value"] == pytest.approx(direct["value"], rel=1e-9, abs=1e-9)
    assert saved["scored"] == direct["scored"] == 5
    assert "|two-sets|" in str(direct["signature"])
    assert "|statistics=" in str(saved["signature"]), "numbers against a file say which file"


def test_the_file_holds_plain_arrays_and_says_what_they_are_of() -> None:
    assert measure("--reference", "ref", "--save-statistics", "s.npz") == 0
    with np.load("s.npz", allow_pickle=False) as file:
        assert {*file} == {"rows", "mean", "scatter", "extractor", "version", "preprocessing", "weights"}
        assert (int(file["rows"]), file["mean"].shape, file["scatter"].dtype) == (7, (128,), np.float64)
        assert (str(file["extractor"]), str(file["preprocessing"])) == ("inception-tiny", "299tf1bilinear")
        assert len(str(file["weights"])) == 64


def test_statistics_of_other_weights_or_of_another_extractor_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--reference", "ref", "--save-statistics", "s.npz") == 0
    assert measure("--reference", "s.npz", weights="w1") == 2
    assert "s.npz: statistics of weights" in capsys.readouterr().err
    with np.load("s.npz") as file:
        np.savez("t.npz", **{**file, "extractor": np.str_("clip-tiny")})
    assert measure("--reference", "t.npz") == 2
    said = capsys.readouterr().err
    assert "t.npz: statistics of extractor 'clip-tiny', and the outputs' would be of 'inception-tiny'" in said


@pytest.mark.parametrize("metric", ["kid-tiny", "fid_infinity-tiny"])
def test_metrics_that_need_the_references_themselves_say_so(metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--reference", "ref", "--save-statistics", "s.npz") == 0
    assert measure("--reference", "s.npz", metric=metric) == 2
    assert f"metric {metric}: it needs the references themselves" in capsys.readouterr().err
    assert measure("--reference", "ref", "--save-statistics", "t.npz", metric=metric) == 2
    assert f"metric {metric}: it needs the references themselves" in capsys.readouterr().err
    assert not Path("t.npz").exists()


def _packed(path: str, arrays: dict[str, np.ndarray]) -> bytes:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return Path(path).read_bytes()


def test_a_small_file_that_unpacks_to_more_than_statistics_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_packed("bomb.npz", {"mean": np.zeros(5_000_000)})) < 100_000
    assert measure("--reference", "bomb.npz") == 2
    assert "bytes unpacked" in capsys.readouterr().err


def test_what_was_not_saved_for_something_absent_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--reference", "ref", "--pair", "name", "--save-statistics", "s.npz") == 3
    assert "--save-statistics s.npz: not written, as something was absent" in capsys.readouterr().err
    assert not Path("s.npz").exists()


def test_sets_are_not_paired_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--reference", "ref", "--pair", "all") == 2
    assert "metric fid-tiny: --pair all would count a reference for each output; use sets" in capsys.readouterr().err
    assert measure("--reference", "ref", "--pair", "name") == 3


def test_bad_files_are_refused_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--reference", "ref", "--save-statistics", "s.npz") == 0
    with np.load("s.npz") as file:
        good = dict(file)
    Path("damaged.npz").write_bytes(Path("s.npz").read_bytes()[:500])
    Path("text.npz").write_text("mean")
    np.savez("lacking.npz", mean=good["mean"])
    np.savez("shape.npz", **{**good, "scatter": good["scatter"][:5]})
    np.savez("nan.npz", **{**good, "scatter": good["scatter"] * np.nan})
    np.savez("objects.npz", **{**good, "mean": np.array([{}], dtype=object)})
    capsys.readouterr()
    packed = bytearray(_packed("packed.npz", good))
    packed[200:4000] = bytes(3800)
    Path("zlib.npz").write_bytes(packed)
    for name in ("zlib", "damaged", "text", "lacking", "shape", "nan", "objects", "nowhere"):
        assert measure("--reference", f"{name}.npz") == 2
        said = capsys.readouterr().err
        assert f"{name}.npz: " in said and "Traceback" not in said and len(said.splitlines()) == 1


def test_what_cannot_be_saved_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--reference", "ref", "--save-statistics", "s.txt") == 2
    assert "named .npz" in capsys.readouterr().err
    assert measure("--reference", "ref", "--save-statistics", "s.txt", output="nowhere") == 2
    assert "named .npz" in capsys.readouterr().err, "before the outputs are looked at"
    assert measure("--reference", "ref", "--save-statistics", "nowhere/s.npz") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert measure("--reference", "ref", "--save-statistics", "s.npz") == 0
    assert measure("--reference", "s.npz", "--save-statistics", "t.npz") == 2
    assert "give the references themselves" in capsys.readouterr().err


def test_one_picture_against_statistics_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--reference", "ref", "--save-statistics", "s.npz") == 0
    assert measure("--reference", "s.npz", output="one") == 3
    assert "fewer than two images" in capsys.readouterr().err


def test_a_command_reads_the_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure("--reference", "ref", "--save-statistics", "s.npz") == 0
    seen: list[Path] = []

    def read(path: Path) -> Saved:
        seen.append(path)
        return read_statistics(path)

    monkeypatch.setattr(saving, "read_statistics", read)
    assert measure("--reference", "s.npz") == 0
    assert seen == [Path("s.npz")]
