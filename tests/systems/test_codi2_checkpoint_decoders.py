"""What a CoDi-2 checkpoint has for sounds, videos and editing: there where it belongs to, refused where it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from codi2_folders import complaint, reconfigure, retensor
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import UsageError
from systems.codi2 import image_decoder, sound_decoder, video_decoder
from systems.codi2.backbones import digest_backbone
from systems.codi2.checkpoint import (
    IMAGE_EDITING,
    SOUND_EDITING,
    TENSORS,
    Checkpoint,
    check,
    read_adapters,
    read_checkpoint,
    write_adapters,
)
from systems.codi2.description import FILE, read_description, write_description
from systems.codi2.model import load_parts

SOUND = ("sound.language_of_audio.bias", "sound.language_of_audio.weight")
VIDEO = ("video.context.bias", "video.context.weight")


@pytest.fixture
def folder(codi2_tiny: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own."""
    return Path(shutil.copytree(codi2_tiny, tmp_path / "checkpoint"))


def unname(folder: Path, *sections: str) -> None:
    said = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({key: value for key, value in said.items() if key not in sections}))


def drop(folder: Path, *keys: str) -> None:
    retensor(folder, lambda tensors: [tensors.pop(key) for key in keys])


def put(folder: Path, key: str, tensor: Tensor) -> None:
    retensor(folder, lambda tensors: tensors.update({key: tensor}))


def test_the_decoders_tensors_are_written_and_read_back_part_by_part(folder: Path) -> None:
    checkpoint, before = read_checkpoint(folder), load_file(folder / TENSORS)
    trained = read_adapters(checkpoint)
    write_adapters(folder, trained)
    write_description(folder, checkpoint.description)
    after = load_file(folder / TENSORS)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert trained.language_of_audio and trained.video_context
    for part, keys in ((trained.language_of_audio, SOUND), (trained.video_context, VIDEO)):
        assert {key: part[key.rpartition(".")[2]].tolist() for key in keys} == {k: before[k].tolist() for k in keys}
    for columns, key in ((trained.image_editing, IMAGE_EDITING), (trained.sound_editing, SOUND_EDITING)):
        assert columns is not None and torch.equal(columns, before[key])


@pytest.mark.parametrize(
    ("section", "keys"), [("sound_decoder", (*SOUND, SOUND_EDITING)), ("video_decoder", VIDEO)], ids=["sound", "video"]
)
def test_a_decoder_and_its_tensors_are_there_together_or_not_at_all(
    folder: Path, section: str, keys: tuple[str, ...]
) -> None:
    tensors = load_file(folder / TENSORS)
    drop(folder, *keys)
    linear = next(key for key in keys if key.endswith("weight"))
    assert f"2 missing (first: {linear} " in complaint(folder)
    unname(folder, section)
    check(str(folder), [], 1)
    assert getattr(read_checkpoint(folder), section) is None
    assert getattr(load_parts(folder, torch.float32), section) is None
    for key in keys:
        put(folder, key, tensors[key])
        assert f"1 unexpected (first: {key} " in complaint(folder)
        drop(folder, key)


def test_without_its_decoder_a_part_is_none_and_the_description_says_nothing_of_it(folder: Path) -> None:
    unname(folder, "sound_decoder", "video_decoder")
    drop(folder, *SOUND, *VIDEO, SOUND_EDITING, IMAGE_EDITING)
    trained = read_adapters(read_checkpoint(folder))
    assert trained.language_of_audio is trained.video_context is trained.image_editing is trained.sound_editing is None
    write_adapters(folder, trained)
    write_description(folder, read_description(folder))
    assert "decoder" in (said := (folder / FILE).read_text())
    assert "sound" not in said and "video" not in said
    check(str(folder), [], 1)


@pytest.mark.parametrize("key", [IMAGE_EDITING, SOUND_EDITING])
def test_columns_for_editing_are_optional_and_as_many_as_the_unets_own(folder: Path, key: str) -> None:
    part = "image_decoder" if key == IMAGE_EDITING else "sound_decoder"
    before = load_file(folder / TENSORS)[key]
    own = load_file(folder / part / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    assert before.shape == own.shape
    put(folder, key, before[:, 1:].contiguous())
    out, channels, *kernel = own.shape
    assert f"1 misshapen (first: {key} is {(out, channels - 1, *kernel)} where {tuple(own.shape)} is expected)" in (
        complaint(folder)
    )
    drop(folder, key)
    check(str(folder), [], 1)


@pytest.mark.parametrize("tokens", [1, 8])
def test_a_video_decoder_is_told_as_many_tokens_as_its_linear_layer_makes(folder: Path, tokens: int) -> None:
    put(folder, "video.context.weight", torch.zeros(32 * tokens, 64))
    assert f"1 misshapen (first: video.context.bias is (128,) where ({32 * tokens},) is expected)" in complaint(folder)
    put(folder, "video.context.bias", torch.zeros(32 * tokens))
    check(str(folder), [], 1)
    context = read_adapters(read_checkpoint(folder)).video_context
    assert context and context["weight"].shape == (32 * tokens, 64)


@pytest.mark.parametrize("shape", [(0, 64), (33, 64), (32 * 9, 64)])
def test_more_tokens_than_eight_none_or_a_part_of_one_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    put(folder, "video.context.weight", torch.zeros(shape))
    said = f"{TENSORS}: video.context.weight has {shape[0]} rows; 1 to 8 times 32, which is what the video decoder's"
    assert said in complaint(folder)


@pytest.mark.parametrize("shape", [(), (128,), (128, 32)])
def test_a_context_of_another_shape_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    put(folder, "video.context.weight", torch.zeros(shape))
    assert f" misshapen (first: video.context.weight is {shape} where " in complaint(folder)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("image_decoder/unet", {"in_channels": None}, "in_channels is None; a whole number"),
        ("image_decoder/unet", {"block_out_channels": []}, "block_out_channels[0] is []; a whole number"),
        ("image_decoder/unet", {"block_out_channels": [True]}, "block_out_channels[0] is True; a whole number"),
        (
            "image_decoder/unet",
            {"block_out_channels": [64]},
            "image_editing.conv_in.weight is (32, 4, 3, 3) where (64,",
        ),
        ("image_decoder/unet", {"conv_in_kernel": 5}, "is (32, 4, 3, 3) where (32, 4, 5, 5)"),
        ("sound_decoder/unet", {"cross_attention_dim": 64}, "cross_attention_dim is 64; [null, width, 64] at each"),
        ("sound_decoder/unet", {"cross_attention_dim": []}, "cross_attention_dim is []; [null, width, 64] at each"),
        ("sound_decoder/unet", {"cross_attention_dim": [[None, 16, 32]] * 3}, "second stream is 32 wide; 64, as"),
        ("sound_decoder/unet", {"cross_attention_dim": [[None, 16, 64], [None, 8, 64]]}, "[null, width, 64] at each"),
        ("sound_decoder/unet", {"cross_attention_dim": [[None, -16, 64]] * 3}, "cross_attention_dim is -16; a whole"),
        (
            "sound_decoder/unet",
            {"cross_attention_dim": [[None, 24, 64]] * 3},
            "2 misshapen (first: sound.language_of_audio.weight is (128, 64) where (192, 64) is expected)",
        ),
        ("sound_decoder/unet", {"in_channels": 4}, "sound_editing.conv_in.weight is (8, 8, 3, 3) where (8, 4, 3, 3)"),
        ("video_decoder/unet", {"cross_attention_dim": [32, 32]}, "cross_attention_dim is [32, 32]; a whole number"),
        ("video_decoder/unet", {"cross_attention_dim": 48}, "video.context.weight has 128 rows; 1 to 8 times 48"),
    ],
)
def test_decoders_that_do_not_fit_are_refused(folder: Path, file: str, changes: Any, said: str) -> None:
    reconfigure(folder / file / "config.json", **changes)
    assert said in complaint(folder)


@pytest.mark.parametrize(
    ("part", "needed"),
    [
        ("image_decoder", "StableUnCLIPImg2ImgPipeline"),
        ("sound_decoder", "AudioLDM2Pipeline"),
        ("video_decoder", "TextToVideoSDPipeline"),
    ],
)
def test_the_driver_takes_the_pipelines_that_the_decoders_load_and_no_other(
    folder: Path, part: str, needed: str
) -> None:
    own = {"image_decoder": image_decoder, "sound_decoder": sound_decoder, "video_decoder": video_decoder}[part]
    assert needed == own.PIPELINE
    for other in ("StableUnCLIPPipeline", "AudioLDMPipeline", "VideoToVideoSDPipeline"):
        reconfigure(folder / part / "model_index.json", _class_name=other)
        assert f"{folder / part}: the class of the {part.replace('_', ' ')} is {other}; {needed} would do" in complaint(
            folder
        )
        with pytest.raises(UsageError, match=rf"{other}\b"):
            load_parts(folder, torch.float32)


@pytest.mark.parametrize("part", ["sound_decoder", "video_decoder"])
def test_a_decoder_outside_must_state_its_digest(folder: Path, part: str) -> None:
    moved = Path(shutil.move(folder / part, folder.parent / part))
    said = json.loads((folder / FILE).read_text())
    said[part] = {"source": str(moved)}
    (folder / FILE).write_text(json.dumps(said))
    digest = digest_backbone(moved)
    assert complaint(folder).endswith(f'its digest must be stated; write "digest": "{digest}"')
    said[part]["digest"] = digest
    (folder / FILE).write_text(json.dumps(said))
    check(str(folder), [], 1)
    found: Checkpoint = read_checkpoint(folder)
    assert getattr(found, part) == moved


def test_a_section_that_is_no_decoder_is_named(folder: Path) -> None:
    said = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(said | {"sound_decoder": None}))
    assert f"{FILE}: sound_decoder: " in complaint(folder)
