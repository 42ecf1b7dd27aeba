"""Folders that would lead elsewhere, bring code, or never end: refused in one line, before torch is imported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.media import MediaError
from harness.nouns import Case, Item, Turn
from systems import files
from systems.files import Files, check
from systems.pipeline_folder import read_pipeline_folder

INDEX = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
CASE = Case("a", (Turn((), ("text",)),))


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A folder that reads as a pipeline, and another beside it."""
    for name in ("folder/unet", "elsewhere/unet"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "folder/model_index.json").write_text(json.dumps(INDEX))
    assert read_pipeline_folder(tmp_path / "folder").components == {"unet": ("diffusers", "UNet2DConditionModel")}
    return tmp_path / "folder"


@pytest.mark.parametrize("name", ["../elsewhere/unet", "/etc", "unet/../unet", ".hidden", "", "x" * 300, "a b"])
def test_a_component_that_is_no_folder_of_the_folder_is_refused(pipeline: Path, name: str) -> None:
    (pipeline / "model_index.json").write_text(json.dumps(INDEX | {name: ["diffusers", "UNet2DConditionModel"]}))
    with pytest.raises(UsageError, match=r"folder: model_index\.json: .*is no component"):
        read_pipeline_folder(pipeline)


@pytest.mark.parametrize(
    "value", ["UNet", ["diffusers"], ["diffusers", None], [["diffusers"], "X"], {"a": 1}, ["a", "b", "c"]]
)
def test_a_component_that_is_no_pair_of_names_is_refused(pipeline: Path, value: Any) -> None:
    (pipeline / "model_index.json").write_text(json.dumps(INDEX | {"unet": value}))
    with pytest.raises(UsageError, match="unet is no component"):
        read_pipeline_folder(pipeline)


def test_a_linked_component_is_refused_since_no_digest_covers_it(pipeline: Path) -> None:
    (pipeline / "unet/config.json").unlink()
    (pipeline / "unet").rmdir()
    (pipeline / "unet").symlink_to("../elsewhere/unet")
    with pytest.raises(UsageError, match="folder/unet: a link to a folder; put the folder itself there"):
        read_pipeline_folder(pipeline)


@pytest.mark.parametrize(
    "config", [{"_attn_implementation": "org/kernels"}, {"text_config": {"attn_implementation": "org/kernels@main"}}]
)
def test_a_config_that_names_code_of_a_hub_is_refused(pipeline: Path, config: dict[str, Any]) -> None:
    (pipeline / "unet/config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"unet/config\.json: _?attn_implementation names code of a hub, org/kernels"):
        read_pipeline_folder(pipeline)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "[]", "\ufeff{}", '{"a": ' * 100_000])
def test_an_index_that_is_no_object_is_one_line(pipeline: Path, text: str) -> None:
    (pipeline / "model_index.json").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=r"model_index\.json is not"):
        read_pipeline_folder(pipeline)


def test_a_text_answer_without_end_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "TEXT_BYTES", 1000)
    (tmp_path / "a_0.txt").write_text("x" * 1000)
    item = Item(CASE, 0, seed=0)
    assert Files(str(tmp_path), "cpu").generate([item])[0][0][0].data == "x" * 1000
    (tmp_path / "a_0.txt").write_text("x" * 1001)
    with pytest.raises(MediaError, match=r"a_0\.txt is over the limit of 1,000 bytes for a text"):
        Files(str(tmp_path), "cpu").generate([item])


def test_a_pipe_among_the_outputs_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a_0.txt")
    (tmp_path / "a_1.txt").write_text("yes")
    check(str(tmp_path), [CASE], 2)
    with pytest.raises(UsageError, match=r"case a, sample 0: no file a_0\.\*"):
        Files(str(tmp_path), "cpu").generate([Item(CASE, 0, seed=0)])
