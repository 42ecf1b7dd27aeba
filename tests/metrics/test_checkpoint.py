"""Bad weights: one clear line each, and never a network that is partly random."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.errors import AbsentError, UsageError
from harness.nouns import Media
from metrics.extractors.checkpoint import Source
from metrics.extractors.clip import CLIP, CLIPTiny
from metrics.extractors.dino import DINO, DINOTiny


class Payload:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch pwned",))


@pytest.fixture
def folder(dino_folder: Path, tmp_path: Path) -> Path:
    """A good tiny DINO folder to be damaged."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((dino_folder / name).read_bytes())
    return tmp_path


def change(folder: Path, **tensors: Tensor | None) -> None:
    """Tensors of the folder replaced or, by None, removed; `__` stands for a dot."""
    state = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    save_file(state, folder / "model.safetensors")


def refusal(weights: Path | str, kind: type = DINOTiny) -> str:
    """The one line with which weights are refused."""
    with pytest.raises(UsageError) as caught:
        kind(str(weights), "cpu")
    line = str(caught.value)
    assert "\n" not in line
    assert str(weights) in line
    return line


@pytest.mark.parametrize("weights", ["/no/such/folder", "nowhere.pth"])
def test_weights_that_are_not_there_are_absent(weights: str) -> None:
    with pytest.raises(AbsentError, match=weights):
        DINOTiny(weights, "cpu")


def test_no_path_at_all_is_absent() -> None:
    with pytest.raises(AbsentError):
        DINOTiny("", "cpu")


def test_a_folder_without_config_or_without_weights_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert "neither model.safetensors nor pytorch_model.bin" in refusal(folder)
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(folder)


def test_a_missing_and_an_unexpected_key_are_both_named(folder: Path) -> None:
    change(folder, layernorm__weight=None, surprise=torch.zeros(1))
    line = refusal(folder)
    assert "missing key: layernorm.weight" in line and "unexpected key: surprise" in line


def test_a_missing_key_alone_is_an_error(folder: Path) -> None:
    change(folder, encoder__layer__1__attention__output__dense__bias=None)
    assert "encoder.layer.1.attention.output.dense.bias" in refusal(folder)


def test_an_unexpected_key_alone_is_an_error(folder: Path) -> None:
    change(folder, encoder__layer__2__output__dense__bias=torch.zeros(64))
    line = refusal(folder)
    assert "missing key: none" in line and "encoder.layer.2.output.dense.bias" in line


def test_a_wrong_shape_is_shown_with_the_expected_one(folder: Path) -> None:
    change(folder, encoder__layer__0__output__dense__weight=torch.zeros(64, 128))
    line = refusal(folder)
    assert "encoder.layer.0.output.dense.weight" in line and "(64, 128)" in line and "(48, 192)" in line


def test_the_shape_of_a_fused_or_transposed_tensor_is_stated_as_the_file_has_it() -> None:
    parameter = torch.zeros(16, 24)
    assert Source("attn.qkv.weight", third=1).shape(parameter) == (48, 24)
    assert Source("visual.proj", transposed=True).shape(parameter) == (24, 16)
    assert Source("logit_scale").shape(torch.tensor(0.0)) == ()


def test_nan_in_the_weights_is_an_error(folder: Path) -> None:
    weight = load_file(folder / "model.safetensors")["layernorm.weight"]
    weight[3] = float("nan")
    change(folder, layernorm__weight=weight)
    assert "layernorm.weight" in refusal(folder)


def test_embeddings_that_overflow_are_an_error(folder: Path) -> None:
    weight = load_file(folder / "model.safetensors")["embeddings.patch_embeddings.projection.weight"]
    change(folder, embeddings__patch_embeddings__projection__weight=torch.full_like(weight, 3e38))
    Image.new("RGB", (224, 224), "white").save(folder / "white.png")
    extractor = DINOTiny(str(folder), "cpu")
    with pytest.raises(UsageError, match="NaN or infinite"):
        extractor.extract([(Media("image", uri=str(folder / "white.png")),)])


@pytest.mark.parametrize("name", ["model.safetensors", "weights.pth", "weights.pt", "empty.bin", "text.pth"])
def test_a_file_that_is_damaged_or_no_checkpoint_is_one_line(name: str, dino_folder: Path, tmp_path: Path) -> None:
    state = load_file(dino_folder / "model.safetensors")
    path = tmp_path / name
    if name == "text.pth":
        path.write_text("<html>404</html>")
    elif name == "empty.bin":
        path.touch()
    elif path.suffix == ".safetensors":
        path.write_bytes((dino_folder / name).read_bytes()[:5000])
    else:
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:5000])
    assert "not a readable file of plain tensors" in refusal(path)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "plain.pth").write_bytes(pickle.dumps({"cls_token": Payload()}))
    torch.save({"cls_token": Payload()}, folder / "zip.pth")
    for name in ("plain.pth", "zip.pth"):
        assert "Python objects, which are never loaded" in refusal(folder / name)
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("content", [[1, 2], {"student": {"a": torch.zeros(1)}}, torch.zeros(3)])
def test_a_file_that_is_no_state_dict_says_what_to_save(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "full_checkpoint.pth")
    assert "state_dict" in refusal(tmp_path / "full_checkpoint.pth")


def test_weights_of_another_size_are_refused(dino_folder: Path, clip_folder: Path) -> None:
    assert "hidden_size is 48, expected 384" in _refusal_inside(dino_folder, DINO)
    assert "another architecture" in _refusal_inside(clip_folder, CLIP)


def test_one_network_is_refused_as_another(dino_folder: Path, clip_folder: Path) -> None:
    assert "model_type is 'clip', expected 'vit'" in _refusal_inside(clip_folder, DINOTiny)
    assert "missing key" in refusal(clip_folder / "model.safetensors", DINOTiny)
    assert "missing key" in refusal(dino_folder / "model.safetensors", CLIPTiny)


def test_a_clip_with_plain_gelu_or_other_heads_is_refused_though_its_shapes_fit(
    clip_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes((clip_folder / "model.safetensors").read_bytes())
    for key, value in (("hidden_act", "gelu"), ("num_attention_heads", 4)):
        config = json.loads((clip_folder / "config.json").read_text())
        config["text_config"][key] = value
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert f"text_config.{key} is {value!r}" in _refusal_inside(tmp_path, CLIPTiny)


def test_a_config_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "not JSON" in _refusal_inside(folder, DINOTiny)


def _refusal_inside(folder: Path, kind: type) -> str:
    """The refusal of a folder, whose line names a file in it."""
    with pytest.raises(UsageError) as caught:
        kind(str(folder), "cpu")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)
