"""Loading an ImageBind: every key or none, whatever the file, and only what was asked for."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import imagebind_toys as toys
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import UsageError
from systems.imagebind.config import HUGE, MODALITIES, PERCEIVED, ImageBindConfig, Vision, config_to_json, read_config
from systems.imagebind.loading import OFFICIAL_FILE, load, save
from systems.imagebind.model import ImageBind

AUDIO_HEAD = "modality_heads.audio.2.weight"
SHIFTED_HEAD = "modality_heads.audio.3.weight"


@cache
def small() -> ImageBind:
    model = ImageBind(toys.SMALL)
    toys.fill(model)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(small(), tmp_path / "imagebind")
    return tmp_path / "imagebind"


def change(folder: Path, **changes: torch.Tensor | None) -> Path:
    """The folder with other tensors in its file; None takes a tensor out."""
    file = folder / "model.safetensors"
    tensors = load_file(file) | changes
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, file)
    return folder


def refusal(path: Path, **asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(path, **asked)
    return str(caught.value)


def test_what_was_saved_is_loaded_bit_for_bit(folder: Path) -> None:
    loaded = load(folder, modalities=MODALITIES)
    assert loaded.config == toys.SMALL and not loaded.training
    ours, theirs = loaded.state_dict(), small().state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_towers_that_are_not_asked_for_are_left_out(folder: Path) -> None:
    loaded = load(folder)
    assert tuple(loaded.config.towers()) == PERCEIVED
    _, pictures = toys.inputs()["picture"]
    assert torch.equal(loaded.embed("vision", pictures), small().embed("vision", pictures))


def test_a_sound_head_whose_key_moved_is_refused(folder: Path) -> None:
    # What the released CoDi-2 runs with: its head has one layer more, and its loader is lenient.
    change(folder, **{AUDIO_HEAD: None, SHIFTED_HEAD: small().state_dict()[AUDIO_HEAD]})
    said = refusal(folder)
    assert said.startswith(str(folder / "model.safetensors"))
    assert f"1 missing (first: {AUDIO_HEAD})" in said and f"1 unexpected (first: {SHIFTED_HEAD})" in said


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(folder: Path) -> None:
    change(folder, **{AUDIO_HEAD: torch.zeros(8, 48)})
    assert f"{AUDIO_HEAD}: (32, 48) expected, (8, 48) found" in refusal(folder)


@pytest.mark.parametrize("key", ["modality_heads.vision.9.weight", "modality_heads.smell.0.weight", "optimizer.step"])
def test_a_key_that_nothing_asks_for_is_refused(folder: Path, key: str) -> None:
    assert f"1 unexpected (first: {key})" in refusal(change(folder, **{key: torch.zeros(2)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change(folder, **{AUDIO_HEAD: torch.full((32, 48), value)})
    assert f"{AUDIO_HEAD} holds NaN or infinite values" in refusal(folder)


def test_weights_beyond_float16_are_refused_in_float16_alone(folder: Path) -> None:
    change(folder, **{AUDIO_HEAD: torch.full((32, 48), 1e6)})
    load(folder)
    assert "torch.float16" in refusal(folder, dtype=torch.float16)


def test_another_mask_than_the_causal_one_is_refused(folder: Path) -> None:
    assert "text.mask is not the causal mask" in refusal(
        change(folder, **{"modality_preprocessors.text.mask": torch.zeros(77, 77)})
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_scales_exact(folder: Path, dtype: torch.dtype) -> None:
    loaded = load(folder, dtype).state_dict()
    assert loaded[AUDIO_HEAD].dtype == dtype
    # exp(log 20) in bfloat16 would be 19.7.
    assert loaded["modality_postprocessors.audio.1.log_logit_scale"].exp().item() == pytest.approx(20, rel=1e-6)


def test_the_official_file_and_a_folder_that_holds_it_are_read_at_the_official_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("systems.imagebind.loading.HUGE", toys.SMALL)
    torch.save(small().state_dict(), tmp_path / OFFICIAL_FILE)
    save_file(small().state_dict(), tmp_path / "hub.safetensors")
    for path in (tmp_path / OFFICIAL_FILE, tmp_path, tmp_path / "hub.safetensors"):
        assert torch.equal(load(path).state_dict()[AUDIO_HEAD], small().state_dict()[AUDIO_HEAD])


def test_a_small_file_is_no_official_one(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / OFFICIAL_FILE)
    assert f"{AUDIO_HEAD}: (1024, 768) expected, (32, 48) found" not in refusal(tmp_path)
    assert "(1, 1, 1280) expected, (1, 1, 64) found" in refusal(tmp_path)


@pytest.mark.parametrize("held", [b"", b"PK\x03\x04 cut short", b"\x80\x02cos\nsystem\n(S'true'\ntR."])
@pytest.mark.parametrize("name", [OFFICIAL_FILE, "x.safetensors"])
def test_what_is_no_file_of_tensors_is_refused_in_one_line(tmp_path: Path, name: str, held: bytes) -> None:
    (tmp_path / name).write_bytes(held)
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}: no ")


class Trap:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_what_a_file_would_run_is_not_run(tmp_path: Path) -> None:
    torch.save({**small().state_dict(), AUDIO_HEAD: Trap(tmp_path / "sprung")}, tmp_path / OFFICIAL_FILE)
    assert "Python objects are never loaded" in refusal(tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("held", [[1], {"model": {"a": 1}}, {"a": torch.zeros(2, dtype=torch.int64)}])
def test_what_is_no_dictionary_of_plain_tensors_is_refused(tmp_path: Path, held: Any) -> None:
    torch.save(held, tmp_path / OFFICIAL_FILE)
    assert "state_dict alone" in refusal(tmp_path)


def test_a_path_without_weights_is_refused_with_what_would_do(tmp_path: Path, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder).startswith(f"{folder / 'model.safetensors'}: no such file")
    assert OFFICIAL_FILE in refusal(tmp_path / "nowhere")


def test_a_tower_that_the_checkpoint_lacks_is_refused(tmp_path: Path) -> None:
    save(ImageBind(toys.SMALL.only(["vision", "imu"])), tmp_path)
    assert refusal(tmp_path, modalities=["audio"]) == "ImageBind without audio; it has vision, imu"


@pytest.mark.parametrize("config", [HUGE, toys.SMALL, toys.SMALL.only(["text"])])
def test_a_config_is_read_back_as_it_was_written(tmp_path: Path, config: ImageBindConfig) -> None:
    file = tmp_path / "config.json"
    file.write_text(config_to_json(config), encoding="utf-8")
    assert read_config(file) == config


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model_type", "clip", '"model_type": "imagebind" is not there'),
        ("dimension", 0, "dimension is 0"),
        ("dimension", "32", "dimension is str, int expected"),
        ("smell", None, "a field 'smell', which is unknown"),
        ("vision", {"width": 64, "blocks": 2, "heads": 5}, "vision.width is 64, which 5 heads do not divide"),
        ("vision", {"width": 64, "blocks": 10**9, "heads": 4}, "vision.blocks is 1000000000; 1 to 1000 would do"),
        ("vision", {"width": 64, "blocks": 2, "heads": 4, "patch": 15}, "no multiple of the patch of 15"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused_with_the_field(
    tmp_path: Path, field: str, value: Any, said: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(config_to_json(toys.SMALL)) | {field: value}), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_config(file)
    assert str(caught.value).startswith(f"{file}: ") and said in str(caught.value)


def test_sizes_that_do_not_go_together_are_refused_when_they_are_made() -> None:
    with pytest.raises(UsageError, match="no multiple of the patch"):
        replace(toys.SMALL, vision=Vision(64, 2, 4, picture=225))
