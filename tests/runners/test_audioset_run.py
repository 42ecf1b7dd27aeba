"""Sound editing from the repository alone: a tiny SDEdit between copy_input and oracle, to table, gallery and board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.store import Store
from harness.summary import read_summaries
from metrics.tiny.checkpoints import write_clap_tiny, write_cnn14_tiny
from runners.cli import main
from runners.with_baselines import run_with_baselines
from systems.tiny.sound_pipelines import audioldm2

WEIGHTLESS = ("lsd", "lsd_parity", "lsd_clean", "si_sdr", "event_si_sdr", "removed_residual", "length_difference")
TINY = ("kl-tiny", "fd-tiny", "fd_floor-tiny", "audio_is-tiny", "clap-tiny", "clap_event_delta-tiny")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_cnn14_tiny(folder / "cnn14-tiny", 0)
    write_clap_tiny(folder / "clap-tiny", 0)
    audioldm2(folder / "audioldm2-tiny", 0)
    return folder


def evaluate(weights: Path, store: Path, *flags: str) -> int:
    words = ["audioset-editing-mini", "--system", "sdedit_audio", "--checkpoint", str(weights / "audioldm2-tiny")]
    words += ["--set", "steps=4", "--metrics", ",".join((*WEIGHTLESS, *TINY)), "--store", str(store), *flags]
    for name in ("cnn14-tiny", "clap-tiny"):
        words += ["--weights", f"{name}={weights / name}"]
    return run_with_baselines("audioset-editing", ("copy_input", "oracle"), words)


def results(store: Path, group: str = "") -> dict[str, dict[str, Any]]:
    """By system and metric, the results of a group."""
    return {
        one.run.system: {result.metric: result for result in one.results if result.group == group}
        for one in read_summaries(Store.at(str(store)))
    }


def test_a_tiny_editor_stands_between_its_bounds_in_table_gallery_and_leaderboard(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(weights, tmp_path, "--workers", "local") == 0
    table = capsys.readouterr().out.rpartition("Evaluation results of adding")[2]
    assert all(f"{system} (" in table or f"{system} " in table for system in ("copy_input", "oracle", "sdedit_audio"))
    assert "1.21" in table and "NOT" not in table

    whole = results(tmp_path)
    assert {len(own) for own in whole.values()} == {len(WEIGHTLESS) + len(TINY)}
    assert all(one.scored == one.expected for own in whole.values() for one in own.values())
    assert whole["oracle"]["lsd"].value == pytest.approx(0, abs=1e-6), "no case holds digital silence"
    assert (whole["oracle"]["lsd_clean"].value, whole["oracle"]["length_difference"].value) == (0, 0)
    assert whole["oracle"]["fd-tiny"].value == pytest.approx(0, abs=1e-6)
    assert whole["oracle"]["lsd_parity"].value > 0.5, "the offset alone costs a perfect copy this much"
    assert whole["copy_input"]["clap_event_delta-tiny"].value == 0
    assert whole["copy_input"]["removed_residual"].value == pytest.approx(0, abs=1e-3)
    for metric in ("lsd", "kl-tiny", "fd-tiny"):
        values = [whole[system][metric].value for system in ("oracle", "copy_input", "sdedit_audio")]
        assert values == sorted(values), metric
    by_task = results(tmp_path, "task=drop")["copy_input"]
    assert by_task["removed_residual"].scored == 4 and "event_si_sdr" not in by_task

    assert main(["leaderboard", "audioset-editing-mini", "--store", str(tmp_path)]) == 0
    board = capsys.readouterr().out
    assert board.index("oracle") < board.index("copy_input") < board.index("sdedit_audio")

    run = next(one.run_id for one in read_summaries(Store.at(str(tmp_path))) if one.run.system == "sdedit_audio")
    assert main(["report", run, "--store", str(tmp_path), "--out", str(tmp_path / "page")]) == 0
    packs = "".join(path.read_text() for path in (tmp_path / "page" / "data").glob("pack-*.js"))
    assert packs.count("data:image/webp") > 12, "every sound has its spectrogram"


@pytest.mark.heavy
@pytest.mark.ray
def test_the_same_on_two_ray_workers_gives_the_same_numbers(weights: Path, tmp_path: Path) -> None:
    assert evaluate(weights, tmp_path / "here", "--workers", "local") == 0
    assert evaluate(weights, tmp_path / "ray", "--workers", "2") == 0
    here, there = results(tmp_path / "here"), results(tmp_path / "ray")
    for system, own in here.items():
        for name, one in own.items():
            assert there[system][name].value == pytest.approx(one.value, rel=1e-4, abs=1e-5), (system, name)


def test_two_folders_of_sounds_are_paired_by_name_and_what_stands_alone_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mini = Path(__file__).parents[2] / "benchmarks" / "embedded" / "audioset-editing-mini" / "pairs"
    out, ref = tmp_path / "out", tmp_path / "ref"
    out.mkdir()
    ref.mkdir()
    names = sorted(path.name for path in (mini / "base").iterdir())
    for name in names[:3]:
        (out / name).write_bytes((mini / "base" / name).read_bytes())
    for name in names[1:]:
        (ref / name).write_bytes((mini / "mix" / name).read_bytes())
    words = ["metric", "lsd", "--output", str(out), "--reference", str(ref), "--workers", "local", "--json"]
    assert main(words) == 3
    said = capsys.readouterr()
    (score,) = json.loads(said.out.splitlines()[-1])["scores"]
    assert (score["scored"], score["expected"]) == (2, 3) and score["value"] > 0.1
    assert f"{out}: 1 of 3 have no reference of their name: {names[0]}" in said.err
    assert f"{ref}: 1 of 3 have no output of their name: {names[3]}" in said.err
