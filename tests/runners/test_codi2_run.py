"""A whole CoDi-2, tiny, on two Ray workers: conversations that edit, and a prompt answered in every modality."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import SUITES
from harness.generation import GENERATIONS, read_generations
from harness.media import decode
from harness.store import Store, Table
from runners.cli import main
from systems.codi2.tiny import codi2


@pytest.mark.ray
def test_conversations_and_mixed_answers_run_as_cases_on_two_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUITES, "talks", "talking_suite:TALKS")  # type: ignore[misc]
    codi2(tmp_path / "tiny", 0)
    (tmp_path / "data").mkdir()
    words = [
        "run",
        "talks",
        "--system",
        "codi2",
        "--checkpoint",
        str(tmp_path / "tiny"),
        "--data",
        str(tmp_path / "data"),
    ]
    words += ["--batch-size", "2", "--workers", "2", "--store", str(tmp_path / "store")]
    for setting in ("steps=2", "sound_steps=2", "sound_seconds=0.32", "video_steps=2", "frames=4"):
        words += ["--set", setting]
    assert main(words) == 0
    store = Store.at(str(tmp_path / "store"))
    (run,) = (tmp_path / "store" / "runs").iterdir()
    rows = read_generations(Table(store, f"runs/{run.name}/generations", GENERATIONS))
    answered = {(row.case, row.turn): [media.modality for media in row.outputs] for row in rows if not row.error}
    edits = {(f"edit-{number}", turn): ["image"] for number in range(3) for turn in range(3)}
    assert answered == {**edits, ("everything", 0): ["text", "image", "audio", "video"]}
    for row in rows:
        for media in row.outputs:
            if media.modality != "text":
                decode(store.read(media.uri), media.uri)
    assert len({media.digest for row in rows if row.case == "edit-0" for media in row.outputs}) == 3


def test_a_checkpoint_of_the_hub_is_looked_at_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "0" * 40
    root = tmp_path / "hub" / "models--org--codi2"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    snapshot = root / "snapshots" / commit
    codi2(snapshot, 0)
    words = ["run", "dreambench-mini", "--system", "codi2", "--checkpoint", "org/codi2@main", "--metrics", "color_hist"]
    words += ["--offline", "--dry-run", "--store", str(tmp_path / "store")]
    assert main(words) == 0
    (snapshot / "codi2.safetensors").unlink()
    assert main(words) == 2
    assert "codi2.safetensors is missing" in capsys.readouterr().err
